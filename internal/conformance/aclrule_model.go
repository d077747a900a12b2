package conformance

import (
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// origRule is one rule: an item of a permit or deny line.
type origRule struct {
	permit, six bool
	net, mask   [16]byte // IPv4 in the first 4
}

// value reads the value of a permit or deny line up to its first mistake.
func (m *aclOriginal) value(permit bool, value string) (rules []origRule, ok bool) {
	for _, item := range strings.Split(value, ",") {
		r, ok := m.item(permit, item)
		if !ok {
			return rules, false
		}
		rules = append(rules, r)
	}
	return rules, true
}

func (m *aclOriginal) item(permit bool, item string) (origRule, bool) {
	if t := strings.Trim(item, " \t"); t != item {
		_, lenientOK := lenientItem(permit, item)
		_, strictOK := strictItem(permit, t)
		if (lenientOK != strictOK || m.on&aclBlanks != 0) && m.is(aclBlanks) {
			item = t
		}
	}
	lenient, lenientOK := lenientItem(permit, item)
	strict, strictOK := strictItem(permit, item)
	if (strict != lenient || strictOK != lenientOK) && m.is(aclLiteral) {
		return strict, strictOK
	}
	return lenient, lenientOK
}

// lenientItem reads an item as the original does.
func lenientItem(permit bool, item string) (r origRule, ok bool) {
	text, not := strings.CutPrefix(item, "!")
	host, mask, has := strings.Cut(text, "/")
	a, ok := lenientAddr(host)
	if !ok {
		return r, false
	}
	bits := a.BitLen()
	m := onesMask(bits, bits)
	switch {
	case !has:
	case strings.ContainsAny(mask, ".:"):
		n, ok := lenientAddr(mask)
		if !ok || n.Is4() != a.Is4() {
			return r, false
		}
		m = bytes16(n)
	default:
		n, ok := scanInt(mask)
		if !ok || n < 0 || int(n) > bits {
			return r, false
		}
		m = onesMask(int(n), bits)
	}
	return makeRule(permit != not, a, m), true
}

func makeRule(permit bool, a netip.Addr, mask [16]byte) origRule {
	r := origRule{permit: permit, six: a.Is6(), net: bytes16(a), mask: mask}
	for i := range r.net {
		r.net[i] &= mask[i]
	}
	return r
}

func bytes16(a netip.Addr) (b [16]byte) {
	copy(b[:], a.AsSlice())
	return b
}

func onesMask(n, bits int) (b [16]byte) {
	copy(b[:], net.CIDRMask(n, bits))
	return b
}

// scanInt is sscanf("%30d") into a 32 bit integer.
func scanInt(s string) (int32, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	s = s[:min(len(s), 30)]
	end := 0
	if end < len(s) && (s[end] == '-' || s[end] == '+') {
		end++
	}
	first := end
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	if end == first {
		return 0, false
	}
	n, _ := strconv.ParseInt(s[:end], 10, 64) // saturates
	return int32(n), true
}

// lenientAddr reads an address as the original does; mapped ones are IPv4.
func lenientAddr(s string) (netip.Addr, bool) {
	if strings.HasPrefix(s, "[") {
		host, rest, _ := strings.Cut(s[1:], "]")
		if strings.HasPrefix(rest, ":") {
			return netip.Addr{}, false
		}
		s = host
	} else if strings.Count(s, ":") == 1 {
		return netip.Addr{}, false
	}
	if !strings.Contains(s, ":") {
		return inetAton(s)
	}
	host, scope, scoped := strings.Cut(s, "%")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return a, false
	}
	if scoped {
		_, err := strconv.ParseUint(scope, 10, 32)
		if err != nil && !(a.IsLinkLocalUnicast() && scope == "lo") {
			return a, false
		}
	}
	return a.Unmap(), true
}

