package conformance

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// recordedTable is one table of the recordings: the cells that the original
// read and those it had in service before.
type recordedTable struct {
	name   string
	of     original
	next   func(decisions) []modelCells
	base   func(decisions) []modelCells
	gone   bool            // the file was removed before the load
	put    func(base bool) // makes one of them what the source reads
	source func(skipBad bool) sipacl.AddressSource
}

// tableInService is a recorded table, loaded by us and by the model.
type tableInService struct {
	recordedTable
	report *report
	table  *sipacl.Table
	keeps  bool // we refuse the load and the original does, and both keep base
	models map[string]*modelTable
}

// load puts the table in service. Our refusals must be those of the model
// with all decisions on; what the original loaded is asked under SkipBad.
func (rt recordedTable) load(t *testing.T, r *report, fails bool) *tableInService {
	s := &tableInService{recordedTable: rt, report: r, models: map[string]*modelTable{}}
	rt.put(true)
	p := s.open(t, rt.base)
	rt.put(false)
	report, err := p.Reload(t.Context())
	s.keeps = err != nil && fails
	if !rt.gone {
		s.lint(err, rt.next)
	} else if err == nil {
		r.complain("%s: loads without its file", rt.name)
	}
	if err == nil && len(report.Skipped) > 0 {
		r.complain("%s: rows were left out without SkipBad", rt.name)
	}
	if err != nil && !fails {
		p = s.open(t, rt.next)
	}
	s.table = p.Current()
	return s
}

// open loads the cells, without those we refuse.
func (s *tableInService) open(t *testing.T, cells func(decisions) []modelCells) sipacl.Partition {
	p, err := sipacl.NewPartition(t.Context(), s.source(false))
	s.lint(err, cells)
	if err != nil {
		p, err = sipacl.NewPartition(t.Context(), s.source(true))
		require.NoError(t, err, s.name)
	}
	return p
}

// lint compares the rows we refuse with those the model refuses.
func (s *tableInService) lint(err error, cells func(decisions) []modelCells) {
	var ours []int
	for _, e := range loadErrors(err) {
		ours = append(ours, e.Origin.Line)
	}
	slices.Sort(ours)
	ours = slices.Compact(ours)
	want := loadModel(s.of, allDecisions, cells(allDecisions)).dropped
	slices.Sort(want)
	if !slices.Equal(ours, want) || err != nil && len(ours) == 0 {
		s.report.complain("%s: refuses rows %v, want %v: %v", s.name, ours, want, err)
	}
}

// loadErrors are the LoadErrors among the errors joined in err.
func loadErrors(err error) (found []*sipacl.LoadError) {
	switch e := err.(type) {
	case *sipacl.LoadError:
		return []*sipacl.LoadError{e}
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			found = append(found, loadErrors(e)...)
		}
	case interface{ Unwrap() error }:
		return loadErrors(e.Unwrap())
	}
	return found
}

// model is what the original has in service under some decisions.
func (s *tableInService) model(of original, on decisions) *modelTable {
	key := fmt.Sprint(of, on)
	m, ok := s.models[key]
	if !ok {
		if m = loadModel(of, on, s.next(on)); s.keeps || s.gone || m.failed {
			m = loadModel(of, on, s.base(on))
		}
		s.models[key] = m
	}
	return m
}

// recordedAnswer is what a script saw, as far as it looked.
type recordedAnswer struct {
	rc       int
	group    uint32
	info     *string
	sawGroup bool
	sawInfo  bool
}

// seen is the part of an answer that was recorded.
type seen struct {
	rc    int
	group uint32
	info  string
}

func (a recordedAnswer) see(rc int, group uint32, info *string) seen {
	s := seen{rc: rc}
	if a.sawGroup {
		s.group = group
	}
	if a.sawInfo && info != nil {
		s.info = *info
	}
	return s
}

// compare asks the question of a recorded observation and counts our answer.
func (s *tableInService) compare(of original, q modelQuery, recorded recordedAnswer) {
	ours := askTable(s.table, of, q)
	if err := s.check(of, q, recorded, ours); err != nil {
		s.report.unexplained("%s: %v: %s", s.name, err, q.text)
		return
	}
	if ours.Allowed && !ours.Prefix.IsValid() && q.anyGroup {
		ours.Info = "" // Kamailio sets no tag for the group of a name
	}
	answer := recorded.see(returnCode(of, q, ours), uint32(ours.Group), &ours.Info)
	switch on, ok := s.explain(of, q, recorded, answer); {
	case !ok:
		s.report.unexplained("%s: no decision gives %+v: %s", s.name, answer, q.text)
	case on == 0:
		s.report.agree()
	default:
		s.report.differ(on.String())
	}
}

