package sipacl

import (
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// sample has a row of every kind.
func sample() Partition {
	return mustPartition(
		AddressRow{Group: 1, Prefix: prefix("192.0.2.0/24"), Info: "net"},
		AddressRow{Group: 2, Prefix: prefix("192.0.2.7/32"), Port: 5060, Proto: ProtoUDP, Info: "host"},
		AddressRow{Group: 3, Prefix: prefix("192.0.2.7/32"), Pattern: "alice"},
		AddressRow{Group: 4, Prefix: prefix("2001:db8::/32")},
		AddressRow{Group: 5, Host: "gw.example.com"},
	)
}

func TestNilAndZeroPartitionsRefuse(t *testing.T) {
	req := requestFrom("192.0.2.1:5060", "UDP")
	s := Source{addr("192.0.2.1"), 5060, ProtoUDP}
	for _, p := range []Partition{{}} {
		for _, d := range []Decision{
			p.CheckAddress(Query{Addr: s.Addr, Any: AnyGroup}), p.CheckSource(s, 0, ""), p.CheckSourceAddress(req, 0, ""),
			p.SourceGroup(req), p.AddressGroup(s), p.Sources(0)(req), p.AnySource()(req),
		} {
			require.False(t, d.Allowed)
			require.Equal(t, CauseNotLoaded, d.Cause)
		}
		require.False(t, p.Allow(0)(s))
		require.False(t, p.AllowAny()(s))
		require.Empty(t, collect(p.Groups(s)))
		require.Nil(t, p.Current())
		require.Empty(t, p.Name())
		require.Zero(t, p.Status())
		_, err := p.Reload(t.Context())
		require.Error(t, err)
		p.OnReload(nil)()
	}
}

func TestNoGroupIsNobody(t *testing.T) {
	p := sample()
	req := requestFrom("192.0.2.7:5060", "UDP")
	require.False(t, p.Sources()(req).Allowed)
	require.Contains(t, p.Sources()(req).String(), "no group is listed")
	require.False(t, p.Allow()(Source{addr("192.0.2.7"), 5060, ProtoUDP}))
	require.True(t, p.AnySource()(req).Allowed, "any group is a call of its own")
	require.True(t, p.AllowAny()(Source{addr("192.0.2.7"), 5060, ProtoUDP}))
	require.False(t, p.AllowAny()(Source{addr("198.51.100.1"), 5060, ProtoUDP}))
	require.False(t, p.AllowAny()(Source{}))
}

func TestSourcesAsksEveryGroup(t *testing.T) {
	p := sample()
	groups := []GroupID{9, 2, 1}
	check := p.Sources(groups...)
	groups[1], groups[2] = 9, 9
	require.Equal(t, GroupID(2), check(requestFrom("192.0.2.7:5060", "UDP")).Group)
	require.Equal(t, GroupID(1), check(requestFrom("192.0.2.7:5061", "UDP")).Group)
	require.Equal(t, GroupID(1), check(requestFrom("192.0.2.7:5060", "TCP")).Group)
	require.Equal(t, CauseNoAddress, check(requestFrom("198.51.100.7:5060", "UDP")).Cause)
	require.Equal(t, "198.51.100.7:5060 udp refused: no address matches", check(requestFrom("198.51.100.7:5060", "UDP")).String())
}

// Guards have no subject: a row with a pattern matches only if the pattern
// matches the empty text.
func TestPatternsAreNotSkippedForWantOfASubject(t *testing.T) {
	p := sample()
	req := requestFrom("192.0.2.7:5062", "TCP")
	require.False(t, p.Sources(3)(req).Allowed)
	require.False(t, p.CheckSourceAddress(req, 3, "").Allowed)
	require.False(t, p.CheckSourceAddress(req, 3, "bob").Allowed)
	require.True(t, p.CheckSourceAddress(req, 3, "alice").Allowed)
	require.Equal(t, GroupID(3), p.SourceGroup(req).Group, "patterns are not asked for the group")
}

func TestSourceGroupIsTheMostSpecific(t *testing.T) {
	p := sample()
	require.Equal(t, GroupID(2), p.SourceGroup(requestFrom("192.0.2.7:5060", "UDP")).Group)
	require.Equal(t, GroupID(3), p.SourceGroup(requestFrom("192.0.2.7:5061", "UDP")).Group)
	require.Equal(t, GroupID(1), p.SourceGroup(requestFrom("192.0.2.8:5060", "UDP")).Group)
	require.False(t, p.SourceGroup(requestFrom("198.51.100.1:5060", "UDP")).Allowed)
	require.Equal(t, []GroupID{2, 3, 1}, collect(p.Groups(Source{addr("192.0.2.7"), 5060, ProtoUDP})))
}

func TestMustPartitionPanicsOnABadRow(t *testing.T) {
	require.Panics(t, func() { mustPartition(AddressRow{}) })
}

func TestLookupsDoNotAllocate(t *testing.T) {
	p := sample()
	table := p.Current()
	next := func(*sip.Request, sip.ServerTransaction) {}
	guarded := Guard(GuardConfig{Check: p.Sources(9, 1), Reject: Drop()})(next)
	sources, anySource, allow, allowAny := p.Sources(9, 2), p.AnySource(), p.Allow(9, 2), p.AllowAny()
	for name, test := range map[string]struct {
		req     *sip.Request
		addr    string
		host    string
		subject string
		group   GroupID
	}{
		"v4 hit":           {requestFrom("192.0.2.7:5060", "UDP"), "192.0.2.7", "", "", 2},
		"v4 miss":          {requestFrom("198.51.100.7:5060", "UDP"), "198.51.100.7", "", "", 2},
		"v4 other port":    {requestFrom("192.0.2.7:5061", "TCP"), "192.0.2.7", "", "", 2},
		"mapped":           {requestFrom("[::ffff:192.0.2.7]:5060", "TLS"), "::ffff:192.0.2.7", "", "", 1},
		"v6 hit":           {requestFrom("[2001:db8::7]:5060", "WS"), "2001:db8::7", "", "", 4},
		"v6 miss":          {requestFrom("[2001:db9::7]:5060", "WSS"), "2001:db9::7", "", "", 4},
		"pattern hit":      {requestFrom("192.0.2.7:5060", "UDP"), "192.0.2.7", "", "alice", 3},
		"pattern miss":     {requestFrom("192.0.2.7:5060", "UDP"), "192.0.2.7", "", "bob", 3},
		"host hit":         {requestFrom("192.0.2.7:5060", "UDP"), "", "GW.example.com.", "", 5},
		"host miss":        {requestFrom("192.0.2.7:5060", "UDP"), "", "www.example.com", "", 5},
		"without a socket": {sip.NewRequest(sip.INVITE, sip.Uri{}), "", "", "", 1},
	} {
		q := Query{Group: test.group, Host: test.host, Port: 5060, Proto: ProtoUDP, Subject: test.subject}
		if test.addr != "" {
			q.Addr = addr(test.addr)
		}
		s := Source{q.Addr, 5060, ProtoUDP}
		for call, f := range map[string]func(){
			"Table.CheckAddress":   func() { table.CheckAddress(q) },
			"CheckAddress":         func() { p.CheckAddress(q) },
			"CheckSource":          func() { p.CheckSource(s, test.group, test.subject) },
			"CheckSourceAddress":   func() { p.CheckSourceAddress(test.req, test.group, test.subject) },
			"SourceGroup":          func() { p.SourceGroup(test.req) },
			"AddressGroup":         func() { p.AddressGroup(s) },
			"Sources":              func() { sources(test.req) },
			"AnySource":            func() { anySource(test.req) },
			"Allow":                func() { allow(s) },
			"AllowAny":             func() { allowAny(s) },
			"Guard":                func() { guarded(test.req, nil) },
			"Permissions.Snapshot": func() { p.At(p.p.perm.Snapshot()).CheckAddress(q) },
			"ranging over Matches": func() {
				for range table.Matches(q) {
				}
			},
		} {
			require.Zero(t, testing.AllocsPerRun(100, f), "%s: %s", name, call)
		}
	}
}
