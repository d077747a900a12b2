// Package trie finds the prefixes that cover an address, most specific first.
//
// A Trie holds its distinct prefixes as nodes in one slice, sorted, IPv4
// before IPv6, each with the number of the next wider prefix that covers it.
// Of 10.0.0.0/8, 10.1.0.0/16, 10.1.2.3/32 and 2001:db8::/32:
//
//	node  addr      bits  parent  value
//	1     10.0.0.0   8    0       what the caller keeps there, as its first row
//	2     10.1.0.0   16   1
//	3     10.1.2.3   32   2
//	4     unused     32   0       its address is in six.keys[0]
//
// A lookup finds the longest prefix and climbs by parent from there. How it
// is found is drawn in four.go and six.go; in both, most of what scanners
// send ends at a bit map that fits the processor's cache. A value is part of
// its node, so that a hit reads prefix, parent and value in one cache line.
// No slice holds a pointer: the garbage collector never looks inside.
package trie

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"

	"github.com/sipacl/sipacl/internal/filter"
)

// Node is a prefix of the table. 0 is none.
type Node uint32

// MaxEntries is how many entries a trie may have; the caller must not add
// more. Nodes, and the places in the arena of four, of which there are up to
// ten an entry, share 32 bits with what kind they are.
const MaxEntries = 1 << 26

// Value is what the caller keeps with a prefix.
type Value [5]uint32

// Trie is an immutable set of prefixes, with a value each. The zero Trie holds
// none. It is safe for concurrent use.
type Trie struct {
	nodes []node    // nodes[0] is unused
	seed  [2]uint64 // of the hashes, so that nobody can make prefixes that collide
	four  four
	six   six
}

type node struct {
	addr   uint32 // IPv4; that of an IPv6 prefix is in six.keys
	parent Node   // the next wider prefix that covers this one
	value  Value
	bits   uint8
}

// Build makes the trie of the prefixes that were added to b, and empties b. It
// asks for the value of each distinct prefix once, a prefix before those it
// covers: above is the value of the next wider prefix, the zero one if there is
// none, and entries are the numbers that were added with this one, in that
// order. value must not keep the slice.
func Build(b *Builder, value func(n Node, above Value, entries []uint32) Value) *Trie {
	b.Sort()
	four, six := b.four, b.six
	*b = Builder{}
	n4, n6 := distinct(four), distinct(six)
	t := &Trie{nodes: make([]node, 1, 1+n4+n6), seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
	t.addNodes(four, value)
	t.buildFour()
	t.six.keys = make([]key6, 0, n6)
	t.six.first = Node(len(t.nodes))
	t.addNodes(six, value)
	t.buildSix()
	return t
}

// addNodes adds a node for each distinct prefix. The prefixes that cover the
// one at hand are a stack, because sorted entries walk the tree in preorder.
func (t *Trie) addNodes(sorted []entry, value func(Node, Value, []uint32) Value) {
	type cover struct {
		*entry
		node Node
	}
	var covers []cover
	var numbers []uint32
	for len(sorted) > 0 {
		e := &sorted[0]
		for numbers = numbers[:0]; len(sorted) > 0 && sorted[0].samePrefix(e); sorted = sorted[1:] {
			numbers = append(numbers, sorted[0].number)
		}
		for len(covers) > 0 && !covers[len(covers)-1].covers(e) {
			covers = covers[:len(covers)-1]
		}
		n := node{addr: uint32(e.hi >> 32), bits: e.bits}
		if len(covers) > 0 {
			n.parent = covers[len(covers)-1].node
		}
		id := Node(len(t.nodes))
		n.value = value(id, t.nodes[n.parent].value, numbers)
		t.nodes = append(t.nodes, n)
		covers = append(covers, cover{e, id})
		if t.six.first > 0 {
			t.six.keys = append(t.six.keys, key6{e.hi, e.lo, id, e.bits})
		}
	}
}

// Longest returns the most specific prefix that covers addr. Addr must not be
// IPv4-mapped; a zone is ignored, and the zero Addr is covered by nothing.
func (t *Trie) Longest(addr netip.Addr) Node {
	switch {
	case len(t.nodes) <= 1:
		return 0
	case addr.Is4():
		return t.longest4(addr4(addr))
	case addr.IsValid():
		hi, lo := addr6(addr)
		return t.longest6(hi, lo)
	}
	return 0
}

// Parent returns the next less specific prefix that covers n, 0 if none does.
func (t *Trie) Parent(n Node) Node { return t.nodes[n].parent }

// Value returns the value of n. The caller must not change it.
func (t *Trie) Value(n Node) *Value { return &t.nodes[n].value }

// Prefix returns the prefix of n, the zero one of none.
func (t *Trie) Prefix(n Node) netip.Prefix {
	if n == 0 {
		return netip.Prefix{}
	}
	x := &t.nodes[n]
	if n >= t.six.first {
		var b [16]byte
		k := &t.six.keys[n-t.six.first]
		binary.BigEndian.PutUint64(b[:8], k.hi)
		binary.BigEndian.PutUint64(b[8:], k.lo)
		return netip.PrefixFrom(netip.AddrFrom16(b), int(x.bits))
	}
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], x.addr)
	return netip.PrefixFrom(netip.AddrFrom4(b), int(x.bits))
}

// All yields every prefix: IPv4 first, in the order of addresses, and a prefix
// before those it covers.
func (t *Trie) All(yield func(Node) bool) {
	for i := 1; i < len(t.nodes); i++ {
		if !yield(Node(i)) {
			return
		}
	}
}

func addr4(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func addr6(a netip.Addr) (hi, lo uint64) {
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// mask keeps the first n bits. Shifts by 64 and more give 0 in Go.
func mask(hi, lo uint64, n uint8) (uint64, uint64) {
	if n <= 64 {
		return hi &^ (^uint64(0) >> n), 0
	}
	return hi, lo &^ (^uint64(0) >> (n - 64))
}

// A slots is a hash table of numbers from 1, in as many slots as make it 70 %
// full. What is looked up is not in it: the upper bits of a slot, above those
// that the largest number needs, repeat part of its hash, so that hardly ever
// another is looked at. With numbers up to 6, 3 bits of each:
//
//	slot    0      1      2      3       4      5      6      7      8
//	        empty  |29:4  |7:1   |130:6  empty  |29:2  |88:3  |12:5  empty
//
// A search for the hash (place 5, tag 88) reads slots 5 and 6 and finds 3.
type slots struct {
	slot []uint32
	bits uint8 // of a number
}

// newSlots has room for n numbers of up to most.
func newSlots(n, most int) slots {
	return slots{make([]uint32, n+n*3/7+1), uint8(bits.Len(uint(most)))}
}

// add puts in a number, with the two halves of its hash.
func (s *slots) add(place, tag, number uint32) {
	i := filter.Scale(place, len(s.slot))
	for s.slot[i] != 0 {
		if i++; i == uint32(len(s.slot)) {
			i = 0
		}
	}
	s.slot[i] = tag<<s.bits | number
}
