package sipacl

import (
	"crypto/tls"
	"encoding/json"
	"net"
	"strconv"
	"testing"
	"time"
	"unsafe"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// A handler learns which listener and which TLS connection a request came
// through, for every transport and for a stray ACK too.
func TestNearEndAndTLSOverSockets(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::]:0"} {
		t.Run(listen, func(t *testing.T) {
			overall(t, transports, func(t *testing.T, transport string) {
				seen := make(chan Request, 10)
				guard := NewGuard(GuardConfig{Check: func(r Request) Decision {
					seen <- r
					return Allowed("")
				}})
				p := serve(t, transport, gates{listen: listen, guard: guard.Wrap})
				_, port, err := net.SplitHostPort(p.addr)
				require.NoError(t, err)
				c := connect(t, transport, friend, net.JoinHostPort(friend, port))
				require.Equal(t, "SIP/2.0 200 OK", firstLine(c.ask(t, sipRequest("OPTIONS", transport))))
				c.send(sipRequest("ACK", transport))
				for _, method := range []sip.RequestMethod{sip.OPTIONS, sip.ACK} {
					r := <-seen
					require.Equal(t, method, r.Method)
					require.Equal(t, friend, r.Source.Addr.String())
					require.Equal(t, port, strconv.Itoa(int(r.Local.Port())))
					if transport != "udp" || listen != "[::]:0" { // there the socket itself does not know
						require.Equal(t, friend, r.Local.Addr().String())
					}
					secure := transport == "tls" || transport == "wss"
					require.Equal(t, secure, r.TLS != nil)
					if secure {
						require.True(t, r.TLS.ConnectionState().HandshakeComplete)
					}
				}
			})
		})
	}
}

func TestRequestOfDoesNotAllocate(t *testing.T) {
	req := requestFrom("192.0.2.1:5060", "UDP")
	var r Request
	require.Zero(t, testing.AllocsPerRun(100, func() { r = RequestOf(req, nil) }))
	require.Equal(t, "192.0.2.1:5060 udp", r.Source.String())
	require.LessOrEqual(t, unsafe.Sizeof(Request{}), uintptr(112))
}

func TestRequestsThatAreNone(t *testing.T) {
	for _, r := range []Request{{}, RequestOf(nil, nil), RequestOf(nil, (*sip.ServerTx)(nil)), RequestOf(new(sip.Request), nil)} {
		require.Zero(t, r.Source)
		require.Zero(t, r.Local)
		require.Nil(t, r.TLS)
	}
	r := Request{}
	r.near(nil)
	require.Zero(t, r.Local)
	r.near(tls.Client(&net.TCPConn{}, nil))
	require.NotNil(t, r.TLS)
	for _, a := range []net.Addr{nil, (*net.UDPAddr)(nil), (*net.TCPAddr)(nil), &net.UnixAddr{Name: "x"}, &net.UDPAddr{}} {
		require.Zero(t, addrPortOf(a), a)
	}
	require.Equal(t, "192.0.2.1:7", addrPortOf(&net.UDPAddr{IP: net.ParseIP("::ffff:192.0.2.1"), Port: 7}).String())
	require.Equal(t, "[fe80::1]:7", addrPortOf(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Port: 7, Zone: "eth0"}).String())
}

// Users are read from requests that may be anything.
func TestUsersOfNoRequest(t *testing.T) {
	for _, of := range []func(*sip.Request) (ClaimedUser, error){FromUser, ToUser} {
		_, err := of(nil)
		require.Error(t, err)
		_, err = of(new(sip.Request))
		require.Error(t, err)
	}
	_, err := (*Permissions)(nil).Rules("x")
	require.ErrorIs(t, err, ErrUnknown)
}

