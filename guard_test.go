package sipacl

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// diago.WithServerRequestMiddleware takes this type; Guard.Wrap is of it without
// a conversion.
var _ middleware = new(Guard).Wrap

type middleware = func(next sipgo.RequestHandler) sipgo.RequestHandler

// And the method values and results of the package are checks.
var _ = []Check{
	Partition{}.Sources(), Partition{}.AnySource(), Partition{}.SourceGroup, AllOf(), AnyOf(), ByMethod(nil), new(Guard).Decide,
	Rules{}.Routing(), Rules{}.AllowRegister, Rules{}.AllowRegisterWithPort, Rules{}.AllowReferTo, Trusted{}.AllowTrusted,
	new(Protector).CheckRegister, new(ACLList).Check, new(ACLList).Contacts(ContactConfig{}),
}

func init() { sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) }

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// friends is group 200: this machine as everybody knows it, but not 127.0.0.2.
func friends() Partition {
	return mustPartition(
		AddressRow{Group: 200, Prefix: netip.MustParsePrefix("127.0.0.1/32"), Info: "ThisMachine"},
		AddressRow{Group: 200, Prefix: netip.MustParsePrefix("::1/128"), Info: "ThisMachine"},
	)
}

const (
	friend   = "127.0.0.1"
	stranger = "127.0.0.2"
)

var (
	transports = []string{"udp", "tcp", "tls", "ws", "wss"}
	streams    = transports[1:]
)

// peer is a sipgo server on one socket.
type peer struct {
	*sipgo.Server
	addr string
	done chan string      // the method, after the handler of a request returned
	seen chan sip.Request // what an unguarded handler was given
}

// gates are what may stand between the socket and the handler.
type gates struct {
	listen     string                                      // "127.0.0.1:0" if ""
	filter     sip.TransportReadFilter                     // bytes
	listener   func(l net.Listener, t string) net.Listener // connections
	packetConn func(c net.PacketConn) net.PacketConn       // datagrams
	guard      middleware                                  // requests; INFO is never guarded
}

// serve starts a peer. Every method is answered 200, behind the guard if
// there is one.
func serve(t testing.TB, transport string, g gates) *peer {
	var options []sip.TransportLayerOption
	if g.filter != nil {
		options = append(options, sip.WithTransportLayerReadFilter(g.filter))
	}
	ua, err := sipgo.NewUA(sipgo.WithUserAgentTransportLayerOptions(options...))
	require.NoError(t, err)
	s, err := sipgo.NewServer(ua)
	require.NoError(t, err)
	p := &peer{Server: s, done: make(chan string, 1000), seen: make(chan sip.Request, 1000)}
	p.handle(g)
	if g.listen == "" {
		g.listen = "127.0.0.1:0"
	}
	closeSocket, ended := p.start(t, transport, g)
	t.Cleanup(func() {
		closeSocket()
		<-ended
		require.NoError(t, ua.Close())
	})
	return p
}

func (p *peer) handle(g gates) {
	told := func(next sipgo.RequestHandler) sipgo.RequestHandler {
		return func(req *sip.Request, tx sip.ServerTransaction) {
			next(req, tx)
			p.done <- req.Method.String()
		}
	}
	answer := func(req *sip.Request, tx sip.ServerTransaction) {
		p.seen <- *req
		if !req.IsAck() {
			_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
		}
	}
	chain := func(h sipgo.RequestHandler) sipgo.RequestHandler {
		if g.guard != nil {
			h = g.guard(h)
		}
		return told(h)
	}
	for _, m := range []sip.RequestMethod{sip.INVITE, sip.OPTIONS, sip.BYE, sip.REGISTER, sip.CANCEL} {
		p.OnRequest(m, chain(answer))
	}
	p.OnAck(chain(func(*sip.Request, sip.ServerTransaction) {}))
	p.OnNoRoute(chain(answer))
	p.OnInfo(answer)
}

