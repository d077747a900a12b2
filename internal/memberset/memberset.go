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
// The upper bits of a member's hash choose its bucket, one of about four
// members. The entries of a bucket stand one after the other in the arena:
//
//	size of the rest | byte of the hash | length of the name | name | domain | group | tag | row
//
// Domains and groups, of which there are few, are numbered. A bucket is told
// by one word: where its entries begin, and 24 bits in which each of them has
// set one. A question about somebody who is no member mostly ends there, and
// one about a member takes one more look into memory, at the bucket's entries.
//
//	buckets  | 0, bit 3 | 12, none | 12, bits 0 and 7 | ...
//	arena    0: 11 .. 5 alice 0 1 0 17  12: 9 .. 3 bob 0 0 0 18  22: 11 .. 5 carol 0 0 0 19  ...
type Set struct {
	texts
	buckets []uint64 // offset<<24 | bits; one more than there are
	arena   []byte
	n       int
}

// texts are what the entries of an arena mean.
type texts struct {
	seed    maphash.Seed
	domains names
	groups  names
}

// names numbers texts in the order in which they first come.
type names struct {
	number map[string]uint32 // of a Builder only
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

func (t *texts) hash(k *key) uint64 {
	h := maphash.String(t.seed, k.name)
	hi, lo := bits.Mul64(h^0x9e3779b97f4a7c15, maphash.String(t.seed, k.domain)+bits.RotateLeft64(maphash.String(t.seed, k.group), 32))
	return h ^ hi ^ lo
}

// home maps a hash evenly to 0 to n-1.
func home(h uint64, n int) int {
	hi, _ := bits.Mul64(h, uint64(n))
	return int(hi)
}

// A Builder makes a Set. The zero Builder is ready for use. Its arena has the
// entries in the order in which they were added; slots are a hash table of
// them with linear probing.
type Builder struct {
	texts
	arena []byte
	slots []uint64 // (offset+1)<<24 | 24 bits of the hash; 0 is free
	n     int
}

const lowBits = 1<<24 - 1

// Add adds m, unless there is a member of the same texts already: the first
// one stays.
func (b *Builder) Add(m Member) (added bool) {
	if b.slots == nil {
		b.seed = maphash.MakeSeed()
		b.domains.number, b.groups.number = map[string]uint32{}, map[string]uint32{}
		b.resize(64)
	}
	k := key{m.Name, m.Domain, m.Group}
	h := b.hash(&k)
	i := home(h, len(b.slots))
	for ; b.slots[i] != 0; i = b.after(i) {
		if (b.slots[i]^h)&lowBits == 0 {
			if e, _ := entryAt(b.arena, int(b.slots[i]>>24)-1); b.is(e, &k) {
				return false
			}
		}
	}
	b.slots[i] = uint64(len(b.arena)+1)<<24 | h&lowBits
	b.append(&m, h)
	if b.n++; 4*b.n > 3*len(b.slots) {
		b.resize(2 * len(b.slots))
	}
	return true
}

// after is the slot after slot i.
func (b *Builder) after(i int) int {
	if i++; i == len(b.slots) {
		return 0
	}
	return i
}

// append adds the entry of m.
func (b *Builder) append(m *Member, h uint64) {
	var numbers [4 * binary.MaxVarintLen64]byte
	tail := binary.AppendUvarint(numbers[:0], uint64(b.domains.intern(m.Domain)))
	tail = binary.AppendUvarint(tail, uint64(b.groups.intern(m.Group)))
	tail = binary.AppendUvarint(tail, uint64(m.Tag))
	tail = binary.AppendUvarint(tail, m.Row)
	var length [binary.MaxVarintLen64]byte
	head := binary.AppendUvarint(length[:0], uint64(len(m.Name)))

	b.arena = binary.AppendUvarint(b.arena, uint64(1+len(head)+len(m.Name)+len(tail)))
	b.arena = append(append(append(append(b.arena, hashByte(h)), head...), m.Name...), tail...)
}

// hashByte is the byte of the hash in an entry.
func hashByte(h uint64) byte { return byte(h >> 8) }

// resize makes a hash table of n slots, more than there are members.
func (b *Builder) resize(n int) {
	b.slots = make([]uint64, n)
	for at := 0; at < len(b.arena); {
		e, end := entryAt(b.arena, at)
		h := b.hashOf(e)
		i := home(h, n)
		for b.slots[i] != 0 {
			i = b.after(i)
		}
		b.slots[i] = uint64(at+1)<<24 | h&lowBits
		at = end
	}
}

// Set returns what was added, in no more memory than it needs. The Builder is
// empty after that.
func (b *Builder) Set() *Set {
	s := &Set{texts: b.texts, n: b.n}
	s.domains.number, s.groups.number = nil, nil
	if b.n > 0 {
		b.slots = nil
		s.fill(b.arena)
	}
	*b = Builder{}
	return s
}

const perBucket = 4

// fill makes the buckets of the entries in from. Each bucket first says how
// many bytes it takes, then where the next of its entries goes.
func (s *Set) fill(from []byte) {
	n := s.n/perBucket + 1
	hashes := make([]uint64, 0, s.n)
	next := make([]int, n+1)
	for at := 0; at < len(from); {
		e, end := entryAt(from, at)
		h := s.hashOf(e)
		hashes = append(hashes, h)
		next[home(h, n)+1] += end - at
		at = end
	}
	s.buckets = make([]uint64, n+1)
	for i := range next[1:] {
		next[i+1] += next[i]
		s.buckets[i+1] = uint64(next[i+1]) << 24
	}
	s.arena = make([]byte, len(from))
	for at := 0; at < len(from); hashes = hashes[1:] {
		_, end := entryAt(from, at)
		b := home(hashes[0], n)
		s.buckets[b] |= bit(hashes[0])
		next[b] += copy(s.arena[next[b]:], from[at:end])
		at = end
	}
}

// bit is the bit of a bucket's word that an entry with this hash sets.
func bit(h uint64) uint64 { return 1 << (h & 0xff * 24 >> 8) }

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
	b := home(h, len(s.buckets)-1)
	if s.buckets[b]&bit(h) == 0 {
		return 0, 0, false
	}
	for at, end := int(s.buckets[b]>>24), int(s.buckets[b+1]>>24); at < end; {
		e, next := entryAt(s.arena, at)
		if e[0] == hashByte(h) && s.is(e, &k) {
			d := decode(e)
			return d.tag, d.row, true
		}
		at = next
	}
	return 0, 0, false
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

// All yields the members, in no order that means anything.
func (s *Set) All() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		if s == nil {
			return
		}
		for at := 0; at < len(s.arena); {
			e, next := entryAt(s.arena, at)
			d := decode(e)
			if !yield(Member{string(d.name), s.domains.text[d.domain], s.groups.text[d.group], d.tag, d.row}) {
				return
			}
			at = next
		}
	}
}

