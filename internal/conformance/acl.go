package conformance

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// aclCase is one recorded Asterisk process.
type aclCase struct {
	ID      string
	Conf    *string `json:"acl_conf"`
	Files   map[string]string
	Options struct {
		Exec       bool   `json:"execincludes"`
		Systemname string `json:"systemname"`
	}
	Realtime *aclTable
	Phases   []struct {
		Write *struct{ File, Text string }
		// Unlink is the name of a file that is removed.
		Unlink  string
		Queries []aclQuery
	}
}

// aclTable is the realtime table.
type aclTable struct {
	Schema string
	Rows   []map[string]any
}

type aclQuery struct {
	Lines   [][2]string
	ACLs    []aclRead
	Results []struct {
		Src      string
		Parsed   bool `json:"src_parsed"`
		Decision string
	}
}

// aclRead is an ACL as the original had read it.
type aclRead struct {
	Name    string
	Invalid bool
	Rules   []string
}

func (q aclQuery) sources() (all []origSource) {
	for _, r := range q.Results {
		all = append(all, origSource{r.Src, r.Parsed})
	}
	return all
}

// askable reports whether the lines are lines of a consumer. The recorder also
// fed other words to the function behind them, which looks at first letters.
func (q aclQuery) askable() bool {
	return !slices.ContainsFunc(q.Lines, func(l [2]string) bool {
		return !slices.Contains([]string{"permit", "deny", "acl"}, strings.ToLower(l[0]))
	})
}

// names reports whether one of the ACLs that q names is in set.
func (q aclQuery) names(set map[string]bool) bool {
	return slices.ContainsFunc(q.Lines, func(l [2]string) bool {
		return slices.ContainsFunc(strings.Split(l[1], ","), func(name string) bool { return set[strings.TrimSpace(name)] })
	})
}

// replay goes through the phases. It calls each for every phase, after the
// files are as they were in it.
func (c *aclCase) replay(each func(phase int, files map[string]string)) {
	files := map[string]string{}
	for name, text := range c.Files {
		files[name] = text
	}
	if c.Conf != nil {
		files["acl.conf"] = *c.Conf
	}
	for i, p := range c.Phases {
		if p.Write != nil {
			files[p.Write.File] = p.Write.Text
		}
		if p.Unlink != "" {
			delete(files, p.Unlink)
		}
		each(i, files)
	}
}

var schemaColumns = regexp.MustCompile(`(?i)(\w+) (?:TEXT|INTEGER|VARCHAR|CHAR|INT|REAL)`)

func (a *aclTable) columns() (names []string) {
	for _, m := range schemaColumns.FindAllStringSubmatch(a.Schema, -1) {
		names = append(names, m[1])
	}
	return names
}

// source is the table as we read it.
func (a *aclTable) source(t *testing.T, systemname string) sipacl.SQLACLs {
	db := fakedb.Open(t)
	columns := a.columns()
	for i, c := range columns {
		columns[i] = strings.ToLower(c)
	}
	var rows [][]any
	for _, row := range a.Rows {
		rows = append(rows, aclCells(columns, row))
	}
	db.Set("acls", columns, rows...)
	s := sipacl.SQLACLs{SQL: sipacl.SQL{DB: db.SQL(), Table: "acls"}, SystemName: systemname}
	if !slices.Contains(columns, "rule_order") {
		s.OrderCol = sipacl.NoColumn
	}
	return s
}

// aclCells gives the values of a row as a driver does. What the row lacks is
// NULL, and letter case does not matter.
func aclCells(columns []string, row map[string]any) []any {
	values := make([]any, len(columns))
	for name, v := range row {
		if i := slices.Index(columns, strings.ToLower(name)); i >= 0 {
			values[i] = aclCell(v)
		}
	}
	return values
}

func aclCell(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	return n.String()
}

// aclAnswers are the answers to a case, by phase, query and source.
type aclAnswers [][][]bool

// aclPlace is where an answer stands.
type aclPlace struct{ phase, query, result int }

func (a aclAnswers) at(p aclPlace) bool { return a[p.phase][p.query][p.result] }

