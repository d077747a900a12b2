package sipacl

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/stretchr/testify/require"
)

func aclFS(text string) fstest.MapFS { return fstest.MapFS{"acl.conf": {Data: []byte(text)}} }

func loadACLs(text string) (ACLs, error) {
	return NewACLs(context.Background(), ACLConf{FS: aclFS(text)})
}

func mustACLs(t testing.TB, text string) ACLs {
	acls, err := loadACLs(text)
	require.NoError(t, err)
	return acls
}

func TestLastMatchWins(t *testing.T) {
	a := mustACL("lan", "deny=0.0.0.0/0,::/0", "permit=10.0.0.0/8,2001:db8::/32", "deny=10.1.0.0/16", "permit=10.1.2.3")
	for ip, want := range map[string]string{
		"10.1.2.3":        "10.1.2.3 allowed: ACL permits 10.1.2.3/32",
		"::ffff:10.1.2.3": "10.1.2.3 allowed: ACL permits 10.1.2.3/32",
		"10.1.2.4":        "10.1.2.4 refused: ACL denies 10.1.0.0/16",
		"10.2.0.1":        "10.2.0.1 allowed: ACL permits 10.0.0.0/8",
		"192.0.2.1":       "192.0.2.1 refused: ACL denies 0.0.0.0/0",
		"2001:db8::1%eth": "2001:db8::1 allowed: ACL permits 2001:db8::/32",
		"::1":             "::1 refused: ACL denies ::/0",
	} {
		d := a.CheckSource(Source{Addr: addr(ip)})
		require.Equal(t, strings.Fields(want)[1] == "allowed:", d.Allowed, ip)
		require.Contains(t, d.String(), strings.Join(strings.Fields(want)[1:], " "))
		require.Equal(t, "lan", d.Info)
	}
}

func TestNothingMatchedPermits(t *testing.T) {
	d := mustACL("ban", "deny=192.0.2.66").CheckSource(Source{Addr: addr("192.0.2.1")})
	require.True(t, d.Allowed)
	require.Equal(t, CauseDefault, d.Cause)
}

// Each decision refuses what it names, and takes what lies just outside it.
func TestDecisionACLLiteral(t *testing.T) {
	for _, item := range []string{
		"10/8", "10.1", "010.0.0.1", "0x0a.0.0.1", "167837955", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/ 8",
		"10.0.0.0/8abc", "10.0.0.0/8/16", "10.0.0.0/0x8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "10.0.0.0/4294967304",
		"10.0.0.0/255.0.255.0", "10.0.0.3/0.0.0.255", "10.0.0.0/255.255", "10.0.0.0/::ffff:255.0.0.0", "10.0.0.0/[255.0.0.0]",
		"2001:db8::/ffff:0:ffff::", "2001:db8::/255.0.0.0", "2001:db8::/129", "fe80::1%lo", "fe80::%1/64",
		"[10.0.0.1]", "[::1", "::1]", "[::1]x", "[10.0.0.0/8]", "[2001:db8::/32]", "::ffff:0:0/96", "::ffff:10.0.0.0/8",
		"::ffff:10.0.0.0/0.0.0.0", "10.1.2.3:5060", "[::1]:5060", "localhost", "any", "*", "10.0.0.1-10.0.0.9", "",
		"!", "!!10.0.0.1", "! 10.0.0.1", "10.0.0.0/!8", "10.0.0.0 /8", "10.0.0.0/8 10.0.0.1", `"10.0.0.1"`, "10.0.0.1;", "10.0.0.0/8,",
	} {
		_, err := ParseACLRules("permit=" + item)
		require.Error(t, err, item)
	}
	for item, want := range map[string]string{
		"10.0.0.0/8":                "permit 10.0.0.0/8",
		"10.0.0.0/255.0.0.0":        "permit 10.0.0.0/8",
		"10.1.2.3/8":                "permit 10.1.2.3/8",
		"10.1.2.3":                  "permit 10.1.2.3/32",
		"0.0.0.0/0":                 "permit 0.0.0.0/0",
		"0.0.0.0/0.0.0.0":           "permit 0.0.0.0/0",
		"::/::":                     "permit ::/0",
		"[2001:db8::]/32":           "permit 2001:db8::/32",
		"2001:DB8::/ffff:ffff::":    "permit 2001:db8::/32",
		"::ffff:10.0.0.0/104":       "permit 10.0.0.0/8",
		"::ffff:0:0/97":             "permit 0.0.0.0/1",
		"::ffff:10.1.2.3":           "permit 10.1.2.3/32",
		"::ffff:10.0.0.0/255.0.0.0": "permit 10.0.0.0/8",
		"::10.1.2.3":                "permit ::a01:203/128",
		"!10.0.0.0/8":               "deny 10.0.0.0/8",
		"::ffff:10.0.0.0/ffff:ffff:ffff:ffff:ffff:ffff:ff00::": "permit 10.0.0.0/8",
	} {
		rules, err := ParseACLRules("permit=" + item)
		require.NoError(t, err)
		require.Equal(t, want, rules[0].String(), item)
	}
}

func TestDecisionACLBlanks(t *testing.T) {
	acls := mustACLs(t, "[ t ](!)\ndeny = 0.0.0.0/0 , ::/0\n[a]( t )\npermit=192.0.2.1 ,\t192.0.2.2\n")
	l, err := acls.Current().Bind(" a ,\ta ")
	require.NoError(t, err)
	require.True(t, l.CheckSource(Source{Addr: addr("192.0.2.2")}).Allowed)
	require.False(t, l.CheckSource(Source{Addr: addr("192.0.2.3")}).Allowed)
	_, err = loadACLs("[a]\npermit=192.0.2.1 192.0.2.2\n") // a blank inside an item
	require.Error(t, err)
}

func TestDecisionACLUnavailable(t *testing.T) {
	_, err := NewACLs(context.Background(), ACLConf{FS: fstest.MapFS{}})
	require.ErrorIs(t, err, fs.ErrNotExist)
	var none ACLs
	for _, acls := range []ACLs{none, {}, mustACLs(t, "")} {
		l, err := acls.Current().Bind("lan")
		require.ErrorIs(t, err, ErrUnknown)
		require.Equal(t, CauseEmptyACL, l.CheckSource(Source{Addr: addr("192.0.2.1")}).Cause)
		_, err = acls.Follow("lan")
		require.ErrorIs(t, err, ErrUnknown)
	}
	l, err := none.Current().Bind("", ACLRule{Permit, netip.MustParsePrefix("0.0.0.0/0"), Origin{}, false}) // rules of its own need no file
	require.NoError(t, err)
	require.True(t, l.CheckSource(Source{Addr: addr("192.0.2.1")}).Allowed)
}

