package sipacl

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/fakedb"
)

func trustedOf(t *testing.T, rows ...TrustedRow) *TrustedTable {
	trusted, err := NewTrusted(t.Context(), Rows(rows...))
	require.NoError(t, err)
	return trusted.Current()
}

func TestTrustedRows(t *testing.T) {
	addr := netip.MustParseAddr("192.0.2.1")
	table := trustedOf(t,
		TrustedRow{Source: addr, Tag: "low", Priority: 1},
		TrustedRow{Source: addr, Tag: "bob", From: "^sip:bob@", Priority: 9},
		TrustedRow{Source: addr, NoTag: true, Target: `^sip:1[0-9]*@x\.com$`, Priority: 5},
		TrustedRow{Source: addr, Tag: "tcp", Proto: ProtoTCP, Priority: 5},
		TrustedRow{Source: addr, Tag: "none", Proto: ProtoNone, Priority: 99},
		TrustedRow{Source: netip.MustParseAddr("::ffff:192.0.2.2"), Tag: "mapped"},
	)
	require.Equal(t, 6, table.rows)
	for _, c := range []struct {
		q    TrustedQuery
		tags []string
		info string
	}{
		{TrustedQuery{Addr: addr, Proto: ProtoUDP, From: "sip:bob@b", Target: "sip:100@x.com"}, []string{"bob", "low"}, "bob"},
		{TrustedQuery{Addr: addr, Proto: ProtoUDP, From: "sip:BOB@b", Target: "sip:200@x.com"}, []string{"low"}, "low"}, // case-sensitive
		{TrustedQuery{Addr: addr, Proto: ProtoTCP, From: "sip:a@b"}, []string{"tcp", "low"}, "tcp"},
		{TrustedQuery{Addr: addr, AnyProto: true, From: "sip:bob@b", Target: "sip:100@x.com"}, []string{"bob", "tcp", "low"}, "bob"}, // trusted-order, trusted-none
		{TrustedQuery{Addr: addr, Proto: ProtoUDP, From: "sip:bob@b\x00"}, []string{"low"}, "low"},
		{TrustedQuery{Addr: addr, Proto: ProtoNone}, nil, ""},
		{TrustedQuery{Addr: netip.MustParseAddr("192.0.2.2"), Proto: ProtoUDP}, []string{"mapped"}, "mapped"}, // trusted-source
		{TrustedQuery{Addr: netip.MustParseAddr("192.0.2.3"), Proto: ProtoUDP}, nil, ""},
		{TrustedQuery{}, nil, ""},
	} {
		d := table.AllowTrusted(c.q)
		require.Equal(t, c.tags, slices.Collect(table.Tags(c.q)), "%+v", c.q)
		require.Equal(t, c.info, d.Info, "%+v", c.q)
		require.Equal(t, c.tags != nil, d.Allowed, "%+v", c.q)
		require.Equal(t, d, traced(func(t *Trace) { table.Tracing(t).AllowTrusted(c.q) }).Decision)
	}
	q := TrustedQuery{Addr: addr, Proto: ProtoUDP, From: "sip:a@b", Target: "sip:100@x.com"}
	require.Zero(t, testing.AllocsPerRun(100, func() { table.AllowTrusted(q) }))
	require.Equal(t, CauseNotLoaded, (*TrustedTable)(nil).AllowTrusted(q).Cause)
	require.Equal(t, CauseNotLoaded, Trusted{}.Current().AllowTrusted(q).Cause)
	require.Empty(t, slices.Collect((*TrustedTable)(nil).Tags(q)))
}