// check holds the recording against the model with no decision on, and our
// answer against the one with all of them.
func (s *tableInService) check(of original, q modelQuery, recorded recordedAnswer, ours sipacl.Decision) error {
	was, must := s.model(of, 0).ask(q), s.model(of, allDecisions).ask(q)
	exact := !recorded.sawInfo || (was.info == nil) == (recorded.info == nil)
	want := recorded.see(recorded.rc, recorded.group, recorded.info)
	if got := recorded.see(was.rc, was.group, was.info); got != want || !exact {
		return fmt.Errorf("the model of the original answers %+v, recorded %+v", got, want)
	}
	if ours.Allowed != (must.row != 0) || ours.Allowed && (ours.Origin.Line != must.row || uint32(ours.Group) != must.group) {
		return fmt.Errorf("we answer %s, prescribed is row %d", ours, must.row)
	}
	return nil
}

// explain returns the fewest decisions under which the model gives this answer.
func (s *tableInService) explain(of original, q modelQuery, recorded recordedAnswer, answer seen) (on decisions, ok bool) {
	for _, on := range decisionSets {
		if a := s.model(of, on).ask(q); recorded.see(a.rc, a.group, a.info) == answer {
			return on, true
		}
	}
	return 0, false
}

// returnCode is what a script would get for our answer.
func returnCode(of original, q modelQuery, d sipacl.Decision) int {
	switch {
	case !d.Allowed:
		return -1
	case of.kamailio && q.anyGroup:
		return int(int32(d.Group))
	}
	return 1
}

// driverValue is a recorded value as a driver gives it.
func driverValue(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	f, _ := n.Float64()
	return f
}

func driverRow(values ...any) []any {
	for i, v := range values {
		values[i] = driverValue(v)
	}
	return values
}

// askAddress reads the address of a query: an address, whose zone does not
// count, or the zero Addr.
func askAddress(s string) netip.Addr {
	s = strings.Trim(s, " \t")
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && strings.Contains(s, ":") && !strings.Contains(s, "%") {
		s = s[1 : len(s)-1]
	}
	a, _ := netip.ParseAddr(s)
	return a
}

// askTable puts a recorded question to a table, as a caller who comes from the
// original would.
func askTable(t *sipacl.Table, of original, m modelQuery) sipacl.Decision {
	if !fits(m) {
		return sipacl.Decision{}
	}
	q := sipacl.Query{Group: sipacl.GroupID(m.group), Addr: askAddress(m.ip), Port: uint16(m.port)}
	if m.proto != "" {
		var err error
		if q.Proto, err = sipacl.ParseProto(m.proto); err != nil {
			return sipacl.Decision{}
		}
	}
	if m.subject != nil {
		q.Subject = *m.subject
	}
	if of.kamailio {
		if !q.Addr.IsValid() {
			q.Host = m.ip
		}
	} else {
		q.Any = openSIPSAny(q, m)
	}
	source := sipacl.Source{Addr: q.Addr, Port: q.Port, Proto: q.Proto}
	switch {
	case m.anyGroup && q.Host == "":
		return t.AddressGroup(source)
	case m.anyGroup:
		q.Any |= sipacl.AnyGroup
	case m.socket && q.Any == 0:
		return t.CheckSource(source, q.Group, q.Subject)
	}
	return t.CheckAddress(q)
}

// openSIPSAny gives the flags for what OpenSIPS takes for "any".
func openSIPSAny(q sipacl.Query, m modelQuery) (flags sipacl.Any) {
	for flag, is := range map[sipacl.Any]bool{
		sipacl.AnyGroup: q.Group == 0, sipacl.AnyPort: q.Port == 0,
		sipacl.AnyProto: q.Proto == sipacl.ProtoAny, sipacl.AnySubject: m.subject == nil,
	} {
		if is {
			flags |= flag
		}
	}
	return flags
}

// fits reports whether the numbers of q can be asked. Those that do not fit
// match nothing (addr-number): a caller cannot even make the query.
func fits(q modelQuery) bool {
	return q.group >= 0 && q.group < 1<<32 && q.port >= 0 && q.port < 1<<16
}

func skipBadIf(skipBad bool, s sipacl.AddressSource) sipacl.AddressSource {
	if skipBad {
		return sipacl.SkipBad(s)
	}
	return s
}
