// Package rowindex finds the rows of an address table that match an address,
// a group, a port and a protocol: longest prefix first, and then in the order
// of the table.
//
// It is a trie of the prefixes. The value of a prefix is its first row, and a
// summary of the groups of that prefix and of all that cover it, at which most
// questions about another group end. Only where several rows have the same
// prefix are they stored beside it. Of
//
//	row 0  10.0.0.0/8   group 7
//	row 1  10.1.2.3/32  group 1
//	row 2  10.1.2.3/32  group 2  port 5060
//
// the prefixes and the further rows are
//
//	node  prefix       parent  groups      key               at
//	1     10.0.0.0/8   0       bit of 7    group 7           row 0
//	2     10.1.2.3/32  1       of 7, 1, 2  group 1, several  further[0]
//
//	further[0]  group 1             row 1  node 2  end 2
//	further[1]  group 2, port 5060  row 2  node 2  end 2
package rowindex

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/sipacl/sipacl/internal/room"
	"github.com/sipacl/sipacl/internal/trie"
)

// Key is what a row asks beside the address.
type Key struct {
	Group   uint32
	Pattern uint32 // 0 is none; the caller's number of it otherwise
	Port    uint16 // 0 is any
	Proto   uint8  // 0 is any, NoProto none
}

// NoProto is the protocol of a row or of a question that matches nothing.
const NoProto = 1

// Question is what is compared with keys. Fields are compared as they stand,
// unless Any has them.
type Question struct {
	Group uint32
	Port  uint16
	Proto uint8
	Any   Any
}

// Any is a set of the parts of a question that match every row.
type Any uint8

// The parts.
const (
	AnyGroup Any = 1 << iota
	AnyPort
	AnyProto
)

// Miss is the first thing that keeps a row from matching.
type Miss uint8

// The misses, in the order of asking.
const (
	Matched Miss = iota
	OtherGroup
	OtherPort
	OtherProto
	OtherSubject // Compare never says so: patterns are the caller's
)

// Compare asks a row all but its prefix and its pattern.
func (k *Key) Compare(q *Question) Miss {
	switch {
	case k.Group != q.Group && q.Any&AnyGroup == 0:
		return OtherGroup
	case k.Port != 0 && k.Port != q.Port && q.Any&AnyPort == 0:
		return OtherPort
	case k.Proto == NoProto || q.Proto == NoProto:
		return OtherProto
	case k.Proto != 0 && k.Proto != q.Proto && q.Any&AnyProto == 0:
		return OtherProto
	}
	return Matched
}

// Ref is where a row is: its node, or its index in further with isFurther. The
// zero Ref is that of a row without a prefix.
type Ref uint32

const isFurther Ref = 1 << 31

// Index is an immutable set of rows. The zero Index holds none. It is safe
// for concurrent use.
type Index struct {
	trie    *trie.Trie
	further []further
	byGroup []uint32 // as further: the rows of a prefix that has many, sorted by group
}

// head is the value of a prefix:
//
//	0  a bit for each group of this prefix and of those above
//	1  the row; if there are several, where the rows are in further
//	2  group of the first row
//	3  pattern of the first row
//	4  its port and, from bit 16 on, protocol; bit 31 is several
type head trie.Value

const several = 1 << 31

func makeHead(groups, at uint32, k Key) head {
	return head{groups, at, k.Group, k.Pattern, uint32(k.Port) | uint32(k.Proto)<<16}
}

func (h *head) at() uint32    { return h[1] }
func (h *head) several() bool { return h[4]&several != 0 }

func (h *head) key() Key {
	return Key{Group: h[2], Pattern: h[3], Port: uint16(h[4]), Proto: uint8(h[4] >> 16)}
}

// mayHold reports whether a prefix, or one above, may have a row of a group
// with one of these bits.
func (h *head) mayHold(bits uint32) bool { return h[0]&bits != 0 }

// further is a row of a prefix that has several.
type further struct {
	key  Key
	row  uint32
	node trie.Node
	end  uint32 // the index after the last row of the prefix
}

// many is from how many rows of a prefix on they are searched by group.
const many = 16

// groupBit is the bit of a group in a summary.
func groupBit(group uint32) uint32 { return 1 << (group * 0x9e3779b1 >> 27) }

// Builder collects rows. The zero Builder is empty.
type Builder struct {
	trie trie.Builder
	keys []Key // by row
}

// Grow makes room for n more rows.
func (b *Builder) Grow(n int) {
	b.keys = slices.Grow(b.keys, n)
}

// Add adds the next row; the first is row 0. A prefix must be valid and
// masked, and its address not an IPv4-mapped one. A row without a prefix, the
// zero one, only takes its number.
func (b *Builder) Add(p netip.Prefix, k Key) {
	if p.IsValid() {
		b.trie.Add(p, uint32(len(b.keys)))
	}
	b.keys = append(room.Double(b.keys), k)
}

