package conformance

import (
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
)

// This file has a test for each decision in which an address table is not
// what the originals make of it: with an input just inside the decision, and
// one just outside, where nothing is changed.

// openSIPSRow is grp, ip, mask, port, proto, pattern, context_info.
func openSIPSRow(values ...any) []any {
	return append(values, []any{int64(1), "10.0.0.1", int64(32), int64(0), "any", nil, nil}[len(values):]...)
}

// kamailioRowOf is grp, ip_addr, mask, port, tag.
func kamailioRowOf(values ...any) []any {
	return append(values, []any{int64(1), "10.0.0.1", int64(32), int64(0), nil}[len(values):]...)
}

func withIDs(rows [][]any) [][]any {
	for i := range rows {
		rows[i] = append([]any{int64(i + 1)}, rows[i]...)
	}
	return rows
}

func openSIPSSource(t *testing.T, rows ...[]any) sipacl.SQLAddresses {
	db := fakedb.Open(t)
	db.Set("address", openSIPSColumns, withIDs(rows)...)
	return sipacl.OpenSIPSAddresses(db.SQL())
}

func kamailioSource(t *testing.T, rows ...[]any) sipacl.SQLAddresses {
	db := fakedb.Open(t)
	db.Set("address", kamailioColumns, withIDs(rows)...)
	return sipacl.KamailioAddresses(db.SQL())
}

func fileSource(text string) sipacl.AddressFile {
	return sipacl.AddressFile{FS: fstest.MapFS{"address.list": {Data: []byte(text)}}, Name: "address.list"}
}

// serves returns a partition of a source that loads.
func serves(t *testing.T, source sipacl.AddressSource) sipacl.Partition {
	t.Helper()
	p, err := sipacl.NewPartition(t.Context(), source)
	require.NoError(t, err)
	return p
}

// refuses requires that a source does not load, for one error that says want.
func refuses(t *testing.T, source sipacl.AddressSource, want string) {
	t.Helper()
	_, err := sipacl.NewPartition(t.Context(), source)
	require.ErrorContains(t, err, want)
	require.Len(t, loadErrors(err), 1)
}

func source(addr string, port uint16, proto sipacl.Proto) sipacl.Source {
	return sipacl.Source{Addr: netip.MustParseAddr(addr), Port: port, Proto: proto}
}

// rowOf is the line of the row that matches addr in any group; 0 if none does.
func rowOf(p sipacl.Partition, addr string) int {
	return p.Current().CheckAddress(sipacl.Query{Addr: netip.MustParseAddr(addr), Any: sipacl.AnyGroup | sipacl.AnyPort | sipacl.AnyProto | sipacl.AnySubject}).Origin.Line
}

