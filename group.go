// Users, strict groups (is_user_in) and classes (get_user_group).

package sipacl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/memberset"
	"github.com/sipacl/sipacl/internal/ruleengine"
)

// User is what groups know of a user: a name and a domain, compared byte by
// byte. Neither says where it comes from; see [ClaimedUser] and
// [VerifiedUser]. A User without a name is in no group.
type User struct{ Name, Domain string }

// maxUser is the longest text "sip:name@domain", and the longest group.
const maxUser = 1024

// check says why u cannot be asked about.
func (u User) check() error {
	switch {
	case u.Name == "":
		return errors.New("no user name")
	case len("sip:@")+len(u.Name)+len(u.Domain) > maxUser:
		return fmt.Errorf("more than %d bytes", maxUser)
	case hasControl(u.Name) || hasControl(u.Domain):
		return errors.New("control byte in a user")
	}
	return nil
}

func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// uri is the text that the expressions of classes see.
func (u User) uri() string { return "sip:" + u.Name + "@" + u.Domain }

// A ClaimedUser is one that a message names: in From, To, the Request-URI.
// Whoever sends the message writes there what he likes. It is good for asking
// who is called, and for asking who calls only once something else vouches
// for it.
type ClaimedUser struct{ user User }

// User returns the name and domain.
func (u ClaimedUser) User() User { return u.user }

// UserOf returns the user of a URI: user part and host as they are written,
// without password, port and parameters of the URI. User parameters and
// escapes stay: in sip:a;p=1@h and sip:%61@h they belong to the name. The user
// of a tel URI is its number, and has no domain.
//
// A URI without a user part, and any other than sip, sips and tel, is an error.
func UserOf(uri sip.Uri) (ClaimedUser, error) {
	u := User{Name: uri.User, Domain: uri.Host}
	switch strings.ToLower(uri.Scheme) {
	case "sip", "sips", "":
		if u.Domain == "" || strings.ContainsAny(u.Domain, "@<>\"; ") {
			return ClaimedUser{}, fmt.Errorf("sipacl: user of %q: no host", shorten(uri.String()))
		}
	case "tel":
		u.Domain = ""
		if raw := uri.Raw(); raw != "" {
			u.Name, _, _ = strings.Cut(raw, ";")
		}
	default:
		return ClaimedUser{}, fmt.Errorf("sipacl: user of %q: want a sip, sips or tel URI", shorten(uri.String()))
	}
	if strings.ContainsAny(u.Name, ":@<>\" ") {
		return ClaimedUser{}, fmt.Errorf("sipacl: user of %q: want no : @ < > \" or blank", shorten(uri.String()))
	}
	if err := u.check(); err != nil {
		return ClaimedUser{}, fmt.Errorf("sipacl: user of %q: %w", shorten(uri.String()), err)
	}
	return ClaimedUser{u}, nil
}

// A VerifiedUser is one whose credentials the application has verified. Only
// [Verified] makes one, so that no check of a [Guard] can believe a header.
// The zero VerifiedUser is in no group.
type VerifiedUser struct{ user User }

// User returns the name and domain.
func (u VerifiedUser) User() User { return u.user }

// Verified returns the user of digest credentials. Call it only after the
// response was found correct: the originals believed a user after a wrong
// password.
//
// The domain is the realm. A user name with an @ may name the realm itself, or
// one of domains, which a server lists that keeps the users of several under
// one realm; any other is an error, because the client chose it.
func Verified(username, realm string, domains ...string) (VerifiedUser, error) {
	u := User{username, realm}
	if i := strings.LastIndexByte(username, '@'); i >= 0 {
		u = User{username[:i], username[i+1:]}
		if u.Domain != realm && !slices.Contains(domains, u.Domain) {
			return VerifiedUser{}, fmt.Errorf("sipacl: user %q: want a domain of the realm %q", shorten(username), shorten(realm))
		}
	}
	if err := u.check(); err != nil {
		return VerifiedUser{}, fmt.Errorf("sipacl: user %q: %w", shorten(username), err)
	}
	return VerifiedUser{u}, nil
}

// ClassID numbers a class of users: group_id of a regular-expression group.
// Unlike a [GroupID] it may be negative.
type ClassID int32