func inetAton(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		n, ok := cNumber(p)
		last := i == len(parts)-1
		most := uint64(255)
		if last {
			most = 1<<(8*(4-i)) - 1
		}
		if !ok || n > most {
			return netip.Addr{}, false
		}
		if last {
			v |= n
		} else {
			v |= n << (8 * (3 - i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// cNumber reads 12, 014 and 0xc.
func cNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	if s == "" || s[0] == '+' || s[0] == '-' || strings.Contains(s, "_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

var (
	dottedQuad = regexp.MustCompile(`^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$`)
	decimal    = regexp.MustCompile(`^(0|[1-9]\d{0,2})$`)
	bracketed6 = regexp.MustCompile(`^\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]$`)
)

// strictItem reads what decision acl-literal admits.
func strictItem(permit bool, item string) (r origRule, ok bool) {
	text, not := strings.CutPrefix(item, "!")
	host, mask, has := strings.Cut(text, "/")
	if b := bracketed6.FindStringSubmatch(host); b != nil {
		host = b[1]
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return r, false
	}
	quad := dottedQuad.MatchString(host)
	mapped := !quad && ip.To4() != nil
	bits := 128
	if quad {
		bits = 32
	}
	ones := bits
	if has {
		ones, ok = strictMask(mask, quad, mapped)
		if !ok || ones > bits || mapped && ones <= 96 {
			return r, false
		}
	}
	a, _ := netip.AddrFromSlice(ip.To16())
	if mapped {
		ones, bits = ones-96, 32
	}
	if bits == 32 {
		a = a.Unmap()
	}
	return makeRule(permit != not, a, onesMask(ones, bits)), true
}

// strictMask gives the ones of a mask behind an address in dotted quads, or
// behind a mapped one, of whose 128 bits they count.
func strictMask(mask string, quad, mapped bool) (ones int, ok bool) {
	ip := net.ParseIP(mask)
	switch {
	case decimal.MatchString(mask):
		ones, _ = strconv.Atoi(mask)
		return ones, true
	case ip == nil:
		return 0, false
	case dottedQuad.MatchString(mask):
		ones, bits := net.IPMask(ip.To4()).Size()
		if mapped {
			ones += 96
		}
		return ones, bits != 0 && (quad || mapped)
	case quad, strings.Contains(mask, ".") && ip.To4() != nil:
		return 0, false
	}
	ones, bits := net.IPMask(ip.To16()).Size()
	return ones, bits != 0
}

func (r origRule) matches(addr [16]byte) bool {
	for i := range addr {
		if addr[i]&r.mask[i] != r.net[i] {
			return false
		}
	}
	return true
}

// deniesFamily reports whether rules deny a family as decision acl-family has
// it: in one rule or in parts. A part that a later rule permits again, all of
// it, does not count.
func deniesFamily(rules []origRule, six bool) bool {
	var denied []origRule
	for i, r := range rules {
		if r.six == six && !r.permit && !permittedAgain(r, rules[i+1:]) {
			denied = append(denied, r)
		}
	}
	// Who walks from the first address over all that is denied comes to the end.
	var at [16]byte
	for range denied {
		for _, r := range denied {
			if r.matches(at) {
				if at = r.behind(); at == ([16]byte{}) {
					return true
				}
			}
		}
	}
	return false
}

// permittedAgain reports whether the last of the rules that cover r permits.
func permittedAgain(r origRule, later []origRule) (again bool) {
	for _, l := range later {
		if l.six == r.six && l.covers(r) {
			again = l.permit
		}
	}
	return again
}

func (r origRule) covers(o origRule) bool {
	for i := range r.mask {
		if r.mask[i]&^o.mask[i] != 0 {
			return false
		}
	}
	return r.matches(o.net)
}

// behind is the first address behind the network, zero behind the last one of
// the family.
func (r origRule) behind() (addr [16]byte) {
	n := 4
	if r.six {
		n = 16
	}
	carry := 1
	for i := n - 1; i >= 0; i-- {
		v := int(r.net[i]|^r.mask[i]) + carry
		addr[i], carry = byte(v), v>>8
	}
	return addr
}
