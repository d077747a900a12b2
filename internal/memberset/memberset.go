// Package memberset holds who is in which group: triples of texts, exactly
// compared, in few bytes each. A set has no pointer per member, so that ten
// million of them cost the garbage collector nothing.
package memberset

import (
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"

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
// A member is an entry: domain and group, of which there are few, as numbers.
//
//	length of the name | name | domain | group | tag | row
//
// The upper bits of a member's hash choose its bucket, one of about two
// members, whose entries stand one after the other in the arena, behind four
// bytes that tell their sizes. A bucket is one word: where it begins in the
// arena, and six bits of the hash of each of its members. A question about
// somebody who is no member ends there, nearly always, and one about a member
// knows there which entry to look at, without trying one after the other.
//
//	buckets  at 0: 17 0 0 0 | at 14: none | at 14: 60 9 0 0 | ...
//	arena    0: 10 0 0 0, 5 alice 0 1 0 17   14: 8 10 0 0, 3 bob 0 0 0 18, 5 carol 0 0 0 19   ...
//
// A bucket of more than four members, or with a larger one, is crowded: before
// each of its entries stands its size.
type Set struct {
	texts
	buckets []bucket // one more than there are, to tell the end of the last
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
			if e, _ := sized(b.arena, int(b.slots[i]>>24)-1); b.is(e, &k) > 0 {
				return false
			}
		}
	}
	b.slots[i] = uint64(len(b.arena)+1)<<24 | h&lowBits
	b.append(&m)
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

// append adds the entry of m, with its size before it.
func (b *Builder) append(m *Member) {
	var numbers [4 * binary.MaxVarintLen64]byte
	tail := binary.AppendUvarint(numbers[:0], uint64(b.domains.intern(m.Domain)))
	tail = binary.AppendUvarint(tail, uint64(b.groups.intern(m.Group)))
	tail = binary.AppendUvarint(tail, uint64(m.Tag))
	tail = binary.AppendUvarint(tail, m.Row)
	var length [binary.MaxVarintLen64]byte
	head := binary.AppendUvarint(length[:0], uint64(len(m.Name)))

	b.arena = binary.AppendUvarint(b.arena, uint64(len(head)+len(m.Name)+len(tail)))
	b.arena = append(append(append(b.arena, head...), m.Name...), tail...)
}

