package sipacl

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/fakedb"
)

// A table of the user's own: names and prefixes in one column.
func TestAddressesOfAQuery(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("carriers", []string{"name", "cidr", "n"}, []any{"acme", "203.0.113.0/24", 1}, []any{"host", []byte(" 2001:db8::1 "), 2})
	query := SQL{DB: db.SQL(), Query: "SELECT name, cidr FROM carriers"}
	p, err := NewPartition(t.Context(), SQLAddresses{SQL: query, IPCol: "CIDR", InfoCol: "name", Group: 7})
	require.NoError(t, err)
	require.Equal(t, []AddressRow{
		{Group: 7, Prefix: prefix("203.0.113.0/24"), Info: "acme", Origin: Origin{Name: "query", Line: 1, Unit: UnitRow}},
		{Group: 7, Prefix: prefix("2001:db8::1/128"), Info: "host", Origin: Origin{Name: "query", Line: 2, Unit: UnitRow}},
	}, slices.Collect(p.Current().Rows()))

	query = SQL{DB: db.SQL(), Query: "SELECT name, cidr, n FROM carriers", Table: "carriers", IDCol: "n"}
	p, err = NewPartition(t.Context(), SQLAddresses{SQL: query, IPCol: "cidr"})
	require.NoError(t, err)
	require.Equal(t, "carriers:id 2", slices.Collect(p.Current().Rows())[1].Origin.String())

	for want, s := range map[string]SQLAddresses{
		`query: want a column for "ip"`:                                    {SQL: SQL{DB: db.SQL(), Query: "SELECT name, cidr FROM carriers"}},
		`query: no column "net" among name, cidr`:                          {SQL: SQL{DB: db.SQL(), Query: "SELECT name, cidr FROM carriers"}, IPCol: "net"},
		`query: want a database`:                                           {SQL: SQL{Query: "SELECT 1"}, IPCol: "x"},
		`query: column "cidr" is there twice`:                              {SQL: SQL{DB: db.SQL(), Query: "SELECT cidr, cidr FROM carriers"}, IPCol: "cidr"},
		`query: want a Group or a GroupCol, not both`:                      {SQL: SQL{DB: db.SQL(), Query: "SELECT cidr, n FROM carriers"}, IPCol: "cidr", GroupCol: "n", Group: 1},
		`query:row 1: cidr "203.0.113.0/24": want an IPv4 or IPv6 address`: {SQL: SQL{DB: db.SQL(), Query: "SELECT cidr, n FROM carriers"}, IPCol: "cidr", MaskCol: "n"},
	} {
		_, err := NewPartition(t.Context(), s)
		require.ErrorContains(t, err, want)
	}
}

// A query whose columns are wrong is wrong while it has no rows, too.
func TestMissingColumnsShowInAnEmptyResult(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("carriers", []string{"cidr"})
	_, err := NewPartition(t.Context(), SQLAddresses{SQL: SQL{DB: db.SQL(), Query: "SELECT cidr FROM carriers"}, IPCol: "cdir"})
	require.ErrorContains(t, err, `no column "cdir" among cidr`)
}

func TestPrefixesInTheAddressColumn(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.0/24":        "203.0.113.0/24",
		"203.0.113.9/24":        "203.0.113.0/24",
		"203.0.113.9":           "203.0.113.9/32",
		"2001:db8::/32":         "2001:db8::/32",
		"[2001:db8::1]":         "2001:db8::1/128",
		"::ffff:192.0.2.0/120":  "192.0.2.0/24",
		"0.0.0.0/0":             "0.0.0.0/0",
		"::ffff:192.0.2.0/96":   "want more than 96",
		"192.0.2.0/0":           "would be everyone",
		"192.0.2.0/33":          "want 0 to 32 behind the /",
		"192.0.2.0/":            "want 0 to 32 behind the /",
		"192.0.2.0/-1":          "want 0 to 32 behind the /",
		"192.0.2.0/24/24":       "want 0 to 32 behind the /",
		"192.0.2.0/255.255.0.0": "want 0 to 32 behind the /",
		"192.0.2/24":            "want an IPv4 or IPv6 address or prefix",
		"":                      "want an IPv4 or IPv6 address or prefix",
	} {
		db := fakedb.Open(t)
		db.Set("carriers", []string{"cidr"}, []any{text})
		p, err := NewPartition(t.Context(), SQLAddresses{SQL: SQL{DB: db.SQL(), Query: "SELECT cidr FROM carriers"}, IPCol: "cidr"})
		if err != nil {
			require.ErrorContains(t, err, want, text)
			continue
		}
		require.Equal(t, want, slices.Collect(p.Current().Rows())[0].Prefix.String(), text)
	}
}

