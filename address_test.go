package sipacl

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/hosts"
)

func TestProtoNamesAreReadInAnyCase(t *testing.T) {
	for i, name := range protoNames {
		for _, s := range []string{name, strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:]} {
			p, err := ParseProto(s)
			require.NoError(t, err, s)
			require.Equal(t, Proto(i), p, s)
		}
		text, err := Proto(i).MarshalText()
		require.NoError(t, err)
		var p Proto
		require.NoError(t, p.UnmarshalText(text))
		require.Equal(t, Proto(i), p)
	}
	require.Equal(t, Proto(len(protoNames)-1), Proto(len(protoNames)-1))
	require.Equal(t, "proto 99", Proto(99).String())
}

func TestUnknownProtoNames(t *testing.T) {
	for _, s := range []string{"", " ", " udp", "udp ", "udp6", "*", "0", "1", "upd", "tl\u017f", "\u017fctp", "udp\x00", "hep-udp"} {
		p, err := ParseProto(s)
		require.Error(t, err, "%q", s)
		require.Equal(t, ProtoNone, p, "%q: what goes on regardless matches nothing", s)
	}
}

func TestParseAddressIsStrict(t *testing.T) {
	for s, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", " 192.0.2.1\t": "192.0.2.1", "2001:DB8::0001": "2001:db8::1",
		"[2001:db8::1]": "2001:db8::1", " [::1] ": "::1", "::ffff:192.0.2.1": "::ffff:192.0.2.1",
		"0.0.0.0": "0.0.0.0", "::": "::",
	} {
		a, err := parseAddress(s)
		require.NoError(t, err, s)
		require.Equal(t, want, a.String())
	}
	for _, s := range []string{
		"", " ", "10.1", "10.0.0.", ".10.0.0.1", "010.0.0.1", "1.2.3.004", "0x0a.0.0.1", "167772161", "10.0.0.256", "10.0.0.300",
		"10.0.0.0/8", "10.0.0.1:5060", "[10.0.0.1]", "[::1", "::1]", "[[::1]]", "[]", "[ ::1 ]", "[::1]:5060", "fe80::1%eth0", "fe80::1%25eth0",
		"[fe80::1%eth0]", "10.0.0.1\x00", "10.0.0.1\n", "\uff11\uff10.0.0.1", "localhost", "::1::", "1:2:3:4:5:6:7:8:9", "::ffff:010.0.0.1",
	} {
		a, err := parseAddress(s)
		require.Error(t, err, "%q", s)
		require.Equal(t, netip.Addr{}, a)
	}
	_, err := parseAddress(strings.Repeat("1", 1<<20))
	require.Less(t, len(err.Error()), 300)
}

// textAddr is a net.Addr that package net does not know.
type textAddr string

func (textAddr) Network() string  { return "text" }
func (a textAddr) String() string { return string(a) }

func TestSourceFromAddr(t *testing.T) {
	mapped := net.ParseIP("::ffff:192.0.2.1") // 16 bytes
	want := Source{addr("192.0.2.1"), 5060, ProtoTCP}
	for _, a := range []net.Addr{
		&net.TCPAddr{IP: mapped, Port: 5060}, &net.UDPAddr{IP: mapped, Port: 5060}, &net.TCPAddr{IP: mapped.To4(), Port: 5060},
		textAddr("192.0.2.1:5060"), textAddr("[::ffff:192.0.2.1]:5060"),
	} {
		s, err := SourceFromAddr(a, "TCP")
		require.NoError(t, err)
		require.Equal(t, want, s)
	}
	s, err := SourceFromAddr(&net.UDPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "udp")
	require.NoError(t, err)
	require.Equal(t, Source{addr("fe80::1"), 0, ProtoUDP}, s)
	require.Equal(t, "[fe80::1]:0 udp", s.String())
	for _, a := range []net.Addr{
		nil, (*net.TCPAddr)(nil), (*net.UDPAddr)(nil), &net.TCPAddr{}, &net.UDPAddr{IP: net.IP{1, 2}}, &net.UnixAddr{Name: "/run/x", Net: "unix"},
		textAddr(""), textAddr("pipe"), textAddr("192.0.2.1"), textAddr("example.com:5060"), textAddr("192.0.2.1:99999"),
	} {
		s, err := SourceFromAddr(a, "TCP")
		require.ErrorIs(t, err, ErrNoSource, "%v", a)
		require.Zero(t, s)
	}
	for _, transport := range []string{"", "any", "none", "quic", "udp4"} {
		_, err := SourceFromAddr(&net.UDPAddr{IP: mapped, Port: 5060}, transport)
		require.ErrorIs(t, err, ErrNoSource, transport)
	}
}

