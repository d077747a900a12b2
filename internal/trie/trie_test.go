package trie

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/filter"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// slowTrie reads every prefix. It is the meaning of Trie; when the two
// differ, Trie is wrong.
type slowTrie []netip.Prefix

func (t slowTrie) covering(addr netip.Addr) (entries []uint32) {
	for i, p := range t {
		if p.Contains(addr.WithZone("")) {
			entries = append(entries, uint32(i))
		}
	}
	slices.SortStableFunc(entries, func(a, b uint32) int { return t[b].Bits() - t[a].Bits() })
	return entries
}

// testTrie keeps the entries of each prefix and of those above it; the value
// is the node, to see that above is that of the parent.
type testTrie struct {
	*Trie
	own, above map[Node][]uint32
}

func build(prefixes []netip.Prefix) testTrie {
	var b Builder
	for i, p := range prefixes {
		b.Add(p, uint32(i))
	}
	t := testTrie{own: map[Node][]uint32{}, above: map[Node][]uint32{}}
	t.Trie = Build(&b, func(n Node, above Value, entries []uint32) Value {
		t.own[n] = append([]uint32(nil), entries...)
		up := Node(above[4])
		t.above[n] = append(append([]uint32(nil), t.own[up]...), t.above[up]...)
		return Value{4: uint32(n)}
	})
	return t
}

func (t testTrie) covering(addr netip.Addr) (all []uint32) {
	for n := t.Longest(addr); n != 0; n = t.Parent(n) {
		all = append(all, t.own[n]...)
	}
	return all
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func TestMostSpecificFirst(t *testing.T) {
	tr := build(prefixes("10.0.0.0/8", "10.1.0.0/16", "10.128.0.0/16", "10.129.0.0/16", "10.1.0.0/16", "::/0", "2001:db8::1/128"))
	for addr, want := range map[string][]uint32{
		"10.1.2.3":        {1, 4, 0},
		"10.129.0.1":      {3, 0},
		"10.200.0.1":      {0},
		"11.0.0.1":        nil,
		"2001:db8::1":     {6, 5},
		"2001:db8::2":     {5},
		"fe80::1%eth0":    {5},
		"0.0.0.0":         nil,
		"255.255.255.255": nil,
	} {
		require.Equal(t, want, tr.covering(netip.MustParseAddr(addr)), addr)
	}
	require.Empty(t, tr.covering(netip.Addr{}))
}

// TestWorkedExample holds the layout that the comment of four draws.
func TestWorkedExample(t *testing.T) {
	tr := build(append(prefixes("10.1.0.0/16", "10.1.2.0/25", "10.1.2.128/26"), many(root16From)...))
	f := &tr.four
	v := f.root[10<<8|1]
	require.Equal(t, deeper, v&kind)
	require.EqualValues(t, 0b1101, f.arena[v&^kind])
	require.Equal(t, []uint32{1, f.arenaValue(v&^kind, 2), 1}, f.arena[v&^kind+arenaValues:][:3])
	v = f.arenaValue(v&^kind, 2)
	require.Equal(t, deeper, v&kind)
	require.Equal(t, []uint32{2, 3, 1}, f.arena[v&^kind+arenaValues:][:3])
}

// many makes n prefixes beyond 11.0.0.0.
func many(n int) (list []netip.Prefix) {
	for i := range n {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{12, byte(i >> 8), byte(i)}), 24))
	}
	return list
}

func TestEmpty(t *testing.T) {
	for _, tr := range []testTrie{build(nil), {Trie: new(Trie)}, build(prefixes("192.0.2.2/32")), build(prefixes("2001:db8::2/128"))} {
		require.Zero(t, tr.Longest(netip.MustParseAddr("192.0.2.1")))
		require.Zero(t, tr.Longest(netip.MustParseAddr("2001:db8::1")))
		require.Zero(t, tr.Longest(netip.Addr{}))
	}
}

// cases makes prefixes and addresses that lie close together.
func cases(data []byte) (prefixes []netip.Prefix, addrs []netip.Addr) {
	for len(data) >= 6 {
		a := binary.BigEndian.Uint32(data)
		addr := netip.AddrFrom4([4]byte{10 + data[0]&1, data[1] & 3, data[2], data[3]})
		if data[4]&1 == 1 {
			b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
			binary.BigEndian.PutUint32(b[4+data[4]>>4%9:], a)
			addr = netip.AddrFrom16(b)
		}
		p := netip.PrefixFrom(addr, int(data[5])%(addr.BitLen()+1)).Masked()
		prefixes = append(prefixes, p)
		addrs = append(addrs, near(addr, p)...)
		data = data[6:]
	}
	return prefixes, addrs
}

