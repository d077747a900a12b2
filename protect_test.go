package sipacl

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

func prefixes(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// registers asks p about a REGISTER with these header fields.
func registers(p *Protector, fields string) Decision {
	return p.CheckRegister(RequestOf(mustRequest("REGISTER", fields), nil))
}

// Each row is another place or spelling by which a REGISTER leads to
// 203.0.113.77, or to an address that is always protected.
func TestHostileRegisters(t *testing.T) {
	p := must(NewProtector(ProtectConfig{
		Prefixes: prefixes("203.0.113.77/32"), Partition: mustPartition(AddressRow{Group: 3, Host: "gw.example.com"}), Groups: []GroupID{3},
		HostNames: PassHostNames, NAT64: prefixes("2001:db8:64::/56"),
	}))
	const phone = "Contact: <sip:a@192.0.2.1>\n"
	for _, c := range []struct {
		fields string
		cause  Cause
		info   string
	}{
		// Every Contact, long and compact, whatever it is parsed as.
		{"Contact: <sip:a@203.0.113.77>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"m: sip:a@203.0.113.77:5070;q=1", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{phone + "m: <sip:a@192.0.2.2>, \"x\" <sips:203.0.113.77>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: *\n" + phone, CauseMalformed, "Contact: beside another"},
		{"Contact: *;expires=0", CauseMalformed, "Contact: scheme"},
		{"Contact: <http://192.0.2.1>", CauseMalformed, "Contact: scheme"},
		{"Contact: <tel:+1@203.0.113.77>", CauseMalformed, "Contact: a host in a URI that has none"},
		{"Contact: <tel:+1;maddr=203.0.113.77>", CauseProtected, "Contact: 203.0.113.77 is protected"},

		// Hosts that lead elsewhere, in the URI and behind it.
		{"Contact: <sip:a@192.0.2.1;maddr=203.0.113.77>", CauseProtected, "Contact maddr: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1>;MADDR=203.0.113.77", CauseProtected, "Contact MADDR: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;received=203.0.113.77:5060>", CauseProtected, "Contact received: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1>;received=\"sip:203.0.113.77:5060\"", CauseProtected, "Contact received: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;alias=203.0.113.77~5060~1>", CauseProtected, "Contact alias: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;alias=192.0.2.1~203.0.113.77~1>", CauseMalformed, "Contact alias: neither a canonical address nor a host name"},
		{"Contact: <sip:a@192.0.2.1;maddr>", CauseMalformed, "Contact maddr: neither a canonical address nor a host name"},
		{"Contact: <sip:a@192.0.2.1;fs_nat=yes;fs_path=sip%3A203.0.113.77%3A5060%3Blr>", CauseProtected, "Contact fs_path: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;fs_path=%3Csip%3A192.0.2.9%3E%2C%3Csip%3A192.0.2.8%3Bmaddr%3D203.0.113.77%3E>", CauseProtected, "Contact maddr: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;fs_path=sip%253Agw.example.com>", CauseProtected, "Contact fs_path: gw.example.com is protected"},
		{"Contact: <sip:a@192.0.2.1;x-ast-orig-host=203.0.113.77;x-ast-orig-port=5060>", CauseProtected, "Contact x-ast-orig-host: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;x-ast-orig-host=gw.example.com>", CauseProtected, "Contact x-ast-orig-host: gw.example.com is protected"},

		// Any other value.
		{"Contact: <sip:a@192.0.2.1;x-ast-orig-port=203.0.113.77>", CauseProtected, "Contact x-ast-orig-port: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1>;reg-id=203.0.113.77", CauseProtected, "Contact reg-id: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1>;reg-id=3405803853", CauseProtected, "Contact reg-id: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1>;x=\"0xcb.0.0x714d\"", CauseProtected, "Contact x: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;x=%32%30%33.0.113%2e77>", CauseProtected, "Contact x: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;x=203%25252e0.113.77>", CauseProtected, "Contact x: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;x=203%2525252e0.113.77>", CauseMalformed, "Contact x: escapes of escapes"},
		{"Contact: <sip:a@192.0.2.1>;x=\"2\\03.0.113.77\"", CauseProtected, "Contact x: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;x=[::ffff:203.0.113.77]:5060>", CauseProtected, "Contact x: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;x=gw.example.com:5060>", CauseProtected, "Contact x: gw.example.com is protected"},
		{"Contact: <sip:a@192.0.2.1?Route=%3Csip:203.0.113.77;lr%3E>", CauseMalformed, "Contact: a parameter may hide another"},
		{"Contact: <sip:a@192.0.2.1?Route=%3Csip:203.0.113.77%3Blr%3E>", CauseProtected, "Contact Route: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1?X=x&Y=203.0.113.77>", CauseProtected, "Contact Y: 203.0.113.77 is protected"},
		{`Contact: <sip:a@192.0.2.1>;a=", <sip:+1900@203.0.113.77:15060>, sip:z@192.0.2.5?a"`, CauseMalformed, "Contact a: no address"},
		{`Contact: "a\" <sip:b@203.0.113.77>" <sip:a@192.0.2.1>`, CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@192.0.2.1;fs_path=" + url.QueryEscape(strings.Repeat("sip:192.0.2.9?x=", 3)+"sip:203.0.113.77") + ">", CauseMalformed, "Contact x: URIs in URIs"},

		// Path, Route and Record-Route.
		{phone + "Path: <sip:192.0.2.9;lr>, <sip:203.0.113.77;lr>", CauseProtected, "Path: 203.0.113.77 is protected"},
		{phone + "path: <sip:192.0.2.9;lr;received=sip:203.0.113.77:5060%3Btransport%3Dtcp>", CauseProtected, "Path received: 203.0.113.77 is protected"},
		{phone + "Path: <sip:192.0.2.9;lr>;x=203.0.113.77", CauseProtected, "Path x: 203.0.113.77 is protected"},
		{phone + "Route: <sip:203.0.113.77;lr>", CauseProtected, "Route: 203.0.113.77 is protected"},
		{phone + "Route: <sip:192.0.2.9;lr;maddr=203.0.113.77>", CauseProtected, "Route maddr: 203.0.113.77 is protected"},
		{phone + "Record-Route: <sip:192.0.2.9;lr>,<sip:203.0.113.77;lr>", CauseProtected, "Record-Route: 203.0.113.77 is protected"},

		// What sipgo reads otherwise than others do.
		{phone + "Path: garbage", CauseMalformed, "Path: no address"},
		{phone + "Path: <sip:192.0.2.9;lr>,", CauseMalformed, "Path: no address"},
		{phone + "Path: <sip:192.0.2.9;maddr=203.0.113.77;maddr=192.0.2.9>", CauseMalformed, "Path: sipgo reads another address than was sent"},
		{phone + "Path: <sip:192.0.2.9>;maddr=203.0.113.77;maddr=192.0.2.9", CauseMalformed, "Path: sipgo reads another address than was sent"},
		{phone + "Path: <sip:x[2001:db8::1]@203.0.113.77;lr>", CauseMalformed, "Path: sipgo reads another address than was sent"},
		{phone + "Path: <sip:192.0.2.9:05060;lr>", CauseMalformed, "Path: sipgo reads another address than was sent"},
		{phone + "Path: <sip:192.0.2.9;lr> <sip:203.0.113.77>", CauseMalformed, "Path: sipgo reads another address than was sent"},
		{phone + "Route: <sip:192.0.2.9;lr;x=\"a b\";y>", CauseMalformed, "Route: sipgo forwards another address than it reads"},
		{phone + "Route: <sip:192.0.2.9:-5;lr>", CauseMalformed, "Route: sipgo forwards another address than it reads"},

		// IPv4 in IPv6.
		{"Contact: <sip:a@[::ffff:203.0.113.77]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[::203.0.113.77]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[::ffff:0:cb00:714d]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[64:ff9b::cb00:714d]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[64:ff9b:1:cb00:71:4d00::]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[2001:db8:64:cb:0:714d::]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[2002:cb00:714d::1]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[2001:0:cb00:714d::1]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[2001:0:c000:201:8000:63bf:34ff:8eb2]>", CauseProtected, "Contact: 203.0.113.77 is protected"},
		{"Contact: <sip:a@[2001:db8::5efe:cb00:714d]>", CauseProtected, "Contact: 203.0.113.77 is protected"},

		// Always protected.
		{"Contact: <sip:a@0.0.0.0>", CauseProtected, "Contact: 0.0.0.0 is an unspecified address"},
		{"Contact: <sip:a@[::]>", CauseProtected, "Contact: :: is an unspecified address"},
		{"Contact: <sip:a@127.0.0.1>", CauseProtected, "Contact: 127.0.0.1 is a loopback address"},
		{"Contact: <sip:a@2130706433>", CauseProtected, "Contact: 127.0.0.1 is a loopback address"},
		{"Contact: <sip:a@[::1]>", CauseProtected, "Contact: ::1 is a loopback address"},
		{"Contact: <sip:a@[::ffff:127.0.0.1]>", CauseProtected, "Contact: 127.0.0.1 is a loopback address"},
		{"Contact: <sip:a@169.254.1.1>", CauseProtected, "Contact: 169.254.1.1 is a link-local address"},
		{"Contact: <sip:a@[fe80::1]>", CauseProtected, "Contact: fe80::1 is a link-local address"},
		{"Contact: <sip:a@192.0.2.1;maddr=169.254.169.254>", CauseProtected, "Contact maddr: 169.254.169.254 is the metadata address of clouds"},
		{"Contact: <sip:a@192.0.2.1;maddr=224.0.1.75>", CauseProtected, "Contact maddr: 224.0.1.75 is a multicast address"},
		{"Contact: <sip:a@[ff02::1]>", CauseProtected, "Contact: ff02::1 is a multicast address"},
		{"Contact: <sip:a@255.255.255.255>", CauseProtected, "Contact: 255.255.255.255 is the broadcast address"},
		{phone + "Path: <sip:[64:ff9b::7f00:1];lr>", CauseProtected, "Path: 127.0.0.1 is a loopback address"},
	} {
		d := registers(p, c.fields)
		require.Equal(t, c.cause.String(), d.Cause.String(), "%s: %s", c.fields, d)
		require.Equal(t, c.info, d.Info, c.fields)
		require.False(t, d.Allowed)
	}
}

// What phones, browsers and edge proxies send passes the strictest config.
func TestOrdinaryRegisters(t *testing.T) {
	p := must(NewProtector(ProtectConfig{Prefixes: prefixes("203.0.113.0/24", "10.0.0.0/8", "0.0.0.0/8", "2001:db8:1::/48")}))
	names := must(NewProtector(ProtectConfig{HostNames: PassHostNames}))
	for _, fields := range []string{
		"",
		"Contact: *\nExpires: 0",
		"Contact: <tel:+15551234;phone-context=example.com>",
		"Contact: <sip:alice@192.0.2.1:5060;transport=tcp;ob;rport>;expires=3600;q=0.5;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000B82000148>\"",
		"Contact: \"Alice A\" <sip:alice@192.0.2.1:49160;rinstance=12345678>;q=1.0;expires=4294967295",
		"Contact: <sip:alice@192.0.2.1;alias=192.0.2.1~5060~1>",
		"Contact: <sip:alice@192.168.1.5:5060;fs_nat=yes;fs_path=sip%3A192.0.2.1%3A5060%3Btransport%3Dudp>",
		"Contact: <sip:alice@192.0.2.1>;received=\"sip:192.0.2.1:5060\";x=1",
		"Contact: <sip:alice@192.0.2.1;x-ast-orig-host=192.168.1.5;x-ast-orig-port=5060>",
		"Contact: <sip:alice@192.0.2.1;x-ast-orig-host=2001:db8::5>",
		"Contact: <sip:alice@[2001:db8::5]:5060;transport=tls;gr=urn:uuid:6591fd4b>",
		"Contact: <sip:+15557654321@192.0.2.1;user=phone>;+u.sip!model.ccm.cisco.com=\"622\";+u.sip!devicename.ccm.cisco.com=\"SEPC80084AA2354\"",
		"Contact: <sip:alice@192.0.2.1>;methods=\"INVITE, BYE\";audio;+g.3gpp.icsi-ref=\"urn%3Aurn-7%3A3gpp-service.ims.icsi.mmtel\"",
		"Contact: <sip:alice@192.0.2.1;pn-provider=fcm;pn-param=com.example.app;pn-prid=c8x:APA91bH-x_y>",
		"Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.2>;q=0.7\nm: sip:c@192.0.2.3;expires=60",
		"Contact: <sip:a@192.0.2.1>\nPath: <sip:192.0.2.9;lr>, \"edge\" <SIP:term@192.0.2.8:5061;transport=tls;lr;ob> ;x=\"y z\"",
		"Contact: <sip:a@192.0.2.1>\nPath: <sip:192.0.2.9;lr;received=sip:198.51.100.7:5060%3Btransport%3Dtcp>\nPath: <sip:192.0.2.9;lr;received=198.51.100.7~5060~1>",
		"Contact: <sip:a@192.0.2.1>\nPath: sip:192.0.2.9;lr",
		"Contact: <sip:a@192.0.2.1>\nRoute: <sip:192.0.2.9:5060;lr;transport=tcp>\nRecord-Route: <sip:192.0.2.9;r2=on;lr=on;ftag=1>",
		"Contact: <sip:a@192.0.2.1?X=y&Subject=hello>",
	} {
		for _, p := range []*Protector{p, names} {
			d := registers(p, fields)
			require.True(t, d.Allowed, "%s: %s", fields, d)
			require.Equal(t, CauseNotProtected, d.Cause)
		}
	}
	require.True(t, registers(names, "Contact: <sip:alice@df7jal23ls0d.invalid;transport=ws>").Allowed)
	require.Equal(t, "Contact: host names do not register", registers(p, "Contact: <sip:alice@df7jal23ls0d.invalid;transport=ws>").Info)
}

// spellings write an IPv4 address as the host of a URI.
var spellings = map[string]func(b [4]byte) string{
	"dotted":  func(b [4]byte) string { return netip.AddrFrom4(b).String() },
	"dot":     func(b [4]byte) string { return netip.AddrFrom4(b).String() + "." },
	"octal":   func(b [4]byte) string { return fmt.Sprintf("0%o.0%o.0%o.0%o", b[0], b[1], b[2], b[3]) },
	"hex":     func(b [4]byte) string { return fmt.Sprintf("0x%x.0X%X.%d.0x%x", b[0], b[1], b[2], b[3]) },
	"three":   func(b [4]byte) string { return fmt.Sprintf("%d.%d.%d", b[0], b[1], int(b[2])<<8|int(b[3])) },
	"two":     func(b [4]byte) string { return fmt.Sprintf("%d.%d", b[0], int(b[1])<<16|int(b[2])<<8|int(b[3])) },
	"one":     func(b [4]byte) string { return strconv.FormatUint(number(b), 10) },
	"one hex": func(b [4]byte) string { return fmt.Sprintf("0x%x", number(b)) },

	"mapped":     func(b [4]byte) string { return "[::ffff:" + netip.AddrFrom4(b).String() + "]" },
	"compatible": func(b [4]byte) string { return "[::" + netip.AddrFrom4(b).String() + "]" },
	"translated": func(b [4]byte) string { return "[::ffff:0:" + netip.AddrFrom4(b).String() + "]" },
	"nat64":      func(b [4]byte) string { return "[64:ff9b::" + netip.AddrFrom4(b).String() + "]" },
	"local nat64": func(b [4]byte) string {
		return fmt.Sprintf("[64:ff9b:1:%02x%02x:%02x:%02x00::]", b[0], b[1], b[2], b[3])
	},
	"own nat64": func(b [4]byte) string {
		return fmt.Sprintf("[2001:db8:64:%02x:%02x:%02x%02x::]", b[0], b[1], b[2], b[3])
	},
	"6to4": func(b [4]byte) string { return fmt.Sprintf("[2002:%02x%02x:%02x%02x::1]", b[0], b[1], b[2], b[3]) },
	"teredo": func(b [4]byte) string {
		return fmt.Sprintf("[2001:0:%02x%02x:%02x%02x:8000:1:2:3]", b[0], b[1], b[2], b[3])
	},
	"teredo here": func(b [4]byte) string {
		return fmt.Sprintf("[2001:0:c000:201:8000:63bf:%02x%02x:%02x%02x]", ^b[0], ^b[1], ^b[2], ^b[3])
	},
	"isatap":       func(b [4]byte) string { return "[2001:db8::5efe:" + netip.AddrFrom4(b).String() + "]" },
	"isatap, wide": func(b [4]byte) string { return "[2001:db8::200:5efe:" + netip.AddrFrom4(b).String() + "]" },
}

func number(b [4]byte) uint64 {
	return uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8 | uint64(b[3])
}

// wrappings write a host as the value of a parameter.
var wrappings = map[string]func(string) string{
	"plain":   func(h string) string { return h },
	"port":    func(h string) string { return h + ":5060" },
	"alias":   func(h string) string { return h + "~5060~1" },
	"uri":     func(h string) string { return "sip:" + h },
	"user":    func(h string) string { return "sips:bob@" + h + ":5061" },
	"maddr":   func(h string) string { return "sip:192.0.2.9%3Bmaddr%3D" + h },
	"escaped": func(h string) string { return url.QueryEscape("<sip:" + h + ";lr>") },
	"list":    func(h string) string { return url.QueryEscape("<sip:192.0.2.9>, <sip:" + h + ">") },
	"bytes":   escapeAll,
	"twice":   func(h string) string { return escapeAll(escapeAll(h)) },
}

func escapeAll(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.String()
}

// parameters put a value into a REGISTER.
var parameters = []string{
	"Contact: <sip:a@192.0.2.1;%s=%s>", "Contact: <sip:a@192.0.2.1>;%s=%s", "m: sip:a@192.0.2.1;%s=%s", "Contact: <sip:a@192.0.2.1>;%s=\"%s\"",
	"Contact: <sip:a@192.0.2.1?X=y&%s=%s>", "Contact: <sip:a@192.0.2.1>, <sip:b@192.0.2.2;x;%s=%s>", "Contact: <tel:+1555;%s=%s>",
	"Path: <sip:192.0.2.9;lr;%s=%s>", "Path: <sip:192.0.2.9;lr>;%s=%s", "Route: <sip:192.0.2.9;lr;%s=%s>", "Record-Route: <sip:192.0.2.9;%s=%s;lr>",
}

// targets put a host into a REGISTER.
var targets = []string{
	"Contact: <sip:%s>", "Contact: <sips:a@%s:5061;transport=tcp>", "m: sip:a@%s", "Contact: <sip:a@192.0.2.1>\nContact: \"x\" <sip:a@%s>",
	"Path: <sip:%s;lr>", "Path: <sip:192.0.2.9;lr>, <sip:p@%s;lr>", "Route: <sip:%s;lr>", "Record-Route: <sip:%s;lr>",
}

// Whatever address is protected, however it is written and wherever it stands:
// the REGISTER is refused.
func TestNoSpellingOfAProtectedAddressRegisters(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		b := [4]byte{byte(1 + rnd.IntN(255)), byte(rnd.Uint32()), byte(rnd.Uint32()), byte(rnd.Uint32())}
		spell, host := pick(rnd, spellings, b)
		fields := fmt.Sprintf(targets[rnd.IntN(len(targets))], host)
		if rnd.IntN(3) > 0 {
			name := []string{"maddr", "received", "alias", "fs_path", "x-ast-orig-host", "x-ast-orig-port", "reg-id", "foo", "Route"}[rnd.IntN(9)]
			fields = fmt.Sprintf(parameters[rnd.IntN(len(parameters))], name, wrappings[keys(wrappings)[rnd.IntN(len(wrappings))]](host))
		}
		p := must(NewProtector(ProtectConfig{
			Prefixes: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4(b), 8+rnd.IntN(25))}, NAT64: prefixes("2001:db8:64::/56"),
			HostNames: HostNames(rnd.IntN(2)),
		}))
		d := registers(p, fields)
		require.False(t, d.Allowed, "%s %s: %s", netip.AddrFrom4(b), spell, fields)
		require.Contains(t, []Cause{CauseProtected, CauseMalformed}, d.Cause, fields)
	}
}

