package gate

import "math/bits"

// text is a message or a part of one: Bytes reads bytes, Request strings.
type text interface{ ~string | ~[]byte }

// class is a set of bytes that a production of RFC 3261 section 25.1 repeats.
type class uint32

const (
	token    class = 1 << iota
	user           // user part of a URI, without escapes
	password       // password of a URI, without escapes
	param          // name or value of a URI parameter, without escapes
	headers        // the part of a URI behind "?"
	label          // part of a host name; "_" occurs in the field
	ipv6           // an IPv6 address, without brackets
	alnum          // letters and digits
	digit          //
	phone          // number of a tel URI
	opaque         // a URI of another scheme, without the scheme
	bare           // a URI without brackets around it
	control        // control bytes, HTAB excepted
	blank          // SP and HTAB, and CR and LF of a folded line
	scheme         //
	display        // display name without quotes: tokens and blanks
	quotable       // text between quotes, without escapes
)

// mark are the unreserved bytes that are neither letters nor digits.
const mark = "-_.!~*'()"

// classes has for each byte the classes that it belongs to.
var classes = func() (t [256]class) {
	add := func(c class, s string) {
		for _, b := range []byte(s) {
			t[b] |= c
		}
	}
	for b := range 256 {
		t[b] |= bare | quotable
		if b < ' ' || b == 0x7f {
			t[b] = control
		}
	}
	t['"'] &^= quotable
	t['\\'] &^= quotable
	for _, b := range []byte(" \t<>\",;?") {
		t[b] &^= bare | control
	}
	const digits, letters = "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	add(token|display|user|password|param|headers|label|alnum|opaque|scheme, digits+letters)
	add(digit|phone|ipv6, digits)
	add(phone|ipv6, "ABCDEFabcdef")
	add(token|display, "-.!%*_+`'~")
	add(user|password|param|headers, mark)
	add(user, "&=+$,;?/")
	add(password, "&=+$,")
	add(param, "[]/:&+$")
	add(headers, "[]/?:+$&=%")
	add(label, "-_")
	add(ipv6, ":.")
	add(phone, "*#-.()")
	add(opaque, "-._~:/?#[]@!$&'()*+,;=%")
	add(scheme, "+-.")
	add(blank|display|quotable, " \t\r\n")
	return t
}()

func in(b byte, c class) bool { return classes[b]&c != 0 }

// white reports whether a line that begins with b continues the one before.
func white(b byte) bool { return b == ' ' || b == '\t' }

// span returns where the bytes of class c that begin at off end.
func span[T text](s T, off int, c class) int {
	t := s[off:]
	for i := range len(t) {
		if !in(t[i], c) {
			return off + i
		}
	}
	return len(s)
}

// escaped is span for text that may hold escapes such as "%41".
func escaped[T text](s T, off int, c class) int {
	for {
		off = span(s, off, c)
		if len(s)-off < 3 || s[off] != '%' || !hex(s[off+1]) || !hex(s[off+2]) {
			return off
		}
		off += 3
	}
}

// only reports whether s is one or more bytes of class c.
func only[T text](s T, c class) bool { return len(s) > 0 && span(s, 0, c) == len(s) }

func hex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f'
}

// has reports whether b is in s.
func has[T text](s T, b byte) bool {
	for i := range len(s) {
		if s[i] == b {
			return true
		}
	}
	return false
}

// plain reports whether s holds no control byte but HTAB.
func plain[T text](s T) bool { return nextControl(s, 0) == len(s) }

// nextControl returns where the first control byte from off on is, or len(s).
func nextControl[T text](s T, off int) int {
	for len(s)-off >= 8 {
		found := controls(word(s[off:]))
		if found == 0 {
			off += 8
			continue
		}
		off += bits.TrailingZeros64(found) / 8
		if s[off] != '\t' {
			return off
		}
		off++
	}
	for off < len(s) && !in(s[off], control) {
		off++
	}
	return off
}

// word reads eight bytes, the first one lowest.
func word[T text](s T) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// controls sets the high bit of each control byte among eight, HTAB included.
// A control byte plus one is at most 0x20 in seven bits, and so is DEL plus one.
// Adding 0x5f to a higher sum gives 0x80 or more.
func controls(w uint64) uint64 {
	const ones = 0x0101010101010101
	more := (w&(0x7f*ones) + ones) & (0x7f * ones)
	return ^(more + 0x5f*ones | w) & (0x80 * ones)
}

// trim cuts the blanks around s.
func trim[T text](s T) T {
	i, j := span(s, 0, blank), len(s)
	for j > i && in(s[j-1], blank) {
		j--
	}
	return s[i:j]
}

// same compares with a text in lower case, without regard to the case of ASCII
// letters.
func same[T text](s T, want string) bool {
	if len(s) != len(want) {
		return false
	}
	for i := range len(want) {
		if s[i] != want[i] && lower(s[i]) != want[i] {
			return false
		}
	}
	return true
}

// alike compares without regard to the case of ASCII letters.
func alike[T text](a, b T) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		b |= 0x20
	}
	return b
}

// number reads a decimal number of at most max digits; max is below 19.
func number[T text](s T, max int) (n int64, ok bool) {
	if len(s) > max || !only(s, digit) {
		return 0, false
	}
	for i := range len(s) {
		n = 10*n + int64(s[i]-'0')
	}
	return n, true
}
