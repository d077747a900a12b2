package gate

import (
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Request names the first rule that a request breaks. It takes the request as
// sipgo parsed it. The text that sipgo will write must be well formed, and sipgo
// must read the same in it again. A request can break that although [Bytes] has
// passed it. Request does not allocate for ordinary requests.
func Request(req *sip.Request) Rule {
	if req == nil || req.SipVersion != "SIP/2.0" {
		return StartLine
	}
	if !only(string(req.Method), token) {
		return Method
	}
	if rule := parsed(&req.Recipient); rule != WellFormed {
		return requestURI(rule)
	}
	r := request{message: message[string]{method: string(req.Method)}, body: len(req.Body())}
	for _, h := range req.Headers() {
		if rule := r.header(h); rule != WellFormed {
			return rule
		}
	}
	if r.body > 0 && !r.counted(contentLength) {
		return BodyLength
	}
	return r.end()
}

type request struct {
	message[string]
	body int
}

// header names the rule that a field breaks. Fields that sipgo keeps as text
// are read as Bytes reads them.
func (r *request) header(h sip.Header) Rule {
	switch h := h.(type) {
	case nil:
		return FieldName
	case *sip.FromHeader:
		return r.one(from, h.DisplayName, &h.Address, h.Params)
	case *sip.ToHeader:
		return r.one(to, h.DisplayName, &h.Address, h.Params)
	case *sip.ReferredByHeader:
		return r.one(addressField, h.DisplayName, &h.Address, h.Params)
	case *sip.ContactHeader:
		return r.contact(h)
	case *sip.RouteHeader:
		return parsed(&h.Address)
	case *sip.RecordRouteHeader:
		return parsed(&h.Address)
	case *sip.ReferToHeader:
		return r.one(referTo, "", &h.Address, nil)
	case *sip.ViaHeader:
		r.seen |= 1 << via
		return viaField(h)
	case *sip.CSeqHeader:
		return r.cseqField(h)
	case *sip.CallIDHeader:
		return r.textOnce(callID, string(*h))
	case *sip.ContentTypeHeader:
		return oddText(string(*h))
	case *sip.MaxForwardsHeader:
		return r.numberOnce(maxForwards, h.Val() <= 255, MaxForwards)
	case *sip.ContentLengthHeader:
		return r.numberOnce(contentLength, int64(*h) == int64(r.body), BodyLength)
	}
	value := h.Value()
	if rule := oddText(value); rule != WellFormed {
		return rule
	}
	name := h.Name()
	if !only(name, token) {
		return FieldName
	}
	return r.named(fieldOf(name), value)
}

// oddText is oddBytes for text that most often has no control bytes.
func oddText[T text](s T) Rule {
	if plain(s) {
		return WellFormed
	}
	return oddBytes(s)
}

func (r *request) textOnce(f field, value string) Rule {
	if rule := r.count(f); rule != WellFormed {
		return rule
	}
	return oddText(value)
}

func (r *request) numberOnce(f field, ok bool, wrong Rule) Rule {
	if rule := r.count(f); rule != WellFormed {
		return rule
	}
	return unless(ok, wrong)
}

func (r *request) cseqField(h *sip.CSeqHeader) Rule {
	if rule := r.count(cseq); rule != WellFormed {
		return rule
	}
	if h.SeqNo >= 1<<31 {
		return CSeq
	}
	return r.cseqMethod(strings.TrimLeft(string(h.MethodName), " \t"))
}

func (r *request) contact(h *sip.ContactHeader) Rule {
	if h.Address.Wildcard && h.Address.Scheme == "" {
		if h.DisplayName != "" || len(h.Params) > 0 {
			return Star
		}
		return r.countContact(true)
	}
	if rule := r.countContact(false); rule != WellFormed {
		return rule
	}
	return r.one(contact, h.DisplayName, &h.Address, h.Params)
}

// one names the rule that a field with one address breaks.
func (r *request) one(f field, display string, u *sip.Uri, params sip.HeaderParams) Rule {
	if rule := r.count(f); rule != WellFormed {
		return rule
	}
	if rule := displayName(display); rule != WellFormed {
		return rule
	}
	if rule := parsed(u); rule != WellFormed {
		return rule
	}
	return headerParams(params)
}

// displayName names the rule that a display name breaks, which sipgo writes
// between quotes as it is.
func displayName(s string) Rule {
	switch end, _ := quotedText(s, 0); {
	case strings.IndexByte(s, '\n') >= 0:
		return BareLF
	case strings.IndexByte(s, '\r') >= 0:
		return BareCR
	default:
		return unless(end == len(s), Address)
	}
}

// headerParams names the rule that the parameters behind an address break. It
// reads them in the text that sipgo writes.
func headerParams(params sip.HeaderParams) Rule {
	if len(params) == 0 {
		return WellFormed
	}
	var buf [256]byte
	text := buf[:0]
	for _, p := range params {
		text = append(append(text, ';'), p.K...)
		switch {
		case p.V == "" && strings.IndexByte(p.K, '=') > 0:
			return Rewritten // sipgo reads "a=b=" as the name "a=b" and writes "a=b"
		case p.V == "":
		case hasBlank(p.V):
			if rule := words(p.V); rule != WellFormed {
				return rule
			}
		default:
			text = append(append(text, '='), p.V...)
		}
	}
	if rule := oddText(text); rule != WellFormed {
		return rule
	}
	c := cursor[[]byte]{s: text}
	rule := c.params()
	if rule == WellFormed && c.off < len(text) {
		return Address
	}
	return rule
}

// hasBlank reports whether sipgo will put quotes around a value.
func hasBlank(v string) bool {
	return strings.IndexByte(v, ' ') >= 0 || strings.IndexByte(v, '\t') >= 0
}

// words accepts a value with a blank in it only if it is words, with or without
// quotes. sipgo puts quotes around such a value even if it has quotes: `"a b"`
// becomes `""a b""`, and the text between is outside the quotes. Words do no
// harm there. `", <sip:mallory@192.0.2.1>, "` makes three Contacts of one.
func words(v string) Rule {
	if rule := oddText(v); rule != WellFormed {
		return rule
	}
	v = trim(v)
	if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
		v = v[1 : len(v)-1]
	}
	return unless(span(v, 0, display) == len(v), Rewritten)
}

