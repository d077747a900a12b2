package dial

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const refuse = "refuse"

// cases are URIs, the parameters that their plain texts lose, and their texts.
var cases = []struct {
	why, uri, lost string
	want           []string
}{
	{"level 0: the number as it stands", "sip:+1900@h", "", nil},
	{"level 0: TEL and SIPS are schemes too", "TEL:+1900", "", nil},
	{"level 1: the canonical text decodes unreserved characters", "sip:+1%39%30%30@h", "", nil},
	{"level 2: stacks that decode decode reserved characters too", "sip:%2B1900@h", "", []string{"sip:+1900@h"}},
	{"level 2: in a tel URI too", "tel:%2b1900", "", []string{"tel:+1900"}},
	{"level 2: and in the text that is made of one", "sip:%2b1900@", "", []string{"sip:+1900@"}},
	{"level 2: once only, for no stack decodes twice", "sip:%252B1900@h", "", nil},
	{"level 2: a code that cannot be sent unescaped", "sip:%2331%23@h", "", []string{"sip:#31#@h"}},
	{"level 3: separators are there to be read", "sip:+1-900@h", "", []string{"sip:+1900@h"}},
	{"level 3: wherever they stand", "sip:(+1).9-0-0@h", "", []string{"sip:+1900@h"}},
	{"level 3: in a local number", "sip:1-800@h", "", []string{"sip:1800@h"}},
	{"level 3: in a code", "sip:*6-7@h", "", []string{"sip:*67@h"}},
	{"level 3: however short the number", "sip:9-9@h", "", []string{"sip:99@h"}},
	{"level 3: separators alone are no number", "sip:-.-@h", "", nil},
	{"level 3: decoded ones too", "sip:+1%2D900@h", "", []string{"sip:+1900@h"}},
	{"level 3: parameters of the user follow the number", "sip:+1900;ext=5@h", "", []string{"sip:+1900@h"}},
	{"level 3: the port and the password are not of the number", "sip:+1-900:pw@H:5060", "", []string{"sip:+1900@h"}},
	{"level 4: a decoded semicolon cuts", "sip:%2B1900%3Bx@h", "", []string{"sip:+1900@h", "sip:+1900;x@h"}},
	{"level 4: what it cuts off may be all", "sip:%3B+1900@h", "", []string{"sip:;+1900@h"}},
	{"level 5: a global context stands before a local number", "sip:900;phone-context=+1@h", "", []string{"sip:900@h", "sip:+1900@h"}},
	{"level 5: in any letter case, escaped, with separators", "sip:900;Phone-Conte%78t=%2B1-@h", "", []string{"sip:900@h", "sip:+1900@h", "sip:900;Phone-Context=+1-@h"}},
	{"level 5: as a parameter of the URI", "sip:900@h;phone-context=+1", "", []string{"sip:+1900@h"}},
	{"level 5: as one that the plain text lost", "sip:900@", ";phone-context=+1", []string{"sip:+1900@"}},
	{"level 5: of a tel URI", "tel:900;phone-context=+1", "", []string{"tel:+1900"}},
	{"level 5: a domain is no context of a number", "sip:900@h;phone-context=example.com", "", nil},
	{"level 5: a global number has none", "sip:+1900@h;phone-context=+44", "", nil},
	{"level 5: nor has a name", "sip:alice@h;phone-context=+44", "", nil},
	{"level 5: it is no parameter within a header", "sip:900@h?x=;phone-context=+1", "", nil},
	{"level 5: the routing number is dialled", "sip:+1555;npdi;rn=+1900@h", "", []string{"sip:+1555@h", "sip:+1900@h"}},
	{"level 5: without npdi too, gateways differ", "sip:+1555@h", ";RN=+1-900", []string{"sip:+1900@h"}},
	{"level 5: a local one with its context", "sip:+1555@h;rn=900;rn-context=+1", "", []string{"sip:900@h", "sip:+1900@h"}},
	{"level 5: sofia writes an escaped semicolon out", "sip:+1555@h;x=%3Brn=+1900", "", []string{"sip:+1900@h"}},
	{"level 5: a second one may be the one that counts", "sip:+1555@h;rn=+1900;rn=+44", "", []string{"sip:+1900@h", "sip:+44@h"}},
	{"level 6: junk that gateways drop", "sip:+1~900@h", "", []string{"sip:+1900@h"}},
	{"level 6: before the number", "sip:w+1900@h", "", []string{"sip:+1900@h"}},
	{"level 6: a whole word, and a colon that stays escaped", "sip:bob%3A+1900@h", "", []string{"sip:+1900@h"}},
	{"level 6: behind it", "sip:+1900p@h", "", []string{"sip:+1900@h"}},
	{"level 6: a broken escape", "sip:%zz+1900@h", "", []string{"sip:zz+1900@h", "sip:+1900@h"}},
	{"level 6: a percent sign is nothing", "sip:+1900%@h", "", []string{"sip:+1900@h"}},
	{"level 6: bytes above 0x7e", "sip:+1%C2%A0900@h", "", []string{"sip:+1900@h", "sip:+120900@h"}},
	{"level 6: an escape by accident", "sip:+1%900555@h", "", []string{"sip:+10555@h", "sip:+1900555@h"}},
	{"level 6: in a number without a plus", "sip:1/900@h", "", []string{"sip:1900@h"}},
	{"level 6: bytes above 0x7e in one make a name", "sip:12%8034@h", "", nil},
	{"level 6: letters in one make a name", "sip:1x900@h", "", nil},
	{"level 6: what dials a number has three digits", "sip:gw+gw12@h", "", nil},
	{"level 6: 112 is one", "sip:gw+1!12@h", "", []string{"sip:+112@h"}},
	{"refused: C strings end there", "sip:+1900%00@h", "", []string{refuse}},
	{"refused: the least and the greatest of them", "sip:bob%20@h", "", []string{refuse}},
	{"refused: DEL, in a parameter of the user", "sip:bob;x=%7f@h", "", []string{refuse}},
	{"refused: raw", "sip:bob\x1f@h", "", []string{refuse}},
	{"refused: raw bytes above 0x7e", "sip:+1\xc2\xa0900@h", "", []string{refuse}},
	{"refused: a tel URI", "tel:+1%0A900", "", []string{refuse}},
	{"refused: a blank where a text would copy it", "sip:1-2@h h", "", []string{refuse}},
	{"refused: more texts than Max", "sip:1@h;rn=2;rn=3;rn=4;rn=5;rn=6;rn=7;rn=8;rn=9;rn=10;rn=11;rn=12;rn=13", "", []string{refuse}},
	{"more parameters that do not matter", "sip:1-2@h;%78" + strings.Repeat(";x", 31), "", []string{"sip:12@h"}},
	{"31 parameters that do", "sip:1@h;rn=2" + strings.Repeat(";rn=2", 30), "", []string{"sip:2@h"}},
	{"refused: more that do", "sip:1@h;rn=2" + strings.Repeat(";rn=2", 31), "", []string{refuse}},
	{"refused: too long", "sip:" + strings.Repeat("1", 1020) + "@h", "", []string{refuse}},
	{"refused: too long together", "sip:1@h", ";rn=" + strings.Repeat("1", 1020), []string{refuse}},
	{"level 7: a second plus is junk", "sip:++1900@h", "", []string{"sip:+1900@h"}},
	{"level 7: so is what stands before the plus", "sip:#+1900@h", "", []string{"sip:+1900@h"}},
	{"level 7: unless it holds digits", "sip:011+1900@h", "", []string{"sip:0111900@h"}},
	{"level 7: a code in front is not known to be one", "sip:*67+1900@h", "", nil},
	{"level 7: nor is a prefix of a dial plan", "sip:0111900@h", "", nil},
	{"other: no user", "sip:h;rn=+1900", "", nil},
	{"other: an empty one", "sip:@h", "", nil},
	{"other: no scheme of a phone", "urn:service:sos", "", nil},
	{"other: no URI", "bob", "", nil},
}

