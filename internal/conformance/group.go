package conformance

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// groupQuestion is one recorded question, of either original.
type groupQuestion struct {
	source   string // Request-URI, To, From, Credentials, or a URI itself
	uri      string
	verified *sipacl.User // credentials that the server believed
	wrong    bool         // after a wrong password

	group     string // of is_user_in
	useDomain bool

	classes   []sipacl.ClassRow // of get_user_group
	firstOnly bool
}

// user finds the user as an application would.
func (q groupQuestion) user() (sipacl.User, bool) {
	if !strings.EqualFold(q.source, "Credentials") {
		u, err := claimedUser(q.uri)
		return u.User(), err == nil
	}
	if q.verified == nil || q.wrong {
		return sipacl.User{}, false
	}
	listed := q.verified.Name[strings.LastIndexByte(q.verified.Name, '@')+1:] // the server takes any domain
	u, err := sipacl.Verified(q.verified.Name, q.verified.Domain, listed)
	return u.User(), err == nil
}

func claimedUser(uri string) (sipacl.ClaimedUser, error) {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return sipacl.ClaimedUser{}, err
	}
	return sipacl.UserOf(u)
}

// askMember compares the answer of is_user_in: 1, -6 for no member, -1 for no
// user.
func (q groupQuestion) askMember(t *testing.T, r *report, rows []sipacl.Member, rc int) {
	g, err := sipacl.NewGroups(t.Context(), sipacl.GroupConfig{Members: []sipacl.MemberSource{sipacl.Rows(rows...)}, IgnoreDomain: !q.useDomain})
	require.NoError(t, err)
	got := -1
	if u, ok := q.user(); ok {
		got = -6
		if g.Current().IsUserIn(t.Context(), u, q.group).Allowed {
			got = 1
		}
	}
	switch {
	case got == rc:
		r.agree()
	case q.wrong && got == -1:
		r.differ("grp-credentials")
	default:
		r.unexplained("%+v: recorded %d, we say %d", q, rc, got)
	}
}

// askClasses compares the answer of get_user_group. all is what the original
// answered with multiple_gid=1; it shows at most so many.
func (q groupQuestion) askClasses(t *testing.T, r *report, want, all []sipacl.ClassID, most int) {
	got := q.ourClasses(t)
	got = got[:min(len(got), most)]
	switch {
	case slices.Equal(got, want):
		r.agree()
	case q.wrong && got == nil:
		r.differ("grp-credentials")
	case lastRowFirst(q, want, all) && len(got) == 1 && got[0] == all[0]:
		r.differ("grp-order")
	default:
		r.unexplained("%+v: recorded %d, we say %d", q, want, got)
	}
}

func (q groupQuestion) ourClasses(t *testing.T) []sipacl.ClassID {
	g, err := sipacl.NewGroups(t.Context(), sipacl.GroupConfig{Classes: []sipacl.ClassSource{sipacl.Rows(q.classes...)}, FirstOnly: q.firstOnly})
	require.NoError(t, err)
	u, ok := q.user()
	if !ok {
		return nil
	}
	return slices.Collect(g.Current().Classes(u))
}

// modelClasses gives the classes of every row that matches, in table order,
// for recordings without an answer with multiple_gid=1 beside them. It reads
// URIs and expressions by itself.
func (q groupQuestion) modelClasses() (all []sipacl.ClassID) {
	text := modelUserText(q.uri)
	if q.verified != nil {
		text = "sip:" + q.verified.Name + "@" + q.verified.Domain
	}
	for _, row := range q.classes {
		if e, err := parseNaive(row.Expression); err == nil && e.MatchString(text) {
			all = append(all, row.Class)
		}
	}
	return all
}

// modelUserText rebuilds a URI as the original does for re_grp.
func modelUserText(uri string) string {
	scheme, rest, _ := strings.Cut(strings.Trim(uri, " <>"), ":")
	if strings.EqualFold(scheme, "tel") {
		number, _, _ := strings.Cut(rest, ";")
		return "sip:" + number + "@"
	}
	user, host, _ := strings.Cut(rest, "@")
	user, _, _ = strings.Cut(user, ":")
	if strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host, "]")
		return "sip:" + user + "@" + host + "]"
	}
	if i := strings.IndexAny(host, ":;?>"); i >= 0 {
		host = host[:i]
	}
	return "sip:" + user + "@" + host
}