func keys[V any](m map[string]V) (all []string) {
	for k := range m {
		all = append(all, k)
	}
	slices.Sort(all)
	return all
}

func pick(rnd *rand.Rand, from map[string]func([4]byte) string, b [4]byte) (name, text string) {
	name = keys(from)[rnd.IntN(len(from))]
	return name, from[name](b)
}

// FuzzProtectorValues compares what is found in values with a naive search: a
// value that passes holds the gateway in no word, however often it is decoded.
func FuzzProtectorValues(f *testing.F) {
	for _, s := range []string{"203.0.113.77", "sip:a@203.0.113.77:5060", "203%2e0.113.77~5060~1", "x,203.0.113.77", "3405803853", "[::ffff:203.0.113.77]", "<urn:uuid:1>", "%253203.0.113.77"} {
		f.Add(s)
	}
	gateway := addr("203.0.113.77")
	p := must(NewProtector(ProtectConfig{Prefixes: prefixes("203.0.113.77/32"), HostNames: PassHostNames}))
	delimiter := func(r rune) bool { return r != '.' && r != '-' && r != '_' && (r > 'z' || !letterOrDigit(byte(r))) }
	f.Fuzz(func(t *testing.T, value string) {
		if strings.ContainsAny(value, "\r\n\x00;?&@") {
			return // ends the value for sipgo, or makes a user of it
		}
		for _, form := range parameters {
			m, err := sip.ParseMessage([]byte("REGISTER sip:h SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\n" + fmt.Sprintf(form, "foo", value) + "\r\n\r\n"))
			if err != nil || !p.CheckRegister(RequestOf(m.(*sip.Request), nil)).Allowed {
				continue
			}
			for text, before := value, ""; text != before; before, text = text, unescapedOnce(text) {
				for _, w := range strings.FieldsFunc(text, delimiter) {
					a, err := netip.ParseAddr(w)
					require.False(t, err == nil && a == gateway && !strings.Contains(text, "@"), "%q in %q, %s", w, value, form)
				}
			}
		}
	})
}

