// Package rulefile reads the rule files of the permissions module: lines of
//
//	from_list [EXCEPT from_list] : uri_list [EXCEPT uri_list]
//
// It knows their grammar and keeps every position. What the expressions mean
// it does not know: it hands them on as text.
package rulefile

import (
	"fmt"
	"strings"

	"github.com/sipacl/sipacl/internal/lines"
)

// MaxExpression is the greatest length of an expression in bytes, without its
// quotes.
const MaxExpression = 4 << 10

// Rule is one line of a file.
type Rule struct {
	Line, Col   int    // where it begins, from 1; Col in bytes
	Text        string // as written, without blanks around it and comment
	Left, Right Side
}

// Side is one side of a rule. Either All is set or Any holds an expression.
type Side struct {
	All    bool
	Any    []Expression
	Except []Expression
}

// Expression is the text of a regular expression, without its quotes.
type Expression struct {
	Text string
	Col  int // of its first byte, from 1
}

// Error is one mistake in a file.
type Error struct {
	Line, Col   int    // from 1; Col in bytes
	Found, Want string // both read as "found ..., want ..."
	Hint        string // what was likely meant, or ""
}

// Error gives "14:23: found end of line, want a closing quote".
func (e *Error) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Col, e.Message()) }

// Message is the error without its position.
func (e *Error) Message() string {
	s := "found " + e.Found + ", want " + e.Want
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// Parse reads a file.
//
//	file = [ BOM ] { line ( LF | CR LF ) } .
//
// It returns the rules of the lines without a mistake, and every error of the
// others, both in the order of lines. With an error the rules are good for
// finding more errors, not for deciding: a rule is missing.
func Parse(text string) ([]Rule, []*Error) {
	var rules []Rule
	var errs []*Error
	for n, line := range lines.Of(text) {
		p := parser{line: n, text: line}
		if r, ok := p.parse(); ok {
			rules = append(rules, r)
		}
		errs = append(errs, p.errs...)
	}
	return rules, errs
}

// parser reads one line. Its methods are the productions of the grammar; the
// rule of each stands above it. After an error they go on behind the next
// comma or colon, so that one mistake does not hide another.
type parser struct {
	line int
	text string // of the line, without its comment
	off  int    // the cursor
	errs []*Error
}

// line = [ rule ] [ "#" { any byte } ] .
func (p *parser) parse() (r Rule, ok bool) {
	if len(p.text) > lines.Max {
		p.fail(lines.Max, "a longer line", fmt.Sprintf("at most %d bytes", lines.Max), "")
		return r, false
	}
	p.text = strings.TrimRight(withoutComment(p.text), " \t")
	if p.blanks(); p.end() {
		return r, false
	}
	if i := controlByte(p.text); i >= 0 {
		p.fail(i, fmt.Sprintf("control byte 0x%02x", p.text[i]), "text", "")
		return r, false
	}
	r = p.rule()
	return r, len(p.errs) == 0
}

// withoutComment cuts a line at its first "#" outside quotes.
func withoutComment(line string) string {
	quoted := false
	for i := range len(line) {
		switch line[i] {
		case '"':
			quoted = !quoted
		case '#':
			if !quoted {
				return line[:i]
			}
		}
	}
	return line
}

func controlByte(s string) int {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return i
		}
	}
	return -1
}

// rule = side ":" side .
func (p *parser) rule() Rule {
	r := Rule{Line: p.line, Col: p.off + 1, Text: p.text[p.off:]}
	r.Left = p.side()
	if p.end() {
		p.failOnce("end of line", `":" and a right side`, "")
		return r
	}
	p.off++ // the colon
	r.Right = p.side()
	if !p.end() {
		p.fail(p.off, `a second ":"`, "the end of the rule", p.colonHint(r))
	}
	return r
}

// colonHint says which text of a rule with two colons was likely meant to be
// one expression.
func (p *parser) colonHint(r Rule) string {
	for _, list := range [][]Expression{r.Left.Any, r.Left.Except, r.Right.Any, r.Right.Except} {
		for _, e := range list {
			switch strings.ToLower(strings.TrimPrefix(e.Text, "^")) {
			case "sip", "sips", "tel", "urn":
				return fmt.Sprintf(`an expression with a colon needs quotes: "%s:..."`, e.Text)
			}
		}
	}
	return "an expression with a colon needs quotes"
}

// side = ( "ALL" | list ) [ "EXCEPT" list ] .
func (p *parser) side() (s Side) {
	p.blanks()
	if p.word() == "ALL" {
		p.off += len("ALL")
		s.All = true
		p.alone()
	} else {
		s.Any = p.list()
	}
	if p.except() {
		p.off += len("EXCEPT")
		s.Except = p.list()
	}
	if p.except() {
		p.fail(p.off, "a second EXCEPT", `"," or ":" or end of line`, "list all exceptions behind one EXCEPT, with commas")
	}
	p.skipSide()
	return s
}

// alone complains about what stands beside ALL.
func (p *parser) alone() {
	glued := !p.blank()
	if p.blanks(); p.sideEnds() || !glued && p.except() {
		return
	}
	p.fail(p.off, p.found(), "EXCEPT or the end of the side", "ALL stands alone")
	p.skipSide()
}