func TestDecisionACLBadline(t *testing.T) {
	const good = "[a]\ndeny=0.0.0.0/0,::/0\npermit=192.0.2.1\n"
	fsys := aclFS(good)
	acls, err := NewACLs(context.Background(), ACLConf{FS: fsys})
	require.NoError(t, err)
	l, err := acls.Follow("a")
	require.NoError(t, err)
	fsys["acl.conf"] = &fstest.MapFile{Data: []byte("[t](!)\npermit=nope\n[a](t)\ndeny=0.0.0.0/0,bad,::/0,10/8\npermits=1\n[general]\n[b](t)\n")}
	_, err = acls.Reload(context.Background())
	var text []string
	for _, e := range loadErrors(err) {
		text = append(text, e.Error())
	}
	require.Equal(t, []string{
		`acl.conf:2:8: "nope" is no IPv4 or IPv6 address`,
		`acl.conf:4:16: "bad" is no IPv4 or IPv6 address`,
		`acl.conf:4:25: "10" is no IPv4 or IPv6 address`,
		`acl.conf:5:1: found option "permits", want permit or deny`,
		`acl.conf:6:2: a section "general" is not supported, except as a template`,
	}, text)
	require.Equal(t, uint64(1), acls.Current().Generation())
	require.True(t, l.CheckSource(Source{Addr: addr("192.0.2.1")}).Allowed) // the generation in service stays
	require.False(t, l.CheckSource(Source{Addr: addr("192.0.2.2")}).Allowed)
	_, err = loadACLs("[general](!)\npermit=nope\n[generals](t)\n[t](!)\n") // heirs only
	require.ErrorContains(t, err, `acl.conf:3:12: no section "t" before this`)
	_, err = loadACLs("[general](!)\npermit=nope\n[generals]\nDENY=192.0.2.1\n")
	require.NoError(t, err)
}

func TestDecisionACLSyntax(t *testing.T) {
	for _, text := range []string{
		"[a] (t)\n", "[a]()\n", "[a](t,)\n", "[a]x\n", "--;\n", ";--\n", "#if\n", "# include x\n", "#include\n", "deny 192.0.2.1\n",
		"#exec /bin/true\n", "[a](+x=y)\n", "#include acl.conf\n", "#include /x\n", "#tryinclude /x\n", "[]\n", "=1\n",
	} {
		_, err := loadACLs("[t]\ndeny=192.0.2.1\n[a]\n" + text)
		require.Error(t, err, text)
	}
	for _, text := range []string{
		"[b](t)\n", "[a](t, t)\n", ";-- x --;\n", ";--- x\n", "#tryinclude x\n", "deny => 192.0.2.1\n", "[a](+)\n", "deny=192.0.2.1;-- x --;\n",
	} {
		_, err := loadACLs("[t]\ndeny=192.0.2.1\n[a]\n" + text)
		require.NoError(t, err, text)
	}
}

func TestDecisionACLLong(t *testing.T) {
	item := "192.0.2.1,"
	line := "deny=" + strings.Repeat(item, (64<<10-14)/len(item))
	line += strings.Repeat(" ", 64<<10-len(line)-9) + "192.0.2.9"
	require.Len(t, line, 64<<10)
	a, _ := mustACLs(t, "[a]\n"+line+"\n").Current().Lookup("a")
	require.False(t, a.CheckSource(Source{Addr: addr("192.0.2.9")}).Allowed)
	_, err := loadACLs("[a]\n " + line + "\n")
	require.Error(t, err)

	name := strings.Repeat("n", 255)
	acls := mustACLs(t, "["+name+"]\ndeny=192.0.2.1\n")
	_, err = acls.Current().Bind(name)
	require.NoError(t, err)
	_, err = acls.Current().Bind(name[:79])
	require.ErrorIs(t, err, ErrUnknown)
	_, err = loadACLs("[" + name + "n]\n")
	require.Error(t, err)
}

func TestDecisionACLDuplicate(t *testing.T) {
	acls := mustACLs(t, "[lan]\ndeny=192.0.2.1\n[Lan]\ndeny=192.0.2.2\n")
	l, err := acls.Current().Bind("lan,Lan,lan")
	require.NoError(t, err)
	require.Equal(t, []string{"lan", "Lan"}, l.names)
	require.False(t, l.CheckSource(Source{Addr: addr("192.0.2.1")}).Allowed)
	require.False(t, l.CheckSource(Source{Addr: addr("192.0.2.2")}).Allowed)
	_, err = acls.Current().Bind("LAN")
	require.ErrorIs(t, err, ErrUnknown)
}

func TestDecisionACLEmptyname(t *testing.T) {
	acls := mustACLs(t, "[lan]\ndeny=192.0.2.1\n")
	for _, names := range []string{"lan,", ",lan", ",", " ", "lan,,lan"} {
		l, err := acls.Current().Bind(names)
		require.ErrorIs(t, err, ErrUnknown, names)
		require.False(t, l.CheckSource(Source{Addr: addr("192.0.2.9")}).Allowed)
	}
	_, err := acls.Current().Bind("lan")
	require.NoError(t, err)
}

func TestDecisionACLEmpty(t *testing.T) {
	one := addr("192.0.2.1")
	var a *ACL
	var l *ACLList
	empty, err := NewACL("x")
	require.NoError(t, err)
	for _, d := range []Decision{a.CheckSource(Source{Addr: one}), (&ACL{}).CheckSource(Source{Addr: one}), empty.CheckSource(Source{Addr: one}), l.CheckSource(Source{Addr: one}), (&ACLList{}).CheckSource(Source{Addr: one})} {
		require.False(t, d.Allowed)
		require.Equal(t, CauseEmptyACL, d.Cause)
	}
	acls := mustACLs(t, "[ban]\n")
	l, err = acls.Current().Bind("")
	require.NoError(t, err)
	require.Equal(t, CauseEmptyACL, l.CheckSource(Source{Addr: one}).Cause)
	l, err = acls.Current().Bind("ban") // somebody wrote it down
	require.NoError(t, err)
	require.True(t, l.CheckSource(Source{Addr: one}).Allowed)
	_, err = newACLSet(Rows(ACLRow{Name: "x"}))
	require.ErrorContains(t, err, "row without a rule")
}