func letterOrDigit(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|32 && c|32 <= 'z' }

func unescapedOnce(s string) string {
	if t, err := url.PathUnescape(s); err == nil {
		return t
	}
	return s
}

func TestAllowSpecialAllowsWhatItHolds(t *testing.T) {
	zero := must(NewProtector(ProtectConfig{}))
	p := must(NewProtector(ProtectConfig{AllowSpecial: prefixes("127.0.0.0/8", "::1/128", "169.254.7.0/24"), Prefixes: prefixes("127.0.0.77/32")}))
	for host, allowed := range map[string]bool{
		"127.0.0.1": true, "[::1]": true, "[::ffff:127.0.0.1]": true, "169.254.7.1": true, "192.0.2.1": true,
		"127.0.0.77": false, "169.254.8.1": false, "169.254.169.254": false, "0.0.0.0": false, "[::]": false, "[fe80::1]": false, "224.0.0.1": false,
	} {
		require.Equal(t, allowed, p.CheckHost(t.Context(), host).Allowed, host)
		require.Equal(t, host == "192.0.2.1", zero.CheckHost(t.Context(), host).Allowed, host)
	}
}

// Of the prefixes that translators use the longest says where the address is.
func TestLongestNAT64PrefixCounts(t *testing.T) {
	known := must(NewProtector(ProtectConfig{}))
	told := must(NewProtector(ProtectConfig{NAT64: prefixes("64:ff9b:1::/96")}))
	const contact = "[64:ff9b:1::192.0.2.1]" // 0.0.0.0 behind the known /48
	require.Equal(t, "0.0.0.0 is an unspecified address", known.CheckHost(t.Context(), contact).Info)
	require.True(t, told.CheckHost(t.Context(), contact).Allowed)
	require.Equal(t, "127.0.0.1 is a loopback address", told.CheckHost(t.Context(), "[64:ff9b:1::127.0.0.1]").Info)
}

