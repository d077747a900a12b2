// Package memberset holds who is in which group: triples of texts, exactly
// compared, in few bytes each. A set has no pointer per member, so that ten
// million of them cost the garbage collector nothing.
package memberset

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"

	"github.com/sipacl/sipacl/internal/filter"
	"github.com/sipacl/sipacl/internal/room"
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
// The entries stand one after the other in an arena: the length of the name,
// the name, then numbers: domain, group, tag and row. Domains and groups, of
// which there are few, are numbered.
//
//	arena  5 alice 0 1 0 17  3 bob 0 0 0 18  ...
//	       ^ alice@example.com is in group 1, row 17
//
// Slots are a hash table of places in the arena with linear probing; 24 bits
// of the hash in each slot spare most looks into the arena. A question about
// somebody who is no member mostly ends before, at one bit of present.
type Set struct {
	seed    maphash.Seed
	domains names
	groups  names
	arena   []byte
	slots   []uint64 // (offset+1)<<24 | 24 bits of the hash; 0 is free
	present filter.Filter
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
type key struct{ name, domain, group string }

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
	k := key{m.Name, m.Domain, m.Group}
	h := s.hash(&k)
	i, _ := s.find(&k, h)
	if s.slots[i] != 0 {
		return false
	}
	s.slots[i] = slot(len(s.arena), h)
	s.arena = binary.AppendUvarint(s.arena, uint64(len(m.Name)))
	s.arena = append(s.arena, m.Name...)
	s.arena = binary.AppendUvarint(s.arena, uint64(s.domains.intern(m.Domain)))
	s.arena = binary.AppendUvarint(s.arena, uint64(s.groups.intern(m.Group)))
	s.arena = binary.AppendUvarint(s.arena, uint64(m.Tag))
	s.arena = binary.AppendUvarint(s.arena, m.Row)
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
		s.present = filter.New(s.n)
		s.resize(s.n + s.n/2 + 1)
		s.arena = room.Trim(s.arena)
		s.domains.number, s.groups.number = nil, nil
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
	k := key{name, domain, group}
	h := s.hash(&k)
	if !s.present.Has(uint32(h)) {
		return 0, 0, false
	}
	i, rest := s.find(&k, h)
	if s.slots[i] == 0 {
		return 0, 0, false
	}
	t, n := binary.Uvarint(s.arena[rest:])
	row, _ = binary.Uvarint(s.arena[rest+n:])
	return uint32(t), row, true
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
func (s *Set) Bytes() int { return cap(s.arena) + 8*cap(s.slots) + 8*len(s.present) }

// find returns the slot of k and where in the arena its tag is, or the free
// slot where it would be.
func (s *Set) find(k *key, h uint64) (i, rest int) {
	for i = s.home(h); s.slots[i] != 0; {
		if (s.slots[i]^h)&tagBits == 0 {
			if rest = s.is(int(s.slots[i]>>24)-1, k); rest > 0 {
				return i, rest
			}
		}
		if i++; i == len(s.slots) {
			i = 0
		}
	}
	return i, 0
}

const tagBits = 1<<24 - 1

func slot(offset int, h uint64) uint64 { return uint64(offset+1)<<24 | h&tagBits }

// home is where the search for a hash begins: its high bits, scaled.
func (s *Set) home(h uint64) int {
	hi, _ := bits.Mul64(h, uint64(len(s.slots)))
	return int(hi)
}

func (s *Set) hash(k *key) uint64 {
	h := maphash.String(s.seed, k.name)
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, maphash.String(s.seed, k.domain)+bits.RotateLeft64(maphash.String(s.seed, k.group), 32))
	return h ^ hi ^ lo
}

// is returns where the tag of the entry at offset at is if it is that of k,
// else 0.
func (s *Set) is(at int, k *key) (rest int) {
	n, size := binary.Uvarint(s.arena[at:])
	at += size
	if n != uint64(len(k.name)) || string(s.arena[at:at+len(k.name)]) != k.name {
		return 0
	}
	at += len(k.name)
	domain, size := binary.Uvarint(s.arena[at:])
	at += size
	group, size := binary.Uvarint(s.arena[at:])
	if s.domains.text[domain] != k.domain || s.groups.text[group] != k.group {
		return 0
	}
	return at + size
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
	n := int(next())
	e.name = s.arena[at : at+n]
	at += n
	e.domain, e.group, e.tag, e.row = uint32(next()), uint32(next()), uint32(next()), next()
	e.end = at
	return e
}

// resize makes a hash table of n slots, more than there are members, and
// fills the filter if there is one.
func (s *Set) resize(n int) {
	s.slots = make([]uint64, n)
	for at := 0; at < len(s.arena); {
		e := s.entry(at)
		h := s.hash(&key{string(e.name), s.domains.text[e.domain], s.groups.text[e.group]})
		i := s.home(h)
		for s.slots[i] != 0 {
			if i++; i == n {
				i = 0
			}
		}
		s.slots[i] = slot(at, h)
		if len(s.present) > 0 {
			s.present.Add(uint32(h))
		}
		at = e.end
	}
}