func TestFind(t *testing.T) {
	for _, c := range cases {
		want := c.want
		if slices.Equal(want, []string{refuse}) {
			want = nil
		}
		var texts Texts
		texts.Find(c.uri, canonical(c.uri), c.lost)
		require.Equal(t, len(want) != len(c.want), texts.Refuse || texts.Odd, "%s: %q", c.why, c.uri)
		if !texts.Odd {
			require.Equal(t, want, append([]string(nil), texts.All()...), "%s: %q", c.why, c.uri)
		}
		requireSound(t, c.uri, canonical(c.uri), c.lost, &texts)
	}
}

// Of a user with an odd byte the texts are what stands before it, and what is
// left without it.
func TestOddBytes(t *testing.T) {
	for user, want := range map[string][]string{
		"+1900%00":        {"sip:+1900@h"},
		"+19%0000":        {"sip:+19@h", "sip:+1900@h"},
		"%00+1900":        {"sip:+1900@h"},
		"+1 900":          {"sip:+1@h", "sip:+1900@h"},
		"bob%00carol":     {"sip:bob@h", "sip:bobcarol@h"},
		"I%20have%20room": {"sip:I@h", "sip:Ihaveroom@h"},
		"null-%00-null":   {"sip:null-@h", "sip:null--null@h"},
		"a;x=%00":         {"sip:a@h", "sip:a;x=@h"},
		"+1-900%00-5":     {"sip:+1-900@h", "sip:+1900@h", "sip:+1-900-5@h", "sip:+19005@h"},
		"%00":             nil,
		"a%7F":            {"sip:a@h"},
		"\xff9":           {"sip:9@h"},
	} {
		var texts Texts
		uri := "sip:" + user + "@h"
		texts.Find(uri, canonical(uri), "")
		require.True(t, texts.Odd, user)
		require.False(t, texts.Refuse, user)
		require.Equal(t, want, append([]string(nil), texts.All()...), user)
	}
}

