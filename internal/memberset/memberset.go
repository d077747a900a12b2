// Package memberset holds who is in which group: triples of texts, exactly
// compared, in few bytes each. A set has no pointer per member, so that ten
// million of them cost the garbage collector nothing.
package memberset

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
)

// A Member is one row: name@domain is in group. Tag and Row say where the row
// was read; they are the caller's and not compared.
type Member struct {
	Name, Domain, Group string
	Tag                 uint32
	Row                 uint64
}

// A Set is an immutable set of members. The zero Set and a nil one are empty.
//
// The entries stand one after the other in an arena: domain, group, tag and
// row as numbers, then the name. Domains and groups, of which there are few,
// are numbered. Slots are a hash table of places in the arena with linear
// probing; 24 bits of the hash in each slot spare most looks into the arena.
type Set struct {
	seed    maphash.Seed
	domains names
	groups  names
	arena   []byte
	slots   []uint64 // (offset+1)<<24 | 24 bits of the hash; 0 is free
	n       int
}

// names numbers texts in the order in which they first come.
type names struct {
	number map[string]uint32
	text   []string
}

func (n *names) intern(s string) uint32 {
	i, ok := n.number[s]
	if !ok {
		s = string([]byte(s)) // not a part of something bigger
		i = uint32(len(n.text))
		n.number[s] = i
		n.text = append(n.text, s)
	}
	return i
}

// key is what is compared.
type key struct {
	name          string
	domain, group uint32
}

// A Builder makes a Set. The zero Builder is ready for use.
type Builder struct{ set Set }

// Add adds m, unless there is a member of the same texts already: the first
// one stays.
func (b *Builder) Add(m Member) (added bool) {
	s := &b.set
	if s.slots == nil {
		s.seed = maphash.MakeSeed()
		s.domains.number, s.groups.number = map[string]uint32{}, map[string]uint32{}
		s.resize(64)
	}
	k := key{m.Name, s.domains.intern(m.Domain), s.groups.intern(m.Group)}
	h := s.hash(k)
	i, found := s.find(k, h)
	if found {
		return false
	}
	s.slots[i] = slot(len(s.arena), h)
	s.arena = binary.AppendUvarint(s.arena, uint64(k.domain))
	s.arena = binary.AppendUvarint(s.arena, uint64(k.group))
	s.arena = binary.AppendUvarint(s.arena, uint64(m.Tag))
	s.arena = binary.AppendUvarint(s.arena, m.Row)
	s.arena = binary.AppendUvarint(s.arena, uint64(len(m.Name)))
	s.arena = append(s.arena, m.Name...)
	s.n++
	if 4*s.n > 3*len(s.slots) {
		s.resize(2 * len(s.slots))
	}
	return true
}

// Set returns what was added, in no more memory than it needs. The Builder is
// empty after that.
func (b *Builder) Set() *Set {
	s := b.set
	b.set = Set{}
	if s.n > 0 {
		s.resize(s.n + s.n/3 + 1)
		s.arena = append(make([]byte, 0, len(s.arena)), s.arena...)
	}
	return &s
}

// Len returns the number of members.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return s.n
}

// Find returns where the member with these texts was read. It does not
// allocate.
func (s *Set) Find(name, domain, group string) (tag uint32, row uint64, ok bool) {
	if s.Len() == 0 {
		return 0, 0, false
	}
	k := key{name: name}
	var known bool
	if k.domain, known = s.domains.number[domain]; !known {
		return 0, 0, false
	}
	if k.group, known = s.groups.number[group]; !known {
		return 0, 0, false
	}
	i, ok := s.find(k, s.hash(k))
	if !ok {
		return 0, 0, false
	}
	e := s.entry(int(s.slots[i]>>24) - 1)
	return e.tag, e.row, true
}

// Groups yields every group once, in the order in which they first came.
func (s *Set) Groups() iter.Seq[string] {
	return func(yield func(string) bool) {
		if s == nil {
			return
		}
		for _, g := range s.groups.text {
			if !yield(g) {
				return
			}
		}
	}
}

// All yields the members in the order in which they were added.
func (s *Set) All() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		if s == nil {
			return
		}
		for at := 0; at < len(s.arena); {
			e := s.entry(at)
			at = e.end
			m := Member{string(e.name), s.domains.text[e.domain], s.groups.text[e.group], e.tag, e.row}
			if !yield(m) {
				return
			}
		}
	}
}

// Bytes returns about how much memory the members take.
func (s *Set) Bytes() int { return cap(s.arena) + 8*cap(s.slots) }

// find returns the slot of k, or the free one where it would be.
func (s *Set) find(k key, h uint64) (i int, found bool) {
	for i = s.home(h); s.slots[i] != 0; {
		if s.slots[i]&tagBits == h&tagBits && s.is(int(s.slots[i]>>24)-1, k) {
			return i, true
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i, false
}

const tagBits = 1<<24 - 1

func slot(offset int, h uint64) uint64 { return uint64(offset+1)<<24 | h&tagBits }

// home is where the search for a hash begins: its high bits, scaled.
func (s *Set) home(h uint64) int {
	hi, _ := bits.Mul64(h, uint64(len(s.slots)))
	return int(hi)
}

func (s *Set) hash(k key) uint64 {
	h := maphash.String(s.seed, k.name)
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, (uint64(k.domain)<<32|uint64(k.group))^0xbf58476d1ce4e5b9)
	return h ^ hi ^ lo
}

// is reports whether the entry at offset at is that of k.
func (s *Set) is(at int, k key) bool {
	e := s.entry(at)
	return e.domain == k.domain && e.group == k.group && string(e.name) == k.name
}

type entry struct {
	domain, group, tag uint32
	row                uint64
	name               []byte
	end                int // where the next entry begins
}

func (s *Set) entry(at int) (e entry) {
	next := func() uint64 {
		v, n := binary.Uvarint(s.arena[at:])
		at += n
		return v
	}
	e.domain, e.group, e.tag, e.row = uint32(next()), uint32(next()), uint32(next()), next()
	n := int(next())
	e.name, e.end = s.arena[at:at+n], at+n
	return e
}

// resize makes a hash table of n slots, more than there are members.
func (s *Set) resize(n int) {
	s.slots = make([]uint64, n)
	for at := 0; at < len(s.arena); {
		e := s.entry(at)
		h := s.hash(key{string(e.name), e.domain, e.group})
		i := s.home(h)
		for s.slots[i] != 0 {
			if i++; i == n {
				i = 0
			}
		}
		s.slots[i] = slot(at, h)
		at = e.end
	}
}