// near returns addr and the ends of p, inside and outside.
func near(addr netip.Addr, p netip.Prefix) []netip.Addr {
	return []netip.Addr{addr, p.Addr(), p.Addr().Prev(), last(p), last(p).Next()}
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// compare asks both tries about the addresses, and what else must hold.
func compare(t *testing.T, prefixes []netip.Prefix, addrs []netip.Addr) {
	fast, slow := build(prefixes), slowTrie(prefixes)
	for _, a := range addrs {
		require.Equal(t, slow.covering(a), fast.covering(a), "%v in %v", a, prefixes)
	}
	for n := range fast.All {
		p, above := fast.Prefix(n), fast.Parent(n)
		require.Less(t, above, n)
		require.True(t, above == 0 || fast.Prefix(above).Overlaps(p) && fast.Prefix(above).Bits() < p.Bits())
		require.Equal(t, &Value{4: uint32(n)}, fast.Value(n))
		own, up, all := fast.own[n], fast.above[n], slow.covering(p.Addr())
		require.Equal(t, all[len(all)-len(own)-len(up):], slices.Concat(own, up))
		for _, e := range own {
			require.Equal(t, prefixes[e], p)
		}
	}
}

func TestTrieIsSlowTrie(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		data := make([]byte, 6*r.IntN(60))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		p, a := cases(data)
		compare(t, p, a)
	}
}

// TestLargeTrieIsSlowTrie reaches the parts that only large tables have.
func TestLargeTrieIsSlowTrie(t *testing.T) {
	r := workload.NewRand(1)
	for _, n := range []int{root8From * 2, seen16From * 2, root16From * 6, seen24From * 2} {
		var list []netip.Prefix
		for _, row := range workload.Table(n, 7) {
			list = append(list, row.Prefix)
		}
		tr := build(list)
		slow := mapTrie{}
		for i, p := range list {
			slow[p] = append(slow[p], uint32(i))
		}
		for range 5000 {
			p := list[r.N(n)]
			for _, a := range near(workload.Inside(r, p), p) {
				require.Equal(t, slow.covering(a), tr.covering(a), "%v of %d", a, n)
			}
		}
		require.Equal(t, n >= seen24From, tr.four.seen24 != nil)
	}
}

// mapTrie is slowTrie for many prefixes.
type mapTrie map[netip.Prefix][]uint32

func (t mapTrie) covering(addr netip.Addr) (entries []uint32) {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		p, _ := addr.Prefix(bits)
		entries = append(entries, t[p]...)
	}
	return entries
}

// TestAllLengths has a prefix of every length, nested and not.
func TestAllLengths(t *testing.T) {
	for _, text := range []string{"2001:db8:1234:5678:9abc:def0:1234:5678", "255.255.255.255", "::", "0.0.0.0"} {
		addr := netip.MustParseAddr(text)
		var list []netip.Prefix
		var addrs []netip.Addr
		for bits := range addr.BitLen() + 1 {
			p, _ := addr.Prefix(bits)
			list = append(list, p)
			addrs = append(addrs, near(addr, p)...)
			if other := last(p).Next(); other.IsValid() {
				p, _ = other.Prefix((bits + 7) % (addr.BitLen() + 1))
				list = append(list, p)
				addrs = append(addrs, near(other, p)...)
			}
		}
		compare(t, list, addrs)
	}
}

// TestEverythingSeen has prefixes that touch more than half of the addresses,
// so that no map of them is kept.
func TestEverythingSeen(t *testing.T) {
	list := append(prefixes("0.0.0.0/1", "192.0.0.0/3"), many(seen16From)...)
	tr := build(list)
	require.Nil(t, tr.four.seen16)
	compare(t, list, []netip.Addr{netip.MustParseAddr("1.2.3.4"), netip.MustParseAddr("200.2.3.4"), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("12.0.5.1")})
}

func FuzzTrie(f *testing.F) {
	f.Add([]byte("\x0a\x01\x02\x03\x00\x10\x0a\x01\x02\x03\x01\x40"), false)
	f.Add([]byte("\x0a\x01\x02\x03\x00\x10\x0a\x01\x02\x03\x01\x40"), true)
	f.Fuzz(func(t *testing.T, data []byte, large bool) {
		if len(data) > 600 {
			return
		}
		p, a := cases(data)
		if large { // the parts that only large tables have
			p = append(p, many(root16From)...)
			a = a[:min(len(a), 20)]
			fast, slow := build(p), slowTrie(p)
			for _, addr := range a {
				require.Equal(t, slow.covering(addr), fast.covering(addr), "%v in %v", addr, p[:len(data)/6])
			}
			return
		}
		compare(t, p, a)
	})
}

