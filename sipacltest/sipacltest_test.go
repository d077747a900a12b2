package sipacltest

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// route is logic under test: program p09 of the design.
func route(trunks sipacl.Partition, rules sipacl.Rules) sipacl.Check {
	return sipacl.AllOf(trunks.Sources(1), rules.Routing())
}

func TestOnlyTheTrunkCallsAbroad(t *testing.T) {
	check := route(
		Partition(t, sipacl.AddressRow{Group: 1, Prefix: netip.MustParsePrefix("203.0.113.0/24"), Info: "carrier"}),
		Rules(t, "", `ALL : "^sip:00[0-9]*@"`),
	)
	home := Message{Method: "INVITE", URI: "sip:1234@example.com", Source: "203.0.113.9:5060 udp"}
	Allowed(t, check, home)

	abroad := home
	abroad.URI = "sip:0044123@example.com"
	Refused(t, check, abroad, sipacl.CauseDenyRule)

	stranger := home
	stranger.Source = "198.51.100.1:5060 udp"
	Refused(t, check, stranger, sipacl.CauseNoAddress)

	d := check(home.Request(t))
	if d.Info != "carrier" { // AllOf keeps the row that an earlier check found
		t.Error(sipacl.Explain(check, home.Request(t)))
	}
}

// failing is a test that may fail.
type failing struct {
	testing.TB
	errors []string
	fatal  bool
}

func (f *failing) Helper() {}

func (f *failing) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	f.fatal = true
	runtime.Goexit()
}

func (f *failing) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

// run runs a test and returns what it printed.
func run(test func(testing.TB)) *failing {
	f := &failing{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(f)
	}()
	<-done
	return f
}

func TestAllowedAndRefusedFailWhenTheyMust(t *testing.T) {
	trunks := Partition(t, sipacl.AddressRow{Group: 1, Prefix: netip.MustParsePrefix("203.0.113.0/24"), Info: "carrier"})
	check := trunks.Sources(1)
	trunk := Message{Method: "INVITE", URI: "sip:1234@example.com", Source: "203.0.113.9:5060 udp"}
	stranger := Message{Source: "198.51.100.1:5061 tls"}

	for name, c := range map[string]struct {
		test func(testing.TB)
		want string
	}{
		"allowed": {func(t testing.TB) { Allowed(t, check, trunk) }, ""},
		"refused": {func(t testing.TB) { Refused(t, check, stranger, sipacl.CauseNoAddress) }, ""},
		"want allowed": {func(t testing.TB) { Allowed(t, check, stranger) },
			"OPTIONS sip:example.com: want it allowed\n198.51.100.1:5061 tls refused: no address matches"},
		"want refused": {func(t testing.TB) { Refused(t, check, trunk, sipacl.CauseNoAddress) },
			"INVITE sip:1234@example.com: want it refused: no address matches\n" +
				"203.0.113.9:5060 udp allowed: address matches 203.0.113.0/24 group 1 \"carrier\"\n" +
				"  + address:default group 1 203.0.113.0/24 port any proto any"},
		"another cause": {func(t testing.TB) { Refused(t, check, stranger, sipacl.CauseDeny) },
			"OPTIONS sip:example.com: want it refused: ACL denies\n198.51.100.1:5061 tls refused: no address matches"},
		"allowed with that cause": {func(t testing.TB) { Refused(t, check, trunk, sipacl.CauseAddress) },
			"want it refused: address matches\n203.0.113.9:5060 udp allowed"},
		"no check":          {func(t testing.TB) { Allowed(t, nil, trunk) }, "refused: nothing allows it"},
		"no check, refused": {func(t testing.TB) { Refused(t, nil, trunk, sipacl.CauseNone) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := run(c.test)
			require.False(t, f.fatal) // a test can ask about several messages
			if c.want == "" {
				require.Empty(t, f.errors)
				return
			}
			require.Len(t, f.errors, 1)
			require.Contains(t, f.errors[0], c.want)
		})
	}
}

// A check of the application may count: the answer is the one that is printed.
func TestChecksAreAskedOnce(t *testing.T) {
	asked := 0
	check := func(sipacl.Request) sipacl.Decision {
		if asked++; asked%2 == 0 {
			return sipacl.Allowed("even")
		}
		return sipacl.Refused("odd")
	}
	f := run(func(t testing.TB) { Allowed(t, check, Message{}) })
	require.Len(t, f.errors, 1)
	require.Contains(t, f.errors[0], `refused: own check "odd"`)
	Allowed(t, check, Message{})
	Refused(t, check, Message{}, sipacl.CauseCustom)
	require.Equal(t, 3, asked)
}

func TestZeroMessage(t *testing.T) {
	r := Message{}.Request(t)
	require.Equal(t, sip.OPTIONS, r.Method)
	require.Equal(t, "sip:example.com", r.Recipient.String())
	require.Equal(t, "192.0.2.1:5060 udp", r.Source.String())
	require.Zero(t, r.Local)
	require.Nil(t, r.TLS)
	from, err := sipacl.FromUser(r.Request)
	require.NoError(t, err)
	require.Equal(t, sipacl.User{Name: "alice", Domain: "example.com"}, from.User())
	require.Equal(t, "<sip:example.com>", r.To().Value())
}

