package ere

import (
	"fmt"
	"strings"

	"github.com/sipacl/sipacl/internal/byteset"
)

// bracket = "[" [ "^" ] member { member } "]" .
func (p *parser) bracket() (node, *Error) {
	start := p.off
	p.off++
	not := p.bracketHas("^")
	if not {
		p.off++
	}
	var in byteset.Set
	for first := true; first || !p.bracketHas("]"); first = false {
		if p.end() {
			return node{}, p.errorf(start, "found [, want a ] after it")
		}
		if err := p.member(&in, first); err != nil {
			return node{}, err
		}
	}
	p.off++
	p.fold(&in)
	if not {
		in = in.Inverse()
		if p.Newline {
			in.Remove('\n')
		}
	}
	return leaf(class(&in)), nil
}

func (p *parser) bracketHas(s string) bool { return strings.HasPrefix(p.text[p.off:], s) }

// member = "[:" name ":]" | point | point "-" point .
// A range that follows a range at once is none.
func (p *parser) member(in *byteset.Set, first bool) *Error {
	start := p.off
	if !first && p.rangeFollows() {
		return p.errorf(start, "found - with no character before it").hint("write it first or last in the brackets", true)
	}
	if p.bracketHas("[:") {
		if err := p.class(in); err != nil {
			return err
		}
		return p.noRange(start, "class")
	}
	equivalence := p.bracketHas("[=")
	lo, err := p.point()
	if err != nil {
		return err
	}
	in.Add(lo)
	if equivalence {
		return p.noRange(start, "equivalence class")
	}
	if !p.rangeFollows() {
		return nil
	}
	p.off++
	return p.rangeTo(in, start, lo)
}

// rangeTo takes the end of the range that begins with lo at start.
func (p *parser) rangeTo(in *byteset.Set, start int, lo byte) *Error {
	if p.bracketHas("[:") || p.bracketHas("[=") {
		return p.errorf(p.off, "found a class at the end of a range, want a character")
	}
	hi, err := p.point()
	if err != nil {
		return err
	}
	if hi < lo {
		return p.errorf(start, "found a range from high to low: %s", p.text[start:p.off]).
			hint("ranges are compared in upper case", !p.CaseSensitive)
	}
	in.AddRange(lo, hi)
	return nil
}

// rangeFollows reports whether a - comes next that makes a range: not the
// last in the brackets.
func (p *parser) rangeFollows() bool {
	rest := p.text[p.off:]
	return len(rest) > 1 && rest[0] == '-' && rest[1] != ']'
}

// noRange refuses a range that begins with the class that begins at start.
func (p *parser) noRange(start int, what string) *Error {
	if p.rangeFollows() {
		return p.errorf(start, "found a range that begins with a%s %s", map[bool]string{true: "n"}[what[0] == 'e'], what)
	}
	return nil
}

// class takes a character class and adds it to in.
func (p *parser) class(in *byteset.Set) *Error {
	start := p.off
	name, err := p.name(":]")
	if err != nil {
		return err
	}
	if !p.CaseSensitive && (name == "upper" || name == "lower") {
		name = "alpha"
	}
	s, ok := byteset.Class(name)
	if !ok {
		return p.errorf(start, "there is no class %q", name)
	}
	in.Union(&s)
	return nil
}

// point = "[." byte ".]" | "[=" byte "=]" | byte .
// Where case is ignored, the point is in upper case.
func (p *parser) point() (byte, *Error) {
	start := p.off
	if !p.bracketHas("[.") && !p.bracketHas("[=") {
		p.off++
		return p.upper(p.text[start]), nil
	}
	name, err := p.name(p.text[start+1:start+2] + "]")
	if err != nil {
		return 0, err
	}
	if len(name) != 1 {
		return 0, p.errorf(start, "there is no collating element %q", name).hint("write the character", true)
	}
	return p.upper(name[0]), nil
}

// name takes a name with its brackets: two bytes, the name, and then close.
func (p *parser) name(close string) (string, *Error) {
	start := p.off
	n := strings.Index(p.text[start+2:], close)
	if n < 0 {
		return "", p.errorf(start, "found %s, want %s after it", p.text[start:start+2], close)
	}
	p.off += 2 + n + len(close)
	return p.text[start+2 : start+2+n], nil
}

func (p *parser) upper(c byte) byte {
	if c >= 'a' && c <= 'z' && !p.CaseSensitive {
		return c - 'a' + 'A'
	}
	return c
}

// fold brings in the lower case of the letters of s, whose upper case was
// collected, where case is ignored.
func (p *parser) fold(s *byteset.Set) {
	if p.CaseSensitive {
		return
	}
	for c := byte('a'); c <= 'z'; c++ {
		s.Remove(c)
		if s.Has(p.upper(c)) {
			s.Add(c)
		}
	}
}

// class returns s in RE2's syntax.
func class(s *byteset.Set) string {
	if s.Empty() {
		return `[^\x00-\x{10FFFF}]`
	}
	var b strings.Builder
	b.WriteByte('[')
	s.Ranges(func(lo, hi byte) { fmt.Fprintf(&b, `\x{%02x}-\x{%02x}`, lo, hi) })
	b.WriteByte(']')
	return b.String()
}
