package ere

import (
	"fmt"
	"regexp"
	"strings"
)

// A node is a part of an expression, translated.
type node struct {
	text   string
	size   int // characters and groups, each as often as it is repeated
	repeat int // the product of nested repeats, where it is highest
	depth  int // groups and repeats around one another
}

type parser struct {
	Options
	text string
	off  int
	open int // groups that are open
}

func (p *parser) end() bool { return p.off == len(p.text) }

// operator reports whether the operator c comes next. Basic expressions write
// all but the star with a backslash.
func (p *parser) operator(c byte) bool {
	rest := p.text[p.off:]
	if p.Basic && c != '*' {
		return len(rest) > 1 && rest[0] == '\\' && rest[1] == c
	}
	return len(rest) > 0 && rest[0] == c
}

// accept takes the operator c if it comes next.
func (p *parser) accept(c byte) bool {
	if !p.operator(c) {
		return false
	}
	p.off += p.operatorLen(c)
	return true
}

func (p *parser) operatorLen(c byte) int {
	if p.Basic && c != '*' {
		return 2
	}
	return 1
}

// errorf makes an error at offset off.
func (p *parser) errorf(off int, format string, args ...any) *Error {
	return &Error{Col: off + 1, Msg: fmt.Sprintf(format, args...)}
}

// expression = branch { "|" branch } .
func (p *parser) expression() (node, *Error) {
	all, err := p.branch()
	for err == nil && p.accept('|') {
		var n node
		n, err = p.branch()
		all = join(all, n)
	}
	return all, err
}

// branch = { anchor | atom { repeat } } .
func (p *parser) branch() (all node, err *Error) {
	text := make([]byte, 0, 128)
	for start := p.off; !p.branchEnds(); {
		var n node
		if n.text = p.anchor(p.off == start); n.text == "" {
			n, err = p.repeated()
		}
		text = append(text, n.text...)
		all = node{"", all.size + n.size, max(all.repeat, n.repeat), max(all.depth, n.depth)}
		if err == nil && all.size > maxSize {
			err = p.errorf(p.off, "expression grows to more than %d characters here", maxSize)
		}
		if err != nil {
			return all, err
		}
	}
	all.text = string(text)
	return all, nil
}

// branchEnds reports whether nothing of a branch is left. A ) that closes
// nothing is an ordinary character in an extended expression.
func (p *parser) branchEnds() bool {
	return p.end() || p.operator('|') || p.operator(')') && (p.open > 0 || p.Basic)
}

// anchor takes an anchor, which takes no repeat, and returns its translation;
// "" if none comes next. A basic expression knows ^ only at the head of a branch.
func (p *parser) anchor(head bool) string {
	text, n := p.peekAnchor(head)
	p.off += n
	return text
}

// anchor = "^" | "$" | "\b" | "\B" | "\`" | "\'" .
func (p *parser) peekAnchor(head bool) (text string, n int) {
	rest := p.text[p.off:]
	switch {
	case rest[0] == '^' && (head || !p.Basic):
		return "^", 1
	case rest[0] == '$' && (!p.Basic || p.dollarEnds()):
		if p.Newline {
			return "$", 1
		}
		return `\z`, 1
	case strings.HasPrefix(rest, `\b`), strings.HasPrefix(rest, `\B`):
		return rest[:2], 2
	case strings.HasPrefix(rest, "\\`"):
		return `\A`, 2
	case strings.HasPrefix(rest, `\'`):
		return `\z`, 2
	}
	return "", 0
}

// dollarEnds reports whether the $ that comes next ends a basic branch.
func (p *parser) dollarEnds() bool {
	next := parser{Options: p.Options, text: p.text, off: p.off + 1}
	return next.branchEnds()
}

// repeated = atom { repeat } .
func (p *parser) repeated() (node, *Error) {
	n, err := p.atom()
	for again := false; err == nil; again = true {
		start := p.off
		q, times, rerr := p.repeat(again)
		if rerr != nil || q == "" {
			return n, rerr
		}
		n = node{"(?:" + n.text + ")" + q, n.size * times, n.repeat * times, n.depth + 1}
		err = p.limit(start, n)
	}
	return n, err
}

// limit refuses what grew too big with the repeat or group that begins at off.
func (p *parser) limit(off int, n node) *Error {
	switch {
	case n.repeat > maxRepeat:
		return p.errorf(off, "more than %d repeats, nested ones multiplied", maxRepeat)
	case n.size > maxSize:
		return p.errorf(off, "expression grows to more than %d characters here", maxSize)
	case n.depth > maxDepth:
		return p.errorf(off, "groups and repeats nested more than %d deep", maxDepth)
	}
	return nil
}

// repeat = "*" | "+" | "?" | interval .
// It returns the translation, "" if there is none, and how often the atom
// is written out for it. again says that another repeat stands before.
func (p *parser) repeat(again bool) (q string, times int, err *Error) {
	if p.Basic && again && (p.operator('*') || p.operator('{')) {
		return "", 0, p.errorf(p.off, "found a repeat of a repeat, want \\( and \\) around the first")
	}
	for _, c := range []byte("*+?") {
		if p.accept(c) {
			return string(c), 1, nil
		}
	}
	if p.operator('{') {
		return p.interval()
	}
	return "", 0, nil
}

