package trie

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sipacl/sipacl/internal/room"
)

// Builder collects prefixes. The zero Builder is empty.
type Builder struct {
	four, six []entry
	sorted    bool
}

// entry is a prefix that was added; an IPv4 address is in the top half of hi.
type entry struct {
	hi, lo uint64
	number uint32
	bits   uint8
}

// Add notes that the entry of that number has prefix p, which must be valid
// and masked, and its address not an IPv4-mapped one. Prefixes may repeat.
func (b *Builder) Add(p netip.Prefix, number uint32) {
	b.sorted = false
	e := entry{number: number, bits: uint8(p.Bits())}
	if p.Addr().Is4() {
		e.hi = uint64(addr4(p.Addr())) << 32
		b.four = append(room.Double(b.four), e)
		return
	}
	e.hi, e.lo = addr6(p.Addr())
	b.six = append(room.Double(b.six), e)
}

// Sort brings the entries into the order in which [Build] asks for values.
func (b *Builder) Sort() {
	if !b.sorted {
		b.four, b.six = sortEntries(b.four, digits4), sortEntries(b.six, digits6)
		b.sorted = true
	}
}

// Numbers yields the numbers of the entries.
func (b *Builder) Numbers(yield func(uint32) bool) {
	for _, entries := range [][]entry{b.four, b.six} {
		for i := range entries {
			if !yield(entries[i].number) {
				return
			}
		}
	}
}

func (e *entry) samePrefix(o *entry) bool {
	return e.hi == o.hi && e.lo == o.lo && e.bits == o.bits
}

// covers reports whether o, of the same family and not before e, is within e.
func (e *entry) covers(o *entry) bool {
	hi, lo := mask(o.hi, o.lo, e.bits)
	return hi == e.hi && lo == e.lo
}

func (e *entry) compare(o *entry) int {
	return cmp.Or(cmp.Compare(e.hi, o.hi), cmp.Compare(e.lo, o.lo), cmp.Compare(e.bits, o.bits))
}

// distinct counts the prefixes of sorted entries.
func distinct(sorted []entry) (n int) {
	for i := range sorted {
		if i == 0 || !sorted[i].samePrefix(&sorted[i-1]) {
			n++
		}
	}
	return n
}

// A digit is a part of the sort key of an entry: 11 bits of a word.
type digit struct {
	word  uint8 // 0 is bits, 1 is lo, 2 is hi
	shift uint8
}

// The digits of an entry, the least significant first.
var (
	digits4 = []digit{{0, 0}, {2, 32}, {2, 43}, {2, 54}}
	digits6 = []digit{
		{0, 0},
		{1, 0}, {1, 11}, {1, 22}, {1, 33}, {1, 44}, {1, 55},
		{2, 0}, {2, 11}, {2, 22}, {2, 33}, {2, 44}, {2, 55},
	}
)

const digitValues = 1 << 11

func (d digit) of(e *entry) uint64 {
	word := uint64(e.bits)
	switch d.word {
	case 1:
		word = e.lo
	case 2:
		word = e.hi
	}
	return word >> d.shift % digitValues
}

// sortEntries sorts by address and then length; equal ones stay in order. It
// is a radix sort: one pass a digit, from the least significant on, moves the
// entries to where they belong by that digit. What is sorted already, as the
// rows of many a file are, it leaves as it is.
func sortEntries(entries []entry, digits []digit) []entry {
	if slices.IsSortedFunc(entries, func(a, b entry) int { return a.compare(&b) }) {
		return entries
	}
	moved := make([]entry, len(entries))
	for _, d := range digits {
		var next [digitValues]uint32 // first how many there are, then where the next one goes
		for i := range entries {
			next[d.of(&entries[i])]++
		}
		if next[d.of(&entries[0])] == uint32(len(entries)) {
			continue // all the same
		}
		at := uint32(0)
		for v, n := range next {
			next[v], at = at, at+n
		}
		for i := range entries {
			v := d.of(&entries[i])
			moved[next[v]] = entries[i]
			next[v]++
		}
		entries, moved = moved, entries
	}
	return entries
}