// start opens the socket. ended is closed when serving is over.
func (p *peer) start(t testing.TB, transport string, g gates) (stop func(), ended chan struct{}) {
	ended = make(chan struct{})
	run := func(f func() error) {
		go func() {
			defer close(ended)
			_ = f() // how it ends is no matter: the socket is closed
		}()
	}
	if transport == "udp" {
		c, err := net.ListenPacket("udp", g.listen)
		require.NoError(t, err)
		p.addr = c.LocalAddr().String()
		gated := c
		if g.packetConn != nil {
			gated = g.packetConn(c)
		}
		run(func() error { return p.ServeUDP(gated) })
		return func() { _ = c.Close() }, ended
	}
	l, err := net.Listen("tcp", g.listen)
	require.NoError(t, err)
	p.addr = l.Addr().String()
	gated := l
	if g.listener != nil {
		gated = g.listener(l, transport)
	}
	switch transport {
	case "tcp":
		run(func() error { return p.ServeTCP(gated) })
	case "tls":
		run(func() error { return p.ServeTLS(tls.NewListener(gated, serverTLS(t))) })
	case "ws":
		run(func() error { return p.ServeWS(gated) })
	case "wss":
		run(func() error { return p.ServeWSS(tls.NewListener(gated, serverTLS(t))) })
	default:
		t.Fatal(transport)
	}
	return func() { _ = l.Close() }, ended
}

// handled waits until the handlers have returned from requests of these
// methods, in this order.
func (p *peer) handled(t testing.TB, methods ...string) {
	for _, want := range methods {
		select {
		case m := <-p.done:
			require.Equal(t, want, m)
		case <-time.After(patience):
			t.Fatalf("%s was not handled", want)
		}
	}
}

// serverTLS makes a certificate for the loopback addresses.
func serverTLS(t testing.TB) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// client is the other end, without a SIP stack that could hide something.
type client struct {
	net.Conn
	in        *bufio.Reader
	transport string
}

// connect dials from an address and makes the handshakes of the transport.
func connect(t testing.TB, transport, from, to string) *client {
	c, err := tryDial(transport, from, to)
	require.NoError(t, err, "%s from %s", transport, from)
	t.Cleanup(func() { c.Close() })
	return c
}

