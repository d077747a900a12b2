package hosts

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sipacl/sipacl/internal/escape"
)

// Numeric reports whether a resolver may take host for an IPv4 address: every
// label is a number, decimal, octal or hexadecimal.
func Numeric(host string) bool {
	for label, more := host, true; more; {
		label, host, more = strings.Cut(host, ".")
		if !isNumber(label) {
			return false
		}
	}
	return true
}

// isNumber reports whether a label is a number; the empty one is 0 to some.
func isNumber(label string) bool {
	hex := isHex(label)
	if hex {
		label = label[2:]
	}
	for i := range len(label) {
		if !isDigit(label[i]) && !(hex && escape.Digit(label[i]) >= 0) {
			return false
		}
	}
	return true
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(label string) bool { return len(label) > 1 && label[0] == '0' && label[1]|32 == 'x' }

// appendNumeric appends the IPv4 addresses that inet_aton(3) and its lookalikes
// read: one to four numbers, the last one filling what is left, each number
// decimal, hexadecimal or, with a leading zero, octal or decimal. With wrap the
// high bits of a number that is too large are lost, as for readers that do not
// check its range.
func appendNumeric(dst []netip.Addr, s string, wrap bool) []netip.Addr {
	parts := strings.Count(s, ".") + 1
	if parts > 4 || strings.Trim(s, ".") == "" {
		return dst
	}
	for octal := range 1 << parts { // a bit a part: leading zeros are octal
		if a, ok := readNumeric(s, parts, octal, wrap); ok && !slices.Contains(dst, a) {
			dst = append(dst, a)
		}
	}
	return dst
}

func readNumeric(s string, parts, octal int, wrap bool) (a netip.Addr, ok bool) {
	var v uint64
	for i := range parts {
		var part string
		part, s, _ = strings.Cut(s, ".")
		width := 8
		if i == parts-1 {
			width = 8 * (5 - parts)
		}
		n, err := readNumber(part, octal>>i&1 == 1)
		if err != nil || !wrap && n>>width != 0 {
			return netip.Addr{}, false
		}
		v = v<<width | n&(1<<width-1)
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// readNumber reads a label; an empty one is 0, as Kamailio reads 127..0.1.
func readNumber(s string, octal bool) (uint64, error) {
	switch {
	case s == "":
		return 0, nil
	case isHex(s):
		return strconv.ParseUint("0"+s[2:], 16, 64)
	case octal && s[0] == '0':
		return strconv.ParseUint(s, 8, 64)
	}
	return strconv.ParseUint(s, 10, 64)
}

// appendLooseSix reads IPv6 with more than four digits in a group, or with an
// IPv4 tail that is spelled oddly.
func appendLooseSix(dst []netip.Addr, s string, wrap bool) []netip.Addr {
	groups := strings.Split(s, ":")
	for i, g := range groups {
		if g != "" && strings.IndexByte(g, '.') < 0 {
			groups[i] = ("000" + g)[max(0, len(g)-1):] // as readers that keep the low bits
		}
	}
	last := len(groups) - 1
	if strings.IndexByte(groups[last], '.') < 0 {
		return appendJoined(dst, groups)
	}
	for _, tail := range appendNumeric(nil, groups[last], wrap) {
		groups[last] = tail.String()
		dst = appendJoined(dst, groups)
	}
	return dst
}

func appendJoined(dst []netip.Addr, groups []string) []netip.Addr {
	if a, err := netip.ParseAddr(strings.Join(groups, ":")); err == nil {
		dst = append(dst, a)
	}
	return dst
}

// appendSix reads IPv6 without brackets. Digits at the end may be a port, and
// an IPv4 tail may be an address of its own.
func appendSix(dst []netip.Addr, s string) []netip.Addr {
	dst = appendOneSix(dst, s)
	if i := strings.LastIndexByte(s, ':'); i >= 0 && strings.Trim(s[i+1:], "0123456789") == "" {
		dst = appendOneSix(dst, s[:i])
	}
	return dst
}

func appendOneSix(dst []netip.Addr, s string) []netip.Addr {
	i, before := strings.LastIndexByte(s, ':'), len(dst)
	if i < 0 {
		return dst
	}
	if a, err := netip.ParseAddr(s); err == nil {
		dst = append(dst, a)
	} else {
		dst = appendLooseSix(dst, s, false)
	}
	if tail := s[i+1:]; len(dst) > before && strings.IndexByte(tail, '.') >= 0 {
		dst = appendNumeric(dst, tail, false)
	}
	return dst
}
