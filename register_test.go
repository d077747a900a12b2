package sipacl

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

func TestContacts(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   []string
		star   bool
		bad    bool
	}{
		{"Expires: 0", nil, false, false},
		{"Contact: <sip:a@b>;q=1,<sip:c@d>\nm: sip:e@f;expires=5", []string{"sip:a@b", "sip:c@d", "sip:e@f"}, false, false},
		{"Contact: \"x, <sip:no@no>\" <sip:a@b>", []string{"sip:a@b"}, false, false},
		{"Contact: *", nil, true, false},
		{"Contact: *\nm: <sip:a@b>", nil, false, true},
		{"m: <sip:a@b>\nContact: *", nil, false, true},
		{"Contact: *;expires=0", nil, false, true},
		{"Contact: *\nContact: *", nil, false, true},
		{"Contact: \"x\" <*>", nil, false, true},
		{"Contact: <sip:a@b> <sip:c@d>", nil, false, true},
	} {
		uris, star, err := Contacts(mustRequest("REGISTER", c.fields))
		require.Equal(t, c.bad, err != nil, c.fields)
		require.Equal(t, c.star, star, c.fields)
		var got []string
		for _, u := range uris {
			got = append(got, u.String())
		}
		require.Equal(t, c.want, got, c.fields)
	}
}

func TestNilHeaderFieldsRefuse(t *testing.T) {
	rules := mustRules("", "nobody : ALL\n")
	p, err := NewProtector(ProtectConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}})
	require.NoError(t, err)
	for _, h := range []sip.Header{(*sip.ContactHeader)(nil), (*sip.RouteHeader)(nil), (*sip.ReferToHeader)(nil), (*sip.FromHeader)(nil), (*sip.ToHeader)(nil)} {
		req := mustRequest("REGISTER", "")
		req.AppendHeader(h)
		require.NotPanics(t, func() {
			rules.AllowRouting(RequestOf(req, nil))
			require.Equal(t, h.Name() == "Route" || h.Name() == "Refer-To", rules.AllowRegister(RequestOf(req, nil)).Allowed, h.Name())
			require.False(t, rules.AllowReferTo(RequestOf(req, nil)).Allowed)
			require.Equal(t, h.Name() != "Contact" && h.Name() != "Route", p.CheckRegister(RequestOf(req, nil)).Allowed, h.Name())
		}, h.Name())
	}
	star := mustRequest("REGISTER", "Contact: *")
	star.AppendHeader((*sip.ExpiresHeader)(nil))
	star.AppendHeader(nil)
	require.False(t, rules.AllowRegister(RequestOf(star, nil)).Allowed)
	require.True(t, p.CheckRegister(RequestOf(star, nil)).Allowed)
	_, _, err = Contacts(nil)
	require.Error(t, err)
	_, err = ReferTo(nil)
	require.Error(t, err)
}

func TestAllowRegisterWithPortSeesPorts(t *testing.T) {
	rs, err := loadText(`ALL : "^sip:u@h:5070$"`, "ALL : ALL\n")
	require.Empty(t, err)
	for _, c := range []struct {
		contact string
		want    bool
	}{{"sip:u@h:5070;x", true}, {"sip:u@h:5060", false}, {"sip:u@h", false}, {"sip:u@H.:5070", true}} {
		require.Equal(t, c.want, rs.AllowRegisterWithPort("sip:a@b", c.contact).Allowed, c.contact)
		require.Equal(t, c.want, rs.checkRegister(mustRequest("REGISTER", "Contact: <"+c.contact+">"), portURI).Allowed, c.contact)
		require.False(t, rs.AllowRegister("sip:a@b", c.contact).Allowed, c.contact)
	}
	require.Equal(t, CauseStar, rs.AllowRegister("sip:a@b", "*").Cause)
	require.Equal(t, CauseMalformed, rs.AllowRegister("sip:a@b", "*", "sip:u@h").Cause)
	require.Equal(t, CauseNoContact, rs.AllowRegister("sip:a@b").Cause)
	require.Equal(t, CauseMalformed, rs.AllowRegister("").Cause)
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

func TestProtectorOfNothingIsAnError(t *testing.T) {
	for _, cfg := range []ProtectConfig{
		{}, {Groups: []GroupID{1}}, {Partition: mustPartition()},
		{Prefixes: []netip.Prefix{{}}},
		{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Groups: []GroupID{1}},
		{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, HostNames: ResolveHostNames},
		{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, HostNames: 9},
		{Prefixes: []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/90")}},
	} {
		_, err := NewProtector(cfg)
		require.Error(t, err)
	}
	require.Equal(t, Decision{}, new(Protector).CheckRegister(RequestOf(mustRequest("REGISTER", ""), nil)))
	require.Equal(t, Decision{}, (*Protector)(nil).CheckHost(t.Context(), "x"))
	ok, err := NewProtector(ProtectConfig{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Timeout: time.Second})
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
			require.False(t, rs.checkRegister(req, branchURI).Allowed, contact)
		}
	}
	for _, contact := range []string{
		`<sip:a@192.0.2.1>;q=0.5;expires=60`, `"A B" <sip:a@192.0.2.1;transport=tcp;ob> ;+sip.instance="<urn:uuid:1>";reg-id=1`,
		`<sip:a@192.0.2.1;transport=ws;x=%22>;methods="INVITE, BYE"`,
	} {
		req := mustRequest("REGISTER", "Contact: "+contact)
		require.True(t, p.CheckRegister(RequestOf(req, nil)).Allowed, "%s: %v", contact, p.CheckRegister(RequestOf(req, nil)))
		require.True(t, rs.checkRegister(req, branchURI).Allowed, contact)
	}
}
