package sipacl

import (
	"context"
	"fmt"
	"iter"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func init() {
	conformance["asterisk-acl"] = askAsteriskACL
	conformance["asterisk-unit"] = askAsteriskUnit
}

// aclCase is one recorded Asterisk process.
type aclCase struct {
	ID      string
	Conf    *string `json:"acl_conf"`
	Files   map[string]string
	Options struct {
		Exec       bool   `json:"execincludes"`
		Systemname string `json:"systemname"`
	}
	Realtime *struct {
		Schema string
		Rows   []map[string]any
	}
	Phases []struct {
		Write *struct{ File, Text string }
		// Unlink is the name of a file that is removed.
		Unlink  string
		Queries []aclQuery
	}
}

type aclQuery struct {
	Lines [][2]string
	ACLs  []struct {
		Name    string
		Invalid bool
		Rules   []string
	}
	Results []struct {
		Src      string
		Parsed   bool `json:"src_parsed"`
		Decision string
	}
}

func (q aclQuery) sources() (all []origSource) {
	for _, r := range q.Results {
		all = append(all, origSource{r.Src, r.Parsed})
	}
	return all
}

// askable tells whether the lines are lines of a consumer. The recorder also
// fed other words to the function behind them, which looks at first letters.
func (q aclQuery) askable() bool {
	return !slices.ContainsFunc(q.Lines, func(l [2]string) bool {
		return !slices.Contains([]string{"permit", "deny", "acl"}, strings.ToLower(l[0]))
	})
}

var schemaColumns = regexp.MustCompile(`(?i)(\w+) (?:TEXT|INTEGER|VARCHAR|CHAR|INT|REAL)`)

// run goes through the phases. It calls each for every phase, after the files
// are as they were in it.
func (c *aclCase) run(each func(phase int, files map[string]string)) {
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

func (c *aclCase) columns() (names []string) {
	for _, m := range schemaColumns.FindAllStringSubmatch(c.Realtime.Schema, -1) {
		names = append(names, m[1])
	}
	return names
}

// modelled is what the model of the original answers with these switches on:
// by phase, query and source.
func (c *aclCase) modelled(on aclSwitch) (answers [][][]bool, m *aclOriginal, bad []map[string]bool) {
	m = &aclOriginal{on: on, exec: c.Options.Exec, systemname: c.Options.Systemname}
	if c.Realtime != nil {
		m.table, m.rows, m.columns = true, c.Realtime.Rows, c.columns()
	}
	c.run(func(phase int, files map[string]string) {
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
		answers = append(answers, as)
		bad = append(bad, m.bad)
	})
	return answers, m, bad
}

// ours is what we answer, and the errors of each phase's load.
func (c *aclCase) ours(t *testing.T) (answers [][][]bool, errs []error) {
	ctx := context.Background()
	fsys := fstest.MapFS{}
	sources := []ACLSource{ACLConf{FS: fsys}}
	if c.Realtime != nil {
		s := SQLACLs{SQL: SQL{DB: fakeACLs(t, c.columns(), c.Realtime.Rows), Table: "acls"}, SystemName: c.Options.Systemname}
		if !strings.Contains(strings.ToLower(c.Realtime.Schema), "rule_order") {
			s.OrderCol = NoColumn
		}
		sources = append(sources, s)
	}
	var acls ACLs
	c.run(func(phase int, files map[string]string) {
		clear(fsys)
		for name, text := range files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		var err error
		if acls == (ACLs{}) {
			acls, err = NewACLs(ctx, sources...)
		} else {
			_, err = acls.Reload(ctx)
		}
		errs = append(errs, err)
		var as [][]bool
		for _, q := range c.Phases[phase].Queries {
			var lines []aclLine
			for _, l := range q.Lines {
				lines = append(lines, aclLine{l[0], l[1]})
			}
			list, _ := bindLines(acls.Current(), lines) // an error is a nil list, which refuses
			var a []bool
			for _, r := range q.Results {
				addr, _ := netip.ParseAddr(r.Src)
				d := list.CheckSource(Source{Addr: addr})
				require.Equal(t, d, traced(func(t *Trace) { list.Tracing(t).CheckSource(Source{Addr: addr}) }).Decision)
				a = append(a, d.Allowed)
			}
			as = append(as, a)
		}
		answers = append(answers, as)
	})
	return answers, errs
}

// lines are the places of the errors of a load.
func aclErrorLines(err error) map[string]bool {
	lines := map[string]bool{}
	for _, e := range loadErrors(err) {
		lines[fmt.Sprintf("%s:%d", e.Origin.Name, e.Origin.Line)] = true
	}
	return lines
}

func askAsteriskACL(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	// Asked besides the recorded questions, and not counted among them.
	rules := newReport("the rules as recorded, where masks are contiguous", r.dir)
	again := newReport("tables without the rows that are refused", r.dir)
	for line := range lines {
		var c aclCase
		decode(t, line, &c)
		c.compare(t, r)
		c.askAgain(t, again)
		for _, p := range c.Phases {
			for _, q := range p.Queries {
				q.askRules(rules)
			}
		}
	}
	for _, extra := range []*report{rules, again} {
		different, ids := sum(extra.different)
		t.Logf("%s, %s: agree=%d different=%d (%s) unexplained=%d", r.name, extra.name, extra.agreed, different, ids, extra.wrong)
		require.Zero(t, extra.wrong, "%v", extra.complaints)
	}
}

// compare asks the questions of a case. A difference is explained by the
// smallest set of decisions that turns the model's answer into ours.
func (c *aclCase) compare(t *testing.T, r *report) {
	ours, errs := c.ours(t)
	off, m, _ := c.modelled(0)
	on, all, bad := c.modelled(aclAll)
	touched := m.touched | all.touched
	models := map[aclSwitch][][][]bool{0: off, aclAll: on}
	for i, p := range c.Phases {
		lines := aclErrorLines(errs[i])
		agreed := (errs[i] == nil) == (len(bad[i]) == 0)
		if !agreed || !all.vague && errs[i] != nil && !sameLines(lines, bad[i]) {
			r.unexplained("%s phase %d: refused for %v, the lint says %v: %v", c.ID, i, lines, bad[i], errs[i])
			r.total--
		}
		for j, q := range p.Queries {
			for k, res := range q.Results {
				got, want := ours[i][j][k], res.Decision == "allow"
				about := fmt.Sprintf("%s phase %d %q from %s", c.ID, i, q.Lines, res.Src)
				switch {
				case !q.askable():
					r.unaskable("the options of a consumer are permit, deny and acl")
				case got != on[i][j][k]:
					r.unexplained("%s: ours %v, the decisions prescribe %v", about, got, on[i][j][k])
				case m.beyond == 0 && off[i][j][k] != want:
					r.unexplained("%s: recorded %v, the model says %v", about, want, off[i][j][k])
				case got == want:
					r.agree()
				default:
					s := smallestSet(touched, func(s aclSwitch) bool {
						if m.beyond&^s != 0 {
							return false
						}
						if models[s] == nil {
							models[s], _, _ = c.modelled(s)
						}
						return models[s][i][j][k] == got
					})
					if s == 0 {
						r.unexplained("%s: ours %v, recorded %v", about, got, want)
						continue
					}
					r.differ(s.String())
				}
			}
		}
	}
}

// askAgain asks about the tables that hold rows we refuse, once more without
// the names that those rows are of.
func (c *aclCase) askAgain(t *testing.T, r *report) {
	if c.Realtime == nil {
		return
	}
	m := &aclOriginal{on: aclAll, table: true, columns: c.columns(), systemname: c.Options.Systemname, rows: c.Realtime.Rows, bad: map[string]bool{}}
	m.checkRows()
	selected, ok := m.selected()
	if len(m.bad) == 0 || !ok || m.vague {
		return
	}
	refused := map[string]bool{}
	for i, row := range selected {
		if m.bad[fmt.Sprintf("acls:%d", i+1)] {
			name, _ := text(row, "name")
			refused[name] = true
		}
	}
	rest := *c
	realtime := *c.Realtime
	rest.Realtime = &realtime
	rest.Realtime.Rows = slices.DeleteFunc(slices.Clone(c.Realtime.Rows), func(row map[string]any) bool {
		name, _ := text(row, "name")
		return refused[name]
	})
	ours, errs := rest.ours(t)
	model, all, _ := rest.modelled(aclAll)
	for i, p := range c.Phases {
		if c.Conf != nil && errs[i] != nil {
			r.unexplained("%s: %v", c.ID, errs[i])
			continue
		}
		for j, q := range p.Queries {
			if slices.ContainsFunc(q.Lines, func(l [2]string) bool {
				return slices.ContainsFunc(strings.Split(l[1], ","), func(name string) bool { return refused[strings.TrimSpace(name)] })
			}) {
				continue
			}
			for k, res := range q.Results {
				switch got := ours[i][j][k]; {
				case got != model[i][j][k]:
					r.unexplained("%s %q from %s: ours %v, the decisions prescribe %v", c.ID, q.Lines, res.Src, got, model[i][j][k])
				case got == (res.Decision == "allow"):
					r.agree()
				default:
					s := smallestSet(all.touched, func(s aclSwitch) bool {
						answers, _, _ := rest.modelled(s)
						return answers[i][j][k] == got
					})
					if s == 0 {
						r.unexplained("%s %q from %s: ours %v", c.ID, q.Lines, res.Src, got)
						continue
					}
					r.differ(s.String())
				}
			}
		}
	}
}

func sameLines(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

// smallestSet returns the smallest subset of touched that explains, 0 if none
// does.
func smallestSet(touched aclSwitch, explains func(aclSwitch) bool) aclSwitch {
	for n := 1; n <= aclSwitches; n++ {
		for s := aclSwitch(1); s <= aclAll; s++ {
			if s&^touched == 0 && bits.OnesCount16(uint16(s)) == n && explains(s) {
				return s
			}
		}
	}
	return 0
}

// askRules asks the rules as the original had read them, where they can be
// written down here. No parser of ours but that of rules is in between.
func (q aclQuery) askRules(r *report) {
	l := &ACLList{}
	for _, a := range q.ACLs {
		if a.Invalid {
			l.names, l.acls = append(l.names, a.Name), append(l.acls, nil)
			continue
		}
		var lines []string
		for _, rule := range a.Rules {
			lines = append(lines, strings.Replace(strings.Replace(rule, "allow ", "permit=", 1), "deny ", "deny=", 1))
		}
		rules, err := ParseACLRules(lines...)
		if err != nil {
			for range q.Results {
				r.unaskable("a mask that is not contiguous")
			}
			return
		}
		acl := &ACL{name: a.Name, rules: rules, loaded: true}
		acl.build()
		l.names, l.acls = append(l.names, a.Name), append(l.acls, acl)
	}
	for _, res := range q.Results {
		addr, err := netip.ParseAddr(res.Src)
		got, want := l.CheckSource(Source{Addr: addr}), res.Decision == "allow"
		switch {
		case got.Allowed == want:
			r.agree()
		case err != nil || !res.Parsed:
			r.differ(aclSourceID.String())
		case len(q.ACLs) == 0:
			r.differ(aclEmpty.String())
		case got.Cause == CauseFamily && speaksForOneFamily(q.ACLs[slices.IndexFunc(q.ACLs, func(a struct {
			Name    string
			Invalid bool
			Rules   []string
		}) bool {
			return a.Name == got.Info
		})].Rules, addr):
			r.differ(aclFamily.String())
		default:
			r.unexplained("%v from %s: ours %v, recorded %v", q.ACLs, res.Src, got, want)
		}
	}
}

// speaksForOneFamily tells from the text of rules that none is of addr's
// family and that the last one for everything denies.
func speaksForOneFamily(rules []string, addr netip.Addr) bool {
	last := ""
	for _, r := range rules {
		if strings.Contains(r, ":") == addr.Unmap().Is6() {
			return false
		}
		if strings.HasSuffix(r, " 0.0.0.0/0.0.0.0") || strings.HasSuffix(r, " ::/::") {
			last = r
		}
	}
	return strings.HasPrefix(last, "deny ")
}

// askAsteriskUnit asks what the original's own test states as facts.
func askAsteriskUnit(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var c struct {
			Kind, Sense, Rule, ACL, Src, Decision string
			Rules                                 [][2]string
		}
		decode(t, line, &c)
		switch c.Kind {
		case "invalid":
			if _, err := ParseACLRules(c.Sense + "=" + c.Rule); err == nil {
				r.unexplained("%s=%s loads", c.Sense, c.Rule)
				continue
			}
			r.agree()
		case "decision":
			var text []string
			var lines []aclLine
			for _, l := range c.Rules {
				lines = append(lines, aclLine{l[0], l[1]})
				text = append(text, l[0]+"="+l[1])
			}
			list, err := bindLines(nil, lines)
			require.NoError(t, err)
			addr, err := netip.ParseAddr(c.Src)
			require.NoError(t, err)
			m := &aclOriginal{on: aclFamily}
			got, want := list.CheckSource(Source{Addr: addr}).Allowed, c.Decision == "allow"
			switch prescribed := m.ask(c.Rules, []origSource{{c.Src, true}})[0]; {
			case got != prescribed:
				r.unexplained("%v from %s: ours %v, the decisions prescribe %v", text, c.Src, got, prescribed)
			case got == want:
				r.agree()
			default:
				r.differ(m.touched.String())
			}
		default:
			r.unaskable("unknown kind " + c.Kind)
		}
	}
}

// Files nobody recorded are read as the model reads them, too: the model with
// all switches on is the slow twin of parser, lists and index together.
func TestACLConfIsTheModel(t *testing.T) {
	lines := []string{
		"[a]", "[b]", "[A]", "[ a ]", "[t](!)", "[u](!,t)", "[a](t)", "[b](t, u)", "[a](+)", "[t](+)", "[b](a)", "[a](+,t)", "[a](t,+)", "[a](+,!)",
		"[a](", "[a]()", "[a] (t)", "[a", "[]", "[general]", "[general](!)", "[a](+x=y)", "[a](t)x", "[a](T)", "[a](t,t)",
		"deny=0.0.0.0/0", "deny=::/0", "deny = 0.0.0.0/0 , ::/0", "permit=192.0.2.0/24", "permit => 192.0.2.0/255.255.255.0", "permit=>2001:db8::/32",
		"PERMIT=!192.0.2.1", "deny=!192.0.2.1,192.0.2.0/24", "permit+=,192.0.2.2", "permit += ,192.0.2.2", "deny+=::1", "permit=::ffff:192.0.2.0/120",
		"permit=192.0.2", "permit=192.0.2.0/08", "permit=192.0.2.0/255.0.255.0", "deny 0.0.0.0/0", "permits=1", "=1", "permit=", "deny==1", `\permit=192.0.2.1`, `\`,
		"; comment", ";-- block", "--;", ";-- x --; deny=192.0.2.1", "permit=;-- x --;192.0.2.1", ";--- line", "deny=192.0.2.1;--", `permit=192.0.2.1\;x`, ";--;", "---;",
		"#include i.conf", "#tryinclude i.conf", "#tryinclude nope", "#include nope", "#include acl.conf", "#INCLUDE <i.conf>", `#include "j.conf"`, "# x", "#exec x", "#include", "#include *.inc",
		"", " \t", "\r",
	}
	tame := []string{"[a]", "[b]", "[t](!)", "[a](t)", "[a](+)", "deny=0.0.0.0/0", "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/24", "permit += ,192.0.2.2", "#include i.conf", "; x"}
	srcs := []origSource{{"192.0.2.1", true}, {"192.0.2.2", true}, {"203.0.113.1", true}, {"2001:db8::1", true}, {"::1", true}, {"::ffff:192.0.2.1", true}}
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
		files := map[string]string{"acl.conf": "[a]\n" + text(from), "i.conf": text(from), "j.conf": text(tame), "x.inc": text(tame)}
		fsys := fstest.MapFS{}
		for name, text := range files {
			fsys[name] = &fstest.MapFile{Data: []byte(text)}
		}
		m := &aclOriginal{on: aclAll, files: files}
		m.load()
		acls, err := NewACLs(context.Background(), ACLConf{FS: fsys})
		require.Equal(t, len(m.bad) > 0, err != nil, "%q: %v, the model says %v", files, err, m.bad)
		if err != nil {
			continue
		}
		loaded++
		for _, names := range []string{"a", "b", "A", "t", "a,b"} {
			want := m.ask([][2]string{{"acl", names}}, srcs)
			list, _ := acls.Current().Bind(names)
			for i, s := range srcs {
				require.Equal(t, want[i], list.CheckSource(Source{Addr: netip.MustParseAddr(s.text)}).Allowed, "%q from %s: %q", names, s.text, files)
			}
		}
	}
	require.Greater(t, loaded, rounds/10)
}

// aclLine is a line of a consumer: "permit", "deny" or "acl" and its value.
type aclLine struct{ option, value string }

// bindLines makes a list as a consumer does that reads these lines.
func bindLines(set *ACLSet, lines []aclLine) (*ACLList, error) {
	var own, names []string
	for _, l := range lines {
		switch {
		case !strings.EqualFold(l.option, "acl"):
			own = append(own, l.option+"="+l.value)
		case l.value == "":
			names = append(names, " ")
		default:
			names = append(names, l.value)
		}
	}
	rules, err := ParseACLRules(own...)
	if err != nil {
		return nil, err
	}
	return set.Bind(strings.Join(names, ","), rules...)
}
