package sipacl

import (
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// illFormed are messages that sipgo takes and another stack reads otherwise,
// by the rule that they break.
var illFormed = map[string]string{
	"bare LF in the header":                         "Subject: x\nContact: <sip:eve@127.0.0.77>\r\n",
	"two From fields":                               "f: <sip:boss@example.com>;tag=2\r\n",
	"two Content-Length fields":                     "l: 0\r\n",
	"URI parameter stands twice":                    "Contact: <sip:a@192.0.2.1;maddr=127.0.0.1;maddr=127.0.0.77>\r\n",
	"sipgo would forward another text":              "Contact: <sip:a@127.0.0.5>;a=\", <sip:+1900@127.0.0.77:15060>, sip:z@127.0.0.5?a\"\r\n",
	"Content-Length is not a number":                "Content-Length: +0\r\n",
	"Contact * is not alone in a REGISTER":          "Contact: *\r\nContact: <sip:a@192.0.2.1>\r\n",
	"numeric host is not an IPv4 address":           "Contact: <sip:a@192.0.2.010>\r\n",
	"CSeq names another method than the start line": "",
}

func malformedMessage(transport, rule string) string {
	m := sipRequest("OPTIONS", transport)
	if rule == "CSeq names another method than the start line" {
		return strings.Replace(m, "CSeq: 1 OPTIONS", "CSeq: 1 INVITE", 1)
	}
	if strings.HasPrefix(illFormed[rule], "Content-Length") {
		m = strings.Replace(m, "Content-Length: 0\r\n", "", 1)
	}
	return strings.Replace(m, "CSeq:", illFormed[rule]+"CSeq:", 1)
}

// heardEvents are the events that a guard in service has told.
type heardEvents struct {
	mu   sync.Mutex
	list []Event
}

func (h *heardEvents) add(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.list = append(h.list, e)
}

func (h *heardEvents) all() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.list)
}

// What is malformed reaches no check, at any door and over any transport, and
// the cause names the rule.
func TestMalformedMessagesReachNoCheck(t *testing.T) {
	overall(t, transports, func(t *testing.T, transport string) {
		for rule := range illFormed {
			switch rule {
			case "URI parameter stands twice": // sipgo keeps one of them, and forwards that
				continue
			case "Content-Length is not a number": // sipgo drops it without a word
				continue
			}
			var heard heardEvents
			var asked atomic.Int64
			yes := func(Request) Decision { asked.Add(1); return Allowed("") }
			guard := NewGuard(GuardConfig{Check: yes, Observe: heard.add})
			p := serve(t, transport, gates{guard: guard.Wrap})
			c := connect(t, transport, friend, p.addr)
			c.send(malformedMessage(transport, rule))
			require.Equal(t, "SIP/2.0 403 Forbidden", firstLine(c.answer(t)), rule)
			require.Zero(t, asked.Load(), rule)
			all := heard.all()
			require.Len(t, all, 1)
			require.Equal(t, CauseWire, all[0].Decision.Cause)
			require.Equal(t, rule, all[0].Decision.Info)
			require.Equal(t, friend, all[0].Decision.Source.Addr.String())
		}
	})
}

// Filter and PacketConn drop malformed datagrams before they are parsed.
func TestMalformedDatagramsAreDropped(t *testing.T) {
	yes := func(Request) Decision { return Allowed("") }
	for rule := range illFormed {
		if rule == "sipgo would forward another text" {
			continue // nothing is wrong with the bytes
		}
		for _, at := range []string{"filter", "packetconn"} {
			var heard heardEvents
			guard := NewGuard(GuardConfig{Peers: yes, Observe: heard.add})
			g := gates{filter: guard.Filter()}
			if at == "packetconn" {
				g = gates{packetConn: guard.PacketConn}
			}
			p := serve(t, "udp", g)
			c := connect(t, "udp", friend, p.addr)
			c.send(malformedMessage("udp", rule))
			require.Equal(t, "SIP/2.0 200 OK", firstLine(c.ask(t, sipRequest("OPTIONS", "udp"))))
			require.Len(t, p.seen, 1, rule)
			first := heard.all()[0].Decision
			require.False(t, first.Allowed)
			require.Equal(t, rule, first.Info)
			require.Equal(t, CauseWire, first.Cause)
		}
	}
}

// The bytes of a stream may be half a message. A frame of a WebSocket is one.
func TestFilterLooksAtWholeMessagesOnly(t *testing.T) {
	f := NewGuard(GuardConfig{Peers: func(Request) Decision { return Allowed("") }}).Filter()
	addr := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5060}
	half := []byte("OPTIONS sip:a@example.com SIP/2.0\r\nVia: SIP")
	for transport, passes := range map[string]bool{"TCP": true, "TLS": true, "WS": false, "WSS": false, "UDP": false} {
		rest, err := f(sip.TransportReadProps{Transport: transport, RemoteAddr: addr}, half)
		require.Equal(t, passes, len(rest) > 0, transport)
		require.Equal(t, strings.HasPrefix(transport, "WS"), err != nil, transport)
	}
	for _, keep := range []string{"\r\n\r\n", "", "\x00\x00\x00\x00"} {
		rest, err := f(sip.TransportReadProps{Transport: "UDP", RemoteAddr: addr}, []byte(keep))
		require.NoError(t, err)
		require.Equal(t, keep, string(rest), "a keep-alive passes")
	}
}

func TestAcceptMalformedSaysWhatItMeans(t *testing.T) {
	yes := func(Request) Decision { return Allowed("") }
	req := mustRequest("OPTIONS", "f: <sip:boss@example.com>;tag=2")
	require.Equal(t, CauseWire, NewGuard(GuardConfig{Check: yes}).Decide(RequestOf(req, nil)).Cause)
	require.True(t, NewGuard(GuardConfig{Check: yes, AcceptMalformed: true}).Decide(RequestOf(req, nil)).Allowed)
	tr := Explain(NewGuard(GuardConfig{Check: yes}).Decide, RequestOf(req, nil))
	require.Equal(t, `refused: message not well formed "two From fields"`, tr.Decision.String())
}
