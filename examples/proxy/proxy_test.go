package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/examples/internal/siptest"
	"github.com/sipacl/sipacl/examples/internal/socket"
)

func TestMain(m *testing.M) {
	siptest.Quiet()
	m.Run()
}

func startProxy(t *testing.T, cfg config) (*server, *siptest.Log) {
	log := new(siptest.Log)
	cfg.log = log
	if cfg.listen == "" {
		cfg.listen = "127.0.0.1:0"
	}
	if cfg.db == "" {
		cfg.db = filepath.Join(t.TempDir(), "proxy.db")
	}
	s, err := start(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(s.close)
	return s, log
}

// caller is a SIP client that sends from one address.
type caller struct {
	t    *testing.T
	from string
	*sipgo.Client
}

func newCaller(t *testing.T, from string) caller {
	return caller{t, from, siptest.Client(t, from)}
}

// send returns the status of the answer to a request, 0 if there is none.
func (c caller) send(method sip.RequestMethod, transport, uri, via string) int {
	var u sip.Uri
	require.NoError(c.t, sip.ParseUri(uri, &u))
	req := sip.NewRequest(method, u)
	req.SetTransport(transport)
	req.SetDestination(via)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	res, err := c.Do(ctx, req)
	if err != nil {
		return 0
	}
	return res.StatusCode
}

var transports = []string{"UDP", "TCP"}

func TestTheTableDecidesWhoIsAnswered(t *testing.T) {
	s, log := startProxy(t, config{})
	friend, stranger := newCaller(t, "127.0.0.1"), newCaller(t, "127.0.0.2")
	uri := "sip:bob@" + s.addr.String()
	ask := func(c caller, want int) {
		for _, transport := range transports {
			for _, method := range []sip.RequestMethod{sip.OPTIONS, sip.INVITE, sip.REGISTER, sip.MESSAGE, "FOO"} {
				require.Equal(t, want, c.send(method, transport, uri, s.addr.String()), "%s %s from %s", transport, method, c.from)
			}
		}
	}
	ask(friend, 200)
	ask(stranger, 403)
	require.Contains(t, log.String(), `127.0.0.1/32 group 200 (address:id 3) \"ThisMachine\"`)
	require.Regexp(t, `127\.0\.0\.2:\d+ tcp refused: no address matches`, log.String())

	_, err := s.store.Exec("UPDATE address SET ip = '127.0.0.2' WHERE ip = '127.0.0.1'")
	require.NoError(t, err)
	ask(friend, 200) // until the reload
	s.reload(t.Context())
	ask(friend, 403)
	ask(stranger, 200)

	_, err = s.store.Exec("UPDATE address SET mask = 33 WHERE ip = '127.0.0.2'")
	require.NoError(t, err)
	s.reload(t.Context())
	ask(stranger, 200) // the good generation stays
	require.Contains(t, log.String(), "address:id 3: mask")

	_, err = s.store.Exec("DROP TABLE address")
	require.NoError(t, err)
	s.reload(t.Context())
	ask(stranger, 200)
}

func TestTrunksAreLetInToo(t *testing.T) {
	s, _ := startProxy(t, config{})
	_, err := s.store.Exec("INSERT INTO trunks (grp, ip, mask) VALUES (1, '127.0.0.3', 32)")
	require.NoError(t, err)
	s.reload(t.Context())
	uri := "sip:bob@" + s.addr.String()
	require.Equal(t, 200, newCaller(t, "127.0.0.3").send(sip.OPTIONS, "UDP", uri, s.addr.String()))
	require.Equal(t, 403, newCaller(t, "127.0.0.2").send(sip.OPTIONS, "UDP", uri, s.addr.String()))
}

func TestDropAnswersNothing(t *testing.T) {
	s, _ := startProxy(t, config{drop: true})
	require.Zero(t, exchange(t, "udp", "127.0.0.2", s.addr.String(), request("INVITE", s.addr.String(), "")))
	require.Equal(t, 1, exchange(t, "udp", "127.0.0.1", s.addr.String(), request("OPTIONS", s.addr.String(), "")))
}

// A refused INVITE is answered once a copy, and its ACK not at all.
func TestRefusalIsNotRepeatedAndAckIsNotAnswered(t *testing.T) {
	s, _ := startProxy(t, config{})
	for _, network := range []string{"udp", "tcp"} {
		require.Equal(t, 1, exchange(t, network, "127.0.0.2", s.addr.String(), request("INVITE", s.addr.String(), "")), network)
		require.Zero(t, exchange(t, network, "127.0.0.2", s.addr.String(), request("ACK", s.addr.String(), "")), network)
	}
}

// exchange sends a message and counts the answers of the next 1.2 seconds,
// longer than a transaction waits for its first repetition.
func exchange(t *testing.T, network, from, to, message string) (answers int) {
	var local net.Addr = &net.UDPAddr{IP: net.ParseIP(from)}
	if network == "tcp" {
		local = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := (&net.Dialer{LocalAddr: local}).Dial(network, to)
	require.NoError(t, err)
	defer c.Close()
	_, err = io.WriteString(c, message)
	require.NoError(t, err)
	require.NoError(t, c.SetReadDeadline(time.Now().Add(1200*time.Millisecond)))
	buf := make([]byte, 65536)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return answers
		}
		answers += strings.Count(string(buf[:n]), "SIP/2.0 ") - strings.Count(string(buf[:n]), "Via: SIP/2.0 ")
	}
}