func TestDecisionWinner(t *testing.T) {
	// addr-winner: OpenSIPS takes the shortest prefix, Kamailio the last host.
	p := serves(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.0", 8), openSIPSRow(1, "10.1.0.0", 16), openSIPSRow(1, "10.1.0.0", 16)))
	require.Equal(t, 2, rowOf(p, "10.1.2.3"))
	require.Equal(t, 1, rowOf(p, "10.2.2.3"), "where one row matches it wins everywhere")
	p = serves(t, kamailioSource(t, kamailioRowOf(1, "10.0.0.1", 32), kamailioRowOf(2, "10.0.0.1", 32), kamailioRowOf(3, "10.0.0.2", 32)))
	require.Equal(t, 1, rowOf(p, "10.0.0.1"))
	require.Equal(t, 3, rowOf(p, "10.0.0.2"))
}

func TestDecisionMapped(t *testing.T) {
	// addr-mapped: to the originals, ::ffff:a00:1 and 10.0.0.1 are strangers.
	p := serves(t, openSIPSSource(t, openSIPSRow(1, "::ffff:a00:1", 128), openSIPSRow(1, "::ffff:c000:200", 97), openSIPSRow(1, "::fffe:a00:2", 128)))
	require.Equal(t, 1, rowOf(p, "10.0.0.1"))
	require.Equal(t, 1, rowOf(p, "::ffff:10.0.0.1"))
	require.Equal(t, 2, rowOf(p, "192.0.2.1"), "97 bits are one of IPv4")
	require.Zero(t, rowOf(p, "10.0.0.2"))
	require.Equal(t, 3, rowOf(p, "::fffe:a00:2"), "not a mapped address")

	refuses(t, openSIPSSource(t, openSIPSRow(1, "::ffff:a00:1", 96)), `mask "96": want more than 96`)
	serves(t, openSIPSSource(t, openSIPSRow(1, "::fffe:a00:1", 96)))
}

func TestDecisionZone(t *testing.T) {
	// addr-zone: stripped in queries, an error in rows.
	p := serves(t, openSIPSSource(t, openSIPSRow(1, "fe80::1", 128)))
	require.Equal(t, 1, rowOf(p, "fe80::1%eth0"))
	require.Zero(t, rowOf(p, "fe80::2%eth0"))
	refuses(t, openSIPSSource(t, openSIPSRow(1, "fe80::1%eth0", 128)), "want an IPv4 or IPv6 address")
	names := kamailioSource(t, kamailioRowOf(1, "fe80::1%eth0", 128))
	names.Names = true
	refuses(t, names, "want an IPv4 or IPv6 address")
}

func TestDecisionLiteral(t *testing.T) {
	// addr-literal: what net/netip reads, in blanks, IPv6 in brackets.
	for _, bad := range []string{
		"10.0.0.", "10.0.0", "010.0.0.1", "300.2.2.2", "4..4.4", "...", "10.0.0.1/32", "10.0.0.1:5060", "[10.0.0.1]",
		"[2001:db8::1", "2001:db8::1]", "12001:db8::1", ":1:2:3:4:5:6:7", "", "[]",
	} {
		refuses(t, openSIPSSource(t, openSIPSRow(1, bad)), "want an IPv4 or IPv6 address")
		refuses(t, kamailioSource(t, kamailioRowOf(1, bad)), "want an IPv4 or IPv6 address")
	}
	p := serves(t, openSIPSSource(t, openSIPSRow(1, " 10.0.0.1   "), openSIPSRow(1, "[2001:db8::1]", 128), openSIPSRow(1, "::ffff:10.0.0.2", 128)))
	require.Equal(t, 1, rowOf(p, "10.0.0.1"))
	require.Equal(t, 2, rowOf(p, "2001:db8::1"))
	require.Equal(t, 3, rowOf(p, "10.0.0.2"))
	p = serves(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 32, 0, "udp ", "a  ", "padded  ")))
	d := p.Current().CheckAddress(sipacl.Query{Group: 1, Addr: netip.MustParseAddr("10.0.0.1"), Proto: sipacl.ProtoUDP, Subject: "a"})
	require.Equal(t, "padded", d.Info)
}

func TestDecisionNumber(t *testing.T) {
	// addr-number: whole decimal numbers in range, never wrapped or cut.
	for column, values := range map[string][]any{
		"grp":  {int64(-1), int64(1 << 32), "abc", "1x", "", 1.5, "1e2", "0x1", "+1", nil},
		"mask": {int64(-1), int64(33), int64(1<<32 + 32), "abc", "24x", "255.255.255.0", nil},
		"port": {int64(-1), int64(65536), int64(70000), "5060x", nil},
	} {
		for _, v := range values {
			row := map[string][]any{"grp": openSIPSRow(v), "mask": openSIPSRow(1, "10.0.0.1", v), "port": openSIPSRow(1, "10.0.0.1", 32, v)}[column]
			refuses(t, openSIPSSource(t, row), "address:id 1: "+column)
		}
	}
	p := serves(t, openSIPSSource(t,
		openSIPSRow(int64(1<<32-1)), openSIPSRow("2", "10.0.0.2", []byte("32"), " 5060 "), openSIPSRow(0, "2001:db8::", 128, 65535)))
	require.Equal(t, sipacl.GroupID(1<<32-1), p.Current().AddressGroup(sipacl.Source{Addr: netip.MustParseAddr("10.0.0.1")}).Group)
	require.True(t, p.Current().CheckSource(source("10.0.0.2", 5060, sipacl.ProtoUDP), 2, "").Allowed)
	require.True(t, p.Current().CheckSource(source("2001:db8::", 65535, sipacl.ProtoUDP), 0, "").Allowed)
}

