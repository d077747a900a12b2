// Request: the message, its socket, its snapshot. Every reading of SIP header fields.

package sipacl

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// Request is what a [Check] decides about: a SIP request and the socket that
// it came through. It is passed by value; the zero Request is refused.
//
// Before the parser, and beside other SIP stacks, the *sip.Request is nil:
// checks of the source, the listener and the certificate answer all the same,
// those of what a message says refuse. A check of the application's own must
// look: methods of a nil *sip.Request panic. Source is the field, not sipgo's
// method of that name, which falls back to Via; so does r.Transport().
type Request struct {
	*sip.Request

	Source Source         // the far end of the socket; zero if there was none
	Local  netip.AddrPort // the near end, unmapped; over UDP what the socket is bound to, perhaps [::]; zero if unknown

	// TLS is the connection, nil if there is none: a *tls.Conn is one. Of its
	// state only VerifiedChains says who the peer is.
	TLS interface{ ConnectionState() tls.ConnectionState }

	at    *Snapshot // what the checks read; nil: what is in service
	trace *Trace    // where they note what they look at; nil most of the time
}

// RequestOf joins a request with the socket that tx holds; tx may be nil. A
// request that was not read from a socket has no Source, and is refused.
func RequestOf(req *sip.Request, tx sip.ServerTransaction) (r Request) {
	r.join(req, tx)
	return r
}

// join makes r, which is zero, what RequestOf returns.
func (r *Request) join(req *sip.Request, tx sip.ServerTransaction) {
	r.Request = req
	r.Source, _ = SourceOf(req)
	server, ok := tx.(*sip.ServerTx)
	if !ok || server == nil {
		return
	}
	switch c := server.Connection().(type) {
	case *sip.UDPConnection:
		r.Local = addrPortOf(c.PacketConn.LocalAddr())
	case *sip.TCPConnection:
		r.near(c.Conn)
	case *sip.WSConnection:
		r.near(c.Conn)
	}
}

// near notes the near end of a stream, and its TLS state if it has one.
func (r *Request) near(c net.Conn) {
	if c == nil {
		return
	}
	r.Local = addrPortOf(c.LocalAddr())
	if t, ok := c.(*tls.Conn); ok {
		r.TLS = t
	}
}

// addrPortOf is addr unmapped and without zone; zero if it is none.
func addrPortOf(addr net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch a := addr.(type) {
	case *net.UDPAddr:
		if a != nil {
			ap = a.AddrPort()
		}
	case *net.TCPAddr:
		if a != nil {
			ap = a.AddrPort()
		}
	case nil:
	default:
		ap, _ = netip.ParseAddrPort(a.String())
	}
	if !ap.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(plainAddr(ap.Addr()), ap.Port())
}

// At returns r with every check about it answered from s: parts of s read it,
// others what is in service.
func (r Request) At(s *Snapshot) Request {
	r.at = s
	return r
}

// in returns the generation of a part that a request with this snapshot is
// answered from. It does not take the request: a pointer to one would have it
// moved to the heap where a check is inlined in another package.
func in[T any](part Part[T], at *Snapshot) *T {
	if at != nil && part.p != nil && at.of == part.p.perm {
		return part.At(at)
	}
	return part.Current()
}

// method is the method of a request that may be nil.
func (r *Request) method() sip.RequestMethod {
	if r.Request == nil {
		return ""
	}
	return r.Method
}

// noSource is the refusal of a request without a socket.
func noSource() Decision { return Decision{Cause: CauseNoSource} }

// What follows reads the header fields of requests. The getters of sipgo
// return the last field of a name only, and some miss the compact form.

