package sipacl

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gobwas/glob"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/fnmatch"
	"github.com/sipacl/sipacl/internal/ruleengine"
)

// Limits on patterns and on what they are matched against.
const (
	maxPattern = 4096 // bytes of a Pattern or an Expression
	maxSubject = 4096 // bytes that a Pattern is matched against
)

// Pattern is a shell wildcard, as in the pattern column of an address table:
// * is any run of bytes, ? is one byte, [a-z] is one byte of a set and [!a-z]
// one outside it, \ quotes. Braces are ordinary characters.
//
// It has the meaning of fnmatch(3) with FNM_PERIOD in the C locale: upper and
// lower case differ, bytes beyond ASCII are single characters without a
// class, and no wildcard matches a period at the beginning of the subject.
//
// A Pattern is immutable and safe for concurrent use. The zero Pattern
// matches nothing, while the empty pattern matches the empty subject.
type Pattern struct {
	text   string
	glob   *glob.Pattern // nil matches nothing
	period bool          // begins with a wildcard: no leading period in the subject
	bytes  bool          // tells bytes beyond ASCII apart: needs them as runes
}

// CompilePattern compiles a wildcard of up to 4 KiB. An odd text is no error
// but means what it means to fnmatch(3): a bracket that nothing closes is a
// bracket, and a text with an unknown [:class:] or a lone backslash at its end
// matches nothing.
func CompilePattern(s string) (Pattern, error) {
	if len(s) > maxPattern {
		return Pattern{}, fmt.Errorf("pattern is longer than %d bytes", maxPattern)
	}
	t, err := fnmatch.Translate(s)
	if err != nil {
		return Pattern{}, err
	}
	p := Pattern{text: s, period: t.Period, bytes: t.Bytes}
	if t.Never {
		return p, nil
	}
	if p.glob, err = glob.Compile(t.Glob); err != nil {
		return Pattern{}, err
	}
	return p, nil
}

// Match reports whether the whole of s matches. It does not allocate, unless
// s has bytes beyond ASCII and the pattern has ?, a set or such bytes too:
// then it allocates one copy of s.
//
// A subject of more than 4 KiB does not match. The time taken is bounded by
// the length of the pattern times that of the subject.
func (p Pattern) Match(s string) bool {
	if p.glob == nil || len(s) > maxSubject {
		return false
	}
	if p.period && s != "" && s[0] == '.' {
		return false
	}
	if p.bytes {
		s = latin1(s)
	}
	return p.glob.Match(s)
}

// String returns the text the pattern was compiled from.
func (p Pattern) String() string { return p.text }

// A Syntax says how a regular expression is read.
type Syntax uint8

const (
	// RuleSyntax is for rule files: a POSIX extended regular expression
	// that tells no upper from lower case. Line ends are ordinary bytes.
	RuleSyntax Syntax = iota

	// GroupSyntax is for regular-expression groups (re_grp): as RuleSyntax,
	// but ^ and $ match at line ends too, and neither . nor [^a] matches one.
	GroupSyntax

	// TrustedSyntax is for Kamailio's trusted table: a POSIX basic regular
	// expression, with the additions \| \+ \? of GNU. Case matters.
	TrustedSyntax
)

// Expression is a POSIX regular expression. It has the meaning that the C
// library of GNU gives it in the C locale: a subject is bytes, case folding
// knows ASCII only, and a match may be anywhere in it. (One difference is
// left: without GroupSyntax, ^ and $ never match at a line end inside the
// subject. There, after a line end that the expression itself has matched,
// they do by mistake.)
//
// Where that meaning cannot be had, CompileExpression returns an error:
// an Expression never means something else than its text.
//
// An Expression is immutable and safe for concurrent use. The zero Expression
// matches nothing, while the empty expression matches everything.
type Expression struct {
	text   string
	regexp *regexp.Regexp // nil matches nothing
}

// ExpressionError says where and why an expression was refused.
type ExpressionError struct {
	Col  int    // in bytes, from 1
	Msg  string // what is wrong
	Hint string // what to write instead, or ""
}

func (e *ExpressionError) Error() string {
	if e.Hint == "" {
		return fmt.Sprintf("col %d: %s", e.Col, e.Msg)
	}
	return fmt.Sprintf("col %d: %s; %s", e.Col, e.Msg, e.Hint)
}

// CompileExpression compiles a regular expression of up to 4 KiB. An error is
// an *ExpressionError. Beside what is malformed these are errors:
//
//   - back-references, and \< and \>;
//   - a backslash before a lower-case letter other than w, s and b: \d is no
//     digit in POSIX and would never match. Write [0-9];
//   - named collating elements, as in [[.hyphen.]];
//   - more than 1,000 repeats, nested ones multiplied, and expressions that
//     are nested or grow too far.
func CompileExpression(s string, syntax Syntax) (Expression, error) {
	if syntax > TrustedSyntax {
		return Expression{}, &ExpressionError{Col: 1, Msg: fmt.Sprintf("there is no Syntax %d", syntax)}
	}
	re, err := ere.Compile(s, syntax.options())
	if err != nil {
		return Expression{}, expressionError(err)
	}
	return Expression{text: s, regexp: re}, nil
}

func expressionError(e *ere.Error) *ExpressionError {
	return &ExpressionError{Col: e.Col, Msg: e.Msg, Hint: e.Hint}
}

// engineBuilder gives the expressions of one syntax to a rule engine, each
// distinct one once. It refuses what CompileExpression does, in its words, but
// keeps no compiled expression.
type engineBuilder struct {
	*ruleengine.Builder
	syntax  Syntax
	numbers map[string]uint32
}

func newEngineBuilder(syntax Syntax) *engineBuilder {
	return &engineBuilder{ruleengine.NewBuilder(), syntax, map[string]uint32{}}
}

// expression returns the number of an expression. An error is an
// *ExpressionError.
func (b *engineBuilder) expression(text string) (uint32, error) {
	if x, ok := b.numbers[text]; ok {
		return x, nil
	}
	re, bad := ere.Parse(text, b.syntax.options())
	if bad != nil {
		return 0, expressionError(bad)
	}
	x, err := b.Expression(re)
	if err != nil {
		return 0, &ExpressionError{Col: 1, Msg: err.Error()}
	}
	b.numbers[text] = x
	return x, nil
}

func (s Syntax) options() ere.Options {
	return ere.Options{
		Basic:         s == TrustedSyntax,
		CaseSensitive: s == TrustedSyntax,
		Newline:       s == GroupSyntax,
	}
}

// MatchString reports whether the expression matches anywhere in s, in time
// linear in the length of s. It does not allocate, unless s has bytes beyond
// ASCII: then it allocates one copy of s.
func (e Expression) MatchString(s string) bool {
	return e.regexp != nil && e.regexp.MatchString(latin1(s))
}

// String returns the text the expression was compiled from.
func (e Expression) String() string { return e.text }

// latin1 returns s with each byte as the rune of its number. ASCII stays as
// it is.
func latin1(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return appendLatin1(s, i)
		}
	}
	return s
}

// appendLatin1 is latin1 for an s whose first byte beyond ASCII is at i.
func appendLatin1(s string, i int) string {
	var b strings.Builder
	b.Grow(2 * len(s))
	b.WriteString(s[:i])
	for ; i < len(s); i++ {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}
