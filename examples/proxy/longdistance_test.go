package main

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"
	"github.com/stretchr/testify/require"
)

// call sends an INVITE, answers the challenge if there is one, and returns
// both answers; 0 for none.
func (c caller) call(transport, uri, via, username, password string) (first, last int, sent *sip.Request) {
	var u sip.Uri
	require.NoError(c.t, sip.ParseUri(uri, &u))
	req := sip.NewRequest(sip.INVITE, u)
	req.SetTransport(transport)
	req.SetDestination(via)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	res, err := c.Do(ctx, req)
	require.NoError(c.t, err)
	if res.StatusCode != sip.StatusProxyAuthRequired {
		return res.StatusCode, 0, req
	}
	again, err := c.DoDigestAuth(ctx, req, res, sipgo.DigestAuth{Username: username, Password: password})
	require.NoError(c.t, err)
	return res.StatusCode, again.StatusCode, req
}

func TestLongDistanceIsForMembersOfLd(t *testing.T) {
	s, log := startProxy(t, config{})
	friend := newCaller(t, "127.0.0.1")
	at := "@" + s.addr.String()
	for _, transport := range transports {
		for _, c := range []struct {
			uri, user, password string
			first, last         int
		}{
			{"sip:bob", "", "", 200, 0},                         // no number
			{"sip:123", "", "", 200, 0},                         // near
			{"sip:0301234567", "alice", "wonderland", 407, 200}, // far
			{"sip:0301234567", "alice", "wrong", 407, 407},
			{"sip:0301234567", "nobody", "wonderland", 407, 407},
			{"sip:0301234567", "bob", "builder", 407, 403},         // not in ld
			{"sip:0044201234567", "alice", "wonderland", 407, 403}, // not of class international
			{"sip:0044201234567", "carol", "christmas", 407, 200},
			{"sip:+44201234567", "carol", "christmas", 407, 200},
			{"sip:+44201234567", "alice", "wonderland", 407, 403},
			{"sip:%30301234567", "bob", "builder", 407, 403}, // escapes do not help
			{"sip:(0)-30", "bob", "builder", 407, 403},
			{"sip:0301;x=1", "bob", "builder", 407, 403},
			{"sip:030/1", "bob", "builder", 407, 403},   // nor does what some gateway skips
			{"sip:%30301%zz", "bob", "builder", 403, 0}, // what is not well formed is not asked about
			{"sip:%09030/1", "bob", "builder", 407, 403},
			{"sip::0301", "bob", "builder", 403, 0},
		} {
			first, last, _ := friend.call(transport, c.uri+at, s.addr.String(), c.user, c.password)
			require.Equal(t, []int{c.first, c.last}, []int{first, last}, "%s %s %s", transport, c.uri, c.user)
		}
	}
	require.Contains(t, log.String(), `allowed: member (re_grp:id 1) \"carol\"`)
	require.Contains(t, log.String(), `refused: not a member \"bob\" -> \"ld\"`)

	_, err := s.store.Exec("INSERT INTO grp (username, domain, grp) VALUES ('bob', 'example.com', 'ld')")
	require.NoError(t, err)
	s.reload(t.Context())
	_, last, _ := friend.call("UDP", "sip:0301234567"+at, s.addr.String(), "bob", "builder")
	require.Equal(t, 200, last)
}

// The address still comes first: a stranger is not asked for a password.
func TestLongDistanceIsNoWayIn(t *testing.T) {
	s, _ := startProxy(t, config{})
	first, _, _ := newCaller(t, "127.0.0.2").call("UDP", "sip:0301234567@"+s.addr.String(), s.addr.String(), "alice", "wonderland")
	require.Equal(t, 403, first)
}

// Credentials are good once, and for the number they were made for.
func TestCredentialsAreGoodOnce(t *testing.T) {
	s, _ := startProxy(t, config{})
	friend := newCaller(t, "127.0.0.1")
	_, last, req := friend.call("UDP", "sip:0301234567@"+s.addr.String(), s.addr.String(), "alice", "wonderland")
	require.Equal(t, 200, last)
	replay := func(uri string) int {
		var u sip.Uri
		require.NoError(t, sip.ParseUri(uri, &u))
		again := sip.NewRequest(sip.INVITE, u)
		again.SetDestination(s.addr.String())
		again.AppendHeader(sip.HeaderClone(req.GetHeader("Proxy-Authorization")))
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		res, err := friend.Do(ctx, again)
		require.NoError(t, err)
		return res.StatusCode
	}
	require.Equal(t, 407, replay("sip:0301234567@"+s.addr.String()))
	require.Equal(t, 407, replay("sip:0307654321@"+s.addr.String()))
	require.Equal(t, 200, replay("sip:123@"+s.addr.String()))
}

// dialog sends messages on one connection and returns what comes back.
type dialog struct {
	t *testing.T
	net.Conn
	to string
}

func newDialog(t *testing.T, network, to string) dialog {
	c, err := net.Dial(network, to)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return dialog{t, c, to}
}

// send returns what comes back first, "" if nothing does within a second.
func (d dialog) send(message string) string {
	_, err := io.WriteString(d, message)
	require.NoError(d.t, err)
	require.NoError(d.t, d.SetReadDeadline(time.Now().Add(time.Second)))
	buf := make([]byte, 65536)
	n, _ := d.Read(buf)
	return string(buf[:n])
}