// Member is a row of the table of strict groups: the user is in the group.
type Member struct {
	User   User
	Group  string
	Origin Origin
}

// ClassRow is a row of the table of regular-expression groups: users whose URI
// "sip:name@domain" the expression matches are in Class: a POSIX extended regular
// expression that tells no upper from lower case.
type ClassRow struct {
	Expression string // "" matches everyone
	Class      ClassID
	Origin     Origin
}

// GroupConfig says who is in which group. The zero GroupConfig has no groups.
type GroupConfig struct {
	// Members are the strict groups; the rows of all sources are joined.
	Members []MemberSource

	// Live answers each question about strict groups with a query of its own,
	// instead of Members: no reload is needed, the database compares as its
	// collation says, and a database that does not answer refuses everybody.
	Live LiveMembers

	// LiveTimeout bounds each of those queries; 0 is one second.
	LiveTimeout time.Duration

	// Classes are the regular-expression groups, in their order.
	Classes []ClassSource

	// IgnoreDomain has the name alone decide (use_domain=0): alice of any
	// domain is in the groups of every alice. The domain counts by default.
	IgnoreDomain bool

	// FirstOnly gives a user the class of the first row that matches
	// (multiple_gid=0), instead of those of all rows.
	FirstOnly bool
}

// Groups answers who is in which group: the handle that request handlers
// keep. The zero Groups refuses everything.
type Groups struct{ Part[GroupTable] }

// NewGroups loads groups that stand alone.
func NewGroups(ctx context.Context, cfg GroupConfig) (Groups, error) {
	if cfg.empty() {
		return Groups{}, errors.New("sipacl: group: want a source")
	}
	perm, err := Open(ctx, Config{Groups: cfg})
	if err != nil {
		return Groups{}, err
	}
	return perm.groups, nil
}

// empty reports whether there is nobody to ask about.
func (c GroupConfig) empty() bool { return len(c.Members)+len(c.Classes) == 0 && c.Live == nil }

// Members returns the check "the verified user of the request is in one of
// groups". Without groups it refuses everything. user gives the user whose
// credentials the application has verified, false if there is none.
func (g Groups) Members(user func(Request) (VerifiedUser, bool), groups ...string) Check {
	groups = slices.Clone(groups)
	return g.check(user, func(t *GroupTable, u User) (d Decision) {
		for _, group := range groups {
			if d = t.IsUserIn(context.Background(), u, group); d.Allowed {
				return d
			}
		}
		return d
	})
}

// InClass returns the check "the verified user of the request is in one of
// classes", as Members does.
func (g Groups) InClass(user func(Request) (VerifiedUser, bool), classes ...ClassID) Check {
	classes = slices.Clone(classes)
	return g.check(user, func(t *GroupTable, u User) Decision { return t.IsUserInClass(u, classes...) })
}

func (g Groups) check(user func(Request) (VerifiedUser, bool), ask func(*GroupTable, User) Decision) Check {
	return func(r Request) (d Decision) {
		u, ok := VerifiedUser{}, false
		if user != nil {
			u, ok = user(r)
		}
		if !ok {
			return Decision{Cause: CauseMalformed, Source: r.Source, Info: "no verified user"}
		}
		d = ask(asked(g.Part, r.at, r.trace), u.user)
		d.Source = r.Source
		return d
	}
}

// GroupTable is one generation of groups. It is immutable, safe for concurrent
// use and valid for as long as it is held; a nil one refuses everything. In
// live mode its strict groups are those of the database at each moment.
type GroupTable struct {
	members *memberset.Set
	origins []Origin // by Tag; the Line is the member's own
	classes []class
	engine  *ruleengine.Engine // of classes: the URI is the left side

	live         LiveMembers
	timeout      time.Duration
	ignoreDomain bool
	firstOnly    bool
	gen          uint64
	trace        *tracer // of a copy that was made to trace
}

type class struct {
	expression string
	id         ClassID
	origin     Origin
}

// Generation counts the loads, from 1.
func (t *GroupTable) Generation() uint64 {
	if t == nil {
		return 0
	}
	return t.gen
}

