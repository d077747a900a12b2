package sipacl

import (
	"net/netip"
	"strings"
	"testing"

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
	for _, h := range []sip.Header{(*sip.ContactHeader)(nil), (*sip.RouteHeader)(nil), (*sip.RecordRouteHeader)(nil), (*sip.ReferToHeader)(nil), (*sip.FromHeader)(nil), (*sip.ToHeader)(nil)} {
		req := mustRequest("REGISTER", "")
		req.AppendHeader(h)
		require.NotPanics(t, func() {
			rules.AllowRouting(RequestOf(req, nil))
			require.Equal(t, strings.HasSuffix(h.Name(), "Route") || h.Name() == "Refer-To", rules.AllowRegister(RequestOf(req, nil)).Allowed, h.Name())
			require.False(t, rules.AllowReferTo(RequestOf(req, nil)).Allowed)
			require.Equal(t, h.Name() != "Contact" && !strings.HasSuffix(h.Name(), "Route"), p.CheckRegister(RequestOf(req, nil)).Allowed, h.Name())
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

// What has no pair to decide has a To that may be asked about all the same.
func TestRegisterWithoutPairsLooksAtTo(t *testing.T) {
	rs := mustRules("", `"zzz" : ALL`).Current()
	long := "sip:" + strings.Repeat("a", maxText) + "@b"
	require.Equal(t, CauseNoContact, rs.AllowRegister("sip:a@b").Cause)
	require.Equal(t, CauseStar, rs.AllowRegister("sip:a@b", "*").Cause)
	require.Equal(t, CauseMalformed, rs.AllowRegister(long).Cause)
	require.Equal(t, CauseMalformed, rs.AllowRegister(long, "*").Cause)
}
