package sipacl

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/sipacl/sipacl/internal/trie"
)

// Table is one immutable generation of an address table. It is safe for
// concurrent use and stays valid for as long as it is held. A nil Table and
// the zero one refuse everything.
//
// Among several rows that match, the one with the longest prefix wins, and
// among those with the same prefix the first one of the source.
type Table struct {
	trie     *trie.Trie
	byPrefix []uint32 // the trie's entries -> rows
	byHost   []uint32 // rows with a host name, sorted by it, then in source order
	rows     []row    // in source order
	texts    []string // [0] is ""
	patterns []Pattern
	gen      uint64
	suspect  []string // what is likely not meant
}

// row is an AddressRow without pointers, 32 bytes.
type row struct {
	node    trie.Node // of its prefix; 0 for a host name
	host    uint32    // texts: the host name
	group   GroupID
	pattern uint32 // patterns; 0 is none
	info    uint32 // texts
	origin  uint32 // texts: Origin.Name
	line    uint32
	port    uint16
	proto   Proto
	unit    Unit
}

// NewTable builds a table. Rows that are not valid, and errors among rows,
// give one error that names them all, and no table. An error that is no
// [*LoadError] ends the sequence.
func NewTable(rows iter.Seq2[AddressRow, error]) (*Table, error) {
	t, errs := buildTable(rows, 0)
	for _, e := range errs {
		if e, ok := e.(*LoadError); !ok || !e.Skipped {
			return nil, errors.Join(errs...)
		}
	}
	return t, nil
}

// buildTable reads every row. Of the errors it returns, those that are
// *LoadError with Skipped set did not keep the others from loading. expected
// is how many rows there may be, which saves moving them about.
func buildTable(rows iter.Seq2[AddressRow, error], expected int) (*Table, []error) {
	b := tableBuilder{
		table: &Table{
			texts: []string{""}, patterns: []Pattern{{}},
			rows: make([]row, 0, expected), byPrefix: make([]uint32, 0, expected),
		},
		prefixes: make([]netip.Prefix, 0, expected),
		texts:    map[string]uint32{"": 0},
		patterns: map[string]uint32{"": 0},
	}
	var errs []error
	for r, err := range rows {
		if err == nil {
			err = b.add(r)
		}
		if err == nil {
			continue
		}
		errs = append(errs, err)
		if !errors.As(err, new(*LoadError)) {
			break
		}
	}
	return b.finish(), errs
}

type tableBuilder struct {
	table    *Table
	prefixes []netip.Prefix
	texts    map[string]uint32
	patterns map[string]uint32
}

func (b *tableBuilder) add(r AddressRow) error {
	r, err := r.valid()
	if err != nil {
		return err
	}
	p, ok := b.patterns[r.Pattern]
	if !ok {
		compiled, err := CompilePattern(r.Pattern)
		if err != nil {
			return &LoadError{Origin: r.Origin, Column: "pattern", Value: r.Pattern, Err: err}
		}
		p = uint32(len(b.table.patterns))
		b.table.patterns = append(b.table.patterns, compiled)
		b.patterns[r.Pattern] = p
	}
	if r.Host == "" {
		b.suspect(r)
		r.Prefix = r.Prefix.Masked()
		b.prefixes = append(b.prefixes, r.Prefix)
		b.table.byPrefix = append(b.table.byPrefix, uint32(len(b.table.rows)))
	} else {
		b.table.byHost = append(b.table.byHost, uint32(len(b.table.rows)))
	}
	b.table.rows = append(b.table.rows, row{
		host:    b.text(r.Host),
		group:   r.Group,
		pattern: p,
		info:    b.text(r.Info),
		origin:  b.text(r.Origin.Name),
		line:    uint32(r.Origin.Line),
		port:    r.Port,
		proto:   r.Proto,
		unit:    r.Origin.Unit,
	})
	return nil
}

// suspect notes an IPv6 host with the mask that both schemas default to.
func (b *tableBuilder) suspect(r AddressRow) {
	if r.Prefix.Addr().Is6() && r.Prefix.Bits() == 32 && r.Prefix != r.Prefix.Masked() {
		b.table.suspect = append(b.table.suspect, fmt.Sprintf(
			"%s: %s is the whole of %s; a host has mask 128", r.Origin, r.Prefix, r.Prefix.Masked()))
	}
}

// text returns the index of s in texts.
func (b *tableBuilder) text(s string) uint32 {
	i, ok := b.texts[s]
	if !ok {
		i = uint32(len(b.table.texts))
		s = strings.Clone(s)
		b.table.texts = append(b.table.texts, s)
		b.texts[s] = i
	}
	return i
}

func (b *tableBuilder) finish() *Table {
	t := b.table
	t.trie = trie.Build(b.prefixes)
	for n := range t.trie.All {
		for _, e := range t.trie.Entries(n) {
			t.rows[t.byPrefix[e]].node = n
		}
	}
	slices.SortStableFunc(t.byHost, func(a, b uint32) int { return cmp.Compare(t.hostOf(a), t.hostOf(b)) })
	return t
}

