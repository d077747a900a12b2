// Kamailio's trusted table: peers by address, protocol, From and Request-URI.

package sipacl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	"github.com/sipacl/sipacl/internal/ere"
)

// TrustedRow is one row of Kamailio's trusted table.
type TrustedRow struct {
	Source   netip.Addr // the peer's address
	Proto    Proto      // the zero value, ProtoAny, matches every protocol
	From     string     // POSIX basic expression for the canonical text of the From URI; "" matches every one
	Target   string     // and for that of the Request-URI
	Tag      string
	NoTag    bool // the tag is NULL: the row has none, not an empty one
	Priority int  // rows with a higher one are asked first
	Origin   Origin
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
	trace  *tracer // of a copy that was made to trace
}

type trustedRow struct {
	TrustedRow
	from, target ere.Expression // of non-empty texts
}

// loadTrusted builds the table that follows old.
func loadTrusted(ctx context.Context, old *TrustedTable, sources []TrustedSource) (l loaded, err error) {
	t := &TrustedTable{byAddr: map[netip.Addr][]trustedRow{}}
	l.skipped, err = readAll(ctx, sources, func(r TrustedRow) error { return t.add(r, &l.content) })
	if err != nil {
		return loaded{}, err
	}
	for _, list := range t.byAddr {
		slices.SortStableFunc(list, func(a, b trustedRow) int { return cmp.Compare(b.Priority, a.Priority) })
	}
	l.gen, l.entries, l.places = t, t.rows, map[string]int{}
	for _, list := range t.byAddr {
		for _, r := range list {
			l.places[r.Origin.Name]++
		}
	}
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
	row, err := r.compile()
	if err != nil {
		return err
	}
	r.digest(c)
	t.byAddr[row.Source] = append(t.byAddr[row.Source], row)
	t.rows++
	return nil
}

// check says what is wrong with the row.
func (r TrustedRow) check() error {
	_, err := r.compile()
	return err
}

func (r TrustedRow) compile() (trustedRow, error) {
	var errs []error
	bad := func(column, value string, err error) {
		errs = append(errs, &LoadError{Origin: r.Origin, Column: column, Value: value, Err: err})
	}
	if !r.Source.IsValid() {
		bad("source", "", errors.New("want an IPv4 or IPv6 address"))
	}
	if int(r.Proto) >= len(protoNames) {
		bad("proto", r.Proto.String(), errors.New("want a known protocol"))
	}
	expression := func(column, text string) (e ere.Expression) {
		if text == "" {
			return e
		}
		e, err := ere.CompileExpression(text, ere.TrustedSyntax)
		if err != nil {
			bad(column, text, err)
		}
		return e
	}
	row := trustedRow{TrustedRow: r, from: expression("from pattern", r.From), target: expression("target pattern", r.Target)}
	row.Source = plainAddr(r.Source)
	return row, errors.Join(errs...)
}

// AllowTrusted reports whether a row matches q. The decision names the row and
// holds its tag as Info. It does not allocate, unless a text that is compared
// differs from its canonical form or may dial another number.
func (t *TrustedTable) AllowTrusted(q TrustedQuery) Decision {
	d := Decision{Cause: CauseNoTrusted, Source: Source{Addr: q.Addr, Proto: q.Proto}}
	if t == nil || t.byAddr == nil {
		d.Cause = CauseNotLoaded
	}
	for r := range t.match(q) {
		d.Allowed, d.Cause, d.Origin, d.Info = true, CauseTrusted, r.Origin, r.Tag
		break
	}
	if t != nil && t.trace != nil {
		t.explain(q, d)
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
		asked := q.ask()
		for i := range rows {
			if rows[i].matches(&asked) && !yield(&rows[i]) {
				return
			}
		}
	}
}

// trustedAsk is a question while rows are asked about it.
type trustedAsk struct {
	TrustedQuery
	from, target trustedText
}

func (q TrustedQuery) ask() trustedAsk {
	return trustedAsk{q, trustedText{plain: q.From}, trustedText{plain: q.Target}}
}

