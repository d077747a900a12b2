// The texts that rules see of a URI, and allow_uri.

package sipacl

import (
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/dial"
	"github.com/sipacl/sipacl/internal/escape"
	"github.com/sipacl/sipacl/internal/hosts"
)

// maxText is the longest text that rules are asked about, in bytes.
const maxText = 1024

// texts are the two forms of one side of a pair.
//
// The plain text is the one that the originals compare. The canonical text
// says where the URI leads and nothing else: an allow rule must match it, so
// that nobody forges "@example\.com$" by ";x=@example.com", while a deny rule
// bites on either, so that nobody evades it by ":5060". With AsSent both are
// the plain text.
//
// Beside them stand the texts of the numbers that some stack or gateway dials
// for the URI: escapes decoded, separators and parameters dropped. A deny rule
// bites on any of them, too, and allow rules must match all.
type texts struct {
	plain, canonical string
	further          []string
	odd              bool // no two stacks read the same user
	unread           bool // the further texts cannot be had
}

// allTexts makes the texts of a plain one.
func allTexts(plain, lost string, keepPort bool) texts {
	t := texts{plain: plain, canonical: canonicalText(plain, keepPort)}
	var d dial.Texts
	d.Find(plain, t.canonical, lost)
	t.odd, t.unread = d.Odd, d.Refuse
	if all := d.All(); len(all) > 0 {
		t.further = slices.Clone(all)
	}
	return t
}

// each yields the texts to ask rules about: the plain and the canonical one
// together, then each further one.
func (t *texts) each() iter.Seq[texts] {
	return func(yield func(texts) bool) {
		if !yield(texts{plain: t.plain, canonical: t.canonical}) {
			return
		}
		for _, f := range t.further {
			if !yield(texts{plain: f, canonical: f}) {
				return
			}
		}
	}
}

// sure is the text that an allow rule must match.
func (t texts) sure() texts { return texts{plain: t.canonical, canonical: t.canonical} }

// lostParams gives the parameters that the plain text of a destination loses
// and that may say what it dials, as ";rn=+1900".
func lostParams(uri *sip.Uri) string {
	if uri.Scheme == "tel" {
		_, params, _ := strings.Cut(uri.Raw(), ";")
		return params
	}
	var lost []byte
	for _, p := range uri.UriParams {
		if dial.Matters(p.K, p.V) {
			lost = append(append(append(append(lost, ';'), p.K...), '='), p.V...)
		}
	}
	return string(lost)
}

// valid reports whether rules may be asked about t at all: not too long, and
// printable ASCII only. See decisions rule-length and rule-control.
func (t texts) valid() bool {
	if len(t.plain) > maxText {
		return false // the canonical text is longer by a byte at most
	}
	for i := range len(t.plain) {
		if c := t.plain[i]; c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// PlainURI gives the text that rules for destinations are written against,
// "sip:user@host", or "sip:host" without a user. Scheme (sips too), password,
// port, parameters and headers are left out; letter case, escapes and the
// brackets of IPv6 are kept. "tel:+1555;ext=2" gives "sip:+1555@" and
// "urn:service:sos" gives "sip:sos", the texts the originals make of them.
//
// ok is false for what is no URI that may be asked about; see decision
// rule-uri. Refuse it: no rule would match its text.
func PlainURI(uri *sip.Uri) (text string, ok bool) { return plainURI(uri, branchURI) }

// uriRole says where a destination stands: the originals make different texts.
type uriRole uint8

const (
	branchURI  uriRole = iota // without a user: "sip:host"
	requestURI                // without a user: "sip:@host"
	contactURI                // as branchURI; nothing is sent there now
	portURI                   // as contactURI, with the port if there is one
)

// contact reports whether the URI is registered, and not sent to.
func (r uriRole) contact() bool { return r == contactURI || r == portURI }

func plainURI(uri *sip.Uri, role uriRole) (text string, ok bool) {
	if !strictURI(uri) {
		return "", false
	}
	user, host, at := uri.User, uri.Host, uri.User != "" || role == requestURI
	switch uri.Scheme {
	case "tel":
		user, host, at = telNumber(uri), "", true
	case "urn":
		host = strings.TrimPrefix(uri.Raw(), "service:")
	}
	port := role == portURI && uri.Port > 0

	var b strings.Builder
	b.Grow(len("sip:") + len(user) + len("@") + len(host) + len(":65535"))
	b.WriteString("sip:")
	b.WriteString(user)
	if at {
		b.WriteByte('@')
	}
	b.WriteString(host)
	if port {
		b.WriteByte(':')
		b.WriteString(strconv.Itoa(uri.Port))
	}
	return b.String(), true
}

func telNumber(uri *sip.Uri) string {
	number, _, _ := strings.Cut(uri.Raw(), ";")
	return number
}

// sourceText gives the text of a From or To URI: as sipgo writes it.
func sourceText(uri *sip.Uri) (text string, ok bool) {
	if !strictURI(uri) {
		return "", false
	}
	return uri.String(), true
}

// strictURI reports whether uri is one that rules and guards may see. sipgo
// lets more through; see decision rule-uri.
func strictURI(uri *sip.Uri) bool {
	switch uri.Scheme {
	case "sip", "sips":
		return !uri.Wildcard && !uri.HierarhicalSlashes && strictUser(uri.User) &&
			strictHost(uri.Host) && 0 <= uri.Port && uri.Port <= 65535 && strictURIParams(uri.UriParams)
	case "tel":
		number := telNumber(uri)
		return number != "" && strictUser(number) && strings.IndexByte(uri.Raw(), '@') < 0
	case "urn":
		service, ok := strings.CutPrefix(uri.Raw(), "service:")
		return ok && labelBytes(service)
	}
	return false
}

func strictUser(user string) bool { return !strings.ContainsAny(user, ": \t<>\"") }

func strictURIParams(params sip.HeaderParams) bool {
	for _, p := range params {
		if strings.IndexByte(p.K, '@') >= 0 || strings.IndexByte(p.V, '@') >= 0 {
			return false
		}
	}
	return true
}

// strictHost accepts a name, an IPv6 address in brackets and an IPv4 address,
// the addresses in no spelling that resolvers read differently.
func strictHost(host string) bool {
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return ok && err == nil && a.Is6() && a.Zone() == ""
	}
	if !labelBytes(host) {
		return false
	}
	if !hosts.Numeric(host) {
		return true
	}
	_, err := netip.ParseAddr(host)
	return err == nil
}

// labelBytes reports whether s is letters, digits, dots, hyphens and
// underscores, at least one.
func labelBytes(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		default:
			return false
		}
	}
	return s != ""
}

