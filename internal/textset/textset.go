// Package textset keeps texts, each once, in one piece of memory: numbers
// stand for them, and the garbage collector sees one object, however many
// there are.
package textset

// Set is an immutable list of distinct texts. Text 0 is the empty one. It is
// safe for concurrent use.
type Set struct {
	all  string
	ends []int // text i is all[ends[i-1]:ends[i]]
}

// At returns text i. It is a part of the set's memory, which stays for as long
// as the text does.
func (s *Set) At(i uint32) string {
	if i == 0 {
		return ""
	}
	return s.all[s.ends[i-1]:s.ends[i]]
}

// Builder collects texts. The zero Builder is empty.
type Builder struct {
	all     []byte
	ends    []int
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
			b.numbers, b.ends = map[string]uint32{}, []int{0}
		}
		n = uint32(len(b.ends))
		b.all = append(b.all, s...)
		b.ends = append(b.ends, len(b.all))
		b.numbers[s] = n
	}
	b.last, b.number = s, n
	return n
}

// Set returns the texts and empties the builder.
func (b *Builder) Set() Set {
	s := Set{string(b.all), append([]int(nil), b.ends...)}
	*b = Builder{}
	return s
}