// parsed names the rule that a URI breaks. Each part must follow its own
// production: then the text that sipgo puts together has the same parts.
func parsed(u *sip.Uri) Rule {
	if u.Scheme != "sip" && u.Scheme != "sips" {
		end, rule := schemeURI(u.Scheme, u.Raw(), 0)
		return complete(rule, end, u.Raw())
	}
	switch {
	case u.Wildcard, u.HierarhicalSlashes, slashes(u.User), u.User == "" && u.Password != "",
		escaped(u.User, 0, user) < len(u.User), escaped(u.Password, 0, password) < len(u.Password):
		return AddressURI
	case u.Port < 0 || u.Port > 65535:
		return Port
	}
	end, rule := host(u.Host, 0)
	if rule := complete(rule, end, u.Host); rule != WellFormed {
		return rule
	}
	if headersLost(u) {
		return Rewritten
	}
	if rule := uriParams(u.UriParams); rule != WellFormed {
		return rule
	}
	if len(u.Headers) > maxParams+1 {
		return ManyParams
	}
	for _, h := range u.Headers {
		if span(h.K, 0, headers) < len(h.K) || span(h.V, 0, headers) < len(h.V) {
			return AddressURI
		}
	}
	return unless(!hostLost(u), Rewritten)
}

// headersLost finds URIs such as "sip:a@b;lr?subject=x". sipgo reads the headers
// behind a parameter without a value as part of its name, and writes them twice.
func headersLost(u *sip.Uri) bool {
	n := len(u.UriParams)
	return n > 0 && len(u.Headers) > 0 && u.UriParams[n-1].V == ""
}

// hostLost finds URIs without a user in which sipgo will take a later "[" for
// the beginning of the host.
func hostLost(u *sip.Uri) bool {
	return u.User == "" && u.Host[0] != '[' && (brackets(u.UriParams) || brackets(u.Headers))
}

func brackets(params sip.HeaderParams) bool {
	for _, p := range params {
		if strings.IndexByte(p.K, '[') >= 0 || strings.IndexByte(p.V, '[') >= 0 {
			return true
		}
	}
	return false
}

func uriParams(params sip.HeaderParams) Rule {
	if len(params) > maxParams {
		return ManyParams
	}
	for i, p := range params {
		if p.K == "" || escaped(p.K, 0, param) < len(p.K) || escaped(p.V, 0, param) < len(p.V) {
			return AddressURI
		}
		for _, q := range params[:i] {
			if alike(p.K, q.K) {
				return TwoParams
			}
		}
	}
	return WellFormed
}

// viaField refuses a Via that sipgo will not write as it read it.
func viaField(h *sip.ViaHeader) Rule {
	if !plain(h.ProtocolName) || !plain(h.ProtocolVersion) || !plain(h.Transport) || !viaHost(h.Host) || h.Port < 0 {
		return Via
	}
	if len(h.Params) > maxParams {
		return ManyParams
	}
	for _, p := range h.Params {
		if !viaParam(p.K, p.V) {
			return Via
		}
	}
	return WellFormed
}

// viaHost accepts a host that sipgo reads again as the same. It keeps an IPv6
// address without brackets and writes them only if the address is valid.
func viaHost(s string) bool {
	if s == "" || s[0] == '[' || !plain(s) || strings.IndexByte(s, ';') >= 0 {
		return false
	}
	if strings.IndexByte(s, ':') < 0 {
		return true
	}
	a, err := netip.ParseAddr(s)
	return err == nil && a.Is6() && !a.Is4In6() && a.Zone() == ""
}

// viaParam accepts a parameter that sipgo reads again as the same. It reads
// quotes as part of the name and writes the value twice. It drops the spaces of
// Unicode at the end of a line.
func viaParam(name, value string) bool {
	return strings.TrimSpace(name) != "" && plain(name) && strings.IndexByte(name, '"') < 0 &&
		strings.TrimSpace(value) == value && plain(value) && strings.IndexByte(value, '"') < 0 && !hasBlank(value)
}