func TestMessage(t *testing.T) {
	r := Message{
		Method: "REGISTER", URI: "sips:example.com;transport=tcp", From: `"A <x>" <sip:bob@example.com>;tag=7`, To: "sip:carol@example.com",
		Contacts: []string{"<sip:carol@192.0.2.9>;expires=60", "<sip:carol@198.51.100.9>"},
		Headers:  []string{"Expires: 300", "r: <sip:dave@example.com>"},
		Source:   "[2001:db8::9]:40000 WSS", Local: "[::ffff:198.51.100.1]:5061",
	}.Request(t)
	require.Equal(t, sip.REGISTER, r.Method)
	require.Equal(t, "sips:example.com;transport=tcp", r.Recipient.String())
	require.Equal(t, `"A <x>" <sip:bob@example.com>;tag=7`, r.From().Value())
	require.Equal(t, "<sip:carol@example.com>", r.To().Value())
	require.Equal(t, "[2001:db8::9]:40000 wss", r.Source.String())
	require.Equal(t, "198.51.100.1:5061", r.Local.String())
	contacts, star, err := sipacl.Contacts(r.Request)
	require.NoError(t, err)
	require.False(t, star)
	require.Len(t, contacts, 2)
	refer, err := sipacl.ReferTo(r.Request)
	require.NoError(t, err)
	require.Len(t, refer, 1)
	require.Equal(t, "300", r.GetHeader("Expires").Value())
	require.Equal(t, "REGISTER", string(r.CSeq().MethodName))
	require.Equal(t, "2001:db8::9", strings.Trim(r.Via().Host, "[]"))
}

func TestMessageWithoutASocket(t *testing.T) {
	m := Message{Source: "-"}
	require.Zero(t, m.Request(t).Source)
	Refused(t, Partition(t).AnySource(), m, sipacl.CauseNoSource)
}

// Two requests of one Message share nothing.
func TestRequestsAreTheirOwn(t *testing.T) {
	m := Message{}
	m.Request(t).AppendHeader(sip.NewHeader("X", "1"))
	require.Nil(t, m.Request(t).GetHeader("X"))
}

func TestPeer(t *testing.T) {
	m := Message{Source: "203.0.113.9:40000 tls", Peer: []string{"sbc1.carrier.example", "sip:carrier.example"}}
	chains := m.Request(t).TLS.ConnectionState().VerifiedChains
	require.Len(t, chains, 1)
	require.Equal(t, []string{"sbc1.carrier.example"}, chains[0][0].DNSNames)
	require.Equal(t, "sip:carrier.example", chains[0][0].URIs[0].String())
	require.NoError(t, chains[0][0].VerifyHostname("sbc1.carrier.example"))
	require.Error(t, chains[0][0].VerifyHostname("sbc2.carrier.example"))

	m.Peer = nil
	state := m.Request(t).TLS.ConnectionState()
	require.True(t, state.HandshakeComplete)
	require.Empty(t, state.VerifiedChains)
	require.Empty(t, state.PeerCertificates)
}

func TestMessagesThatFailTheTest(t *testing.T) {
	for _, c := range []struct {
		m    Message
		want string
	}{
		{Message{URI: "sip:a b@example.com"}, "is not a SIP message"},
		{Message{Method: "SIP/2.0", URI: "200 OK", To: "sip:b@example.com"}, "not a request"},
		{Message{URI: "sip:a@b\r\nX: y"}, "line break"},
		{Message{From: "sip:a@b\nX: y"}, "line break"},
		{Message{Headers: []string{"X: y\r\n\r\n"}}, "line break"},
		{Message{Headers: []string{""}}, "empty header field"},
		{Message{Headers: []string{"no colon"}}, "no colon"},
		{Message{From: `"<sip:a@b>`}, "From"},
		{Message{Contacts: []string{"<sip:a@b:x>"}}, "Contact"},
		{Message{Source: "203.0.113.9:5060"}, `source "203.0.113.9:5060": want an address, a port and a protocol`},
		{Message{Source: "203.0.113.9 udp"}, "source"},
		{Message{Source: "203.0.113.9:5060 any"}, "source"},
		{Message{Source: "gw.example.com:5060 udp"}, "source"},
		{Message{Source: "203.0.113.9:5060 udp "}, "source"},
		{Message{Local: "198.51.100.1"}, "local"},
		{Message{Peer: []string{"sbc1.carrier.example"}}, "tls or wss"},
		{Message{Source: "-", Peer: []string{"sbc1.carrier.example"}}, "tls or wss"},
		{Message{Source: "203.0.113.9:40000 tls", Peer: []string{":"}}, "peer"},
	} {
		f := run(func(t testing.TB) { c.m.Request(t) })
		require.True(t, f.fatal, "%+v", c.m)
		require.Contains(t, f.errors[0], c.want)
		require.True(t, strings.HasPrefix(f.errors[0], "sipacltest: "), f.errors[0])
	}
}