// strictParams reports whether header parameters are what they seem. sipgo
// reads text behind ">" and further addresses as parameters with odd names;
// see decision rule-header.
func strictParams(params sip.HeaderParams) bool {
	for i, p := range params {
		name := strings.Trim(p.K, " \t")
		if name == "" && p.V == "" {
			continue // the blanks of "<sip:a@b> ;tag=1"
		}
		behind := i == 0 && p.V == "" && !strings.HasPrefix(p.K, name) // "<sip:a@b> text"
		if behind || name == "" || strings.ContainsAny(name, "<>,\"@ \t") || strings.EqualFold(name, "tag") && p.V == "" {
			return false
		}
	}
	return true
}

// openParams reports whether parameters are no more than they seem. sipgo leaves
// what it cannot read in odd ones, where another parameter or a whole address
// may hide: a name must be a token, and a value with a delimiter in it must be
// quoted, which is possible behind a URI and not in one.
func openParams(params sip.HeaderParams, quotes bool) bool {
	for _, p := range params {
		name, value := strings.Trim(p.K, " \t"), strings.Trim(p.V, " \t")
		switch {
		case name == "" && value == "": // "<sip:a@192.0.2.1> ;q=0.5"
		case !token(name), strings.ContainsAny(value, `"<>,;`) && !(quotes && quoted(value)):
			return false
		}
	}
	return true
}

// token tells a token of RFC 3261 without "%", which may hide a letter.
func token(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c|32 < 'a' || c|32 > 'z') && strings.IndexByte("-.!*_+`'~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// quoted tells a quoted string that ends where s does.
func quoted(s string) bool {
	if len(s) < 2 || s[0] != '"' {
		return false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i == len(s)-1
		}
	}
	return false
}

// canonicalText gives the canonical form of a text: of a SIP URI the password,
// port, parameters and headers dropped, escapes of unreserved characters
// decoded once, the host in lower case without a trailing dot, an IPv6 address
// in its canonical spelling; of a tel URI, and of the text "sip:number@" that
// is made of one, the parameters and visual separators dropped. keepPort keeps
// the port, for questions that are about it. What is no URI stays as it is.
//
// It allocates only if that changes something.
func canonicalText(s string, keepPort bool) string {
	if len(s) > maxText {
		return s // too long for any rule
	}
	var buf [maxText]byte
	if b := appendCanonical(buf[:0], s, keepPort); string(b) != s {
		return string(b)
	}
	return s
}

func appendCanonical(b []byte, s string, keepPort bool) []byte {
	scheme, rest, ok := strings.Cut(s, ":")
	switch {
	case !ok:
	case strings.EqualFold(scheme, "sip"), strings.EqualFold(scheme, "sips"):
		b = append(appendLower(b, scheme), ':')
		user, hostPort, at := strings.Cut(rest, "@")
		if at {
			user, _, _ = strings.Cut(user, ":")
			b = append(appendUnescaped(b, user), '@')
		} else {
			hostPort = rest
		}
		if at && hostPort == "" {
			return append(appendNumber(b[:len(scheme)+1], user), '@')
		}
		host, port := cutPort(hostPort)
		b = appendHost(b, strings.TrimSuffix(host, "."))
		if keepPort {
			b = append(b, port...)
		}
		return b
	case strings.EqualFold(scheme, "tel"):
		number, _, _ := strings.Cut(rest, ";")
		return appendNumber(append(appendLower(b, scheme), ':'), number)
	}
	return append(b, s...)
}