func request(method, uri, extra string) string {
	branch := fmt.Sprintf("z9hG4bK%d", time.Now().UnixNano())
	return strings.Join([]string{
		method + " sip:bob@" + uri + " SIP/2.0", "Via: SIP/2.0/UDP 192.0.2.99;branch=" + branch + ";rport",
		"From: <sip:a@example.com>;tag=1", "To: <sip:b@example.com>", "Call-ID: " + branch, "CSeq: 1 " + method,
		"Max-Forwards: 70", extra + "Content-Length: 0", "", "",
	}, "\r\n")
}

// callee is a user agent that is called through the proxy.
func callee(t *testing.T) (addr string, got <-chan *sip.Request) {
	ua, err := sipgo.NewUA()
	require.NoError(t, err)
	t.Cleanup(func() { ua.Close() })
	srv, err := sipgo.NewServer(ua)
	require.NoError(t, err)
	requests := make(chan *sip.Request, 16)
	answer := func(req *sip.Request, tx sip.ServerTransaction) {
		requests <- req
		if !req.IsAck() {
			_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
		}
	}
	srv.OnInvite(answer)
	srv.OnAck(answer)
	srv.OnNoRoute(answer)
	udp, tcp, at, err := socket.Both("127.0.0.1:0")
	require.NoError(t, err)
	go srv.ServeUDP(udp)
	go srv.ServeTCP(tcp)
	return at.String(), requests
}

func TestForwardsToTargetAndToOthers(t *testing.T) {
	addr, got := callee(t)
	s, _ := startProxy(t, config{target: addr})
	friend, stranger := newCaller(t, "127.0.0.1"), newCaller(t, "127.0.0.2")
	for _, transport := range transports {
		for _, uri := range []string{"sip:bob@" + s.addr.String(), "sip:bob@" + addr} {
			require.Equal(t, 200, friend.send(sip.INVITE, transport, uri, s.addr.String()), "%s %s", transport, uri)
			req := <-got
			require.Equal(t, transport, req.Transport())
			require.Len(t, req.GetHeaders("Via"), 2)
			require.Len(t, req.GetHeaders("Record-Route"), 1)
			require.Equal(t, uint32(69), req.MaxForwards().Val())
			require.Equal(t, 403, stranger.send(sip.INVITE, transport, uri, s.addr.String()))
		}
	}
	require.Empty(t, got)
}

func TestRefusesLoopsAndForeignRoutes(t *testing.T) {
	addr, got := callee(t)
	s, _ := startProxy(t, config{})
	udp, tcp, free, err := socket.Both("127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, errors.Join(udp.Close(), tcp.Close()))
	self, _ := startProxy(t, config{listen: free.String(), target: free.String()})
	for _, c := range []struct {
		to, extra string
		s         *server
	}{
		{self.addr.String(), "", self},
		{addr, "Route: <sip:198.51.100.1;lr>\r\n", s},
		{addr, "Route: <sip:" + s.addr.String() + ";lr>, <sip:198.51.100.1;lr>\r\n", s},
		{"[::1", "", s},
	} {
		exchange(t, "udp", "127.0.0.1", c.s.addr.String(), request("OPTIONS", c.to, c.extra))
		require.Empty(t, got, "%v", c)
	}
	require.Equal(t, 482, newCaller(t, "127.0.0.1").send(sip.OPTIONS, "UDP", "sip:"+self.addr.String(), self.addr.String()))
	exchange(t, "udp", "127.0.0.1", s.addr.String(), request("OPTIONS", addr, "Route: <sip:"+s.addr.String()+";lr>\r\n"))
	require.Len(t, got, 1)
}

// An ACK that nobody answers must not go round without end either.
func TestAckIsForwardedWhereARequestWouldBe(t *testing.T) {
	addr, got := callee(t)
	s, _ := startProxy(t, config{target: addr})
	send := func(ack string) { exchange(t, "udp", "127.0.0.1", s.addr.String(), ack) }
	ack := request("ACK", addr, "")
	send(strings.Replace(ack, "Max-Forwards: 70", "Max-Forwards: 0", 1))
	send(strings.Replace(ack, "ACK sip:", "ACK sips:", 1))
	require.Empty(t, got)
	send(ack)
	require.Len(t, got, 1)
	require.Equal(t, uint32(69), (<-got).MaxForwards().Val())
}

func TestSecondStartKeepsTheTables(t *testing.T) {
	file := filepath.Join(t.TempDir(), "proxy.db")
	s, _ := startProxy(t, config{db: file})
	_, err := s.store.Exec("DELETE FROM address")
	require.NoError(t, err)
	s.close()
	s, _ = startProxy(t, config{db: file})
	require.Equal(t, 403, newCaller(t, "127.0.0.1").send(sip.OPTIONS, "UDP", "sip:"+s.addr.String(), s.addr.String()))
}

func TestGreetingNamesGroupsAndCommands(t *testing.T) {
	s, _ := startProxy(t, config{})
	text := s.greeting(1)
	for _, want := range []string{"ThisMachine", "TestServer", "OfficeSubnet", "ExampleCarrier", "go run ./examples/ping -from 127.0.0.2 127.0.0.1:"} {
		require.Contains(t, text, want)
	}
}
