package trie

import (
	"math/bits"

	"github.com/sipacl/sipacl/internal/filter"
	"github.com/sipacl/sipacl/internal/room"
)

// four finds IPv4 prefixes. Its parts are asked in this order:
//
//	seen16  65,536 bits, one a /16: does any prefix touch it?    8 KB
//	seen24  the same of every /24, for large tables only         2 MB
//	present and then hosts: the prefixes of 32 bits, by hash
//	root    and then arena: all the others, by 8 bits of the address at a time
//
// The first part of root and arena is a value for each number that the first
// bits of an address can be (16 bits in a large table, 8 or none in smaller
// ones). A value is one of
//
//	node          the longest prefix there, with nothing longer in this part; 0 is none
//	node | check  the only longer prefix in this part: if it does not cover
//	              the address, its parent does
//	offset | deeper   several longer ones: arena[offset:] tells them apart by the next 8 bits
//
// There, values repeat a lot, and a run of the same is stored once:
//
//	arena[offset+0:8]    256 bits, set where the value is not that of the number before
//	arena[offset+8:10]   eight bytes: how many of them are set before each of the eight words
//	arena[offset+10:]    the values, one a bit that is set
//
// Of 10.1.0.0/16 (node 1), 10.1.2.0/25 (node 2) and 10.1.2.128/26 (node 3),
// root[10<<8|1] is deeper; there, numbers 0 to 1 and 3 to 255 have the value
// 1, and number 2 is deeper: bits 0, 2 and 3 are set, and the values are 1,
// deeper, 1. And there again, numbers 0 to 127 have the value 2, 128 to 191
// the value 3 and the others 1: bits 0, 128 and 192 are set.
type four struct {
	seen16    *[1 << 10]uint64 // nil: all
	seen24    *[1 << 18]uint64 // nil: all
	present   filter.Filter
	hosts     slots
	root      []uint32
	rootShift uint8 // 32 less the bits that root tells apart
	arena     []uint32
}

const (
	check  uint32 = 1 << 30
	deeper uint32 = 2 << 30
	kind          = check | deeper

	arenaCounts = 8  // of arena: the offset of the counts
	arenaValues = 10 // of the values
)

// When what is worth its room.
const (
	seen16From = 256    // prefixes
	seen24From = 50_000 // prefixes
	root8From  = 16     // prefixes shorter than 32
	root16From = 2048
)

// hash4 gives two halves of a hash: where an address goes, and what tells it
// apart there.
func (t *Trie) hash4(a uint32) (place, tag uint32) {
	x := (uint64(a) ^ t.seed[0]) * 0x9e3779b97f4a7c15
	x = (x ^ x>>32 ^ t.seed[1]) * 0xd6e8feb86659fd93
	return uint32(x >> 32), uint32(x ^ x>>32)
}

func (t *Trie) longest4(a uint32) Node {
	f := &t.four
	if f.seen16 != nil && f.seen16[a>>22]>>(a>>16%64)&1 == 0 {
		return 0
	}
	if f.seen24 != nil && f.seen24[a>>14]>>(a>>8%64)&1 == 0 {
		return 0
	}
	place, tag := t.hash4(a)
	if f.present.Has(tag) {
		hosts := &f.hosts
		tag <<= hosts.bits
		for i := filter.Scale(place, len(hosts.slot)); hosts.slot[i] != 0; {
			if v := hosts.slot[i]; (v^tag)>>hosts.bits == 0 {
				if v ^= tag; t.nodes[v].addr == a {
					return Node(v)
				}
			}
			if i++; i == uint32(len(hosts.slot)) {
				i = 0
			}
		}
	}
	v, shift := f.root[a>>f.rootShift], f.rootShift
	for v&kind == deeper {
		shift -= 8
		v = f.arenaValue(v&^kind, a>>shift%256)
	}
	if v&kind == check {
		v &^= kind
		if n := &t.nodes[v]; (a^n.addr)>>(32-n.bits) != 0 {
			return n.parent
		}
	}
	return Node(v)
}

// arenaValue returns the value of number i.
func (f *four) arenaValue(offset, i uint32) uint32 {
	a := f.arena[offset:]
	word := i / 32
	before := a[arenaCounts+word/4] >> (word % 4 * 8) & 0xff
	return a[arenaValues-1+before+uint32(bits.OnesCount32(a[word]&(2<<(i%32)-1)))]
}

