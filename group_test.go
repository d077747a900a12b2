package sipacl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/fakedb"
)

var (
	aliceUser = User{"alice", "example.com"}
	bobUser   = User{"bob", "example.com"}
)

func mustGroups(t testing.TB, cfg GroupConfig) Groups {
	g, err := NewGroups(context.Background(), cfg)
	require.NoError(t, err)
	return g
}

func members(rows ...Member) []MemberSource { return []MemberSource{Rows(rows...)} }

func TestUserOf(t *testing.T) {
	for uri, want := range map[string]User{
		"sip:alice@example.com":                         {"alice", "example.com"},
		"sips:Alice@EXAMPLE.com:5061;transport=tls?a=b": {"Alice", "EXAMPLE.com"},
		"sip:alice:secret@example.com":                  {"alice", "example.com"},
		"sip:alice;p=1@example.com":                     {"alice;p=1", "example.com"},
		"sip:%61lice@example.com":                       {"%61lice", "example.com"},
		"sip:carol@[2001:db8::1]:5060":                  {"carol", "[2001:db8::1]"},
		"tel:+15551234;phone-context=example.com":       {"+15551234", ""},
		"TEL:123": {"123", ""},
	} {
		u, err := parseUser(uri)
		require.NoError(t, err, uri)
		require.Equal(t, want, u.User(), uri)
	}
	for _, uri := range []string{
		"", "alice", "alice@example.com", "sip:example.com", "sip:@example.com", "sip:alice@", "tel:", "tel:;x=1",
		"urn:service:sos", "mailto:alice@example.com", "sip:a:b:c@example.com", "sip:a b@example.com",
		"sip:" + strings.Repeat("a", 1024) + "@example.com",
	} {
		u, err := parseUser(uri)
		require.Error(t, err, uri)
		require.Equal(t, ClaimedUser{}, u, uri)
	}
	_, err := UserOf(sip.Uri{Scheme: "sip", User: "a\r\n", Host: "example.com"})
	require.ErrorContains(t, err, "control byte")
}

func TestVerified(t *testing.T) {
	for _, c := range []struct {
		username, realm string
		domains         []string
		want            User
	}{
		{"alice", "example.com", nil, User{"alice", "example.com"}},
		{"alice@example.com", "example.com", nil, User{"alice", "example.com"}},
		{"alice@example.org", "example.com", []string{"example.net", "example.org"}, User{"alice", "example.org"}},
		{"a@b@example.com", "example.com", nil, User{"a@b", "example.com"}},
	} {
		u, err := Verified(c.username, c.realm, c.domains...)
		require.NoError(t, err)
		require.Equal(t, c.want, u.User())
	}
	for _, username := range []string{"", "@example.com", "a\x00", strings.Repeat("a", 1020)} {
		_, err := Verified(username, "example.com")
		require.Error(t, err, username)
	}
}

// The client chooses its user name: it is in no domain that the caller did not
// name.
func TestAUserNameDoesNotChooseItsDomain(t *testing.T) {
	for _, username := range []string{"alice@evil.example", "alice@", "alice@example.com.evil.example", "a@example.com@evil.example", "alice@EXAMPLE.com"} {
		_, err := Verified(username, "example.com")
		require.ErrorContains(t, err, "want a domain of the realm", username)
		_, err = Verified(username, "example.com", "other.example")
		require.Error(t, err, username)
	}
}

// inviteOf makes a request with these header fields.
func inviteOf(t *testing.T, headers ...sip.Header) *sip.Request {
	var uri sip.Uri
	require.NoError(t, sip.ParseUri("sip:bob@example.com", &uri))
	req := sip.NewRequest(sip.INVITE, uri)
	for _, h := range headers {
		req.AppendHeader(h)
	}
	return req
}

func TestUsersOfRequest(t *testing.T) {
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: "alice", Host: "example.com"}}
	to := &sip.ToHeader{Address: sip.Uri{Scheme: "sip", User: "carol", Host: "example.com"}}
	req := inviteOf(t, from, to)
	for want, of := range map[User]func(*sip.Request) (ClaimedUser, error){
		aliceUser:                FromUser,
		{"carol", "example.com"}: ToUser,
		bobUser:                  func(req *sip.Request) (ClaimedUser, error) { return UserOf(req.Recipient) },
	} {
		u, err := of(req)
		require.NoError(t, err)
		require.Equal(t, want, u.User())
	}
	for _, bad := range []*sip.Request{inviteOf(t), inviteOf(t, from, from, to, to)} {
		_, err := FromUser(bad)
		require.Error(t, err)
		_, err = ToUser(bad)
		require.Error(t, err)
	}
}

