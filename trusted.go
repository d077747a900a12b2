package sipacl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/sqlrows"
)

// TrustedRow is one row of Kamailio's trusted table.
type TrustedRow struct {
	Source   netip.Addr // the peer's address
	Proto    Proto      // the zero value, ProtoAny, matches every protocol
	From     string     // POSIX basic expression for the From URI; "" matches every one
	Target   string     // and for the Request-URI
	Tag      string
	NoTag    bool // the tag is NULL: the row has none, not an empty one
	Priority int  // rows with a higher one are asked first
	Origin   Origin
}

// TrustedSource yields the rows of a trusted table. A row that cannot be read
// is yielded as a [*LoadError], and the sequence goes on; any other error ends
// it.
type TrustedSource interface {
	Trusted(ctx context.Context) iter.Seq2[TrustedRow, error]
}

// TrustedRows is a [TrustedSource] of rows in memory.
type TrustedRows []TrustedRow

// Trusted implements [TrustedSource].
func (rows TrustedRows) Trusted(context.Context) iter.Seq2[TrustedRow, error] {
	return func(yield func(TrustedRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// TrustedQuery is a question to a trusted table. The zero TrustedQuery has no
// address and matches nothing.
type TrustedQuery struct {
	Addr     netip.Addr
	Proto    Proto
	AnyProto bool   // match rows of every protocol, whatever Proto is
	From     string // the From URI, as sent
	Target   string // the Request-URI, as sent
}

// TrustedTable is one immutable generation of a trusted table. It is safe for
// concurrent use. A nil TrustedTable and the zero one refuse everything.
//
// Of several rows that match, the one with the highest priority wins, and
// among equals the first one of the source.
type TrustedTable struct {
	byAddr map[netip.Addr][]trustedRow // highest priority first
	rows   int
	gen    uint64
}

type trustedRow struct {
	TrustedRow
	from, target Expression // of non-empty texts
}

// loadTrusted builds the table that follows old.
func loadTrusted(ctx context.Context, old *TrustedTable, sources []TrustedSource) (l loaded, err error) {
	t := &TrustedTable{byAddr: map[netip.Addr][]trustedRow{}}
	var errs []error
	for r, err := range join(ctx, sources, TrustedSource.Trusted) {
		if err == nil {
			err = t.add(r, &l.content)
		}
		if err == nil {
			continue
		}
		errs = append(errs, err)
		if !errors.As(err, new(*LoadError)) {
			break
		}
	}
	if len(errs) > 0 {
		return loaded{}, errors.Join(errs...)
	}
	for _, list := range t.byAddr {
		slices.SortStableFunc(list, func(a, b trustedRow) int { return cmp.Compare(b.Priority, a.Priority) })
	}
	l.gen, l.entries = t, t.rows
	l.added, l.removed = countDiff(old.bare(), t.bare())
	return l, nil
}

// bare yields the rows without their origin, in no order.
func (t *TrustedTable) bare() iter.Seq[TrustedRow] {
	return func(yield func(TrustedRow) bool) {
		if t == nil {
			return
		}
		for _, list := range t.byAddr {
			for _, r := range list {
				r.Origin = Origin{}
				if !yield(r.TrustedRow) {
					return
				}
			}
		}
	}
}

// digest adds a row to what identifies the table.
func (r TrustedRow) digest(c *content) {
	h := &c.rows
	h.Addr(r.Source)
	h.Number(uint64(r.Proto))
	h.Text(r.From)
	h.Text(r.Target)
	h.Flag(r.NoTag)
	h.Text(r.Tag)
	h.Number(uint64(r.Priority))
	c.at(r.Origin)
}

func (t *TrustedTable) add(r TrustedRow, c *content) error {
	bad := func(column, value string, err error) error {
		return &LoadError{Origin: r.Origin, Column: column, Value: value, Err: err}
	}
	var errs []error
	if !r.Source.IsValid() {
		errs = append(errs, bad("source", "", errors.New("want an IPv4 or IPv6 address")))
	}
	if r.Proto > ProtoBOND {
		errs = append(errs, bad("proto", r.Proto.String(), errors.New("want a known protocol")))
	}
	row := trustedRow{TrustedRow: r}
	compile := func(column, text string, into *Expression) {
		if text == "" {
			return
		}
		var err error
		if *into, err = CompileExpression(text, TrustedSyntax); err != nil {
			errs = append(errs, bad(column, text, err))
		}
	}
	compile("from pattern", r.From, &row.from)
	compile("target pattern", r.Target, &row.target)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	r.digest(c)
	row.Source = plainAddr(r.Source)
	t.byAddr[row.Source] = append(t.byAddr[row.Source], row)
	t.rows++
	return nil
}

// Len returns the number of rows.
func (t *TrustedTable) Len() int {
	if t == nil {
		return 0
	}
	return t.rows
}

// CheckTrusted reports whether a row matches q. The decision names the row and
// holds its tag as Info. It does not allocate, unless a text that is compared
// has bytes beyond ASCII.
func (t *TrustedTable) CheckTrusted(q TrustedQuery) Decision {
	d := Decision{Cause: CauseNoTrusted, Source: Source{Addr: q.Addr, Proto: q.Proto}}
	if t == nil || t.byAddr == nil {
		d.Cause = CauseNotLoaded
		return d
	}
	for r := range t.match(q) {
		d.Allowed, d.Cause, d.Origin, d.Info = true, CauseTrusted, r.Origin, r.Tag
		break
	}
	return d
}

// Tags yields the tags of all rows that match q, the winner's first:
// peer_tag_mode=1. Rows without a tag give none.
func (t *TrustedTable) Tags(q TrustedQuery) iter.Seq[string] {
	return func(yield func(string) bool) {
		for r := range t.match(q) {
			if !r.NoTag && !yield(r.Tag) {
				return
			}
		}
	}
}

func (t *TrustedTable) match(q TrustedQuery) iter.Seq[*trustedRow] {
	return func(yield func(*trustedRow) bool) {
		if t == nil || !q.Addr.IsValid() {
			return
		}
		rows := t.byAddr[plainAddr(q.Addr)]
		for i := range rows {
			if rows[i].matches(q) && !yield(&rows[i]) {
				return
			}
		}
	}
}

func (r *trustedRow) matches(q TrustedQuery) bool {
	switch {
	case r.Proto == ProtoNone:
		return false
	case !q.AnyProto && r.Proto != ProtoAny && r.Proto != q.Proto:
		return false
	case !q.AnyProto && q.Proto == ProtoNone:
		return false
	}
	return (r.TrustedRow.From == "" || trustedText(q.From) && r.from.MatchString(q.From)) &&
		(r.TrustedRow.Target == "" || trustedText(q.Target) && r.target.MatchString(q.Target))
}

// trustedText reports whether a pattern may be asked about s.
func trustedText(s string) bool { return texts{s, s}.valid() }

// Explain is CheckTrusted with every row of the address recorded.
func (t *TrustedTable) Explain(q TrustedQuery) (tr Trace) {
	tr.Decision = t.CheckTrusted(q)
	if t == nil {
		return tr
	}
	for i := range t.byAddr[plainAddr(q.Addr)] {
		r := &t.byAddr[plainAddr(q.Addr)][i]
		s := Step{Origin: r.Origin, Subject: q.From + " -> " + q.Target, Text: r.TrustedRow.String(), Matched: r.matches(q)}
		if !s.Matched {
			s.Note = "protocol or pattern does not match"
		}
		tr.Steps = append(tr.Steps, s)
	}
	return tr
}

// String gives the row as one reads it.
func (r TrustedRow) String() string {
	s := fmt.Sprintf("source %s proto %s priority %d", r.Source, r.Proto, r.Priority)
	if r.From != "" {
		s += fmt.Sprintf(" from %q", r.From)
	}
	if r.Target != "" {
		s += fmt.Sprintf(" target %q", r.Target)
	}
	return s
}

// Trusted is a trusted table in service: the handle that request handlers
// keep. The zero Trusted refuses everything.
type Trusted struct{ Part[TrustedTable] }

// NewTrusted loads a trusted table that stands alone. A bad row is an error
// that names it, as all the others.
func NewTrusted(ctx context.Context, sources ...TrustedSource) (Trusted, error) {
	if len(sources) == 0 {
		return Trusted{}, errors.New("sipacl: trusted: want a source")
	}
	perm, err := Open(ctx, Config{Trusted: sources})
	if err != nil {
		return Trusted{}, err
	}
	return perm.trusted, nil
}

// addTrusted makes the part of the trusted table.
func (p *Permissions) addTrusted(sources []TrustedSource) error {
	if len(sources) == 0 {
		return nil
	}
	if slices.Contains(sources, nil) {
		return errors.New("sipacl: trusted: want a source")
	}
	sources = slices.Clone(sources)
	p.trusted.Part = addPart(p, "trusted", func(ctx context.Context, old *TrustedTable) (loaded, error) {
		return loadTrusted(ctx, old, sources)
	})
	p.trusted.p.version = versions(sources)
	return nil
}

// CheckTrusted is [TrustedTable.CheckTrusted] of the generation in service.
func (t Trusted) CheckTrusted(q TrustedQuery) Decision { return t.Current().CheckTrusted(q) }

// AllowTrusted answers allow_trusted: does a row match the socket that req
// came from, its protocol, and From and Request-URI as they were sent?
func (t Trusted) AllowTrusted(req *sip.Request) Decision {
	q, err := TrustedQueryOf(req)
	if err != nil {
		return Decision{Cause: CauseNoSource}
	}
	d := t.CheckTrusted(q)
	d.Source, _ = SourceOf(req)
	return d
}

// TrustedQueryOf gives the question that AllowTrusted asks about req. Without
// exactly one valid From, rows that have a pattern for it do not match.
func TrustedQueryOf(req *sip.Request) (TrustedQuery, error) {
	s, err := SourceOf(req)
	if err != nil {
		return TrustedQuery{}, err
	}
	q := TrustedQuery{Addr: s.Addr, Proto: s.Proto, From: "\x00", Target: "\x00"} // matched by no pattern
	if from, _, ok := fromTo(req); ok && strictParams(from.Params) {
		if text, ok := sourceText(&from.Address); ok {
			q.From = text
		}
	}
	if text, ok := sourceText(&req.Recipient); ok {
		q.Target = text
	}
	return q, nil
}

// Generation counts the loads of the table, from 1.
func (t *TrustedTable) Generation() uint64 {
	if t == nil {
		return 0
	}
	return t.gen
}

func (t *TrustedTable) number(n uint64) { t.gen = n }

// SQLTrusted reads a trusted table through database/sql. Every name can be
// changed; "" means the default given here, and [NoColumn] that the table
// lacks the column.
type SQLTrusted struct {
	DB      Queryer
	Dialect Dialect

	Table       string // "trusted"
	IDCol       string // "id"; orders the rows and names them
	SourceCol   string // "src_ip"
	ProtoCol    string // "proto"
	FromCol     string // "from_pattern"
	TargetCol   string // "ruri_pattern"
	TagCol      string // "tag"
	PriorityCol string // "priority"
}

// The cells of a row of the trusted table.
const (
	trustedSourceCol = iota
	trustedProtoCol
	trustedFromCol
	trustedTargetCol
	trustedTagCol
	trustedPriorityCol
)

// Trusted implements [TrustedSource].
func (s SQLTrusted) Trusted(ctx context.Context) iter.Seq2[TrustedRow, error] {
	return func(yield func(TrustedRow, error) bool) {
		table := orDefault(s.Table, "trusted")
		var columns []string
		column := func(name, def string) int {
			if name = orDefault(name, def); name == NoColumn {
				return -1
			}
			columns = append(columns, name)
			return len(columns) - 1
		}
		id := column(s.IDCol, "id")
		at := [...]int{
			trustedSourceCol: column(s.SourceCol, "src_ip"), trustedProtoCol: column(s.ProtoCol, "proto"),
			trustedFromCol: column(s.FromCol, "from_pattern"), trustedTargetCol: column(s.TargetCol, "ruri_pattern"),
			trustedTagCol: column(s.TagCol, "tag"), trustedPriorityCol: column(s.PriorityCol, "priority"),
		}
		query, err := s.query(table, columns, id)
		if err != nil {
			yield(TrustedRow{}, &LoadError{Origin: Origin{Name: table}, Err: err})
			return
		}
		for r, err := range sqlrows.Read(ctx, s.DB, query) {
			if err != nil {
				yield(TrustedRow{}, fmt.Errorf("%s: %w", table, err))
				return
			}
			p := trustedParser{origin: rowOrigin(table, r, id)}
			for c, i := range at {
				if i >= 0 {
					p.cells[c] = cell{name: columns[i], value: r.Values[i], given: true}
				}
			}
			if !p.read(yield) {
				return
			}
		}
	}
}

func (s SQLTrusted) query(table string, columns []string, id int) (string, error) {
	switch {
	case s.DB == nil:
		return "", errors.New("want a database")
	case s.SourceCol == NoColumn:
		return "", errors.New("a trusted table without source column")
	case id < 0:
		return s.Dialect.Select(table, columns, "")
	}
	return s.Dialect.Select(table, columns, columns[id])
}

// trustedParser turns the cells of a row into one.
type trustedParser struct {
	origin Origin
	cells  [trustedPriorityCol + 1]cell
	errs   []error
}

func (p *trustedParser) read(yield func(TrustedRow, error) bool) bool {
	r := TrustedRow{Origin: p.origin, Source: p.source(), Proto: p.proto(), Priority: p.priority()}
	r.From, _ = p.text(trustedFromCol)
	r.Target, _ = p.text(trustedTargetCol)
	tag, ok := p.text(trustedTagCol)
	r.Tag, r.NoTag = tag, !ok
	if len(p.errs) == 0 {
		return yield(r, nil)
	}
	for _, err := range p.errs {
		if !yield(TrustedRow{}, err) {
			return false
		}
	}
	return true
}

func (p *trustedParser) bad(col int, err error) {
	c := p.cells[col]
	p.errs = append(p.errs, &LoadError{Origin: p.origin, Column: c.name, Value: sqlrows.Show(c.value), Err: err})
}

// text reads a text; ok is false for NULL and a column that is not there.
func (p *trustedParser) text(col int) (s string, ok bool) {
	s, ok, err := sqlrows.Text(p.cells[col].value)
	if err != nil {
		p.bad(col, err)
	}
	return s, ok
}

func (p *trustedParser) source() netip.Addr {
	s, ok := p.text(trustedSourceCol)
	if !ok {
		p.bad(trustedSourceCol, sqlrows.ErrNull)
		return netip.Addr{}
	}
	addr, err := ParseAddress(s)
	if err != nil {
		p.bad(trustedSourceCol, errors.New("want an IPv4 or IPv6 address"))
	}
	return addr
}

func (p *trustedParser) proto() Proto {
	s, ok := p.text(trustedProtoCol)
	if !p.cells[trustedProtoCol].given || s == "" && ok {
		return ProtoAny
	}
	proto, err := ParseProto(s)
	if err != nil {
		p.bad(trustedProtoCol, errors.New("want a known protocol, any or none"))
	}
	return proto
}

func (p *trustedParser) priority() int {
	c := p.cells[trustedPriorityCol]
	if !c.given || c.value == nil {
		return 0
	}
	n, err := sqlrows.Integer(c.value, -1<<31, 1<<31-1)
	if err != nil {
		p.bad(trustedPriorityCol, err)
	}
	return int(n)
}
