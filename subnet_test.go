package sipacl

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowTable answers what Table answers by reading every row. It is the
// meaning of Table; when the two differ, Table is wrong.
type slowTable []AddressRow

// bits is how specific a row is; host names have no order but the source's.
func (slowTable) bits(r AddressRow) int {
	if r.Host != "" {
		return 0
	}
	return r.Prefix.Bits()
}

// covers reports whether the address of r is that of q.
func (slowTable) covers(r AddressRow, q Query) bool {
	if q.Addr.IsValid() == (q.Host != "") {
		return false
	}
	if q.Host != "" {
		return strings.EqualFold(r.Host, strings.TrimSuffix(q.Host, "."))
	}
	return r.Host == "" && r.Prefix.Contains(q.Addr.WithZone("").Unmap())
}

// admits reports whether all but the address of r is that of q.
func (slowTable) admits(r AddressRow, q Query) bool {
	group := q.Any&AnyGroup != 0 || r.Group == q.Group
	port := r.Port == 0 || q.Any&AnyPort != 0 || r.Port == q.Port
	proto := r.Proto == ProtoAny || q.Any&AnyProto != 0 || r.Proto == q.Proto
	none := r.Proto == ProtoNone || q.Proto == ProtoNone
	subject := r.Pattern == "" || q.Any&AnySubject != 0 || r.Pattern == q.Subject // patterns here are plain texts
	return group && port && proto && !none && subject
}

// covering returns the rows that cover the address of q, most specific first.
func (t slowTable) covering(q Query) (rows []AddressRow) {
	for bits := 128; bits >= 0; bits-- {
		for _, r := range t {
			if t.bits(r) == bits && t.covers(r, q) {
				rows = append(rows, r)
			}
		}
	}
	return rows
}

func (t slowTable) matches(q Query) (all []Decision) {
	for _, r := range t.covering(q) {
		if t.admits(r, q) {
			all = append(all, Decision{
				Allowed: true, Cause: CauseAddress, Origin: r.Origin, Group: r.Group,
				Prefix: r.Prefix, Info: r.Info, Source: q.source(), Right: q.Host,
			})
		}
	}
	return all
}

func (t slowTable) check(q Query) Decision {
	if all := t.matches(q); len(all) > 0 {
		return all[0]
	}
	d := Decision{Cause: CauseNoAddress, Source: q.source(), Right: q.Host}
	if q.Addr.IsValid() == (q.Host != "") {
		d.Cause = CauseMalformed
	}
	return d
}

func (t slowTable) groups(s Source) (groups []GroupID) {
	for _, d := range t.matches(Query{Addr: s.Addr, Port: s.Port, Proto: s.Proto, Any: AnyGroup | AnySubject}) {
		if !slices.Contains(groups, d.Group) {
			groups = append(groups, d.Group)
		}
	}
	return groups
}

// dice takes decisions from fuzz data; when it is used up, everything is 0.
type dice []byte

func (d *dice) n(n int) int {
	if len(*d) == 0 {
		return 0
	}
	b := (*d)[0]
	*d = (*d)[1:]
	return int(b) % n
}

func (d *dice) addr() netip.Addr {
	switch d.n(5) {
	case 0, 1:
		return netip.AddrFrom4([4]byte{192, 0, 2 + byte(d.n(2)), byte(d.n(256))})
	case 2:
		return netip.AddrFrom16(netip.AddrFrom4([4]byte{192, 0, 2, byte(d.n(256))}).As16()) // mapped
	case 3:
		b := [16]byte{0x20, 1, 0x0d, 0xb8, 15: byte(d.n(256))}
		b[4+d.n(8)] = byte(d.n(4))
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte{byte(d.n(256)), 15, 255, byte(d.n(256))})
}

func (d *dice) host() string {
	return []string{"a.example.com", "A.Example.COM", "b.example.com", "b.example.co", "example.com"}[d.n(5)]
}

func (d *dice) row(line int) AddressRow {
	r := AddressRow{
		Group:   GroupID(d.n(3)),
		Port:    []uint16{0, 0, 5060, 5061}[d.n(4)],
		Proto:   []Proto{ProtoAny, ProtoAny, ProtoUDP, ProtoTCP, ProtoNone}[d.n(5)],
		Pattern: []string{"", "", "alice", "bob"}[d.n(4)],
		Info:    []string{"", "office", "trunk"}[d.n(3)],
		Origin:  Origin{Name: "address", Line: line, Unit: UnitID},
	}
	if d.n(6) == 0 {
		r.Host = d.host()
		return r
	}
	a := d.addr()
	bits := a.BitLen() - d.n(a.BitLen()+1)
	if a.Is4In6() {
		bits = max(bits, 97)
	}
	r.Prefix = netip.PrefixFrom(a, bits)
	return r
}