func TestIsUserIn(t *testing.T) {
	rows := members(
		Member{aliceUser, "ld", Origin{Name: "grp", Line: 7, Unit: UnitID}},
		Member{aliceUser, "ld", Origin{Name: "grp", Line: 8, Unit: UnitID}},
		Member{User{"alice", "example.org"}, "int", Origin{Name: "file", Line: 3}},
		Member{User{"+15551234", ""}, "ld", Origin{}},
		Member{aliceUser, "", Origin{}},
	)
	g := mustGroups(t, GroupConfig{Members: rows})
	for _, c := range []struct {
		u     User
		group string
		want  bool
	}{
		{aliceUser, "ld", true}, {aliceUser, "LD", false}, {aliceUser, "int", false}, {aliceUser, "", true}, {aliceUser, "nothing", false},
		{User{"Alice", "example.com"}, "ld", false}, {User{"alice", "EXAMPLE.com"}, "ld", false}, {User{"alice", ""}, "ld", false},
		{User{"alice", "example.org"}, "int", true}, {bobUser, "ld", false}, {User{"+15551234", ""}, "ld", true},
	} {
		d := g.Current().IsUserIn(t.Context(), c.u, c.group)
		require.Equal(t, c.want, d.Allowed, "%v %q", c.u, c.group)
		require.Equal(t, map[bool]Cause{true: CauseMember, false: CauseNotMember}[c.want], d.Cause)
	}
	require.Equal(t, `allowed: member (grp:id 7) "alice" -> "ld"`, g.Current().IsUserIn(t.Context(), aliceUser, "ld").String())
	require.Equal(t, "file:3", g.Current().IsUserIn(t.Context(), User{"alice", "example.org"}, "int").Origin.String())
	require.Equal(t, 4, g.Status().Entries)

	groups, err := g.Current().GroupsOf(t.Context(), aliceUser)
	require.NoError(t, err)
	require.Equal(t, []string{"ld", ""}, groups)

	g = mustGroups(t, GroupConfig{Members: rows, IgnoreDomain: true})
	require.True(t, g.Current().IsUserIn(t.Context(), User{"alice", "anything"}, "int").Allowed)
	require.True(t, g.Current().IsUserIn(t.Context(), User{"alice", ""}, "ld").Allowed)
	require.False(t, g.Current().IsUserIn(t.Context(), bobUser, "ld").Allowed)
	groups, err = g.Current().GroupsOf(t.Context(), aliceUser)
	require.NoError(t, err)
	require.Equal(t, []string{"ld", "int", ""}, groups)
}

func TestMalformedUsersAreInNoGroup(t *testing.T) {
	odd := []User{{}, {"", "example.com"}, {"a\nb", ""}, {"a", "b\x7f"}, {strings.Repeat("a", 1020), ""}}
	var rows []Member
	for _, u := range odd {
		rows = append(rows, Member{User: u, Group: "ld"})
	}
	g := mustGroups(t, GroupConfig{Members: members(rows...), Classes: []ClassSource{Rows([]ClassRow{{Expression: "", Class: 1}}...)}})
	for _, u := range odd {
		require.Equal(t, CauseMalformed, g.Current().IsUserIn(t.Context(), u, "ld").Cause, "%q", u)
		require.Equal(t, CauseMalformed, g.Current().IsUserInClass(u, 1).Cause, "%q", u)
		require.Empty(t, slices.Collect(g.Current().Classes(u)))
		_, err := g.Current().GroupsOf(t.Context(), u)
		require.Error(t, err)
	}
}