// fromTo gives the From and To header fields, if there is one of each.
func fromTo(req *sip.Request) (from *sip.FromHeader, to *sip.ToHeader, ok bool) {
	if req == nil {
		return nil, nil, false
	}
	froms, tos := 0, 0
	for _, h := range req.Headers() {
		switch name := headerName(h); {
		case isHeader(name, "from", "f"):
			from, _ = h.(*sip.FromHeader)
			froms++
		case isHeader(name, "to", "t"):
			to, _ = h.(*sip.ToHeader)
			tos++
		}
	}
	return from, to, froms == 1 && tos == 1 && from != nil && to != nil
}

// headerName is the name of a header field, "" of a nil one, which requests
// made by hand may hold.
func headerName(h sip.Header) string {
	if h == nil {
		return ""
	}
	return h.Name()
}

func isHeader(name, long, compact string) bool {
	return strings.EqualFold(name, long) || strings.EqualFold(name, compact)
}

// FromUser returns the user that From names. A request has exactly one From;
// with none or two of them there is no user.
func FromUser(req *sip.Request) (ClaimedUser, error) {
	if from, _, _ := fromTo(req); from != nil && oneField(req, "from", "f") {
		return UserOf(from.Address)
	}
	return ClaimedUser{}, errors.New("sipacl: user of From: want one From")
}

// ToUser returns the user that To names, as [FromUser] does.
func ToUser(req *sip.Request) (ClaimedUser, error) {
	if _, to, _ := fromTo(req); to != nil && oneField(req, "to", "t") {
		return UserOf(to.Address)
	}
	return ClaimedUser{}, errors.New("sipacl: user of To: want one To")
}

func oneField(req *sip.Request, long, compact string) bool {
	n := 0
	for _, h := range req.Headers() {
		if isHeader(headerName(h), long, compact) {
			n++
		}
	}
	return n == 1
}

// Contacts returns the URIs of all Contact header fields of req, in long and
// compact form, or star for "Contact: *". The Contact method of sipgo returns
// the last field only. A star beside other contacts (RFC 3261 section 10.3) or
// with parameters, and a field that is not well formed, is an error.
func Contacts(req *sip.Request) (uris []sip.Uri, star bool, err error) {
	if req == nil {
		return nil, false, errContact
	}
	for _, h := range req.Headers() {
		if !isHeader(headerName(h), "contact", "m") {
			continue
		}
		c, ok := h.(*sip.ContactHeader)
		switch {
		case !ok || c == nil || star:
			return nil, false, errContact
		case c.Address.Wildcard && c.Address.Scheme == "":
			if len(uris) > 0 || c.DisplayName != "" || c.Params.Length() > 0 {
				return nil, false, errContact
			}
			star = true
		case !strictParams(c.Params) || !openParams(c.Params, true):
			return nil, false, errContact
		default:
			uris = append(uris, c.Address)
		}
	}
	return uris, star, nil
}

var errContact = errors.New("no valid Contact header fields")

// expiresNow reports whether req has one Expires header field, which is 0.
func expiresNow(req *sip.Request) bool {
	fields, zero := 0, false
	for _, h := range req.Headers() {
		if !strings.EqualFold(headerName(h), "expires") {
			continue
		}
		if e, ok := h.(*sip.ExpiresHeader); ok && e == nil {
			return false
		}
		n, err := strconv.ParseUint(strings.Trim(h.Value(), " \t"), 10, 32)
		fields, zero = fields+1, err == nil && n == 0
	}
	return fields == 1 && zero
}

// ReferTo returns the URIs of all Refer-To header fields of req, in long and
// compact form. The ReferTo method of sipgo misses the compact one and all
// but the last. A field that is no address is an error.
func ReferTo(req *sip.Request) ([]sip.Uri, error) {
	var uris []sip.Uri
	if req == nil {
		return nil, errReferTo
	}
	for _, h := range req.Headers() {
		switch name := headerName(h); {
		case strings.EqualFold(name, "refer-to"):
			u, ok := h.(*sip.ReferToHeader)
			if !ok || u == nil || u.Address.Host == "" && u.Address.Raw() == "" {
				return nil, errReferTo
			}
			uris = append(uris, u.Address)
		case strings.EqualFold(name, "r"):
			for text := range splitAddresses(h.Value()) {
				var u sip.Uri
				if _, err := sip.ParseAddressValue(text, &u, nil); err != nil {
					return nil, errReferTo
				}
				uris = append(uris, u)
			}
		}
	}
	return uris, nil
}

