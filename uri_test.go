package sipacl

import (
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

func TestPlainURI(t *testing.T) {
	for in, want := range map[string]string{
		"sip:Bob@Example.ORG:5070;x=y?h=v": "sip:Bob@Example.ORG",
		"sips:bob:secret@example.org":      "sip:bob@example.org",
		"sip:example.org":                  "sip:example.org",
		"sip:%62ob@example.org.":           "sip:%62ob@example.org.",
		"sip:u;p=1@h":                      "sip:u;p=1@h",
		"sip:u@[2001:DB8::1]:5060":         "sip:u@[2001:DB8::1]",
		"tel:+1-555;ext=2":                 "sip:+1-555@",
		"urn:service:sos.fire":             "sip:sos.fire",
		"http://example.org":               "",
		"urn:service:":                     "",
		"tel:;x":                           "",
	} {
		u := parseURI(in)
		got, ok := PlainURI(&u)
		require.Equal(t, want, got, in)
		require.Equal(t, want != "", ok, in)
	}
	_, ok := PlainURI(&sip.Uri{Wildcard: true, Host: "*"})
	require.False(t, ok)
}

func TestCanonicalText(t *testing.T) {
	for in, want := range map[string]string{
		"sip:bob@example.org":     "sip:bob@example.org",
		"SIP:Bob@EXAMPLE.org.":    "sip:Bob@example.org",
		"sips:bob:pw@h:5061;x=@y": "sips:bob@h",
		"sip:b%6Fb%2540%40@h?x=y": "sip:bob%2540%40@h",
		"sip:u;p=1@h":             "sip:u;p=1@h",
		"sip:[2001:DB8::1]:5060":  "sip:[2001:db8::1]",
		"sip:[2001:0db8:0::01]":   "sip:[2001:db8::1]",
		"sip:[1::2:3:4:5:6:7]":    "sip:[1:0:2:3:4:5:6:7]",
		"sip:[::FFFF:c000:201]":   "sip:192.0.2.1",
		"sip:[192.0.2.1]":         "sip:[192.0.2.1]",
		"sip:[::1%x]":             "sip:[::1%x]",
		"sip:@h":                  "sip:@h",
		"sip:h:5060":              "sip:h",
		"tel:+1;ext=2":            "tel:+1",
		"tel:+1-900(5)%2D5.5":     "tel:+1900555",
		"sip:+1-900@":             "sip:+1900@",
		"sip:+1-900@h":            "sip:+1-900@h",
		"urn:service:sos":         "urn:service:sos",
		"garbage":                 "garbage",
		"":                        "",
		"sip:":                    "sip:",
		"sip:" + strings.Repeat("%61", 500) + "@h;x=": "sip:" + strings.Repeat("%61", 500) + "@h;x=", // longer than any rule is asked about
	} {
		require.Equal(t, want, canonicalText(in, false), in)
	}
	require.Equal(t, "sip:a@h:5060", canonicalText("sip:a@H.:5060;x", true))
}

func TestReferToReadsBothFormsAndAllFields(t *testing.T) {
	for _, c := range []struct {
		fields string
		want   []string
		bad    bool
	}{
		{"Refer-To: <sip:a@b?Replaces=x>", []string{"sip:a@b?Replaces=x"}, false},
		{"r: <sip:a@b>", []string{"sip:a@b"}, false},
		{"Refer-To: sip:a@b\nr: \"x, y\" <sip:c@d>;z, sip:e@f", []string{"sip:a@b", "sip:c@d", "sip:e@f"}, false},
		{"Subject: none", nil, false},
		{"r: garbage", nil, true},
		{"Refer-To: <sip:a@b", nil, true},
	} {
		uris, err := ReferTo(mustRequest("REFER", c.fields))
		require.Equal(t, c.bad, err != nil, c.fields)
		var got []string
		for _, u := range uris {
			got = append(got, u.String())
		}
		require.Equal(t, c.want, got, c.fields)
	}
}

func TestAllowReferTo(t *testing.T) {
	r := mustRules("", `ALL : "^sip:900"`)
	for fields, want := range map[string]Cause{
		"Refer-To: <sip:100@h>":                     CauseDefault,
		"Refer-To: <sips:900@h;x>":                  CauseDenyRule,
		"r: <sip:900@h>":                            CauseDenyRule,
		"Refer-To: <sip:100@h>\nr: <sip:%3900@h>":   CauseDenyRule,
		"Refer-To: <tel:900>":                       CauseDenyRule,
		"Refer-To: <http://h>":                      CauseMalformed,
		"Subject: none":                             CauseMalformed,
		"From: <sip:a@b> junk\nRefer-To: <sip:a@b>": CauseMalformed,
	} {
		require.Equal(t, want.String(), r.AllowReferTo(RequestOf(mustRequest("REFER", fields), nil)).Cause.String(), fields)
	}
	require.Equal(t, CauseNoRules, mustRules("", "").AllowReferTo(RequestOf(mustRequest("REFER", ""), nil)).Cause)
}

func TestAllowURIComparesTheTextAsItStands(t *testing.T) {
	r := mustRules("", `ALL : "^sips:bob@h$", "^sip:x;y$"`)
	req := mustRequest("INVITE", "")
	for uri, want := range map[string]Cause{
		"sips:bob@H:5061": CauseDenyRule, "sip:bob@h": CauseDefault, "sip:x;y": CauseDenyRule, "sip:x;z": CauseDefault,
		"<sip:x;y>": CauseMalformed, "": CauseMalformed, "no URI": CauseMalformed, "\x00": CauseMalformed, "sip:1%00@h": CauseMalformed,
	} {
		require.Equal(t, want.String(), r.AllowURI(RequestOf(req, nil), uri).Cause.String(), "%q", uri)
		require.Equal(t, want.String(), r.Current().AllowURI("sip:alice@example.com", uri).Cause.String(), "%q", uri)
	}
}

func FuzzURITexts(f *testing.F) {
	for _, s := range []string{
		"sip:bob@example.org:5060;x=y?h=v", "sips:a:b@[2001:db8::1]", "tel:+1;x", "urn:service:sos", "*", "sip:%61@h.", "sip:@h", "sip:a@b@c", "sip:[::1]junk", "sip:(0@:",
	} {
		f.Add(s)
	}
	rs, errs := loadRulesOf(RulesConfig{FS: memFS{"permissions.deny": `ALL : "@gw\.example$"`}})
	require.NoError(f, errs)
	f.Fuzz(func(t *testing.T, s string) {
		canonical := canonicalText(s, false)
		require.LessOrEqual(t, len(canonical), len(s)+1)
		u := parseURI(s)
		if again := canonicalText(canonical, false); strictURI(&u) && strings.IndexByte(canonical, '%') < 0 && !strings.Contains(s, "..") {
			require.Equal(t, canonical, again)
		}
		if text, ok := PlainURI(&u); ok {
			require.True(t, strings.HasPrefix(text, "sip:"))
			require.NotContains(t, text, " ")
		}
		rs.AllowRouting(s, s, s)
		rs.AllowRegister(s, s)
		rs.AllowURI(s, s)
		// Nothing behind the host helps to get away from a rule.
		if d := rs.AllowURI("sip:a@b", "sip:1@gw.example;"+s); d.Allowed {
			t.Errorf("%q evades", s)
		}
	})
}
