package hosts

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func addrs(list ...string) (all []netip.Addr) {
	for _, s := range list {
		all = append(all, netip.MustParseAddr(s))
	}
	return all
}

func TestName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for s, want := range map[string]string{
		"example.com": "example.com", "Example.COM.": "example.com", "a": "a", "1and1.com": "1and1.com",
		"xn--bcher-kva.example": "xn--bcher-kva.example", "sip-1.example": "sip-1.example", "10.0.0.a1": "10.0.0.a1", long + ".example": long + ".example",
	} {
		name, ok := Name(s)
		require.True(t, ok, s)
		require.Equal(t, want, name)
	}
	for _, s := range []string{
		"", ".", "..", "a..b", ".a", "a..", "-a", "a-", "a.-b", "10.0.0.300", "10.0.0.1", "1", "a.1", "exa mple.com", "a_b.com", "a\x00b", "b\u00fccher.example",
		"example\u3002com", "[::1]", "::1", "10.0.0.0/24", "*.example.com", long + "a.example", strings.Repeat("a.", 127) + "aa",
	} {
		_, ok := Name(s)
		require.False(t, ok, "%q", s)
	}
}

func TestRead(t *testing.T) {
	for _, c := range []struct {
		host string
		kind Kind
		want []netip.Addr
	}{
		{"10.0.0.1", Address, addrs("10.0.0.1")},
		{"[2001:DB8:0:0::1]", Address, addrs("2001:db8::1")},
		{"[::ffff:10.0.0.1]", Address, addrs("::ffff:10.0.0.1")},
		{"gw.example.com", Domain, nil},
		{"GW_1.example.com.", Domain, nil},

		{"10.0.0.1.", Bad, addrs("10.0.0.1")},
		{"[10.0.0.1]", Bad, addrs("10.0.0.1")},
		{"2001:db8::1", Bad, addrs("2001:db8::1")},
		{"[2001:db8::1%25eth0]", Bad, addrs("2001:db8::1")},
		{"[::1%", Bad, addrs("::1")},
		{"::1%a", Bad, addrs("::1")},
		{"10.0.0.1 junk", Bad, addrs("10.0.0.1")},
		{"10.1", Bad, addrs("10.0.0.1")},
		{"012.0.0.1", Bad, addrs("12.0.0.1", "10.0.0.1")},
		{"08.0.0.1", Bad, addrs("8.0.0.1")},
		{"0xa.0.0.0x1", Bad, addrs("10.0.0.1")},
		{"167772161", Bad, addrs("10.0.0.1")},
		{"266.0.0.1", Bad, addrs("10.0.0.1")},  // without a range check
		{"4462739457", Bad, addrs("10.0.0.1")}, // the same
		{"127..0.77", Bad, addrs("127.0.0.77")},
		{"[2001:db8::00001]", Bad, addrs("2001:db8::1")},
		{"[::ffff:012.0.0.1]", Bad, addrs("::ffff:12.0.0.1", "::ffff:10.0.0.1")},
		{"1.2.3.4.5", Bad, nil},
		{"", Bad, nil},
		{".", Bad, nil},
		{"...", Bad, nil},
		{"99999999999999999999", Bad, nil},
		{"%31", Bad, nil},
		{"a b", Bad, nil},
		{"x[", Bad, nil},
		{"foo.0xa", Bad, nil},
		{"foo.1", Bad, nil},
		{"１0.0.0.1", Bad, nil},
	} {
		got, kind := Read(nil, c.host)
		require.Equal(t, c.kind, kind, "%q", c.host)
		require.Equal(t, c.want, got, "%q", c.host)
	}
}