// resize makes a hash table of n slots, more than there are members.
func (b *Builder) resize(n int) {
	b.slots = make([]uint64, n)
	for at := 0; at < len(b.arena); {
		e, end := sized(b.arena, at)
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

// fill makes the buckets of the entries in from.
func (s *Set) fill(from []byte) {
	n := s.n/2 + 1
	entries := make([]placed, 0, s.n)
	next := make([]uint32, n+1) // how many entries go before those of a bucket
	for at := 0; at < len(from); {
		e, end := sized(from, at)
		h := s.hashOf(e)
		entries = append(entries, placed{at, h})
		next[home(h, n)+1]++
		at = end
	}
	for i := range n {
		next[i+1] += next[i]
	}
	sorted := make([]placed, len(entries))
	for _, e := range entries {
		b := home(e.hash, n)
		sorted[next[b]] = e
		next[b]++
	}
	s.arena = make([]byte, 0, len(from)+2*len(from)/16)
	s.buckets = make([]bucket, n+1)
	for b, end := range next[:n] { // now where those of the next bucket begin
		first := uint32(0)
		if b > 0 {
			first = next[b-1]
		}
		s.buckets[b] = s.write(from, sorted[first:end])
	}
	s.buckets[n] = makeBucket(len(s.arena))
	s.arena = room.Trim(s.arena)
}

// placed is where an entry is, and the hash of its texts.
type placed struct {
	at   int
	hash uint64
}

// write appends the entries of a bucket to the arena.
func (s *Set) write(from []byte, entries []placed) bucket {
	b := makeBucket(len(s.arena))
	if len(entries) == 0 {
		return b
	}
	var sizes [perBucket]byte
	for i, p := range entries {
		e, _ := sized(from, p.at)
		if len(entries) > perBucket || len(e) > 0xff {
			return b | crowded | s.writeSized(from, entries)
		}
		sizes[i] = byte(len(e))
		b |= hashBits(p.hash) << (laneBits * i)
	}
	s.arena = append(s.arena, sizes[:]...)
	for _, p := range entries {
		e, _ := sized(from, p.at)
		s.arena = append(s.arena, e...)
	}
	return b
}

// writeSized appends the entries of a crowded bucket.
func (s *Set) writeSized(from []byte, entries []placed) (none bucket) {
	for _, p := range entries {
		_, end := sized(from, p.at)
		s.arena = append(s.arena, from[p.at:end]...)
	}
	return none
}

// A bucket is, from the lowest bit on: four lanes of 6 bits, each 0 or part of
// a member's hash; 1 bit that says crowded; an offset in the arena.
type bucket uint64

const (
	perBucket = 4
	laneBits  = 6
	lanes     = bucket(1 | 1<<laneBits | 1<<(2*laneBits) | 1<<(3*laneBits)) // 1 in each lane
	crowded   = bucket(1 << (perBucket * laneBits))
)

func makeBucket(at int) bucket { return bucket(at) << (perBucket*laneBits + 1) }

func (b bucket) at() int { return int(b >> (perBucket*laneBits + 1)) }

// hashBits are the bits of a hash in a lane, never 0.
func hashBits(h uint64) bucket { return bucket(1 + h&0xffff*63>>16) }

// lanesOf has the top bit of each lane that is want, and hardly ever of another.
func (b bucket) lanesOf(want bucket) uint64 {
	x := b&(crowded-1) ^ want*lanes
	return uint64((x - lanes) &^ x & (lanes << (laneBits - 1)))
}

// entry returns entry number i of a bucket that is not crowded.
func (s *Set) entry(b bucket, i int) []byte {
	a := s.arena[b.at():]
	sizes := binary.LittleEndian.Uint32(a)
	before := sizes & (1<<(8*i) - 1)
	before = before&0xff00ff + before>>8&0xff00ff
	a = a[perBucket+before&0xffff+before>>16:]
	return a[:sizes>>(8*i)&0xff]
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
	i := home(h, len(s.buckets)-1)
	b := s.buckets[i]
	if b&crowded != 0 {
		return s.findSized(b.at(), s.buckets[i+1].at(), &k)
	}
	for found := b.lanesOf(hashBits(h)); found != 0; found &= found - 1 {
		e := s.entry(b, bits.TrailingZeros64(found)/laneBits)
		if rest := s.is(e, &k); rest > 0 {
			return readOrigin(e[rest:])
		}
	}
	return 0, 0, false
}

// findSized looks for k in a crowded bucket.
func (s *Set) findSized(at, end int, k *key) (tag uint32, row uint64, ok bool) {
	for at < end {
		e, next := sized(s.arena, at)
		if rest := s.is(e, k); rest > 0 {
			return readOrigin(e[rest:])
		}
		at = next
	}
	return 0, 0, false
}

// readOrigin reads the end of the entry that was looked for.
func readOrigin(rest []byte) (tag uint32, row uint64, ok bool) {
	t, n := binary.Uvarint(rest)
	row, _ = binary.Uvarint(rest[n:])
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

// All yields the members, in no order that means anything.
func (s *Set) All() iter.Seq[Member] {
	return func(yield func(Member) bool) {
		if s == nil {
			return
		}
		for i, b := range s.buckets[:max(len(s.buckets), 1)-1] {
			for e := range s.entries(b, s.buckets[i+1].at()) {
				d := decode(e)
				if !yield(Member{string(d.name), s.domains.text[d.domain], s.groups.text[d.group], d.tag, d.row}) {
					return
				}
			}
		}
	}
}

// entries yields the entries of a bucket that ends at an offset.
func (s *Set) entries(b bucket, end int) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		if b&crowded == 0 {
			for i := 0; i < perBucket && b>>(laneBits*i)&(1<<laneBits-1) != 0; i++ {
				if !yield(s.entry(b, i)) {
					return
				}
			}
			return
		}
		for at := b.at(); at < end; {
			e, next := sized(s.arena, at)
			if !yield(e) {
				return
			}
			at = next
		}
	}
}

// sized returns the entry whose size stands before it at an offset, and where
// it ends.
func sized(arena []byte, at int) (e []byte, end int) {
	n, size := binary.Uvarint(arena[at:])
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

// is returns where in e its tag is if it is the entry of k, else 0.
func (t *texts) is(e []byte, k *key) (rest int) {
	n, at := binary.Uvarint(e)
	if n != uint64(len(k.name)) || string(e[at:at+len(k.name)]) != k.name {
		return 0
	}
	at += len(k.name)
	domain, size := binary.Uvarint(e[at:])
	at += size
	group, size := binary.Uvarint(e[at:])
	if t.domains.text[domain] != k.domain || t.groups.text[group] != k.group {
		return 0
	}
	return at + size
}

func (t *texts) hashOf(e []byte) uint64 {
	d := decode(e)
	return t.hash(&key{string(d.name), t.domains.text[d.domain], t.groups.text[d.group]})
}
