package aclconf

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sipacl/sipacl/internal/lines"
)

var (
	errNested   = fmt.Errorf("more than %d block comments in each other", maxComments)
	errStray    = errors.New(`found "--;" outside a block comment`)
	errOpen     = errors.New(`the block comment that begins here never ends, want "--;"`)
	errControl  = errors.New("found a control byte")
	errBracket  = errors.New(`section header without "]"`)
	errParen    = errors.New(`section header without ")" at its end`)
	errAfter    = errors.New(`want nothing or "(" directly after "]"`)
	errNoName   = errors.New("section without a name")
	errLongName = fmt.Errorf("section name of more than %d bytes", maxName)
	errToken    = errors.New("empty name in the list of templates")
	errFilter   = errors.New(`"+" with a filter is not supported`)
	errOutside  = errors.New("option before any section")
	errEquals   = errors.New(`want "=" after the option's name`)
	errOption   = errors.New(`option without a name before "="`)
	errMany     = fmt.Errorf("more than %d options, those of templates counted in each heir", maxOptions)
)

type parser struct {
	src      Source
	dir      string // of relative includes
	sections []*Section
	byName   map[string][]*Section // by name in lower case, in order
	errs     []*Error

	stack   []string // files being read, each included by the one before
	files   int      // included so far
	bytes   int      // read so far
	full    bool     // files or bytes have passed their limit
	options int
}

func (p *parser) fail(at Pos, err error) { p.errs = append(p.errs, &Error{at, err}) }

// text parses what name holds. in is the section that the including file was
// in, if any: options before the first header belong to it.
func (p *parser) text(name, text string, in *Section) {
	var c comments
	for n, line := range lines.Of(text) {
		at := Pos{name, n, 1}
		if len(line) > lines.Max {
			p.fail(at, lines.ErrLong)
			continue
		}
		live, err := c.strip(line, at)
		if err != nil {
			p.errs = append(p.errs, err)
		}
		in = p.line(trim(live), in)
	}
	if c.depth > 0 {
		p.fail(c.opened, errOpen)
	}
}

// line = [ section | directive | option ] .
// It returns the section that the next line is in.
func (p *parser) line(t Text, in *Section) *Section {
	s := t.String()
	if i := strings.IndexFunc(s, control); i >= 0 {
		p.fail(t.At(i), errControl)
		return in
	}
	switch {
	case s == "":
		return in
	case s[0] == '[':
		return p.section(t, s)
	case s[0] == '#':
		p.directive(t, s, in)
	default:
		p.option(t, s, in)
	}
	return in
}

// section = "[" name "]" [ "(" token { "," token } ")" ] .
// A section with mistakes is kept, so that its options are looked at too.
func (p *parser) section(t Text, s string) *Section {
	name, rest, ok := strings.Cut(s[1:], "]")
	sec := &Section{Name: blanks(name), Pos: t.At(1 + leading(name))}
	if !ok {
		p.fail(t.At(0), errBracket)
		return p.open(sec)
	}
	switch {
	case sec.Name == "":
		p.fail(t.At(0), errNoName)
	case len(sec.Name) > maxName:
		p.fail(sec.Pos, errLongName)
	}
	paren := len(s) - len(rest)
	switch {
	case rest == "":
	case rest[0] != '(':
		p.fail(t.At(paren), errAfter)
	case strings.IndexByte(rest, ')') != len(rest)-1:
		p.fail(t.At(paren), errParen)
	default:
		return p.tokens(t.slice(paren+1, len(s)-1), sec)
	}
	return p.open(sec)
}

// tokens = token { "," token } .   token = "!" | "+" | name .
// It returns the section that they make of sec: sec itself, or an earlier one
// that sec adds to.
func (p *parser) tokens(t Text, sec *Section) *Section {
	var add *Section
	template, off := false, 0
	for token := range strings.SplitSeq(t.String(), ",") {
		at := t.At(off + leading(token))
		off += len(token) + 1
		switch token = blanks(token); {
		case token == "":
			p.fail(at, errToken)
		case token == "!":
			template = true
		case token == "+":
			if add = p.find(sec.Name, false); add == nil {
				p.fail(at, fmt.Errorf("no section %q before this to add to", sec.Name))
			}
		case token[0] == '+':
			p.fail(at, errFilter)
		default:
			p.inherit(sec, token, at)
		}
	}
	if add == nil {
		sec.Template = template
		return p.open(sec)
	}
	add.Template = add.Template || template
	add.Options = append(add.Options, sec.Options...)
	return add
}

// open puts sec among the sections.
func (p *parser) open(sec *Section) *Section {
	p.sections = append(p.sections, sec)
	p.byName[lower(sec.Name)] = append(p.byName[lower(sec.Name)], sec)
	return sec
}

// find returns the first section of that name, in any letter case.
func (p *parser) find(name string, templates bool) *Section {
	for _, s := range p.byName[lower(name)] {
		if templates || !s.Template {
			return s
		}
	}
	return nil
}

// inherit gives sec the options that its base has by now.
func (p *parser) inherit(sec *Section, name string, at Pos) {
	base := p.find(name, true)
	if base == nil {
		p.fail(at, fmt.Errorf("no section %q before this to inherit from", name))
		return
	}
	if !p.count(len(base.Options), at) {
		return
	}
	for _, o := range base.Options {
		o.Value = slices.Clip(o.Value) // so that "+=" here does not change the base
		sec.Options = append(sec.Options, o)
	}
}

// count adds n options and tells whether the limit holds.
func (p *parser) count(n int, at Pos) bool {
	if p.options > maxOptions {
		return false // has been reported
	}
	if p.options += n; p.options > maxOptions {
		p.fail(at, errMany)
		return false
	}
	return true
}

// option = [ "\" ] name [ "+" ] "=" [ ">" ] value .
func (p *parser) option(t Text, s string, in *Section) {
	if in == nil {
		p.fail(t.At(0), errOutside)
		return
	}
	start := 0
	if s[0] == '\\' { // lets a name begin with [ or #
		start = 1
	}
	equals := strings.IndexByte(s, '=')
	if equals < 0 {
		p.fail(t.At(0), errEquals)
		return
	}
	value := equals + 1
	if value < len(s) && s[value] == '>' {
		value++
	}
	name, more := strings.CutSuffix(s[start:max(start, equals)], "+")
	if blanks(name) == "" {
		p.fail(t.At(0), errOption)
		return
	}
	o := Option{blanks(name), t.At(start + leading(name)), t.slice(value, len(s))}
	if more && in.extend(o) {
		return
	}
	if p.count(1, o.Pos) {
		in.Options = append(in.Options, o)
	}
}

// extend adds the value of o to the last option of its name, where that
// stands. It tells whether there is one.
func (s *Section) extend(o Option) bool {
	for i := len(s.Options) - 1; i >= 0; i-- {
		if last := &s.Options[i]; last.Name == o.Name {
			last.Value = append(last.Value, o.Value...)
			return true
		}
	}
	return false
}

// trim takes blanks and control bytes but NUL from both ends.
func trim(t Text) Text {
	s := t.String()
	lo := len(s) - len(strings.TrimLeftFunc(s, space))
	hi := lo + len(strings.TrimFunc(s, space))
	if lo == 0 && hi == len(s) {
		return t
	}
	return t.slice(lo, hi)
}

func blanks(s string) string { return strings.Trim(s, " \t") }

func leading(s string) int { return len(s) - len(strings.TrimLeft(s, " \t")) }

func space(r rune) bool { return 0 < r && r <= ' ' }

func control(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// lower folds the ASCII letters, as names are compared in templates.
func lower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
