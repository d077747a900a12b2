// Shell wildcards: fnmatch(3) by gobwas/glob.

package sipacl

import (
	"fmt"

	"github.com/gobwas/glob"

	"github.com/sipacl/sipacl/internal/fnmatch"
	"github.com/sipacl/sipacl/internal/latin1"
)

// Limits on patterns and on what they are matched against.
const (
	maxPattern = 4096 // bytes of a Pattern
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
		s = latin1.Of(s)
	}
	return p.glob.Match(s)
}

// String returns the text the pattern was compiled from.
func (p Pattern) String() string { return p.text }
