package gate

import (
	"math/rand/v2"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// reread reports whether sipgo reads the same request in the text it writes.
// When Request passes one that differs here, Request is wrong.
func reread(req *sip.Request) (same bool) {
	m, err := sip.ParseMessage([]byte(req.String()))
	again, ok := m.(*sip.Request)
	if err != nil || !ok {
		return false
	}
	hs, gs := req.Headers(), again.Headers()
	same = req.Method == again.Method && req.SipVersion == again.SipVersion && len(hs) == len(gs) &&
		string(req.Body()) == string(again.Body()) && sameURI(req.Recipient, again.Recipient)
	for i := 0; same && i < len(hs); i++ {
		same = reflect.TypeOf(hs[i]) == reflect.TypeOf(gs[i]) && sameField(hs[i], gs[i])
	}
	return same
}

func sameField(h, g sip.Header) bool {
	switch h := h.(type) {
	case *sip.FromHeader:
		g := g.(*sip.FromHeader)
		return h.DisplayName == g.DisplayName && sameURI(h.Address, g.Address) && sameParams(h.Params, g.Params)
	case *sip.ToHeader:
		g := g.(*sip.ToHeader)
		return h.DisplayName == g.DisplayName && sameURI(h.Address, g.Address) && sameParams(h.Params, g.Params)
	case *sip.ContactHeader:
		g := g.(*sip.ContactHeader)
		return h.DisplayName == g.DisplayName && sameURI(h.Address, g.Address) && sameParams(h.Params, g.Params)
	case *sip.ReferredByHeader:
		g := g.(*sip.ReferredByHeader)
		return h.DisplayName == g.DisplayName && sameURI(h.Address, g.Address) && sameParams(h.Params, g.Params)
	case *sip.RouteHeader:
		return sameURI(h.Address, g.(*sip.RouteHeader).Address)
	case *sip.RecordRouteHeader:
		return sameURI(h.Address, g.(*sip.RecordRouteHeader).Address)
	case *sip.ReferToHeader:
		return sameURI(h.Address, g.(*sip.ReferToHeader).Address)
	case *sip.ViaHeader:
		v, w := *h, *g.(*sip.ViaHeader)
		params := sameParams(v.Params, w.Params)
		v.Params, w.Params = nil, nil
		return params && reflect.DeepEqual(v, w)
	}
	return reflect.DeepEqual(h, g)
}

func sameURI(u, v sip.Uri) bool {
	for _, u := range []*sip.Uri{&u, &v} {
		if len(u.UriParams) == 0 {
			u.UriParams = nil
		}
		if len(u.Headers) == 0 {
			u.Headers = nil
		}
	}
	return reflect.DeepEqual(u, v)
}

func sameParams(ps, qs sip.HeaderParams) bool {
	ps, qs = named(ps), named(qs)
	if len(ps) != len(qs) {
		return false
	}
	for i, p := range ps {
		if p.K != qs[i].K || !sameValue(p.V, qs[i].V) {
			return false
		}
	}
	return true
}

// named drops the blanks around names, and the parameters that are nothing but
// blanks. sipgo loses both at the end of a line.
func named(ps sip.HeaderParams) (named sip.HeaderParams) {
	for _, p := range ps {
		if p.K = strings.TrimSpace(p.K); p.K != "" || p.V != "" {
			named = append(named, sip.HeaderKV{K: p.K, V: p.V})
		}
	}
	return named
}

var wordsOnly = regexp.MustCompile("^[ \t]*(\"[-A-Za-z0-9.!%*_+`'~ \t]*\"|[-A-Za-z0-9.!%*_+`'~ \t]*)[ \t]*$")

// sameValue allows for the quotes that sipgo puts around words.
func sameValue(v, w string) bool {
	return v == w || wordsOnly.MatchString(v) && strings.Trim(w, "\" \t") == strings.Trim(v, "\" \t")
}

// requoted reports whether sipgo will put quotes around a value. If the value has
// quotes of its own, the next gate refuses the result.
func requoted(req *sip.Request) bool {
	for _, h := range req.Headers() {
		var params sip.HeaderParams
		switch h := h.(type) {
		case *sip.FromHeader:
			params = h.Params
		case *sip.ToHeader:
			params = h.Params
		case *sip.ContactHeader:
			params = h.Params
		case *sip.ReferredByHeader:
			params = h.Params
		}
		for _, p := range params {
			if strings.ContainsAny(p.V, " \t") {
				return true
			}
		}
	}
	return false
}

// checkReread compares Request with its slow twin. A request that passes must
// also pass the next gate, after a proxy has forwarded it.
func checkReread(t *testing.T, req *sip.Request) {
	rule := Request(req)
	require.Equal(t, rule, Request(req))
	switch rule {
	case Rewritten:
		require.False(t, reread(req), "%q", req)
	case WellFormed:
		require.True(t, reread(req), "%q", req)
		if requoted(req) {
			return
		}
		forwarded := req.Clone().String()
		require.Equal(t, WellFormed, Bytes([]byte(forwarded)), "%q", forwarded)
		require.Equal(t, WellFormed, Request(parse(t, []byte(forwarded))), "%q", forwarded)
	}
}

func TestReread(t *testing.T) {
	for _, m := range wire(t) {
		if req := taken(m.Raw, m.Transport); req != nil {
			checkReread(t, req)
		}
	}
	for _, c := range cases {
		for _, part := range []string{c.broken, c.sound} {
			msg := []byte(strings.Replace(base, c.part, part, 1))
			if req := taken(msg, "udp"); req != nil {
				checkReread(t, req)
			}
		}
	}
}

// seed adds a recorded message of each class.
func seed(f *testing.F) {
	seen := map[string]bool{}
	for _, m := range wire(f) {
		if class, _, _ := strings.Cut(m.Class, "/"); !seen[class] || class == "ok" {
			seen[class] = true
			f.Add(m.Raw)
		}
	}
}

func FuzzReread(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		m, err := sip.ParseMessage(msg)
		if req, ok := m.(*sip.Request); err == nil && ok {
			checkReread(t, req)
		}
	})
}