// Build makes the index and empties b. place is told where each row is that
// has a prefix.
func Build(b *Builder, place func(row uint32, r Ref)) *Index {
	x := &Index{}
	keys := b.sortedKeys()
	x.trie = trie.Build(&b.trie, func(n trie.Node, above trie.Value, rows []uint32) trie.Value {
		own := keys[:len(rows)]
		keys = keys[len(rows):]
		h := makeHead(above[0]|groupBit(own[0].Group), rows[0], own[0])
		if len(rows) == 1 {
			place(rows[0], Ref(n))
			return trie.Value(h)
		}
		h[1], h[4] = uint32(len(x.further)), h[4]|several
		end := h.at() + uint32(len(rows))
		for i, r := range rows {
			h[0] |= groupBit(own[i].Group)
			place(r, Ref(len(x.further))|isFurther)
			x.further = append(x.further, further{own[i], r, n, end})
		}
		return trie.Value(h)
	})
	*b = Builder{}
	x.further = room.Trim(x.further)
	x.sortByGroup()
	return x
}

// sortByGroup makes byGroup; rows of the same group stay in order.
func (x *Index) sortByGroup() {
	x.byGroup = make([]uint32, len(x.further))
	for at := uint32(0); at < uint32(len(x.further)); at = x.further[at].end {
		list := x.byGroup[at:x.further[at].end]
		if len(list) < many {
			continue
		}
		for i := range list {
			list[i] = at + uint32(i)
		}
		slices.SortStableFunc(list, func(a, b uint32) int {
			return cmp.Compare(x.further[a].key.Group, x.further[b].key.Group)
		})
	}
}

// sortedKeys returns the keys in the order of prefixes. To collect them here
// is quicker than to look each up where it is needed, because the processor
// can wait for many at a time.
func (b *Builder) sortedKeys() []Key {
	b.trie.Sort()
	sorted := make([]Key, 0, len(b.keys))
	for number := range b.trie.Numbers {
		sorted = append(sorted, b.keys[number])
	}
	return sorted
}

// Longest returns the longest prefix that covers addr, 0 if none does; see
// [trie.Trie.Longest].
func (x *Index) Longest(addr netip.Addr) trie.Node {
	if x.trie == nil {
		return 0
	}
	return x.trie.Longest(addr)
}

// First returns the first row of n, and of the prefixes that cover it, that
// matches q. fits is asked about the patterns of rows that match otherwise.
func (x *Index) First(n trie.Node, q *Question, fits func(pattern uint32) bool) (row uint32, ok bool) {
	bit := ^uint32(0)
	if q.Any&AnyGroup == 0 {
		bit = groupBit(q.Group)
	}
	for ; n != 0; n = x.trie.Parent(n) {
		h := x.head(n)
		switch {
		case !h.mayHold(bit):
			return 0, false
		case h.several():
			if row, ok = x.firstOf(h.at(), q, fits); ok {
				return row, true
			}
		default:
			if k := h.key(); k.Compare(q) == Matched && (k.Pattern == 0 || fits(k.Pattern)) {
				return h.at(), true
			}
		}
	}
	return 0, false
}

func (x *Index) head(n trie.Node) *head { return (*head)(x.trie.Value(n)) }

// firstOf is First among the rows of the prefix whose first one is at.
func (x *Index) firstOf(at uint32, q *Question, fits func(uint32) bool) (row uint32, ok bool) {
	end := x.further[at].end
	if end-at < many || q.Any&AnyGroup != 0 {
		for i := at; i < end; i++ {
			if f := &x.further[i]; f.key.matches(q, fits) {
				return f.row, true
			}
		}
		return 0, false
	}
	list := x.byGroup[at:end]
	i, _ := slices.BinarySearchFunc(list, q.Group, func(i uint32, group uint32) int {
		return cmp.Compare(x.further[i].key.Group, group)
	})
	for ; i < len(list) && x.further[list[i]].key.Group == q.Group; i++ {
		if f := &x.further[list[i]]; f.key.matches(q, fits) {
			return f.row, true
		}
	}
	return 0, false
}

func (k *Key) matches(q *Question, fits func(uint32) bool) bool {
	return k.Compare(q) == Matched && (k.Pattern == 0 || fits(k.Pattern))
}

// Each visits the rows of n and of the prefixes that cover it, in order, until
// visit returns false.
func (x *Index) Each(n trie.Node, visit func(row uint32, k Key) bool) {
	for ; n != 0; n = x.trie.Parent(n) {
		h := x.head(n)
		if !h.several() {
			if !visit(h.at(), h.key()) {
				return
			}
			continue
		}
		for i := h.at(); i < x.further[h.at()].end; i++ {
			if f := &x.further[i]; !visit(f.row, f.key) {
				return
			}
		}
	}
}

// Key returns the key of the row at r, which has a prefix.
func (x *Index) Key(r Ref) Key {
	if r&isFurther != 0 {
		return x.further[r&^isFurther].key
	}
	return x.head(trie.Node(r)).key()
}

// Prefix returns the prefix of the row at r, the zero one if it has none.
func (x *Index) Prefix(r Ref) netip.Prefix {
	switch {
	case r == 0:
		return netip.Prefix{}
	case r&isFurther != 0:
		return x.trie.Prefix(x.further[r&^isFurther].node)
	}
	return x.trie.Prefix(trie.Node(r))
}

// All yields the distinct prefixes, a prefix before those it covers.
func (x *Index) All(yield func(trie.Node, netip.Prefix) bool) {
	if x.trie == nil {
		return
	}
	for n := range x.trie.All {
		if !yield(n, x.trie.Prefix(n)) {
			return
		}
	}
}
