package conformance

import (
	"strings"
	"unicode"
)

// modelGlob is fnmatch with FNM_PERIOD, by trying everything.
func modelGlob(p, s string, start bool) bool {
	if p == "" {
		return s == ""
	}
	hidden := start && strings.HasPrefix(s, ".")
	switch p[0] {
	case '*':
		if hidden {
			return false
		}
		for i := range len(s) + 1 {
			if modelGlob(p[1:], s[i:], false) {
				return true
			}
		}
		return false
	case '?':
		return s != "" && !hidden && modelGlob(p[1:], s[1:], false)
	case '[':
		if in, rest, ok := modelClass(p, s); ok {
			return in && !hidden && modelGlob(rest, s[1:], false)
		}
	case '\\':
		if p = p[1:]; p == "" {
			return false
		}
	}
	return s != "" && s[0] == p[0] && modelGlob(p[1:], s[1:], false)
}

// modelClass reads a bracket expression; ok is false for a "[" that is not
// closed, which is an ordinary byte.
func modelClass(p, s string) (in bool, rest string, ok bool) {
	i := 1
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	element := func() (lo byte) {
		if n := len(p) - i; n > 4 && p[i:i+2] == "[." && p[i+3:i+5] == ".]" {
			i += 5
			return p[i-3]
		}
		if p[i] == '\\' && i+1 < len(p) {
			i++
		}
		i++
		return p[i-1]
	}
	for first := true; i < len(p) && (first || p[i] != ']'); first = false {
		if name, length := modelNamed(p[i:]); length > 0 {
			i += length
			in = in || s != "" && strings.IndexByte(name, s[0]) >= 0
			continue
		}
		lo := element()
		hi := lo
		if i+1 == len(p) && p[i] == '-' {
			return false, "", true // to glibc, a range without end matches nothing
		}
		if i+1 < len(p) && p[i] == '-' && p[i+1] != ']' {
			i++
			hi = element()
		}
		in = in || s != "" && lo <= s[0] && s[0] <= hi
	}
	if i >= len(p) {
		return false, "", false
	}
	return s != "" && in != negated, p[i+1:], true
}

// modelNamed gives the bytes of [:name:] or [=c=] at the head of p, and how
// long that is; 0 if p begins with neither.
func modelNamed(p string) (members string, length int) {
	if len(p) > 4 && p[:2] == "[=" && p[3:5] == "=]" {
		return p[2:3], 5
	}
	classes := map[string]func(rune) bool{
		"alpha": unicode.IsLetter, "digit": unicode.IsDigit, "upper": unicode.IsUpper, "lower": unicode.IsLower,
		"space": unicode.IsSpace, "cntrl": unicode.IsControl,
		"alnum":  func(c rune) bool { return unicode.IsLetter(c) || unicode.IsDigit(c) },
		"punct":  func(c rune) bool { return c > ' ' && c < 127 && !unicode.IsLetter(c) && !unicode.IsDigit(c) },
		"graph":  func(c rune) bool { return c > ' ' && c < 127 },
		"print":  func(c rune) bool { return c >= ' ' && c < 127 },
		"blank":  func(c rune) bool { return c == ' ' || c == '\t' },
		"xdigit": func(c rune) bool { return strings.ContainsRune("0123456789abcdefABCDEF", c) },
	}
	for name, is := range classes {
		if !strings.HasPrefix(p, "[:"+name+":]") {
			continue
		}
		for c := range byte(128) {
			if is(rune(c)) {
				members += string(rune(c))
			}
		}
		return members, len(name) + 4
	}
	return "", 0
}
