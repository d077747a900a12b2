package ruleengine

import "strings"

// A literal of an expression is a factor that the text must hold, nothing
// else. In Engine.literals it is its length, its ends and its symbols without
// the sentinels: "Asip:1" is 5, atStart, "sip:1".
const (
	atStart  = 1
	atFinish = 2
)

func appendLiteral(b []byte, factor string) []byte {
	s, ends := factor, byte(0)
	if strings.HasPrefix(s, string(begin)) {
		s, ends = s[1:], ends|atStart
	}
	if strings.HasSuffix(s, string(end)) {
		s, ends = s[:len(s)-1], ends|atFinish
	}
	return append(append(b, byte(len(s)), ends), s...)
}

// matchesLiteral reports whether text holds a literal of x.
func (e *Engine) matchesLiteral(x *expression, text string) bool {
	rest := e.literals[x.first:]
	for range x.count {
		n, ends := int(rest[0]), rest[1]
		if holdsLiteral(text, rest[2:2+n], ends) {
			return true
		}
		rest = rest[2+n:]
	}
	return false
}

func holdsLiteral(text string, symbols []byte, ends byte) bool {
	n := len(symbols)
	if len(text) < n {
		return false
	}
	switch ends {
	case atStart:
		return equal(text[:n], symbols)
	case atFinish:
		return equal(text[len(text)-n:], symbols)
	case atStart | atFinish:
		return len(text) == n && equal(text, symbols)
	}
	for i := 0; ; i++ {
		if !letter(symbols[0]) {
			k := strings.IndexByte(text[i:], symbols[0])
			if k < 0 {
				return false
			}
			i += k
		}
		if i+n > len(text) {
			return false
		}
		if equal(text[i:i+n], symbols) {
			return true
		}
	}
}

// equal compares a text with as many symbols.
func equal(text string, symbols []byte) bool {
	for i, c := range symbols {
		if fold[text[i]] != c {
			return false
		}
	}
	return true
}
