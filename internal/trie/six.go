package trie

import (
	"math/bits"
	"slices"

	"github.com/sipacl/sipacl/internal/filter"
	"github.com/sipacl/sipacl/internal/room"
)

// six finds IPv6 prefixes: it masks the address to a length, looks the result
// up in one hash table of all lengths, and goes on with a longer or a shorter
// length. The order in which lengths are tried is a tree of steps.
//
// Real tables have three or four lengths. There the tree is a chain, longest
// first, and a prefix that is found is the answer:
//
//	128 -> 64 -> 56 -> 48        left: what is tried if nothing is found
//
// With more than chainLengths of them the tree is balanced, so that of 129
// lengths at most 8 are tried:
//
//	         64               right: if something is found
//	   32          96
//	16    48    80    112
//
// Then a longer prefix must leave a mark at each length where the search has
// to turn right for it: 2001:db8:1::/48 leaves the mark 2001:db8::/32, which
// knows the longest prefix that covers it (best), the answer in case nothing
// longer turns up.
type six struct {
	first   Node          // the node of keys[0]
	keys    []key6        // of the nodes, then of the marks
	blocks  filter.Filter // of the first 32 bits of the keys; empty if one is shorter
	present filter.Filter // of the keys
	slots   slots         // 1 + the index of a key
	steps   []step        // steps[0] is the root
}

type key6 struct {
	hi, lo uint64
	best   Node
	bits   uint8
}

// step is a length to try, and which step comes next; 0 is none.
type step struct{ bits, shorter, longer uint8 }

// chainLengths is up to which number of lengths trying one after the other is
// about as quick, and spares the marks.
const chainLengths = 10

// hash6 is the hash of a masked address; see hash4.
func (t *Trie) hash6(hi, lo uint64, length uint8) (place, tag uint32) {
	x, y := bits.Mul64(hi^t.seed[0], lo^t.seed[1]^uint64(length)<<56)
	x ^= y
	x = (x ^ x>>32) * 0x9e3779b97f4a7c15
	return uint32(x >> 32), uint32(x ^ x>>32)
}

// hashBlock is the hash of the first 32 bits of an address.
func hashBlock(hi uint64) uint32 { return uint32((hi >> 32) * 0x9e3779b97f4a7c15 >> 32) }

func (t *Trie) longest6(hi, lo uint64) (best Node) {
	s := &t.six
	if len(s.steps) == 0 {
		return 0
	}
	if len(s.blocks) > 0 && !s.blocks.Has(hashBlock(hi)) {
		return 0
	}
	for i := uint8(0); ; {
		st := s.steps[i]
		h, l := mask(hi, lo, st.bits)
		if k := t.find6(h, l, st.bits); k != nil {
			best, i = k.best, st.longer
		} else {
			i = st.shorter
		}
		if i == 0 {
			return best
		}
	}
}

// find6 returns the key of a masked address, nil if it is not there.
func (t *Trie) find6(hi, lo uint64, length uint8) *key6 {
	s := &t.six
	place, tag := t.hash6(hi, lo, length)
	if !s.present.Has(tag) {
		return nil
	}
	tag <<= s.slots.bits
	for i := filter.Scale(place, len(s.slots.slot)); s.slots.slot[i] != 0; {
		if v := s.slots.slot[i]; (v^tag)>>s.slots.bits == 0 {
			if k := &s.keys[v^tag-1]; k.hi == hi && k.lo == lo && k.bits == length {
				return k
			}
		}
		if i++; i == uint32(len(s.slots.slot)) {
			i = 0
		}
	}
	return nil
}

// buildSix makes the index of the nodes in keys.
func (t *Trie) buildSix() {
	s := &t.six
	if len(s.keys) == 0 {
		return
	}
	var there [129]bool
	for i := range s.keys {
		there[s.keys[i].bits] = true
	}
	var lengths []uint8
	for l, yes := range there {
		if yes {
			lengths = append(lengths, uint8(l))
		}
	}
	if lengths[0] >= 32 {
		s.blocks = filter.New(len(s.keys))
		for i := range s.keys {
			s.blocks.Add(hashBlock(s.keys[i].hi))
		}
	}
	s.addSteps(lengths)
	t.addMarks()

	s.present, s.slots = filter.New(len(s.keys)), newSlots(len(s.keys), len(s.keys))
	for i := range s.keys {
		k := &s.keys[i]
		place, tag := t.hash6(k.hi, k.lo, k.bits)
		s.present.Add(tag)
		s.slots.add(place, tag, uint32(i)+1)
	}
}

// addSteps makes the tree of the ascending lengths.
func (s *six) addSteps(lengths []uint8) {
	if len(lengths) > chainLengths {
		s.balance(lengths)
		return
	}
	for _, l := range slices.Backward(lengths) {
		s.steps = append(s.steps, step{bits: l, shorter: uint8(len(s.steps) + 1)})
	}
	s.steps[len(s.steps)-1].shorter = 0
}

// balance adds a tree of the ascending lengths and returns its root, 0 if
// there are none.
func (s *six) balance(lengths []uint8) (root uint8) {
	if len(lengths) == 0 {
		return 0
	}
	root = uint8(len(s.steps))
	middle := len(lengths) / 2
	s.steps = append(s.steps, step{bits: lengths[middle]})
	s.steps[root].shorter = s.balance(lengths[:middle])
	s.steps[root].longer = s.balance(lengths[middle+1:])
	return root
}

// addMarks adds the marks that the nodes leave. Nodes that leave the same mark
// follow one another, because they are sorted.
func (t *Trie) addMarks() {
	s := &t.six
	var last [129]key6 // the last mark of each length
	for n := range s.keys[:len(s.keys):len(s.keys)] {
		k := s.keys[n]
		for i := uint8(0); s.steps[i].bits != k.bits; {
			st := s.steps[i]
			if k.bits < st.bits {
				i = st.shorter
				continue
			}
			i = st.longer
			m := key6{best: t.nodes[k.best].parent, bits: st.bits}
			m.hi, m.lo = mask(k.hi, k.lo, m.bits)
			for m.best != 0 && t.nodes[m.best].bits > m.bits {
				m.best = t.nodes[m.best].parent
			}
			if m == last[m.bits] || m.best != 0 && t.nodes[m.best].bits == m.bits {
				continue // it is there, as a mark or as a prefix
			}
			last[m.bits] = m
			s.keys = append(s.keys, m)
		}
	}
	s.keys = room.Trim(s.keys)
}