func tryDial(transport, from, to string) (c *client, err error) {
	d := net.Dialer{Timeout: patience, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	network := "tcp"
	if transport == "udp" {
		d.LocalAddr, network = &net.UDPAddr{IP: net.ParseIP(from)}, "udp"
	}
	conn, err := d.Dial(network, to)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			conn.Close()
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if transport == "tls" || transport == "wss" {
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // the certificate is a moment old
		if err := secure.Handshake(); err != nil {
			return nil, err
		}
		conn = secure
	}
	c = &client{conn, bufio.NewReaderSize(conn, 65536), transport}
	if strings.HasPrefix(transport, "ws") {
		err = c.upgrade(to)
	}
	return c, err
}

// upgrade makes the handshake of RFC 6455.
func (c *client) upgrade(host string) error {
	_, err := fmt.Fprintf(c.Conn, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n", host)
	if err != nil {
		return err
	}
	head, err := c.head()
	if err == nil && !strings.HasPrefix(head, "HTTP/1.1 101") {
		err = errors.New(head)
	}
	return err
}

// head reads up to an empty line.
func (c *client) head() (string, error) {
	var b strings.Builder
	for {
		line, err := c.in.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String(), err
		}
	}
}

// send writes one message; it does not mind if nobody reads it.
func (c *client) send(message string) {
	_ = c.SetWriteDeadline(time.Now().Add(patience))
	if strings.HasPrefix(c.transport, "ws") {
		frame := binary.BigEndian.AppendUint16([]byte{0x81, 0x80 | 126}, uint16(len(message)))
		message = string(append(frame, 0, 0, 0, 0)) + message // a text frame whose mask changes nothing
	}
	_, _ = io.WriteString(c.Conn, message)
}

// receive reads one message of the peer, without a body.
func (c *client) receive(within time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	switch c.transport {
	case "udp":
		buf := make([]byte, 65536)
		n, err := c.Conn.Read(buf)
		return string(buf[:n]), err
	case "ws", "wss":
		head := make([]byte, 2)
		if _, err := io.ReadFull(c.in, head); err != nil {
			return "", err
		}
		n := uint16(head[1])
		if n == 126 {
			if err := binary.Read(c.in, binary.BigEndian, &n); err != nil {
				return "", err
			}
		}
		if head[0]&0x0f == 8 {
			return "", io.EOF
		}
		text := make([]byte, n)
		_, err := io.ReadFull(c.in, text)
		return string(text), err
	}
	return c.head()
}

// answer is the next message, which must come.
func (c *client) answer(t testing.TB) string {
	m, err := c.receive(patience)
	require.NoError(t, err)
	return m
}

// ask sends a message, again and again over UDP, and returns the answer.
func (c *client) ask(t testing.TB, message string) string {
	for deadline := time.Now().Add(patience); c.transport == "udp" && time.Now().Before(deadline); {
		c.send(message)
		if m, err := c.receive(500 * time.Millisecond); err == nil {
			return m
		}
	}
	c.send(message)
	return c.answer(t)
}

// closed waits until the peer closes the connection, without a word before.
func (c *client) closed(t testing.TB) {
	m, err := c.receive(patience)
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Empty(t, m)
}

// refused connects and is cut off, perhaps before it knows that it was
// connected.
func refused(t testing.TB, from, to string) {
	c, err := tryDial("tcp", from, to)
	if err != nil {
		require.ErrorIs(t, err, syscall.ECONNRESET)
		return
	}
	defer c.Close()
	c.closed(t)
}

var branches atomic.Uint64

// sipRequest makes a message whose Via lies about everything it can.
func sipRequest(method, transport string) string {
	return bareRequest(method, transport) +
		"From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n" +
		fmt.Sprintf("Call-ID: call-%d@example.com\r\n", branches.Load()) + "Content-Length: 0\r\n\r\n"
}

// bareRequest is what sipgo's transaction layer is content with, up to the
// last header.
func bareRequest(method, transport string) string {
	return fmt.Sprintf("%s sip:bob@example.com SIP/2.0\r\n"+
		"Via: SIP/2.0/%s 192.0.2.99:7;branch=z9hG4bK%d;rport;received=192.0.2.98\r\nCSeq: 1 %[1]s\r\n",
		method, strings.ToUpper(transport), branches.Add(1))
}

// ackOf is the ACK for a response to invite that is no 2xx.
func ackOf(invite string) string { return strings.ReplaceAll(invite, "INVITE", "ACK") }

func firstLine(m string) string { return strings.SplitN(m, "\r\n", 2)[0] }

func headerOf(m, name string) string {
	for _, line := range strings.Split(m, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+": "); ok {
			return value
		}
	}
	return ""
}

// silence asks what is always answered and wants that answer next: whatever
// was sent before would come first. The handlers must have returned.
func (c *client) silence(t testing.TB) {
	probe := sipRequest("INFO", c.transport)
	c.send(probe)
	require.Equal(t, headerOf(probe, "Call-ID"), headerOf(c.answer(t), "Call-ID"), "something was answered")
}

// overall runs a test for every transport.
func overall(t *testing.T, transports []string, f func(t *testing.T, transport string)) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			f(t, transport)
		})
	}
}

func TestGuardLetsFriendsThroughAndAnswersStrangersOnce(t *testing.T) {
	overall(t, transports, func(t *testing.T, transport string) {
		p := serve(t, transport, gates{guard: NewGuard(GuardConfig{Check: friends().Sources(200), Reject: RespondOnce(403, "Forbidden")}).Wrap})
		good := connect(t, transport, friend, p.addr)
		require.Equal(t, "SIP/2.0 200 OK", firstLine(good.ask(t, sipRequest("OPTIONS", transport))))
		p.handled(t, "OPTIONS")

		bad := connect(t, transport, stranger, p.addr)
		invite := sipRequest("INVITE", transport)
		bad.send(invite)
		first := bad.answer(t)
		require.Equal(t, "SIP/2.0 403 Forbidden", firstLine(first))
		require.Contains(t, headerOf(first, "To"), ";tag=")
		p.handled(t, "INVITE")

		// A copy is a new request to a server that keeps no transaction. It
		// may be swallowed while the one of the first is being taken down.
		require.Equal(t, first, bad.ask(t, invite), "a copy gets the same answer, To tag included")
		p.handled(t, "INVITE")
		bad.send(ackOf(invite))
		p.handled(t, "ACK")
		bad.silence(t)
	})
}