func contacts(n int, format string) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("<sip:a@"+format+">", i+1))
	}
	return "Contact: " + strings.Join(list, ", ")
}

func TestARequestHasLimits(t *testing.T) {
	b := &book{addrs: map[string][]string{}, srvs: map[string][]string{}}
	for i := range 30 {
		b.addrs[fmt.Sprintf("h%d.example", i)] = []string{"192.0.2.1"}
	}
	p := must(NewProtector(ProtectConfig{HostNames: ResolveHostNames, Resolver: b}))
	wide := must(NewProtector(ProtectConfig{HostNames: ResolveHostNames, Resolver: b, MaxContacts: 20, MaxNames: 3, MaxLookups: 200}))
	for _, c := range []struct {
		p      *Protector
		fields string
		cause  Cause
		info   string
	}{
		{p, contacts(10, "192.0.2.%d"), CauseNotProtected, ""},
		{p, contacts(11, "192.0.2.%d"), CauseMalformed, "Contact: more than 10 addresses"},
		{p, contacts(11, "h%d.example"), CauseMalformed, "Contact: more than 10 addresses"},
		{p, contacts(6, "192.0.2.%d") + "\nm: <sip:a@192.0.2.7>\n" + contacts(4, "192.0.2.%d"), CauseMalformed, "Contact: more than 10 addresses"},
		{wide, contacts(20, "192.0.2.%d"), CauseNotProtected, ""},
		{wide, contacts(21, "192.0.2.%d"), CauseMalformed, "Contact: more than 20 addresses"},
		{p, contacts(9, "h%d.example"), CauseNotProtected, ""},
		{p, contacts(10, "h%d.example"), CauseError, "Contact: more than 64 look-ups"},
		{wide, contacts(3, "h%d.example"), CauseNotProtected, ""},
		{wide, contacts(4, "h%d.example"), CauseError, "Contact: more than 3 host names"},
	} {
		d := registers(c.p, c.fields)
		require.Equal(t, c.cause, d.Cause, "%s: %s", c.fields, d)
		require.Equal(t, c.info, d.Info, c.fields)
	}
	b.asked = 0
	require.True(t, registers(wide, "Contact: <sip:a@h1.example>, <sip:b@h1.example;maddr=h1.example>\nPath: <sip:h1.example;lr>").Allowed)
	require.Equal(t, 1, b.asked, "a name is resolved once a request")
	require.Equal(t, CauseMalformed, registers(p, contacts(11, "h%d.example")).Cause)
	require.Equal(t, 1, b.asked, "too many Contacts are refused before any look-up")
}