// modelled is what the model of the original answers with these switches on,
// and what it refuses to load in each phase.
func (c *aclCase) modelled(on aclSwitch) (answers aclAnswers, m *aclOriginal, bad []map[string]bool) {
	m = &aclOriginal{on: on, exec: c.Options.Exec, systemname: c.Options.Systemname}
	if c.Realtime != nil {
		m.table, m.rows, m.columns = true, c.Realtime.Rows, c.Realtime.columns()
	}
	c.replay(func(phase int, files map[string]string) {
		m.files = files
		m.load()
		var as [][]bool
		for _, q := range c.Phases[phase].Queries {
			if q.askable() {
				as = append(as, m.ask(q.Lines, q.sources()))
			} else {
				as = append(as, nil)
			}
		}
		answers, bad = append(answers, as), append(bad, m.bad)
	})
	return answers, m, bad
}

// aclOurs is what we answer, with the error of each phase's load.
type aclOurs struct {
	answers aclAnswers
	errs    []error
}

func (c *aclCase) ours(t *testing.T) (o aclOurs) {
	fsys := fstest.MapFS{}
	sources := []sipacl.ACLSource{sipacl.ACLConf{FS: fsys}}
	if c.Realtime != nil {
		sources = append(sources, c.Realtime.source(t, c.Options.Systemname))
	}
	var acls sipacl.ACLs
	c.replay(func(phase int, files map[string]string) {
		clear(fsys)
		for name, text := range files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		var err error
		if acls == (sipacl.ACLs{}) {
			acls, err = sipacl.NewACLs(t.Context(), sources...)
		} else {
			_, err = acls.Reload(t.Context())
		}
		o.errs = append(o.errs, err)
		var as [][]bool
		for _, q := range c.Phases[phase].Queries {
			as = append(as, q.ours(t, acls.Current()))
		}
		o.answers = append(o.answers, as)
	})
	return o
}

// ours is what a consumer hears that has the lines of q.
func (q aclQuery) ours(t *testing.T, set *sipacl.ACLSet) (answers []bool) {
	list, _ := bindLines(set, q.Lines) // an error is a nil list, which refuses
	for _, r := range q.Results {
		addr, _ := netip.ParseAddr(r.Src)
		source := sipacl.Source{Addr: addr}
		d := list.CheckSource(source)
		var tr sipacl.Trace
		list.Tracing(&tr).CheckSource(source)
		require.Equal(t, d, tr.Decision)
		answers = append(answers, d.Allowed)
	}
	return answers
}

// bindLines makes a list as a consumer does that reads these lines, each an
// option "permit", "deny" or "acl" and its value.
func bindLines(set *sipacl.ACLSet, lines [][2]string) (*sipacl.ACLList, error) {
	var own, names []string
	for _, l := range lines {
		option, value := l[0], l[1]
		switch {
		case !strings.EqualFold(option, "acl"):
			own = append(own, option+"="+value)
		case value == "":
			names = append(names, " ")
		default:
			names = append(names, value)
		}
	}
	rules, err := sipacl.ParseACLRules(own...)
	if err != nil {
		return nil, err
	}
	return set.Bind(strings.Join(names, ","), rules...)
}

// aclErrorLines are the places of the errors of a load.
func aclErrorLines(err error) map[string]bool {
	lines := map[string]bool{}
	for _, e := range loadErrors(err) {
		lines[fmt.Sprintf("%s:%d", e.Origin.Name, e.Origin.Line)] = true
	}
	return lines
}

func askAsteriskACL(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	// Asked besides the recorded questions, and not counted among them.
	rules := newReport("the rules as recorded, where masks are contiguous")
	again := newReport("tables without the rows that are refused")
	for line := range lines {
		var c aclCase
		vectors.Decode(t, line, &c)
		c.compare(t, r)
		c.askAgain(t, again)
		for _, p := range c.Phases {
			for _, q := range p.Queries {
				q.askRules(t, rules)
			}
		}
	}
	for _, extra := range []*report{rules, again} {
		different, ids := sum(extra.different)
		t.Logf("%s, %s: agree=%d different=%d (%s) unexplained=%d", r.name, extra.name, extra.agreed, different, ids, extra.wrong)
		for _, c := range extra.complaints {
			t.Error(c)
		}
	}
}

// aclModels are what the model answers to a case under sets of decisions.
type aclModels struct {
	c       *aclCase
	touched aclSwitch // the decisions that the input meets, with all of them off or on
	byUs    aclSwitch // with all of them on
	beyond  aclSwitch // those whose original side is not modelled
	vague   bool      // a refused line may be another
	refused []map[string]bool
	under   map[aclSwitch]aclAnswers
}