func TestPartsThatFailTheTest(t *testing.T) {
	for want, test := range map[string]func(testing.TB){
		"want an address and a mask": func(t testing.TB) { Partition(t, sipacl.AddressRow{Group: 1}) },
		"permissions.allow:1:":       func(t testing.TB) { Rules(t, "ALL", "") },
		"permissions.deny:2:":        func(t testing.TB) { Rules(t, "", "# a\nALL") },
		"want permit= or deny=":      func(t testing.TB) { ACL(t, "allow=192.0.2.1") },
	} {
		f := run(test)
		require.True(t, f.fatal, want)
		require.Contains(t, f.errors[0], want)
	}
}

func TestParts(t *testing.T) {
	Refused(t, Partition(t).AnySource(), Message{}, sipacl.CauseNoAddress)
	Allowed(t, Rules(t, "", "").Routing(), Message{})
	Allowed(t, Rules(t, "ALL : ALL", "ALL : ALL").Routing(), Message{})
	Refused(t, Rules(t, "", "ALL : ALL").Routing(), Message{}, sipacl.CauseDenyRule)
	Refused(t, ACL(t).Check, Message{}, sipacl.CauseEmptyACL)
	list := ACL(t, "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/24")
	Allowed(t, list.Check, Message{})
	Refused(t, list.Check, Message{Source: "203.0.113.9:5060 udp"}, sipacl.CauseDeny)
	Refused(t, list.Contacts(sipacl.ContactConfig{}), Message{Method: "REGISTER", Contacts: []string{"<sip:a@203.0.113.9>"}}, sipacl.CauseDeny)
	Allowed(t, list.Contacts(sipacl.ContactConfig{}), Message{Method: "REGISTER", Contacts: []string{"*"}, Headers: []string{"Expires: 0"}})
}

// Handlers behind a guard run as they do under sipgo, and each way to answer a
// refusal reaches the transaction.
func TestTransactionBehindAGuard(t *testing.T) {
	check := ACL(t, "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/24").Check
	var handler sipgo.RequestHandler = func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, 200, "OK", nil))
	}
	for name, reject := range map[string]sipacl.Reject{
		"default": nil, "once": sipacl.RespondOnce(403, "Forbidden"), "through the transaction": sipacl.Respond(403, "Forbidden"),
	} {
		guarded := sipacl.NewGuard(sipacl.GuardConfig{Check: check, Reject: reject}).Wrap(handler)
		for source, want := range map[string]int{"192.0.2.1:5060 udp": 200, "203.0.113.9:5060 tls": 403, "-": 403} {
			for _, method := range []sip.RequestMethod{"INVITE", "REGISTER"} {
				var tx Transaction
				guarded(Message{Method: method, Source: source}.Request(t).Request, &tx)
				require.Len(t, tx.Responses, 1, name)
				require.Equal(t, want, tx.Responses[0].StatusCode, "%s from %s", name, source)
				require.True(t, tx.Responses[0].To().Params.Has("tag"))
			}
		}
		var tx Transaction
		guarded(Message{Method: "ACK", Source: "203.0.113.9:5060 udp"}.Request(t).Request, &tx)
		require.Empty(t, tx.Responses, "an ACK is never answered")
	}
}

func TestTransactionEnds(t *testing.T) {
	var tx Transaction
	require.NoError(t, tx.Err())
	require.NoError(t, tx.Respond(&sip.Response{}))
	var ended []error
	require.True(t, tx.OnTerminate(func(_ string, err error) { ended = append(ended, err) }))
	require.True(t, tx.OnCancel(nil))
	select {
	case <-tx.Done():
		t.Fatal("ended by itself")
	case <-tx.Acks():
		t.Fatal("an ACK from nowhere")
	default:
	}
	go tx.Terminate()
	select {
	case <-tx.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("does not end")
	}
	tx.Terminate()
	require.ErrorIs(t, tx.Err(), sip.ErrTransactionTerminated)
	require.False(t, tx.OnTerminate(nil))
	require.False(t, tx.OnCancel(nil))
	require.ErrorIs(t, tx.Respond(&sip.Response{}), sip.ErrTransactionTerminated)
	require.Len(t, tx.Responses, 1)

	var at Transaction
	at.Terminate()
	<-at.Done()
	require.True(t, errors.Is(at.Err(), sip.ErrTransactionTerminated))
}

func TestTransactionAnswersFromEverywhereAtOnce(t *testing.T) {
	const all = 50
	var tx Transaction
	errs := make(chan error)
	for range all {
		go func() { errs <- tx.Respond(&sip.Response{}) }()
	}
	for range all {
		require.NoError(t, <-errs)
	}
	require.Len(t, tx.Responses, all)
}
