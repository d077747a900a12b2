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
			p.Current().CheckAddress(Query{Addr: s.Addr, Any: AnyGroup}), p.Current().CheckSource(s, 0, ""), p.CheckSourceAddress(RequestOf(req, nil), 0, ""),
			p.SourceGroup(RequestOf(req, nil)), p.Current().AddressGroup(s), p.Sources(0)(RequestOf(req, nil)), p.AnySource()(RequestOf(req, nil)),
		} {
			require.False(t, d.Allowed)
			require.Equal(t, CauseNotLoaded, d.Cause)
		}
		require.Empty(t, collect(p.Current().Groups(s)))
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
	require.False(t, p.Sources()(RequestOf(req, nil)).Allowed)
	require.Contains(t, p.Sources()(RequestOf(req, nil)).String(), "no group is listed")
	require.True(t, p.AnySource()(RequestOf(req, nil)).Allowed, "any group is a call of its own")
}

func TestSourcesAsksEveryGroup(t *testing.T) {
	p := sample()
	groups := []GroupID{9, 2, 1}
	check := p.Sources(groups...)
	groups[1], groups[2] = 9, 9
	require.Equal(t, GroupID(2), check(RequestOf(requestFrom("192.0.2.7:5060", "UDP"), nil)).Group)
	require.Equal(t, GroupID(1), check(RequestOf(requestFrom("192.0.2.7:5061", "UDP"), nil)).Group)
	require.Equal(t, GroupID(1), check(RequestOf(requestFrom("192.0.2.7:5060", "TCP"), nil)).Group)
	require.Equal(t, CauseNoAddress, check(RequestOf(requestFrom("198.51.100.7:5060", "UDP"), nil)).Cause)
	require.Equal(t, "198.51.100.7:5060 udp refused: no address matches", check(RequestOf(requestFrom("198.51.100.7:5060", "UDP"), nil)).String())
}

// A guard has no subject: it asks as check_source_address does without its
// pattern argument. A block list whose rows have patterns blocks.
func TestWithoutASubjectPatternsAreNotAsked(t *testing.T) {
	p := sample()
	req := requestFrom("192.0.2.7:5062", "TCP")
	require.True(t, p.Sources(3)(RequestOf(req, nil)).Allowed)
	require.True(t, p.CheckSourceAddress(RequestOf(req, nil), 3, "").Allowed)
	require.False(t, p.Current().CheckSource(RequestOf(req, nil).Source, 3, "").Allowed, "a value is compared as it stands")
	require.False(t, p.CheckSourceAddress(RequestOf(req, nil), 3, "bob").Allowed)
	require.True(t, p.CheckSourceAddress(RequestOf(req, nil), 3, "alice").Allowed)
	require.Equal(t, GroupID(3), p.SourceGroup(RequestOf(req, nil)).Group, "patterns are not asked for the group")
}

// Handlers bill by the row: it is that of the longest prefix among the groups
// listed, in whatever order they are.
func TestSourcesAnswersWithTheLongestPrefix(t *testing.T) {
	p := mustPartition(
		AddressRow{Group: 1, Prefix: prefix("192.0.2.0/24"), Info: "wide"},
		AddressRow{Group: 2, Prefix: prefix("192.0.2.7/32"), Info: "host"},
		AddressRow{Group: 3, Prefix: prefix("192.0.2.7/32"), Info: "later"},
	)
	for want, groups := range map[string][][]GroupID{
		"host": {{1, 2}, {2, 1}, {1, 3, 2}, {3, 2, 1}}, "later": {{1, 3}, {3, 1}}, "wide": {{1}, {9, 1}},
	} {
		for _, list := range groups {
			require.Equal(t, want, p.Sources(list...)(RequestOf(requestFrom("192.0.2.7:5060", "UDP"), nil)).Info, list)
		}
	}
}

func TestSourceGroupIsTheMostSpecific(t *testing.T) {
	p := sample()
	require.Equal(t, GroupID(2), p.SourceGroup(RequestOf(requestFrom("192.0.2.7:5060", "UDP"), nil)).Group)
	require.Equal(t, GroupID(3), p.SourceGroup(RequestOf(requestFrom("192.0.2.7:5061", "UDP"), nil)).Group)
	require.Equal(t, GroupID(1), p.SourceGroup(RequestOf(requestFrom("192.0.2.8:5060", "UDP"), nil)).Group)
	require.False(t, p.SourceGroup(RequestOf(requestFrom("198.51.100.1:5060", "UDP"), nil)).Allowed)
	require.Equal(t, []GroupID{2, 3, 1}, collect(p.Current().Groups(Source{addr("192.0.2.7"), 5060, ProtoUDP})))
}

func TestMustPartitionPanicsOnABadRow(t *testing.T) {
	require.Panics(t, func() { mustPartition(AddressRow{}) })
}

func TestLookupsDoNotAllocate(t *testing.T) {
	p := sample()
	table := p.Current()
	next := func(*sip.Request, sip.ServerTransaction) {}
	guarded := NewGuard(GuardConfig{Check: p.Sources(9, 1), Reject: Drop()}).Wrap(next)
	sources, anySource := p.Sources(9, 2), p.AnySource()
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
			"CheckAddress":         func() { p.Current().CheckAddress(q) },
			"CheckSource":          func() { p.Current().CheckSource(s, test.group, test.subject) },
			"CheckSourceAddress":   func() { p.CheckSourceAddress(RequestOf(test.req, nil), test.group, test.subject) },
			"SourceGroup":          func() { p.SourceGroup(RequestOf(test.req, nil)) },
			"AddressGroup":         func() { p.Current().AddressGroup(s) },
			"Sources":              func() { sources(RequestOf(test.req, nil)) },
			"AnySource":            func() { anySource(RequestOf(test.req, nil)) },
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
