package rowindex

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/workload"
)

// slowIndex reads every row. It is the meaning of Index; when the two differ,
// Index is wrong.
type slowIndex []workload.Row

// each visits the rows that cover addr.
func (x slowIndex) each(addr netip.Addr, visit func(row uint32, k Key) bool) {
	var rows []uint32
	for i, r := range x {
		if r.Prefix.Contains(addr) {
			rows = append(rows, uint32(i))
		}
	}
	slices.SortStableFunc(rows, func(a, b uint32) int { return x[b].Prefix.Bits() - x[a].Prefix.Bits() })
	for _, i := range rows {
		if !visit(i, keyOf(x[i])) {
			return
		}
	}
}

func (x slowIndex) first(addr netip.Addr, q *Question, fits func(uint32) bool) (row uint32, ok bool) {
	x.each(addr, func(i uint32, k Key) bool {
		if ok = k.Compare(q) == Matched && (k.Pattern == 0 || fits(k.Pattern)); ok {
			row = i
		}
		return !ok
	})
	return row, ok
}

// keyOf takes the length of a pattern for its number.
func keyOf(r workload.Row) Key {
	return Key{Group: r.Group, Pattern: uint32(len(r.Pattern)), Port: r.Port, Proto: uint8(r.Proto)}
}

func question(q workload.Query) *Question {
	x := Question{Group: q.Group, Port: q.Port, Proto: uint8(q.Proto)}
	if q.Group == 0 {
		x.Any = AnyGroup
	}
	return &x
}

func build(rows []workload.Row) (*Index, []Ref) {
	var b Builder
	b.Grow(len(rows))
	for _, r := range rows {
		b.Add(r.Prefix, keyOf(r))
	}
	refs := make([]Ref, len(rows))
	return Build(&b, func(row uint32, r Ref) { refs[row] = r }), refs
}

// crowded is a table in which many rows share a prefix or cover one another.
func crowded(r *workload.Rand, n int) []workload.Row {
	rows := workload.Table(n, r.Uint64())
	for i := range rows {
		if rows[i].Prefix.Addr().Is4() && r.Percent(80) {
			a := netip.AddrFrom4([4]byte{10, 0, byte(r.N(2)), byte(r.N(4))})
			rows[i].Prefix = netip.PrefixFrom(a, 20+r.N(13)).Masked()
		}
		rows[i].Group = uint32(r.N(8)) // few, and many that share a bit
		if r.Percent(20) {
			rows[i].Prefix = rows[0].Prefix
			rows[i].Group = uint32(r.N(60))
		}
		rows[i].Proto = workload.Proto(r.N(4))
	}
	return rows
}

func TestIndexIsSlowIndex(t *testing.T) {
	r := workload.NewRand(3)
	for range 60 {
		compare(t, crowded(r, 1+r.N(200)), r, 100)
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(uint64(1), uint8(3))
	f.Fuzz(func(t *testing.T, seed uint64, n uint8) {
		r := workload.NewRand(seed)
		compare(t, crowded(r, 1+int(n)), r, 20)
	})
}

// compare asks both indexes about the rows, and some scanner's questions.
func compare(t *testing.T, rows []workload.Row, r *workload.Rand, questions int) {
	fast, refs := build(rows)
	slow := slowIndex(rows)
	for _, q := range append(workload.Hits(rows, questions, r.Uint64()), workload.Misses(rows, questions/3, r.Uint64())...) {
		ask := question(q)
		ask.Any |= Any(r.N(8))
		even := func(p uint32) bool { return p%2 == 0 }
		n := fast.Longest(q.Addr)
		wantRow, want := slow.first(q.Addr, ask, even)
		row, ok := fast.First(n, ask, even)
		require.Equal(t, want, ok)
		require.Equal(t, wantRow, row)

		var got, all []string
		fast.Each(n, func(row uint32, k Key) bool {
			got = append(got, text(row, &k))
			return len(got) < 20
		})
		slow.each(q.Addr, func(row uint32, k Key) bool {
			all = append(all, text(row, &k))
			return len(all) < 20
		})
		require.Equal(t, all, got)
	}
	for i, row := range rows {
		require.Equal(t, row.Prefix, fast.Prefix(refs[i]))
		k, want := fast.Key(refs[i]), keyOf(row)
		require.Equal(t, text(0, &want), text(0, &k))
	}
}

func text(row uint32, k *Key) string { return fmt.Sprint(row, k.Group, k.Pattern, k.Port, k.Proto) }

func TestRowsWithoutPrefix(t *testing.T) {
	var b Builder
	b.Add(netip.Prefix{}, Key{Group: 1})
	b.Add(netip.MustParsePrefix("192.0.2.0/24"), Key{Group: 2})
	x := Build(&b, func(row uint32, r Ref) {
		require.EqualValues(t, 1, row)
		require.NotZero(t, r)
	})
	row, ok := x.First(x.Longest(netip.MustParseAddr("192.0.2.1")), &Question{Group: 2}, nil)
	require.True(t, ok)
	require.EqualValues(t, 1, row)
	require.Equal(t, netip.Prefix{}, x.Prefix(0))

	var zero Index
	_, ok = zero.First(zero.Longest(netip.MustParseAddr("192.0.2.1")), &Question{Any: AnyGroup}, nil)
	require.False(t, ok)
}

func TestFirstDoesNotAllocate(t *testing.T) {
	rows := workload.Table(1000, 1)
	x, _ := build(rows)
	queries := workload.Hits(rows, 100, 2)
	subject := "x"
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range queries {
			q := Question{Group: queries[i].Group, Port: 5060}
			x.First(x.Longest(queries[i].Addr), &q, func(p uint32) bool { return p == uint32(len(subject)) })
		}
	}))
}

// BenchmarkFirst asks a whole stream, without what a decision costs.
func BenchmarkFirst(b *testing.B) {
	for _, n := range []int{1_000, 10_000, 100_000} {
		rows := workload.Table(n, 1)
		x, _ := build(rows)
		for stream, queries := range map[string][]workload.Query{
			"hit": workload.Hits(rows, 1<<17, 2), "hot": workload.Hot(rows, 1<<17, 3), "miss": workload.Misses(rows, 1<<17, 4),
		} {
			b.Run(fmt.Sprintf("rows=%d/stream=%s", n, stream), func(b *testing.B) {
				fits := func(uint32) bool { return true }
				for i := 0; b.Loop(); i++ {
					q := &queries[i&(1<<17-1)]
					ask := Question{Group: q.Group, Port: q.Port, Proto: uint8(q.Proto)}
					if q.Group == 0 {
						ask.Any = AnyGroup
					}
					x.First(x.Longest(q.Addr), &ask, fits)
				}
			})
		}
	}
}

func TestEachDoesNotAllocate(t *testing.T) {
	rows := workload.Table(1000, 1)
	x, _ := build(rows)
	queries := workload.Hits(rows, 100, 2)
	n := 0
	require.Zero(t, testing.AllocsPerRun(10, func() {
		for i := range queries {
			x.Each(x.Longest(queries[i].Addr), func(uint32, Key) bool { n++; return true })
		}
	}))
}