// list = expression { "," expression } .
func (p *parser) list() (list []Expression) {
	for {
		p.blanks()
		if e, ok := p.expression(); ok {
			list = append(list, e)
		}
		if p.blanks(); !p.next(',') {
			return list
		}
		p.off++
	}
}

// expression = quoted | word .
func (p *parser) expression() (e Expression, ok bool) {
	switch w := p.word(); {
	case p.next('"'):
		e, ok = p.quoted()
	case w == "EXCEPT":
		p.fail(p.off, w, "an expression", "EXCEPT needs a list on both its sides")
		return e, false
	case w == "":
		p.failOnce(p.found(), "an expression or ALL", "")
		return e, false
	case strings.EqualFold(w, "ALL"):
		p.fail(p.off, w, "an expression", `ALL stands alone and in capitals; quote "`+w+`" to mean the text`)
		p.off += len(w)
		return e, false
	default:
		e, ok = Expression{w, p.off + 1}, true
		p.off += len(w)
	}
	if ok && len(e.Text) > MaxExpression {
		p.fail(e.Col-1, "a longer expression", fmt.Sprintf("at most %d bytes", MaxExpression), "")
		ok = false
	}
	return e, p.afterExpression() && ok
}

// quoted = '"' text '"' .
func (p *parser) quoted() (e Expression, ok bool) {
	open := p.off
	n := strings.IndexByte(p.text[open+1:], '"')
	if n < 0 {
		p.off = len(p.text)
		p.fail(p.off, "end of line", fmt.Sprintf(`'"' to close the one at column %d`, open+1), "")
		return e, false
	}
	p.off = open + 1 + n + 1
	if n == 0 {
		p.fail(open, "an empty expression", "some text between the quotes", "to mean everything, write ALL")
		return e, false
	}
	return Expression{p.text[open+1 : open+1+n], open + 2}, true
}

// afterExpression reports whether an expression ends where the cursor is:
// before a comma, a colon, the end, or a blank and EXCEPT.
func (p *parser) afterExpression() bool {
	glued := !p.end() && !p.blank()
	p.blanks()
	if p.next(',') || p.sideEnds() || !glued && p.except() {
		return true
	}
	hint := "an expression with blanks or quotes around a part needs quotes around the whole"
	switch w := p.word(); {
	case strings.EqualFold(w, "EXCEPT"):
		hint = "EXCEPT is written in capitals, with blanks around it"
	case strings.EqualFold(w, "ALL"):
		hint = "ALL stands alone"
	}
	p.fail(p.off, p.found(), `"," or EXCEPT or the end of the side`, hint)
	for !p.next(',') && !p.sideEnds() {
		p.skip()
	}
	return false
}

// word gives the unquoted text at the cursor, without moving it.
func (p *parser) word() string {
	rest := p.text[p.off:]
	if i := strings.IndexAny(rest, " \t,:\""); i >= 0 {
		return rest[:i]
	}
	return rest
}

// except reports whether the word EXCEPT is at the cursor, with a blank or the
// edge of the side behind it.
func (p *parser) except() bool {
	if p.word() != "EXCEPT" {
		return false
	}
	rest := p.text[p.off+len("EXCEPT"):]
	return rest == "" || strings.IndexByte(" \t:", rest[0]) >= 0
}

func (p *parser) end() bool        { return p.off == len(p.text) }
func (p *parser) next(c byte) bool { return p.off < len(p.text) && p.text[p.off] == c }
func (p *parser) blank() bool      { return p.next(' ') || p.next('\t') }
func (p *parser) sideEnds() bool   { return p.end() || p.next(':') }

func (p *parser) blanks() {
	for p.blank() {
		p.off++
	}
}

// skip steps over a byte, or over all that is quoted if it is a quote.
func (p *parser) skip() {
	if p.next('"') {
		if n := strings.IndexByte(p.text[p.off+1:], '"'); n >= 0 {
			p.off += n + 1
		} else {
			p.off = len(p.text) - 1
		}
	}
	p.off++
}

func (p *parser) skipSide() {
	for !p.sideEnds() {
		p.skip()
	}
}

// found names what is at the cursor.
func (p *parser) found() string {
	const most = 40
	switch w := p.word(); {
	case p.end():
		return "end of line"
	case len(w) > most:
		return fmt.Sprintf("%q...", w[:most])
	case w != "":
		return fmt.Sprintf("%q", w)
	case p.next('"'):
		return `'"'`
	default:
		return fmt.Sprintf("%q", p.text[p.off:p.off+1])
	}
}

func (p *parser) fail(off int, found, want, hint string) {
	p.errs = append(p.errs, &Error{Line: p.line, Col: off + 1, Found: found, Want: want, Hint: hint})
}

// failOnce complains at the cursor unless the line has an error already,
// which is why something is missing here.
func (p *parser) failOnce(found, want, hint string) {
	if len(p.errs) == 0 || !p.end() {
		p.fail(p.off, found, want, hint)
	}
}