func TestDropAnswersNothing(t *testing.T) {
	overall(t, transports, func(t *testing.T, transport string) {
		p := serve(t, transport, gates{guard: NewGuard(GuardConfig{Check: friends().Sources(200), Reject: Drop()}).Wrap})
		bad := connect(t, transport, stranger, p.addr)
		invite := sipRequest("INVITE", transport)
		for _, m := range []string{invite, ackOf(invite), sipRequest("OPTIONS", transport), sipRequest("FROBNICATE", transport)} {
			bad.send(m)
			p.handled(t, strings.Fields(m)[0])
		}
		bad.silence(t)
	})
}

func TestRespondRepeatsUntilAckOverUDP(t *testing.T) {
	t.Parallel()
	p := serve(t, "udp", gates{guard: NewGuard(GuardConfig{Reject: Respond(403, "Forbidden")}).Wrap})
	c := connect(t, "udp", stranger, p.addr)
	invite := sipRequest("INVITE", "udp")
	c.send(invite)
	first := c.answer(t)
	require.Equal(t, "SIP/2.0 403 Forbidden", firstLine(first))
	require.Equal(t, first, c.answer(t), "timer G")
	c.send(ackOf(invite))
	_, err := c.receive(1300 * time.Millisecond) // the next would come after a second
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestRespondOverStreamsIsOneAnswerAndAckIsAbsorbed(t *testing.T) {
	overall(t, streams, func(t *testing.T, transport string) {
		p := serve(t, transport, gates{guard: NewGuard(GuardConfig{Check: friends().Sources(200), Reject: Respond(480, "Gone")}).Wrap})
		c := connect(t, transport, stranger, p.addr)
		invite := sipRequest("INVITE", transport)
		c.send(invite)
		require.Equal(t, "SIP/2.0 480 Gone", firstLine(c.answer(t)))
		p.handled(t, "INVITE")
		c.send(ackOf(invite)) // to the transaction, or to OnAck when that is over
		c.silence(t)
	})
}

func TestGuardCoversEveryMethod(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	p := serve(t, "tcp", gates{guard: NewGuard(GuardConfig{
		Check:   friends().Sources(200),
		Observe: func(Event) { asked.Add(1) },
	}).Wrap})
	c := connect(t, "tcp", stranger, p.addr)
	for i, m := range []string{"OPTIONS", "BYE", "REGISTER", "CANCEL", "MESSAGE", "SUBSCRIBE", "FROBNICATE", "INVITE"} {
		c.send(sipRequest(m, "tcp"))
		require.Equal(t, "SIP/2.0 403 Forbidden", firstLine(c.answer(t)), m)
		p.handled(t, m)
		require.Equal(t, int32(i+1), asked.Load())
	}
	require.Empty(t, p.seen)
}

// A request with Via and CSeq alone reaches handlers.
func TestRequestWithoutFromToAndCallIDDoesNotPanic(t *testing.T) {
	for name, reject := range map[string]Reject{
		"Respond":     Respond(403, "Forbidden"),
		"RespondOnce": RespondOnce(403, "Forbidden"),
		"default":     nil,
		"Drop":        Drop(),
	} {
		t.Run(name, func(t *testing.T) {
			overall(t, []string{"udp", "tcp"}, func(t *testing.T, transport string) {
				p := serve(t, transport, gates{guard: NewGuard(GuardConfig{Check: friends().Sources(200), Reject: reject}).Wrap})
				bad := connect(t, transport, stranger, p.addr)
				for _, m := range []string{"OPTIONS", "REGISTER", "ACK"} {
					bad.send(bareRequest(m, transport) + "Content-Length: 0\r\n\r\n")
					p.handled(t, m)
					if name != "Drop" && m != "ACK" {
						require.Equal(t, "SIP/2.0 403 Forbidden", firstLine(bad.answer(t)))
					}
				}
				bad.silence(t)
			})
		})
	}
}

func TestSourceIsTheSocket(t *testing.T) {
	for _, test := range []struct{ listen, from, to string }{
		{"127.0.0.1:0", stranger, friend},
		{"[::1]:0", "::1", "::1"},
		{"[::]:0", stranger, friend}, // the socket says ::ffff:127.0.0.2
	} {
		t.Run(test.listen, func(t *testing.T) {
			overall(t, transports, func(t *testing.T, transport string) {
				p := serve(t, transport, gates{listen: test.listen})
				_, port, err := net.SplitHostPort(p.addr)
				require.NoError(t, err)
				c := connect(t, transport, test.from, net.JoinHostPort(test.to, port))
				c.ask(t, sipRequest("OPTIONS", transport))

				req := <-p.seen
				s, err := SourceOf(&req)
				require.NoError(t, err)
				local := netip.MustParseAddrPort(c.LocalAddr().String())
				require.Equal(t, Source{netip.MustParseAddr(test.from), local.Port(), mustProto(transport)}, s)
			})
		})
	}
}

func mustProto(s string) Proto {
	p, err := ParseProto(s)
	if err != nil {
		panic(err)
	}
	return p
}

func TestRequestWithoutASocketHasNoSource(t *testing.T) {
	m, err := sip.ParseMessage([]byte(sipRequest("OPTIONS", "udp")))
	require.NoError(t, err)
	req := m.(*sip.Request)
	require.Equal(t, "192.0.2.98:7", req.Source(), "sipgo believes Via then")
	_, err = SourceOf(req)
	require.ErrorIs(t, err, ErrNoSource)

	p := mustPartition(AddressRow{Prefix: netip.MustParsePrefix("0.0.0.0/0")})
	for _, d := range []Decision{
		p.CheckSourceAddress(RequestOf(req, nil), 0, ""), p.SourceGroup(RequestOf(req, nil)), p.Sources(0)(RequestOf(req, nil)), p.AnySource()(RequestOf(req, nil)),
		p.CheckSourceAddress(Request{}, 0, ""), p.SourceGroup(Request{}), p.Sources(0)(Request{}), p.AnySource()(Request{}),
	} {
		require.Equal(t, Decision{Cause: CauseNoSource}, d)
	}
}

func TestReadFilterDropsDatagramsAndTheListenerLivesOn(t *testing.T) {
	t.Parallel()
	p := serve(t, "udp", gates{filter: peers(friends().Sources(200)).Filter()})
	bad, good := connect(t, "udp", stranger, p.addr), connect(t, "udp", friend, p.addr)
	for range 3 {
		// Without a filter the first would provoke a 400, the second a 200.
		bad.send(strings.Replace(sipRequest("OPTIONS", "udp"), "CSeq: 1 OPTIONS\r\n", "", 1))
		bad.send(sipRequest("OPTIONS", "udp"))
		bad.send("\r\n\r\n")
		bad.send("junk")
		require.Equal(t, "SIP/2.0 200 OK", firstLine(good.ask(t, sipRequest("OPTIONS", "udp"))))
		req := <-p.seen
		require.True(t, strings.HasPrefix(req.MessageData.Source(), friend+":"))
	}
	require.Empty(t, p.seen)
	_, err := bad.receive(10 * time.Millisecond)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

func TestReadFilterClosesRefusedConnections(t *testing.T) {
	overall(t, streams, func(t *testing.T, transport string) {
		p := serve(t, transport, gates{filter: peers(friends().Sources(200)).Filter()})
		bad, good := connect(t, transport, stranger, p.addr), connect(t, transport, friend, p.addr)
		bad.send(sipRequest("OPTIONS", transport))
		bad.closed(t)
		require.Equal(t, "SIP/2.0 200 OK", firstLine(good.ask(t, sipRequest("OPTIONS", transport))))
		require.Len(t, p.seen, 1)
	})
}

// A filter that fails on UDP would end the listener, whatever it is told.
func TestReadFilterFailsOnStreamsOnly(t *testing.T) {
	addr := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5060}
	for _, f := range []sip.TransportReadFilter{
		(*Guard)(nil).Filter(),
		peers(nil).Filter(),
		peers(func(Request) Decision { return Decision{} }).Filter(),
		peers(Partition{}.Sources(0)).Filter(),
	} {
		for transport, closes := range map[string]bool{
			"UDP": false, "udp": false, "": false, "SCTP": false, "any": false, "junk": false,
			"TCP": true, "TLS": true, "WS": true, "WSS": true, "wss": true,
		} {
			for _, from := range []net.Addr{addr, nil, (*net.UDPAddr)(nil), (*net.TCPAddr)(nil), &net.IPAddr{}} {
				data, err := f(sip.TransportReadProps{Transport: transport, RemoteAddr: from}, []byte("x"))
				require.Empty(t, data)
				require.Equal(t, closes, err != nil, "%q %v", transport, from)
			}
		}
	}
}

func TestListenerClosesBeforeTheHandshake(t *testing.T) {
	overall(t, streams, func(t *testing.T, transport string) {
		p := serve(t, transport, gates{listener: peers(friends().Sources(200)).Listener})
		refused(t, stranger, p.addr)
		good := connect(t, transport, friend, p.addr)
		require.Equal(t, "SIP/2.0 200 OK", firstLine(good.ask(t, sipRequest("OPTIONS", transport))))
	})
}

// sipgo makes the WebSocket handshake between two accepts: one silent
// connection that it accepts keeps all others waiting.
func TestSilentRefusedConnectionDoesNotBlockOthers(t *testing.T) {
	overall(t, streams, func(t *testing.T, transport string) {
		p := serve(t, transport, gates{listener: peers(friends().Sources(200)).Listener})
		for range 3 {
			if c, err := tryDial("tcp", stranger, p.addr); err == nil { // and says nothing
				defer c.Close()
			}
		}
		good := connect(t, transport, friend, p.addr)
		require.Equal(t, "SIP/2.0 200 OK", firstLine(good.ask(t, sipRequest("OPTIONS", transport))))
	})
}

func TestPacketConnSkipsRefusedDatagrams(t *testing.T) {
	t.Parallel()
	p := serve(t, "udp", gates{packetConn: peers(friends().Sources(200)).PacketConn})
	bad, good := connect(t, "udp", stranger, p.addr), connect(t, "udp", friend, p.addr)
	bad.send(sipRequest("OPTIONS", "udp"))
	bad.send("junk")
	require.Equal(t, "SIP/2.0 200 OK", firstLine(good.ask(t, sipRequest("OPTIONS", "udp"))))
	require.Len(t, p.seen, 1)
}

func TestWithoutPeersEverythingIsRefused(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer c.Close()
	gated := NewGuard(GuardConfig{Check: friends().AnySource()}).PacketConn(c)
	connect(t, "udp", friend, c.LocalAddr().String()).send("x")
	require.NoError(t, gated.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
	_, _, err = gated.ReadFrom(make([]byte, 10))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		_, err := (*Guard)(nil).Listener(l, "tcp").Accept()
		ended <- err
	}()
	refused(t, friend, l.Addr().String())
	require.NoError(t, l.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
}

// The library works without sipgo's sockets: ListenAndServe makes its own.
func TestGuardBehindListenAndServe(t *testing.T) {
	t.Parallel()
	ua, err := sipgo.NewUA()
	require.NoError(t, err)
	defer ua.Close()
	s, err := sipgo.NewServer(ua)
	require.NoError(t, err)
	guard := NewGuard(GuardConfig{Check: friends().Sources(200)})
	s.OnOptions(guard.Wrap(func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
	}))
	ready := make(chan string, 1)
	//lint:ignore SA1029 that its key is a string is sipgo's choice
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), sipgo.ListenReadyCtxKey,
		sipgo.ListenReadyFuncCtxValue(func(_, addr string) { ready <- addr })))
	ended := make(chan error)
	go func() { ended <- s.ListenAndServe(ctx, "udp", "127.0.0.1:0") }()
	addr := <-ready
	good, bad := connect(t, "udp", friend, addr), connect(t, "udp", stranger, addr)
	require.Equal(t, "SIP/2.0 200 OK", firstLine(good.ask(t, sipRequest("OPTIONS", "udp"))))
	require.Equal(t, "SIP/2.0 403 Forbidden", firstLine(bad.ask(t, sipRequest("OPTIONS", "udp"))))
	cancel()
	<-ended
}