func (c *aclCase) models() *aclModels {
	off, original, _ := c.modelled(0)
	on, ours, refused := c.modelled(aclAll)
	return &aclModels{
		c: c, touched: original.touched | ours.touched, byUs: ours.touched, beyond: original.beyond, vague: ours.vague, refused: refused,
		under: map[aclSwitch]aclAnswers{0: off, aclAll: on},
	}
}

// explain returns the smallest set of decisions under which the model gives
// this answer; 0 if no set does.
func (m *aclModels) explain(at aclPlace, answer bool) aclSwitch {
	for n := 1; n <= aclSwitches; n++ {
		for s := aclSwitch(1); s <= aclAll; s++ {
			if s&^m.touched == 0 && m.beyond&^s == 0 && bits.OnesCount16(uint16(s)) == n && m.answers(s).at(at) == answer {
				return s
			}
		}
	}
	return 0
}

func (m *aclModels) answers(on aclSwitch) aclAnswers {
	if m.under[on] == nil {
		m.under[on], _, _ = m.c.modelled(on)
	}
	return m.under[on]
}

// compare asks the questions of a case. A difference is explained by the
// smallest set of decisions that turns the model's answer into ours.
func (c *aclCase) compare(t *testing.T, r *report) {
	ours, models := c.ours(t), c.models()
	for i, p := range c.Phases {
		if lines := aclErrorLines(ours.errs[i]); !models.refuse(i, ours.errs[i], lines) {
			r.complain("%s phase %d: refused for %v, the lint says %v: %v", c.ID, i, lines, models.refused[i], ours.errs[i])
		}
		for j, q := range p.Queries {
			for k := range q.Results {
				c.compareAnswer(r, models, ours.answers, aclPlace{i, j, k})
			}
		}
	}
}

// refuse reports whether the load of a phase was to give these errors.
func (m *aclModels) refuse(phase int, err error, lines map[string]bool) bool {
	want := m.refused[phase]
	return (err == nil) == (len(want) == 0) && (m.vague || err == nil || maps.Equal(lines, want))
}

func (c *aclCase) compareAnswer(r *report, models *aclModels, ours aclAnswers, at aclPlace) {
	q := c.Phases[at.phase].Queries[at.query]
	if !q.askable() {
		r.unaskable("the options of a consumer are permit, deny and acl")
		return
	}
	res := q.Results[at.result]
	about := fmt.Sprintf("%s phase %d %q from %s", c.ID, at.phase, q.Lines, res.Src)
	got, want := ours.at(at), res.Decision == "allow"
	switch was, must := models.under[0].at(at), models.under[aclAll].at(at); {
	case got != must:
		r.unexplained("%s: ours %v, the decisions prescribe %v", about, got, must)
	case models.beyond == 0 && was != want:
		r.unexplained("%s: recorded %v, the model says %v", about, want, was)
	case got == want:
		r.agree()
	default:
		r.explained(models.explain(at, got), "%s: ours %v, recorded %v", about, got, want)
	}
}

// explained counts a difference that these decisions explain, if there are
// any.
func (r *report) explained(by aclSwitch, format string, args ...any) {
	if by == 0 {
		r.unexplained(format, args...)
	} else {
		r.differ(by.String())
	}
}

// askAgain asks about the tables that hold rows we refuse, once more without
// the names that those rows are of.
func (c *aclCase) askAgain(t *testing.T, r *report) {
	refused := c.refusedNames()
	if len(refused) == 0 {
		return
	}
	rest := *c
	rest.Realtime = &aclTable{c.Realtime.Schema, slices.DeleteFunc(slices.Clone(c.Realtime.Rows), func(row map[string]any) bool {
		name, _ := text(row, "name")
		return refused[name]
	})}
	ours, models := rest.ours(t), rest.models()
	models.touched = models.byUs // a row that is refused explains nothing here
	for i, p := range c.Phases {
		if c.Conf != nil && ours.errs[i] != nil {
			r.unexplained("%s: %v", c.ID, ours.errs[i])
			continue
		}
		for j, q := range p.Queries {
			if q.names(refused) {
				continue
			}
			for k := range q.Results {
				rest.compareAnswer(r, models, ours.answers, aclPlace{i, j, k})
			}
		}
	}
}

// refusedNames are the names in the table that rows we refuse are of.
func (c *aclCase) refusedNames() map[string]bool {
	if c.Realtime == nil {
		return nil
	}
	m := &aclOriginal{
		on: aclAll, table: true, columns: c.Realtime.columns(), systemname: c.Options.Systemname, rows: c.Realtime.Rows,
		bad: map[string]bool{},
	}
	m.checkRows()
	rows, ok := m.selected()
	if !ok || m.vague {
		return nil
	}
	names := map[string]bool{}
	for i, row := range rows {
		if m.bad[fmt.Sprintf("acls:%d", i+1)] {
			name, _ := text(row, "name")
			names[name] = true
		}
	}
	return names
}