func (t *GroupTable) number(n uint64) { t.gen = n }

// IsUserIn answers is_user_in: is u in group? The decision names the row. The
// empty group is a group like others.
//
// It neither allocates nor does I/O, unless the configuration is Live: then it
// sends one query, and an error, the end of ctx or of the timeout refuses.
func (t *GroupTable) IsUserIn(ctx context.Context, u User, group string) Decision {
	d := t.isUserIn(ctx, u, group)
	if t != nil && t.trace != nil {
		t.explain(ctx, u, group, d)
	}
	return d
}

func (t *GroupTable) isUserIn(ctx context.Context, u User, group string) Decision {
	d, ok := t.begin(u)
	if d.Right = group; !ok {
		return d
	}
	if t.live != nil {
		return t.askLive(ctx, d, u, group)
	}
	if t.ignoreDomain {
		u.Domain = ""
	}
	tag, row, ok := t.members.Find(u.Name, u.Domain, group)
	if !ok {
		return d
	}
	d.Allowed, d.Cause = true, CauseMember
	d.Origin = t.origins[tag]
	d.Origin.Line = int(row)
	return d
}

// begin gives the refusal of u, and whether u may be asked about at all.
func (t *GroupTable) begin(u User) (d Decision, ok bool) {
	d = Decision{Left: u.Name, Cause: CauseNotMember}
	if t == nil || t.members == nil {
		d.Cause = CauseNotLoaded
		return d, false
	}
	if err := u.check(); err != nil {
		d.Cause, d.Info = CauseMalformed, err.Error()
		return d, false
	}
	return d, true
}

func (t *GroupTable) askLive(ctx context.Context, d Decision, u User, group string) Decision {
	origin, ok, err := t.queryMember(ctx, u, group)
	switch {
	case err != nil:
		d.Cause, d.Info = CauseError, err.Error()
	case ok:
		d.Allowed, d.Cause, d.Origin = true, CauseMember, origin
	}
	return d
}

func (t *GroupTable) queryMember(ctx context.Context, u User, group string) (o Origin, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	defer recoverLoad(&err)
	o, ok, err = t.live.IsMember(ctx, u, t.ignoreDomain, group)
	if err == nil {
		err = ctx.Err() // an answer that comes too late is none
	}
	return o, ok, err
}

// GroupsOf lists the strict groups of u, in the order in which the table first
// mentions them; in live mode in that of the database, and an error is that
// of the query. It looks for u in each group there is: it is for people and
// for few groups, not for millions of them.
func (t *GroupTable) GroupsOf(ctx context.Context, u User) ([]string, error) {
	if t == nil || t.members == nil {
		return nil, errNotOpened
	}
	if err := u.check(); err != nil {
		return nil, err
	}
	if t.live != nil {
		return t.queryGroups(ctx, u)
	}
	if t.ignoreDomain {
		u.Domain = ""
	}
	var groups []string
	for g := range t.members.Groups() {
		if _, _, ok := t.members.Find(u.Name, u.Domain, g); ok {
			groups = append(groups, g)
		}
	}
	return groups, nil
}

func (t *GroupTable) queryGroups(ctx context.Context, u User) (groups []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	defer recoverLoad(&err)
	return t.live.GroupsOf(ctx, u, t.ignoreDomain)
}

// Classes answers get_user_group: it yields the classes of the rows whose
// expression matches "sip:name@domain", in table order and as often as rows
// match; with FirstOnly the first one. The domain is part of the text whether
// or not IgnoreDomain is set.
func (t *GroupTable) Classes(u User) iter.Seq[ClassID] {
	return func(yield func(ClassID) bool) {
		t.match(u, func(c *class) bool { return yield(c.id) })
	}
}

// match calls f with the rows that match u until it returns false.
func (t *GroupTable) match(u User, f func(*class) bool) {
	if t == nil || len(t.classes) == 0 || u.check() != nil {
		return
	}
	uri := ruleengine.Text{Plain: u.uri()}
	uri.Canonical = uri.Plain
	if t.firstOnly {
		if i, _, _ := t.engine.Find(uri, ruleengine.Text{}); i >= 0 {
			f(&t.classes[i])
		}
		return
	}
	t.engine.Each(uri, ruleengine.Text{}, func(i int) bool { return f(&t.classes[i]) })
}