func TestZeroGuardRefuses(t *testing.T) {
	called := false
	next := func(*sip.Request, sip.ServerTransaction) { called = true }
	var heard []Decision
	g := NewGuard(GuardConfig{Reject: func(_ Request, _ sip.ServerTransaction, d Decision) { heard = append(heard, d) }})
	g.Wrap(next)(mustRequest("INVITE", ""), nil)
	require.False(t, called)
	require.Equal(t, []Decision{{}}, heard)
}

func TestNothingIsSentToAnAck(t *testing.T) {
	g := NewGuard(GuardConfig{Reject: func(Request, sip.ServerTransaction, Decision) { t.Error("rejected") }})
	g.Wrap(func(*sip.Request, sip.ServerTransaction) { t.Error("passed") })(sip.NewRequest(sip.ACK, sip.Uri{}), nil)
}

func TestChainsOfChecks(t *testing.T) {
	yes := func(Request) Decision { return Decision{Allowed: true, Info: "yes"} }
	no := func(Request) Decision { return Decision{Info: "no"} }
	never := func(Request) Decision { t.Error("asked too much"); return Decision{} }
	for name, test := range map[string]struct {
		check Check
		want  Decision
	}{
		"all of none":      {AllOf(), Decision{}},
		"all":              {AllOf(yes, yes), yes(Request{})},
		"all, first no":    {AllOf(yes, no, never), no(Request{})},
		"all, one is nil":  {AllOf(yes, nil, never), Decision{}},
		"any of none":      {AnyOf(), Decision{}},
		"any, first yes":   {AnyOf(no, yes, never), yes(Request{})},
		"any, all no":      {AnyOf(no, no), no(Request{})},
		"any, one is nil":  {AnyOf(nil, yes), yes(Request{})},
		"any, all are nil": {AnyOf(nil, nil), Decision{}},
	} {
		require.Equal(t, test.want, test.check(Request{}), name)
	}
	list := []Check{no}
	check := AllOf(list...)
	list[0] = yes
	require.False(t, check(Request{}).Allowed, "a check does not change after it is made")
}