func (r *trustedRow) matches(q *trustedAsk) bool {
	switch {
	case r.Proto == ProtoNone:
		return false
	case !q.AnyProto && r.Proto != ProtoAny && r.Proto != q.Proto:
		return false
	case !q.AnyProto && q.Proto == ProtoNone:
		return false
	}
	return (r.From == "" || q.from.matches(r.from)) && (r.Target == "" || q.target.matches(r.target))
}

// trustedText is a URI that patterns are asked about. A pattern is worth what
// an allow rule is: it must match the canonical text and every other number
// that the URI may dial, or "sip:1@dear.example?x=@cheap.example" would match
// "@cheap\.example". See decision trusted-canonical.
type trustedText struct {
	plain string
	made  bool // the texts are made when the first pattern asks
	texts texts
}

func (t *trustedText) matches(e ere.Expression) bool {
	if !t.made {
		t.made, t.texts = true, allTexts(t.plain, "", false)
	}
	if !t.texts.valid() || t.texts.odd || t.texts.unread {
		return false
	}
	for x := range t.texts.each() {
		if !e.MatchString(x.canonical) {
			return false
		}
	}
	return true
}

// Tracing returns t with every row of the address asked about recorded in
// into: for one question.
func (t *TrustedTable) Tracing(into *Trace) *TrustedTable { return t.tracing(&tracer{into: into}) }

func (t *TrustedTable) tracing(tr *tracer) *TrustedTable {
	next := TrustedTable{}
	if t != nil {
		next = *t
	}
	next.trace = tr
	return &next
}

func (t *TrustedTable) explain(q TrustedQuery, d Decision) {
	t.trace.into.Decision = d
	asked := q.ask()
	for i := range t.byAddr[plainAddr(q.Addr)] {
		r := &t.byAddr[plainAddr(q.Addr)][i]
		s := Step{Origin: r.Origin, Subject: q.From + " -> " + q.Target, Text: r.TrustedRow.String(), Matched: r.matches(&asked)}
		if !s.Matched {
			s.Note = "protocol or pattern does not match"
		}
		t.trace.step(s)
	}
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
// keep. Current, Status, Reload, Run and OnReload are those of [Part]. The zero
// Trusted refuses everything.
type Trusted struct{ Part[TrustedTable] }

// NewTrusted loads a trusted table that stands alone. A bad row is an error
// that names it, as all the others.
func NewTrusted(ctx context.Context, sources ...TrustedSource) (Trusted, error) {
	if err := checkSources("trusted", sources); err != nil {
		return Trusted{}, err
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
	if err := checkSources("trusted", sources); err != nil {
		return err
	}
	sources = slices.Clone(sources)
	p.trusted.Part = addPart(p, "trusted", func(ctx context.Context, old *TrustedTable) (loaded, error) {
		return loadTrusted(ctx, old, sources)
	})
	p.trusted.p.version = versions(sources)
	return nil
}

// AllowTrusted answers allow_trusted: does a row match the socket that r came
// from, its protocol, and From and Request-URI as they were sent? It is a
// [Check].
func (t Trusted) AllowTrusted(r Request) Decision {
	q, err := trustedQueryOf(r)
	if err != nil {
		return noSource()
	}
	d := asked(t.Part, r.at, r.trace).AllowTrusted(q)
	d.Source = r.Source
	return d
}

// trustedQueryOf gives the question that AllowTrusted asks about r. Without
// exactly one valid From, rows that have a pattern for it do not match; without
// a message, rows that have any.
func trustedQueryOf(r Request) (TrustedQuery, error) {
	if !r.Source.Addr.IsValid() {
		return TrustedQuery{}, ErrNoSource
	}
	q := TrustedQuery{Addr: r.Source.Addr, Proto: r.Source.Proto, From: "\x00", Target: "\x00"} // matched by no pattern
	if r.Request == nil {
		return q, nil
	}
	if from, _, ok := fromTo(r.Request); ok && strictParams(from.Params) {
		if text, ok := sourceText(&from.Address); ok {
			q.From = text
		}
	}
	if text, ok := sourceText(&r.Recipient); ok {
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