// IsUserInClass reports whether one of the [GroupTable.Classes] of u is listed.
// The decision names the row. Without classes it refuses.
func (t *GroupTable) IsUserInClass(u User, classes ...ClassID) Decision {
	d, ok := t.begin(u)
	if ok {
		t.match(u, func(c *class) bool {
			if !slices.Contains(classes, c.id) {
				return true
			}
			d.Allowed, d.Cause, d.Origin = true, CauseMember, c.origin
			d.Right = c.expression
			return false
		})
	}
	if t != nil && t.trace != nil {
		t.trace.into.Decision = d
		t.explainClasses(u)
	}
	return d
}

// Tracing returns t with every row that a question looks at recorded in into:
// for one question.
func (t *GroupTable) Tracing(into *Trace) *GroupTable { return t.tracing(&tracer{into: into}) }

func (t *GroupTable) tracing(tr *tracer) *GroupTable {
	next := GroupTable{}
	if t != nil {
		next = *t
	}
	next.trace = tr
	return &next
}

// explain records how IsUserIn came to d, which other groups u is in, and what
// each expression of the classes says.
func (t *GroupTable) explain(ctx context.Context, u User, group string, d Decision) {
	t.trace.into.Decision = d
	if t.members == nil || u.check() != nil {
		return
	}
	groups, err := t.GroupsOf(ctx, u)
	for _, g := range groups {
		t.trace.step(Step{Origin: t.isUserIn(ctx, u, g).Origin, Subject: u.Name, Text: "group " + g, Matched: g == group})
	}
	if err != nil {
		t.trace.step(Step{Subject: u.Name, Text: "groups", Note: err.Error()})
	}
	t.explainClasses(u)
}

func (t *GroupTable) explainClasses(u User) {
	if u.check() != nil {
		return
	}
	for _, c := range t.classes {
		e, _ := ere.CompileExpression(c.expression, ere.GroupSyntax) // the load refused what has an error
		t.trace.step(Step{
			Origin: c.origin, Subject: u.uri(), Text: fmt.Sprintf("class %d %q", c.id, c.expression),
			Matched: e.MatchString(u.uri()),
		})
	}
}

// addGroups makes the part of the groups.
func (p *Permissions) addGroups(c GroupConfig) error {
	if c.empty() {
		return nil
	}
	c.Members, c.Classes = slices.Clone(c.Members), slices.Clone(c.Classes)
	switch {
	case slices.Contains(c.Members, nil) || slices.Contains(c.Classes, nil):
		return errors.New("sipacl: group: want a source, not nil")
	case c.Live != nil && len(c.Members) > 0:
		return errors.New("sipacl: group: want Members or Live, not both")
	case c.LiveTimeout < 0:
		return errors.New("sipacl: group: want no negative LiveTimeout")
	case c.LiveTimeout == 0:
		c.LiveTimeout = time.Second
	}
	p.groups.Part = addPart(p, "group", func(ctx context.Context, old *GroupTable) (loaded, error) {
		return loadGroups(ctx, old, c)
	})
	p.groups.p.version = versions(c.sources())
	return nil
}

// sources lists members and classes, whose versions make that of the part.
func (c GroupConfig) sources() (all []any) {
	for _, s := range c.Members {
		all = append(all, s)
	}
	for _, s := range c.Classes {
		all = append(all, s)
	}
	return all
}

// loadGroups builds the generation that follows old.
func loadGroups(ctx context.Context, old *GroupTable, cfg GroupConfig) (loaded, error) {
	b := groupBuilder{table: &GroupTable{
		live: cfg.Live, timeout: cfg.LiveTimeout, ignoreDomain: cfg.IgnoreDomain, firstOnly: cfg.FirstOnly,
	}}
	b.engine = newEngineBuilder(ere.GroupSyntax)
	skipped, err := readAll(ctx, cfg.Members, b.member)
	more, errClasses := readAll(ctx, cfg.Classes, b.class)
	errs := []error{err, errClasses}
	t := b.table
	t.members, t.engine = b.members.Set(), b.engine.Engine()
	if cfg.Live != nil { // a table that cannot be asked shows now, not with the first call
		if _, _, err := t.queryMember(ctx, User{}, ""); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return loaded{}, err
	}
	l := loaded{gen: t, content: b.content, entries: t.entries(), places: b.places(), skipped: append(skipped, more...), warnings: b.warnings}
	l.added, l.removed = t.diff(old)
	return l, nil
}