// All six SRV names are asked, below which servers look for a host name.
func TestEverySRVNameIsFollowed(t *testing.T) {
	for _, s := range []string{"_sip._udp", "_sip._tcp", "_sip._tls", "_sips._tcp", "_sips._tls", "_sips._udp"} {
		b := &book{addrs: map[string][]string{"h.example": {"192.0.2.1"}, "t.example": {"10.0.0.1"}}, srvs: map[string][]string{s + ".h.example": {"t.example."}}}
		p := must(NewProtector(ProtectConfig{Prefixes: prefixes("10.0.0.1/32"), HostNames: ResolveHostNames, Resolver: b}))
		require.Equal(t, "10.0.0.1 is protected", p.CheckHost(t.Context(), "h.example").Info, s)
		b.addrs["t.example"] = []string{"64:ff9b::127.0.0.1"}
		require.Equal(t, "127.0.0.1 is a loopback address", p.CheckHost(t.Context(), "h.example").Info, s)
	}
}

func TestExplainShowsEveryPlace(t *testing.T) {
	p := must(NewProtector(ProtectConfig{Prefixes: prefixes("203.0.113.77/32"), HostNames: PassHostNames}))
	explain := func(fields string) string {
		r := RequestOf(mustRequest("REGISTER", fields), nil)
		tr := Explain(p.CheckRegister, r)
		require.Equal(t, p.CheckRegister(r), tr.Decision)
		return tr.String()
	}
	require.Equal(t, `refused: protected address "" -> "203.0.113.77" "Contact alias: 203.0.113.77 is protected"
  - protector Contact ~ "192.0.2.1"
  + protector Contact alias ~ "203.0.113.77": 203.0.113.77 is protected
  - protector Contact x ~ "10.1"
  - protector Contact ~ "phone.example"
  - protector Path ~ "192.0.2.9"
  + protector Path received ~ "127.0.0.1": 127.0.0.1 is a loopback address
  - protector Route ~ "192.0.2.8"
  - protector Record-Route ~ "192.0.2.7"`, explain("Contact: <sip:a@192.0.2.1;alias=203.0.113.77~5060~1>;x=10.1;q=0.5, <sip:b@phone.example>\n"+
		"Path: <sip:192.0.2.9;lr;received=sip:127.0.0.1>\nRoute: <sip:192.0.2.8;lr>\nRecord-Route: <sip:192.0.2.7;lr>"))
	require.Equal(t, `refused: malformed "" -> "<sip:x:05060>" "Path: sipgo reads another address than was sent"
  + protector Path ~ "<sip:x:05060>": sipgo reads another address than was sent`, explain("Contact: <sip:a@192.0.2.1>\nPath: <sip:x:05060>"))
}