func TestNilAndEmptyGroupsRefuse(t *testing.T) {
	for _, g := range []Groups{{}, mustGroups(t, GroupConfig{Members: members()})} {
		require.False(t, g.Current().IsUserIn(t.Context(), aliceUser, "").Allowed)
		require.False(t, g.Current().IsUserInClass(aliceUser, 0).Allowed)
		require.Empty(t, slices.Collect(g.Current().Classes(aliceUser)))
		require.False(t, traced(func(tr *Trace) { g.Current().Tracing(tr).IsUserIn(t.Context(), aliceUser, "") }).Decision.Allowed)
		require.False(t, g.Members(verifiedAlice, "ld")(RequestOf(inviteOf(t), nil)).Allowed)
	}
	_, err := Groups{}.Reload(t.Context())
	require.Error(t, err)
	_, err = Groups{}.Current().GroupsOf(t.Context(), aliceUser)
	require.Error(t, err)
	require.Zero(t, new(Groups).Status())
	new(Groups).OnReload(nil)()

	perm, err := Open(t.Context(), Config{})
	require.NoError(t, err)
	require.Zero(t, perm.Groups())
	require.Zero(t, (*Permissions)(nil).Groups())
	require.Nil(t, perm.Groups().Current())
	require.Nil(t, perm.Groups().At(nil))
}

var someClasses = Rows([]ClassRow{
	{"^sip:1[0-9]*@", 1, Origin{Name: "re_grp", Line: 1, Unit: UnitID}},
	{"EXAMPLE\\.com$", -2, Origin{Name: "re_grp", Line: 2, Unit: UnitID}},
	{"^sip:alice@", 3, Origin{Name: "re_grp", Line: 3, Unit: UnitID}},
	{"alice", -2, Origin{Name: "re_grp", Line: 4, Unit: UnitID}},
}...)

func TestClasses(t *testing.T) {
	g := mustGroups(t, GroupConfig{Classes: []ClassSource{someClasses}})
	require.Equal(t, []ClassID{-2, 3, -2}, slices.Collect(g.Current().Classes(aliceUser)))
	require.Equal(t, []ClassID{1}, slices.Collect(g.Current().Classes(User{"123", ""})))
	for c := range g.Current().Classes(aliceUser) {
		require.Equal(t, ClassID(-2), c)
		break
	}
	require.Equal(t, `allowed: member (re_grp:id 3) "alice" -> "^sip:alice@"`, g.Current().IsUserInClass(aliceUser, 1, 3).String())
	require.Equal(t, CauseNotMember, g.Current().IsUserInClass(aliceUser, 1).Cause)
	require.False(t, g.Current().IsUserInClass(aliceUser).Allowed)

	g = mustGroups(t, GroupConfig{Classes: []ClassSource{someClasses}, FirstOnly: true})
	require.Equal(t, []ClassID{-2}, slices.Collect(g.Current().Classes(aliceUser)))
	require.False(t, g.Current().IsUserInClass(aliceUser, 3).Allowed, "only the first row counts")
	require.True(t, g.Current().IsUserInClass(aliceUser, 3, -2).Allowed)
}

func verifiedAlice(Request) (VerifiedUser, bool) {
	u, err := Verified("alice", "example.com")
	return u, err == nil
}

func TestGuardChecksTakeAVerifiedUser(t *testing.T) {
	g := mustGroups(t, GroupConfig{Members: members(Member{User: aliceUser, Group: "ld"}), Classes: []ClassSource{someClasses}})
	req := inviteOf(t)
	nobody := func(Request) (VerifiedUser, bool) { return VerifiedUser{}, false }
	zero := func(Request) (VerifiedUser, bool) { return VerifiedUser{}, true }
	require.True(t, g.Members(verifiedAlice, "int", "ld")(RequestOf(req, nil)).Allowed)
	require.False(t, g.Members(verifiedAlice, "int")(RequestOf(req, nil)).Allowed)
	require.False(t, g.Members(verifiedAlice)(RequestOf(req, nil)).Allowed)
	require.True(t, g.InClass(verifiedAlice, 3)(RequestOf(req, nil)).Allowed)
	require.False(t, g.InClass(verifiedAlice, 4)(RequestOf(req, nil)).Allowed)
	for _, user := range []func(Request) (VerifiedUser, bool){nil, nobody, zero} {
		require.False(t, g.Members(user, "ld")(RequestOf(req, nil)).Allowed)
		require.False(t, g.InClass(user, 3)(RequestOf(req, nil)).Allowed)
	}
}

