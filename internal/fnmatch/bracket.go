package fnmatch

import (
	"strings"

	"github.com/sipacl/sipacl/internal/byteset"
)

// A bracket is a bracket expression as it was read.
//
// The members are asked one by one, and the first that holds the subject's
// byte decides. So a bad member spoils the expression for those bytes only
// that no earlier member holds: [a[:nothing:]] matches a.
type bracket struct {
	match byteset.Set // the bytes it matches
	end   int         // where the pattern goes on, if match is not empty

	seen    byteset.Set // the bytes that some member holds
	literal bool        // nothing closes it: it is a bracket
	split   bool        // where the pattern goes on depends on the byte
}

// expression = "[" [ "!" | "^" ] member { member } "]" .
func (p *parser) expression() (b bracket) {
	m := members{text: p.text, off: p.off + 1}
	not := m.accept("!") || m.accept("^")
	for first := true; ; first = false {
		if m.off == len(m.text) {
			b.literal = b.literal || !b.seen.Has('[')
			return b
		}
		if !first && m.accept("]") {
			break
		}
		in, ok := m.member()
		in = in.Without(&b.seen)
		b.seen.Union(&in)
		end := p.closing[m.off]
		b.literal = b.literal || end == unclosed && in.Has('[')
		if !not && !in.Empty() && end >= 0 {
			b.add(&in, end)
		}
		if !ok {
			return b // what no member holds by now matches nothing
		}
	}
	if not {
		rest := b.seen.Inverse()
		b.add(&rest, m.off)
	}
	return b
}

// add makes the bytes of s match, with the pattern going on at end.
func (b *bracket) add(s *byteset.Set, end int) {
	b.split = b.split || !b.match.Empty() && b.end != end
	b.match.Union(s)
	b.end = end
}

// members reads the members of a bracket expression.
type members struct {
	text string
	off  int
}

// accept takes s if it comes next.
func (m *members) accept(s string) bool {
	ok := strings.HasPrefix(m.text[m.off:], s)
	if ok {
		m.off += len(s)
	}
	return ok
}

// member = "[:" name ":]" | "[=" byte "=]" | point [ "-" point ] .
// ok is false if matching ends with it.
func (m *members) member() (in byteset.Set, ok bool) {
	if n := classLen(m.text[m.off:]); n > 0 {
		class, ok := byteset.Class(m.text[m.off+2 : m.off+n-2])
		m.off += n
		return class, ok
	}
	if n := equivalenceLen(m.text[m.off:]); n > 0 {
		in.Add(m.text[m.off+2])
		m.off += n
		return in, true
	}
	symbol := strings.HasPrefix(m.text[m.off:], "[.")
	lo, ok := m.point()
	if !ok {
		return in, false
	}
	return m.rangeFrom(lo, symbol)
}

// rangeFrom takes the rest of a member that begins with lo.
func (m *members) rangeFrom(lo byte, symbol bool) (in byteset.Set, ok bool) {
	rest := m.text[m.off:]
	switch {
	case !strings.HasPrefix(rest, "-"):
		in.Add(lo)
		return in, true
	case rest == "-":
		in.Add(lo)
		return in, false
	case rest[1] == ']':
		if !symbol { // [[.a.]-] holds no a, for whatever reason
			in.Add(lo)
		}
		return in, true
	}
	m.off++
	hi, ok := m.point()
	if ok {
		in.AddRange(lo, hi)
	}
	return in, ok
}

// point = "\" byte | "[." byte ".]" | byte .
func (m *members) point() (c byte, ok bool) {
	switch {
	case m.accept(`\`):
		if m.off == len(m.text) {
			return 0, false
		}
	case m.accept("[."):
		n := strings.Index(m.text[m.off:], ".]")
		if n != 1 {
			return 0, false
		}
		m.off += n + len(".]")
		return m.text[m.off-3], true
	}
	m.off++
	return m.text[m.off-1], true
}

// What closings says of a bracket expression without an end.
const (
	unclosed = -1 // the pattern ends before
	spoiled  = -2 // something in it matches nothing
)

// closings returns for each offset where the bracket expression ends of
// which a member ends there. What follows the member that matched is passed
// over with less care than it would be read with.
func closings(text string) []int {
	end := make([]int, len(text)+1)
	end[len(text)] = unclosed
	for i := len(text) - 1; i >= 0; i-- {
		n := passLen(text[i:])
		switch {
		case text[i] == ']':
			end[i] = i + 1
		case n == 0:
			end[i] = spoiled
		default:
			end[i] = end[i+n]
		}
	}
	return end
}

// passLen returns the length of what is passed over at the beginning of s;
// 0 if matching ends there.
func passLen(s string) int {
	switch {
	case s == `\`:
		return 0
	case s[0] == '\\':
		return 2
	case strings.HasPrefix(s, "[:"):
		return max(1, classLen(s))
	case strings.HasPrefix(s, "[="):
		return equivalenceLen(s)
	case strings.HasPrefix(s, "[."):
		return symbolLen(s)
	}
	return 1
}

// classLen returns the length of the character class s begins with, or 0.
// A name is made of the letters a to y: z occurs in none.
func classLen(s string) int {
	if !strings.HasPrefix(s, "[:") {
		return 0
	}
	for i := 2; i+1 < len(s); i++ {
		if s[i] == ':' && s[i+1] == ']' {
			return i + 2
		}
		if s[i] < 'a' || s[i] >= 'z' {
			break
		}
	}
	return 0
}

// equivalenceLen returns the length of the equivalence class s begins with, or 0.
func equivalenceLen(s string) int {
	if len(s) >= 5 && s[:2] == "[=" && s[3:5] == "=]" {
		return 5
	}
	return 0
}

// symbolLen returns the length of the collating symbol s begins with, or 0.
func symbolLen(s string) int {
	if n := strings.Index(s[2:], ".]"); n >= 0 {
		return n + 4
	}
	return 0
}