// buildFour makes the index of the nodes there are so far.
func (t *Trie) buildFour() {
	f := &t.four
	hosts := 0
	var wider []uint32
	for i := 1; i < len(t.nodes); i++ {
		if t.nodes[i].bits == 32 {
			hosts++
		} else {
			wider = append(wider, uint32(i))
		}
	}
	f.present, f.hosts = filter.New(hosts), newSlots(hosts, len(t.nodes)-1)
	for i := 1; i < len(t.nodes); i++ {
		if n := &t.nodes[i]; n.bits == 32 {
			place, tag := t.hash4(n.addr)
			f.present.Add(tag)
			f.hosts.add(place, tag, uint32(i))
		}
	}
	t.markSeen()
	switch {
	case len(wider) < root8From:
		f.rootShift = 32
	case len(wider) < root16From:
		f.rootShift = 24
	default:
		f.rootShift = 16
	}
	f.root = make([]uint32, 1<<(32-f.rootShift))
	t.fill(f.root, wider, 0, f.rootShift)
	f.arena = room.Trim(f.arena)
}

// markSeen makes the maps of what the prefixes touch, where they are worth it.
func (t *Trie) markSeen() {
	if len(t.nodes) >= seen16From {
		var seen [1 << 10]uint64
		if t.mark(seen[:], 16) {
			t.four.seen16 = &seen
		}
	}
	if len(t.nodes) >= seen24From {
		var seen [1 << 18]uint64
		if t.mark(seen[:], 24) {
			t.four.seen24 = &seen
		}
	}
}

// mark sets a bit for every piece of so many bits that a prefix touches. It
// returns false if that is more than half of them: such a map would only cost
// time.
func (t *Trie) mark(seen []uint64, piece uint8) bool {
	set, next := 0, uint32(0) // below next all is done: prefixes are sorted
	for i := 1; i < len(t.nodes); i++ {
		n := &t.nodes[i]
		first := n.addr >> (32 - piece)
		end := first + 1
		if n.bits < piece {
			end = first + 1<<(piece-n.bits)
		}
		if next = max(next, first); next < end {
			set += int(end - next)
		}
		if set > len(seen)*32 {
			return false
		}
		for ; next < end; next++ {
			seen[next/64] |= 1 << (next % 64)
		}
	}
	return true
}

// fill gives values, which tell the addresses from base on apart by their
// bits from shift up, to the nodes of list, which are sorted and all there.
func (t *Trie) fill(values []uint32, list []uint32, base uint32, shift uint8) {
	for len(list) > 0 {
		n := &t.nodes[list[0]]
		at := uint32((uint64(n.addr) - uint64(base)) >> shift)
		if n.bits <= 32-shift {
			for i := range uint32(1) << (32 - shift - n.bits) {
				values[at+i] = list[0]
			}
			list = list[1:]
			continue
		}
		longer := 1
		for longer < len(list) && t.nodes[list[longer]].addr>>shift == n.addr>>shift {
			longer++
		}
		if longer == 1 {
			values[at] = list[0] | check
		} else {
			values[at] = t.deepen(list[:longer], values[at], n.addr>>shift<<shift, shift-8)
		}
		list = list[longer:]
	}
}

// deepen adds to the arena what tells the nodes of list apart, where outer is
// the value of what they leave over.
func (t *Trie) deepen(list []uint32, outer, base uint32, shift uint8) uint32 {
	var values [256]uint32
	for i := range values {
		values[i] = outer
	}
	t.fill(values[:], list, base, shift)

	f := &t.four
	offset := len(f.arena)
	f.arena = append(f.arena, make([]uint32, arenaValues)...)
	set := uint32(0)
	for i, v := range values {
		if i%32 == 0 {
			f.arena[offset+arenaCounts+i/128] |= set << (i / 32 % 4 * 8)
		}
		if i == 0 || v != values[i-1] {
			f.arena[offset+i/32] |= 1 << (i % 32)
			f.arena = append(f.arena, v)
			set++
		}
	}
	return uint32(offset) | deeper
}