// All checks of one request read one generation, even when a reload comes
// between them.
func TestAGuardedRequestReadsOneGeneration(t *testing.T) {
	var src adjustable
	src.holds(one)
	perm := opened(t, Config{Partitions: []PartitionConfig{src.called("")}, Rules: []RulesConfig{{FS: memFS{"permissions.deny": "x : ALL"}}}})
	part := part1(t, perm, "")
	reload := func(Request) Decision {
		src.holds(two)
		_, err := part.Reload(t.Context())
		require.NoError(t, err)
		return Allowed("")
	}
	first := part.Sources(1)
	guard := NewGuard(GuardConfig{Permissions: perm, Check: AllOf(reload, first)})
	r := RequestOf(requestFrom("192.0.2.1:5060", "UDP"), nil)
	require.True(t, guard.Decide(r).Allowed)
	require.False(t, first(r).Allowed, "the next request reads the next")

	handled := false
	src.holds(one)
	_, err := part.Reload(t.Context())
	require.NoError(t, err)
	guard.Handle(func(r Request, _ sip.ServerTransaction, d Decision) {
		handled = true
		require.Equal(t, CauseAddress, d.Cause)
		require.True(t, part.SourceGroup(r).Allowed, "a further question is answered from the same snapshot")
		require.Nil(t, mustPartition().At(r.at), "which is none of other Permissions")
		require.True(t, mustPartition(one).SourceGroup(r).Allowed, "they read what is in service")
	})(r.Request, nil)
	require.True(t, handled)
}

func TestAllOfSaysWhoWasLetIn(t *testing.T) {
	trunks := mustPartition(AddressRow{Group: 7, Prefix: prefix("192.0.2.0/24"), Info: "carrier"})
	rules := mustRules("", "zzz : ALL")
	r := RequestOf(mustRequest("INVITE", ""), nil)
	r.Source = Source{addr("192.0.2.1"), 5060, ProtoUDP}
	d := AllOf(trunks.AnySource(), rules.Routing())(r)
	require.Equal(t, Decision{
		Allowed: true, Cause: CauseDefault, Group: 7, Prefix: prefix("192.0.2.0/24"), Info: "carrier", Source: r.Source,
		Left: "sip:alice@example.com", Right: "sip:bob@example.org",
	}, d)
	d = AllOf(trunks.AnySource(), func(Request) Decision { return Allowed("own") })(r)
	require.Equal(t, "carrier", d.Info)
	require.Equal(t, GroupID(7), d.Group)
	require.Equal(t, CauseCustom, d.Cause)
	d = AllOf(trunks.AnySource(), func(Request) Decision { return Refused("own") })(r)
	require.Equal(t, Decision{Cause: CauseCustom, Info: "own", Source: r.Source}, d, "a refusal names what refused")
	acl := must(must(NewACLs(t.Context(), Rows(ACLRow{Name: "a", Rules: []ACLRule{{Sense: Permit, Prefix: prefix("192.0.2.1/32")}}}))).Follow("a"))
	d = AllOf(trunks.AnySource(), acl.Check)(r)
	require.Equal(t, prefix("192.0.2.0/24"), d.Prefix, "who was let in, not which list let it pass")
	require.Equal(t, CausePermit, d.Cause)
}

// The most useful refusal is the one that names a row or rule.
func TestAnyOfGivesTheRefusalThatNamesARule(t *testing.T) {
	named := Decision{Cause: CauseDenyRule, Origin: Origin{Name: "x.deny", Line: 1}}
	plain := Decision{Cause: CauseNoAddress}
	of := func(d Decision) Check { return func(Request) Decision { return d } }
	require.Equal(t, named, AnyOf(of(named), of(plain))(Request{}))
	require.Equal(t, named, AnyOf(of(plain), of(named))(Request{}))
	require.Equal(t, plain, AnyOf(of(Decision{Cause: CauseNotMember}), of(plain))(Request{}))
}

func TestByMethodRefusesWhatIsNotListed(t *testing.T) {
	checks := map[sip.RequestMethod]Check{sip.INVITE: func(Request) Decision { return Allowed("") }, sip.BYE: nil, "": func(Request) Decision { return Allowed("") }}
	check := ByMethod(checks)
	delete(checks, sip.INVITE)
	require.True(t, check(RequestOf(mustRequest("INVITE", ""), nil)).Allowed)
	for _, r := range []Request{{}, RequestOf(mustRequest("BYE", ""), nil), RequestOf(mustRequest("OPTIONS", ""), nil)} {
		require.False(t, check(r).Allowed)
	}
}