// requestFrom makes a request as if it had been read from a socket.
func requestFrom(source, transport string) *sip.Request {
	req := mustRequest("OPTIONS", "")
	req.SetSource(source)
	req.SetTransport(transport)
	return req
}

func TestSourceOfReadsWhatTheTransportSet(t *testing.T) {
	for source, want := range map[string]Source{
		"192.0.2.1:5060":          {addr("192.0.2.1"), 5060, ProtoUDP},
		"192.0.2.1:0":             {addr("192.0.2.1"), 0, ProtoUDP},
		"[2001:db8::1]:5060":      {addr("2001:db8::1"), 5060, ProtoUDP},
		"[::ffff:192.0.2.1]:5060": {addr("192.0.2.1"), 5060, ProtoUDP},
		"[fe80::1%eth0]:5060":     {addr("fe80::1"), 5060, ProtoUDP},
	} {
		s, err := SourceOf(requestFrom(source, "UDP"))
		require.NoError(t, err, source)
		require.Equal(t, want, s)
	}
	for _, source := range []string{"", "192.0.2.1", "2001:db8::1:5060", "example.com:5060", ":5060", "192.0.2.1:", "192.0.2.1:-1", "192.0.2.1:99999", "010.0.0.1:5060", "junk"} {
		s, err := SourceOf(requestFrom(source, "UDP"))
		require.ErrorIs(t, err, ErrNoSource, source)
		require.Zero(t, s)
	}
	for _, transport := range []string{"", "any", "none", "junk"} {
		_, err := SourceOf(requestFrom("192.0.2.1:5060", transport))
		require.ErrorIs(t, err, ErrNoSource, transport)
	}
	_, err := SourceOf(nil)
	require.ErrorIs(t, err, ErrNoSource)
}

func FuzzParseProto(f *testing.F) {
	for _, s := range append(protoNames[:], "", "UDP", "tl\u017f", "\xff") {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParseProto(s)
		if err == nil && !strings.EqualFold(p.String(), s) || err != nil && p != ProtoNone {
			t.Errorf("%q is %v, %v", s, p, err)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"192.0.2.1", " [2001:db8::1]\t", "::ffff:192.0.2.1", "fe80::1%eth0", "010.0.0.1", "[]", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAddress(s)
		if err != nil {
			require.Equal(t, netip.Addr{}, a)
			require.Less(t, len(err.Error()), 1500)
			return
		}
		require.True(t, a.IsValid() && a.Zone() == "")
		b, err := parseAddress(a.String())
		require.NoError(t, err)
		require.Equal(t, a, b)
		_, ok := hosts.Name(strings.TrimSpace(s))
		require.False(t, ok, "%q is an address and a name", s)
	})
}

func FuzzHostName(f *testing.F) {
	for _, s := range []string{"example.com", "Example.COM.", "10.0.0.300", "a..b", "-", ".."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, ok := hosts.Name(s)
		if !ok {
			return
		}
		again, ok := hosts.Name(name)
		require.True(t, ok && again == name, "%q", s)
		table := mustTable(t, AddressRow{Host: s})
		require.True(t, table.CheckAddress(Query{Host: s}).Allowed)
		require.True(t, table.CheckAddress(Query{Host: strings.ToUpper(name) + "."}).Allowed)
	})
}

func FuzzSource(f *testing.F) {
	f.Add("192.0.2.1:5060", "UDP")
	f.Add("[fe80::1%eth0]:0", "wss")
	f.Add("[::ffff:192.0.2.1]:99999", "any")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, text, transport string) {
		s, err := SourceOf(requestFrom(text, transport))
		other, otherErr := SourceFromAddr(textAddr(text), transport)
		require.Equal(t, s, other)
		require.Equal(t, err == nil, otherErr == nil)
		if err != nil {
			require.True(t, errors.Is(err, ErrNoSource))
			require.Zero(t, s)
			return
		}
		require.True(t, s.Addr.IsValid() && !s.Addr.Is4In6() && s.Addr.Zone() == "")
		require.True(t, s.Proto > ProtoNone)
	})
}

// FuzzParseAddrPort compares the short way with the long one.
func FuzzParseAddrPort(f *testing.F) {
	for _, s := range []string{
		"192.0.2.1:5060", "0.0.0.0:0", "255.255.255.255:65535", "1.2.3.4:65536", "256.1.1.1:1", "01.2.3.4:5", "1.2.3.4:05060",
		"1.2.3:4", "1.2.3.4.5:6", "1.2.3.4:", ":5060", "1.2.3.4", "[::1]:5060", "[::ffff:1.2.3.4]:1", "1.2.3.4:5060 ", "1..3.4:5", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, wantErr := netip.ParseAddrPort(s)
		got, err := parseAddrPort(s)
		require.Equal(t, want, got, s)
		require.Equal(t, wantErr, err, s)
	})
}