func TestReadValue(t *testing.T) {
	for _, c := range []struct {
		value, host string
		kind        Kind
		want        []netip.Addr
	}{
		{"10.0.0.1", "10.0.0.1", Address, addrs("10.0.0.1")},
		{"10.0.0.1:5060", "10.0.0.1", Address, addrs("10.0.0.1")},
		{"10.0.0.1~5060~1", "10.0.0.1", Address, addrs("10.0.0.1")},
		{"[2001:db8::1]:5060", "[2001:db8::1]", Address, addrs("2001:db8::1")},
		{"[2001:db8::1]~5060~ws", "[2001:db8::1]", Address, addrs("2001:db8::1")},
		{"2001:db8::1", "2001:db8::1", Address, addrs("2001:db8::1")},
		{"2001:db8::1:5060", "2001:db8::1:5060", Address, addrs("2001:db8::1:5060", "2001:db8::1")},
		{"gw.example.com:5060", "gw.example.com", Domain, nil},
		{"10.1:5060", "10.1", Bad, addrs("10.0.0.1")},
		{"10.0.0.2~10.0.0.1~1", "10.0.0.2~10.0.0.1~1", Bad, nil},
		{"10.0.0.2:10.0.0.1", "10.0.0.2:10.0.0.1", Bad, nil},
		{"[2001:db8::1]gw.example:5060", "[2001:db8::1]gw.example:5060", Bad, nil},
		{"fe80::1%eth0", "fe80::1%eth0", Bad, addrs("fe80::1")},
		{":5060", "", Bad, nil},
		{"", "", Bad, nil},
	} {
		require.Equal(t, c.host, CutPort(c.value), c.value)
		got, kind := ReadValue(nil, c.host)
		require.Equal(t, c.kind, kind, c.value)
		require.Equal(t, c.want, got, c.value)
	}
}

// inetAton does what inet_aton(3) of glibc does, in its words: it is what Read
// must know at least.
func inetAton(s string) (a netip.Addr, ok bool) {
	var parts []uint64
	for {
		end := 0
		for end < len(s) && (s[end] >= '0' && s[end] <= '9' || s[end]|32 >= 'a' && s[end]|32 <= 'f' || s[end]|32 == 'x') {
			end++
		}
		if end == 0 || s[0] < '0' || s[0] > '9' {
			return a, false
		}
		digits, base := s[:end], 10
		switch {
		case strings.HasPrefix(digits, "0x"), strings.HasPrefix(digits, "0X"):
			digits, base = digits[2:], 16
		case digits != "0" && digits[0] == '0':
			base = 8
		}
		n, err := strconv.ParseUint(digits, base, 32)
		if err != nil {
			return a, false
		}
		parts, s = append(parts, n), s[end:]
		if s == "" || s[0] != '.' || len(parts) == 4 {
			break
		}
		s = s[1:]
	}
	if s != "" && !strings.ContainsRune(" \t\n\v\f\r", rune(s[0])) {
		return a, false
	}
	last := len(parts) - 1
	v := parts[last]
	if v >= 1<<(8*(4-last)) {
		return a, false
	}
	for i, p := range parts[:last] {
		if p > 255 {
			return a, false
		}
		v |= p << (24 - 8*i)
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// Read finds every spelling that inet_aton or netip take for an address, and
// says of none that it is a name.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		"10.0.0.1", "[::ffff:10.0.0.1]", "0xa.1", "a.b", "[2001:db8::1%25x]", "%", "[", "1..2", "99999999999999999999", "0377.0x.08", "1.2.3.4 x", "0b1", "0o7", "::1.2.3.04",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		got, kind := Read(nil, host)
		if a, ok := inetAton(host); ok {
			require.Contains(t, got, a, "%q", host)
			require.NotEqual(t, Domain, kind, "%q", host)
		}
		if a, err := netip.ParseAddr(host); err == nil {
			require.Contains(t, got, a.WithZone(""), "%q", host)
			require.Equal(t, a.Is4(), kind == Address, "%q", host)
		}
		switch kind {
		case Address:
			require.Len(t, got, 1)
			a, err := netip.ParseAddr(strings.Trim(host, "[]"))
			require.NoError(t, err)
			require.Equal(t, got[0], a)
		case Domain:
			require.Empty(t, got)
			name, ok := Name(strings.ReplaceAll(host, "_", "z"))
			require.True(t, ok, "%q", host)
			require.False(t, Numeric(name), "%q", host)
		}
		if a, kind := ReadValue(nil, host); kind == Domain {
			require.Empty(t, a)
		}
		CutPort(host)
	})
}

