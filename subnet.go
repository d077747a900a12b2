// Table: one generation of an address table.

package sipacl

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/sipacl/sipacl/internal/hosts"
	"github.com/sipacl/sipacl/internal/room"
	"github.com/sipacl/sipacl/internal/rowindex"
	"github.com/sipacl/sipacl/internal/textset"
	"github.com/sipacl/sipacl/internal/trie"
)

// Table is one immutable generation of an address table. It is safe for
// concurrent use and stays valid for as long as it is held. A nil Table and
// the zero one refuse everything.
//
// Among several rows that match, the one with the longest prefix wins, and
// among those with the same prefix the first one of the source.
type Table struct {
	index    *rowindex.Index // nil in the zero Table
	rows     []row           // in source order
	names    []nameRow       // those that hold a host name, in source order
	byName   []uint32        // names, sorted by it
	notes    []note
	texts    textset.Set
	patterns []Pattern // [0] is none
	gen      uint64
	suspect  []string // what is likely not meant
	trace    *tracer  // of a copy that was made to trace
}

// row is what only a decision tells of an AddressRow. It is 12 bytes, without
// pointers; prefix, group, port, protocol and pattern are in the index.
type row struct {
	at   rowindex.Ref // 0 for a host name
	line uint32
	note uint32
}

// note is what many rows have in common: numbers of texts.
type note struct {
	info   uint32
	origin uint32 // Origin.Name
	unit   Unit
}

// nameRow is a row with a host name.
type nameRow struct {
	row  uint32
	host uint32 // texts
	key  rowindex.Key
}

// loadTable builds the table that follows old. n, if not nil, looks up host
// names.
func loadTable(ctx context.Context, old *Table, sources []AddressSource, n *names) (loaded, error) {
	if n != nil {
		sources = n.resolving(sources)
	}
	b := newTableBuilder(old.size() + old.size()/64)
	skipped, err := readAll(ctx, sources, b.add)
	if err != nil {
		return loaded{}, err
	}
	t := b.finish()
	l := loaded{gen: t, content: b.content, entries: t.size(), places: t.places(), skipped: skipped, warnings: t.suspect}
	switch {
	case n != nil: // the load went well: every row was read, and its name used
		l.resolved, l.names = n.rows, n.status()
		l.warnings = append(l.warnings, n.warnings()...)
	case len(t.names) > 0:
		first := t.row(t.names[0].row)
		l.warnings = append(l.warnings, fmt.Sprintf("%s: host name %s matches queries for that name only, and no source: see Resolve (rows with names: %d)", first.Origin, first.Host, len(t.names)))
	}
	if old == nil {
		l.added = t.size()
		return l, nil
	}
	diff(old, t, func(AddressRow) { l.added++ }, func(AddressRow) { l.removed++ })
	return l, nil
}

// places counts the rows by the name of where they stand.
func (t *Table) places() map[string]int {
	byNote := make([]int, len(t.notes))
	for i := range t.rows {
		byNote[t.rows[i].note]++
	}
	places := map[string]int{}
	for i, n := range byNote {
		places[t.texts.At(t.notes[i].origin)] += n
	}
	return places
}

// newTableBuilder returns a builder for about so many rows, which saves moving
// them about.
func newTableBuilder(expected int) *tableBuilder {
	b := &tableBuilder{
		table:    &Table{patterns: []Pattern{{}}, rows: make([]row, 0, expected)},
		patterns: map[string]uint32{},
		notes:    map[note]uint32{},
	}
	b.index.Grow(expected)
	return b
}

type tableBuilder struct {
	table    *Table
	index    rowindex.Builder
	texts    textset.Builder
	notes    map[note]uint32
	patterns map[string]uint32
	content  content
}

func (b *tableBuilder) add(r AddressRow) error {
	if err := r.clean(); err != nil {
		return err
	}
	if len(b.table.rows) == trie.MaxEntries {
		return fmt.Errorf("%s: more than %d rows", r.Origin, trie.MaxEntries)
	}
	key := rowindex.Key{Group: uint32(r.Group), Port: r.Port, Proto: uint8(r.Proto)}
	var err error
	if key.Pattern, err = b.pattern(&r); err != nil {
		return err
	}
	b.digest(&r)
	t := b.table
	if r.Host == "" {
		b.suspect(&r)
		r.Prefix = r.Prefix.Masked()
	} else {
		t.names = append(t.names, nameRow{uint32(len(t.rows)), b.texts.Number(r.Host), key})
	}
	b.index.Add(r.Prefix, key)
	t.rows = append(room.Double(t.rows), row{line: uint32(r.Origin.Line), note: b.note(&r)})
	return nil
}