func TestDecisionBadRow(t *testing.T) {
	// addr-badrow: every bad row and column is named, and nothing is loaded.
	source := openSIPSSource(t, openSIPSRow("x", "10.0.0.1", 99), openSIPSRow(1, "10.0.0.2"), openSIPSRow(1, nil))
	_, err := sipacl.NewPartition(t.Context(), source)
	for _, want := range []string{`address:id 1: grp "x"`, `address:id 1: mask "99"`, `address:id 3: ip "NULL"`} {
		require.ErrorContains(t, err, want)
	}
	require.Len(t, loadErrors(err), 3)

	p := serves(t, sipacl.SkipBad[sipacl.AddressRow](source))
	require.Equal(t, 2, rowOf(p, "10.0.0.2"))
	require.Zero(t, rowOf(p, "10.0.0.1"))
	require.Equal(t, 3, p.Status().Skipped)

	serves(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 32, 0, "any", nil, nil)))
}

func TestDecisionV632(t *testing.T) {
	// addr-v6-32: OpenSIPS 3.6 finds an IPv6 /32 by luck only.
	p := serves(t, openSIPSSource(t, openSIPSRow(1, "2001:db8::", 32), openSIPSRow(1, "2001:db9::", 33)))
	require.Equal(t, 1, rowOf(p, "2001:db8:ffff::1"))
	require.Equal(t, 2, rowOf(p, "2001:db9:7fff::1"))
	require.Zero(t, rowOf(p, "2001:db9:8000::1"))
}

func TestDecisionNoGroup(t *testing.T) {
	// addr-nogroup: a group without rows is no match, as is one whose rows do not match.
	p := serves(t, openSIPSSource(t, openSIPSRow(1)))
	for _, group := range []sipacl.GroupID{2, 1} {
		d := p.Current().CheckAddress(sipacl.Query{Group: group, Addr: netip.MustParseAddr("10.0.0.2")})
		require.Equal(t, sipacl.CauseNoAddress, d.Cause)
		require.ErrorIs(t, d.Err(), sipacl.ErrDenied)
	}
}

func TestDecisionGroup0Row(t *testing.T) {
	// addr-group0-row: group 0 is a group; "any" is asked by a flag.
	p := serves(t, openSIPSSource(t, openSIPSRow(0, "10.0.0.1"), openSIPSRow(1, "10.0.0.2")))
	zero, one := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	require.False(t, p.Current().CheckAddress(sipacl.Query{Group: 1, Addr: zero}).Allowed)
	require.True(t, p.Current().CheckAddress(sipacl.Query{Group: 0, Addr: zero}).Allowed)
	require.False(t, p.Current().CheckAddress(sipacl.Query{Group: 0, Addr: one}).Allowed)
	require.True(t, p.Current().CheckAddress(sipacl.Query{Any: sipacl.AnyGroup, Addr: one}).Allowed)
}

func TestDecisionSrcGroup(t *testing.T) {
	// addr-srcgroup: the group is that of a row for the protocol and port.
	p := serves(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 32, 0, "tls"), openSIPSRow(2, "10.0.0.1", 32, 5060, "any", "nobody"), openSIPSRow(3, "10.0.0.1")))
	group := func(port uint16, proto sipacl.Proto) sipacl.GroupID {
		return p.Current().AddressGroup(source("10.0.0.1", port, proto)).Group
	}
	require.Equal(t, sipacl.GroupID(1), group(5060, sipacl.ProtoTLS))
	require.Equal(t, sipacl.GroupID(2), group(5060, sipacl.ProtoUDP), "patterns are not asked")
	require.Equal(t, sipacl.GroupID(3), group(5061, sipacl.ProtoUDP))
}

func TestDecisionZeroMask(t *testing.T) {
	// addr-zeromask: a host to Kamailio, everyone to OpenSIPS, where it is meant.
	p := serves(t, openSIPSSource(t, openSIPSRow(1, "0.0.0.0", 0), openSIPSRow(1, "::", 0)))
	require.Equal(t, 1, rowOf(p, "203.0.113.9"))
	require.Equal(t, 2, rowOf(p, "2001:db8::1"))
	refuses(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 0)), `mask "0": mask 0 on 10.0.0.1 would be everyone`)
	serves(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 1)))

	p = serves(t, kamailioSource(t, kamailioRowOf(1, "0.0.0.0", 0), kamailioRowOf(1, "10.0.0.1", 0), kamailioRowOf(1, "2001:db8::1", 0)))
	require.Zero(t, rowOf(p, "203.0.113.9"))
	require.Equal(t, 2, rowOf(p, "10.0.0.1"))
	require.Equal(t, 3, rowOf(p, "2001:db8::1"))

	unset := openSIPSSource(t, openSIPSRow(1, "0.0.0.0", 0))
	unset.ZeroMask = sipacl.ZeroMaskUnset
	refuses(t, unset, "ZeroMask")
}

