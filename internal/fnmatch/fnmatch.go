// Package fnmatch reads shell wildcard patterns as fnmatch(3) does with
// FNM_PERIOD in the C locale, and writes them in the syntax of gobwas/glob.
//
// A pattern is bytes. In the translation each byte is the rune of the same
// number (Latin-1), and a subject must be brought into the same form.
package fnmatch

import (
	"fmt"
	"strings"

	"github.com/sipacl/sipacl/internal/byteset"
)

// A Translation is one pattern in the syntax of gobwas/glob.
type Translation struct {
	// Glob matches what the pattern matches, but for a leading period.
	Glob string

	// Never says that the pattern matches nothing; Glob is empty then.
	Never bool

	// Period says that the pattern begins with a wildcard, which does not
	// match a period at the beginning of the subject.
	Period bool

	// Bytes says that Glob counts single characters or holds one beyond
	// ASCII, so that a subject with such bytes must come as Latin-1 runes.
	// Without it the subject's own bytes do.
	Bytes bool
}

// An Error is a pattern without a translation.
type Error struct {
	Col int // in bytes, from 1
	Msg string
}

func (e *Error) Error() string { return fmt.Sprintf("col %d: %s", e.Col, e.Msg) }

// Translate returns the translation of pattern. Every pattern has one, but
// for two kinds that no administrator writes: one that holds a NUL, and one
// with a class at the end of a range, as in [ax-[:digit:]], whose extent
// depends on the subject.
func Translate(pattern string) (Translation, error) {
	if i := strings.IndexByte(pattern, 0); i >= 0 {
		return Translation{}, &Error{Col: i + 1, Msg: "a pattern cannot hold a NUL"}
	}
	p := parser{text: pattern}
	if strings.IndexByte(pattern, '[') >= 0 {
		p.closing = closings(pattern)
	}
	p.pattern()
	if p.err != nil {
		return Translation{}, p.err
	}
	if p.out.Never {
		return Translation{Never: true}, nil
	}
	p.out.Glob = p.finish()
	return p.out, nil
}

type parser struct {
	text    string
	off     int
	closing []int // of closings

	glob  strings.Builder
	star  bool     // a star was read and is not written yet
	first *leading // where the pattern begins with *?[
	out   Translation
	err   error
}

// pattern = { "*" | "?" | bracket | "\" byte | byte } .
func (p *parser) pattern() {
	for p.off < len(p.text) && !p.out.Never && p.err == nil {
		switch c := p.text[p.off]; c {
		case '*':
			p.wildcard()
			p.star = true
		case '?':
			// *? is ?*, and what is of fixed length goes first.
			p.wildcard()
			p.out.Bytes = true
			p.glob.WriteByte('?')
		case '[':
			p.bracket()
		case '\\':
			p.escape()
		default:
			p.off++
			p.literal(c)
		}
	}
	p.flush()
}

// wildcard takes a wildcard of one byte.
func (p *parser) wildcard() {
	p.out.Period = p.out.Period || p.off == 0
	p.off++
}

// flush writes a star that was read.
func (p *parser) flush() {
	if p.star {
		p.glob.WriteByte('*')
		p.star = false
	}
}

// escape takes a backslash and what it quotes. At the end of a pattern it
// quotes nothing, and such a pattern matches nothing.
func (p *parser) escape() {
	if p.off+1 == len(p.text) {
		p.out.Never = true
		return
	}
	c := p.text[p.off+1]
	p.off += 2
	p.literal(c)
}

// literal writes the byte c to stand for itself.
func (p *parser) literal(c byte) {
	p.flush()
	p.out.Bytes = p.out.Bytes || c >= 0x80
	writeByte(&p.glob, c)
}

// bracket takes a bracket expression, or a bracket that opens none.
func (p *parser) bracket() {
	b := p.expression()
	if b.split || b.literal && !b.match.Empty() {
		p.err = &Error{Col: p.off + 1, Msg: "a class cannot be the end of a range"}
		return
	}
	if b.literal {
		p.off++
		p.literal('[')
		return
	}
	p.out.Period = p.out.Period || p.off == 0
	if run := p.text[:p.off]; strings.HasPrefix(run, "*") && strings.Contains(run, "?") && strings.Trim(run, "*?") == "" && b.match.Has('.') {
		p.first = &leading{singles: p.glob.String(), match: b.match}
	}
	p.off = b.end
	p.set(&b.match)
	if p.first != nil && p.first.rest == 0 {
		p.first.rest = p.glob.Len()
	}
}

// leading is what stands at the beginning of a pattern as *?[.a]. There
// fnmatch takes the first byte that the brackets are asked about for a leading
// one, and does not match a period: x. does not match, but xx. does.
type leading struct {
	singles string      // the ? before the brackets
	match   byteset.Set // what the brackets match
	rest    int         // where in the translation the rest begins
}

// finish gives the translation. A pattern that begins with *?[.a] becomes two:
// one for the first byte, and one for those that come later.
func (p *parser) finish() string {
	all := p.glob.String()
	if p.first == nil {
		return all
	}
	later := parser{star: true}
	later.glob.WriteString(p.first.singles + "?")
	later.set(&p.first.match)
	rest := all[p.first.rest:]
	p.first.match.Remove('.')
	if p.first.match.Empty() {
		return later.glob.String() + rest
	}
	var now parser
	now.glob.WriteString(p.first.singles)
	now.set(&p.first.match)
	return "{" + now.glob.String() + rest + "," + later.glob.String() + rest + "}"
}

// set writes one byte out of s.
func (p *parser) set(s *byteset.Set) {
	switch n := s.Count(); n {
	case 0:
		p.out.Never = true
	case 1:
		p.literal(s.Min())
	case 256:
		p.flush()
		p.out.Bytes = true
		p.glob.WriteByte('?')
	default:
		p.flush()
		p.out.Bytes = true
		writeSet(&p.glob, s)
	}
}

// writeSet writes s as a range or a list, or as what is not in one.
// gobwas/glob knows no list of ranges.
func writeSet(w *strings.Builder, s *byteset.Set) {
	not := s.Inverse()
	switch {
	case s.Contiguous() && s.Min() != '!': // [!-/] would be taken for a negation
		writeRange(w, "[", s)
	case not.Contiguous():
		writeRange(w, "[!", &not)
	case s.Count() <= 128:
		writeList(w, "[", s)
	default:
		writeList(w, "[!", &not)
	}
}

func writeRange(w *strings.Builder, open string, s *byteset.Set) {
	w.WriteString(open)
	w.WriteRune(rune(s.Min())) // as it is: a range knows no escape
	w.WriteByte('-')
	w.WriteRune(rune(s.Max()))
	w.WriteByte(']')
}

func writeList(w *strings.Builder, open string, s *byteset.Set) {
	w.WriteString(open)
	if s.Has('-') {
		w.WriteByte('-') // first and bare: after any other it makes a range, and so does \-
	}
	for c := range 256 {
		if b := byte(c); s.Has(b) && b != '-' {
			writeByte(w, b)
		}
	}
	w.WriteByte(']')
}

// writeByte writes c as the rune of its number, quoted where it could mean
// something else.
func writeByte(w *strings.Builder, c byte) {
	if c < 0x80 && !byteset.Alnum(c) {
		w.WriteByte('\\')
	}
	w.WriteRune(rune(c))
}
