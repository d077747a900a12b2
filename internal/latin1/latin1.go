// Package latin1 gives texts to matchers of runes that are to match bytes, as
// the C locale does: each byte is the rune of its number.
package latin1

import (
	"strings"
	"unicode/utf8"
)

// Of returns s with each byte as a rune. ASCII stays as it is, and nothing is
// allocated for it.
func Of(s string) string {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return from(s, i)
		}
	}
	return s
}

// from is Of for an s whose first byte beyond ASCII is at i.
func from(s string, i int) string {
	var b strings.Builder
	b.Grow(2 * len(s))
	b.WriteString(s[:i])
	for ; i < len(s); i++ {
		b.WriteRune(rune(s[i]))
	}
	return b.String()
}