func TestDecisionNames(t *testing.T) {
	// addr-names: only when asked for, only real names, in any letter case.
	for _, name := range []string{"gw.example.com", "10.9.0.0.in-addr", "localhost", "Gw.Example.Com."} {
		source := kamailioSource(t, kamailioRowOf(1, name, 99))
		refuses(t, source, "set Names")
		source.Names = true
		p := serves(t, source)
		require.True(t, p.Current().CheckAddress(sipacl.Query{Group: 1, Host: strings.ToUpper(name)}).Allowed)
		require.True(t, p.Current().CheckAddress(sipacl.Query{Group: 1, Host: strings.TrimSuffix(name, ".") + "."}).Allowed)
		require.False(t, p.Current().CheckAddress(sipacl.Query{Group: 1, Host: "x" + name}).Allowed)
	}
	for _, bad := range []string{"10.9.0.0/16", "1.2.3", "gw.example.1", "gw..example.com", "-gw.example.com", "gw_1.example.com", "gw.example.com..", "."} {
		source := kamailioSource(t, kamailioRowOf(1, bad))
		source.Names = true
		refuses(t, source, "want an IPv4 or IPv6 address")
	}
}

func TestDecisionFile(t *testing.T) {
	// addr-file: whole columns, at most five.
	for text, want := range map[string]string{
		"1 10.0.0.1 32 0 tag more": `address.list:1:21: found "more"`,
		"1x 10.0.0.1":              `group "1x"`,
		"1 10.0.0.1 32x":           `mask "32x"`,
		"1 10.0.0.1 /32":           `mask "/32"`,
		"1 10.0.0.1 32 5060x":      `port "5060x"`,
		"abc 10.0.0.1 32 0 t":      `group "abc"`,
		"\n1 # comment":            "address.list:2:",
	} {
		refuses(t, fileSource(text), want)
	}
	long := strings.Repeat("x", 2000)
	p := serves(t, fileSource("0 10.0.0.1 32 0 "+long+"\n1 10.0.0.2#"+long+" 1 10.0.0.3\r\n\t2 10.0.0.4\t0\t5060 t # c\n"))
	require.Equal(t, long, p.Current().CheckAddress(sipacl.Query{Addr: netip.MustParseAddr("10.0.0.1")}).Info)
	require.Equal(t, 2, rowOf(p, "10.0.0.2"))
	require.Zero(t, rowOf(p, "10.0.0.3"), "a comment has no length")
	require.Equal(t, 3, rowOf(p, "10.0.0.4"))
}

func TestDecisionLimit(t *testing.T) {
	// addr-limit: Kamailio drops the 513th subnet, OpenSIPS 3.5 the 129th.
	rows := make([][]any, 600)
	for i := range rows {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		rows[i] = kamailioRowOf(1, addr.String(), 24)
	}
	rows = append(rows, rows[599]) // a duplicate does no harm
	p := serves(t, kamailioSource(t, rows...))
	require.Equal(t, 128, rowOf(p, "10.0.127.1"))
	require.Equal(t, 600, rowOf(p, "10.2.87.1"))
}

func TestDecisionProto(t *testing.T) {
	// addr-proto: the sixteen names, any, none and nothing.
	for _, proto := range append(strings.Fields("any ANY none UDP Hep_Tcp"), append(modelProtos, "")...) {
		serves(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 32, 0, proto)))
	}
	for _, bad := range []any{"bogus", "udpx", " udp", "0", nil} {
		refuses(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 32, 0, bad)), "address:id 1: proto")
	}
	_, err := sipacl.ParseProto("")
	require.Error(t, err)
	p := serves(t, openSIPSSource(t, openSIPSRow(1, "10.0.0.1", 32, 0, "none")))
	require.Zero(t, rowOf(p, "10.0.0.1"))
}