// digest adds a row to what identifies the table.
func (b *tableBuilder) digest(r *AddressRow) {
	h := &b.content.rows
	if r.resolved {
		h = &b.content.rest
	}
	h.Number(uint64(r.Group))
	h.Prefix(r.Prefix.Masked())
	h.Text(r.Host)
	h.Number(uint64(r.Port)<<8 | uint64(r.Proto))
	h.Text(r.Pattern)
	h.Text(r.Info)
	b.content.at(r.Origin)
}

// pattern returns the index of the row's pattern in patterns.
func (b *tableBuilder) pattern(r *AddressRow) (uint32, error) {
	if r.Pattern == "" {
		return 0, nil
	}
	p, ok := b.patterns[r.Pattern]
	if !ok {
		text := strings.Clone(r.Pattern) // not a part of something bigger
		compiled, err := CompilePattern(text)
		if err != nil {
			return 0, &LoadError{Origin: r.Origin, Column: "pattern", Value: r.Pattern, Err: err}
		}
		p = uint32(len(b.table.patterns))
		b.table.patterns = append(b.table.patterns, compiled)
		b.patterns[text] = p
	}
	return p, nil
}

// note returns the index of the row's note in notes.
func (b *tableBuilder) note(r *AddressRow) uint32 {
	n := note{b.texts.Number(r.Info), b.texts.Number(r.Origin.Name), r.Origin.Unit}
	if len(b.table.notes) > 0 && n == b.table.notes[0] { // most rows have no info
		return 0
	}
	i, ok := b.notes[n]
	if !ok {
		i = uint32(len(b.table.notes))
		b.table.notes = append(b.table.notes, n)
		b.notes[n] = i
	}
	return i
}

// suspect notes prefixes that are likely not meant.
func (b *tableBuilder) suspect(r *AddressRow) {
	const most = 50
	if p := r.Prefix.Masked(); p != r.Prefix && len(b.table.suspect) < most {
		b.table.suspect = append(b.table.suspect, fmt.Sprintf(
			"%s: %s is the whole of %s; a host has mask %d", r.Origin, r.Prefix, p, p.Addr().BitLen()))
	}
}

func (b *tableBuilder) finish() *Table {
	t := b.table
	t.texts = b.texts.Set()
	t.index = rowindex.Build(&b.index, func(row uint32, at rowindex.Ref) { t.rows[row].at = at })
	t.rows, t.notes = room.Trim(t.rows), room.Trim(t.notes)
	for i := range t.names {
		t.byName = append(t.byName, uint32(i))
	}
	slices.SortStableFunc(t.byName, func(a, b uint32) int { return cmp.Compare(t.hostOf(a), t.hostOf(b)) })
	return t
}

func (t *Table) hostOf(name uint32) string { return t.texts.At(t.names[name].host) }

// check says what is wrong with the row.
func (r AddressRow) check() error {
	if err := r.clean(); err != nil {
		return err
	}
	if _, err := CompilePattern(r.Pattern); err != nil {
		return &LoadError{Origin: r.Origin, Column: "pattern", Value: r.Pattern, Err: err}
	}
	return nil
}

// clean brings the prefix and the host name into the one form that is
// compared, or tells what is wrong with the row.
func (r *AddressRow) clean() error {
	bad := func(column, value, format string, args ...any) error {
		return &LoadError{Origin: r.Origin, Column: column, Value: value, Err: fmt.Errorf(format, args...)}
	}
	if int(r.Proto) >= len(protoNames) {
		return bad("proto", r.Proto.String(), "want a known protocol")
	}
	if r.Origin.Line < 0 || int64(r.Origin.Line) > 1<<32-1 {
		r.Origin.Line = 0
	}
	if r.Host != "" {
		name, ok := hosts.Name(r.Host)
		if !ok {
			return bad("host", r.Host, "want a host name")
		}
		if r.Prefix != (netip.Prefix{}) {
			return bad("host", r.Host, "want a host name or a prefix, not both")
		}
		r.Host = name
		return nil
	}
	if !r.Prefix.IsValid() {
		return bad("ip", r.Prefix.String(), "want an address and a mask")
	}
	if r.Prefix.Addr().Is4In6() {
		if r.Prefix.Bits() <= 96 {
			return bad("mask", fmt.Sprint(r.Prefix.Bits()), "%w", errMappedMask)
		}
		r.Prefix = netip.PrefixFrom(r.Prefix.Addr().Unmap(), r.Prefix.Bits()-96)
	}
	return nil
}

