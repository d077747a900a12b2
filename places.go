// Places: every host in a request that somebody may send to.

package sipacl

import (
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/hosts"
)

// place is one host, or what may be one, in a request.
type place struct {
	text  string
	field string   // "Contact", "Path", "Route" or "Record-Route"
	param string   // the parameter it stands in, or the header of a URI; "" for the host of the URI itself
	uri   *sip.Uri // of the address in field
	kind  placeKind
}

type placeKind uint8

const (
	hostPlace    placeKind = iota // the host of a SIP URI
	valuePlace                    // the value of a parameter that holds a host
	addressPlace                  // an address in some other value
	numberPlace                   // a number there: an address to some, and mostly a count or a version
	namePlace                     // a host name there
	noPlace                       // a URI without a host: tel, urn
)

// read appends the addresses that a place may be read as, and says what it is.
func (p *place) read(dst []netip.Addr) ([]netip.Addr, hosts.Kind) {
	switch p.kind {
	case hostPlace:
		return hosts.Read(dst, p.text)
	case valuePlace:
		return hosts.ReadValue(dst, p.text)
	case addressPlace, numberPlace:
		return hosts.Mentioned(dst, p.text), hosts.Address
	}
	return dst, hosts.Address // nothing to ask about
}

// where says where a place stands, as "Contact maddr".
func (p *place) where() string {
	if p.param == "" {
		return p.field
	}
	return p.field + " " + p.param
}

// leads are the parameters whose value is a host or an address to send to:
// RFC 3261, RFC 5923, Path of Kamailio and OpenSIPS, FreeSWITCH, Asterisk.
var leads = [...]string{"maddr", "received", "alias", "fs_path", "x-ast-orig-host"}

// What a value may hold, before it is refused.
const (
	maxTexts  = 4 // the value itself, and what decoding makes of it again and again
	maxNested = 3 // URIs in the parameters of URIs
)

// walk collects the places of a request, in order. It is the one reader of all
// checks that ask where a request leads.
//
// Where more could hide than sipgo shows, the request is malformed: odd is
// what, why says why, and the places are those before it.
type walk struct {
	few      [8]place // the first of them, so that most walks allocate nothing
	more     []place
	n        int
	contacts int // addresses in Contact, "*" too
	star     bool
	odd      place // what is malformed
	why      string

	field, param string
	uri          *sip.Uri
	depth        int // of nested URIs
}

// request reads the Contact header fields, long and compact, and with routes
// those that say over which hosts requests go.
func (w *walk) request(req *sip.Request, routes bool) {
	for _, h := range req.Headers() {
		name := headerName(h)
		switch w.param = ""; {
		case isHeader(name, "contact", "m"):
			w.field = "Contact"
			w.contact(h)
		case !routes:
		case strings.EqualFold(name, "path"):
			w.field = "Path"
			w.list(h.Value())
		case strings.EqualFold(name, "route"):
			w.field = "Route"
			w.route(h)
		case strings.EqualFold(name, "record-route"):
			w.field = "Record-Route"
			w.route(h)
		}
		if w.why != "" {
			return
		}
	}
	if w.star && w.contacts > 1 {
		w.malformed("*", "beside another")
	}
}

func (w *walk) malformed(what, why string) {
	w.odd, w.why = place{text: what, field: w.field, param: w.param}, why
}

func (w *walk) contact(h sip.Header) {
	c, ok := h.(*sip.ContactHeader)
	switch {
	case !ok && strings.Trim(h.Value(), " \t") == "*", ok && c != nil && star(c):
		w.star = true
		w.contacts++
	case !ok:
		w.list(h.Value())
	case c == nil:
		w.malformed(w.field, "no address")
	default:
		w.address(c.DisplayName, &c.Address, c.Params)
	}
}

// star tells the bare "*" from "<sip:*>", which parses to much the same.
func star(c *sip.ContactHeader) bool {
	return c.Address.Wildcard && c.Address.Scheme == "" && c.Address.User == "" && c.DisplayName == "" && len(c.Params) == 0
}

// route reads a field that sipgo writes anew when it forwards it.
func (w *walk) route(h sip.Header) {
	var u *sip.Uri
	switch r := h.(type) {
	case *sip.RouteHeader:
		if r != nil {
			u = &r.Address
		}
	case *sip.RecordRouteHeader:
		if r != nil {
			u = &r.Address
		}
	default:
		w.list(h.Value())
		return
	}
	switch {
	case u == nil:
		w.malformed(w.field, "no address")
	case !rereads(u):
		w.malformed(u.String(), "sipgo forwards another address than it reads")
	default:
		w.address("", u, nil)
	}
}