// The promise of walk: most walks allocate nothing.
func TestProtectorOfLiteralAddressesDoesNotAllocate(t *testing.T) {
	p := must(NewProtector(ProtectConfig{
		Prefixes: prefixes("203.0.113.77/32"), Partition: mustPartition(AddressRow{Group: 3, Prefix: prefix("198.51.100.1/32")}), Groups: []GroupID{3},
	}))
	for _, contact := range []string{
		"<sip:a@192.0.2.1:5060>", "<sip:a@[2001:db8::1];transport=tcp>;expires=60;q=0.5", "<sip:a@192.0.2.1;alias=192.0.2.1~5060~1>", "*",
		"<sip:a@192.0.2.1;ob>;reg-id=1;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-000B82000148>\"", "<sip:a@192.0.2.1>, <sip:b@192.0.2.2;maddr=192.0.2.3>",
	} {
		r := RequestOf(mustRequest("REGISTER", "Contact: "+contact), nil)
		require.Zero(t, testing.AllocsPerRun(20, func() { p.CheckRegister(r) }), contact)
	}
}

// fakeResolver is a map from names to addresses.
type fakeResolver map[string]string

func (f fakeResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if f[host] == "" {
		return nil, errors.New("no such host")
	}
	return []netip.Addr{netip.MustParseAddr(f[host])}, nil
}

func (f fakeResolver) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if target := f["_"+service+"._"+proto+"."+name]; target != "" {
		return name, []*net.SRV{{Target: target}}, nil
	}
	return "", nil, &net.DNSError{IsNotFound: true}
}

func TestProtectorKnowsEverySpelling(t *testing.T) {
	gateways := mustPartition(
		AddressRow{Group: 7, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Port: 5060, Proto: ProtoTLS, Pattern: "x"},
		AddressRow{Group: 8, Prefix: netip.MustParsePrefix("198.51.100.1/32")},
	)
	p, err := NewProtector(ProtectConfig{
		Prefixes: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.1/32"), netip.MustParsePrefix("2001:db8::1/128"), netip.MustParsePrefix("::ffff:10.9.0.0/112"),
		},
		Partition: gateways, Groups: []GroupID{7},
		HostNames: ResolveHostNames,
		Resolver: fakeResolver{
			"phone.example": "203.0.113.5", "evil.example": "10.0.0.1", "mapped.example": "::ffff:10.0.0.1",
			"srv.example": "203.0.113.6", "_sip._udp.srv.example": "evil.example.",
		},
	})
	require.NoError(t, err)
	for host, want := range map[string]Cause{
		"10.0.0.1": CauseProtected, "010.0.0.1": CauseProtected, "012.0.0.1": CauseProtected, "10.0.0.01": CauseProtected,
		"10.0.0.1.": CauseProtected, "10.0.1": CauseProtected, "10.1": CauseProtected, "167772161": CauseProtected,
		"0x0a000001": CauseProtected, "0xa.0.0.0x1": CauseProtected, "266.0.0.1": CauseProtected, "[10.0.0.1]": CauseProtected,
		"[::ffff:10.0.0.1]": CauseProtected, "[::ffff:a00:1]": CauseProtected, "[0:0:0:0:0:FFFF:0A00:0001]": CauseProtected,
		"[::10.0.0.1]": CauseProtected, "[64:ff9b::a00:1]": CauseProtected, "[2002:a00:1::]": CauseProtected,
		"[2001:db8::1]": CauseProtected, "2001:db8::1": CauseProtected, "[2001:DB8:0:0::0001]": CauseProtected,
		"[2001:db8::1%25eth0]": CauseProtected, "[2001:db8::00001]": CauseProtected, "[2001:db8::1].": CauseProtected,
		"[::ffff:010.0.0.1]": CauseProtected, "10.9.3.4": CauseProtected, "192.0.2.77": CauseProtected,
		"evil.example": CauseProtected, "EVIL.example.": CauseError, "mapped.example": CauseProtected, "srv.example": CauseProtected,
		"10.0.0.2": CauseNotProtected, "[2001:db8::2]": CauseNotProtected, "phone.example": CauseNotProtected, "198.51.100.1": CauseNotProtected,
		"[64:ff9b::a00:2]": CauseNotProtected, "010.0.0.2": CauseMalformed, "10.0.0.2.": CauseMalformed, "none.example": CauseError,
		"": CauseMalformed, ".": CauseMalformed, "a b": CauseMalformed, "%31": CauseMalformed, "x[": CauseMalformed, "[": CauseMalformed, "１0.0.0.1": CauseMalformed,
	} {
		d := p.CheckHost(t.Context(), host)
		require.Equal(t, want.String(), d.Cause.String(), "%q: %s", host, d)
		require.Equal(t, want == CauseNotProtected, d.Allowed, host)
	}
}