// copied sends a message until it is answered: a copy that comes while the
// transaction before it ends belongs to that one.
func (d dialog) copied(message string) (answer string) {
	for i := 0; answer == "" && i < 5; i++ {
		answer = d.send(message)
	}
	return answer
}

// credentials gives the header that answers the challenge to a message.
func (d dialog) credentials(message, uri, username, password string) string {
	_, challenge, _ := strings.Cut(d.send(message), "Proxy-Authenticate: ")
	challenge, _, _ = strings.Cut(challenge, "\r\n")
	c, err := digest.ParseChallenge(challenge)
	require.NoError(d.t, err)
	cred, err := digest.Digest(c, digest.Options{Method: "INVITE", URI: uri, Username: username, Password: password})
	require.NoError(d.t, err)
	return "Proxy-Authorization: " + cred.String() + "\r\n"
}

// A stream repeats nothing: a copy there is somebody else's call.
func TestCredentialsAreGoodOnceForCopiesToo(t *testing.T) {
	s, _ := startProxy(t, config{})
	far := strings.NewReplacer("sip:bob@", "sip:0301234567@", "SIP/2.0/UDP", "SIP/2.0/TCP")
	d := newDialog(t, "tcp", s.addr.String())
	header := d.credentials(far.Replace(request("INVITE", d.to, "")), "sip:0301234567@"+d.to, "alice", "wonderland")
	message := far.Replace(request("INVITE", d.to, header))
	require.Contains(t, d.send(message), "SIP/2.0 200 ")
	require.Contains(t, d.copied(message), "SIP/2.0 407 ")
	require.Contains(t, newDialog(t, "tcp", d.to).copied(message), "SIP/2.0 407 ")
}

// A request that lacks a header that it must have is not even challenged.
func TestCredentialsWithoutCallID(t *testing.T) {
	s, log := startProxy(t, config{})
	message := strings.Replace(request("INVITE", s.addr.String(), ""), "sip:bob@", "sip:0301234567@", 1)
	before, rest, _ := strings.Cut(message, "Call-ID: ")
	_, after, _ := strings.Cut(rest, "\r\n")
	require.NotContains(t, newDialog(t, "udp", s.addr.String()).send(before+after), "407")
	require.Contains(t, log.String(), "no Call-ID field")
	require.Equal(t, 200, newCaller(t, "127.0.0.1").send(sip.OPTIONS, "UDP", "sip:"+s.addr.String(), s.addr.String()))
}

func TestCredentialsStayHere(t *testing.T) {
	addr, got := callee(t)
	s, _ := startProxy(t, config{target: addr})
	_, last, _ := newCaller(t, "127.0.0.1").call("UDP", "sip:0301234567@"+s.addr.String(), s.addr.String(), "alice", "wonderland")
	require.Equal(t, 200, last)
	require.Nil(t, (<-got).GetHeader("Proxy-Authorization"))
}

// However they are written, how many there are, and with whatever method.
func TestCredentialsStayHereOthersPass(t *testing.T) {
	addr, got := callee(t)
	s, _ := startProxy(t, config{target: addr})
	d := newDialog(t, "udp", s.addr.String())
	ours := `proxy-authorization: Digest username="alice", realm="example.com", nonce="n", uri="u", response="r"` + "\r\n"
	theirs := `Proxy-Authorization: Digest username="alice", realm="example.org", nonce="n", uri="u", response="r"` + "\r\n"
	for _, method := range []string{"INVITE", "BYE", "ACK"} {
		d.send(request(method, d.to, ours+theirs))
		left := (<-got).GetHeaders("Proxy-Authorization")
		require.Len(t, left, 1, method)
		require.Contains(t, left[0].Value(), "example.org", method)
	}
}

// An account without ha1, as where passwords are kept in plain, is no account
// with an empty password.
func TestNoHA1IsNoPassword(t *testing.T) {
	s, _ := startProxy(t, config{})
	_, err := s.store.Exec("UPDATE subscriber SET ha1 = '' WHERE username = 'alice'")
	require.NoError(t, err)
	_, last, _ := newCaller(t, "127.0.0.1").call("UDP", "sip:0301234567@"+s.addr.String(), s.addr.String(), "alice", "")
	require.Equal(t, 407, last)
}

func TestNumberIsWhatAGatewayDials(t *testing.T) {
	for user, want := range map[string]string{
		"0301": "0301", "%30301": "0301", "%30%zz": "0zz", "%30%3": "03", "%30%": "0", "%": "",
		"%2B44": "+44", "%2b44": "+44", "(0)-30.1": "0301", "\t0301": "0301", "/0301": "0301", "\u00a00301": "0301",
		"%c2%a00301": "0301", "123;x=0": "123", "%2530": "30", "bob": "bob", "": "",
		"123;phone-context=+44": "+", "123%3bPhone%2DContext=+44": "+", "0301%3bx=1": "0301",
	} {
		require.Equal(t, want, number(sip.Uri{User: user}), user)
	}
}

func TestNoncesAgeAndCannotBeForged(t *testing.T) {
	a := newAuth(nil)
	for nonce, want := range map[string]bool{
		a.nonce(time.Now()):                    true,
		a.nonce(time.Now().Add(-2 * lifetime)): false,
		newAuth(nil).nonce(time.Now()):         false,
		"":                                     false,
		"00":                                   false,
	} {
		_, ok := a.fresh(nonce)
		require.Equal(t, want, ok, nonce)
	}
}
