package ere

import (
	"fmt"
	"regexp"
	regexpsyntax "regexp/syntax"

	"github.com/sipacl/sipacl/internal/latin1"
)

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

// CompileExpression compiles a regular expression of up to 4 KiB. An error is
// an *Error. Beside what is malformed these are errors:
//
//   - back-references, and \< and \>;
//   - a backslash before a lower-case letter other than w, s and b: \d is no
//     digit in POSIX and would never match. Write [0-9];
//   - named collating elements, as in [[.hyphen.]];
//   - more than 1,000 repeats, nested ones multiplied, and expressions that
//     are nested or grow too far.
func CompileExpression(s string, syntax Syntax) (Expression, error) {
	if syntax > TrustedSyntax {
		return Expression{}, &Error{Col: 1, Msg: fmt.Sprintf("there is no Syntax %d", syntax)}
	}
	re, err := Compile(s, syntax.options())
	if err != nil {
		return Expression{}, err
	}
	return Expression{text: s, regexp: re}, nil
}

func (s Syntax) options() Options {
	return Options{
		Basic:         s == TrustedSyntax,
		CaseSensitive: s == TrustedSyntax,
		Newline:       s == GroupSyntax,
	}
}

// ParseExpression parses a regular expression. It returns the errors that
// CompileExpression does.
func ParseExpression(s string, syntax Syntax) (*regexpsyntax.Regexp, *Error) {
	return Parse(s, syntax.options())
}

// MatchString reports whether the expression matches anywhere in s, in time
// linear in the length of s. It does not allocate, unless s has bytes beyond
// ASCII: then it allocates one copy of s.
func (e Expression) MatchString(s string) bool {
	return e.regexp != nil && e.regexp.MatchString(latin1.Of(s))
}

// String returns the text the expression was compiled from.
func (e Expression) String() string { return e.text }
