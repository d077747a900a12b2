// Package byteset is sets of bytes, and the character classes of the C locale.
package byteset

import "math/bits"

// A Set is a set of bytes. The zero Set is empty.
type Set [4]uint64

func (s *Set) Has(c byte) bool { return s[c>>6]&(1<<(c&63)) != 0 }
func (s *Set) Add(c byte)      { s[c>>6] |= 1 << (c & 63) }
func (s *Set) Remove(c byte)   { s[c>>6] &^= 1 << (c & 63) }
func (s *Set) Empty() bool     { return *s == Set{} }

// AddRange adds the bytes from lo to hi, none if lo is above hi.
func (s *Set) AddRange(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		s.Add(byte(c))
	}
}

// Union adds the bytes of t.
func (s *Set) Union(t *Set) {
	for i := range s {
		s[i] |= t[i]
	}
}

// Without returns the bytes of s that are not in t.
func (s *Set) Without(t *Set) (rest Set) {
	for i := range s {
		rest[i] = s[i] &^ t[i]
	}
	return rest
}

// Inverse returns the bytes that are not in s.
func (s *Set) Inverse() (rest Set) {
	for i := range s {
		rest[i] = ^s[i]
	}
	return rest
}

// Count returns how many bytes s holds.
func (s *Set) Count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// Min returns the lowest byte of s, which must not be empty.
func (s *Set) Min() byte {
	i := 0
	for s[i] == 0 {
		i++
	}
	return byte(i<<6 + bits.TrailingZeros64(s[i]))
}

// Max returns the highest byte of s, which must not be empty.
func (s *Set) Max() byte {
	i := len(s) - 1
	for s[i] == 0 {
		i--
	}
	return byte(i<<6 + bits.Len64(s[i]) - 1)
}

// Contiguous reports whether s is one range.
func (s *Set) Contiguous() bool {
	return !s.Empty() && int(s.Max())-int(s.Min())+1 == s.Count()
}

// Ranges calls f with each range of s, from low to high.
func (s *Set) Ranges(f func(lo, hi byte)) {
	for c := 0; c < 256; c++ {
		if !s.Has(byte(c)) {
			continue
		}
		lo := c
		for c < 255 && s.Has(byte(c+1)) {
			c++
		}
		f(byte(lo), byte(c))
	}
}

// Class returns the character class of that name, as alpha or digit.
func Class(name string) (Set, bool) {
	in, ok := classes[name]
	return in, ok
}

var classes = map[string]Set{
	"alpha":  where(alpha),
	"digit":  where(digit),
	"alnum":  where(Alnum),
	"upper":  where(func(c byte) bool { return c >= 'A' && c <= 'Z' }),
	"lower":  where(func(c byte) bool { return c >= 'a' && c <= 'z' }),
	"space":  where(func(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }),
	"blank":  where(func(c byte) bool { return c == ' ' || c == '\t' }),
	"punct":  where(func(c byte) bool { return graph(c) && !Alnum(c) }),
	"xdigit": where(func(c byte) bool { return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }),
	"cntrl":  where(func(c byte) bool { return c < ' ' || c == 0x7f }),
	"graph":  where(graph),
	"print":  where(func(c byte) bool { return c == ' ' || graph(c) }),
}

// Alnum reports whether c is an ASCII letter or digit.
func Alnum(c byte) bool { return alpha(c) || digit(c) }

func alpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
func digit(c byte) bool { return c >= '0' && c <= '9' }
func graph(c byte) bool { return c > ' ' && c < 0x7f }

func where(in func(byte) bool) (s Set) {
	for c := range 256 {
		if in(byte(c)) {
			s.Add(byte(c))
		}
	}
	return s
}
