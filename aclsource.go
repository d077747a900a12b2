package sipacl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/sipacl/sipacl/internal/aclconf"
	"github.com/sipacl/sipacl/internal/sqlrows"
)

// ACLRow is what a source knows of a named ACL: usually one line or row, with
// one rule or several. The rows of one name make up its ACL.
type ACLRow struct {
	Name  string
	Order int64 // ascending; rows with the same order stay as they came
	Rules []ACLRule
	// Empty says that the ACL is defined here even if no row has a rule for
	// it. Such an ACL permits everything. A row without rules and without
	// Empty is an error.
	Empty    bool
	Realtime bool   // from a table; shown as such, and left out of the list of names
	Origin   Origin // of the row
}

// ACLSource yields the rows of named ACLs. A row that cannot be read is
// yielded as a [*LoadError], and the sequence goes on so that all of them are
// named; any other error ends it.
type ACLSource interface {
	ACLs(ctx context.Context) iter.Seq2[ACLRow, error]
}

// ACLRows is an [ACLSource] of rows in memory.
type ACLRows []ACLRow

// ACLs implements [ACLSource].
func (rows ACLRows) ACLs(context.Context) iter.Seq2[ACLRow, error] {
	return func(yield func(ACLRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// ACLFunc is an [ACLSource] made of a function.
type ACLFunc func(ctx context.Context) iter.Seq2[ACLRow, error]

// ACLs implements [ACLSource].
func (f ACLFunc) ACLs(ctx context.Context) iter.Seq2[ACLRow, error] { return f(ctx) }

// ACLConf reads acl.conf and what it includes: sections with permit and deny
// lines, templates "[t](!)", heirs "[a](t,u)", additions "[a](+)", "+=",
// comments, "#include" and "#tryinclude" with globs. Sections of one name make
// one ACL. What the original drops with a warning is an error here; so is a
// file that does not exist.
type ACLConf struct {
	FS   fs.FS
	Name string // a path of FS; "" is "acl.conf". Relative includes are relative to its folder
	// Root is the folder of FS below which includes with an absolute path are
	// looked up: "." when FS is os.DirFS("/"). "" makes such includes errors.
	Root string
}

// ACLs implements [ACLSource].
func (c ACLConf) ACLs(ctx context.Context) iter.Seq2[ACLRow, error] {
	return func(yield func(ACLRow, error) bool) {
		name := orDefault(c.Name, "acl.conf")
		if c.FS == nil {
			yield(ACLRow{}, &LoadError{Origin: Origin{Name: name}, Err: errors.New("want a file system")})
			return
		}
		sections, errs := aclconf.Read(aclconf.Source{FS: c.FS, Name: name, Root: c.Root})
		for _, e := range errs {
			if !yield(ACLRow{}, &LoadError{Origin: posOrigin(e.Pos), Err: e.Err}) {
				return
			}
		}
		for _, s := range sections {
			if err := ctx.Err(); err != nil {
				yield(ACLRow{}, err)
				return
			}
			if !s.Template && !yieldSection(s, yield) {
				return
			}
		}
	}
}

func yieldSection(s *aclconf.Section, yield func(ACLRow, error) bool) bool {
	bad := func(at aclconf.Pos, format string, args ...any) bool {
		return yield(ACLRow{}, &LoadError{Origin: posOrigin(at), Err: fmt.Errorf(format, args...)})
	}
	if strings.EqualFold(s.Name, "general") {
		if !bad(s.Pos, "a section %q is not supported, except as a template", s.Name) {
			return false
		}
	}
	if s.Name != "" && !yield(ACLRow{Name: s.Name, Empty: true, Origin: posOrigin(s.Pos)}, nil) {
		return false
	}
	for _, o := range s.Options {
		sense, ok := parseSense(o.Name)
		if !ok {
			if !bad(o.Pos, "found option %q, want permit or deny", shorten(o.Name)) {
				return false
			}
			continue
		}
		rules, errs := parseRules(sense, o.Value.String(), func(off int) Origin { return posOrigin(o.Value.At(off)) })
		for _, e := range errs {
			if !yield(ACLRow{}, e) {
				return false
			}
		}
		if s.Name != "" && len(rules) > 0 && !yield(ACLRow{Name: s.Name, Rules: rules, Origin: posOrigin(o.Pos)}, nil) {
			return false
		}
	}
	return true
}

func posOrigin(p aclconf.Pos) Origin { return Origin{Name: p.File, Line: p.Line, Col: p.Col} }

// SQLACLs reads the table of named ACLs that Asterisk's realtime
// configuration uses, through database/sql. Every name can be changed; "" is
// the default given here.
//
// A row whose sense is not permit or deny, whose order is no whole number or
// whose rule is none is an error that names it.
type SQLACLs struct {
	DB      Queryer
	Dialect Dialect

	Table    string // "acltable"
	IDCol    string // none; orders rows of the same rule_order, and names them
	NameCol  string // "name"
	OrderCol string // "rule_order"; [NoColumn]: the rows are in order
	SenseCol string // "sense"
	RuleCol  string // "rule"

	// SystemName, if not "", selects the rows that have it, as the database
	// compares texts.
	SystemName    string
	SystemNameCol string // "systemname"

	// VersionQuery is a query whose result changes whenever the table does:
	// Run asks it instead of reading the table. None by default.
	VersionQuery string
}

// Version implements [Versioned] by the VersionQuery.
func (s SQLACLs) Version(ctx context.Context) (string, error) {
	return sqlrows.Version(ctx, s.DB, s.VersionQuery)
}

// ACLs implements [ACLSource].
func (s SQLACLs) ACLs(ctx context.Context) iter.Seq2[ACLRow, error] {
	return func(yield func(ACLRow, error) bool) {
		t, err := s.table()
		if err != nil {
			yield(ACLRow{}, &LoadError{Origin: Origin{Name: t.name}, Err: err})
			return
		}
		for r, err := range sqlrows.Read(ctx, s.DB, t.query, t.args...) {
			if err != nil {
				yield(ACLRow{}, fmt.Errorf("%s: %w", t.name, err))
				return
			}
			row, errs := t.row(r)
			for _, e := range errs {
				if !yield(ACLRow{}, e) {
					return
				}
			}
			if len(errs) == 0 && !yield(row, nil) {
				return
			}
		}
	}
}

// aclTable is an SQLACLs with its query and the places of its columns.
type aclTable struct {
	name    string
	columns []string
	query   string
	args    []any

	colName, colOrder, colSense, colRule, colID int // -1: none
}

func (s SQLACLs) table() (t aclTable, err error) {
	t.name = orDefault(s.Table, "acltable")
	column := func(name, def string) int {
		if name = orDefault(name, def); name == "" || name == NoColumn {
			return -1
		}
		t.columns = append(t.columns, name)
		return len(t.columns) - 1
	}
	t.colName, t.colSense, t.colRule = column(s.NameCol, "name"), column(s.SenseCol, "sense"), column(s.RuleCol, "rule")
	t.colOrder, t.colID = column(s.OrderCol, "rule_order"), column(s.IDCol, "")
	switch {
	case s.DB == nil:
		return t, errors.New("want a database")
	case t.colName < 0 || t.colSense < 0 || t.colRule < 0:
		return t, errors.New("a table without name, sense or rule column")
	}
	if t.query, err = s.Dialect.Select(t.name, t.columns, ""); err != nil {
		return t, err
	}
	if s.SystemName != "" {
		col, err := s.Dialect.Identifier(orDefault(s.SystemNameCol, "systemname"))
		if err != nil {
			return t, err
		}
		t.query += " WHERE " + col + " = " + s.Dialect.Param(1)
		t.args = []any{s.SystemName}
	}
	if t.colID >= 0 {
		id, _ := s.Dialect.Identifier(s.IDCol) // has been looked at by Select
		t.query += " ORDER BY " + id
	}
	return t, nil
}

// row reads a row, or tells all that is wrong with it.
func (t aclTable) row(r sqlrows.Row) (row ACLRow, errs []error) {
	row = ACLRow{Realtime: true, Origin: rowOrigin(t.name, r, t.colID)}
	bad := func(col int, err error) {
		errs = append(errs, &LoadError{Origin: row.Origin, Column: t.columns[col], Value: sqlrows.Show(r.Values[col]), Err: err})
	}
	text := func(col int) string {
		s, ok, err := sqlrows.Text(r.Values[col])
		if err == nil && !ok {
			err = sqlrows.ErrNull
		}
		if err != nil {
			bad(col, err)
		}
		return s
	}
	row.Name = text(t.colName)
	if row.Name == "" && r.Values[t.colName] != nil {
		bad(t.colName, errors.New("want a name"))
	}
	if t.colOrder >= 0 {
		n, err := sqlrows.Integer(r.Values[t.colOrder], math.MinInt64, math.MaxInt64)
		if err != nil {
			bad(t.colOrder, err)
		}
		row.Order = n
	}
	before := len(errs)
	sense, ok := parseSense(text(t.colSense))
	if !ok && len(errs) == before {
		bad(t.colSense, errors.New("want permit or deny"))
	}
	before = len(errs)
	value := text(t.colRule)
	if len(errs) > before {
		return row, errs
	}
	rules, wrong := parseRules(sense, value, func(int) Origin { return row.Origin })
	for _, e := range wrong {
		bad(t.colRule, e.Err)
	}
	row.Rules = rules
	return row, errs
}

// loadACLSet builds the set that follows old.
func loadACLSet(ctx context.Context, old *ACLSet, sources []ACLSource) (loaded, error) {
	b := aclBuilder{set: &ACLSet{byName: map[string]*ACL{}}, told: map[string]bool{}}
	for _, s := range sources {
		b.source(s.ACLs(ctx))
	}
	if len(b.errs) > 0 {
		return loaded{}, errors.Join(b.errs...)
	}
	l := b.set.changes(old)
	l.gen, l.content, l.warnings = b.set, b.set.content(), b.warnings
	return l, nil
}

// changes compares s with the generation in service. Rules are the entries.
func (s *ACLSet) changes(old *ACLSet) (l loaded) {
	for a := range s.All() {
		before, ok := old.Lookup(a.name)
		l.entries += len(a.rules)
		if ok && before.same(a) {
			continue
		}
		l.changed = append(l.changed, a.name)
		added, removed := countDiff(before.bare(), a.bare())
		l.added, l.removed = l.added+added, l.removed+removed
	}
	for a := range old.All() {
		if _, ok := s.Lookup(a.name); !ok {
			l.changed = append(l.changed, a.name)
			l.removed += len(a.rules)
		}
	}
	slices.Sort(l.changed)
	return l
}

// content identifies the set.
func (s *ACLSet) content() (c content) {
	for a := range s.All() {
		c.rows.Text(a.name)
		c.rows.Flag(a.realtime)
		c.rows.Number(uint64(len(a.rules)))
		c.at(a.origin)
		for _, r := range a.rules {
			c.rows.Number(uint64(r.Sense))
			c.rows.Prefix(r.Prefix.Masked())
			c.at(r.Origin)
		}
	}
	return c
}

// bare yields the rules without their origin.
func (a *ACL) bare() iter.Seq[ACLRule] {
	return func(yield func(ACLRule) bool) {
		for r := range a.Rules() {
			if !yield(ACLRule{Sense: r.Sense, Prefix: r.Prefix}) {
				return
			}
		}
	}
}

// aclBuilder makes one set out of the sources, in order.
type aclBuilder struct {
	set      *ACLSet
	errs     []error
	told     map[string]bool // messages: a bad line of a template is told once
	warnings []string
}

// source adds the ACLs of one source whose names no earlier one defines.
func (b *aclBuilder) source(rows iter.Seq2[ACLRow, error]) {
	byName := map[string][]ACLRow{}
	var names []string // as they were defined
	for r, err := range rows {
		if err == nil {
			err = r.valid()
		}
		if err != nil {
			b.fail(err)
			if !errors.As(err, new(*LoadError)) {
				break
			}
			continue
		}
		if _, ok := byName[r.Name]; !ok {
			names = append(names, r.Name)
		}
		byName[r.Name] = append(byName[r.Name], r)
	}
	for _, name := range names {
		if _, hidden := b.set.Lookup(name); !hidden {
			b.add(name, byName[name])
		}
	}
}

func (b *aclBuilder) fail(err error) {
	if text := err.Error(); !b.told[text] {
		b.told[text] = true
		b.errs = append(b.errs, err)
	}
}

func (r ACLRow) valid() error {
	bad := func(value, format string, args ...any) error {
		return &LoadError{Origin: r.Origin, Column: "", Value: value, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case r.Name == "":
		return bad("", "ACL without a name")
	case len(r.Name) > maxACLName:
		return bad(r.Name, "name of an ACL with more than %d bytes", maxACLName)
	case len(r.Rules) == 0 && !r.Empty:
		return bad(r.Name, "ACL %q: row without a rule", r.Name)
	}
	return nil
}

// add puts the rows of one name in order and makes the ACL.
func (b *aclBuilder) add(name string, rows []ACLRow) {
	first := rows[0].Origin
	slices.SortStableFunc(rows, func(r, s ACLRow) int { return cmp.Compare(r.Order, s.Order) })
	a := &ACL{name: name, origin: first, realtime: rows[0].Realtime, loaded: true}
	for _, r := range rows {
		for _, rule := range r.Rules {
			rule, err := rule.valid()
			if err != nil {
				b.fail(&LoadError{Origin: rule.Origin, Value: rule.Prefix.String(), Err: fmt.Errorf("ACL %q: %w", name, err)})
				continue
			}
			a.rules = append(a.rules, rule)
		}
	}
	a.build()
	b.warnings = append(b.warnings, a.warnings()...)
	b.set.byName[name] = a
	b.set.order = append(b.set.order, a)
}
