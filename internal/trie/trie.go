// Package trie finds the prefixes that cover an address, most specific first.
//
// A Trie is a path-compressed binary tree over the distinct prefixes, one
// root a family, all nodes in one slice without pointers, so that the garbage
// collector never looks inside:
//
//	10.0.0.0/8        1 entry node, parent 0 (none)
//	├ 10.1.0.0/16     2 entry node, parent 1
//	└ 10.128.0.0/15   3 branch node: no prefix of the table ends here
//	  ├ 10.128.0.0/16 4 entry node, parent 1: the nearest *entry* above
//	  └ 10.129.0.0/16 5 entry node, parent 1
//
// A lookup descends by the bit after each node's prefix and keeps the last
// entry node that covers the address; Parent climbs from there.
package trie

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Node is a prefix of the table. 0 is none.
type Node uint32

// Trie is an immutable set of prefixes, each with the entries that have it.
// The zero Trie holds none. It is safe for concurrent use.
type Trie struct {
	nodes   []node // nodes[0] is unused
	entries []uint32
	root4   uint32
	root6   uint32
}

type node struct {
	hi, lo uint64    // the prefix's address bits; IPv4 in the top 32 of hi
	child  [2]uint32 // by the bit after the prefix
	parent uint32    // the nearest entry node above
	first  uint32    // entries[first:first+count]; none in a branch node
	count  uint32
	bits   uint8
	is6    bool
}

// Build returns the trie of prefixes, whose entry i has prefixes[i]. Prefixes
// must be valid and masked, and their addresses no IPv4-mapped ones. Equal
// prefixes share a node.
func Build(prefixes []netip.Prefix) *Trie {
	t := &Trie{nodes: make([]node, 1, len(prefixes)+1), entries: make([]uint32, len(prefixes))}
	for i := range t.entries {
		t.entries[i] = uint32(i)
	}
	slices.SortStableFunc(t.entries, func(a, b uint32) int {
		p, q := prefixes[a], prefixes[b]
		if c := p.Addr().Compare(q.Addr()); c != 0 {
			return c // IPv4 comes before IPv6
		}
		return cmp.Compare(p.Bits(), q.Bits())
	})
	distinct := make([]node, 0, len(prefixes))
	for i, e := range t.entries {
		n := prefixNode(prefixes[e])
		if last := len(distinct) - 1; last >= 0 && samePrefix(&distinct[last], &n) {
			distinct[last].count++
			continue
		}
		n.first, n.count = uint32(i), 1
		distinct = append(distinct, n)
	}
	six := slices.IndexFunc(distinct, func(n node) bool { return n.is6 })
	if six < 0 {
		six = len(distinct)
	}
	t.root4 = t.build(distinct[:six], 0)
	t.root6 = t.build(distinct[six:], 0)
	t.nodes = slices.Clip(t.nodes)
	return t
}

// build adds the tree of sorted nodes below the entry node parent.
func (t *Trie) build(sorted []node, parent uint32) uint32 {
	if len(sorted) == 0 {
		return 0
	}
	id := uint32(len(t.nodes))
	first, last := &sorted[0], &sorted[len(sorted)-1]
	n := *first
	if common := commonBits(first, last); common < first.bits { // nothing covers them all
		n = node{bits: common, is6: first.is6}
		n.hi, n.lo = mask(first.hi, first.lo, common)
	} else {
		sorted = sorted[1:]
	}
	n.parent = parent
	t.nodes = append(t.nodes, n)
	if n.count > 0 {
		parent = id
	}
	split, _ := slices.BinarySearchFunc(sorted, 1, func(s node, one int) int {
		return bit(s.hi, s.lo, n.bits) - one
	})
	left := t.build(sorted[:split], parent)
	right := t.build(sorted[split:], parent)
	t.nodes[id].child = [2]uint32{left, right}
	return id
}

// Longest returns the most specific prefix that covers addr. Addr must not be
// IPv4-mapped; a zone is ignored, and the zero Addr is covered by nothing.
func (t *Trie) Longest(addr netip.Addr) Node {
	var hi, lo uint64
	var id uint32
	switch {
	case addr.Is4():
		b := addr.As4()
		hi, id = uint64(binary.BigEndian.Uint32(b[:]))<<32, t.root4
	case addr.IsValid():
		b := addr.As16()
		hi, lo, id = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:]), t.root6
	}
	best := uint32(0)
	for id != 0 {
		n := &t.nodes[id]
		if h, l := mask(hi, lo, n.bits); h != n.hi || l != n.lo {
			break
		}
		if n.count > 0 {
			best = id
		}
		id = n.child[bit(hi, lo, n.bits)]
	}
	return Node(best)
}

// Parent returns the next less specific prefix that covers n, 0 if none does.
func (t *Trie) Parent(n Node) Node { return Node(t.nodes[n].parent) }

// Entries returns the entries of n in ascending order. The caller must not
// change them.
func (t *Trie) Entries(n Node) []uint32 {
	x := &t.nodes[n]
	return t.entries[x.first : x.first+x.count]
}

// Prefix returns the prefix of n.
func (t *Trie) Prefix(n Node) netip.Prefix {
	x := &t.nodes[n]
	if x.is6 {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:8], x.hi)
		binary.BigEndian.PutUint64(b[8:], x.lo)
		return netip.PrefixFrom(netip.AddrFrom16(b), int(x.bits))
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(x.hi>>32))
	return netip.PrefixFrom(netip.AddrFrom4(b), int(x.bits))
}

// All yields every prefix, a prefix before those it covers.
func (t *Trie) All(yield func(Node) bool) {
	for i := 1; i < len(t.nodes); i++ {
		if t.nodes[i].count > 0 && !yield(Node(i)) {
			return
		}
	}
}

// Len is one more than the largest Node, the size of a slice indexed by Node.
func (t *Trie) Len() int { return len(t.nodes) }

func prefixNode(p netip.Prefix) node {
	n := node{bits: uint8(p.Bits()), is6: p.Addr().Is6()}
	if n.is6 {
		b := p.Addr().As16()
		n.hi, n.lo = binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
		return n
	}
	b := p.Addr().As4()
	n.hi = uint64(binary.BigEndian.Uint32(b[:])) << 32
	return n
}

func samePrefix(a, b *node) bool {
	return a.hi == b.hi && a.lo == b.lo && a.bits == b.bits && a.is6 == b.is6
}

// commonBits is how many leading bits a and b share, at most a's length.
func commonBits(a, b *node) uint8 {
	n := bits.LeadingZeros64(a.hi ^ b.hi)
	if n == 64 {
		n += bits.LeadingZeros64(a.lo ^ b.lo)
	}
	return min(uint8(n), a.bits)
}

// mask keeps the first n bits. Shifts by 64 and more give 0 in Go.
func mask(hi, lo uint64, n uint8) (uint64, uint64) {
	if n <= 64 {
		return hi &^ (^uint64(0) >> n), 0
	}
	return hi, lo &^ (^uint64(0) >> (n - 64))
}

// bit is the bit after the first n; 0 after the last.
func bit(hi, lo uint64, n uint8) int {
	if n < 64 {
		return int(hi >> (63 - n) & 1)
	}
	if n < 128 {
		return int(lo >> (127 - n) & 1)
	}
	return 0
}