func TestIsUserInDoesNotAllocate(t *testing.T) {
	for _, ignore := range []bool{false, true} {
		g := mustGroups(t, GroupConfig{Members: members(Member{User: aliceUser, Group: "ld", Origin: Origin{Name: "grp", Line: 1}}), IgnoreDomain: ignore})
		ctx := context.Background()
		require.Zero(t, testing.AllocsPerRun(100, func() {
			if !g.Current().IsUserIn(ctx, aliceUser, "ld").Allowed || g.Current().IsUserIn(ctx, bobUser, "ld").Allowed {
				t.Error("wrong answer")
			}
		}))
	}
}

// slowGroups is the meaning of the strict groups: it reads every row.
type slowGroups struct {
	rows         []Member
	ignoreDomain bool
}

func (s slowGroups) find(u User, group string) *Member {
	for i, m := range s.rows {
		if u.Name != "" && m.User.Name == u.Name && m.Group == group && (s.ignoreDomain || m.User.Domain == u.Domain) {
			return &s.rows[i]
		}
	}
	return nil
}

func compareGroups(t *testing.T, rows []Member, ignoreDomain bool) {
	g := mustGroups(t, GroupConfig{Members: members(rows...), IgnoreDomain: ignoreDomain})
	slow := slowGroups{rows, ignoreDomain}
	for _, m := range rows {
		for _, n := range rows[:min(len(rows), 50)] {
			d := g.Current().IsUserIn(t.Context(), User{m.User.Name, n.User.Domain}, n.Group)
			want := slow.find(User{m.User.Name, n.User.Domain}, n.Group)
			if d.Cause == CauseMalformed {
				continue
			}
			require.Equal(t, want != nil, d.Allowed, "%v in %q of %q", m.User.Name, n.Group, n.User.Domain)
			if want != nil {
				require.Equal(t, want.Origin, d.Origin)
			}
		}
	}
}

func TestGroupsAgreeWithSlowGroups(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var rows []Member
	for i := range 300 {
		text := func() string { return fmt.Sprint(r.IntN(12)) }
		rows = append(rows, Member{User{text(), text()}, text(), Origin{Name: text(), Line: i + 1}})
	}
	compareGroups(t, rows, false)
	compareGroups(t, rows, true)
}

func FuzzGroups(f *testing.F) {
	f.Add("alice@example.com ld\nalice@example.org int ld\n+1 ld # tel\n@ x\n", true)
	f.Fuzz(func(t *testing.T, text string, ignoreDomain bool) {
		file := MemberFile{FS: fstest.MapFS{"grp": {Data: []byte(text)}}, Name: "grp"}
		var rows []Member
		for m, err := range file.Rows(t.Context()) {
			if err == nil {
				m.Origin.Col = 0
				rows = append(rows, m)
			}
		}
		if len(rows) < 200 {
			compareGroups(t, rows, ignoreDomain)
		}
	})
}

func TestMemberFile(t *testing.T) {
	fsys := fstest.MapFS{"grp": {Data: []byte("\ufeff# who may call far\r\nalice@example.com\tld  int # alice\r\n\r\n+15551234 ld\n")}}
	g := mustGroups(t, GroupConfig{Members: []MemberSource{MemberFile{FS: fsys, Name: "grp"}}})
	require.Equal(t, 3, g.Status().Entries)
	require.Equal(t, "grp:2", g.Current().IsUserIn(t.Context(), aliceUser, "int").Origin.String())
	require.True(t, g.Current().IsUserIn(t.Context(), User{"+15551234", ""}, "ld").Allowed)

	fsys["grp"] = &fstest.MapFile{Data: []byte("alice@example.com\n  @example.com ld\nbob ld\n")}
	_, err := g.Reload(t.Context())
	require.ErrorContains(t, err, "grp:1:18: found end of line, want a group\ngrp:2:3: no user name")
	require.True(t, g.Current().IsUserIn(t.Context(), aliceUser, "int").Allowed, "the generation in service stays")

	delete(fsys, "grp")
	_, err = g.Reload(t.Context())
	require.Error(t, err)
	_, err = NewGroups(t.Context(), GroupConfig{Members: []MemberSource{MemberFile{}}})
	require.ErrorContains(t, err, "want a file system")
}

