// Package hosts reads a host in every spelling that some resolver understands.
//
// 012.0.0.1 is 10.0.0.1 for inet_aton(3) and 12.0.0.1 for Kamailio, and a
// strict reader takes it for no address. The functions here return every
// address that a text may be read as, and say whether its spelling is the
// canonical one.
package hosts

import (
	"net/netip"
	"strings"
)

// Kind says what a host is, as written.
type Kind uint8

const (
	Bad     Kind = iota // a spelling that readers understand differently
	Address             // a canonical address
	Domain              // a host name
)

// Read appends the addresses that the host of a URI may be read as, and says
// what it is. IPv6 stands in brackets. Bad hosts may be read as addresses too.
func Read(dst []netip.Addr, host string) ([]netip.Addr, Kind) {
	s := strings.TrimSuffix(host, ".")
	inner := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	word := inner // inet_aton stops at a blank, a zone begins at "%"
	if i := strings.IndexAny(word, "% \t\r\n\v\f"); i >= 0 {
		word = word[:i]
	}
	switch a, err := netip.ParseAddr(word); {
	case err == nil && (a.Is4() && word == host || a.Is6() && bracketed(host, word)):
		return append(dst, a), Address
	case err == nil:
		return append(dst, a), Bad
	case Numeric(word):
		return appendNumeric(dst, word, true), Bad
	case strings.ContainsAny(inner, ":[]"):
		return appendLooseSix(dst, word, true), Bad
	case !isName(s, true) || hexEnd(s):
		return dst, Bad
	}
	return dst, Domain
}

func bracketed(host, word string) bool {
	return len(host) == len(word)+2 && host[0] == '[' && host[1:len(host)-1] == word && host[len(host)-1] == ']'
}

// ReadValue is Read for the value of a parameter that holds a host, as
// [CutPort] leaves it: brackets around IPv6 may be missing there.
func ReadValue(dst []netip.Addr, host string) ([]netip.Addr, Kind) {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() && a.Zone() == "" {
		return appendSix(dst, host), Address
	}
	return Read(dst, host)
}

// CutPort returns the host of host, host:port and host~port~protocol. A text of
// another form is returned whole: no reader takes it for a host.
func CutPort(s string) string {
	if host, rest, ok := strings.Cut(s, "~"); ok && isPortAndProto(rest) {
		return host
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.Trim(s[i+1:], "0123456789") != "" {
		return s
	}
	if host := s[:i]; strings.IndexByte(host, ':') < 0 || host[0] == '[' && host[i-1] == ']' {
		return host
	}
	return s
}

// isPortAndProto reports whether s is what stands behind a host and "~".
func isPortAndProto(s string) bool {
	for i := range len(s) {
		if !alphanumeric(s[i]) && s[i] != '~' {
			return false
		}
	}
	return true
}

// Name returns the form of a host name that is compared: in lower case,
// without a trailing dot. A name is made of labels of letters, digits and
// hyphens, the last one not all digits (RFC 1123 section 2.1), so that no
// mistyped address passes for one.
func Name(s string) (name string, ok bool) {
	s = strings.TrimSuffix(s, ".")
	if !isName(s, false) {
		return "", false
	}
	return strings.ToLower(s), true
}

// isName reports whether s is a host name; some resolvers take underscores.
func isName(s string, underscores bool) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	last := ""
	for last = range strings.SplitSeq(s, ".") {
		if !isLabel(last, underscores) {
			return false
		}
	}
	return strings.Trim(last, "0123456789") != ""
}

func isLabel(s string, underscores bool) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && !alphanumeric(c) && !(underscores && c == '_') {
			return false
		}
	}
	return true
}

func alphanumeric(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|32 && c|32 <= 'z' }

// hexEnd reports whether the last label is a hexadecimal number: "foo.0xa" is
// no name to browsers, which take it for a broken address.
func hexEnd(s string) bool {
	last := s[strings.LastIndexByte(s, '.')+1:]
	return isHex(last) && isNumber(last)
}