// Every decision at every gate is heard of, what has no source too.
func TestObserveHearsEveryGate(t *testing.T) {
	var heard []Event
	guard := NewGuard(GuardConfig{Check: friends().AnySource(), Peers: friends().AnySource(), Observe: func(e Event) { heard = append(heard, e) }})
	guard.Wrap(func(*sip.Request, sip.ServerTransaction) {})(requestFrom("127.0.0.1:5060", "UDP"), nil)
	guard.With(nil).Decide(Request{Source: Source{addr("127.0.0.1"), 5060, ProtoUDP}})
	filter := guard.Filter()
	for _, a := range []net.Addr{&net.UDPAddr{IP: net.IPv4(127, 0, 0, 9), Port: 9}, nil} {
		_, err := filter(sip.TransportReadProps{Transport: "UDP", RemoteAddr: a, LocalAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5060}}, []byte("x"))
		require.NoError(t, err)
	}
	var got []string
	for _, e := range heard {
		got = append(got, e.Gate.String()+" "+e.Decision.String())
	}
	require.Equal(t, []string{
		`handler 127.0.0.1:5060 udp allowed: address matches 127.0.0.1/32 group 200 "ThisMachine"`,
		`handler 127.0.0.1:5060 udp refused: nothing allows it`,
		`bytes 127.0.0.9:9 udp refused: no address matches`,
		`bytes refused: no network source`,
	}, got)
	require.Equal(t, "127.0.0.1:5060", heard[2].Request.Local.String())
	require.Equal(t, "gate 7", Gate(7).String())
	require.Equal(t, "conn", GateConn.String())
}

func TestNilGuardRefuses(t *testing.T) {
	var g *Guard
	require.False(t, g.Decide(Request{}).Allowed)
	require.Nil(t, g.With(nil))
	never := func(*sip.Request, sip.ServerTransaction) { t.Error("passed") }
	g.Wrap(never)(requestFrom("127.0.0.1:5060", "UDP"), nil)
	g.Handle(func(Request, sip.ServerTransaction, Decision) { t.Error("passed") })(nil, nil)
}

// A wrong transport would close every connection without a word.
func TestListenerOfAWrongTransportPanics(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	for _, transport := range []string{"sips", "udp", "any", ""} {
		require.Panics(t, func() { NewGuard(GuardConfig{}).Listener(l, transport) }, transport)
	}
	for _, transport := range []string{"tcp", "TLS", "ws", "wss"} {
		require.NotNil(t, NewGuard(GuardConfig{}).Listener(l, transport))
	}
}

// The default answers each copy once and keeps nothing: one datagram in, one
// out, whatever becomes of it.
func TestTheDefaultRefusalIsOneAnswerACopy(t *testing.T) {
	overall(t, transports, func(t *testing.T, transport string) {
		p := serve(t, transport, gates{guard: NewGuard(GuardConfig{}).Wrap})
		c := connect(t, transport, stranger, p.addr)
		invite := sipRequest("INVITE", transport)
		c.send(invite)
		first := c.answer(t)
		require.Equal(t, "SIP/2.0 403 Forbidden", firstLine(first))
		p.handled(t, "INVITE")
		_, err := c.receive(1300 * time.Millisecond) // timer G would fire twice
		require.Error(t, err, "no retransmission")
	})
}

func TestDecisionsByHand(t *testing.T) {
	require.Equal(t, "allowed: against its cause, ACL denies", Decision{Allowed: true, Cause: CauseDeny}.String())
	require.Equal(t, "refused: against its cause, address matches group 0", Decision{Cause: CauseAddress}.String())
	require.Equal(t, `allowed: own check "why"`, Allowed("why").String())
	require.Equal(t, `refused: own check "why"`, Refused("why").String())
	text, err := json.Marshal(Decision{
		Allowed: true, Cause: CauseAddress, Origin: Origin{Name: "address", Line: 3, Unit: UnitID}, Group: 200,
		Prefix: prefix("203.0.113.0/24"), Info: "OfficeSubnet", Source: Source{addr("203.0.113.9"), 5060, ProtoUDP},
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"allowed":true,"cause":"address matches","source":"203.0.113.9:5060 udp","group":200,
		"prefix":"203.0.113.0/24","origin":"address:id 3","info":"OfficeSubnet"}`, string(text))
	for c := CauseNone; int(c) < len(causeTexts); c++ {
		require.NotEmpty(t, c.String())
	}
}