// encodings write an IPv4 address into IPv6, in every way there is.
var encodings = map[string]func(v4 [4]byte) string{
	"mapped":     func(b [4]byte) string { return "::ffff:" + group(b[0], b[1]) + ":" + group(b[2], b[3]) },
	"compatible": func(b [4]byte) string { return "::" + group(b[0], b[1]) + ":" + group(b[2], b[3]) },
	"translated": func(b [4]byte) string { return "::ffff:0:" + group(b[0], b[1]) + ":" + group(b[2], b[3]) },
	"nat64":      func(b [4]byte) string { return "64:ff9b::" + group(b[0], b[1]) + ":" + group(b[2], b[3]) },
	"local nat64": func(b [4]byte) string {
		return "64:ff9b:1:" + group(b[0], b[1]) + ":" + group(0, b[2]) + ":" + group(b[3], 0) + "::"
	},
	"6to4": func(b [4]byte) string { return "2002:" + group(b[0], b[1]) + ":" + group(b[2], b[3]) + "::1" },
	"teredo": func(b [4]byte) string {
		return "2001::4136:e378:8000:63bf:" + group(^b[0], ^b[1]) + ":" + group(^b[2], ^b[3])
	},
	"teredo here":  func(b [4]byte) string { return "2001:0:" + group(b[0], b[1]) + ":" + group(b[2], b[3]) + ":8000:1:2:3" },
	"isatap":       func(b [4]byte) string { return "2001:db8::5efe:" + group(b[0], b[1]) + ":" + group(b[2], b[3]) },
	"isatap, wide": func(b [4]byte) string { return "2001:db8::200:5efe:" + group(b[0], b[1]) + ":" + group(b[2], b[3]) },
}

func group(hi, lo byte) string { return strconv.FormatUint(uint64(hi)<<8|uint64(lo), 16) }

func TestEmbedded(t *testing.T) {
	for name, encode := range encodings {
		for _, v4 := range []string{"192.0.2.33", "10.0.0.1", "255.255.255.254", "1.0.0.0"} {
			want := netip.MustParseAddr(v4)
			got := Embedded(nil, netip.MustParseAddr(encode(want.As4())), nil)
			require.Contains(t, got, want, "%s %s", name, v4)
		}
	}
	for s, want := range map[string][]netip.Addr{
		"192.0.2.33":          addrs("192.0.2.33"),
		"::ffff:192.0.2.33":   addrs("192.0.2.33"),
		"2001:db8::1":         addrs("2001:db8::1"),
		"::1":                 addrs("::1"),
		"::":                  addrs("::"),
		"64:ff9b::192.0.2.33": addrs("64:ff9b::c000:221", "192.0.2.33"),
		"64:ff9b:2::1":        addrs("64:ff9b:2::1"),
		"fe80::1%eth0":        addrs("fe80::1"),
		// One address of RFC 4380 section 4: server, and client behind a NAT.
		"2001::4136:e378:8000:63bf:3fff:fdd2": addrs("2001::4136:e378:8000:63bf:3fff:fdd2", "65.54.227.120", "192.0.2.45"),
	} {
		require.Equal(t, want, Embedded(nil, netip.MustParseAddr(s), nil), s)
	}
}

