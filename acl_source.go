// Where named ACLs come from: acl.conf and the realtime table.

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

// Rows implements [ACLSource].
func (c ACLConf) Rows(ctx context.Context) iter.Seq2[ACLRow, error] {
	return func(yield func(ACLRow, error) bool) {
		name := orDefault(c.Name, "acl.conf")
		if c.FS == nil {
			yield(ACLRow{}, fmt.Errorf("%s: %w", name, errNoFiles))
			return
		}
		sections, errs := aclconf.Read(aclconf.Source{FS: c.FS, Name: name, Root: c.Root})
		for _, e := range errs {
			if !yield(ACLRow{}, &LoadError{Origin: posOrigin(e.Pos), Err: e.Err}) {
				return
			}
		}
		told := map[string]bool{} // a bad line of a template stands in all its heirs
		once := func(r ACLRow, err error) bool {
			if err != nil {
				if told[err.Error()] {
					return true
				}
				told[err.Error()] = true
			}
			return yield(r, err)
		}
		for _, s := range sections {
			if err := ctx.Err(); err != nil {
				yield(ACLRow{}, err)
				return
			}
			if !s.Template && !yieldSection(s, once) {
				return
			}
		}
	}
}

func yieldSection(s *aclconf.Section, yield func(ACLRow, error) bool) bool {
	bad := func(at aclconf.Pos, format string, args ...any) bool {
		return yield(ACLRow{Name: s.Name}, &LoadError{Origin: posOrigin(at), Err: fmt.Errorf(format, args...)})
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
			if !yield(ACLRow{Name: s.Name}, e) {
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

// SQLACLs reads the table of named ACLs that Asterisk's realtime configuration
// uses. Every name can be changed.
//
// A row whose sense is not permit or deny, whose order is no whole number or
// whose rule is none is an error that names it.
type SQLACLs struct {
	SQL // IDCol orders rows of the same rule_order

	NameCol  string // "name"
	OrderCol string // "rule_order"; [NoColumn]: the rows are in order
	SenseCol string // "sense"
	RuleCol  string // "rule"

	// SystemName, if not "", selects the rows that have it, as the database
	// compares texts.
	SystemName    string
	SystemNameCol string // "systemname"
}

// The cells of a row.
const (
	aclNameCell = iota
	aclOrderCell
	aclSenseCell
	aclRuleCell
)

// Rows implements [ACLSource].
func (s SQLACLs) Rows(ctx context.Context) iter.Seq2[ACLRow, error] {
	t := s.reads("acltable",
		sqlColumn{name: s.NameCol, byDefault: "name", needed: true}, sqlColumn{name: s.OrderCol, byDefault: "rule_order"},
		sqlColumn{name: s.SenseCol, byDefault: "sense", needed: true}, sqlColumn{name: s.RuleCol, byDefault: "rule", needed: true})
	if s.SystemName != "" {
		if s.Query != "" {
			t.err = errors.Join(t.err, errors.New("want the SystemName in the Query"))
		}
		t.only(orDefault(s.SystemNameCol, "systemname"), s.SystemName)
	}
	return readTable(ctx, t, aclRowOf)
}

func aclRowOf(r *record) ACLRow {
	row := ACLRow{Name: r.needed(aclNameCell), Order: r.integer(aclOrderCell, math.MinInt64, math.MaxInt64), Realtime: true, Origin: r.origin}
	if row.Name == "" && r.values[aclNameCell] != nil {
		r.bad(aclNameCell, errors.New("want a name"))
	}
	before := len(r.errs)
	sense, ok := parseSense(r.needed(aclSenseCell))
	if !ok && len(r.errs) == before {
		r.bad(aclSenseCell, errors.New("want permit or deny"))
	}
	before = len(r.errs)
	value := r.needed(aclRuleCell)
	if len(r.errs) > before {
		return row
	}
	rules, wrong := parseRules(sense, value, func(int) Origin { return row.Origin })
	for _, e := range wrong {
		r.bad(aclRuleCell, e.Err)
	}
	row.Rules = rules
	return row
}

// loadACLSet builds the set that follows old.
func loadACLSet(ctx context.Context, old *ACLSet, sources []ACLSource) (loaded, error) {
	b := aclBuilder{set: &ACLSet{byName: map[string]*ACL{}}, broken: map[string]bool{}}
	var errs []error
	for _, s := range sources {
		errs = append(errs, b.source(ctx, s))
	}
	if err := errors.Join(errs...); err != nil {
		return loaded{}, err
	}
	l := b.set.changes(old)
	l.gen, l.content, l.places, l.skipped, l.warnings = b.set, b.set.content(), b.set.places(), b.skipped, b.warnings
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

// places counts the rules by the file or table they stand in, and by their ACL:
// one that is left without rules would let everybody pass.
func (s *ACLSet) places() map[string]int {
	places := map[string]int{}
	for a := range s.All() {
		places["ACL "+a.name] += len(a.rules)
		for _, r := range a.rules {
			places[r.Origin.Name]++
		}
	}
	return places
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
	broken   map[string]bool // names of ACLs with a row that SkipBad left out
	skipped  []*LoadError
	warnings []string
}

// source adds the ACLs of one source whose names no earlier one defines. One
// that is left out hides its name too.
func (b *aclBuilder) source(ctx context.Context, s ACLSource) error {
	byName := map[string][]ACLRow{}
	var names []string // as they were defined
	skipped, err := readAll(ctx, []ACLSource{wholeACLs(s, b.broken)}, func(r ACLRow) error {
		if err := r.check(); err != nil {
			return err
		}
		if _, ok := byName[r.Name]; !ok {
			names = append(names, r.Name)
		}
		byName[r.Name] = append(byName[r.Name], r)
		return nil
	})
	if err != nil {
		return err
	}
	b.skipped = append(b.skipped, skipped...)
	for _, name := range names {
		if _, hidden := b.set.Lookup(name); !hidden && !b.broken[name] {
			b.add(name, byName[name])
		}
	}
	return nil
}

// wholeACLs notes the names of rows that are left out: one rule less may let
// anybody in, so the ACL goes. An error that belongs to no name stays one.
func wholeACLs(s ACLSource, broken map[string]bool) ACLSource {
	return RowFunc[ACLRow](func(ctx context.Context) iter.Seq2[ACLRow, error] {
		return func(yield func(ACLRow, error) bool) {
			for r, err := range s.Rows(ctx) {
				if bad := (*LoadError)(nil); errors.As(err, &bad) && bad.Skipped {
					if broken[r.Name] = true; r.Name == "" {
						fatal := *bad
						fatal.Skipped = false
						err = &fatal
					}
				}
				if !yield(r, err) {
					return
				}
			}
		}
	})
}

// check says what is wrong with the row.
func (r ACLRow) check() error {
	bad := func(value, format string, args ...any) error {
		return &LoadError{Origin: r.Origin, Value: value, Err: fmt.Errorf(format, args...)}
	}
	switch {
	case r.Name == "":
		return bad("", "ACL without a name")
	case len(r.Name) > maxACLName:
		return bad(r.Name, "name of an ACL with more than %d bytes", maxACLName)
	case hasControl(r.Name):
		return bad(r.Name, "control byte in the name of an ACL")
	case len(r.Rules) == 0 && !r.Empty:
		return bad(r.Name, "ACL %q: row without a rule", r.Name)
	}
	var errs []error
	for _, rule := range r.Rules {
		if _, err := rule.valid(); err != nil {
			errs = append(errs, &LoadError{Origin: rule.Origin, Value: rule.Prefix.String(), Err: fmt.Errorf("ACL %q: %w", r.Name, err)})
		}
	}
	return errors.Join(errs...)
}

// add puts the checked rows of one name in order and makes the ACL.
func (b *aclBuilder) add(name string, rows []ACLRow) {
	a := &ACL{name: name, origin: rows[0].Origin, realtime: rows[0].Realtime, loaded: true}
	slices.SortStableFunc(rows, func(r, s ACLRow) int { return cmp.Compare(r.Order, s.Order) })
	for _, r := range rows {
		for _, rule := range r.Rules {
			rule, _ = rule.valid()
			a.rules = append(a.rules, rule)
		}
	}
	a.build()
	b.warnings = append(b.warnings, a.warnings()...)
	b.set.byName[name] = a
	b.set.order = append(b.set.order, a)
}
