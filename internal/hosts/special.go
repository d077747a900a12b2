package hosts

import "net/netip"

// special are the addresses that mean something else on every host. A longer
// prefix stands before one that holds it.
var special = [...]struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"},
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("169.254.169.254/32"), "the metadata address of clouds"},
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "the broadcast address"},
	{netip.MustParsePrefix("::/128"), "an unspecified address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "the metadata address of clouds"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
}

// Special says what a is if it leads to the host itself, its link or many
// hosts at once, and "" if it leads to one host as others do. a is unmapped.
func Special(a netip.Addr) string {
	for i := range special {
		if special[i].prefix.Contains(a) {
			return special[i].what
		}
	}
	return ""
}

// HoldsSpecial reports whether an address of p is special.
func HoldsSpecial(p netip.Prefix) bool {
	for i := range special {
		if special[i].prefix.Overlaps(p) {
			return true
		}
	}
	return false
}