func TestClassFile(t *testing.T) {
	fsys := fstest.MapFS{"re": {Data: []byte("# classes\n\n10  ^sip:1[0-9]* # not a comment$ \n-1\t^sip:alice@\n")}}
	g := mustGroups(t, GroupConfig{Classes: []ClassSource{ClassFile{FS: fsys, Name: "re"}}})
	require.Equal(t, []ClassID{-1}, slices.Collect(g.Current().Classes(aliceUser)))
	require.Equal(t, "re:3:5", traced(func(tr *Trace) { g.Current().Tracing(tr).IsUserIn(t.Context(), aliceUser, "") }).Steps[0].Origin.String())

	fsys["re"] = &fstest.MapFile{Data: []byte("x ^sip:\n1\n2 ^sip:[0-9\n3  a\\d\n")}
	_, err := g.Reload(t.Context())
	require.ErrorContains(t, err, strings.Join([]string{
		`re:1:1: found "x", want a whole number, -2147483648 to 2147483647`,
		`re:2:2: found end of line, want an expression`,
		`re:3:8: found [, want a ] after it`,
		`re:4:5: \d has no meaning of its own; write [0-9]`,
	}, "\n"))
}

func TestSQLMembers(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("grp", []string{"id", "username", "domain", "grp"},
		[]any{int64(4), []byte("bob  "), "example.com", "ld"}, []any{int64(3), "alice", "example.com", "ld   "})
	for _, src := range []SQLMembers{membersOf(db), {SQL: SQL{DB: db.SQL(), IDCol: "id", Table: "grp"}}} {
		g := mustGroups(t, GroupConfig{Members: []MemberSource{src}})
		require.Equal(t, "grp:id 3", g.Current().IsUserIn(t.Context(), aliceUser, "ld").Origin.String())
		require.True(t, g.Current().IsUserIn(t.Context(), bobUser, "ld").Allowed)
	}
	src := SQLMembers{SQL: SQL{DB: db.SQL()}, DomainCol: NoColumn}
	g := mustGroups(t, GroupConfig{Members: []MemberSource{src}, IgnoreDomain: true})
	require.Equal(t, "grp:row 2", g.Current().IsUserIn(t.Context(), aliceUser, "ld").Origin.String())

	db.Set("grp", []string{"id", "username", "domain", "grp"},
		[]any{int64(1), nil, "example.com", "ld"}, []any{int64(2), "alice", 1.5, nil})
	_, err := NewGroups(t.Context(), GroupConfig{Members: []MemberSource{membersOf(db)}})
	require.ErrorContains(t, err, `grp:id 1: username "NULL": want a value, not NULL`)
	require.ErrorContains(t, err, `grp:id 2: grp "NULL": want a value, not NULL`)
	require.ErrorContains(t, err, `grp:id 2: domain "1.5": want text, not float64`)
}

func TestSQLClasses(t *testing.T) {
	db := fakedb.Open(t)
	columns := []string{"id", "reg_exp", "group_id"}
	db.Set("re_grp", columns, []any{int64(2), "alice", "-7"}, []any{int64(1), []byte(""), int64(1)})
	var report ReloadReport
	g := mustGroups(t, GroupConfig{Classes: []ClassSource{SQLClasses{SQL: SQL{DB: db.SQL(), IDCol: "id"}}}})
	g.OnReload(func(r ReloadReport) { report = r })
	require.Equal(t, []ClassID{1, -7}, slices.Collect(g.Current().Classes(aliceUser)))

	db.Set("re_grp", columns, []any{int64(2), "alice", int64(9)}, []any{int64(1), "", int64(1)})
	_, err := g.Reload(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"re_grp:id 1 class 1: the empty expression matches everyone"}, report.Warnings)
	require.Equal(t, [2]int{1, 1}, [2]int{report.Added, report.Removed})
	require.Equal(t, uint64(2), g.Current().Generation())

	db.Set("re_grp", columns, []any{int64(1), "(", int64(1)}, []any{int64(2), `^\d`, "x"}, []any{int64(3), nil, int64(1) << 31})
	_, err = g.Reload(t.Context())
	for _, want := range []string{
		`re_grp:id 1: reg_exp "(": col 1: found (, want a ) after it`,
		`re_grp:id 2: reg_exp "^\\d": col 2: \d has no meaning of its own; write [0-9]`,
		`re_grp:id 2: group_id "x": want a whole number`,
		`re_grp:id 3: reg_exp "NULL": want a value, not NULL`,
		`re_grp:id 3: group_id "2147483648": want a whole number`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, []ClassID{1, 9}, slices.Collect(g.Current().Classes(aliceUser)), "the generation in service stays")

	down := errors.New("down")
	db.FailAfter(1, down)
	_, err = g.Reload(t.Context())
	require.ErrorIs(t, err, down)
}

