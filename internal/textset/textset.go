// Package textset keeps texts, each once, in few pieces of memory: numbers
// stand for them, and the garbage collector sees hardly anything, however many
// there are.
package textset

import "github.com/sipacl/sipacl/internal/room"

// Set is an immutable list of distinct texts. Text 0 is the empty one. It is
// safe for concurrent use.
type Set struct {
	chunks []string
	places []place // of text 1 and so on
}

// place is where a text is: chunks[chunk][start:end].
type place struct{ chunk, start, end uint32 }

// chunkSize is about how much memory somebody holds who keeps a text for
// longer than its set.
const chunkSize = 16 << 10

// At returns text i.
func (s *Set) At(i uint32) string {
	if i == 0 {
		return ""
	}
	p := s.places[i-1]
	return s.chunks[p.chunk][p.start:p.end]
}

// Builder collects texts. The zero Builder is empty.
type Builder struct {
	set     Set
	chunk   []byte // the last one
	numbers map[string]uint32
	last    string
	number  uint32 // of last
}

// Number returns the number that s has or is given.
func (b *Builder) Number(s string) uint32 {
	switch s {
	case "":
		return 0
	case b.last: // most rows of a table come from one place
		return b.number
	}
	n, ok := b.numbers[s]
	if !ok {
		if b.numbers == nil {
			b.numbers = map[string]uint32{}
		}
		n = b.add(s)
		b.numbers[s] = n
	}
	b.last, b.number = s, n
	return n
}

func (b *Builder) add(s string) uint32 {
	if len(b.chunk)+len(s) > chunkSize {
		b.flush()
	}
	start := len(b.chunk)
	b.chunk = append(b.chunk, s...)
	b.set.places = append(b.set.places, place{uint32(len(b.set.chunks)), uint32(start), uint32(len(b.chunk))})
	return uint32(len(b.set.places))
}

func (b *Builder) flush() {
	if len(b.chunk) > 0 {
		b.set.chunks = append(b.set.chunks, string(b.chunk))
		b.chunk = b.chunk[:0]
	}
}

// Set returns the texts and empties the builder.
func (b *Builder) Set() Set {
	b.flush()
	s := Set{b.set.chunks, room.Trim(b.set.places)}
	*b = Builder{}
	return s
}