// list reads a list of addresses from the text that was sent, which others
// will read again.
func (w *walk) list(all string) {
	for one, rest, more := "", all, true; more && w.why == ""; {
		one, rest, more = cutAddress(rest)
		w.sent(one)
	}
	if w.why != "" && w.odd.text == "" {
		w.odd.text = all
	}
}

func (w *walk) sent(text string) {
	u, params := new(sip.Uri), sip.HeaderParams(nil)
	name, err := sip.ParseAddressValue(text, u, &params)
	switch {
	case err != nil:
		w.malformed(text, "no address")
	case !isText(text, u, params):
		w.malformed(text, "sipgo reads another address than was sent")
	default:
		w.address(name, u, params)
	}
}

func (w *walk) address(display string, u *sip.Uri, params sip.HeaderParams) {
	if w.depth == 0 {
		w.uri = u
		if w.field == "Contact" {
			w.contacts++
		}
	}
	if strings.ContainsAny(display, `\<>,"`) {
		w.search(display) // other stacks may end it elsewhere, and read an address in the rest
	}
	w.target(u)
	w.params(params, true)
}

// target reads a URI that a request may be sent to.
func (w *walk) target(u *sip.Uri) {
	switch strings.ToLower(u.Scheme) {
	case "sip", "sips":
		w.add(hostPlace, u.Host)
		w.params(u.UriParams, false)
		w.params(u.Headers, false)
	case "tel", "urn":
		number, params, _ := strings.Cut(u.Raw(), ";")
		if strings.IndexByte(number, '@') >= 0 {
			w.malformed(u.String(), "a host in a URI that has none")
			return
		}
		w.add(noPlace, number)
		w.value(params)
	default:
		w.malformed(u.String(), "scheme")
	}
}

func (w *walk) add(kind placeKind, text string) {
	p := place{text, w.field, w.param, w.uri, kind}
	if w.n < len(w.few) {
		w.few[w.n] = p
	} else {
		w.more = append(w.more, p)
	}
	w.n++
}

// at is the place with index i, below n.
func (w *walk) at(i int) *place {
	if i < len(w.few) {
		return &w.few[i]
	}
	return &w.more[i-len(w.few)]
}

// params reads the values of parameters, and refuses those in which another
// may hide. Behind a URI, quotes are possible.
func (w *walk) params(params sip.HeaderParams, quotes bool) {
	if w.why == "" && !openParams(params, quotes) {
		w.malformed(params.String(), "a parameter may hide another")
	}
	outer := w.param
	for i := 0; i < len(params) && w.why == ""; i++ {
		w.param = strings.Trim(params[i].K, " \t")
		w.value(params[i].V)
	}
	w.param = outer
}

// value reads the value of a parameter, as it stands and after each decoding,
// of quoted pairs too: nobody knows how often the next hop decodes.
func (w *walk) value(v string) {
	for range maxTexts {
		decoded := hosts.Unescape(strings.ReplaceAll(v, `\`, ""))
		if decoded == v {
			w.decoded(v)
			return
		}
		w.search(v)
		v = decoded
	}
	w.malformed(v, "escapes of escapes")
}

func (w *walk) decoded(v string) {
	t := unquoted(v)
	switch {
	case holdsURI(t):
		w.nested(t)
	case w.leads():
		w.add(valuePlace, hosts.CutPort(t))
	default:
		w.search(v)
	}
}

// nested reads the addresses in a value.
func (w *walk) nested(list string) {
	if w.depth == maxNested {
		w.malformed(list, "URIs in URIs")
		return
	}
	w.depth++
	w.list(list)
	w.depth--
	if w.why != "" {
		w.odd.text = list
	}
}

func (w *walk) leads() bool {
	for _, name := range leads {
		if strings.EqualFold(w.param, name) {
			return true
		}
	}
	return false
}

// search finds what looks like a host in any text.
func (w *walk) search(text string) {
	for text != "" {
		var word string
		var look hosts.Look
		switch word, look, text = hosts.Next(text); look {
		case hosts.LooksAddress:
			w.add(addressPlace, word)
		case hosts.LooksNumber:
			w.add(numberPlace, word)
		case hosts.LooksName:
			w.add(namePlace, word)
		}
	}
}

// unquoted is s without blanks and quotes around it.
func unquoted(s string) string {
	s = strings.Trim(s, " \t")
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		s = strings.Trim(s[1:n-1], " \t")
	}
	return s
}

// holdsURI reports whether "sip:" or "sips:" stands in s.
func holdsURI(s string) bool {
	for i := range len(s) {
		if s[i] == ':' && (i >= 3 && strings.EqualFold(s[i-3:i], "sip") || i >= 4 && strings.EqualFold(s[i-4:i], "sips")) {
			return true
		}
	}
	return false
}