func TestTrustedTableFromADatabase(t *testing.T) {
	db := fakedb.Open(t)
	columns := []string{"id", "src_ip", "proto", "from_pattern", "ruri_pattern", "tag", "priority"}
	db.Set("trusted", columns,
		[]any{int64(1), "192.0.2.1   ", "ANY ", nil, nil, "peer ", int64(0)},
		[]any{int64(2), "[2001:db8:0::1]", "tls", "alice", "", nil, "7"},
	)
	trusted, err := NewTrusted(t.Context(), SQLTrusted{SQL: SQL{DB: db.SQL()}})
	require.NoError(t, err)

	req := mustRequest("INVITE", "")
	require.Equal(t, CauseNoSource, trusted.AllowTrusted(RequestOf(req, nil)).Cause)
	req.SetSource("192.0.2.1:5060")
	req.SetTransport("UDP")
	d := trusted.AllowTrusted(RequestOf(req, nil))
	require.Equal(t, `192.0.2.1:5060 udp allowed: trusted (trusted:id 1) "peer"`, d.String())
	req.SetSource("[2001:db8::1]:5061")
	require.Equal(t, CauseNoTrusted, trusted.AllowTrusted(RequestOf(req, nil)).Cause)
	req.SetTransport("TLS")
	require.True(t, trusted.AllowTrusted(RequestOf(req, nil)).Allowed)
	odd := mustRequest("INVITE", "From: <sip:alice@b> junk")
	odd.SetSource("[2001:db8::1]:5061")
	odd.SetTransport("TLS")
	require.False(t, trusted.AllowTrusted(RequestOf(odd, nil)).Allowed) // no From that a pattern may be asked about

	db.Set("trusted", columns,
		[]any{int64(1), "192.0.2.0/24", "xyz", "[", `\(`, nil, "1x"},
		[]any{int64(2), nil, nil, nil, nil, nil, nil},
		[]any{int64(3), "192.0.2.9", "udp", "a{2", "a+", "", int64(0)},
	)
	_, err = trusted.Reload(t.Context())
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 5, "%v", err) // trusted-source, trusted-regex: patterns are compiled of whole rows only
	for i, want := range []string{"id 1: src_ip", "id 1: proto", "id 1: priority", "id 2: src_ip", "id 2: proto"} {
		require.Contains(t, lines[i], want)
	}
	require.True(t, trusted.Current().rows == 2 && trusted.Status().LastError != nil)

	db.Set("trusted", columns, []any{int64(4), "192.0.2.9", "udp", "[", `\(`, "", int64(0)})
	_, err = trusted.Reload(t.Context())
	require.ErrorContains(t, err, `trusted:id 4: from pattern "[":`)
	require.ErrorContains(t, err, `trusted:id 4: target pattern "\\(":`)

	old := SQLTrusted{SQL: SQL{DB: db.SQL(), Table: "old", IDCol: NoColumn}, TargetCol: NoColumn, PriorityCol: NoColumn}
	db.Set("old", []string{"src_ip", "proto", "from_pattern", "tag"}, []any{"192.0.2.1", "any", nil, nil})
	trusted, err = NewTrusted(t.Context(), old)
	require.NoError(t, err)
	require.Equal(t, 1, trusted.Current().rows)
	require.Equal(t, uint64(1), trusted.Current().Generation())

	for _, bad := range []SQLTrusted{{}, {SQL: SQL{DB: db.SQL()}, SourceCol: NoColumn}, {SQL: SQL{DB: db.SQL(), Table: "a;b"}}, {SQL: SQL{DB: db.SQL(), Table: "none"}}} {
		_, err = NewTrusted(t.Context(), bad)
		require.Error(t, err)
	}
	_, err = NewTrusted(t.Context())
	require.Error(t, err)
	_, err = NewTrusted(t.Context(), nil)
	require.Error(t, err)
}

// A pattern is worth what an allow rule is.
func TestDecisionTrustedCanonical(t *testing.T) {
	row := TrustedRow{Source: netip.MustParseAddr("192.0.2.1"), Target: `^sip:+44.*@cheap\.example`}
	table := must(NewTrusted(t.Context(), Rows(row))).Current()
	for target, want := range map[string]bool{
		"sip:+441@cheap.example":                  true,
		"sip:+44-1@CHEAP.example.:5070;x=y?h=z":   true,
		"sip:+4%341@cheap.example":                true,
		"sip:+441@dear.example":                   false,
		"sip:+441@dear.example?y=@cheap.example":  false,
		"sip:+441@dear.example;y=@cheap.example":  false,
		"sip:+441@cheap.example;rn=+1900":         false,
		"sip:+441@cheap.example;rn=+442":          true,
		"sip:+441%00@cheap.example":               false,
		"sip:+441@cheap.example;rn=+1900;x=+4412": false,
	} {
		q := TrustedQuery{Addr: row.Source, Target: target}
		require.Equal(t, want, table.AllowTrusted(q).Allowed, target)
		var tr Trace
		require.Equal(t, want, table.Tracing(&tr).AllowTrusted(q).Allowed, target)
		require.Equal(t, want, tr.Steps[0].Matched, target)
	}
}