// The table of RFC 6052 section 2.4.
func TestEmbeddedBelowPrefixesOfRFC6052(t *testing.T) {
	want := netip.MustParseAddr("192.0.2.33")
	for prefix, s := range map[string]string{
		"2001:db8::/32":             "2001:db8:c000:221::",
		"2001:db8:100::/40":         "2001:db8:1c0:2:21::",
		"2001:db8:122::/48":         "2001:db8:122:c000:2:2100::",
		"2001:db8:122:300::/56":     "2001:db8:122:3c0:0:221::",
		"2001:db8:122:344::/64":     "2001:db8:122:344:c0:2:2100::",
		"2001:db8:122:344::/96":     "2001:db8:122:344::192.0.2.33",
		"64:ff9b:1:abcd::/96":       "64:ff9b:1:abcd::192.0.2.33", // longer than the known /48
		"2001:db8:122:344:5::/96":   "2001:db8:122:344:5::192.0.2.33",
		"2001:db8:122:344:0:6::/96": "2001:db8:122:344:0:6:192.0.2.33",
	} {
		p := netip.MustParsePrefix(prefix)
		require.True(t, ValidNAT64(p), prefix)
		require.Equal(t, []netip.Addr{netip.MustParseAddr(s), want}, Embedded(nil, netip.MustParseAddr(s), []netip.Prefix{p}), prefix)
	}
	nested := []netip.Prefix{netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2001:db8:122:344::/64")}
	require.Equal(t, want, Embedded(nil, netip.MustParseAddr("2001:db8:122:344:c0:2:2100::"), nested)[1])
	for _, p := range []netip.Prefix{
		{}, netip.MustParsePrefix("2001:db8::/33"), netip.MustParsePrefix("2001:db8::/128"), netip.MustParsePrefix("192.0.0.0/32"), netip.MustParsePrefix("::ffff:0:0/96"),
	} {
		require.False(t, ValidNAT64(p), p)
	}
}

// isSpecial is the meaning of Special in the words of netip.
func isSpecial(a netip.Addr) bool {
	metadata := a == netip.MustParseAddr("169.254.169.254") || a == netip.MustParseAddr("fd00:ec2::254")
	broadcast := a == netip.MustParseAddr("255.255.255.255")
	return metadata || broadcast || a.IsUnspecified() || a.Is4() && a.As4()[0] == 0 || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast()
}

func TestSpecial(t *testing.T) {
	for s, want := range map[string]string{
		"0.0.0.0": "an unspecified address", "0.1.2.3": "an unspecified address", "::": "an unspecified address",
		"127.0.0.1": "a loopback address", "127.255.255.255": "a loopback address", "::1": "a loopback address",
		"169.254.1.1": "a link-local address", "fe80::1": "a link-local address", "febf::1": "a link-local address",
		"169.254.169.254": "the metadata address of clouds", "fd00:ec2::254": "the metadata address of clouds",
		"224.0.1.75": "a multicast address", "239.255.255.255": "a multicast address", "ff02::1": "a multicast address",
		"255.255.255.255": "the broadcast address",
		"1.0.0.0":         "", "126.255.255.255": "", "128.0.0.0": "", "169.253.255.255": "", "223.255.255.255": "", "240.0.0.1": "", "255.255.255.254": "",
		"10.0.0.1": "", "2001:db8::1": "", "fec0::1": "", "::2": "",
	} {
		a := netip.MustParseAddr(s)
		require.Equal(t, want, Special(a), s)
		require.Equal(t, want != "", isSpecial(a), s)
		require.Equal(t, want != "", HoldsSpecial(netip.PrefixFrom(a, a.BitLen())), s)
	}
	require.Empty(t, Special(netip.Addr{}))
	require.True(t, HoldsSpecial(netip.MustParsePrefix("0.0.0.0/0")))
	require.True(t, HoldsSpecial(netip.MustParsePrefix("127.0.0.0/8")))
	require.False(t, HoldsSpecial(netip.MustParsePrefix("10.0.0.0/8")))
	require.False(t, HoldsSpecial(netip.Prefix{}))
}

func FuzzSpecialAndEmbedded(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add(make([]byte, 16))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		a = a.Unmap()
		require.Equal(t, isSpecial(a), Special(a) != "", a)
		if a.Is4() {
			for name, encode := range encodings {
				if name != "compatible" || a.As4()[0] != 0 { // "::" and "::1" are themselves
					require.Contains(t, Embedded(nil, netip.MustParseAddr(encode(a.As4())), nil), a, name)
				}
			}
		}
		require.Equal(t, a, Embedded(nil, a, nil)[0])
	})
}

func found(text string) (words []string) {
	for text != "" {
		word, look, rest := Next(text)
		switch look {
		case LooksAddress:
			words = append(words, word)
		case LooksNumber:
			words = append(words, word+" number")
		case LooksName:
			words = append(words, word+" name")
		}
		text = rest
	}
	return words
}

