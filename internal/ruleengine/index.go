package ruleengine

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// An index finds the factors that occur in a text. It is a radix trie, all in
// one slice of bytes, children before their parents. A node is
//
//	length    of the label, 1 byte
//	low       the lowest symbol that a kid begins with, 1 byte
//	span      how many symbols from low on the kids begin with, 1 byte;
//	listed    or, where that would be many more, how many kids there are, 1 byte
//	postings  how many there are, 2 bytes
//	label     the symbols that all below have in common
//	kids      where the kid of each symbol from low on is, 4 bytes each, 0 if
//	          there is none; or where few symbols of many have one, the listed
//	          symbols and then their 4 bytes each
//	postings  8 bytes each: an expression and its rules
//
// The factors "@b.com", "@b.comZ" and "@c" of expressions 1, 2 and 3 make
//
//	at  1   0 0   0 0 1  ""                              2, its rules
//	at 15   4 'Z' 1 0 1  ".com"    1                     1, its rules
//	at 37   0 0   0 0 1  ""                              3, its rules
//	at 51   0 'b' 2 0 0  ""        15 37                 below "@"
//
// A search begins where the text does, for factors that begin so, and at each
// landmark; or, if a factor begins with another byte, wherever the hash of two
// bytes shows that one may. From each place it goes at most maxFactor symbols
// far, so that the time is linear in the length of the text.
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

const nodeHeader = 6

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
	ix.trie = slices.Clip(ix.trie)
	return ix
}

// elsewhere notes how factors begin that may be anywhere, and begin with the
// same byte.
func (ix *index) elsewhere(entries []entry) {
	if !landmark(entries[0].factor[0]) {
		ix.mode = anywhere
	}
	ix.mode = max(ix.mode, landmarks)
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
	ends := 0
	for ends < len(entries) && len(entries[ends].factor) == n {
		ends++
	}
	var kids []kid
	for i := ends; i < len(entries); {
		c := entries[i].factor[n]
		k := i
		for k < len(entries) && entries[k].factor[n] == c {
			k++
		}
		kids = append(kids, kid{c, ix.add(entries[i:k], n+1)})
		i = k
	}
	at := uint32(len(ix.trie))
	ix.node(first[depth:n], kids, entries[:ends])
	return at
}

type kid struct {
	symbol byte
	at     uint32
}

// node writes a node.
func (ix *index) node(label string, kids []kid, ends []entry) {
	var low, span, listed int
	if len(kids) > 0 {
		low = int(kids[0].symbol)
		span = int(kids[len(kids)-1].symbol) - low + 1
	}
	if span > min(3*len(kids)+8, 255) {
		span, listed = 0, len(kids)
	}
	t := append(ix.trie, byte(len(label)), byte(low), byte(span), byte(listed), byte(len(ends)), byte(len(ends)>>8))
	t = append(t, label...)
	if listed > 0 {
		for _, k := range kids {
			t = append(t, k.symbol)
		}
	}
	next := low
	for _, k := range kids {
		for ; listed == 0 && next < int(k.symbol); next++ {
			t = append(t, 0, 0, 0, 0)
		}
		t = binary.LittleEndian.AppendUint32(t, k.at)
		next++
	}
	for _, e := range ends {
		t = binary.LittleEndian.AppendUint32(t, e.expr)
		t = binary.LittleEndian.AppendUint32(t, e.rules)
	}
	ix.trie = t
}

// Texts are folded in a buffer on the stack if they fit, 8 bytes at a time.
const (
	smallText  = 128
	mediumText = 1024 + 8 // a canonical text may be a byte longer than a plain one of 1024
)

// scan tries the rules whose factors occur in a spelling of a side.
func (s *search) scan(side, spelling int) {
	ix := &s.index[side]
	defer s.forget()
	switch text := s.texts[side][spelling]; {
	case ix.start == 0 && ix.mode == nowhere:
	case len(text) <= smallText:
		var buf [smallText + 8]byte
		s.scanFolded(ix, buf[:], side, spelling)
	case len(text) <= mediumText:
		s.scanMedium(ix, side, spelling)
	default:
		s.scanFolded(ix, make([]byte, len(text)+8), side, spelling)
	}
}

//go:noinline
func (s *search) scanMedium(ix *index, side, spelling int) {
	var buf [mediumText + 8]byte
	s.scanFolded(ix, buf[:], side, spelling)
}