func (d *dice) query(rows []AddressRow) Query {
	q := Query{
		Group:   GroupID(d.n(4)),
		Port:    []uint16{0, 5060, 5061}[d.n(3)],
		Proto:   []Proto{ProtoAny, ProtoUDP, ProtoTCP, ProtoNone}[d.n(4)],
		Subject: []string{"", "alice", "carol"}[d.n(3)],
		Any:     Any(d.n(16)),
	}
	switch d.n(8) {
	case 0:
		q.Host = d.host() + []string{"", "."}[d.n(2)]
	case 1:
		q.Addr, q.Host = d.addr(), d.host() // both: no question
	case 2: // neither
	case 3, 4:
		q.Addr = d.addr()
	case 5:
		q.Addr = netip.MustParseAddr("2001:db8::1").WithZone("eth0")
	default: // an address that some row may cover
		if len(rows) > 0 {
			q.Addr = rows[d.n(len(rows))].Prefix.Addr()
		}
	}
	return q
}

// compareTables builds both tables of the same rows and asks them the same.
func compareTables(t *testing.T, data []byte) {
	d := (*dice)(&data)
	rows := make([]AddressRow, d.n(24))
	for i := range rows {
		rows[i] = d.row(i + 1)
	}
	fast, err := newTable(Rows(rows...))
	require.NoError(t, err)
	var slow slowTable
	for _, r := range rows {
		if a := r.Prefix.Addr(); a.Is4In6() {
			r.Prefix = netip.PrefixFrom(a.Unmap(), r.Prefix.Bits()-96)
		}
		r.Prefix, r.Host = r.Prefix.Masked(), strings.ToLower(r.Host)
		slow = append(slow, r)
	}
	require.Equal(t, []AddressRow(slow), collect(fast.Rows()), "rows come back as they are compared")
	for range 8 {
		q := d.query(slow)
		require.Equal(t, slow.check(q), fast.CheckAddress(q), "%+v of %v", q, rows)
		require.Equal(t, slow.matches(q), collect(fast.Matches(q)), "%+v of %v", q, rows)
		s := Source{q.Addr, q.Port, q.Proto}
		require.Equal(t, slow.groups(s), collect(fast.Groups(s)), "%v of %v", s, rows)
		compareTrace(t, slow, q, traced(func(tr *Trace) { fast.Tracing(tr).CheckAddress(q) }))
	}
}

// compareTrace wants every row that covers the address, in order, with what
// the check says of it.
func compareTrace(t *testing.T, slow slowTable, q Query, trace Trace) {
	require.Equal(t, slow.check(q), trace.Decision)
	rows := slow.covering(q)
	require.Len(t, trace.Steps, len(rows))
	for i, step := range trace.Steps {
		require.Equal(t, rows[i].Origin, step.Origin)
		require.Equal(t, rows[i].String(), step.Text)
		require.Equal(t, slow.admits(rows[i], q), step.Matched, "%+v %v", q, rows[i])
		require.Equal(t, step.Matched, step.Note == "", "what did not match says why")
	}
}

func collect[T any](seq iter.Seq[T]) (all []T) {
	for v := range seq {
		all = append(all, v)
	}
	return all
}

func TestTableIsSlowTable(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		data := make([]byte, r.IntN(400))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		compareTables(t, data)
	}
}