// Bytes returns about how much memory the members take.
func (s *Set) Bytes() int { return cap(s.arena) + 8*cap(s.buckets) }

// entryAt returns the entry at an offset, without its size, and where the next
// one is.
func entryAt(arena []byte, at int) (e []byte, next int) {
	n, size := uint64(arena[at]), 1
	if n >= 0x80 {
		n, size = binary.Uvarint(arena[at:])
	}
	at += size
	return arena[at : at+int(n)], at + int(n)
}

// entry is an entry read.
type entry struct {
	name               []byte
	domain, group, tag uint32
	row                uint64
}

func decode(e []byte) (d entry) {
	e = e[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(e)
		e = e[n:]
		return v
	}
	n := next()
	d.name, e = e[:n], e[n:]
	d.domain, d.group, d.tag, d.row = uint32(next()), uint32(next()), uint32(next()), next()
	return d
}

// is reports whether e is the entry of k.
func (t *texts) is(e []byte, k *key) bool {
	n, size := binary.Uvarint(e[1:])
	if e = e[1+size:]; n != uint64(len(k.name)) || string(e[:n]) != k.name {
		return false
	}
	e = e[n:]
	domain, size := binary.Uvarint(e)
	group, _ := binary.Uvarint(e[size:])
	return t.domains.text[domain] == k.domain && t.groups.text[group] == k.group
}

func (t *texts) hashOf(e []byte) uint64 {
	d := decode(e)
	return t.hash(&key{string(d.name), t.domains.text[d.domain], t.groups.text[d.group]})
}