func (s *search) scanFolded(ix *index, symbols []byte, side, spelling int) {
	n := copy(symbols, s.texts[side][spelling])
	var seen uint64 // the landmarks among the first 64 symbols
	for i := 0; i < n; i += 8 {
		w := foldWord(binary.LittleEndian.Uint64(symbols[i:]))
		binary.LittleEndian.PutUint64(symbols[i:], w)
		if i < 64 {
			seen |= landmarksOf(w) << i
		}
	}
	symbols[n] = end
	symbols = symbols[:n+1]
	if ix.start != 0 {
		s.walk(ix, ix.start, symbols, side, spelling)
	}
	switch ix.mode {
	case landmarks:
		for ; seen != 0; seen &= seen - 1 {
			if i := bits.TrailingZeros64(seen); i < n && ix.mayBegin(symbols[i], symbols[i+1]) {
				s.walk(ix, ix.roots[symbols[i]], symbols[i+1:], side, spelling)
			}
		}
		for i := 64; i < n; i++ {
			if landmark(symbols[i]) && ix.mayBegin(symbols[i], symbols[i+1]) {
				s.walk(ix, ix.roots[symbols[i]], symbols[i+1:], side, spelling)
			}
		}
	case anywhere:
		for i := 0; i < n; i++ {
			if ix.mayBegin(symbols[i], symbols[i+1]) {
				s.walk(ix, ix.roots[symbols[i]], symbols[i+1:], side, spelling)
			}
		}
	}
}

// mayBegin reports whether a factor may begin with a and b, as far as their
// hash shows.
func (ix *index) mayBegin(a, b byte) bool {
	h := pairOf(a, b)
	return ix.pairs[h>>6]>>(h&63)&1 != 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// foldWord folds 8 bytes.
func foldWord(w uint64) uint64 {
	low := w &^ highs
	fromA := low + (0x80-'A')*ones
	behindZ := low + (0x80-'Z'-1)*ones
	return w | (fromA&^behindZ&^w&highs)>>2
}

// landmarksOf has a bit for each of 8 bytes that is a landmark.
func landmarksOf(w uint64) uint64 {
	found := zeros(w^'@'*ones) | zeros(w^'.'*ones)
	return (found >> 7 * 0x0102040810204080) >> 56
}

// zeros has the top bit of each byte that is 0.
func zeros(w uint64) uint64 { return ^((w&^highs + 0x7f*ones) | w) & highs }

// walk goes down the trie from a node along symbols. The node 0 is none.
func (s *search) walk(ix *index, at uint32, symbols []byte, side, spelling int) {
	for at != 0 {
		node := ix.trie[at:]
		label, low, span, listed := int(node[0]), node[1], int(node[2]), int(node[3])
		postings := int(node[4]) | int(node[5])<<8
		node = node[nodeHeader:]
		if label > len(symbols) {
			return
		}
		for i, c := range node[:label] {
			if symbols[i] != c {
				return
			}
		}
		symbols, node = symbols[label:], node[label:]
		if postings > 0 {
			size := 4*span + 5*listed
			s.try(node[size:size+8*postings], side, spelling)
		}
		if span+listed == 0 {
			return
		}
		k := int(symbols[0] - low)
		if listed > 0 {
			k = bytes.IndexByte(node[:listed], symbols[0])
			node = node[listed:]
		}
		if uint(k) >= uint(span+listed) {
			return
		}
		at = binary.LittleEndian.Uint32(node[4*k:])
		symbols = symbols[1:]
	}
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
		if s.again(x &^ sure) {
			continue
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

// tried are the expressions that were tried on a spelling. A text may repeat a
// factor a hundred times: that must not cost more than once.
type tried struct {
	few  [8]uint32
	n    int
	many *bitmap // where few are not enough
}

// bitmap has a bit an expression.
type bitmap struct {
	words  []uint64
	marked []uint32 // the bits that are set
}

// again reports whether expression x was tried before, and notes that it is.
func (s *search) again(x uint32) bool {
	t := &s.tried
	for _, y := range t.few[:t.n] {
		if x == y {
			return true
		}
	}
	if t.n < len(t.few) {
		t.few[t.n] = x
		t.n++
		return false
	}
	return s.againMany(x)
}

func (s *search) againMany(x uint32) bool {
	t := &s.tried
	if t.many == nil {
		t.many = s.bitmaps.Get().(*bitmap)
	}
	if t.many.words[x/64]>>(x%64)&1 != 0 {
		return true
	}
	t.many.words[x/64] |= 1 << (x % 64)
	t.many.marked = append(t.many.marked, x)
	return false
}

// forget makes all expressions untried.
func (s *search) forget() {
	t := &s.tried
	t.n = 0
	if t.many == nil {
		return
	}
	for _, x := range t.many.marked {
		t.many.words[x/64] = 0
	}
	t.many.marked = t.many.marked[:0]
	s.bitmaps.Put(t.many)
	t.many = nil
}
