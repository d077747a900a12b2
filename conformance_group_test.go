package sipacl

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/fakedb"
)

func init() {
	conformance["opensips-group"] = conformOpenSIPSGroup
	conformance["kamailio-group"] = conformKamailioGroup
}

// groupQuestion is one recorded question, of either original.
type groupQuestion struct {
	source   string // Request-URI, To, From, Credentials, or a URI itself
	uri      string
	verified *User // credentials that the server believed
	wrong    bool  // after a wrong password

	group     string // of is_user_in
	useDomain bool

	classes   []ClassRow // of get_user_group
	firstOnly bool
}

// user finds the user as an application would.
func (q groupQuestion) user() (User, bool) {
	if strings.EqualFold(q.source, "Credentials") {
		if q.verified == nil || q.wrong {
			return User{}, false
		}
		u, err := Verified(q.verified.Name, q.verified.Domain, q.verified.Name[strings.LastIndexByte(q.verified.Name, '@')+1:])
		return u.User(), err == nil
	}
	u, err := parseUser(q.uri)
	return u.User(), err == nil
}

// member compares the answer of is_user_in: 1, -6 for no member, -1 for no user.
func (q groupQuestion) member(t *testing.T, r *report, rows []Member, rc int) {
	g, err := NewGroups(t.Context(), GroupConfig{Members: []MemberSource{Rows(rows...)}, IgnoreDomain: !q.useDomain})
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

// groupClasses compares the answer of get_user_group. all is what the
// original answered with multiple_gid=1; it shows at most so many.
func (q groupQuestion) groupClasses(t *testing.T, r *report, want, all []ClassID, most int) {
	g, err := NewGroups(t.Context(), GroupConfig{Classes: []ClassSource{Rows(q.classes...)}, FirstOnly: q.firstOnly})
	require.NoError(t, err)
	var got []ClassID
	if u, ok := q.user(); ok {
		got = slices.Collect(g.Current().Classes(u))
	}
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

// modelClasses gives the classes of every row that matches, in table order,
// for recordings without an answer with multiple_gid=1 beside them. It reads
// URIs and expressions by itself.
func (q groupQuestion) modelClasses() (all []ClassID) {
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
func lastRowFirst(q groupQuestion, want, all []ClassID) bool {
	return q.firstOnly && len(all) > 1 && len(want) == 1 && want[0] == all[len(all)-1] && want[0] != all[0]
}

// conformOpenSIPSGroup: OpenSIPS's db_is_user_in and db_get_user_group. The
// rows of grp are on the last line; use_domain null is the default, 1.
func conformOpenSIPSGroup(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	type line struct {
		Fn, Source, URI, Group string
		UseDomain              *int `json:"use_domain"`
		MultipleGid            *int `json:"multiple_gid"`
		RC                     int
		Rows                   [][2]any    `json:"re_rows"`
		Gids                   []ClassID   `json:"avp_gids_top_first"`
		Fixture                [][3]string `json:"GRP"`
		Started                bool
		Credentials            *struct {
			Username, Realm string
			Authorized      bool
		}
	}
	var all []line
	for l := range lines {
		var q line
		decode(t, l, &q)
		all = append(all, q)
	}
	var members []Member
	for _, l := range all {
		for _, m := range l.Fixture {
			members = append(members, Member{User: User{m[0], m[1]}, Group: m[2]})
		}
	}
	several := map[string][]ClassID{} // answers with multiple_gid=1
	key := func(l line) string { return fmt.Sprint(l.Rows, l.Source, l.URI, l.Credentials) }
	for _, l := range all {
		if l.Fn == "db_get_user_group" && (l.MultipleGid == nil || *l.MultipleGid == 1) {
			several[key(l)] = l.Gids
		}
	}
	for _, l := range all {
		q := groupQuestion{source: l.Source, uri: l.URI, group: l.Group, useDomain: l.UseDomain == nil || *l.UseDomain == 1}
		if c := l.Credentials; c != nil && c.Authorized {
			q.verified = &User{c.Username, c.Realm}
		}
		switch l.Fn {
		case "db_is_user_in":
			if !slices.Contains([]string{"uri-string", "request-uri", "to", "from", "credentials"}, strings.ToLower(l.Source)) {
				q.uri = l.Source // any other word is parsed as a URI
			}
			q.member(t, r, members, l.RC)
		case "db_get_user_group":
			q.firstOnly = l.MultipleGid != nil && *l.MultipleGid == 0
			q.classes, _ = classRows(t, l.Rows)
			together, recorded := several[key(l)]
			if !recorded {
				together = q.modelClasses()
			}
			q.groupClasses(t, r, l.Gids, together, len(q.classes))
		case "startup":
			db := fakedb.Open(t)
			var rows [][]any
			for _, row := range l.Rows {
				rows = append(rows, []any{row[0], plainNumber(row[1])})
			}
			db.Set("re_grp", []string{"reg_exp", "group_id"}, rows...)
			_, err := NewGroups(t.Context(), GroupConfig{Classes: []ClassSource{SQLClasses{SQL: SQL{DB: db.SQL()}}}})
			if (err == nil) == l.Started {
				r.agree()
			} else {
				r.unexplained("%v: %v", l.Rows, err)
			}
		case "fixture":
		default:
			r.unexplained("nobody knows %s", l.Fn)
		}
	}
}

func plainNumber(v any) any {
	if n, ok := v.(json.Number); ok {
		i, _ := n.Int64()
		return i
	}
	return v
}

// classRows gives rows for our own load. Those that the lint of rule-ere says
// we refuse must be refused, by their place, and are left out.
func classRows(t *testing.T, recorded [][2]any) (rows []ClassRow, refused int) {
	for i, row := range recorded {
		id, err := strconv.ParseInt(fmt.Sprint(row[1]), 10, 32)
		require.NoError(t, err)
		c := ClassRow{Expression: row[0].(string), Class: ClassID(id), Origin: Origin{Name: "re_grp", Line: i + 1, Unit: UnitRow}}
		if !ereRefused(c.Expression, false) {
			rows = append(rows, c)
			continue
		}
		refused++
		_, err = NewGroups(t.Context(), GroupConfig{Classes: []ClassSource{Rows(c)}})
		var at *LoadError
		require.True(t, errors.As(err, &at) && at.Origin == c.Origin, "%q: %v", c.Expression, err)
	}
	return rows, refused
}

// conformKamailioGroup: Kamailio's is_user_in and get_user_group, each with
// several parameters.
func conformKamailioGroup(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	var members []Member
	var classes []ClassRow
	for l := range lines {
		var q struct {
			Kind, Func, Source, URI, Group, Realm string
			CredUser                              *string `json:"cred_user"`
			WrongPassword                         bool    `json:"wrong_password"`
			NoAuthCheck                           bool    `json:"no_auth_check"`
			Grp                                   []struct{ Username, Domain, Grp string }
			ReGrp                                 []struct {
				RegExp  string      `json:"reg_exp"`
				GroupID json.Number `json:"group_id"`
			} `json:"re_grp"`
			Obs map[string]struct {
				RC   int
				Gids []string
			}
		}
		decode(t, l, &q)
		if q.Kind == "tables" {
			members = nil
			for _, m := range q.Grp {
				members = append(members, Member{User: User{m.Username, m.Domain}, Group: m.Grp})
			}
			var rows [][2]any
			for _, c := range q.ReGrp {
				rows = append(rows, [2]any{c.RegExp, c.GroupID})
			}
			classes, _ = classRows(t, rows)
			continue
		}
		ids := func(key string) (ids []ClassID) {
			for _, g := range q.Obs[key].Gids {
				n, err := strconv.ParseInt(g, 10, 32)
				require.NoError(t, err)
				ids = append(ids, ClassID(n))
			}
			return ids
		}
		for key, obs := range q.Obs {
			g := groupQuestion{
				source: q.Source, uri: q.URI, group: q.Group, wrong: q.WrongPassword, classes: classes,
				useDomain: strings.Contains(key, "use_domain=1"), firstOnly: strings.Contains(key, "multiple_gid=0"),
			}
			if q.CredUser != nil && !q.NoAuthCheck {
				g.verified = &User{*q.CredUser, q.Realm}
			}
			if q.Func == "is_user_in" {
				g.member(t, r, members, obs.RC)
				continue
			}
			together := strings.Replace(key, "multiple_gid=0", "multiple_gid=1", 1)
			all := ids(together)
			if _, recorded := q.Obs[together]; !recorded {
				all = g.modelClasses()
			}
			g.groupClasses(t, r, ids(key), all, 8)
		}
	}
}

// TestModelClassesAreTheRecordedOnes holds the model against the recordings
// that have both answers.
func TestModelClassesAreTheRecordedOnes(t *testing.T) {
	asked := 0
	for l := range jsonLines(t, "testdata/vectors/opensips-group.jsonl.gz") {
		var q struct {
			Fn, Source, URI string
			MultipleGid     *int `json:"multiple_gid"`
			RC              int
			Rows            [][2]any  `json:"re_rows"`
			Gids            []ClassID `json:"avp_gids_top_first"`
		}
		decode(t, l, &q)
		if q.Fn != "db_get_user_group" || q.MultipleGid != nil && *q.MultipleGid == 0 || q.RC <= 0 || strings.EqualFold(q.Source, "Credentials") {
			continue
		}
		rows, _ := classRows(t, q.Rows)
		require.Equal(t, q.Gids, groupQuestion{uri: q.URI, classes: rows}.modelClasses(), "%s", l)
		asked++
	}
	require.Positive(t, asked)
}

// TestGroupDecisionsAreNarrow has recordings just outside of the decisions.
func TestGroupDecisionsAreNarrow(t *testing.T) {
	q := groupQuestion{firstOnly: true}
	require.True(t, lastRowFirst(q, []ClassID{3}, []ClassID{1, 2, 3}))
	require.False(t, lastRowFirst(q, []ClassID{2}, []ClassID{1, 2, 3}), "not the last row")
	require.False(t, lastRowFirst(q, []ClassID{1}, []ClassID{1}), "one row")
	require.False(t, lastRowFirst(groupQuestion{}, []ClassID{3}, []ClassID{1, 2, 3}), "all rows count")

	q = groupQuestion{source: "Credentials", verified: &User{"alice", "a.com"}}
	_, ok := q.user()
	require.True(t, ok)
	q.wrong = true
	_, ok = q.user()
	require.False(t, ok)
}