func TestProtectorLooksWhereverARegisterLeads(t *testing.T) {
	p, err := NewProtector(ProtectConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}})
	require.NoError(t, err)
	for _, fields := range []string{
		"Contact: <sip:a@10.0.0.1>",
		"m: <sip:a@10.0.0.1>",
		"Contact: <sip:a@10.0.0.2>,<sip:a@10.0.0.1:5070>",
		"Contact: <sip:a@10.0.0.2;maddr=10.0.0.1>",
		"Contact: <sip:a@10.0.0.2;MADDR=010.0.0.1>",
		"Contact: <sip:a@10.0.0.2;%6daddr=10.0.0.1>",
		"Contact: <sip:a@10.0.0.2;alias=10.0.0.1~5060~1>",
		"Contact: <sip:a@10.0.0.2;received=sip:10.0.0.1:5060>",
		"Contact: <sip:a@10.0.0.2>;received=\"sip:10.0.0.1:5060\"",
		"Contact: <sip:a@10.0.0.2>;received=10.0.0.1:5060",
		"Contact: <sip:a@10.0.0.2?Route=x&maddr=10.0.0.1>",
		"Contact: <sip:a@10.0.0.2?Route=%3Csip:10.0.0.1;lr%3E>",
		"Contact: <sip:a@10.0.0.2?rout%65=%3Csip:10.0.0.3%3E,%3Csip:10.0.0.1%3E>",
		"Contact: <sip:a@10.0.0.2>\nPath: <sip:p@10.0.0.3;lr>, <sip:10.0.0.1;lr>",
		"Contact: <sip:a@10.0.0.2>\nRoute: <sip:10.0.0.1;lr>",
		"Path: garbage",
		"Contact: <http://10.0.0.2/>",
		"Contact: <sip:a@gateway.example>",
	} {
		d := p.CheckRegister(RequestOf(mustRequest("REGISTER", fields), nil))
		require.False(t, d.Allowed, fields)
		require.Contains(t, []Cause{CauseProtected, CauseMalformed}, d.Cause, fields)
	}
	for _, fields := range []string{
		"", "Contact: *\nExpires: 0", "Contact: <tel:+15551234>", "Contact: <sip:a@10.0.0.2;maddr=10.0.0.3>;expires=5\nPath: <sip:[2001:db8::1]:5060;lr>",
	} {
		require.True(t, p.CheckRegister(RequestOf(mustRequest("REGISTER", fields), nil)).Allowed, fields)
	}
	pass, err := NewProtector(ProtectConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}, HostNames: PassHostNames})
	require.NoError(t, err)
	require.True(t, pass.CheckHost(t.Context(), "gateway.example").Allowed)
	require.False(t, pass.CheckHost(t.Context(), "10.0.0.1").Allowed)
}

func TestProtectorWithAPartition(t *testing.T) {
	const gateways = 3
	gateway := AddressRow{Group: gateways, Prefix: netip.MustParsePrefix("10.0.0.1/32"), Port: 5060, Proto: ProtoTCP, Pattern: "x*"}
	name := AddressRow{Group: gateways, Host: "gw.example"}
	protect := func(partition Partition, names HostNames) *Protector {
		p, err := NewProtector(ProtectConfig{Partition: partition, Groups: []GroupID{gateways}, HostNames: names,
			Resolver: &book{addrs: map[string][]string{"gw.example": {"10.9.9.9"}, "alias.example": {"10.0.0.1"}}}})
		require.NoError(t, err)
		return p
	}
	p := mustPartition(gateway, name)
	for host, want := range map[string]Cause{
		"10.0.0.1": CauseProtected, "[::ffff:10.0.0.1]": CauseProtected, "10.0.0.2": CauseNotProtected,
		"gw.example": CauseProtected, "GW.Example.": CauseProtected, "other.example": CauseNotProtected,
	} {
		require.Equal(t, want, protect(p, PassHostNames).CheckHost(t.Context(), host).Cause, host)
	}
	for _, host := range []string{"gw.example", "alias.example"} {
		require.Equal(t, CauseProtected, protect(p, ResolveHostNames).CheckHost(t.Context(), host).Cause, host)
	}
	// A partition that was never loaded knows nothing to be harmless.
	_, err := NewProtector(ProtectConfig{Groups: []GroupID{gateways}})
	require.Error(t, err)
}