func TestCanonicalWithoutUser(t *testing.T) {
	var texts Texts
	texts.Find("sip:1-2@h", "sip:h", "")
	require.True(t, texts.Refuse)
}

// Whatever byte stands anywhere in a number, as it is or escaped, the number is
// among the texts, unless the byte is a digit or cuts the number off.
func TestJunkAnywhere(t *testing.T) {
	const number = "+1900555"
	for c := range 256 {
		raw, escaped := string([]byte{byte(c)}), fmt.Sprintf("%%%02X", c)
		if '0' <= c && c <= '9' || c == ';' {
			continue
		}
		for i := range len(number) + 1 {
			requireDials(t, number[:i]+escaped+number[i:])
			requireDials(t, number[:i]+escaped+escaped+number[i:])
			if c != ':' && c != '@' && c != '%' {
				requireDials(t, number[:i]+raw+number[i:])
			}
		}
	}
}

func requireDials(t *testing.T, user string) {
	t.Helper()
	var texts Texts
	uri := "sip:" + user + "@h"
	texts.Find(uri, canonical(uri), "")
	known := append([]string{uri, canonical(uri)}, texts.All()...)
	require.True(t, texts.Refuse || slices.Contains(known, "sip:+1900555@h"), "%q has %q", uri, known)
}

// ordinaryURIs are of users that phones and servers have.
var ordinaryURIs = []string{
	"sip:alice@example.com", "sip:bob.smith@example.com", "sip:bob2@example.com", "sip:bob2000@example.com", "sip:b_o-b.x~y*(z)@example.com",
	"sip:line1-2@h", "sip:j.doe-3@h", "sip:1001@h", "sip:1001a@h", "sip:tenant_1001@h", "sip:12_1001@h", "sip:1_unusual.URI~(to-be!sure)&isn't+it$@h",
	"sip:+15551234@gw.example.com", "sip:15551234@gw.example.com", "sip:00491234567@gw.example.com", "sip:112@h", "sip:1@h", "sip:*67@h", "sip:*98*1001@h", "sip:**1@h",
	"sip:550e8400-e29b-41d4-a716-446655440000@192.0.2.1:5060;transport=ws", "sip:3E8400E2-41D4-A716@h", "sip:8fh3k2l1@192.0.2.1;ob", "sip:gw+gw1@192.0.2.1:5080;transport=udp;gw=gw1",
	"sip:a&b=c+d$e@example.com", "sip:%75se%72@example.com", "sip:jos%C3%A9@example.com", "sip:jos%c3%a91234@example.com", "sip:sips%3Auser%40example.com@example.net", "sip:anonymous@anonymous.invalid",
	"sip:+15551234@gw.example.com;user=phone", "sip:alice:secret@example.com:5060;transport=tcp;lr?Subject=1-2", "sips:alice@[2001:db8::1]:5061", "sip:example.com", "sip:gw.example.com;lr", "tel:+15551234", "tel:112",
	// These have texts.
	"sip:1-800-555-1212@gw.example.com", "sip:1001-2@h", "sip:192.0.2.1@h", "sip:alice;day=tuesday@example.com", "sip:+15551234;ext=7@gw.example.com", "sip:conf%23123@h", "sip:15551234567;npdi;rn=+15551230000@gw.example.com",
	"sip:alice+1234@example.com", "tel:+1-555-1234;ext=7",
}