var errReferTo = errors.New("sipacl: Refer-To is not an address")

// splitAddresses yields the addresses of a header field that is a list of
// them.
func splitAddresses(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for rest, more := s, true; more; {
			var one string
			if one, rest, more = cutAddress(rest); !yield(one) {
				return
			}
		}
	}
}

// cutAddress cuts the first address off a list of them: commas inside quotes
// and brackets do not split. more is false at the last one.
func cutAddress(s string) (one, rest string, more bool) {
	quoted, bracketed := false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted:
			if c == '\\' {
				i++
			}
			quoted = c != '"'
		case c == '"':
			quoted = true
		case c == '<':
			bracketed = true
		case c == '>':
			bracketed = false
		case c == ',' && !bracketed:
			return strings.Trim(s[:i], " \t"), s[i+1:], true
		}
	}
	return strings.Trim(s, " \t"), "", false
}

// rereads reports whether sipgo reads a URI again as it wrote it. It does not
// where it dropped part of what it read: the next hop sees what is written.
func rereads(u *sip.Uri) bool {
	var again sip.Uri
	return sip.ParseUri(u.String(), &again) == nil && again.Raw() == u.Raw() && again.Scheme == u.Scheme &&
		again.User == u.User && again.Password == u.Password && again.Host == u.Host && again.Port == u.Port &&
		slices.Equal(again.UriParams, u.UriParams) && slices.Equal(again.Headers, u.Headers)
}

// isText reports whether u and params are all that text says. Where sipgo
// leaves a field as it was sent, others read again what it dropped, of two
// parameters with one name the first. Display names, blanks and the letter
// case of the scheme do not count.
func isText(text string, u *sip.Uri, params sip.HeaderParams) bool {
	uri, behind, ok := cutURI(text)
	var b strings.Builder
	b.Grow(len(text))
	u.StringWrite(&b)
	written := b.String()
	if n := len(u.Scheme); !ok || len(uri) != len(written) || uri[n:] != written[n:] || !strings.EqualFold(uri[:n], written[:n]) {
		return false
	}
	for _, p := range params {
		if strings.Trim(p.K, " \t") == "" && p.V == "" {
			continue // the blanks of "<sip:a@b> ;lr"
		}
		for _, part := range [...]string{";", p.K, "=", p.V} {
			if part != "=" || p.V != "" {
				behind, ok = cutText(behind, part)
			}
			if !ok {
				return false
			}
		}
	}
	return strings.Trim(behind, " \t") == ""
}

// cutText cuts text off the front of s. Blanks do not count.
func cutText(s, text string) (rest string, ok bool) {
	for i := range len(text) {
		if text[i] == ' ' || text[i] == '\t' {
			continue
		}
		if s = strings.TrimLeft(s, " \t"); s == "" || s[0] != text[i] {
			return s, false
		}
		s = s[1:]
	}
	return s, true
}

// cutURI finds the URI of an address where sipgo does, and what stands behind.
func cutURI(text string) (uri, behind string, ok bool) {
	i := strings.IndexAny(text, `"<;`)
	if i >= 0 && text[i] == '"' {
		for i++; i < len(text) && text[i] != '"'; i++ {
			if text[i] == '\\' {
				i++
			}
		}
		next := strings.IndexByte(text[min(i, len(text)):], '<')
		if next < 0 {
			return "", "", false
		}
		i += next
	}
	if i < 0 {
		return text, "", true
	}
	if text[i] == ';' {
		return text[:i], text[i:], true
	}
	uri, behind, ok = strings.Cut(text[i+1:], ">")
	return uri, behind, ok
}
