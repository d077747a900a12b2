package sipacl

import (
	"errors"
	"strings"
)

// Pattern is a compiled shell wildcard. The zero Pattern matches nothing.
type Pattern struct {
	text string
	ok   bool
}

// CompilePattern compiles s. Texts without wildcards only: others are refused
// until they are translated.
func CompilePattern(s string) (Pattern, error) {
	if strings.ContainsAny(s, `*?[\`) {
		return Pattern{}, errors.New("wildcards are not translated")
	}
	return Pattern{s, true}, nil
}

// Match reports whether the whole of s matches.
func (p Pattern) Match(s string) bool { return p.ok && p.text == s }

// String returns the text that was compiled.
func (p Pattern) String() string { return p.text }