// askRules asks the rules as the original had read them, where they can be
// written down here. No parser of ours but that of rules is in between.
func (q aclQuery) askRules(t *testing.T, r *report) {
	list, ok := q.listAsRead(t)
	for _, res := range q.Results {
		if !ok {
			r.unaskable("a mask that is not contiguous")
			continue
		}
		addr, err := netip.ParseAddr(res.Src)
		got, want := list.CheckSource(sipacl.Source{Addr: addr}), res.Decision == "allow"
		switch {
		case got.Allowed == want:
			r.agree()
		case err != nil || !res.Parsed:
			r.differ(aclSourceID.String())
		case len(q.ACLs) == 0:
			r.differ(aclEmpty.String())
		case got.Cause == sipacl.CauseFamily && q.numbered(got.Info).deniesOthers(addr):
			r.differ(aclFamily.String())
		default:
			r.unexplained("%v from %s: ours %v, recorded %v", q.ACLs, res.Src, got, want)
		}
	}
}

// listAsRead binds the ACLs as the original had read them. Not all of their
// names are names here, so each has its number as name.
func (q aclQuery) listAsRead(t *testing.T) (list *sipacl.ACLList, ok bool) {
	var rows []sipacl.ACLRow
	var names []string
	for i, a := range q.ACLs {
		names = append(names, strconv.Itoa(i))
		if a.Invalid {
			continue // a name that is not there: the list does not bind, and refuses
		}
		var lines []string
		for _, rule := range a.Rules {
			lines = append(lines, strings.Replace(strings.Replace(rule, "allow ", "permit=", 1), "deny ", "deny=", 1))
		}
		rules, err := sipacl.ParseACLRules(lines...)
		if err != nil {
			return nil, false
		}
		rows = append(rows, sipacl.ACLRow{Name: names[i], Rules: rules, Empty: true})
	}
	acls, err := sipacl.NewACLs(t.Context(), sipacl.Rows(rows...))
	require.NoError(t, err)
	list, _ = acls.Current().Bind(strings.Join(names, ","))
	return list, true
}

// numbered is the ACL that listAsRead gave this name.
func (q aclQuery) numbered(name string) aclRead {
	i, err := strconv.Atoi(name)
	if err != nil {
		return aclRead{}
	}
	return q.ACLs[i]
}

// deniesOthers reports whether the rules, by their text, deny all of the family
// that addr is not of, and say nothing of its own.
func (a aclRead) deniesOthers(addr netip.Addr) bool {
	six := addr.Unmap().Is6()
	var rules []origRule
	for _, text := range a.Rules {
		sense, network, _ := strings.Cut(text, " ")
		r, ok := lenientItem(sense == "allow", network)
		if !ok || r.six == six {
			return false
		}
		rules = append(rules, r)
	}
	return deniesFamily(rules, !six)
}

// askAsteriskUnit asks what the original's own test states as facts.
func askAsteriskUnit(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var c aclUnit
		vectors.Decode(t, line, &c)
		switch c.Kind {
		case "invalid":
			if _, err := sipacl.ParseACLRules(c.Sense + "=" + c.Rule); err == nil {
				r.unexplained("%s=%s loads", c.Sense, c.Rule)
			} else {
				r.agree()
			}
		case "decision":
			c.ask(t, r)
		default:
			r.unaskable("unknown kind " + c.Kind)
		}
	}
}

type aclUnit struct {
	Kind, Sense, Rule, Src, Decision string
	Rules                            [][2]string
}

func (c aclUnit) ask(t *testing.T, r *report) {
	list, err := bindLines(nil, c.Rules)
	require.NoError(t, err)
	addr, err := netip.ParseAddr(c.Src)
	require.NoError(t, err)
	m := &aclOriginal{on: aclFamily}
	got, want := list.CheckSource(sipacl.Source{Addr: addr}).Allowed, c.Decision == "allow"
	switch must := m.ask(c.Rules, []origSource{{c.Src, true}})[0]; {
	case got != must:
		r.unexplained("%v from %s: ours %v, the decisions prescribe %v", c.Rules, c.Src, got, must)
	case got == want:
		r.agree()
	default:
		r.differ(m.touched.String())
	}
}