// SkipBad leaves out rows of every kind of list, and says so. What is wrong
// with a source as a whole is no row, and fails.
func TestSkipBadOfEveryList(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("acltable", []string{"name", "rule_order", "sense", "rule"},
		[]any{"good", 1, "permit", "192.0.2.1"}, []any{"bad", 1, "deny", "0.0.0.0/0"}, []any{"bad", 2, "permit", "x"})
	ctx := t.Context()
	acls, err := NewACLs(ctx, SkipBad[ACLRow](SQLACLs{SQL: SQL{DB: db.SQL()}}),
		Rows(ACLRow{Name: "bad", Rules: []ACLRule{{Sense: Permit, Prefix: prefix("0.0.0.0/0")}}}))
	require.NoError(t, err)
	require.Equal(t, 1, acls.Status().Skipped)
	_, err = acls.Current().Bind("good")
	require.NoError(t, err)
	_, err = acls.Current().Bind("bad")
	require.ErrorIs(t, err, ErrUnknown, "an ACL with a rule less is none, and hides the next source's")

	_, err = NewACLs(ctx, SkipBad[ACLRow](Rows(ACLRow{Empty: true})))
	require.ErrorContains(t, err, "ACL without a name")

	groups, err := NewGroups(ctx, GroupConfig{
		Members: []MemberSource{SkipBad[Member](MemberFile{FS: fstest.MapFS{"m": {Data: []byte("alice\nbob ld\n")}}, Name: "m"})},
		Classes: []ClassSource{SkipBad(Rows(ClassRow{Expression: "["}, ClassRow{Expression: "bob", Class: 3}))},
	})
	require.NoError(t, err)
	require.Equal(t, 2, groups.Status().Skipped)
	require.Equal(t, 2, groups.Status().Entries)

	trusted, err := NewTrusted(ctx, SkipBad(Rows(TrustedRow{From: `\(`}, TrustedRow{Source: addr("192.0.2.1")})))
	require.NoError(t, err)
	require.Equal(t, 1, trusted.Status().Skipped)

	p, err := NewPartition(ctx, SkipBad(Rows(AddressRow{Prefix: netip.Prefix{}}, AddressRow{Prefix: prefix("192.0.2.1/32")})))
	require.NoError(t, err)
	require.Equal(t, 1, p.Status().Skipped)

	for _, s := range []AddressSource{
		AddressFile{Name: "x"}, AddressFile{FS: fstest.MapFS{}, Name: "x"}, SQLAddresses{}, SQLAddresses{SQL: SQL{DB: db.SQL(), Table: "none"}},
	} {
		_, err := NewPartition(ctx, SkipBad(s))
		require.Error(t, err)
	}
}

// A mistake in one source does not hide those of the next.
func TestEverySourceIsRead(t *testing.T) {
	down := errors.New("down")
	db := fakedb.Open(t)
	db.Fail(down)
	_, err := NewPartition(t.Context(), SQLAddresses{SQL: SQL{DB: db.SQL()}}, Rows(AddressRow{Origin: Origin{Name: "mine", Line: 3}}))
	require.ErrorIs(t, err, down)
	require.ErrorContains(t, err, "mine:3: ip")
}

// What changes no answer but is told of a row reaches Run, too.
func TestEveryFieldOfATrustedRowIsContent(t *testing.T) {
	base := TrustedRow{Source: addr("192.0.2.1"), Proto: ProtoUDP, From: "a", Target: "b", Tag: "", NoTag: true, Priority: 1}
	digest := func(r TrustedRow) string {
		trusted, err := NewTrusted(t.Context(), Rows(r))
		require.NoError(t, err)
		return trusted.Status().Digest
	}
	seen := map[string]bool{digest(base): true}
	for i, change := range []func(*TrustedRow){
		func(r *TrustedRow) { r.Source = addr("192.0.2.2") }, func(r *TrustedRow) { r.Proto = ProtoAny },
		func(r *TrustedRow) { r.From = "" }, func(r *TrustedRow) { r.Target = "a" }, func(r *TrustedRow) { r.NoTag = false },
		func(r *TrustedRow) { r.Tag, r.NoTag = "x", false }, func(r *TrustedRow) { r.Priority = 0 },
	} {
		r := base
		change(&r)
		require.False(t, seen[digest(r)], i)
		seen[digest(r)] = true
	}
	moved := base
	moved.Origin = Origin{Name: "trusted", Line: 9, Unit: UnitID}
	require.Equal(t, digest(base), digest(moved), "another machine may number its rows otherwise")
}

func TestRunTakesAChangedTagOfTrusted(t *testing.T) {
	rows := []TrustedRow{{Source: addr("192.0.2.1"), Tag: "a"}}
	trusted, err := NewTrusted(t.Context(), RowFunc[TrustedRow](Rows(rows...).Rows))
	require.NoError(t, err)
	w := &watch{part: trusted.p}
	rows[0].Tag = "b"
	var told ReloadReport
	trusted.OnReload(func(r ReloadReport) { told = r })
	w.look(t.Context(), trusted.p.perm, RunConfig{Timeout: 10e9, Interval: 10e9, Settle: 1})
	require.Equal(t, "b", trusted.Current().AllowTrusted(TrustedQuery{Addr: addr("192.0.2.1")}).Info)
	require.Equal(t, []int{1, 1}, []int{told.Added, told.Removed})
}

func TestAnEmptyProtocolOfTrustedIsAnError(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("trusted", []string{"id", "src_ip", "proto", "from_pattern", "ruri_pattern", "tag", "priority"},
		[]any{1, "192.0.2.1", "", nil, nil, nil, 0})
	_, err := NewTrusted(t.Context(), SQLTrusted{SQL: SQL{DB: db.SQL()}})
	require.ErrorContains(t, err, `trusted:id 1: proto "": want a protocol, or any`)
}