// slots are the parts of base where a field keeps text.
var slots = []string{
	"sip:example.com SIP", "192.0.2.10;branch=z9hG4bK1;rport", ";rport", "\"Alice\"", ";tag=1", "1 REGISTER", "1@192.0.2.10",
	"<sip:alice@192.0.2.10>;expires=60", "sip:alice@192.0.2.10", "alice@192.0.2.10", ";expires=60", "Subject: one", "one",
}

// checkSlots puts text into each slot. A random message would rarely get past
// the parser.
func checkSlots(t *testing.T, text string) {
	for _, slot := range slots {
		for _, name := range []string{"", "Route: ", "Record-Route: ", "Refer-To: ", "Referred-By: ", "Path: "} {
			if name != "" && slot != "Subject: one" {
				continue
			}
			msg := []byte(strings.Replace(base, slot, name+text, 1))
			if req := taken(msg, "udp"); req != nil {
				checkReread(t, req)
			}
		}
	}
}

// pieces are the bytes that sipgo's parsers and writers look for, and some more.
var pieces = strings.Split("sip: tel: alice @ 192.0.2.1 [2001:db8::1] [ ] : 5060 ; ; = = ? & , \" \" \\ < > <sip:bob@example.com> <sip: * a b 0 lr %41 . / // + - \u00a0 \u0085 \xff \r\n \n \x07", " ")

func TestRereadRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range rounds(2000) {
		checkSlots(t, randomText(random, pieces, 9))
	}
}

func FuzzFields(f *testing.F) {
	for _, c := range cases {
		f.Add(c.broken)
		f.Add(c.sound)
	}
	f.Fuzz(checkSlots)
}

// FuzzDoors gives both doors any bytes. They never panic, and the second door
// refuses a request that the first has passed only for what sipgo made of it.
func FuzzDoors(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		rule := Bytes(msg)
		require.Equal(t, rule, Bytes(msg))
		require.Less(t, rule, rules)
		for _, transport := range []string{"udp", "tcp"} {
			req := taken(msg, transport)
			if req == nil || rule != WellFormed {
				continue
			}
			switch r := Request(req); r {
			case WellFormed, Rewritten, Via, Address, AddressURI, TwoReferTo:
			default:
				t.Errorf("%v behind a message that is well formed: %q", r, msg)
			}
		}
	})
}