func TestNext(t *testing.T) {
	for text, want := range map[string][]string{
		"10.0.0.1":                       {"10.0.0.1"},
		"10.0.0.1:5060":                  {"10.0.0.1"},
		"10.0.0.1~5060~1":                {"10.0.0.1"},
		"(10.0.0.1/24), 012.0.0.1.":      {"10.0.0.1", "012.0.0.1"},
		"sip:bob@10.0.0.1;lr":            {"10.0.0.1"},
		"[2001:db8::1]:5060":             {"2001:db8::1"},
		"2001:db8::1:5060":               {"2001:db8::1:5060"},
		"sip:2001:db8::1.":               {"2001:db8::1"},
		"fe80::1%eth0":                   {"fe80::1"},
		"::1":                            {"::1"},
		"1:2:3:4:5:6:7:8:5060":           {"1:2:3:4:5:6:7:8:5060"},
		"::ffff:0x7f.1":                  {"::ffff:0x7f.1"},
		"167772161":                      {"167772161 number"},
		"0x0a000001 10.1":                {"0x0a000001 number", "10.1 number"},
		"1.0":                            {"1.0 number"}, // of q
		"gw.example.com:5060 gw_1.local": {"gw.example.com name", "gw_1.local name"},

		// What stands in ordinary Contacts.
		"":                           nil,
		"3600":                       nil,
		"0.5":                        nil,
		"5060":                       nil,
		"no":                         nil,
		"tcp":                        nil,
		"10-1":                       nil,
		"a:b:c":                      nil,
		"12:30":                      nil,
		"1.2.3.4.5":                  nil,
		"256.1.1.1":                  nil,
		"15551234567":                nil,
		"99999999999999999999999999": nil,
		"00:1A:2B:3C:4D:5E":          nil,
		"INVITE, ACK, BYE":           nil,
		"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>": nil,
		"<urn:uuid:00000000-0000-1000-8000-000B82000148>": nil,
		strings.Repeat("a:", 200) + "x":                   nil,
	} {
		require.Equal(t, want, found(text), "%q", text)
	}
	require.Equal(t, addrs("2001:db8::1:5060", "2001:db8::1"), Mentioned(nil, "2001:db8::1:5060"))
	require.Equal(t, addrs("12.0.0.1", "10.0.0.1"), Mentioned(nil, "012.0.0.1"))
	require.Empty(t, Mentioned(nil, "266.0.0.1"))
}

// slowAddrs is what must be found in a text: every word that netip or
// inet_aton take for an address, alone or with a port.
func slowAddrs(text string) (all []netip.Addr) {
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r > 'z' || !isWord(byte(r)) && r != ':' }) {
		for _, s := range []string{w, strings.Trim(w, ".-_")} {
			if ap, err := netip.ParseAddrPort(s); err == nil {
				all = append(all, ap.Addr())
			}
			if a, err := netip.ParseAddr(s); err == nil {
				all = append(all, a)
			}
			if a, ok := inetAton(s); ok && (a.As4()[0] != 0 || strings.Count(s, ".") == 3) {
				all = append(all, a)
			}
		}
	}
	return all
}

func FuzzNext(f *testing.F) {
	for _, s := range []string{
		"10.0.0.1:5060", "a=[2001:db8::1]:5060;b", "x 012.1 0x7f000001", "::ffff:1.2.3.4.", "a::b:1.2.3.4", "1:2:3:4:5:6:7:8:9", "-1.2.3.4-", "1.2.3.4:::1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var got []netip.Addr
		for rest := text; rest != ""; {
			word, look, next := Next(rest)
			require.Less(t, len(next), len(rest))
			require.Contains(t, rest, word)
			switch rest = next; look {
			case LooksAddress, LooksNumber:
				read := Mentioned(nil, word)
				require.NotEmpty(t, read, word)
				got = append(got, read...)
			case LooksName:
				_, ok := Name(strings.ReplaceAll(word, "_", "z"))
				require.True(t, ok, word)
			case LooksNothing:
				require.Empty(t, next)
			}
		}
		for _, a := range slowAddrs(text) {
			require.True(t, slices.Contains(got, a), "%s in %q", a, text)
		}
	})
}

func TestUnescape(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "a": "a", "%31%2e1": "1.1", "%3A": ":", "%3": "%3", "%": "%", "%zz": "%zz", "%2531": "%31", "%5c": `\`,
	} {
		require.Equal(t, want, Unescape(s), s)
	}
}