// interval = "{" [ number ] [ "," [ number ] ] "}" , with one number or a comma.
func (p *parser) interval() (q string, times int, err *Error) {
	start := p.off
	p.accept('{')
	lo, hasLo := p.number()
	hi, hasHi, comma := lo, hasLo, p.comma()
	if comma {
		hi, hasHi = p.number()
	}
	if !p.accept('}') || !hasLo && !comma {
		return "", 0, p.errorf(start, "found no repeat as {2}, {2,} or {2,3} after {").hint(`write \{ for the character`, !p.Basic)
	}
	if hasHi && hi < lo {
		return "", 0, p.errorf(start, "repeat from %d to %d", lo, hi)
	}
	if m := max(lo, hi); m > maxRepeat {
		return "", 0, p.errorf(start, "more than %d repeats", maxRepeat)
	}
	if !hasHi {
		return fmt.Sprintf("{%d,}", lo), max(1, lo), nil
	}
	return fmt.Sprintf("{%d,%d}", lo, hi), max(1, hi), nil
}

func (p *parser) comma() bool {
	ok := strings.HasPrefix(p.text[p.off:], ",")
	if ok {
		p.off++
	}
	return ok
}

// number = digit { digit } . Beyond maxRepeat it stays just beyond.
func (p *parser) number() (n int, ok bool) {
	for ; !p.end() && p.text[p.off] >= '0' && p.text[p.off] <= '9'; p.off++ {
		n = min(10*n+int(p.text[p.off]-'0'), maxRepeat+1)
		ok = true
	}
	return n, ok
}

// atom = group | bracket | "." | escape | byte .
func (p *parser) atom() (node, *Error) {
	if err := p.repeatsNothing(); err != nil {
		return node{}, err
	}
	if p.accept('(') {
		return p.group()
	}
	c := p.text[p.off]
	switch c {
	case '[':
		return p.bracket()
	case '\\':
		return p.escape()
	}
	p.off++
	if c == '.' {
		return leaf(p.dot()), nil
	}
	return leaf(p.literal(c)), nil
}

func (p *parser) dot() string {
	if p.Newline {
		return `[^\n]`
	}
	return "."
}

// repeatsNothing refuses a repeat without an atom before it. In a basic
// expression all but the interval are ordinary characters then.
func (p *parser) repeatsNothing() *Error {
	for _, c := range []byte("{*+?") {
		if p.operator(c) && (!p.Basic || c == '{') {
			return p.errorf(p.off, "found %c with nothing before it to repeat", c).
				hint(fmt.Sprintf(`write \%c for the character`, c), !p.Basic)
		}
	}
	return nil
}

// group = "(" expression ")" .
func (p *parser) group() (node, *Error) {
	start := p.off - p.operatorLen('(')
	p.open++
	n, err := p.expression()
	p.open--
	if err != nil {
		return n, err
	}
	if !p.accept(')') {
		return n, p.errorf(start, "found (, want a ) after it")
	}
	n = node{"(?:" + n.text + ")", n.size + 1, max(1, n.repeat), n.depth + 1}
	return n, p.limit(start, n)
}

// escape = "\" byte .
func (p *parser) escape() (node, *Error) {
	start := p.off
	if p.off+1 == len(p.text) {
		return node{}, p.errorf(start, `found \ at the end`).hint(`write \\ for the character`, true)
	}
	c := p.text[p.off+1]
	p.off += 2
	switch {
	case c == 'w' || c == 'W':
		return leaf(`\` + string(rune(c))), nil
	case c == 's':
		return leaf(`[ \t\n\v\f\r]`), nil
	case c == 'S':
		return leaf(`[^ \t\n\v\f\r]`), nil
	case c == '<' || c == '>':
		return node{}, p.errorf(start, `RE2 has no \%c`, c).hint(`write \b where it does as well`, true)
	case c >= '1' && c <= '9':
		return node{}, p.errorf(start, `RE2 has no back-reference as \%c`, c)
	case c >= 'a' && c <= 'z':
		return node{}, p.errorf(start, `\%c has no meaning of its own`, c).hint(instead(c), true)
	}
	return leaf(p.literal(c)), nil
}

// instead says what to write for a backslash and the letter c, which other
// dialects know.
func instead(c byte) string {
	switch c {
	case 'd':
		return "write [0-9]"
	case 'h':
		return "write [[:blank:]]"
	case 'l':
		return "write [[:lower:]]"
	case 'u':
		return "write [[:upper:]]"
	case 'z':
		return `write \' or $`
	}
	return fmt.Sprintf("write %c for the letter", c)
}

// literal returns the translation of c standing for itself. RE2's own case
// folding would reach beyond ASCII.
func (p *parser) literal(c byte) string {
	if p.CaseSensitive {
		return literals[c]
	}
	return foldedLiterals[c]
}

// literals are the translations of each byte, foldedLiterals those that ignore
// case.
var literals, foldedLiterals = func() (exact, folded [256]string) {
	for i := range exact {
		c := byte(i)
		exact[c] = regexp.QuoteMeta(string(rune(c)))
		if c < ' ' || c >= 0x7f {
			exact[c] = fmt.Sprintf(`\x{%02x}`, c)
		}
		folded[c] = exact[c]
		if l := c | 0x20; l >= 'a' && l <= 'z' {
			folded[c] = "[" + string(rune(l-0x20)) + string(rune(l)) + "]"
		}
	}
	return exact, folded
}()

// leaf is a node of one character.
func leaf(text string) node { return node{text: text, size: 1, repeat: 1} }

// join returns a or b.
func join(a, b node) node {
	return node{a.text + "|" + b.text, a.size + b.size, max(a.repeat, b.repeat), max(a.depth, b.depth)}
}

// hint adds a hint if it is of use.
func (e *Error) hint(s string, use bool) *Error {
	if use {
		e.Hint = s
	}
	return e
}
