// Package escape reads the escapes of URIs, "%41" (RFC 3986 section 2.1).
package escape

// Octet gives the byte that the escape at the beginning of s stands for; ok is
// false if there is none.
func Octet(s string) (c byte, ok bool) {
	if len(s) < len("%41") || s[0] != '%' {
		return 0, false
	}
	hi, lo := Digit(s[1]), Digit(s[2])
	return byte(hi<<4 | lo), hi >= 0 && lo >= 0
}

// Digit is the value of a hexadecimal digit, -1 for another byte.
func Digit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}