func TestSQLNamesAreValidated(t *testing.T) {
	db := fakedb.Open(t).SQL()
	evil := "grp; DROP TABLE grp"
	for _, cfg := range []GroupConfig{
		{Members: []MemberSource{SQLMembers{SQL: SQL{DB: db, Table: evil}}}},
		{Members: []MemberSource{SQLMembers{SQL: SQL{DB: db}, UserCol: evil}}},
		{Live: SQLMembers{SQL: SQL{DB: db}, DomainCol: evil}},
		{Live: SQLMembers{SQL: SQL{DB: db}, GroupCol: evil}},
		{Classes: []ClassSource{SQLClasses{SQL: SQL{DB: db}, ExpressionCol: evil}}},
		{Classes: []ClassSource{SQLClasses{SQL: SQL{DB: db, IDCol: evil}}}},
	} {
		_, err := NewGroups(t.Context(), cfg)
		require.ErrorContains(t, err, "want letters, digits and _")
	}
	for _, cfg := range []GroupConfig{
		{Members: []MemberSource{SQLMembers{}}}, {Live: SQLMembers{}}, {Classes: []ClassSource{SQLClasses{}}},
	} {
		_, err := NewGroups(t.Context(), cfg)
		require.ErrorContains(t, err, "want a database")
	}
}

func TestGroupConfigErrors(t *testing.T) {
	live := SQLMembers{SQL: SQL{DB: fakedb.Open(t).SQL()}}
	for want, cfg := range map[string]GroupConfig{
		"sipacl: group: want a source": {Members: []MemberSource{nil}},
		"want Members or Live":         {Members: members(), Live: live},
		"want no negative LiveTimeout": {Live: live, LiveTimeout: -1},
	} {
		_, err := NewGroups(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}
}

func TestLive(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("grp", []string{"id", "username", "domain", "grp"},
		[]any{int64(1), "alice", "example.com", "ld"}, []any{int64(2), "alice", "example.org", "int"})
	g := mustGroups(t, GroupConfig{Live: membersOf(db), LiveTimeout: 20 * time.Millisecond})
	before := db.Queries()
	require.Equal(t, `allowed: member (grp:id 1) "alice" -> "ld"`, g.Current().IsUserIn(t.Context(), aliceUser, "ld").String())
	require.Equal(t, 1, db.Queries()-before, "one query a check")
	require.Equal(t, CauseNotMember, g.Current().IsUserIn(t.Context(), aliceUser, "int").Cause)
	groups, err := g.Current().GroupsOf(t.Context(), aliceUser)
	require.NoError(t, err)
	require.Equal(t, []string{"ld"}, groups)

	byName := mustGroups(t, GroupConfig{Live: membersOf(db), IgnoreDomain: true})
	require.True(t, byName.Current().IsUserIn(t.Context(), User{"alice", "x"}, "int").Allowed)
	groups, err = byName.Current().GroupsOf(t.Context(), aliceUser)
	require.NoError(t, err)
	require.Equal(t, []string{"ld", "int"}, groups)

	db.Set("grp", []string{"id", "username", "domain", "grp"}, []any{int64(9), "bob", "example.com", "ld"})
	require.False(t, g.Current().IsUserIn(t.Context(), aliceUser, "ld").Allowed, "no reload is needed")
	require.True(t, g.Current().IsUserIn(t.Context(), bobUser, "ld").Allowed)
}

// A table without domains holds users without one, asked live or not.
func TestLiveWithoutDomainColumn(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("grp", []string{"username", "grp"}, []any{"alice", "ld"})
	src := SQLMembers{SQL: SQL{DB: db.SQL()}, DomainCol: NoColumn}
	for name, cfg := range map[string]GroupConfig{"cached": {Members: []MemberSource{src}}, "live": {Live: src}} {
		g := mustGroups(t, cfg)
		require.True(t, g.Current().IsUserIn(t.Context(), User{Name: "alice"}, "ld").Allowed, name)
		require.Equal(t, CauseNotMember, g.Current().IsUserIn(t.Context(), aliceUser, "ld").Cause, name)
		groups, err := g.Current().GroupsOf(t.Context(), aliceUser)
		require.NoError(t, err, name)
		require.Empty(t, groups, name)
		cfg.IgnoreDomain = true
		require.True(t, mustGroups(t, cfg).Current().IsUserIn(t.Context(), aliceUser, "ld").Allowed, name)
	}
}

// everybody is a LiveMembers that knows no time.
type everybody time.Duration

func (e everybody) IsMember(context.Context, User, bool, string) (Origin, bool, error) {
	time.Sleep(time.Duration(e))
	return Origin{}, true, nil
}

func (everybody) GroupsOf(context.Context, User, bool) ([]string, error) { return nil, nil }

func TestLiveAnswersThatComeTooLateRefuse(t *testing.T) {
	g := mustGroups(t, GroupConfig{Live: everybody(0)})
	require.True(t, g.Current().IsUserIn(t.Context(), aliceUser, "ld").Allowed)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, CauseError, g.Current().IsUserIn(ctx, aliceUser, "ld").Cause)
	ctx, cancel = context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	d := mustGroups(t, GroupConfig{Live: everybody(30 * time.Millisecond)}).Current().IsUserIn(ctx, aliceUser, "ld")
	require.False(t, d.Allowed)
	require.Equal(t, CauseError, d.Cause)
}