func TestOrdinary(t *testing.T) {
	got := map[string][]string{}
	for _, uri := range ordinaryURIs {
		var texts Texts
		texts.Find(uri, canonical(uri), "")
		require.False(t, texts.Refuse, "%s", uri)
		if len(texts.All()) > 0 {
			got[uri] = slices.Clone(texts.All())
			t.Log(uri, "->", strings.Join(got[uri], " "))
		}
	}
	require.Equal(t, map[string][]string{
		"sip:1-800-555-1212@gw.example.com":                   {"sip:18005551212@gw.example.com"},
		"sip:1001-2@h":                                        {"sip:10012@h"},
		"sip:192.0.2.1@h":                                     {"sip:192021@h"},
		"sip:alice;day=tuesday@example.com":                   {"sip:alice@example.com"},
		"sip:+15551234;ext=7@gw.example.com":                  {"sip:+15551234@gw.example.com"},
		"sip:conf%23123@h":                                    {"sip:conf#123@h"},
		"sip:15551234567;npdi;rn=+15551230000@gw.example.com": {"sip:15551234567@gw.example.com", "sip:+15551230000@gw.example.com"},
		"sip:alice+1234@example.com":                          {"sip:+1234@example.com"},
		"tel:+1-555-1234;ext=7":                               {"tel:+1-555-1234"},
	}, got)
}

func TestMatters(t *testing.T) {
	for _, name := range []string{"rn", "RN", "Phone-Context", "rn-context", "%72n", "r\x00n", "phone\rcontext"} {
		require.True(t, Matters(name, ""), "%q", name)
	}
	require.True(t, Matters("x", "%3Brn=+1900"))
	for _, name := range []string{"", "transport", "user", "npdi", "rnx", "r_", "phone_context", "lr"} {
		require.False(t, Matters(name, "+1900"), "%q", name)
	}
}

// A parameter that does not matter changes nothing.
func TestMattersIsEnough(t *testing.T) {
	for _, p := range []string{"transport=udp", "user=phone", "npdi", "cic=+1", "tgrp=5", "lr", ""} {
		var texts Texts
		texts.Find("sip:900@h;"+p, "sip:900@h", p)
		require.Empty(t, texts.All(), p)
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	for _, uri := range append(ordinaryURIs, "sip:%2B1900;phone-context=%2B1;rn=5;rn-context=+4@gw.example.com", "sip:+1%00@h") {
		canonical := canonical(uri)
		var texts Texts
		texts.Find(uri, canonical, "")
		want := 0
		if len(texts.All()) > 0 {
			want = 1
		}
		require.EqualValues(t, want, testing.AllocsPerRun(100, func() { texts.Find(uri, canonical, "") }), "%s", uri)
	}
}

// Long URIs with many texts make one allocation too.
func TestFindDoesNotAllocateLong(t *testing.T) {
	uri := "sip:%2B1-" + strings.Repeat("9!", 400) + "%90;phone-context=+1@" + strings.Repeat("h", 1024-835) + ";x"
	for ; len(uri) > len("sip:%2B1-900@h"); uri = uri[:len(uri)-7] {
		var texts Texts
		canonical := canonical(uri)
		require.LessOrEqual(t, testing.AllocsPerRun(10, func() { texts.Find(uri, canonical, "") }), 1.0, "%s", uri)
	}
}

func BenchmarkFind(b *testing.B) {
	for _, bm := range []struct{ name, uri string }{
		{"name", "sip:alice@example.com"},
		{"number", "sip:+15551234@gw.example.com"},
		{"name-parameters", "sip:bob.smith@example.com:5060;transport=udp"},
		{"separators", "sip:+1-900-555@gw.example.com"},
		{"escape", "sip:%2B1900555@gw.example.com"},
		{"context", "sip:900555;phone-context=+1@gw.example.com"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			canonical := canonical(bm.uri)
			var texts Texts
			b.ReportAllocs()
			for b.Loop() {
				texts.Find(bm.uri, canonical, "")
			}
		})
	}
}