func (t *Table) hostOf(i uint32) string { return t.texts[t.rows[i].host] }

// valid returns the row with its prefix unmapped and its host name in lower
// case, or what is wrong with it.
func (r AddressRow) valid() (AddressRow, error) {
	bad := func(column, value, format string, args ...any) (AddressRow, error) {
		return AddressRow{}, &LoadError{Origin: r.Origin, Column: column, Value: value, Err: fmt.Errorf(format, args...)}
	}
	if int(r.Proto) >= len(protoNames) {
		return bad("proto", r.Proto.String(), "want a known protocol")
	}
	if r.Origin.Line < 0 || int64(r.Origin.Line) > 1<<32-1 {
		r.Origin.Line = 0
	}
	if r.Host != "" {
		name, ok := hostName(r.Host)
		if !ok {
			return bad("host", r.Host, "want a host name")
		}
		if r.Prefix != (netip.Prefix{}) {
			return bad("host", r.Host, "want a host name or a prefix, not both")
		}
		r.Host = name
		return r, nil
	}
	if !r.Prefix.IsValid() {
		return bad("ip", r.Prefix.String(), "want an address and a mask")
	}
	if r.Prefix.Addr().Is4In6() {
		if r.Prefix.Bits() <= 96 {
			return bad("mask", fmt.Sprint(r.Prefix.Bits()), "want more than 96 for an IPv4-mapped address")
		}
		r.Prefix = netip.PrefixFrom(r.Prefix.Addr().Unmap(), r.Prefix.Bits()-96)
	}
	return r, nil
}

// Len returns the number of rows.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.rows)
}

// Generation counts the loads of the partition up to this table, from 1; it
// is 0 for a table made with [NewTable].
func (t *Table) Generation() uint64 {
	if t == nil {
		return 0
	}
	return t.gen
}

// CheckAddress reports whether a row matches q, and which. It allocates
// nothing, takes no lock and reads no clock.
func (t *Table) CheckAddress(q Query) Decision {
	d := Decision{Cause: CauseNoAddress, Source: q.source(), Right: q.Host}
	if t == nil || t.trie == nil {
		d.Cause = CauseNotLoaded
		return d
	}
	t.scan(&q, func(i uint32, m miss) bool {
		if m != matched {
			return true
		}
		t.decide(&d, i)
		return false
	})
	if !d.Allowed && !q.valid() {
		d.Cause = CauseMalformed
	}
	return d
}

// CheckSource is CheckAddress for a source that came from a socket. Its port
// and protocol are compared as they are: a datagram with source port 0
// matches only rows for any port.
func (t *Table) CheckSource(s Source, group GroupID, subject string) Decision {
	q := s.Query(group)
	q.Subject = subject
	return t.CheckAddress(q)
}

// AddressGroup returns the decision of the most specific row that matches s,
// its port and protocol, of whichever group; patterns are not asked.
func (t *Table) AddressGroup(s Source) Decision {
	q := s.Query(0)
	q.Any = AnyGroup | AnySubject
	return t.CheckAddress(q)
}

