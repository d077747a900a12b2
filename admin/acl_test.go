package admin

import (
	"bytes"
	"encoding/json"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// aclsOf loads an acl.conf that can be changed, and rows of a table behind it.
func aclsOf(t testing.TB, files fstest.MapFS, rows ...sipacl.ACLRow) sipacl.ACLs {
	acls, err := sipacl.NewACLs(t.Context(), sipacl.ACLConf{FS: files}, sipacl.Rows(rows...))
	require.NoError(t, err)
	return acls
}

func conf(text string) fstest.MapFS {
	return fstest.MapFS{"acl.conf": {Data: []byte(text)}}
}

func rulesOf(t testing.TB, lines ...string) []sipacl.ACLRule {
	rules, err := sipacl.ParseACLRules(lines...)
	require.NoError(t, err)
	return rules
}

func tableRows(t testing.TB) []sipacl.ACLRow {
	return []sipacl.ACLRow{
		{Name: "lan", Rules: rulesOf(t, "deny=0.0.0.0/0"), Realtime: true},
		{Name: "rt", Rules: rulesOf(t, "deny=192.0.2.2"), Realtime: true, Order: 2},
		{Name: "rt", Rules: rulesOf(t, "permit=192.0.2.0/24"), Realtime: true, Order: 1},
	}
}

const dashes = "---------------------------------------------\n"

func TestShowACL(t *testing.T) {
	set := aclsOf(t, conf("[lan]\npermit=0.0.0.0/0\n[six]\ndeny=::/0,::192.0.2.1,::1\n"), tableRows(t)...).Current()
	require.Equal(t, "\nacl\n---\nsix\nlan\n", ShowACLs(set))
	require.Equal(t, "\nACL: lan\n"+dashes+"  0: allow - 0.0.0.0/0.0.0.0\n", ShowACL(set, "lan"))
	require.Equal(t, "\nACL: rt (realtime)\n"+dashes+"  0: allow - 192.0.2.0/255.255.255.0\n  1:  deny - 192.0.2.2/255.255.255.255\n", ShowACL(set, "rt"))
	require.Equal(t, "\nACL: six\n"+dashes+"  0:  deny - ::/::\n"+
		"  1:  deny - ::192.0.2.1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n"+
		"  2:  deny - ::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n", ShowACL(set, "six"))
	require.Equal(t, "\nCould not find ACL named 'nope'\n", ShowACL(set, "nope"))
	require.Equal(t, "\nCould not find ACL named 'LAN'\n", ShowACL(set, "LAN"))
	require.Equal(t, "\nacl\n---\nACL configuration isn't available.\n", ShowACLs(nil))
	require.Empty(t, ShowACL(nil, "lan"))
}

func TestShowList(t *testing.T) {
	files := conf("[a]\ndeny=192.0.2.1\n[b]\ndeny=10.1.0.0/16\n")
	acls := aclsOf(t, files)
	pinned, err := acls.Current().Bind("a,b")
	require.NoError(t, err)
	live, err := acls.Follow("a, b", rulesOf(t, "deny=0.0.0.0/0,::/0", "permit=10.0.0.0/8")...)
	require.NoError(t, err)
	const (
		own = "ACL: (unnamed)\n" + dashes + "  0:  deny - 0.0.0.0/0.0.0.0\n  1:  deny - ::/::\n  2: allow - 10.0.0.0/255.0.0.0\n"
		a   = "ACL: a\n" + dashes + "  0:  deny - 192.0.2.1/255.255.255.255\n"
		b   = "ACL: b\n" + dashes + "  0:  deny - 10.1.0.0/255.255.0.0\n"
	)
	require.Equal(t, own+a+b, ShowList(live))

	files["acl.conf"] = conf("[b]\ndeny=10.1.0.0/16\n")["acl.conf"]
	_, err = acls.Reload(t.Context())
	require.NoError(t, err)
	require.Equal(t, a+b, ShowList(pinned))
	require.Equal(t, own+"ACL: a (not defined, refuses everything)\n"+b, ShowList(live))
}

// An empty text would look as if nothing were restricted.
func TestShowListOfNobody(t *testing.T) {
	empty, err := (*sipacl.ACLSet)(nil).Bind("")
	require.NoError(t, err)
	for _, l := range []*sipacl.ACLList{nil, {}, empty} {
		require.False(t, l.CheckSource(sipacl.Source{Addr: netip.MustParseAddr("192.0.2.1")}).Allowed)
		require.Equal(t, "ACL: (empty list, refuses everything)\n", ShowList(l))
	}
}

func TestDumpACLs(t *testing.T) {
	set := aclsOf(t, conf("[lan]\npermit=0.0.0.0/0\n[empty]\n"), tableRows(t)...).Current()
	var b bytes.Buffer
	require.NoError(t, DumpACLs(&b, set))
	require.Equal(t, `{"generation":1,"acls":[`+
		`{"name":"lan","realtime":false,"origin":"acl.conf:1:2","rules":[{"sense":"permit","prefix":"0.0.0.0/0","origin":"acl.conf:2:8"}]},`+
		`{"name":"empty","realtime":false,"origin":"acl.conf:3:2","rules":[]},`+
		`{"name":"rt","realtime":true,"rules":[{"sense":"permit","prefix":"192.0.2.0/24"},{"sense":"deny","prefix":"192.0.2.2/32"}]}]}`, b.String())

	b.Reset()
	require.NoError(t, DumpACLs(&b, nil))
	require.Equal(t, `{"generation":0,"acls":[]}`, b.String())
}

func TestDumpACLsReturnsErrorsOfTheWriter(t *testing.T) {
	text := strings.Repeat("[a]\ndeny=192.0.2.1\n", 500)
	set := aclsOf(t, conf(strings.Replace(text, "[a]", "[b]", 1))).Current()
	for _, left := range []int{0, 1, 4096, 8192} {
		require.ErrorIs(t, DumpACLs(&limitedWriter{left: left}, set), errFull, left)
	}
	require.ErrorIs(t, DumpACLs(&limitedWriter{}, nil), errFull)
	require.NoError(t, DumpACLs(io.Discard, set))
}

// A name can come from a database or a command line. What is in it must not
// reach a terminal.
func FuzzNamesAreNeverShownRaw(f *testing.F) {
	for _, name := range []string{"lan", "\x1b[2J", "a\nACL: lan", "\x7f", "\u009b31m", "\u202e", "\xff", "é", ""} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		requirePrintable(t, ShowACL(&sipacl.ACLSet{}, name))
		acls, err := sipacl.NewACLs(t.Context(), sipacl.Rows(sipacl.ACLRow{Name: name, Empty: true}))
		if err != nil {
			return
		}
		set := acls.Current()
		requirePrintable(t, ShowACLs(set))
		requirePrintable(t, ShowACL(set, name))
		var b bytes.Buffer
		require.NoError(t, DumpACLs(&b, set))
		require.True(t, json.Valid(b.Bytes()), &b)
		requirePrintable(t, b.String())
		if list, err := acls.Follow(name); err == nil {
			requirePrintable(t, ShowList(list))
		}
	})
}
