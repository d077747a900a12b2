package conformance

import (
	"net/netip"
	"slices"
	"strings"
)

// literal reads an address of a row or of a query.
func (t *modelTable) literal(s string, row bool) (netip.Addr, bool) {
	exact := strings.Trim(s, " \t")
	if bare, zone, zoned := strings.Cut(exact, "%"); zoned {
		if a, err := netip.ParseAddr(bare); t.on.has(addrZone) && !row && err == nil && a.Is6() && zone != "" {
			return t.plain(a), true
		}
		return netip.Addr{}, false
	}
	if t.on.has(addrLiteral) {
		if strings.HasPrefix(exact, "[") && strings.HasSuffix(exact, "]") && strings.Contains(exact, ":") {
			exact = exact[1 : len(exact)-1]
		}
		a, err := netip.ParseAddr(exact)
		if !row {
			a = t.plain(a)
		}
		return a, err == nil
	}
	a, ok := t.lenient(s)
	if !row {
		a = t.plain(a)
	}
	return a, ok
}

func (t *modelTable) plain(a netip.Addr) netip.Addr {
	if t.on.has(addrMapped) {
		return a.Unmap()
	}
	return a
}

// lenient reads what the original takes for an address.
func (t *modelTable) lenient(s string) (netip.Addr, bool) {
	if t.of.kamailio {
		if strings.HasPrefix(s, "[") || strings.Contains(s, ":") {
			return lenient6(s, true)
		}
		return kamailio4(s)
	}
	if a, ok := openSIPS4(s); ok {
		return a, true
	}
	return lenient6(s, false)
}

// openSIPS4 accepts an empty last octet.
func openSIPS4(s string) (netip.Addr, bool) {
	octets := strings.Split(s, ".")
	if len(octets) != 4 || strings.Trim(s, "0123456789.") != "" {
		return netip.Addr{}, false
	}
	if octets[3] == "" {
		octets[3] = "0"
	}
	a, err := netip.ParseAddr(strings.Join(octets, "."))
	return a, err == nil
}

// kamailio4 wants three dots among digits; octets may be empty and wrap.
func kamailio4(s string) (netip.Addr, bool) {
	var octets [4]byte
	i := 0
	for _, c := range []byte(s) {
		switch {
		case c == '.' && i < 3:
			i++
		case c >= '0' && c <= '9':
			octets[i] = octets[i]*10 + c - '0'
		default:
			return netip.Addr{}, false
		}
	}
	if i < 3 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4(octets), true
}

// lenient6 cuts groups to 16 bits. A lone colon at an edge is an empty group
// to OpenSIPS and, after "::", nothing at all to Kamailio.
func lenient6(s string, kamailio bool) (netip.Addr, bool) {
	if strings.HasPrefix(s, "[") != strings.HasSuffix(s, "]") {
		return netip.Addr{}, false
	}
	s = strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	if len(s) < 2 || strings.Count(s, ":") > 7 || strings.Contains(s, ":::") || strings.Count(s, "::") > 1 {
		return netip.Addr{}, false
	}
	left, right, open := strings.Cut(s, "::")
	head, ok1 := groups6(left, false)
	tail, ok2 := groups6(right, kamailio)
	n := len(head) + len(tail)
	if !ok1 || !ok2 || n > 8 || !open && n != 8 {
		return netip.Addr{}, false
	}
	all := slices.Concat(head, make([]uint16, 8-n), tail)
	var b [16]byte
	for i, g := range all {
		b[2*i], b[2*i+1] = byte(g>>8), byte(g)
	}
	return netip.AddrFrom16(b), true
}

func groups6(s string, skipEmpty bool) (groups []uint16, ok bool) {
	if s == "" {
		return nil, true
	}
	for g := range strings.SplitSeq(s, ":") {
		if g == "" && skipEmpty {
			continue
		}
		var n uint16
		for _, c := range []byte(strings.ToLower(g)) {
			i := strings.IndexByte("0123456789abcdef", c)
			if i < 0 {
				return nil, false
			}
			n = n<<4 | uint16(i)
		}
		groups = append(groups, n)
	}
	return groups, true
}

// modelName is the name that is compared, "" for what is no host name.
func modelName(s string) string {
	s = strings.ToLower(strings.TrimSuffix(s, "."))
	labels := strings.Split(s, ".")
	for _, l := range labels {
		inner := strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-")
		if l == "" || len(l) > 63 || inner != "" || strings.HasPrefix(l, "-") || strings.HasSuffix(l, "-") {
			return ""
		}
	}
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" || len(s) > 253 {
		return ""
	}
	return s
}