// size is the number of rows.
func (t *Table) size() int {
	if t == nil {
		return 0
	}
	return len(t.rows)
}

// Generation counts the loads of the partition up to this table, from 1.
func (t *Table) Generation() uint64 {
	if t == nil {
		return 0
	}
	return t.gen
}

func (t *Table) number(n uint64) { t.gen = n }

// CheckAddress reports whether a row matches q, and which. It allocates
// nothing, takes no lock and reads no clock.
func (t *Table) CheckAddress(q Query) (d Decision) {
	t.check(&d, &q)
	return d
}

// check makes d, which is zero, the decision about q.
func (t *Table) check(d *Decision, q *Query) {
	i, ok := t.first(q)
	t.conclude(d, q, i, ok)
	if t != nil && t.trace != nil {
		t.explain(*q, nil, d)
	}
}

// conclude makes d the decision that row i answers q, or that none does.
func (t *Table) conclude(d *Decision, q *Query, i uint32, ok bool) {
	d.Source, d.Right = q.source(), q.Host
	switch {
	case ok:
		t.decide(d, i)
	case !t.loaded():
		d.Cause = CauseNotLoaded
	case !q.valid():
		d.Cause = CauseMalformed
	default:
		d.Cause = CauseNoAddress
	}
}

// loaded reports whether t was built.
func (t *Table) loaded() bool { return t != nil && t.index != nil }

// CheckSource is CheckAddress for a source that came from a socket. Its port
// and protocol are compared as they are: a datagram with source port 0
// matches only rows for any port. A pattern is compared with the subject even if
// that is empty; to leave patterns unasked, set [AnySubject] in a [Query].
func (t *Table) CheckSource(s Source, group GroupID, subject string) (d Decision) {
	q := s.query(group)
	q.Subject = subject
	t.check(&d, &q)
	return d
}

// AddressGroup returns the decision of the most specific row that matches s,
// its port and protocol, of whichever group; patterns are not asked.
func (t *Table) AddressGroup(s Source) (d Decision) {
	q := s.query(0)
	q.Any = AnyGroup | AnySubject
	t.check(&d, &q)
	return d
}

// Matches yields a decision for every row that matches q: longest prefix
// first, then in the order of the source.
func (t *Table) Matches(q Query) iter.Seq[Decision] {
	return func(yield func(Decision) bool) {
		if !t.loaded() {
			return
		}
		t.scan(&q, func(i uint32, _ rowindex.Key, m miss) bool {
			if m != rowindex.Matched {
				return true
			}
			d := Decision{Source: q.source(), Right: q.Host}
			t.decide(&d, i)
			return yield(d)
		})
	}
}

// Groups yields the groups that hold s, its port and protocol, most specific
// first and each once. Patterns are not asked.
func (t *Table) Groups(s Source) iter.Seq[GroupID] {
	return func(yield func(GroupID) bool) {
		q := s.query(0)
		q.Any = AnyGroup | AnySubject
		if !t.loaded() {
			return
		}
		var some [16]GroupID
		seen := some[:0]
		t.scan(&q, func(_ uint32, k rowindex.Key, m miss) bool {
			g := GroupID(k.Group)
			if m != rowindex.Matched || slices.Contains(seen, g) {
				return true
			}
			seen = append(seen, g)
			return yield(g)
		})
	}
}

// Tracing returns t with every row that covers the address of a question, and
// what kept it from matching, recorded in into: for one question.
func (t *Table) Tracing(into *Trace) *Table { return t.tracing(&tracer{into: into}) }

func (t *Table) tracing(tr *tracer) *Table {
	next := Table{}
	if t != nil {
		next = *t
	}
	next.trace = tr
	return &next
}