func TestLookupDoesNotAllocate(t *testing.T) {
	prefixes, addrs := cases([]byte("\x0a\x01\x02\x03\x00\x10\x0a\x01\x02\x03\x01\x40\x0a\x01\x02\x04\x00\x20"))
	tr := build(prefixes)
	var n Node
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, a := range addrs {
			n += tr.Longest(a)
		}
	}))
}

// TestShapes asks tables of all sizes at which something changes, of prefixes
// from a range of lengths.
func TestShapes(t *testing.T) {
	r := workload.NewRand(5)
	sizes := []int{1, 2, root8From, seen16From - 1, seen16From, root16From - 1, root16From, root16From + 1, 5000}
	for _, lengths := range [][2]int{{0, 128}, {0, 32}, {1, 31}, {20, 28}, {31, 32}, {32, 32}, {40, 50}, {64, 128}, {118, 128}, {128, 128}} {
		for _, n := range sizes {
			for _, six := range []bool{false, true} {
				if !six && lengths[0] > 32 {
					continue
				}
				shape(t, r, n, six, lengths[0], lengths[1])
			}
		}
	}
}

func shape(t *testing.T, r *workload.Rand, n int, six bool, from, to int) {
	var list []netip.Prefix
	slow := mapTrie{}
	for i := range n {
		a := netip.AddrFrom4([4]byte{10, byte(r.N(64)), byte(r.N(256)), byte(r.N(256))})
		if six {
			b := [16]byte{0x20, 0x01, 0x0d, 0xb8, byte(r.N(2)), byte(r.N(256))}
			binary.BigEndian.PutUint64(b[8:], r.Uint64())
			a = netip.AddrFrom16(b)
		}
		p := netip.PrefixFrom(a, from+r.N(min(to, a.BitLen())-from+1)).Masked()
		list = append(list, p)
		slow[p] = append(slow[p], uint32(i))
	}
	tr := build(list)
	for range min(n, 100) {
		p := list[r.N(n)]
		for _, a := range near(workload.Inside(r, p), p) {
			require.Equal(t, slow.covering(a), tr.covering(a), "%v of %d rows, /%d to /%d", a, n, from, to)
		}
	}
}

// TestNoCommonHash has addresses that a hash without a secret cannot tell
// apart: a half that cancels a factor of its multiplication.
func TestNoCommonHash(t *testing.T) {
	var list []netip.Prefix
	for i := range 50_000 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], 0x20010db8<<32|uint64(i))
		binary.BigEndian.PutUint64(b[8:], 0xd6e8feb86659fd93^128<<56)
		list = append(list, netip.PrefixFrom(netip.AddrFrom16(b), 128))
	}
	run, longest := 0, 0
	for _, v := range build(list).six.slots.slot {
		if run++; v == 0 {
			run = 0
		}
		longest = max(longest, run)
	}
	require.Less(t, longest, 1000)
}

func TestNoneIsNotEverything(t *testing.T) {
	require.False(t, build(prefixes("0.0.0.0/0")).Prefix(0).IsValid())
}

// TestHashSpreads has hosts in the order in which networks number them.
func TestHashSpreads(t *testing.T) {
	for _, step := range []uint64{1, 2, 3, 16, 254, 256, 257, 4096, 40503} {
		var four, hosts, nets Builder
		for i := range uint64(20_000) {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], uint32(10<<24+i*step))
			four.Add(netip.PrefixFrom(netip.AddrFrom4(a), 32), uint32(i))
			var b [16]byte
			binary.BigEndian.PutUint64(b[:], 0x20010db8_00000000)
			binary.BigEndian.PutUint64(b[8:], i*step)
			hosts.Add(netip.PrefixFrom(netip.AddrFrom16(b), 128), uint32(i))
			binary.BigEndian.PutUint64(b[:], 0x20010db8_00000000+i*step)
			binary.BigEndian.PutUint64(b[8:], 0)
			nets.Add(netip.PrefixFrom(netip.AddrFrom16(b), 64), uint32(i))
		}
		tr := Build(&four, noValue)
		spreads(t, step, tr.four.hosts, tr.four.present)
		for _, b := range []*Builder{&hosts, &nets} {
			tr = Build(b, noValue)
			spreads(t, step, tr.six.slots, tr.six.present)
		}
	}
}

func noValue(Node, Value, []uint32) Value { return Value{} }

func spreads(t *testing.T, step uint64, s slots, present filter.Filter) {
	run, longest := 0, 0
	for _, v := range s.slot {
		if run++; v == 0 {
			run = 0
		}
		longest = max(longest, run)
	}
	require.Less(t, longest, 1000, "step %d", step)
	set := 0
	for _, w := range present {
		set += bits.OnesCount64(w)
	}
	require.Less(t, set, len(present)*64/6, "step %d", step)
}