func TestDecisionACLFamily(t *testing.T) {
	for _, c := range []struct {
		line       string
		four, six  bool
		fourCause  Cause
		otherCause Cause
	}{
		{"deny=0.0.0.0/0", false, false, CauseDeny, CauseFamily},
		{"deny=::/0", false, false, CauseFamily, CauseDeny},
		{"deny=0.0.0.0/0,2001:db8::/32", false, true, CauseDeny, CauseDefault},
		{"deny=0.0.0.0/1,128.0.0.0/1", false, false, CauseDeny, CauseFamily}, // all of it in halves
		{"deny=0.0.0.0/1,128.0.0.0/2,192.0.0.0/2,!10.0.0.0/8", false, false, CauseDeny, CauseFamily},
		{"deny=0.0.0.0/1,128.0.0.0/2,192.0.0.0/3", false, true, CauseDeny, CauseDefault},   // 224.0.0.0/3 is left
		{"deny=0.0.0.0/1,128.0.0.0/1,!128.0.0.0/1", true, true, CausePermit, CauseDefault}, // half of it permitted again
		{"deny=0.0.0.0/1,!0.0.0.0/1,0.0.0.0/0", false, false, CauseDeny, CauseFamily},
		{"deny=::/1,8000::/1", false, false, CauseFamily, CauseDeny},
		{"permit=0.0.0.0/0", true, true, CausePermit, CauseDefault},
		{"deny=0.0.0.0/0,!0.0.0.0/0", true, true, CausePermit, CauseDefault},
		{"permit=0.0.0.0/0,!0.0.0.0/0", false, false, CauseDeny, CauseFamily},
		{"deny=0.0.0.0/0,!::/0", false, true, CauseDeny, CausePermit},
	} {
		a := mustACL("", c.line)
		four, six := a.CheckSource(Source{Addr: addr("192.0.2.1")}), a.CheckSource(Source{Addr: addr("2001:db9::1")})
		require.Equal(t, c.four, four.Allowed, c.line)
		require.Equal(t, c.six, six.Allowed, c.line)
		require.Equal(t, c.fourCause, four.Cause, c.line)
		require.Equal(t, c.otherCause, six.Cause, c.line)
	}
	require.Equal(t, "::1 refused: ACL denies the other address family only 0.0.0.0/0",
		mustACL("", "deny=0.0.0.0/0").CheckSource(Source{Addr: addr("::1")}).String())
}

func TestDecisionACLSource(t *testing.T) {
	a := mustACL("", "permit=0.0.0.0/0,::/0")
	require.Equal(t, CauseMalformed, a.CheckSource(Source{Addr: netip.Addr{}}).Cause)
	require.True(t, a.CheckSource(Source{Addr: addr("fe80::1%eth0")}).Allowed)
	l := &ACLList{base: a}
	require.Equal(t, CauseMalformed, l.CheckSource(Source{Addr: netip.Addr{}}).Cause)
	require.Equal(t, CauseNoSource, l.Check(RequestOf(nil, nil)).Cause)
	require.False(t, l.CheckSource(Source{}).Allowed)
}

func TestDecisionACLSense(t *testing.T) {
	db := fakedb.Open(t)
	row := func(order, sense, rule any) []any { return []any{"a", order, sense, rule} }
	load := func(rows ...[]any) (ACLs, error) {
		db.Set("acltable", []string{"name", "rule_order", "sense", "rule"}, rows...)
		return NewACLs(context.Background(), SQLACLs{SQL: SQL{DB: db.SQL()}})
	}
	_, err := load(
		row(int64(1), "allow", "192.0.2.1"), row(int64(1), "", "192.0.2.1"), row(int64(1), " permit", "192.0.2.1"), row(int64(1), nil, "192.0.2.1"),
		row("x", "deny", "192.0.2.1"), row(nil, "deny", "192.0.2.1"), row(1.5, "deny", "192.0.2.1"),
		row(int64(1), "deny", "192.0.2.1,nope"), row(int64(1), "deny", ""), row(int64(1), "deny", nil),
		[]any{"", "1", "deny", "192.0.2.1"},
	)
	var text []string
	for _, e := range loadErrors(err) {
		text = append(text, e.Error())
	}
	require.Equal(t, []string{
		`acltable:row 1: sense "allow": want permit or deny`,
		`acltable:row 2: sense "": want permit or deny`,
		`acltable:row 3: sense " permit": want permit or deny`,
		`acltable:row 4: sense "NULL": want a value, not NULL`,
		`acltable:row 5: rule_order "x": want a whole number, -9223372036854775808 to 9223372036854775807`,
		`acltable:row 6: rule_order "NULL": want a value, not NULL`,
		`acltable:row 7: rule_order "1.5": want a whole number, -9223372036854775808 to 9223372036854775807`,
		`acltable:row 8: rule "192.0.2.1,nope": "nope" is no IPv4 or IPv6 address`,
		`acltable:row 9: rule "": found "", want an address`,
		`acltable:row 10: rule "NULL": want a value, not NULL`,
		`acltable:row 11: name "": want a name`,
	}, text)
	acls, err := load(row("10", "PERMIT ", "192.0.2.1 , 192.0.2.2"), row(int64(-1), []byte("deny"), "0.0.0.0/0,::/0"))
	require.NoError(t, err)
	a, _ := acls.Current().Lookup("a")
	require.True(t, a.Realtime())
	require.Equal(t, []string{"deny 0.0.0.0/0", "deny ::/0", "permit 192.0.2.1/32", "permit 192.0.2.2/32"}, ruleTexts(a))
}

func TestSQLACLsNames(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("acls", []string{"id", "n", "o", "s", "r", "host"},
		[]any{int64(9), "b", int64(1), "deny", "x", "box2"},
		[]any{int64(8), "a", int64(1), "deny", "192.0.2.2", "box2"},
		[]any{int64(7), "a", int64(1), "deny", "192.0.2.1", "box1"})
	s := SQLACLs{SQL: SQL{DB: db.SQL(), Table: "acls", IDCol: "id"}, NameCol: "n", OrderCol: "o", SenseCol: "s", RuleCol: "r", SystemName: "box1", SystemNameCol: "host"}
	load := func() (ACLs, error) {
		return NewACLs(context.Background(), s)
	}
	acls, err := load()
	require.NoError(t, err)
	a, _ := acls.Current().Lookup("a")
	require.Equal(t, 1, len(a.rules))
	require.Equal(t, "acls:id 7", a.CheckSource(Source{Addr: addr("192.0.2.1")}).Origin.String())

	s.SystemName = ""
	_, err = load()
	require.ErrorContains(t, err, `acls:id 9: r "x": "x" is no IPv4 or IPv6 address`)
	for _, change := range []func(){
		func() { s.Table = "acls; drop table" },
		func() { s.SystemName, s.SystemNameCol = "x", "1=1 or host" },
		func() { s.SystemName, s.RuleCol = "", NoColumn },
		func() { s.RuleCol, s.DB = "r", nil },
	} {
		change()
		_, err = load()
		require.ErrorContains(t, err, "want ")
		s.Table = "acls"
	}
	broken := errors.New("connection lost")
	db.Fail(broken)
	s.DB = db.SQL()
	_, err = load()
	require.ErrorIs(t, err, broken)
}