// explain records how d came about. listed are the groups asked about, if q
// asks about any.
func (t *Table) explain(q Query, listed []GroupID, d *Decision) {
	t.trace.into.Decision = *d
	if !t.loaded() {
		return
	}
	t.scan(&q, func(i uint32, k rowindex.Key, m miss) bool {
		r := t.row(i)
		s := Step{Origin: r.Origin, Text: r.String(), Matched: m == rowindex.Matched, Note: missNote(m, q, r)}
		if s.Matched && listed != nil && !slices.Contains(listed, r.Group) {
			s.Matched, s.Note = false, fmt.Sprintf("group %d is not listed", r.Group)
		}
		t.trace.step(s)
		return true
	})
}

// Rows yields the rows in the order of the source.
func (t *Table) Rows() iter.Seq[AddressRow] {
	return func(yield func(AddressRow) bool) {
		for i := range t.size() {
			if !yield(t.row(uint32(i))) {
				return
			}
		}
	}
}

// Diff returns the rows that only t has, and those that only old has, each in
// the order of its source. Origins do not count, and a row that is there twice
// is two rows.
func (t *Table) Diff(old *Table) (added, removed []AddressRow) {
	diff(old, t, func(r AddressRow) { added = append(added, r) }, func(r AddressRow) { removed = append(removed, r) })
	return added, removed
}

func diff(old, next *Table, added, removed func(AddressRow)) {
	// Reloads mostly change little: what is at the same place, counted from
	// the end or from the beginning, is the same row.
	same := func(i, j int) bool { return old.bare(i) == next.bare(j) }
	n, m := old.size(), next.size()
	for n > 0 && m > 0 && n != m && same(n-1, m-1) {
		n, m = n-1, m-1
	}
	var gone, came []int
	for i := range max(n, m) {
		if i < n && i < m && same(i, i) {
			continue
		}
		if i < n {
			gone = append(gone, i)
		}
		if i < m {
			came = append(came, i)
		}
	}
	count := make(map[AddressRow]int, len(gone))
	for _, i := range gone {
		count[old.bare(i)]++
	}
	for _, j := range came {
		if k := next.bare(j); count[k] > 0 {
			count[k]--
		} else {
			added(next.row(uint32(j)))
		}
	}
	for _, i := range gone {
		if k := old.bare(i); count[k] > 0 {
			count[k]--
			removed(old.row(uint32(i)))
		}
	}
}

// bare is row i without its origin.
func (t *Table) bare(i int) AddressRow {
	r := t.row(uint32(i))
	r.Origin = Origin{}
	return r
}

// wins reports whether row i comes before row j: by a longer prefix, or else
// by its place in the source.
func (t *Table) wins(i, j uint32) bool {
	a, b := t.index.Prefix(t.rows[i].at).Bits(), t.index.Prefix(t.rows[j].at).Bits()
	return a > b || a == b && i < j
}

// decide makes d the decision that row i matches.
func (t *Table) decide(d *Decision, i uint32) {
	r := &t.rows[i]
	d.Allowed, d.Cause = true, CauseAddress
	d.Group = GroupID(t.key(i).Group)
	d.Info = t.texts.At(t.notes[r.note].info)
	d.Origin = t.origin(r)
	d.Prefix = t.index.Prefix(r.at)
}

func (t *Table) origin(r *row) Origin {
	n := &t.notes[r.note]
	return Origin{Name: t.texts.At(n.origin), Line: int(r.line), Unit: n.unit}
}

// key returns what row i asks beside the address or name.
func (t *Table) key(i uint32) rowindex.Key {
	if at := t.rows[i].at; at != 0 {
		return t.index.Key(at)
	}
	return t.name(i).key
}

// name returns row i, which holds a host name.
func (t *Table) name(i uint32) *nameRow {
	n, _ := slices.BinarySearchFunc(t.names, i, func(n nameRow, i uint32) int { return cmp.Compare(n.row, i) })
	return &t.names[n]
}

func (t *Table) row(i uint32) AddressRow {
	r, key := &t.rows[i], t.key(i)
	a := AddressRow{
		Group:   GroupID(key.Group),
		Prefix:  t.index.Prefix(r.at),
		Port:    key.Port,
		Proto:   Proto(key.Proto),
		Pattern: t.patterns[key.Pattern].String(),
		Info:    t.texts.At(t.notes[r.note].info),
		Origin:  t.origin(r),
	}
	if r.at == 0 {
		a.Host = t.texts.At(t.name(i).host)
	}
	return a
}

