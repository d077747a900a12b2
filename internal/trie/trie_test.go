package trie

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowTrie reads every prefix. It is the meaning of Trie; when the two
// differ, Trie is wrong.
type slowTrie []netip.Prefix

func (t slowTrie) covering(addr netip.Addr) (entries []uint32) {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		for i, p := range t {
			if p.Bits() == bits && p.Contains(addr) {
				entries = append(entries, uint32(i))
			}
		}
	}
	return entries
}

func (t *Trie) covering(addr netip.Addr) (entries []uint32) {
	for n := t.Longest(addr); n != 0; n = t.Parent(n) {
		entries = append(entries, t.Entries(n)...)
	}
	return entries
}

func TestMostSpecificFirst(t *testing.T) {
	tr := Build([]netip.Prefix{
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("10.1.0.0/16"),
		netip.MustParsePrefix("10.128.0.0/16"),
		netip.MustParsePrefix("10.129.0.0/16"),
		netip.MustParsePrefix("10.1.0.0/16"),
		netip.MustParsePrefix("::/0"),
		netip.MustParsePrefix("2001:db8::1/128"),
	})
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
	for n := range tr.All {
		require.Less(t, tr.Parent(n), n)
		require.Equal(t, n, tr.Longest(tr.Prefix(n).Addr()).ancestor(tr, n))
	}
}

// ancestor returns want if it is n or above n.
func (n Node) ancestor(t *Trie, want Node) Node {
	for n != 0 && n != want {
		n = t.Parent(n)
	}
	return n
}

func TestEmpty(t *testing.T) {
	for _, tr := range []*Trie{Build(nil), {}} {
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
		addrs = append(addrs, addr, p.Addr(), p.Addr().Prev(), last(p), last(p).Next())
		data = data[6:]
	}
	return prefixes, addrs
}

func last(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func compare(t *testing.T, data []byte) {
	prefixes, addrs := cases(data)
	fast, slow := Build(prefixes), slowTrie(prefixes)
	for _, a := range addrs {
		require.Equal(t, slow.covering(a), fast.covering(a), "%v in %v", a, prefixes)
	}
}

func TestTrieIsSlowTrie(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		data := make([]byte, 6*r.IntN(60))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		compare(t, data)
	}
}

func FuzzTrie(f *testing.F) {
	f.Add([]byte("\x0a\x01\x02\x03\x00\x10\x0a\x01\x02\x03\x01\x40"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 600 {
			return
		}
		compare(t, data)
	})
}

func TestLookupDoesNotAllocate(t *testing.T) {
	prefixes, addrs := cases([]byte("\x0a\x01\x02\x03\x00\x10\x0a\x01\x02\x03\x01\x40\x0a\x01\x02\x04\x00\x20"))
	tr := Build(prefixes)
	var n Node
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, a := range addrs {
			n += tr.Longest(a)
		}
	}))
}