func TestStaticNamesHideRealtimeOnes(t *testing.T) {
	table := Rows([]ACLRow{
		{Name: "lan", Rules: mustACL("", "deny=0.0.0.0/0").rules, Realtime: true},
		{Name: "rt", Rules: mustACL("", "deny=192.0.2.2").rules, Realtime: true, Order: 2},
		{Name: "rt", Rules: mustACL("", "permit=192.0.2.0/24").rules, Realtime: true, Order: 1},
	}...)
	acls, err := NewACLs(context.Background(), ACLConf{FS: aclFS("[lan]\npermit=0.0.0.0/0\n")}, table)
	require.NoError(t, err)
	lan, _ := acls.Current().Lookup("lan")
	require.False(t, lan.Realtime())
	require.True(t, lan.CheckSource(Source{Addr: addr("192.0.2.1")}).Allowed)
	rt, _ := acls.Current().Lookup("rt")
	require.True(t, rt.Realtime())
	require.False(t, rt.CheckSource(Source{Addr: addr("192.0.2.2")}).Allowed)
	require.Equal(t, []string{"permit 192.0.2.0/24", "deny 192.0.2.2/32"}, ruleTexts(rt))
	require.Equal(t, []*ACL{lan, rt}, slices.Collect(acls.Current().All()))
}

func ruleTexts(a *ACL) (texts []string) {
	for r := range a.Rules() {
		texts = append(texts, r.String())
	}
	return texts
}

func TestWarnings(t *testing.T) {
	acls, err := loadACLs("[a]\ndeny=::\npermit=10.1.2.3/8\n[b]\ndeny=192.0.2.1\npermit=192.0.2.0/24\n[c]\n[d]\ndeny=0.0.0.0/0\n[e]\ndeny=::/128,0.0.0.0/0,!192.0.2.0/24\n")
	require.NoError(t, err)
	report, err := acls.Reload(context.Background())
	require.NoError(t, err)
	require.Equal(t, []string{
		`acl.conf:2:6: ACL "a": deny ::/128 is one address; everything is ::/0`,
		`acl.conf:3:8: ACL "a": permit 10.1.2.3/8 has host bits set, it covers 10.0.0.0/8`,
		`acl.conf:5:6: ACL "b": deny 192.0.2.1/32 never decides: permit 192.0.2.0/24 at acl.conf:6:8 comes later and covers it`,
		`acl.conf:7:2: ACL "c": no rules, so it permits everything`,
		`acl.conf:9:6: ACL "d": denies all of IPv4 and says nothing of IPv6, which is refused too`,
	}, report.Warnings)
}

func TestBindIsPinnedAndFollowIsLive(t *testing.T) {
	ctx := context.Background()
	fsys := aclFS("[a]\ndeny=192.0.2.1\n[b]\ndeny=192.0.2.7\n")
	acls, err := NewACLs(ctx, ACLConf{FS: fsys})
	require.NoError(t, err)
	pinned, err := acls.Current().Bind("a,b")
	require.NoError(t, err)
	live, err := acls.Follow("a, b")
	require.NoError(t, err)
	var reports []ReloadReport
	stop := acls.OnReload(func(r ReloadReport) { reports = append(reports, r) })

	write := func(text string) {
		fsys["acl.conf"] = &fstest.MapFile{Data: []byte(text)}
		_, err := acls.Reload(ctx)
		require.NoError(t, err)
	}
	check := func(l *ACLList, ip string) bool { return l.CheckSource(Source{Addr: addr(ip)}).Allowed }

	write("[a]\ndeny=192.0.2.2\n[b]\ndeny=192.0.2.7\n[c]\n")
	require.False(t, check(pinned, "192.0.2.1"))
	require.True(t, check(live, "192.0.2.1"))
	require.False(t, check(live, "192.0.2.2"))

	write("; another comment\n[b]\ndeny=192.0.2.7\n")
	require.True(t, check(pinned, "192.0.2.2"))
	d := live.CheckSource(Source{Addr: addr("192.0.2.9")})
	require.False(t, d.Allowed)
	require.Equal(t, CauseUnknownACL, d.Cause)
	require.Equal(t, "a", d.Info)
	b, _ := acls.Current().Lookup("b")
	require.Equal(t, []listed{{"a", nil}, {"b", b}}, listedACLs(live))
	require.Contains(t, traced(func(t *Trace) { live.Tracing(t).CheckSource(Source{Addr: addr("192.0.2.9")}) }).String(), "ACL a: unknown ACL")

	write("[b]\ndeny=192.0.2.7/32\n")
	stop()
	write("[a]\n[b]\ndeny=192.0.2.7\n")
	require.True(t, check(live, "192.0.2.2"))

	require.Len(t, reports, 3) // once a swap
	require.Equal(t, []string{"a", "c"}, reports[0].Changed)
	require.Equal(t, []string{"a", "c"}, reports[1].Changed)
	require.Empty(t, reports[2].Changed)
	require.Equal(t, [3]int{1, 1, 2}, [3]int{reports[0].Added, reports[0].Removed, reports[0].Entries}) // rules
	require.Equal(t, [3]int{0, 1, 1}, [3]int{reports[1].Added, reports[1].Removed, reports[1].Entries})
	require.True(t, live.Uses(reports[0].Changed...))
	require.False(t, live.Uses("c"))
}

