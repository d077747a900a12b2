// Package sipacltest helps to test access control: it makes requests that have
// a source, tables and rules in memory, and says why a check answered as it did.
//
// A test states who sends what, and what must come of it:
//
//	check := sipacl.AllOf(sipacltest.Partition(t, rows...).Sources(1), sipacltest.Rules(t, "", deny).Routing())
//	call := sipacltest.Message{Method: "INVITE", URI: "sip:0044123@example.com", Source: "203.0.113.9:5060 udp"}
//	sipacltest.Refused(t, check, call, sipacl.CauseDenyRule)
//
// Handlers behind a [sipacl.Guard] are called with the request and a
// [Transaction], which keeps what they answer.
package sipacltest

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl"
)

// Message describes a request and the socket that it came through. The zero
// Message is an OPTIONS for sip:example.com from 192.0.2.1:5060 over udp.
//
// Via, Call-ID, CSeq and Max-Forwards are written for it, the same each time. No
// text may hold a line break.
type Message struct {
	Method sip.RequestMethod // "" is OPTIONS
	URI    string            // the Request-URI; "" is "sip:example.com"

	// From and To are URIs, or whole values if they hold a "<":
	// `"Alice" <sip:alice@example.com>;tag=1`. A From that is a URI is given a
	// tag, a To none. "" is "sip:alice@example.com" and the Request-URI.
	From, To string

	Contacts []string // values of a Contact field each, as sent: "<sip:alice@192.0.2.1>;expires=60", "*"
	Headers  []string // fields as sent, "Name: value"; they come last and replace none

	// Source is the far end of the socket, "203.0.113.9:5060 tls"; "" is
	// "192.0.2.1:5060 udp", and "-" a request that did not come from a socket.
	Source string

	Local string // the near end, "198.51.100.1:5061"; "" is unknown

	// Peer holds the names in the verified certificate of a client: host names,
	// and URIs such as "sip:carrier.example". It needs a Source over tls or wss.
	// Without names the client has shown no certificate.
	Peer []string
}

// Request makes the request. It fails the test at once if the message does not
// parse or the socket makes no sense.
//
// [sipacl.Guard.Wrap] does not see Local and Peer, because it takes them from
// sipgo's own transactions. To test a check that asks for them, give the Request
// to the check itself, or to [sipacl.Guard.Decide].
func (m Message) Request(t testing.TB) sipacl.Request {
	t.Helper()
	r, err := m.request()
	if err != nil {
		t.Fatalf("sipacltest: %v", err)
	}
	return r
}

func (m Message) request() (sipacl.Request, error) {
	addr, transport, err := m.socket()
	if err != nil {
		return sipacl.Request{}, fmt.Errorf("source %q: want an address, a port and a protocol, as %q: %w", m.Source, defaultSource, err)
	}
	req, err := m.parse(cmp.Or(addr, "192.0.2.1:5060"), cmp.Or(transport, "UDP"))
	if err != nil {
		return sipacl.Request{}, err
	}
	req.SetSource(addr)
	req.SetTransport(transport)
	r := sipacl.RequestOf(req, nil)
	if r.Local, err = m.local(); err != nil {
		return sipacl.Request{}, err
	}
	secure := transport == "TLS" || transport == "WSS"
	if len(m.Peer) > 0 && !secure {
		return sipacl.Request{}, errors.New("a peer with a certificate comes over tls or wss")
	}
	if secure {
		r.TLS, err = connectionOf(m.Peer)
	}
	return r, err
}

const defaultSource = "192.0.2.1:5060 udp"

// socket gives Source as sipgo notes it in a message; nothing for "-".
func (m Message) socket() (addr, transport string, err error) {
	if m.Source == "-" {
		return "", "", nil
	}
	addr, transport, _ = strings.Cut(cmp.Or(m.Source, defaultSource), " ")
	transport = strings.ToUpper(transport)
	var probe sip.Request
	probe.SetSource(addr)
	probe.SetTransport(transport)
	_, err = sipacl.SourceOf(&probe)
	return addr, transport, err
}

// parse reads the message as sipgo reads it from the socket.
func (m Message) parse(addr, transport string) (*sip.Request, error) {
	method, uri := cmp.Or(m.Method, sip.OPTIONS), cmp.Or(m.URI, "sip:example.com")
	lines := []string{
		fmt.Sprintf("%s %s SIP/2.0", method, uri),
		fmt.Sprintf("Via: SIP/2.0/%s %s;branch=z9hG4bKsipacltest", transport, addr),
		"Max-Forwards: 70",
		"From: " + addressField(cmp.Or(m.From, "sip:alice@example.com"), ";tag=1"),
		"To: " + addressField(cmp.Or(m.To, uri), ""),
		"Call-ID: sipacltest",
		fmt.Sprintf("CSeq: 1 %s", method),
	}
	for _, c := range m.Contacts {
		lines = append(lines, "Contact: "+c)
	}
	lines = append(lines, "Content-Length: 0")
	lines = append(lines, m.Headers...)
	for _, line := range lines {
		if strings.ContainsAny(line, "\r\n") {
			return nil, fmt.Errorf("line break in %q", line)
		}
		if line == "" {
			return nil, errors.New("empty header field")
		}
	}
	text := strings.Join(lines, "\r\n") + "\r\n\r\n"
	msg, err := sip.ParseMessage([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w in\n%s", err, text)
	}
	req, ok := msg.(*sip.Request)
	if !ok {
		return nil, fmt.Errorf("not a request:\n%s", text)
	}
	return req, nil
}

// addressField is the value of a From or To field.
func addressField(text, params string) string {
	if strings.Contains(text, "<") {
		return text
	}
	return "<" + text + ">" + params
}

func (m Message) local() (netip.AddrPort, error) {
	if m.Local == "" {
		return netip.AddrPort{}, nil
	}
	ap, err := netip.ParseAddrPort(m.Local)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("local %q: %w", m.Local, err)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port()), nil
}

// connection is a TLS connection after its handshake.
type connection struct{ state tls.ConnectionState }

// ConnectionState returns what the handshake found out.
func (c *connection) ConnectionState() tls.ConnectionState { return c.state }

// connectionOf is a connection whose peer has shown a certificate for these
// names, or none without names.
func connectionOf(names []string) (*connection, error) {
	c := &connection{tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true}}
	if len(names) == 0 {
		return c, nil
	}
	cert := &x509.Certificate{}
	for _, name := range names {
		if !strings.Contains(name, ":") {
			cert.DNSNames = append(cert.DNSNames, name)
			continue
		}
		u, err := url.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("peer %q: %w", name, err)
		}
		cert.URIs = append(cert.URIs, u)
	}
	c.state.PeerCertificates = []*x509.Certificate{cert}
	c.state.VerifiedChains = [][]*x509.Certificate{{cert}}
	return c, nil
}