// Matches yields a decision for every row that matches q: longest prefix
// first, then in the order of the source.
func (t *Table) Matches(q Query) iter.Seq[Decision] {
	return func(yield func(Decision) bool) {
		if t == nil || t.trie == nil {
			return
		}
		t.scan(&q, func(i uint32, m miss) bool {
			if m != matched {
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
		q := s.Query(0)
		q.Any = AnyGroup | AnySubject
		var seen []GroupID
		for d := range t.Matches(q) {
			if slices.Contains(seen, d.Group) {
				continue
			}
			if seen = append(seen, d.Group); !yield(d.Group) {
				return
			}
		}
	}
}

// Explain is CheckAddress with every row that covers the address recorded,
// and what kept it from matching.
func (t *Table) Explain(q Query) Trace {
	tr := Trace{Decision: t.CheckAddress(q)}
	if t == nil || t.trie == nil {
		return tr
	}
	t.scan(&q, func(i uint32, m miss) bool {
		r := t.row(i)
		tr.Steps = append(tr.Steps, Step{Origin: r.Origin, Text: r.String(), Matched: m == matched, Note: m.note(q, r)})
		return true
	})
	return tr
}

// Rows yields the rows in the order of the source.
func (t *Table) Rows() iter.Seq[AddressRow] {
	return func(yield func(AddressRow) bool) {
		for i := range t.Len() {
			if !yield(t.row(uint32(i))) {
				return
			}
		}
	}
}

// Addresses yields the rows for single addresses: what the originals call the
// address table.
func (t *Table) Addresses() iter.Seq[AddressRow] {
	return t.only(func(r AddressRow) bool { return r.Prefix.IsSingleIP() })
}

// Subnets yields the rows for wider prefixes: the originals' subnet table.
func (t *Table) Subnets() iter.Seq[AddressRow] {
	return t.only(func(r AddressRow) bool { return r.Prefix.IsValid() && !r.Prefix.IsSingleIP() })
}

// Hosts yields the rows for host names: Kamailio's domain table.
func (t *Table) Hosts() iter.Seq[AddressRow] {
	return t.only(func(r AddressRow) bool { return r.Host != "" })
}

func (t *Table) only(keep func(AddressRow) bool) iter.Seq[AddressRow] {
	return func(yield func(AddressRow) bool) {
		for r := range t.Rows() {
			if keep(r) && !yield(r) {
				return
			}
		}
	}
}

// Diff returns what differs between two generations: rows that only next has,
// and rows that only old has, each in the order of its source. Origins do not
// count, and a row that is there twice is two rows.
func Diff(old, next *Table) (added, removed []AddressRow) {
	diff(old, next, func(r AddressRow) { added = append(added, r) }, func(r AddressRow) { removed = append(removed, r) })
	return added, removed
}

func diff(old, next *Table, added, removed func(AddressRow)) {
	// Reloads mostly change little: what is at the same place, counted from
	// the end or from the beginning, is the same row.
	same := func(i, j int) bool { return old.bare(i) == next.bare(j) }
	n, m := old.Len(), next.Len()
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

// tableSeed makes sums comparable within the process.
var tableSeed = maphash.MakeSeed()

// sum identifies the rows and their order.
func (t *Table) sum() uint64 {
	var h maphash.Hash
	h.SetSeed(tableSeed)
	for r := range t.Rows() {
		maphash.WriteComparable(&h, r)
	}
	return h.Sum64()
}

// decide makes d the decision that row i matches.
func (t *Table) decide(d *Decision, i uint32) {
	r := &t.rows[i]
	d.Allowed, d.Cause = true, CauseAddress
	d.Group = r.group
	d.Info = t.texts[r.info]
	d.Origin = t.origin(r)
	if r.node != 0 {
		d.Prefix = t.trie.Prefix(r.node)
	}
}

func (t *Table) origin(r *row) Origin {
	return Origin{Name: t.texts[r.origin], Line: int(r.line), Unit: r.unit}
}

func (t *Table) row(i uint32) AddressRow {
	r := &t.rows[i]
	a := AddressRow{
		Group:   r.group,
		Host:    t.texts[r.host],
		Port:    r.port,
		Proto:   r.proto,
		Pattern: t.patterns[r.pattern].String(),
		Info:    t.texts[r.info],
		Origin:  t.origin(r),
	}
	if r.node != 0 {
		a.Prefix = t.trie.Prefix(r.node)
	}
	return a
}

// scan visits the rows whose prefix covers the address of q, or that hold its
// host name, longest prefix first and then in source order, and says what
// keeps each from matching. It ends when visit returns false.
func (t *Table) scan(q *Query, visit func(i uint32, m miss) bool) {
	if !q.valid() {
		return
	}
	if q.Host != "" {
		t.scanHost(q, visit)
		return
	}
	for n := t.trie.Longest(plainAddr(q.Addr)); n != 0; n = t.trie.Parent(n) {
		for _, e := range t.trie.Entries(n) {
			i := t.byPrefix[e]
			if !visit(i, t.compare(&t.rows[i], q)) {
				return
			}
		}
	}
}

func (t *Table) scanHost(q *Query, visit func(i uint32, m miss) bool) {
	name := strings.TrimSuffix(q.Host, ".")
	at, _ := slices.BinarySearchFunc(t.byHost, name, func(i uint32, name string) int {
		return compareFold(t.hostOf(i), name)
	})
	for _, i := range t.byHost[at:] {
		if compareFold(t.hostOf(i), name) != 0 || !visit(i, t.compare(&t.rows[i], q)) {
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

// miss is the first thing that keeps a row from matching.
type miss uint8

const (
	matched miss = iota
	otherGroup
	otherPort
	otherProto
	otherSubject
)

// compare asks the row all but its address, cheapest first.
func (t *Table) compare(r *row, q *Query) miss {
	switch {
	case r.group != q.Group && q.Any&AnyGroup == 0:
		return otherGroup
	case r.port != 0 && r.port != q.Port && q.Any&AnyPort == 0:
		return otherPort
	case r.proto == ProtoNone || q.Proto == ProtoNone:
		return otherProto
	case r.proto != ProtoAny && r.proto != q.Proto && q.Any&AnyProto == 0:
		return otherProto
	case r.pattern != 0 && q.Any&AnySubject == 0 && !t.patterns[r.pattern].Match(q.Subject):
		return otherSubject
	}
	return matched
}

// note tells a person what was different.
func (m miss) note(q Query, r AddressRow) string {
	switch m {
	case otherGroup:
		return fmt.Sprintf("group %d was asked", q.Group)
	case otherPort:
		return fmt.Sprintf("port is %d", q.Port)
	case otherProto:
		return fmt.Sprintf("protocol is %s", q.Proto)
	case otherSubject:
		return fmt.Sprintf("subject is %q", shorten(q.Subject))
	}
	return ""
}
