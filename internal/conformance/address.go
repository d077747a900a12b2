package conformance

import (
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/sipacl/sipacl/internal/tests/vectors"
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

type openSIPSTable struct {
	ID, Table, Reload string
	Rows              []struct {
		ID                                  int
		Grp, IP, Mask, Port, Proto, Pattern any
		ContextInfo                         any `json:"context_info"`
	}
	Queries []json.RawMessage
}

type openSIPSQuery struct {
	Fn               string
	Grp, Port, Group json.Number
	IP, Proto        string
	SrcIP            string      `json:"src_ip"`
	SrcPort          json.Number `json:"src_port"`
	Transport        string
	Pattern          *string
	RC               int
	Match            bool
	ContextInfo      *string `json:"context_info"`
}

func askOpenSIPSAddress(of original) asker {
	return func(t *testing.T, r *report, lines iter.Seq[[]byte]) {
		for line := range lines {
			var table openSIPSTable
			vectors.Decode(t, line, &table)
			s := table.recorded(t).load(t, r, false)
			if table.Reload != "OK" {
				r.complain("%s: recorded reload %q", table.Table, table.Reload)
			}
			for _, line := range table.Queries {
				var q openSIPSQuery
				vectors.Decode(t, line, &q)
				s.compare(of, q.model(string(line)), q.recorded())
			}
		}
	}
}

var openSIPSColumns = []string{"id", "grp", "ip", "mask", "port", "proto", "pattern", "context_info"}

func (o openSIPSTable) recorded(t *testing.T) recordedTable {
	db := fakedb.Open(t)
	var cells []modelCells
	var rows [][]any
	for _, w := range o.Rows {
		cells = append(cells, modelCells{w.ID, w.Grp, w.IP, w.Mask, w.Port, w.Proto, w.Pattern, w.ContextInfo, false})
		rows = append(rows, append([]any{int64(w.ID)}, driverRow(w.Grp, w.IP, w.Mask, w.Port, w.Proto, w.Pattern, w.ContextInfo)...))
	}
	return recordedTable{
		name: o.ID + " " + o.Table,
		next: func(decisions) []modelCells { return cells },
		base: func(decisions) []modelCells { return nil },
		put: func(base bool) {
			if db.Set("address", openSIPSColumns, rows...); base {
				db.Set("address", openSIPSColumns)
			}
		},
		source: func(skipBad bool) sipacl.AddressSource {
			return skipBadIf(skipBad, sipacl.OpenSIPSAddresses(db.SQL()))
		},
	}
}

func (q openSIPSQuery) model(text string) modelQuery {
	m := modelQuery{text: text, ip: q.IP, proto: q.Proto, subject: q.Pattern}
	m.group, _ = q.Grp.Int64()
	m.port, _ = q.Port.Int64()
	if q.Fn != "check_address" {
		m.ip, m.proto, m.socket, m.anyGroup = q.SrcIP, q.Transport, true, q.Fn == "get_source_group"
		m.port, _ = q.SrcPort.Int64()
	}
	return m
}

func (q openSIPSQuery) recorded() recordedAnswer {
	a := recordedAnswer{rc: q.RC, info: q.ContextInfo}
	a.sawGroup = q.Fn == "get_source_group"
	a.sawInfo = !a.sawGroup
	n, _ := q.Group.Int64()
	a.group = uint32(n)
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

type kamailioRow struct {
	Grp, Mask, Port, Tag any
	IPAddr               any `json:"ip_addr"`
}

type kamailioTable struct {
	Kind, ID, Backend string
	Rows              []kamailioRow
	BaseRows          []kamailioRow `json:"base_rows"`
	Text              *string
	BaseText          *string `json:"base_text"`
	Reload            map[string]string
	Params            struct {
		MaxSubnets int `json:"max_subnets"`
	}
}

type kamailioQuery struct {
	Table, Func string
	Group, Port json.Number
	Addr        *string
	Src         string
	Sport       json.Number
	Obs         map[string]struct {
		RC    *int
		Tags  []string
		Reply *string
	}
}

// kamailioBuild is a table as one build of Kamailio has it in service.
type kamailioBuild struct {
	*tableInService
	of original
}

func askKamailioAddress(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	tables := map[string]map[string]kamailioBuild{}
	for line := range lines {
		var table kamailioTable
		vectors.Decode(t, line, &table)
		if table.Kind == "table" {
			tables[table.ID] = table.load(t, r)
			continue
		}
		var q kamailioQuery
		vectors.Decode(t, line, &q)
		for _, build := range slices.Sorted(maps.Keys(q.Obs)) {
			if b, ok := tables[q.Table][build]; ok {
				b.compare(b.of, q.model(build+" "+string(line)), q.recorded(build))
			} else {
				r.unexplained("%s: no table for build %s", q.Table, build)
			}
		}
	}
}

// load puts the table in service for each build. Those that refused it keep
// what they had.
func (k kamailioTable) load(t *testing.T, r *report) map[string]kamailioBuild {
	rt := k.recorded(t)
	builds, loads := map[string]kamailioBuild{}, map[bool]*tableInService{}
	for name, said := range k.Reload {
		of := rt.of
		of.longest, of.subnets = name == "master-lpm", cmp.Or(k.Params.MaxSubnets, 512)
		fails := said != "Reload OK"
		if m := loadModel(of, 0, rt.next(0)); (m.failed || rt.gone) != fails {
			r.complain("%s: the model's load fails: %v, recorded %s: %s", rt.name, m.failed, name, said)
		}
		if loads[fails] == nil {
			loads[fails] = rt.load(t, r, fails)
		}
		builds[name] = kamailioBuild{loads[fails], of}
	}
	return builds
}

var kamailioColumns = []string{"id", "grp", "ip_addr", "mask", "port", "tag"}

func (k kamailioTable) recorded(t *testing.T) recordedTable {
	if k.Rows == nil {
		return k.recordedFile()
	}
	db := fakedb.Open(t)
	read := func(from []kamailioRow) (cells []modelCells, rows [][]any) {
		for i, w := range from {
			cells = append(cells, modelCells{n: i + 1, group: w.Grp, ip: w.IPAddr, mask: w.Mask, port: w.Port, info: w.Tag})
			rows = append(rows, append([]any{int64(i + 1)}, driverRow(w.Grp, w.IPAddr, w.Mask, w.Port, w.Tag)...))
		}
		return cells, rows
	}
	next, nextRows := read(k.Rows)
	base, baseRows := read(k.BaseRows)
	return recordedTable{
		name: k.ID,
		of:   original{kamailio: true},
		next: func(decisions) []modelCells { return next },
		base: func(decisions) []modelCells { return base },
		put: func(base bool) {
			if db.Set("address", kamailioColumns, nextRows...); base {
				db.Set("address", kamailioColumns, baseRows...)
			}
		},
		source: func(skipBad bool) sipacl.AddressSource {
			s := sipacl.KamailioAddresses(db.SQL())
			s.Names = true
			return skipBadIf(skipBad, s)
		},
	}
}

func (k kamailioTable) recordedFile() recordedTable {
	const name = "address.list"
	dir := fstest.MapFS{}
	read := func(text *string) func(decisions) []modelCells {
		if text == nil {
			text = new(string)
		}
		return func(on decisions) []modelCells {
			if on.has(addrFile) {
				return wholeColumns(*text)
			}
			return cutColumns(*text)
		}
	}
	return recordedTable{
		name: k.ID,
		of:   original{kamailio: true, file: true},
		next: read(k.Text),
		base: read(k.BaseText),
		gone: k.Text == nil,
		put: func(base bool) {
			text := k.Text
			if base && k.BaseText != nil {
				text = k.BaseText
			} else if base {
				text = new(string)
			}
			if delete(dir, name); text != nil {
				dir[name] = &fstest.MapFile{Data: []byte(*text)}
			}
		},
		source: func(skipBad bool) sipacl.AddressSource {
			return skipBadIf(skipBad, sipacl.AddressFile{FS: dir, Name: name, Names: true})
		},
	}
}

// wholeColumns reads a file as decision addr-file has it.
func wholeColumns(text string) (cells []modelCells) {
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' || c == '\r' })
		if len(f) == 0 {
			continue
		}
		c := modelCells{n: i + 1, refused: len(f) < 2 || len(f) > 5}
		if !c.refused {
			f = append(f, "0", "0")
			c.group, c.ip, c.mask, c.port = f[0], f[1], f[2], f[3]
			if len(f) == 7 {
				c.info = f[4]
			}
		}
		cells = append(cells, c)
	}
	return cells
}

// cutColumns reads a file as Kamailio does: in pieces of 1,023 bytes, numbers
// up to the first byte that is no digit, and the rest of a line ignored.
func cutColumns(text string) (cells []modelCells) {
	for i, line := range strings.SplitAfter(text, "\n") {
		for line != "" {
			piece := line[:min(1023, len(line))]
			line = line[len(piece):]
			piece, _, _ = strings.Cut(piece, "#")
			if c, ok := cutPiece(piece); ok {
				c.n = i + 1
				cells = append(cells, c)
			}
		}
	}
	return cells
}

func cutPiece(rest string) (c modelCells, ok bool) {
	const blanks = " \t\r\n"
	take := func(end func(rune) bool) string {
		rest = strings.TrimLeft(rest, blanks)
		n := strings.IndexFunc(rest, end)
		if n < 0 {
			n = len(rest)
		}
		word := rest[:n]
		rest = rest[n:]
		return word
	}
	number := func() string {
		if n := take(func(c rune) bool { return c < '0' || c > '9' }); n != "" {
			return n
		}
		return "0"
	}
	word := func() any {
		if w := take(func(c rune) bool { return strings.ContainsRune(blanks, c) }); w != "" {
			return w
		}
		return nil
	}
	if strings.Trim(rest, blanks) == "" {
		return c, false
	}
	c.group, c.ip = number(), word()
	c.mask, c.port, c.info = number(), number(), word()
	return c, true
}

func (q kamailioQuery) model(text string) modelQuery {
	m := modelQuery{text: text, ip: q.Src, anyGroup: strings.HasSuffix(q.Func, "_group")}
	m.group, _ = q.Group.Int64()
	m.port, _ = q.Sport.Int64()
	if q.Addr != nil {
		m.ip = *q.Addr
		m.port, _ = q.Port.Int64()
	} else if q.Group == "" {
		m.group = 1 // the default of allow_source_address
	}
	m.socket = q.Addr == nil
	return m
}

func (q kamailioQuery) recorded(build string) recordedAnswer {
	o := q.Obs[build]
	if o.RC == nil { // returning group 0 stopped the script before it could look
		return recordedAnswer{sawGroup: true}
	}
	a := recordedAnswer{rc: *o.RC, sawInfo: true}
	if len(o.Tags) > 0 {
		a.info = &o.Tags[0]
	}
	return a
}

func skipBadIf(skipBad bool, s sipacl.AddressSource) sipacl.AddressSource {
	if skipBad {
		return sipacl.SkipBad(s)
	}
	return s
}