func FuzzTable(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 20 {
		data := make([]byte, 0, 400)
		for range n * 5 {
			data = binary.BigEndian.AppendUint32(data, r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 600 {
			compareTables(t, data)
		}
	})
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func mustTable(t testing.TB, rows ...AddressRow) *Table {
	table, err := newTable(Rows(rows...))
	require.NoError(t, err)
	return table
}

func TestNilAndZeroTablesRefuse(t *testing.T) {
	all := Query{Addr: addr("192.0.2.1"), Any: AnyGroup | AnyPort | AnyProto | AnySubject}
	for _, table := range []*Table{nil, {}} {
		require.Equal(t, CauseNotLoaded, table.CheckAddress(all).Cause)
		require.False(t, table.CheckAddress(all).Allowed)
		require.False(t, table.AddressGroup(Source{Addr: all.Addr, Proto: ProtoUDP}).Allowed)
		require.False(t, traced(func(tr *Trace) { table.Tracing(tr).CheckAddress(all) }).Decision.Allowed)
		require.Empty(t, collect(table.Matches(all)))
		require.Empty(t, collect(table.Groups(Source{Addr: all.Addr})))
		require.Empty(t, collect(table.Rows()))
		require.Zero(t, table.size())
		require.Zero(t, table.Generation())
	}
}

func TestZeroQueryMatchesNothing(t *testing.T) {
	table := mustTable(t, AddressRow{Prefix: prefix("0.0.0.0/0")}, AddressRow{Prefix: prefix("::/0")}, AddressRow{Host: "example.com"})
	for _, q := range []Query{
		{}, {Any: AnyGroup | AnyPort | AnyProto | AnySubject}, {Addr: addr("192.0.2.1"), Host: "example.com"},
	} {
		require.Equal(t, CauseMalformed, table.CheckAddress(q).Cause)
		require.False(t, table.CheckAddress(q).Allowed)
	}
	for _, host := range []string{".", "com", "example.com..", "example.co", "example.comm", "\x00", "192.0.2.1"} {
		require.Equal(t, CauseNoAddress, table.CheckAddress(Query{Host: host}).Cause, host)
	}
}

// A datagram can carry source port 0, and 0 is "any" in a row only.
func TestPort0MatchesAnyPortRowsOnly(t *testing.T) {
	table := mustTable(t,
		AddressRow{Group: 1, Prefix: prefix("192.0.2.1/32"), Port: 5060},
		AddressRow{Group: 2, Prefix: prefix("192.0.2.1/32")})
	s := Source{addr("192.0.2.1"), 0, ProtoUDP}
	require.False(t, table.CheckSource(s, 1, "").Allowed)
	require.True(t, table.CheckSource(s, 2, "").Allowed)
	require.Equal(t, GroupID(2), table.AddressGroup(s).Group)
	require.Equal(t, []GroupID{2}, collect(table.Groups(s)))
	q := s.query(1)
	q.Any = AnyPort
	require.True(t, table.CheckAddress(q).Allowed, "unless it is written out")
}

func TestGroup0IsAnOrdinaryGroup(t *testing.T) {
	table := mustTable(t, AddressRow{Group: 0, Prefix: prefix("192.0.2.1/32")}, AddressRow{Group: 7, Prefix: prefix("192.0.2.2/32")})
	require.True(t, table.CheckAddress(Query{Addr: addr("192.0.2.1")}).Allowed)
	require.False(t, table.CheckAddress(Query{Addr: addr("192.0.2.1"), Group: 7}).Allowed)
	require.False(t, table.CheckAddress(Query{Addr: addr("192.0.2.2")}).Allowed)
}

func TestFamiliesAreSeparate(t *testing.T) {
	four := mustTable(t, AddressRow{Prefix: prefix("0.0.0.0/0")})
	six := mustTable(t, AddressRow{Prefix: prefix("::/0")})
	for a, want := range map[string][2]bool{
		"192.0.2.1":         {true, false},
		"::ffff:192.0.2.1":  {true, false}, // is 192.0.2.1
		"2001:db8::1":       {false, true},
		"::192.0.2.1":       {false, true}, // IPv4-compatible, 6to4, NAT64: other addresses
		"2002:c000:201::1":  {false, true},
		"64:ff9b::c000:201": {false, true},
		"fe80::1%eth0":      {false, true},
	} {
		q := Query{Addr: addr(a)}
		require.Equal(t, want, [2]bool{four.CheckAddress(q).Allowed, six.CheckAddress(q).Allowed}, a)
	}
}

func TestMappedRowsAreUnmappedOrRefused(t *testing.T) {
	table := mustTable(t, AddressRow{Prefix: prefix("::ffff:192.0.2.0/120")})
	d := table.CheckAddress(Query{Addr: addr("192.0.2.77")})
	require.Equal(t, "192.0.2.0/24", d.Prefix.String())
	for _, p := range []string{"::ffff:0:0/96", "::ffff:192.0.2.0/32", "::ffff:192.0.2.1/0"} {
		_, err := newTable(Rows([]AddressRow{{Prefix: prefix(p)}}...))
		require.ErrorContains(t, err, "want more than 96", p)
	}
}

func TestIterationStopsWhenAskedTo(t *testing.T) {
	table := mustTable(t, AddressRow{Group: 1, Prefix: prefix("192.0.2.1/32")}, AddressRow{Group: 2, Prefix: prefix("192.0.2.0/24")},
		AddressRow{Group: 3, Host: "a.example.com"}, AddressRow{Group: 4, Host: "a.example.com"})
	first := func(n int) { require.Equal(t, 1, n) }
	count := func(q Query) (n int) {
		for range table.Matches(q) {
			n++
			break
		}
		return n
	}
	first(count(Query{Addr: addr("192.0.2.1"), Any: AnyGroup}))
	first(count(Query{Host: "a.example.com", Any: AnyGroup}))
	for g := range table.Groups(Source{Addr: addr("192.0.2.1"), Proto: ProtoUDP}) {
		require.Equal(t, GroupID(1), g)
		break
	}
	for _, seq := range []iter.Seq[AddressRow]{table.Rows()} {
		n := 0
		for range seq {
			n++
			break
		}
		first(n)
	}
}

// A trace answers "why not": what was nearest, and what was different.
func TestExplainSaysWhatWasDifferent(t *testing.T) {
	at := func(id int) Origin { return Origin{Name: "address", Line: id, Unit: UnitID} }
	table := mustTable(t,
		AddressRow{Group: 1, Prefix: prefix("192.0.2.0/24"), Origin: at(1)},
		AddressRow{Group: 2, Prefix: prefix("192.0.2.7/32"), Port: 5061, Origin: at(2)},
		AddressRow{Group: 2, Prefix: prefix("192.0.2.7/32"), Proto: ProtoTLS, Origin: at(3)},
		AddressRow{Group: 2, Prefix: prefix("192.0.0.0/16"), Pattern: "bob", Origin: at(4)},
		AddressRow{Group: 2, Prefix: prefix("198.51.100.0/24"), Origin: at(5)},
	)
	q := Query{Group: 2, Addr: addr("192.0.2.7"), Port: 5060, Proto: ProtoUDP, Subject: "alice"}
	require.Equal(t, `192.0.2.7:5060 udp refused: no address matches
  - address:id 2 group 2 192.0.2.7/32 port 5061 proto any: port is 5060
  - address:id 3 group 2 192.0.2.7/32 port any proto tls: protocol is udp
  - address:id 1 group 1 192.0.2.0/24 port any proto any: group 2 was asked
  - address:id 4 group 2 192.0.0.0/16 port any proto any pattern "bob": subject is "alice"`, traced(func(tr *Trace) { table.Tracing(tr).CheckAddress(q) }).String())
	q.Subject = "bob"
	require.Equal(t, `192.0.2.7:5060 udp allowed: address matches 192.0.0.0/16 group 2 (address:id 4)`,
		strings.SplitN(traced(func(tr *Trace) { table.Tracing(tr).CheckAddress(q) }).String(), "\n", 2)[0])
}

func TestEveryBadRowIsNamed(t *testing.T) {
	at := func(line int) Origin { return Origin{Name: "rows", Line: line} }
	_, err := newTable(Rows([]AddressRow{
		{Origin: at(1)},
		{Origin: at(2), Prefix: prefix("192.0.2.0/24"), Host: "example.com"},
		{Origin: at(3), Host: "192.0.2.300"},
		{Origin: at(4), Host: "not a name"},
		{Origin: at(5), Prefix: prefix("192.0.2.0/24"), Proto: 99},
		{Origin: at(6), Prefix: netip.PrefixFrom(addr("192.0.2.1"), 33)},
		{Origin: at(7), Prefix: prefix("192.0.2.0/24")},
		{Origin: at(8), Prefix: netip.PrefixFrom(netip.Addr{}, 0)},
	}...))
	require.EqualError(t, err, `rows:1: ip "invalid Prefix": want an address and a mask
rows:2: host "example.com": want a host name or a prefix, not both
rows:3: host "192.0.2.300": want a host name
rows:4: host "not a name": want a host name
rows:5: proto "proto 99": want a known protocol
rows:6: ip "invalid Prefix": want an address and a mask
rows:8: ip "invalid Prefix": want an address and a mask`)
}

func TestDiff(t *testing.T) {
	row := func(p string, g GroupID, line int) AddressRow {
		return AddressRow{Prefix: prefix(p), Group: g, Origin: Origin{Name: "address", Line: line}}
	}
	a, b, c, d := row("192.0.2.1/32", 1, 1), row("192.0.2.2/32", 1, 2), row("192.0.2.3/32", 1, 3), row("192.0.2.4/32", 1, 4)
	for name, test := range map[string]struct{ old, next, added, removed []AddressRow }{
		"nothing":             {old: []AddressRow{a, b}, next: []AddressRow{a, b}},
		"all new":             {next: []AddressRow{a, b}, added: []AddressRow{a, b}},
		"all gone":            {old: []AddressRow{a, b}, removed: []AddressRow{a, b}},
		"in the middle":       {old: []AddressRow{a, b, d}, next: []AddressRow{a, c, d}, added: []AddressRow{c}, removed: []AddressRow{b}},
		"order":               {old: []AddressRow{a, b, c}, next: []AddressRow{c, b, a}},
		"twice is two rows":   {old: []AddressRow{a, a, b}, next: []AddressRow{b, a}, removed: []AddressRow{a}},
		"once more":           {old: []AddressRow{a}, next: []AddressRow{a, a}, added: []AddressRow{a}},
		"other group":         {old: []AddressRow{a}, next: []AddressRow{row("192.0.2.1/32", 2, 1)}, added: []AddressRow{row("192.0.2.1/32", 2, 1)}, removed: []AddressRow{a}},
		"origin is no change": {old: []AddressRow{a}, next: []AddressRow{row("192.0.2.1/32", 1, 77)}},
	} {
		added, removed := mustTable(t, test.next...).Diff(mustTable(t, test.old...))
		require.Equal(t, test.added, added, name)
		require.Equal(t, test.removed, removed, name)
	}
	added, removed := (*Table)(nil).Diff(nil)
	require.Empty(t, append(added, removed...))
}

func TestDuplicateRowsAreFine(t *testing.T) {
	r := AddressRow{Group: 1, Prefix: prefix("192.0.2.1/32"), Info: "first"}
	again := r
	again.Info = "second"
	table := mustTable(t, r, again, r)
	require.Equal(t, "first", table.CheckAddress(Query{Group: 1, Addr: addr("192.0.2.1")}).Info)
	require.Len(t, collect(table.Matches(Query{Group: 1, Addr: addr("192.0.2.1")})), 3)
}

// TestKeptTextIsSmall keeps a text of a decision for longer than its table:
// that must not keep the texts of the whole table.
func TestKeptTextIsSmall(t *testing.T) {
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	host := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	before := heap()
	var kept []string
	for range 5 {
		table, err := newTable(RowFunc[AddressRow](func(context.Context) iter.Seq2[AddressRow, error] {
			return func(yield func(AddressRow, error) bool) {
				for i := range 50_000 {
					if !yield(AddressRow{Prefix: netip.PrefixFrom(host(i), 32), Info: fmt.Sprintf("customer %030d", i)}, nil) {
						return
					}
				}
			}
		}))
		require.NoError(t, err)
		d := table.CheckAddress(Query{Addr: host(7), Any: AnyGroup})
		require.True(t, d.Allowed)
		kept = append(kept, d.Info)
	}
	require.Less(t, heap(), before+1<<20)
	runtime.KeepAlive(kept)
}

// TestManyRowsOfOnePrefix looks a group up among all of them.
func TestManyRowsOfOnePrefix(t *testing.T) {
	var rows []AddressRow
	for i := range 1000 {
		rows = append(rows, AddressRow{
			Group: GroupID(i * 7 % 100), Port: uint16(i), Prefix: netip.MustParsePrefix("0.0.0.0/0"), Origin: Origin{Line: i + 1},
		})
	}
	table := mustPartition(rows...).Current()
	addr := netip.MustParseAddr("192.0.2.1")
	for port := range uint16(1000) {
		for _, group := range []GroupID{0, 7, 99, 100} {
			q := Query{Addr: addr, Group: group, Port: port}
			want := 0
			for _, r := range rows {
				if r.Group == group && (r.Port == 0 || r.Port == port) {
					want = r.Origin.Line
					break
				}
			}
			require.Equal(t, want, table.CheckAddress(q).Origin.Line, "group %d port %d", group, port)
		}
	}
	require.Equal(t, 1, table.CheckAddress(Query{Addr: addr, Any: AnyGroup}).Origin.Line)
}
