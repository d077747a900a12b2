package hosts

import (
	"net/netip"
	"strings"

	"github.com/sipacl/sipacl/internal/escape"
)

// Look says what a word in the middle of a text looks like.
type Look uint8

const (
	LooksNothing Look = iota
	LooksAddress      // IPv6, or IPv4 with four labels
	LooksNumber       // one to three labels: an address to inet_aton, and mostly a count or a version
	LooksName         // a host name with a dot
)

// maxWord is the longest word that is read as IPv6, in bytes.
const maxWord = 128

// Next finds the first word in text that looks like a host, and returns what
// stands behind it. It returns LooksNothing at the end. [Mentioned] gives the
// addresses of an address or number.
func Next(text string) (word string, look Look, rest string) {
	for text != "" {
		if !isWord(text[0]) && text[0] != ':' {
			text = text[1:]
			continue
		}
		n, colons := run(text)
		if six := trimWord(text[:n]); colons >= 2 && isSix(six) {
			return six, LooksAddress, text[n:]
		}
		n = wordLen(text)
		word, text = trimWord(text[:n]), text[max(n, 1):]
		if look = lookOf(word); look != LooksNothing {
			return word, look, text
		}
	}
	return "", LooksNothing, ""
}

// run measures the words at the start of s with the colons between them. Of a
// run longer than maxWord it counts no colon.
func run(s string) (n, colons int) {
	for n < len(s) && (isWord(s[n]) || s[n] == ':') {
		if s[n] == ':' {
			colons++
		}
		if n++; n > maxWord {
			return n, 0
		}
	}
	return n, colons
}

func isWord(c byte) bool { return alphanumeric(c) || c == '.' || c == '-' || c == '_' }

// wordLen counts the bytes of the word that s begins with.
func wordLen(s string) int {
	for i := range len(s) {
		if !isWord(s[i]) {
			return i
		}
	}
	return len(s)
}

// trimWord is s without the punctuation around it.
func trimWord(s string) string {
	for s != "" && isWord(s[0]) && !alphanumeric(s[0]) {
		s = s[1:]
	}
	for n := len(s); n > 0 && isWord(s[n-1]) && !alphanumeric(s[n-1]); n-- {
		s = s[:n-1]
	}
	return s
}

// isSix reports whether IPv6 may be read in s, with a port behind it or not.
func isSix(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != ':' && c != '.' && c|32 != 'x' && escape.Digit(c) < 0 {
			return false
		}
	}
	return strings.Count(s, ":") <= 9 && len(appendSix(nil, s)) > 0
}

func lookOf(word string) Look {
	switch dots := strings.Count(word, "."); {
	case word == "" || dots == 0 && len(word) < len("16777216"):
		return LooksNothing
	case Numeric(word):
		return numberLook(word, dots)
	case dots > 0 && isName(word, true):
		return LooksName
	}
	return LooksNothing
}

// numberLook sorts out numbers that are no address, and those below 2^24,
// which are counts: 0.0.0.0/8 leads nowhere.
func numberLook(word string, dots int) Look {
	var few [4]netip.Addr
	for _, a := range appendNumeric(few[:0], word, false) {
		switch {
		case dots == 3:
			return LooksAddress
		case a.As4()[0] != 0:
			return LooksNumber
		}
	}
	return LooksNothing
}

// Mentioned appends the addresses that a word of [Next] may be read as. Numbers
// that are too large are none.
func Mentioned(dst []netip.Addr, word string) []netip.Addr {
	if strings.IndexByte(word, ':') >= 0 {
		return appendSix(dst, word)
	}
	return appendNumeric(dst, word, false)
}

// Unescape decodes every percent escape of s once.
func Unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c, ok := escape.Octet(s[i:]); ok {
			b = append(b, c)
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}