// first returns the row that wins: of those that match q the one with the
// longest prefix, and among those with the same the first of the source.
func (t *Table) first(q *Query) (i uint32, ok bool) {
	if !t.loaded() || !q.valid() {
		return 0, false
	}
	if q.Host == "" {
		return t.firstAt(t.index.Longest(plainAddr(q.Addr)), q)
	}
	t.scanHost(q, func(row uint32, _ rowindex.Key, m miss) bool {
		if m == rowindex.Matched {
			i, ok = row, true
		}
		return !ok
	})
	return i, ok
}

// firstAt is first among the rows of prefix n and of those that cover it.
func (t *Table) firstAt(n trie.Node, q *Query) (i uint32, ok bool) {
	ask := q.question()
	return t.index.First(n, &ask, func(p uint32) bool { return t.fits(p, q) })
}

// scan visits the rows whose prefix covers the address of q, or that hold its
// host name, longest prefix first and then in source order, and says what
// keeps each from matching. It ends when visit returns false.
func (t *Table) scan(q *Query, visit func(i uint32, k rowindex.Key, m miss) bool) {
	switch {
	case !q.valid():
	case q.Host != "":
		t.scanHost(q, visit)
	default:
		ask := q.question()
		t.index.Each(t.index.Longest(plainAddr(q.Addr)), func(i uint32, k rowindex.Key) bool {
			return visit(i, k, t.compare(&k, q, &ask))
		})
	}
}

func (t *Table) scanHost(q *Query, visit func(i uint32, k rowindex.Key, m miss) bool) {
	name := strings.TrimSuffix(q.Host, ".")
	at, _ := slices.BinarySearchFunc(t.byName, name, func(i uint32, name string) int {
		return compareFold(t.hostOf(i), name)
	})
	ask := q.question()
	for _, i := range t.byName[at:] {
		n := &t.names[i]
		if compareFold(t.hostOf(i), name) != 0 || !visit(n.row, n.key, t.compare(&n.key, q, &ask)) {
			return
		}
	}
}

// compareFold compares a, in lower case, with b in any ASCII letter case.
func compareFold(a, b string) int {
	for i := range min(len(a), len(b)) {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if a[i] != c {
			return cmp.Compare(a[i], c)
		}
	}
	return cmp.Compare(len(a), len(b))
}

// valid reports whether q asks for an address or for a host, and not both.
func (q *Query) valid() bool { return q.Addr.IsValid() != (q.Host != "") }

func (q *Query) source() Source {
	if !q.Addr.IsValid() {
		return Source{}
	}
	return Source{plainAddr(q.Addr), q.Port, q.Proto}
}

// The index has the same flags and the same number for no protocol.
var _ = [1]bool{}[uint8(ProtoNone)^rowindex.NoProto|uint8(AnyGroup|AnyPort|AnyProto)^uint8(rowindex.AnyGroup|rowindex.AnyPort|rowindex.AnyProto)]

// question is the part of q that the index compares.
func (q *Query) question() rowindex.Question {
	return rowindex.Question{Group: uint32(q.Group), Port: q.Port, Proto: uint8(q.Proto), Any: rowindex.Any(q.Any)}
}

// miss is the first thing that keeps a row from matching.
type miss = rowindex.Miss

// compare asks the row all but its address, cheapest first. ask is the
// question of q.
func (t *Table) compare(k *rowindex.Key, q *Query, ask *rowindex.Question) miss {
	m := k.Compare(ask)
	if m == rowindex.Matched && k.Pattern != 0 && !t.fits(k.Pattern, q) {
		m = rowindex.OtherSubject
	}
	return m
}

// fits asks a pattern about the subject.
func (t *Table) fits(pattern uint32, q *Query) bool {
	return q.Any&AnySubject != 0 || t.patterns[pattern].Match(q.Subject)
}

// missNote tells a person what was different.
func missNote(m miss, q Query, r AddressRow) string {
	switch m {
	case rowindex.OtherGroup:
		return fmt.Sprintf("group %d was asked", q.Group)
	case rowindex.OtherPort:
		return fmt.Sprintf("port is %d", q.Port)
	case rowindex.OtherProto:
		return fmt.Sprintf("protocol is %s", q.Proto)
	case rowindex.OtherSubject:
		return fmt.Sprintf("subject is %q", shorten(q.Subject))
	}
	return ""
}