// written keeps the responses of RespondOnce.
type written struct {
	sip.ServerTransaction
	all []*sip.Response
}

func (w *written) Respond(r *sip.Response) error { w.all = append(w.all, r); return nil }

func TestToTagIsMadeFromTheRequestAndASecret(t *testing.T) {
	parse := func(m string) *sip.Request {
		p, err := sip.ParseMessage([]byte(m))
		require.NoError(t, err)
		req := p.(*sip.Request)
		req.SetSource("192.0.2.1:5060")
		req.SetTransport("UDP")
		return req
	}
	tag := func(r *sip.Response) string { return r.To().Params.GetOr("tag", "") }
	var w written
	once, other := RespondOnce(403, "Forbidden"), RespondOnce(403, "Forbidden")
	m := sipRequest("INVITE", "udp")
	once(RequestOf(parse(m), nil), &w, Decision{})
	once(RequestOf(parse(m), nil), &w, Decision{})
	require.NotEmpty(t, tag(w.all[0]))
	require.Equal(t, tag(w.all[0]), tag(w.all[1]))
	other(RequestOf(parse(m), nil), &w, Decision{})
	require.NotEqual(t, tag(w.all[0]), tag(w.all[2]), "another server, another secret")
	for old, changed := range map[string]string{"CSeq: 1": "CSeq: 2", "Call-ID: c": "Call-ID: d", "tag=1": "tag=2", "bK": "bKx"} {
		once(RequestOf(parse(strings.Replace(m, old, changed, 1)), nil), &w, Decision{})
		require.NotEqual(t, tag(w.all[0]), tag(w.all[len(w.all)-1]), old)
	}
	once(RequestOf(parse(strings.Replace(m, "To: <sip:bob@example.com>", "To: <sip:bob@example.com>;tag=dialog", 1)), nil), &w, Decision{})
	require.Equal(t, "dialog", tag(w.all[len(w.all)-1]), "within a dialog the tag is the dialog's")
}

// peers is a guard that stands before the parser only.
func peers(check Check) *Guard { return NewGuard(GuardConfig{Peers: check}) }
