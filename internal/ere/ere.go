// Package ere reads POSIX regular expressions, extended and basic, as the C
// library of GNU reads them in the C locale, and writes them in RE2's syntax.
//
// The translation is exact or refused. It matches bytes: each byte is the
// rune of its number (Latin-1), and a subject must be brought into that form.
package ere

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// Options choose the dialect. The zero Options are extended regular
// expressions that ignore case.
type Options struct {
	Basic         bool // basic regular expressions: \( \) \{ \}, and GNU's \| \+ \?
	CaseSensitive bool // upper and lower case differ
	Newline       bool // ^ and $ match at line ends, . and [^a] do not match one
}

// Limits. A compiled expression may be big and slow long before RE2 refuses.
const (
	maxLen    = 4096  // bytes of the text
	maxDepth  = 200   // groups and stacked repeats around one another
	maxRepeat = 1000  // the highest repeat, and the product of nested ones: RE2's own
	maxSize   = 10000 // characters and groups, each counted as often as it is repeated
)

// An Error says where and why an expression was refused.
type Error struct {
	Col  int    // in bytes, from 1
	Msg  string // what was found
	Hint string // what to write instead, or ""
}

func (e *Error) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("col %d: %s", e.Col, e.Msg)
	}
	return fmt.Sprintf("col %d: %s; %s", e.Col, e.Msg, e.Hint)
}

// Compile compiles the translation of text.
func Compile(text string, o Options) (*regexp.Regexp, *Error) {
	s, err := Translate(text, o)
	if err != nil {
		return nil, err
	}
	re, cause := regexp.Compile(s)
	if cause != nil {
		return nil, cannotRun(cause)
	}
	return re, nil
}

// Parse parses the translation of text. It returns the errors that Compile
// does.
func Parse(text string, o Options) (*syntax.Regexp, *Error) {
	s, err := Translate(text, o)
	if err != nil {
		return nil, err
	}
	re, cause := syntax.Parse(s, syntax.Perl)
	if cause != nil {
		return nil, cannotRun(cause)
	}
	return re, nil
}

func cannotRun(cause error) *Error {
	return &Error{Col: 1, Msg: "RE2 cannot run it: " + cause.Error()}
}

// Translate returns text in RE2's syntax, flags included.
func Translate(text string, o Options) (string, *Error) {
	if len(text) > maxLen {
		return "", &Error{Col: maxLen + 1, Msg: fmt.Sprintf("expression is longer than %d bytes", maxLen)}
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return "", &Error{Col: i + 1, Msg: "an expression cannot hold a NUL"}
	}
	p := parser{text: text, Options: o}
	n, err := p.expression()
	if err != nil {
		return "", err
	}
	if !p.end() {
		return "", p.errorf(p.off, "found ), want a ( before it") // basic only
	}
	if o.Newline {
		return "(?m)" + n.text, nil
	}
	return "(?s)" + n.text, nil
}