// What Run compares, to leave alone what did not change.
func TestSumIsOfTheContent(t *testing.T) {
	sum := func(text string) string { return mustACLs(t, text).p.sum }
	base := sum("[a]\ndeny=192.0.2.1\n[b]\n")
	require.Equal(t, base, sum("[a]\ndeny=192.0.2.1 ; why\n[b]\n"))
	for _, other := range []string{
		"", "[a]\n[b]\ndeny=192.0.2.1\n", "[a]\npermit=192.0.2.1\n[b]\n", "[a]\ndeny=192.0.2.1\n[B]\n", "[a]\ndeny=192.0.2.2\n[b]\n",
		"[a]\n\ndeny=192.0.2.1\n[b]\n", // rules have other places
	} {
		require.NotEqual(t, base, sum(other), other)
	}
}

func TestRunPutsChangedACLsInService(t *testing.T) {
	db := fakedb.Open(t)
	columns := []string{"name", "rule_order", "sense", "rule"}
	db.Set("acltable", columns, []any{"a", int64(1), "deny", "192.0.2.1"})
	perm, err := Open(t.Context(), Config{ACLs: []ACLSource{SQLACLs{SQL: SQL{DB: db.SQL()}}}})
	require.NoError(t, err)
	l, err := perm.ACLs().Follow("a")
	require.NoError(t, err)
	told := make(chan []string, 10)
	perm.ACLs().OnReload(func(r ReloadReport) { told <- r.Changed })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- perm.Run(ctx, RunConfig{Parts: []string{"acl"}, Interval: time.Millisecond, Settle: time.Millisecond})
	}()
	db.Set("acltable", columns, []any{"a", int64(1), "deny", "192.0.2.2"})
	require.Equal(t, []string{"a"}, <-told)
	require.False(t, l.CheckSource(Source{Addr: addr("192.0.2.2")}).Allowed)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.Empty(t, told)
}

func TestBindWithRulesOfTheConsumer(t *testing.T) {
	acls := mustACLs(t, "[noten]\ndeny=10.1.0.0/16\n")
	own := must(ParseACLRules("deny=0.0.0.0/0,::/0", "Permit = 10.0.0.0/8"))
	own[2].Origin = Origin{Name: "pjsip.conf", Line: 3, Col: 8}
	l, err := acls.Current().Bind("noten", own...)
	require.NoError(t, err)
	d := l.CheckSource(Source{Addr: addr("10.2.0.1")})
	require.True(t, d.Allowed)
	require.Equal(t, "pjsip.conf:3:8", d.Origin.String()) // the last ACL in which a rule permits
	require.Equal(t, "noten", l.CheckSource(Source{Addr: addr("10.1.0.1")}).Info)
	require.Equal(t, "", l.CheckSource(Source{Addr: addr("192.0.2.1")}).Info)
	noten, _ := acls.Current().Lookup("noten")
	all := listedACLs(l)
	require.Equal(t, []string{"deny 0.0.0.0/0", "deny ::/0", "permit 10.0.0.0/8"}, ruleTexts(all[0].acl))
	require.Equal(t, []listed{{"", all[0].acl}, {"noten", noten}}, all)
	for range l.ACLs() {
		break // which an iterator must survive
	}

	_, err = acls.Current().Bind("nope,", ACLRule{Origin: Origin{Name: "pjsip.conf", Line: 9, Col: 6}})
	require.EqualError(t, err, "sipacl: pjsip.conf:9:6: invalid Prefix: want a valid prefix\n"+
		"ACL nope: unknown name (known: noten)\n"+
		"found an empty name in \"nope,\", want the name of an ACL: unknown name")
}

func TestNewACLNamesEveryBadRule(t *testing.T) {
	_, err := NewACL("x", ACLRule{}, ACLRule{Prefix: netip.MustParsePrefix("::ffff:0:0/96")}, ACLRule{Sense: 7, Prefix: netip.MustParsePrefix("::/0")})
	require.Len(t, loadErrors(err), 3)
	a, err := NewACL("x", ACLRule{Prefix: netip.MustParsePrefix("::ffff:10.1.2.3/104")})
	require.NoError(t, err)
	require.Equal(t, "deny 10.0.0.0/8", slices.Collect(a.Rules())[0].String())
	require.Panics(t, func() { mustACL("x", "allow=::/0") })

	rows := Rows([]ACLRow{{Name: "a", Rules: []ACLRule{{}, {Sense: 7, Prefix: netip.MustParsePrefix("::/0")}}}}...)
	set, err := newACLSet(rows)
	require.Nil(t, set)
	require.Len(t, loadErrors(err), 2)
	require.ErrorContains(t, err, `ACL "a": ::/0: unknown sense 7`)
}

func TestACLExplain(t *testing.T) {
	acls := mustACLs(t, "[a]\ndeny=0.0.0.0/0\npermit=192.0.2.0/24,::1\ndeny=192.0.2.66\n[empty]\n")
	l, err := acls.Current().Bind("a,empty", mustACL("", "deny=::/0").rules...)
	require.NoError(t, err)
	require.Equal(t, "::1 refused: ACL denies ::/0", mustACL("", "deny=::/0").CheckSource(Source{Addr: addr("::1")}).String())
	require.Equal(t, `192.0.2.1 refused: ACL denies the other address family only ::/0
  - deny ::/0 ~ "192.0.2.1": refuses the other address family too, which has no rule
  - acl.conf:2:6 a: deny 0.0.0.0/0 ~ "192.0.2.1": overruled by a later rule`,
		strings.Join(strings.Split(strings.Replace(traced(func(t *Trace) { l.Tracing(t).CheckSource(Source{Addr: addr("192.0.2.1")}) }).String(), "+ acl.conf:2", "- acl.conf:2", 1), "\n")[:3], "\n"))
	l, err = acls.Current().Bind("a,empty")
	require.NoError(t, err)
	require.Equal(t, `192.0.2.1 allowed: ACL permits 192.0.2.0/24 (acl.conf:3:8) "a"
  + acl.conf:2:6 a: deny 0.0.0.0/0 ~ "192.0.2.1": overruled by a later rule
  + acl.conf:3:8 a: permit 192.0.2.0/24 ~ "192.0.2.1": decides
  - acl.conf:3:21 a: permit ::1/128 ~ "192.0.2.1": other address family
  - acl.conf:4:6 a: deny 192.0.2.66/32 ~ "192.0.2.1"
  - acl.conf:5:2 ACL empty: no rules: permits`, traced(func(t *Trace) { l.Tracing(t).CheckSource(Source{Addr: addr("192.0.2.1")}) }).String())
}

func register(t testing.TB, contacts ...string) *sip.Request {
	text := "REGISTER sip:example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:alice@example.com>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 REGISTER\r\n"
	for _, c := range contacts {
		text += "Contact: " + c + "\r\n"
	}
	msg, err := sip.ParseMessage([]byte(text + "Content-Length: 0\r\n\r\n"))
	require.NoError(t, err)
	req := msg.(*sip.Request)
	req.SetSource("192.0.2.9:5060")
	req.SetTransport("UDP")
	return req
}

