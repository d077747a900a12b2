package ruleengine

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
)

// An index finds the factors that occur in a text. It is a radix trie, all in
// one slice of bytes, children before their parents:
//
//	length  of the label   1 byte
//	kids                   1 byte
//	postings               2 bytes
//	label                  the symbols all below have in common
//	first                  a symbol for each kid
//	offset                 4 bytes for each kid: where it is
//	posting                8 bytes each: an expression, its rules
//
// The factors "@b.com", "@b.comZ" and "@bx" of expressions 1, 2 and 3 make
//
//	 0  0 0 1                      posting 2              "@b.comZ" ends here
//	12  4 1 1  ".com"[1:] "Z" 0    posting 1              "@b.com" ends here
//	...
//	    1 2 0  "b" "." 12, "x" ..                         below "@"
//
// A search begins where the text does, for factors that begin so, and
// elsewhere where two bytes begin a factor; if all those factors begin with
// the landmark, only where that byte is. From each place it goes at most
// maxFactor symbols far, so that the time is linear in the length of the text.
type index struct {
	trie  []byte
	start uint32      // the node below the beginning of the text, 0 if there is none
	roots [256]uint32 // the nodes below each first byte
	mode  mode
	pairs [64]uint64 // a bit for each hash of the two bytes that begin a factor
}

// mode says where factors may begin beside the beginning of the text.
type mode uint8

const (
	nowhere mode = iota
	landmarks
	anywhere
)

// A posting of the trie. With sure set the expression matches wherever its
// factor is. Rules is one rule, or if many is set the offset in Engine.lists
// of their number and the rules, in order.
const (
	sure = 1 << 31 // in the expression
	many = 1 << 31 // in the rules
)

func pairOf(a, b byte) uint32 { return (uint32(a)<<6 ^ uint32(b)) & 4095 }

// entry is one factor of an expression.
type entry struct {
	factor string
	expr   uint32 // with sure
	rules  uint32 // with many
	first  uint32 // the first of the rules
}

// buildIndex makes the index of entries.
func buildIndex(entries []entry) (ix index) {
	if len(entries) == 0 {
		return ix
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if c := strings.Compare(a.factor, b.factor); c != 0 {
			return c
		}
		return int(int64(a.first) - int64(b.first))
	})
	ix.trie = append(ix.trie, 0) // no node is at 0
	for i := 0; i < len(entries); {
		c := entries[i].factor[0]
		n := i
		for n < len(entries) && entries[n].factor[0] == c {
			n++
		}
		at := ix.add(entries[i:n], 1)
		if c == begin {
			ix.start = at
		} else {
			ix.roots[c] = at
			ix.elsewhere(entries[i:n])
		}
		i = n
	}
	ix.trie = bytes.Clone(ix.trie)
	return ix
}

// elsewhere notes how factors begin that may be anywhere.
func (ix *index) elsewhere(entries []entry) {
	if ix.mode == nowhere && entries[0].factor[0] == landmark {
		ix.mode = landmarks
	} else if entries[0].factor[0] != landmark {
		ix.mode = anywhere
	}
	for i := range entries {
		h := pairOf(entries[i].factor[0], entries[i].factor[1])
		ix.pairs[h>>6] |= 1 << (h & 63)
	}
}

// add writes the node of entries, which have their first depth symbols in
// common, and all below it.
func (ix *index) add(entries []entry, depth int) uint32 {
	first, last := entries[0].factor, entries[len(entries)-1].factor
	n := depth
	for n < len(first) && n < len(last) && first[n] == last[n] {
		n++
	}
	label := first[depth:n]
	ends := 0
	for ends < len(entries) && len(entries[ends].factor) == n {
		ends++
	}
	var kids []byte
	var offsets []uint32
	for i := ends; i < len(entries); {
		c := entries[i].factor[n]
		k := i
		for k < len(entries) && entries[k].factor[n] == c {
			k++
		}
		kids = append(kids, c)
		offsets = append(offsets, ix.add(entries[i:k], n+1))
		i = k
	}
	at := uint32(len(ix.trie))
	ix.trie = append(ix.trie, byte(len(label)), byte(len(kids)))
	ix.trie = binary.LittleEndian.AppendUint16(ix.trie, uint16(ends))
	ix.trie = append(append(ix.trie, label...), kids...)
	for _, offset := range offsets {
		ix.trie = binary.LittleEndian.AppendUint32(ix.trie, offset)
	}
	for _, e := range entries[:ends] {
		ix.trie = binary.LittleEndian.AppendUint32(ix.trie, e.expr)
		ix.trie = binary.LittleEndian.AppendUint32(ix.trie, e.rules)
	}
	return at
}

// scan tries the rules whose factors occur in a spelling of a side.
func (s *search) scan(side, spelling int) {
	ix := &s.index[side]
	text := s.texts[side][spelling]
	if ix.start != 0 {
		s.walk(ix, ix.start, side, spelling, 0)
	}
	switch ix.mode {
	case landmarks:
		for i := 0; ; {
			n := strings.IndexByte(text[i:], landmark)
			if n < 0 {
				return
			}
			i += n + 1
			s.walk(ix, ix.roots[landmark], side, spelling, i)
		}
	case anywhere:
		if text == "" {
			return
		}
		a := fold[text[0]]
		for i := 1; i < len(text); i++ {
			b := fold[text[i]]
			h := pairOf(a, b)
			if ix.pairs[h>>6]>>(h&63)&1 != 0 && ix.roots[a] != 0 {
				s.walk(ix, ix.roots[a], side, spelling, i)
			}
			a = b
		}
	}
}

// walk goes down the trie from a node, along the text from place i on.
func (s *search) walk(ix *index, at uint32, side, spelling, i int) {
	text := s.texts[side][spelling]
	for {
		node := ix.trie[at:]
		label, kids, postings := int(node[0]), int(node[1]), int(node[2])|int(node[3])<<8
		node = node[4:]
		for _, c := range node[:label] {
			if symbol(text, i) != c {
				return
			}
			i++
		}
		node = node[label:]
		if postings != 0 {
			s.try(node[5*kids:5*kids+8*postings], side, spelling)
		}
		if kids == 0 {
			return
		}
		kid := bytes.IndexByte(node[:kids], symbol(text, i))
		if kid < 0 {
			return
		}
		at = binary.LittleEndian.Uint32(node[kids+4*kid:])
		i++
	}
}

// symbol gives symbol i of a text. There is none behind its end.
func symbol(text string, i int) byte {
	if i < len(text) {
		return fold[text[i]]
	}
	return end
}

// try tries the rules of postings.
func (s *search) try(postings []byte, side, spelling int) {
	for ; len(postings) > 0; postings = postings[8:] {
		x := binary.LittleEndian.Uint32(postings)
		one := [1]uint32{binary.LittleEndian.Uint32(postings[4:])}
		rules := one[:]
		if one[0]&many != 0 {
			at := one[0] &^ many
			rules = s.lists[at+1 : at+1+s.lists[at]]
		}
		if rules[0] >= s.stop {
			return // they are sorted by their first rule
		}
		if x&sure == 0 && !s.matches(x, s.texts[side][spelling]) {
			continue
		}
		for _, r := range rules {
			if r >= s.stop {
				break
			}
			if s.rule(r, side, spelling) {
				s.accept(r)
			}
		}
	}
}