func TestProtectorConfigsThatAreNotWhatTheySeem(t *testing.T) {
	for want, cfg := range map[string]ProtectConfig{
		"want a partition and groups, or neither":     {Groups: []GroupID{1}},
		"want a partition and groups, or neither\x00": {Partition: mustPartition(), Prefixes: prefixes("10.0.0.0/8")},
		"Prefixes: a prefix is not set":               {Prefixes: []netip.Prefix{{}}},
		"Prefixes: ::ffff:0.0.0.0/90 is half IPv4":    {Prefixes: prefixes("::ffff:0:0/90")},
		"want a resolver to resolve host names":       {HostNames: ResolveHostNames},
		"want a resolver to resolve host names\x00":   {HostNames: 9},
		"AllowSpecial: a prefix is not set":           {AllowSpecial: []netip.Prefix{{}}},
		"10.0.0.0/8 in AllowSpecial holds no address": {AllowSpecial: prefixes("127.0.0.0/8", "10.0.0.0/8")},
		"2001:db8::/33 in NAT64: want IPv6":           {NAT64: prefixes("2001:db8::/33")},
	} {
		_, err := NewProtector(cfg)
		require.ErrorContains(t, err, strings.TrimSuffix(want, "\x00"))
	}
	require.Equal(t, Decision{}, new(Protector).CheckRegister(RequestOf(mustRequest("REGISTER", ""), nil)))
	require.Equal(t, Decision{}, (*Protector)(nil).CheckHost(t.Context(), "x"))
	ok, err := NewProtector(ProtectConfig{Timeout: time.Second})
	require.NoError(t, err)
	require.Equal(t, Decision{}, ok.CheckRegister(Request{}))
}

// FuzzProtector compares what is recognised with what inet_aton and its
// lookalikes read: whatever netip reads as the address must be refused, and
// nothing panics.
func FuzzProtector(f *testing.F) {
	for _, s := range []string{"10.0.0.1", "[::ffff:10.0.0.1]", "0xa.1", "a.b", "[2001:db8::1%25x]", "%", "[", "1..2", "99999999999999999999"} {
		f.Add(s)
	}
	gateway := netip.MustParseAddr("10.0.0.1")
	p, err := NewProtector(ProtectConfig{Prefixes: []netip.Prefix{netip.PrefixFrom(gateway, 32)}, HostNames: PassHostNames})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, host string) {
		d := p.CheckHost(context.Background(), host)
		if a, err := netip.ParseAddr(host); err == nil && a.Unmap() == gateway {
			require.False(t, d.Allowed, host)
		}
		if d.Allowed {
			require.True(t, strictHost(host), "%q", host)
		}
	})
}

// What sipgo leaves in odd parameters hides no protected address.
func TestParametersHideNothing(t *testing.T) {
	p, err := NewProtector(ProtectConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, HostNames: PassHostNames})
	require.NoError(t, err)
	rs, errs := loadText("", "ALL : \"203\\.0\\.113\"\n")
	require.Empty(t, errs)
	for _, contact := range []string{
		`<sip:a@192.0.2.1;;maddr=203.0.113.1>`, `<sip:a@192.0.2.1;x="q";maddr=203.0.113.1>`,
		`<sip:a@192.0.2.1;x="q;maddr=203.0.113.1>`, `<sip:a@192.0.2.1;x&maddr=203.0.113.1>`,
		`<sip:a@192.0.2.1><sip:b@203.0.113.1>`, `"a\"" <sip:a@192.0.2.1>, <sip:b@203.0.113.1>`,
		`<sip:a@192.0.2.1>;x="\"", <sip:b@203.0.113.1>;y="`,
	} {
		req := mustRequest("REGISTER", "Contact: "+contact)
		require.False(t, p.CheckRegister(RequestOf(req, nil)).Allowed, contact)
		if strings.Contains(contact, "<sip:b@") {
			require.False(t, rs.checkRegister(req, contactURI).Allowed, contact)
		}
	}
	for _, contact := range []string{
		`<sip:a@192.0.2.1>;q=0.5;expires=60`, `"A B" <sip:a@192.0.2.1;transport=tcp;ob> ;+sip.instance="<urn:uuid:1>";reg-id=1`,
		`<sip:a@192.0.2.1;transport=ws;x=%22>;methods="INVITE, BYE"`,
	} {
		req := mustRequest("REGISTER", "Contact: "+contact)
		require.True(t, p.CheckRegister(RequestOf(req, nil)).Allowed, "%s: %v", contact, p.CheckRegister(RequestOf(req, nil)))
		require.True(t, rs.checkRegister(req, contactURI).Allowed, contact)
	}
}

// A partition that has nothing in service protects everything.
func TestProtectorOfAPartitionThatDoesNotAnswer(t *testing.T) {
	empty := Partition{Part[Table]{&part{perm: &Permissions{}}}}
	p := must(NewProtector(ProtectConfig{Partition: empty, Groups: []GroupID{1}}))
	require.Equal(t, CauseNotLoaded, p.CheckHost(t.Context(), "192.0.2.1").Cause)
	require.Equal(t, CauseNotLoaded, p.CheckRegister(RequestOf(mustRequest("REGISTER", "Contact: <sip:a@192.0.2.1>"), nil)).Cause)
}