// cutPort splits what follows the user of a SIP URI into the host, with the
// brackets of IPv6, and ":port" if it is there. Parameters and headers go.
func cutPort(s string) (host, port string) {
	if i := strings.IndexAny(s, ";?"); i >= 0 {
		s = s[:i]
	}
	if i := strings.IndexByte(s, ']'); i >= 0 && s[0] == '[' {
		host, port = s[:i+1], s[i+1:]
		if !strings.HasPrefix(port, ":") {
			port = ""
		}
		return host, port
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// appendHost appends a host in lower case, and an IPv6 address in its one
// canonical spelling (RFC 5952); an IPv4-mapped one is the IPv4 address.
func appendHost(b []byte, host string) []byte {
	if len(host) > 2 && host[0] == '[' && host[len(host)-1] == ']' {
		a, err := netip.ParseAddr(host[1 : len(host)-1])
		switch {
		case err != nil || a.Is4() || a.Zone() != "":
		case a.Is4In6():
			return a.Unmap().AppendTo(b)
		default:
			return append(a.AppendTo(append(b, '[')), ']')
		}
	}
	return appendLower(b, host)
}

func appendLower(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// appendNumber appends the number of a tel URI without its visual separators,
// which are there to be read only (RFC 3966 section 5.1.1).
func appendNumber(b []byte, number string) []byte {
	head := len(b)
	b = appendUnescaped(b, number)
	return b[:head+len(slices.DeleteFunc(b[head:], func(c byte) bool { return strings.IndexByte("-.()", c) >= 0 }))]
}

// appendUnescaped decodes the escapes of unreserved characters, which mean
// the same with and without (RFC 3261 section 19.1.4).
func appendUnescaped(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c, ok := escape.Octet(s[i:]); ok && unreserved(c) {
			b = append(b, c)
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return b
}

func unreserved(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("-_.!~*'()", c) >= 0
}

// leads decides about a URI that is given as a text.
func (rs *RuleSet) leads(left texts, text string) Decision {
	uri := parseURI(text)
	if !strictURI(&uri) {
		return wrongURI("URI", left.plain, text)
	}
	return rs.destination("URI", left, rs.texts(text, "", branchURI), &uri, branchURI)
}

// AllowURI decides whether a request from the From URI may lead to uri, a
// destination that is not its Request-URI: a Refer-To, a diversion, a route
// that was looked up. Rules see uri as it stands; [PlainURI] gives the text
// that AllowRouting would make of it. What is no strict URI is refused, see
// decision rule-uri; its maddr and the Route among its headers are further
// destinations.
func (rs *RuleSet) AllowURI(from, uri string) Decision {
	if d, ok := rs.idle(); ok {
		return d
	}
	fromURI := parseURI(from)
	left, ok := rs.source(&fromURI)
	if !ok {
		return rs.answer(wrongURI("From", from, uri))
	}
	return rs.answer(rs.leads(left, uri))
}

func (rs *RuleSet) checkURI(req *sip.Request, uri string) Decision {
	if d, ok := rs.idle(); ok {
		return d
	}
	left, ok := rs.from(req)
	if !ok {
		return Decision{Cause: CauseMalformed, Right: shorten(uri), Info: "From: no valid header field"}
	}
	return rs.leads(left, uri)
}

// checkReferTo decides the pairs of From and every Refer-To of a request.
func (rs *RuleSet) checkReferTo(req *sip.Request) (d Decision) {
	if d, ok := rs.idle(); ok {
		return d
	}
	left, ok := rs.from(req)
	if !ok {
		return Decision{Cause: CauseMalformed, Info: "From: no valid header field"}
	}
	uris, err := ReferTo(req)
	if err != nil || len(uris) == 0 {
		return wrongURI("Refer-To", left.plain, "")
	}
	for i := range uris {
		if !d.and(rs.target("Refer-To", left, &uris[i], branchURI)) {
			return d
		}
	}
	return d
}

// AllowURI answers allow_uri: may the caller in From reach uri? See
// [RuleSet.AllowURI].
func (r Rules) AllowURI(req Request, uri string) Decision {
	d := asked(r.Part, req.at, req.trace).checkURI(req.Request, uri)
	d.Source = req.Source
	return d
}

// AllowReferTo asks AllowURI about every Refer-To of r, as the text that
// [PlainURI] makes of it. A Refer-To that is missing or is no valid URI is
// refused. It is a [Check].
func (r Rules) AllowReferTo(req Request) Decision {
	d := asked(r.Part, req.at, req.trace).checkReferTo(req.Request)
	d.Source = req.Source
	return d
}