// lastRowFirst reports whether decision grp-order applies: only one of several
// rows was to count, and it was the last one.
func lastRowFirst(q groupQuestion, want, all []sipacl.ClassID) bool {
	return q.firstOnly && len(all) > 1 && len(want) == 1 && want[0] == all[len(all)-1] && want[0] != all[0]
}

// openSIPSGroup is one question to OpenSIPS's db_is_user_in or
// db_get_user_group. use_domain null is the default, 1, and so is multiple_gid.
type openSIPSGroup struct {
	Fn, Source, URI, Group string
	UseDomain              *int `json:"use_domain"`
	MultipleGid            *int `json:"multiple_gid"`
	RC                     int
	Rows                   [][2]any    `json:"re_rows"`
	Gids                   gids        `json:"avp_gids_top_first"`
	Members                [][3]string `json:"GRP"`
	Started                bool
	Credentials            *struct {
		Username, Realm string
		Authorized      bool
	}
}

// gids are the values of an AVP, the last one that was pushed first. They were
// recorded as a list, as one number, or as text: "1,3,".
type gids []sipacl.ClassID

// UnmarshalJSON implements [json.Unmarshaler].
func (g *gids) UnmarshalJSON(data []byte) error {
	*g = nil
	for _, number := range strings.FieldsFunc(string(data), func(c rune) bool { return strings.ContainsRune(`[]", `, c) }) {
		if number == "null" {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil {
			return err
		}
		*g = append(*g, sipacl.ClassID(n))
	}
	return nil
}

func unsetOr1(n *int) bool { return n == nil || *n == 1 }

// topOnly reports whether more rows matched than values were recorded.
func (l openSIPSGroup) topOnly() bool { return len(l.Gids) == 1 && l.RC > 1 }

// about names the user and the rows that a question is about.
func (l openSIPSGroup) about() string { return fmt.Sprint(l.Rows, l.Source, l.URI, l.Credentials) }

func (l openSIPSGroup) question() groupQuestion {
	q := groupQuestion{source: l.Source, uri: l.URI, group: l.Group, useDomain: unsetOr1(l.UseDomain), firstOnly: !unsetOr1(l.MultipleGid)}
	if c := l.Credentials; c != nil && c.Authorized {
		q.verified = &sipacl.User{Name: c.Username, Domain: c.Realm}
	}
	return q
}

// groupRecording is what stands in other lines than the question.
type groupRecording struct {
	members []sipacl.Member
	several map[string][]sipacl.ClassID // answers with multiple_gid=1, by what they are about
}

func askOpenSIPSGroup(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	var all []openSIPSGroup
	rec := groupRecording{several: map[string][]sipacl.ClassID{}}
	for line := range lines {
		var l openSIPSGroup
		vectors.Decode(t, line, &l)
		rec.note(l)
		all = append(all, l)
	}
	for _, l := range all {
		l.ask(t, r, rec)
	}
}

func (rec *groupRecording) note(l openSIPSGroup) {
	for _, m := range l.Members {
		rec.members = append(rec.members, sipacl.Member{User: sipacl.User{Name: m[0], Domain: m[1]}, Group: m[2]})
	}
	if l.Fn == "db_get_user_group" && unsetOr1(l.MultipleGid) && !l.topOnly() {
		rec.several[l.about()] = l.Gids
	}
}

func (l openSIPSGroup) ask(t *testing.T, r *report, rec groupRecording) {
	q := l.question()
	switch l.Fn {
	case "db_is_user_in":
		if !slices.Contains([]string{"uri-string", "request-uri", "to", "from", "credentials"}, strings.ToLower(l.Source)) {
			q.uri = l.Source // any other word is parsed as a URI
		}
		q.askMember(t, r, rec.members, l.RC)
	case "db_get_user_group":
		q.classes = classRows(t, l.Rows)
		together, recorded := rec.several[l.about()]
		if !recorded {
			together = q.modelClasses()
		}
		most := len(q.classes)
		if l.topOnly() {
			most = 1
		}
		q.askClasses(t, r, l.Gids, together, most)
	case "startup":
		l.askStart(t, r)
	case "fixture":
	default:
		r.unexplained("unknown function %s", l.Fn)
	}
}

// askStart loads the rows that OpenSIPS started with, or refused to.
func (l openSIPSGroup) askStart(t *testing.T, r *report) {
	db := fakedb.Open(t)
	var rows [][]any
	for _, row := range l.Rows {
		rows = append(rows, driverRow(row[0], row[1]))
	}
	db.Set("re_grp", []string{"reg_exp", "group_id"}, rows...)
	_, err := sipacl.NewGroups(t.Context(), sipacl.GroupConfig{Classes: []sipacl.ClassSource{sipacl.SQLClasses{SQL: sipacl.SQL{DB: db.SQL()}}}})
	if (err == nil) == l.Started {
		r.agree()
	} else {
		r.unexplained("%v: %v", l.Rows, err)
	}
}

// classRows gives rows for our own load. Those that the lint of rule-ere says
// we refuse must be refused, by their place, and are left out.
func classRows(t *testing.T, recorded [][2]any) (rows []sipacl.ClassRow) {
	for i, row := range recorded {
		id, err := strconv.ParseInt(fmt.Sprint(row[1]), 10, 32)
		require.NoError(t, err)
		at := sipacl.Origin{Name: "re_grp", Line: i + 1, Unit: sipacl.UnitRow}
		c := sipacl.ClassRow{Expression: row[0].(string), Class: sipacl.ClassID(id), Origin: at}
		if !ereRefused(c.Expression, false) {
			rows = append(rows, c)
			continue
		}
		_, err = sipacl.NewGroups(t.Context(), sipacl.GroupConfig{Classes: []sipacl.ClassSource{sipacl.Rows(c)}})
		var bad *sipacl.LoadError
		require.True(t, errors.As(err, &bad) && bad.Origin == at, "%q: %v", c.Expression, err)
	}
	return rows
}

// kamailioGroup is one question to Kamailio's is_user_in or get_user_group,
// with the answer under each set of parameters, or the tables.
type kamailioGroup struct {
	Kind, Func, Source, URI, Group, Realm string
	CredUser                              *string `json:"cred_user"`
	WrongPassword                         bool    `json:"wrong_password"`
	NoAuthCheck                           bool    `json:"no_auth_check"`
	Members                               []struct {
		Username, Domain, Grp string
	} `json:"grp"`
	Classes []struct {
		RegExp  string      `json:"reg_exp"`
		GroupID json.Number `json:"group_id"`
	} `json:"re_grp"`
	Obs map[string]struct {
		RC   int
		Gids []string
	}
}

func askKamailioGroup(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	var members []sipacl.Member
	var classes []sipacl.ClassRow
	for line := range lines {
		var l kamailioGroup
		vectors.Decode(t, line, &l)
		if l.Kind == "tables" {
			members, classes = l.tables(t)
			continue
		}
		for parameters := range l.Obs {
			l.ask(t, r, parameters, members, classes)
		}
	}
}

func (l kamailioGroup) tables(t *testing.T) (members []sipacl.Member, classes []sipacl.ClassRow) {
	for _, m := range l.Members {
		members = append(members, sipacl.Member{User: sipacl.User{Name: m.Username, Domain: m.Domain}, Group: m.Grp})
	}
	var rows [][2]any
	for _, c := range l.Classes {
		rows = append(rows, [2]any{c.RegExp, c.GroupID})
	}
	return members, classRows(t, rows)
}

// ask puts the question under one set of parameters.
func (l kamailioGroup) ask(t *testing.T, r *report, parameters string, members []sipacl.Member, classes []sipacl.ClassRow) {
	q := groupQuestion{
		source: l.Source, uri: l.URI, group: l.Group, wrong: l.WrongPassword, classes: classes,
		useDomain: strings.Contains(parameters, "use_domain=1"), firstOnly: strings.Contains(parameters, "multiple_gid=0"),
	}
	if l.CredUser != nil && !l.NoAuthCheck {
		q.verified = &sipacl.User{Name: *l.CredUser, Domain: l.Realm}
	}
	if l.Func == "is_user_in" {
		q.askMember(t, r, members, l.Obs[parameters].RC)
		return
	}
	const shown = 8
	together := strings.Replace(parameters, "multiple_gid=0", "multiple_gid=1", 1)
	all := l.classIDs(t, together)
	if _, recorded := l.Obs[together]; !recorded {
		all = q.modelClasses()
	}
	q.askClasses(t, r, l.classIDs(t, parameters), all, shown)
}

func (l kamailioGroup) classIDs(t *testing.T, parameters string) (ids []sipacl.ClassID) {
	for _, g := range l.Obs[parameters].Gids {
		n, err := strconv.ParseInt(g, 10, 32)
		require.NoError(t, err)
		ids = append(ids, sipacl.ClassID(n))
	}
	return ids
}