func (t *GroupTable) entries() int {
	if t == nil {
		return 0
	}
	return t.members.Len() + len(t.classes)
}

// diff counts what only t and what only old has. Members are looked up and
// not collected: there may be millions.
func (t *GroupTable) diff(old *GroupTable) (added, removed int) {
	if old == nil {
		return t.entries(), 0
	}
	added, removed = countDiff(old.bareClasses(), t.bareClasses())
	common := 0
	for m := range t.members.All() {
		if _, _, ok := old.members.Find(m.Name, m.Domain, m.Group); ok {
			common++
		}
	}
	return added + t.members.Len() - common, removed + old.members.Len() - common
}

// bareClasses yields the rows of classes without their origin.
func (t *GroupTable) bareClasses() iter.Seq[class] {
	return func(yield func(class) bool) {
		for _, c := range t.classes {
			c.origin = Origin{}
			if !yield(c) {
				return
			}
		}
	}
}

// groupBuilder collects a generation.
type groupBuilder struct {
	table    *GroupTable
	members  memberset.Builder
	engine   *engineBuilder
	tags     map[Origin]uint32 // of table.origins
	rows     []int             // members by tag
	content  content
	warnings []string
}

func (b *groupBuilder) member(m Member) error {
	if b.table.ignoreDomain {
		m.User.Domain = ""
	}
	b.content.rows.Text(m.User.Name)
	b.content.rows.Text(m.User.Domain)
	b.content.rows.Text(m.Group)
	b.content.at(m.Origin)
	b.members.Add(memberset.Member{
		Name: m.User.Name, Domain: m.User.Domain, Group: m.Group,
		Tag: b.tag(m.Origin), Row: uint64(max(m.Origin.Line, 0)),
	})
	return nil
}

// tag numbers what is common to the origins of many rows.
func (b *groupBuilder) tag(o Origin) uint32 {
	o.Line, o.Col = 0, 0
	tag, ok := b.tags[o]
	if !ok {
		if b.tags == nil {
			b.tags = map[Origin]uint32{}
		}
		tag = uint32(len(b.table.origins))
		b.tags[o] = tag
		b.table.origins = append(b.table.origins, o)
		b.rows = append(b.rows, 0)
	}
	b.rows[tag]++
	return tag
}

// places counts the rows by the name of where they stand.
func (b *groupBuilder) places() map[string]int {
	places := map[string]int{}
	for tag, n := range b.rows {
		places[b.table.origins[tag].Name] += n
	}
	for _, c := range b.table.classes {
		places[c.origin.Name]++
	}
	return places
}

// check says what is wrong with the row.
func (r ClassRow) check() error {
	_, err := newEngineBuilder(ere.GroupSyntax).expression(r.Expression)
	return r.bad(err)
}

// bad is the error of a row whose expression has one.
func (r ClassRow) bad(err error) error {
	if err == nil {
		return nil
	}
	return &LoadError{Origin: r.Origin, Column: "expression", Value: r.Expression, Err: err}
}

func (b *groupBuilder) class(r ClassRow) error {
	x, err := b.engine.expression(r.Expression)
	if err != nil {
		return r.bad(err)
	}
	if r.Expression == "" {
		b.warnings = append(b.warnings, strings.TrimSpace(fmt.Sprintf("%s class %d: the empty expression matches everyone", r.Origin, r.Class)))
	}
	b.content.rows.Number(uint64(uint32(r.Class)))
	b.content.rows.Text(r.Expression)
	b.content.at(r.Origin)
	b.engine.Rule(ruleengine.Rule{Left: ruleengine.Side{Any: []uint32{x}}, Right: ruleengine.Side{All: true}})
	b.table.classes = append(b.table.classes, class{r.Expression, r.Class, r.Origin})
	return nil
}