func TestCheckContacts(t *testing.T) {
	l, err := mustACLs(t, "[phones]\ndeny=0.0.0.0/0,::/0\npermit=192.0.2.0/24,2001:db8::/32\n").Current().Bind("phones")
	require.NoError(t, err)
	for _, c := range []struct {
		contacts string
		want     Cause
		skipped  Cause // with SkipNames
	}{
		{"", CauseNoContact, CauseNoContact},
		{"*", CauseStar, CauseStar},
		{"*|<sip:a@192.0.2.1>", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1>|*", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1:5060;transport=tcp>;expires=60", CausePermit, CausePermit},
		{"<sips:a@[2001:db8::1]>", CausePermit, CausePermit},
		{"<sip:a@192.0.2.1>, <sip:a@203.0.113.1>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1>|<sip:a@203.0.113.1>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;maddr=203.0.113.1>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;MADDR=203.0.113.1>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;maddr=192.0.2.2;Maddr=203.0.113.1>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;%6daddr=203.0.113.1>", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1;maddr>", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1;maddr=192.0.2.2>;maddr=203.0.113.1", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;maddr=192.0.2.2;lr>;q=0.5", CausePermit, CausePermit},
		// What the parser leaves in a parameter, others take for a maddr or a
		// second Contact.
		{"<sip:a@192.0.2.1;;maddr=203.0.113.1>", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1;maddr =203.0.113.1>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1>; maddr=203.0.113.1", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1> ;maddr=203.0.113.1", CauseDeny, CauseDeny},
		{`<sip:a@192.0.2.1;x="q";maddr=203.0.113.1>`, CauseMalformed, CauseMalformed},
		{`<sip:a@192.0.2.1;x="q;maddr=203.0.113.1>`, CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1;x&maddr=203.0.113.1>", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1;=x>", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.1><sip:b@203.0.113.1>", CauseMalformed, CauseMalformed},
		{`"a\"" <sip:a@192.0.2.1>, <sip:b@203.0.113.1>`, CauseMalformed, CauseMalformed},
		{`<sip:a@192.0.2.1>;x="\"", <sip:b@203.0.113.1>;y="`, CauseMalformed, CauseMalformed},
		{`<sip:a@192.0.2.1>;x=", <sip:b@203.0.113.1>`, CauseMalformed, CauseMalformed},
		{`<sip:a@192.0.2.1;ob> ; q=0.5 ;+sip.instance="<urn:uuid:1>";methods="INVITE, ACK";x="\"";+g.icsi="urn%3A7";audio`, CausePermit, CausePermit},
		{"<sip:*>", CauseMalformed, CauseMalformed},
		{"<sip:a@*>", CauseMalformed, CauseMalformed},
		{"*;expires=0", CauseMalformed, CauseMalformed},
		{"<sip:a@phone.example.com>", CauseMalformed, CauseDefault},
		{"<sip:a@phone.example.com;maddr=203.0.113.1>", CauseMalformed, CauseDeny},
		{"<sip:a@192.0.2.1;maddr=x.example.com>", CauseMalformed, CauseDefault},
		{"<sip:a@0xcb007101>", CauseMalformed, CauseMalformed},
		{"<sip:a@192.0.2.0x1>", CauseMalformed, CauseMalformed},
		{"<sip:a@203.113.1>", CauseMalformed, CauseMalformed},
		{"<sip:a@0192.0.2.1>", CauseMalformed, CauseMalformed},
		{"<tel:+1234>", CauseMalformed, CauseMalformed},

		// Every address in a Contact is asked about, wherever it stands.
		{"<sip:a@192.0.2.1;received=sip:203.0.113.1:5060>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;received=192.0.2.2:5060>", CausePermit, CausePermit},
		{"<sip:a@192.0.2.1;alias=203.0.113.1~5060~1>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;fs_nat=yes;fs_path=sip%3A203.0.113.1%3A5060>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;x-ast-orig-host=192.168.1.5>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1>;x=203%2e0.113.1", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1>;x=\"(203.0.113.1)\"", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1?Route=%3Csip:203.0.113.1%3E>", CauseDeny, CauseDeny},
		{"<sip:a@192.0.2.1;fs_path=sip%3Aphone.example.com>", CauseMalformed, CauseDefault},
		{"<sip:a@192.0.2.1;maddr=2001:db8::1>", CausePermit, CausePermit},
		{"<sip:a@[2001:db8::203.0.113.1]>", CausePermit, CausePermit},
		{"<sip:a@[2001:db8::5efe:203.0.113.1]>", CauseDeny, CauseDeny}, // ISATAP
		{"<sip:a@[64:ff9b::192.0.2.1]>", CauseDeny, CauseDeny},         // not in 2001:db8::/32
		{`"a\" <sip:b@203.0.113.1>" <sip:a@192.0.2.1>`, CauseDeny, CauseDeny},
		// Numbers and names elsewhere lead nowhere by themselves.
		{"<sip:a@192.0.2.1;line=98765432;pn-param=com.example.app>;expires=3600;q=0.5;x=10.1", CausePermit, CausePermit},
		{"<sip:a@192.0.2.1;alias=10.1~5060~1>", CauseMalformed, CauseMalformed},
	} {
		var contacts []string
		if c.contacts != "" {
			contacts = strings.Split(c.contacts, "|")
		}
		req := register(t, contacts...)
		d := l.Contacts(ContactConfig{})(RequestOf(req, nil))
		require.Equal(t, c.want, d.Cause, "%s: %s", c.contacts, d)
		require.Equal(t, d, l.Contacts(ContactConfig{})(RequestOf(req, nil)))
		require.Equal(t, addr("192.0.2.9"), d.Source.Addr)
		if !d.Allowed {
			require.NotEmpty(t, d.Right)
		}
		require.Equal(t, c.skipped, l.Contacts(ContactConfig{SkipNames: true})(RequestOf(req, nil)).Cause, c.contacts)
	}
	var none *ACLList
	for _, contact := range []string{"<sip:a@192.0.2.1>", "<sip:a@phone.example.com>"} {
		require.False(t, none.Contacts(ContactConfig{SkipNames: true})(RequestOf(register(t, contact), nil)).Allowed)
	}
	require.False(t, none.Contacts(ContactConfig{})(RequestOf(nil, nil)).Allowed)
	byHand := register(t)
	byHand.AppendHeader(sip.NewHeader("m", "<sip:a@192.0.2.1>, <sip:b@203.0.113.1>"))
	d := l.Contacts(ContactConfig{})(RequestOf(byHand, nil))
	require.Equal(t, CauseDeny, d.Cause)
	require.Equal(t, "sip:b@203.0.113.1", d.Right)
	byHand = register(t)
	byHand.AppendHeader((*sip.ContactHeader)(nil))
	require.Equal(t, CauseMalformed, l.Contacts(ContactConfig{})(RequestOf(byHand, nil)).Cause)
	byHand = register(t)
	byHand.AppendHeader(sip.NewHeader("m", "*"))
	require.Equal(t, CauseStar, l.Contacts(ContactConfig{})(RequestOf(byHand, nil)).Cause)
}

// Nothing to ask about is no reason to let somebody pass whom no list knows.
func TestContactsOfAListThatRefusesEverything(t *testing.T) {
	acls := mustACLs(t, "[phones]\n")
	l, err := acls.Follow("phones")
	require.NoError(t, err)
	acls.p.perm.snap.Store(&Snapshot{of: acls.p.perm, gens: []any{&ACLSet{}}}) // the name goes
	for _, contacts := range [][]string{nil, {"*"}, {"<sip:a@192.0.2.1>"}, {"<sip:a@phone.example.com>"}} {
		req, cfg := register(t, contacts...), ContactConfig{SkipNames: true}
		require.Equal(t, CauseEmptyACL, (*ACLList)(nil).Contacts(cfg)(RequestOf(req, nil)).Cause, contacts)
		require.Equal(t, CauseEmptyACL, new(ACLList).Contacts(cfg)(RequestOf(req, nil)).Cause, contacts)
		d := l.Contacts(cfg)(RequestOf(req, nil))
		require.Equal(t, CauseUnknownACL, d.Cause, contacts)
		require.Equal(t, "phones", d.Info)
		require.Equal(t, addr("192.0.2.9"), d.Source.Addr)
	}
}

func TestACLForPicksAListARequest(t *testing.T) {
	lists := map[string]*ACLList{"alice": {base: mustACL("", "permit=0.0.0.0/0")}}
	check := ACLFor(func(r Request) *ACLList { return lists[r.From().Address.User] })
	req := register(t)
	require.True(t, check(RequestOf(req, nil)).Allowed)
	delete(lists, "alice")
	require.Equal(t, CauseEmptyACL, check(RequestOf(req, nil)).Cause)
	req.SetSource("")
	lists["alice"] = &ACLList{base: mustACL("", "permit=0.0.0.0/0")}
	require.Equal(t, CauseNoSource, check(RequestOf(req, nil)).Cause)
	require.False(t, ACLFor(nil)(RequestOf(req, nil)).Allowed)
}

// slowACL reads every rule. It is the meaning of ACL; when the two differ,
// ACL is wrong.
func slowACL(rules []ACLRule, ip netip.Addr) (Cause, int) {
	cause, decided := CauseDefault, -1
	mine := false
	for i, r := range rules {
		mine = mine || r.Prefix.Addr().BitLen() == ip.BitLen()
		if r.Prefix.Contains(ip) {
			cause, decided = CauseDeny, i
			if r.Sense == Permit {
				cause = CausePermit
			}
		}
	}
	if shut := slowShut(rules); !mine && shut >= 0 {
		return CauseFamily, shut
	}
	return cause, decided
}

// slowShut is the widest of the rules that deny all of the family of rules, or
// -1. A family is denied if the first address and each one behind a prefix is.
func slowShut(rules []ACLRule) (widest int) {
	widest = -1
	var denied []netip.Prefix
	for i, r := range rules {
		last := i
		for j := i + 1; j < len(rules); j++ {
			if rules[j].Prefix.Bits() <= r.Prefix.Bits() && rules[j].Prefix.Contains(r.Prefix.Addr()) {
				last = j
			}
		}
		if r.Sense == Permit || rules[last].Sense == Permit {
			continue
		}
		denied = append(denied, r.Prefix.Masked())
		if widest < 0 || r.Prefix.Bits() <= rules[widest].Prefix.Bits() {
			widest = i
		}
	}
	if widest < 0 {
		return -1
	}
	edges := []netip.Addr{everything[family(rules[0].Prefix.Addr())].Addr()}
	for _, p := range denied {
		edges = append(edges, behind(p))
	}
	for _, a := range edges {
		if a.IsValid() && !slices.ContainsFunc(denied, func(p netip.Prefix) bool { return p.Contains(a) }) {
			return -1
		}
	}
	return widest
}

// behind is the first address behind p, none if p ends the family.
func behind(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(b)*8; bit++ {
		b[bit/8] |= 0x80 >> (bit % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a.Next()
}

// aclCases makes rules and addresses that lie close together.
func aclCases(data []byte) (rules []ACLRule, addrs []netip.Addr) {
	for len(data) >= 6 {
		a := netip.AddrFrom4([4]byte{10 + data[0]&1, data[1] & 3, data[2] & 1, data[3]})
		if data[4]&3 == 1 {
			b := [16]byte{0x20, 0x01, 0x0d, 0xb8, data[1] & 3, 12: data[0] & 1, 15: data[3]}
			a = netip.AddrFrom16(b)
		}
		p := netip.PrefixFrom(a, int(data[5])%(a.BitLen()+1))
		rules = append(rules, ACLRule{Sense: Sense(data[4] >> 7), Prefix: p})
		addrs = append(addrs, a, a.Next(), a.Prev(), p.Masked().Addr(), p.Masked().Addr().Prev())
		data = data[6:]
	}
	return rules, addrs
}

func compareACL(t *testing.T, data []byte) {
	rules, addrs := aclCases(data)
	if len(rules) == 0 {
		return
	}
	a, err := NewACL("", rules...)
	require.NoError(t, err)
	for _, ip := range append(addrs, addr("192.0.2.1"), addr("::1")) {
		if !ip.IsValid() {
			continue
		}
		cause, rule := a.decide(ip)
		wantCause, want := slowACL(rules, ip)
		require.Equal(t, [2]int{int(wantCause), want}, [2]int{int(cause), rule.rule}, "%v in %v", ip, rules)
		if want >= 0 {
			d := a.decision(cause, rule, Source{Addr: ip})
			require.Equal(t, rules[want].Origin, d.Origin)
			require.Equal(t, rules[want].Prefix.Masked(), d.Prefix)
		}
	}
	later := a.later
	for i := range rules { // a rule that never decides can be left out
		if later[i] == 0 {
			continue
		}
		for _, ip := range addrs {
			_, rule := a.decide(ip)
			_, family := slowACL(rules, ip)
			require.False(t, ip.IsValid() && rule.rule == i && family == i && rules[i].Prefix.Contains(ip), "%v", rules)
		}
	}
}

func TestACLIsSlowACL(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		data := make([]byte, 6*r.IntN(40))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		compareACL(t, data)
	}
}

func FuzzACL(f *testing.F) {
	f.Add([]byte("\x0a\x01\x02\x03\x80\x10\x0a\x01\x02\x03\x01\x40"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) <= 600 {
			compareACL(t, data)
		}
	})
}

// listed is what ACLs yields.
type listed struct {
	name string
	acl  *ACL
}

func listedACLs(l *ACLList) (all []listed) {
	for name, a := range l.ACLs() {
		all = append(all, listed{name, a})
	}
	return all
}

func TestListOfNobodyHasNoACLs(t *testing.T) {
	require.Empty(t, listedACLs(nil))
	require.Empty(t, listedACLs(&ACLList{}))
}

func FuzzACLConf(f *testing.F) {
	f.Add("[t](!)\ndeny=0.0.0.0/0\n[a](t)\npermit=192.0.2.1\n")
	f.Fuzz(func(t *testing.T, text string) {
		acls, err := loadACLs(text)
		if err != nil {
			require.Zero(t, acls)
			for _, e := range loadErrors(err) {
				require.NotEmpty(t, e.Origin.Name)
			}
			return
		}
		for a := range acls.Current().All() {
			require.NotEmpty(t, a.Name())
			a.CheckSource(Source{Addr: addr("192.0.2.1")})
		}
	})
}

func TestACLChecksDoNotAllocate(t *testing.T) {
	acls := mustACLs(t, "[a]\ndeny=0.0.0.0/0,::/0\npermit=192.0.2.0/24,2001:db8::/32\n[b]\ndeny=192.0.2.66\n")
	pinned, err := acls.Current().Bind("a,b", mustACL("", "deny=192.0.2.67").rules...)
	require.NoError(t, err)
	live, err := acls.Follow("a,b")
	require.NoError(t, err)
	req := register(t)
	sources := []Source{{Addr: addr("192.0.2.1")}, {Addr: addr("::ffff:192.0.2.66")}, {Addr: addr("2001:db8::1")}, {Addr: addr("203.0.113.1")}, {}}
	allowed := 0
	require.Zero(t, testing.AllocsPerRun(100, func() {
		for _, l := range []*ACLList{pinned, live} {
			for _, s := range sources {
				if l.CheckSource(s).Allowed && l.Check(Request{Source: s}).Allowed {
					allowed++
				}
			}
			if l.Check(RequestOf(req, nil)).Allowed {
				allowed++
			}
		}
	}))
	require.Positive(t, allowed)
}

// Readers ask while the ACLs are loaded and bound anew. Every generation
// permits exactly one of two addresses, so no reader may see both or neither
// from one list or one set.
func TestReadersSeeWholeGenerations(t *testing.T) {
	ctx := context.Background()
	var generation atomic.Int64
	source := RowFunc[ACLRow](func(context.Context) iter.Seq2[ACLRow, error] {
		return func(yield func(ACLRow, error) bool) {
			one, other := "192.0.2.1", "192.0.2.2"
			if generation.Load()%2 == 1 {
				one, other = other, one
			}
			if yield(ACLRow{Name: "a", Rules: mustACL("", "deny=0.0.0.0/0,::/0", "permit="+one).rules}, nil) {
				yield(ACLRow{Name: "b", Rules: mustACL("", "permit=0.0.0.0/0,::/0", "deny="+other).rules}, nil)
			}
		}
	})
	acls, err := NewACLs(ctx, source)
	require.NoError(t, err)
	var bound atomic.Pointer[ACLList]
	bind := func() {
		l, err := acls.Current().Bind("a,b")
		require.NoError(t, err)
		bound.Store(l)
	}
	bind()
	live, err := acls.Follow("a,b")
	require.NoError(t, err)
	defer acls.OnReload(func(r ReloadReport) {
		if bound.Load().Uses(r.Changed...) {
			bind()
		}
	})()

	var stop atomic.Bool
	var readers sync.WaitGroup
	var asked atomic.Int64
	one, two := addr("192.0.2.1"), addr("192.0.2.2")
	for range 8 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for !stop.Load() {
				l := bound.Load()
				if l.CheckSource(Source{Addr: one}).Allowed == l.CheckSource(Source{Addr: two}).Allowed {
					t.Error("a bound list mixes generations")
					return
				}
				live.CheckSource(Source{Addr: one})
				set := acls.Current()
				a, _ := set.Lookup("a")
				b, _ := set.Lookup("b")
				if a.CheckSource(Source{Addr: one}).Allowed != b.CheckSource(Source{Addr: one}).Allowed || a.CheckSource(Source{Addr: two}).Allowed != b.CheckSource(Source{Addr: two}).Allowed {
					t.Error("a set mixes generations")
					return
				}
				asked.Add(1)
				runtime.Gosched()
			}
		}()
	}
	for i := range 200 {
		generation.Store(int64(i))
		_, err := acls.Reload(ctx)
		require.NoError(t, err)
	}
	for asked.Load() < 100 {
		runtime.Gosched()
	}
	stop.Store(true)
	readers.Wait()
	require.Equal(t, bound.Load().CheckSource(Source{Addr: one}).Allowed, live.CheckSource(Source{Addr: one}).Allowed)
}

// TestOddOriginsAreTold has origins that no index holds.
func TestOddOriginsAreTold(t *testing.T) {
	for _, o := range []Origin{{Line: -1}, {Col: -5}, {Unit: 200}, {Name: "a", Line: 1<<31 - 1, Col: 3, Unit: UnitID}, {}} {
		a, err := NewACL("x", ACLRule{Sense: Deny, Prefix: netip.MustParsePrefix("192.0.2.0/24"), Origin: o}, ACLRule{Sense: Permit, Prefix: netip.MustParsePrefix("192.0.2.7/32")})
		require.NoError(t, err)
		require.Equal(t, o, a.CheckSource(Source{Addr: netip.MustParseAddr("192.0.2.1")}).Origin)
	}
}
