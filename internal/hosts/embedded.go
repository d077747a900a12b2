package hosts

import "net/netip"

// Embedded appends a and the IPv4 addresses that packets to it may reach:
// those in IPv4-mapped, IPv4-compatible, IPv4-translated, NAT64, 6to4, Teredo
// and ISATAP addresses. A mapped address is appended as IPv4 alone.
//
// nat64 are prefixes beside the well-known ones, each for [ValidNAT64]. Of the
// prefixes that hold a the longest says where the address stands.
func Embedded(dst []netip.Addr, a netip.Addr, nat64 []netip.Prefix) []netip.Addr {
	a = a.WithZone("").Unmap()
	dst = append(dst, a)
	if !a.Is6() {
		return dst
	}
	b := a.As16()
	if bits := translated(a, nat64); bits > 0 {
		dst = append(dst, behind(b, bits))
	}
	switch {
	case sixToFour.Contains(a):
		dst = append(dst, four(b[2:]))
	case teredo.Contains(a): // the server, and the client with its bits turned
		dst = append(dst, four(b[4:]), netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]}))
	}
	if b[8]&^2 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe {
		dst = append(dst, four(b[12:])) // ISATAP, RFC 5214 section 6.1
	}
	return dst
}

// The prefixes below which an IPv4 address stands as behind a NAT64 prefix.
var inPrefix = []netip.Prefix{
	netip.MustParsePrefix("::/96"),           // IPv4-compatible
	netip.MustParsePrefix("::ffff:0:0:0/96"), // IPv4-translated, RFC 2765
	netip.MustParsePrefix("64:ff9b::/96"),
	netip.MustParsePrefix("64:ff9b:1::/48"), // RFC 8215
}

var (
	sixToFour = netip.MustParsePrefix("2002::/16")
	teredo    = netip.MustParsePrefix("2001::/32")
)

// translated gives the length of the longest prefix that a is translated
// below, 0 if there is none.
func translated(a netip.Addr, nat64 []netip.Prefix) (bits int) {
	if a == netip.IPv6Unspecified() || a == netip.IPv6Loopback() {
		return 0 // RFC 4291 section 2.5.5.1 does not count them
	}
	for _, list := range [...][]netip.Prefix{inPrefix, nat64} {
		for _, p := range list {
			if p.Bits() > bits && p.Contains(a) {
				bits = p.Bits()
			}
		}
	}
	return bits
}

// ValidNAT64 reports whether p is a prefix to translate below: RFC 6052 has
// six lengths.
func ValidNAT64(p netip.Prefix) bool {
	switch p.Bits() {
	case 32, 40, 48, 56, 64, 96:
		return p.Addr().Is6() && !p.Addr().Is4In6()
	}
	return false
}

// behind gives the IPv4 address behind a prefix: RFC 6052 section 2.2 leaves
// byte 8 out.
func behind(b [16]byte, bits int) netip.Addr {
	var v4 [4]byte
	at := bits / 8
	for i := range v4 {
		if at == 8 {
			at++
		}
		v4[i] = b[at]
		at++
	}
	return netip.AddrFrom4(v4)
}

func four(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b)) }
