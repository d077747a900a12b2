package conformance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// Files that were never recorded are read as the model reads them: with all
// switches on it is the slow twin of parser, lists and index together.
func TestACLConfIsTheModel(t *testing.T) {
	lines := []string{
		"[a]", "[b]", "[A]", "[ a ]", "[t](!)", "[u](!,t)", "[a](t)", "[b](t, u)", "[a](+)", "[t](+)", "[b](a)", "[a](+,t)", "[a](t,+)", "[a](+,!)",
		"[a](", "[a]()", "[a] (t)", "[a", "[]", "[a\tb]", "[a\x01b]", "[a\tb](!)", "[general]", "[general](!)", "[a](+x=y)", "[a](t)x", "[a](T)", "[a](t,t)",
		"deny=0.0.0.0/0", "deny=::/0", "deny = 0.0.0.0/0 , ::/0", "permit=192.0.2.0/24", "permit => 192.0.2.0/255.255.255.0", "permit=>2001:db8::/32",
		"PERMIT=!192.0.2.1", "deny=!192.0.2.1,192.0.2.0/24", "permit+=,192.0.2.2", "permit += ,192.0.2.2", "deny+=::1", "permit=::ffff:192.0.2.0/120",
		"permit=192.0.2", "permit=192.0.2.1\x01,192.0.2.2", "deny=192.0.2.1\x01", "permit=192.0.2.0/08", "permit=192.0.2.0/255.0.255.0", "deny 0.0.0.0/0", "permits=1", "=1", "permit=", "deny==1", `\permit=192.0.2.1`, `\`,
		"; comment", ";-- block", "--;", ";-- x --; deny=192.0.2.1", "permit=;-- x --;192.0.2.1", ";--- line", "deny=192.0.2.1;--", `permit=192.0.2.1\;x`, ";--;", "---;",
		"#include i.conf", "#tryinclude i.conf", "#tryinclude nope", "#include nope", "#include acl.conf", "#INCLUDE <i.conf>", `#include "j.conf"`, "# x", "#exec x", "#include", "#include *.inc",
		"", " \t", "\r",
	}
	tame := []string{"deny=0.0.0.0/1", "deny=128.0.0.0/1", "permit=128.0.0.0/1", "deny=::/1,8000::/1", "permit=8000::/2", "permit=::/0", "[a]", "[b]", "[t](!)", "[a](t)", "[a](+)", "deny=0.0.0.0/0", "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/24", "permit += ,192.0.2.2", "#include i.conf", "; x"}
	srcs := []origSource{{"8000::1", true}, {"192.0.2.1", true}, {"192.0.2.2", true}, {"203.0.113.1", true}, {"2001:db8::1", true}, {"::1", true}, {"::ffff:192.0.2.1", true}}
	r := rand.New(rand.NewPCG(3, 4))
	text := func(from []string) string {
		out := ""
		for range r.IntN(9) {
			out += from[r.IntN(len(from))] + "\n"
		}
		return out
	}
	loaded := 0
	rounds := 20_000
	if testing.Short() {
		rounds = 5_000
	}
	for range rounds {
		from := tame
		if r.IntN(3) == 0 {
			from = lines
		}
		texts := map[string]string{"acl.conf": "[a]\n" + text(from), "i.conf": text(from), "j.conf": text(tame), "x.inc": text(tame)}
		m := &aclOriginal{on: aclAll, files: texts}
		m.load()
		acls, err := sipacl.NewACLs(t.Context(), sipacl.ACLConf{FS: files(texts)})
		require.Equal(t, len(m.bad) > 0, err != nil, "%q: %v, the model says %v", texts, err, m.bad)
		if err != nil {
			continue
		}
		loaded++
		for _, names := range []string{"a", "b", "A", "t", "a,b"} {
			want := m.ask([][2]string{{"acl", names}}, srcs)
			list, _ := acls.Current().Bind(names)
			for i, s := range srcs {
				require.Equal(t, want[i], list.CheckSource(sipacl.Source{Addr: netip.MustParseAddr(s.text)}).Allowed, "%q from %s: %q", names, s.text, texts)
			}
		}
	}
	require.Greater(t, loaded, rounds/10)
}

// What loads is what the model reads, and a rule that prints as text that loads
// as the same rule.
func FuzzParseACLRules(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8,!10.1.0.0/255.255.0.0", "[2001:db8::]/32 , ::ffff:10.0.0.0/104", "10/8", "::/ffff::", "!"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		rules, err := sipacl.ParseACLRules("permit=" + value)
		if err != nil {
			require.Empty(t, rules)
			return
		}
		require.Len(t, rules, strings.Count(value, ",")+1)
		for _, r := range rules {
			again, err := sipacl.ParseACLRules(strings.Replace(r.String(), " ", "=", 1))
			require.NoError(t, err)
			require.Equal(t, r.String(), again[0].String())
		}
		for i, item := range strings.Split(value, ",") {
			want, ok := strictItem(true, strings.Trim(item, " \t"))
			require.True(t, ok, item)
			p := rules[i].Prefix.Masked()
			require.Equal(t, want, makeRule(rules[i].Sense == sipacl.Permit, p.Addr(), onesMask(p.Bits(), p.Addr().BitLen())))
		}
	})
}

// Asterisk finds the row with the empty name for "acl=rt,", which has an empty
// item, and denies that item in a table without such a row. We refuse the
// table for a row that no list can name.
func TestRealtimeRowsWithoutName(t *testing.T) {
	found := func(name, decision string) string {
		result := func(src, decision string) string {
			return fmt.Sprintf(`{"src":%q,"src_parsed":true,"decision":%q}`, src, decision)
		}
		query := func(names string, results ...string) string {
			return fmt.Sprintf(`{"lines":[["acl",%q]],"results":[%s]}`, names, strings.Join(results, ","))
		}
		return asked(t, "asterisk-acl", fmt.Sprintf(`{"id":"x","acl_conf":"\n","realtime":{`+
			`"schema":"CREATE TABLE acls (name TEXT, rule_order INTEGER, sense TEXT, rule TEXT)","rows":[`+
			`{"name":%s,"rule_order":1,"sense":"deny","rule":"10.0.0.0/8"},{"name":"rt","rule_order":1,"sense":"deny","rule":"192.0.2.0/24"}]},`+
			`"phases":[{"queries":[%s,%s]}]}`, name,
			query("rt", result("10.1.2.3", "allow"), result("203.0.113.1", "allow")),
			query("rt,", result("10.1.2.3", "deny"), result("203.0.113.1", decision))))
	}
	line := func(counts string) string { return "asterisk-acl: total=4 " + counts + " unaskable=0 unexplained=0" }
	require.Equal(t, line("agree=1 different=3 (acl-emptyname=1 acl-unavailable+acl-badline=2)"), found(`""`, "allow"))
	for _, name := range []string{"null", `"  "`, `"a\tb"`} {
		require.Equal(t, line("agree=2 different=2 (acl-unavailable+acl-badline=2)"), found(name, "deny"), name)
	}
	require.Equal(t, line("agree=4 different=0 ()"), found(`" a"`, "deny"))
	require.Contains(t, found(`""`, "deny"), "unexplained=1")
}