func TestLiveErrorsRefuse(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("grp", []string{"id", "username", "domain", "grp"}, []any{int64(1), "alice", "example.com", "ld"})
	g := mustGroups(t, GroupConfig{Live: membersOf(db), LiveTimeout: 20 * time.Millisecond})
	refuses := func(ctx context.Context, why string) {
		d := g.Current().IsUserIn(ctx, aliceUser, "ld")
		require.False(t, d.Allowed)
		require.Equal(t, CauseError, d.Cause)
		require.Contains(t, d.Info, why)
		_, err := g.Current().GroupsOf(ctx, aliceUser)
		require.ErrorContains(t, err, why)
		require.Contains(t, traced(func(tr *Trace) { g.Current().Tracing(tr).IsUserIn(ctx, aliceUser, "ld") }).String(), why)
	}
	db.Fail(errors.New("down"))
	refuses(t.Context(), "down")
	_, err := NewGroups(t.Context(), GroupConfig{Live: membersOf(db)})
	require.ErrorContains(t, err, "down", "a table that cannot be asked shows at the start")
	db.Fail(nil)
	db.Panic("driver bug")
	refuses(t.Context(), "driver bug")
	db.Panic(nil)
	release := db.Hang()
	refuses(t.Context(), "deadline exceeded")
	release()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	refuses(ctx, "canceled")
	require.True(t, g.Current().IsUserIn(t.Context(), aliceUser, "ld").Allowed)
}

func TestGroupsFromSequences(t *testing.T) {
	fail := errors.New("half of it")
	var after error
	g := mustGroups(t, GroupConfig{
		Members: []MemberSource{RowFunc[Member](func(context.Context) iter.Seq2[Member, error] {
			return func(yield func(Member, error) bool) {
				if yield(Member{User: aliceUser, Group: "ld"}, nil) && after != nil {
					yield(Member{}, after)
				}
			}
		})},
		Classes: []ClassSource{RowFunc[ClassRow](func(context.Context) iter.Seq2[ClassRow, error] {
			return func(yield func(ClassRow, error) bool) { yield(ClassRow{Expression: "alice", Class: 5}, nil) }
		})},
	})
	require.True(t, g.Current().IsUserIn(t.Context(), aliceUser, "ld").Allowed)
	require.Equal(t, []ClassID{5}, slices.Collect(g.Current().Classes(aliceUser)))
	after = fail
	_, err := g.Reload(t.Context())
	require.ErrorIs(t, err, fail)
	require.True(t, g.Current().IsUserIn(t.Context(), aliceUser, "ld").Allowed)
}

func TestExplainGroups(t *testing.T) {
	g := mustGroups(t, GroupConfig{
		Members: members(Member{aliceUser, "int", Origin{Name: "grp", Line: 2, Unit: UnitID}}, Member{User: bobUser, Group: "ld"}),
		Classes: []ClassSource{someClasses},
	})
	require.Equal(t, strings.Join([]string{
		`refused: not a member "alice" -> "ld"`,
		`  - grp:id 2 group int ~ "alice"`,
		`  - re_grp:id 1 class 1 "^sip:1[0-9]*@" ~ "sip:alice@example.com"`,
		`  + re_grp:id 2 class -2 "EXAMPLE\\.com$" ~ "sip:alice@example.com"`,
		`  + re_grp:id 3 class 3 "^sip:alice@" ~ "sip:alice@example.com"`,
		`  + re_grp:id 4 class -2 "alice" ~ "sip:alice@example.com"`,
	}, "\n"), traced(func(tr *Trace) { g.Current().Tracing(tr).IsUserIn(t.Context(), aliceUser, "ld") }).String())
}

func TestRunReloadsGroups(t *testing.T) {
	l := &lockedFS{files: fstest.MapFS{}}
	l.write("grp", "alice@example.com ld\n")
	perm, err := Open(t.Context(), Config{Groups: GroupConfig{Members: []MemberSource{MemberFile{FS: l, Name: "grp"}}}})
	require.NoError(t, err)
	g := perm.Groups()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go perm.Run(ctx, RunConfig{Interval: 5 * time.Millisecond, Settle: time.Millisecond})
	l.write("grp", "bob@example.com ld\n")
	require.Eventually(t, func() bool { return g.Current().IsUserIn(ctx, bobUser, "ld").Allowed }, 5*time.Second, time.Millisecond)
	require.False(t, g.Current().IsUserIn(ctx, aliceUser, "ld").Allowed)
}

func ExampleGroupTable_IsUserIn() {
	groups, err := NewGroups(context.Background(), GroupConfig{Members: []MemberSource{Rows([]Member{
		{User: User{"alice", "example.com"}, Group: "ld", Origin: Origin{Name: "grp", Line: 1, Unit: UnitRow}},
	}...)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	caller, err := parseUser("sip:alice@example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(groups.Current().IsUserIn(context.Background(), caller.User(), "ld"))
	fmt.Println(groups.Current().IsUserIn(context.Background(), caller.User(), "int"))
	// Output:
	// allowed: member (grp:row 1) "alice" -> "ld"
	// refused: not a member "alice" -> "int"
}

func ExampleGroupTable_Classes() {
	groups, err := NewGroups(context.Background(), GroupConfig{Classes: []ClassSource{Rows([]ClassRow{
		{Expression: `^sip:1[0-9]{3}@`, Class: 10},
		{Expression: `@example\.com$`, Class: -1},
	}...)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	for class := range groups.Current().Classes(User{"1234", "example.com"}) {
		fmt.Println(class)
	}
	fmt.Println(groups.Current().IsUserInClass(User{"alice", "example.com"}, 10).Allowed)
	// Output:
	// 10
	// -1
	// false
}

func ExampleGroups_Members() {
	groups, err := NewGroups(context.Background(), GroupConfig{Members: []MemberSource{Rows([]Member{
		{User: User{"alice", "example.com"}, Group: "ld"},
	}...)}})
	if err != nil {
		fmt.Println(err)
		return
	}
	// An application keeps what it has verified beside the request.
	verified := func(Request) (VerifiedUser, bool) {
		u, err := Verified("alice", "example.com")
		return u, err == nil
	}
	check := groups.Members(verified, "ld")
	fmt.Println(check(Request{Request: sip.NewRequest(sip.INVITE, sip.Uri{Scheme: "sip", User: "0044", Host: "example.com"})}).Allowed)
	// Output: true
}

func membersOf(db *fakedb.DB) SQLMembers { return SQLMembers{SQL: SQL{DB: db.SQL(), IDCol: "id"}} }

func parseUser(uri string) (ClaimedUser, error) {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return ClaimedUser{}, err
	}
	return UserOf(u)
}
