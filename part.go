// Part: source, build, swap, for every list. Reloads of several are one swap.

package sipacl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sipacl/sipacl/internal/digest"
	"github.com/sipacl/sipacl/internal/flight"
)

// Part is a list that is loaded, exchanged and watched by itself: what every
// handle consists of. It is a small value, valid across reloads and safe for
// concurrent use. The zero Part has nothing in service.
type Part[T any] struct{ p *part }

// Current returns the generation in service; nil, which refuses, if there is
// none. A check of a handle reads it anew each time: to ask two questions of
// one generation, keep it, or see [Request.At].
func (h Part[T]) Current() *T {
	if h.p == nil {
		return nil
	}
	return h.At(h.p.perm.snap.Load())
}

// At returns the generation in s; nil, which refuses, if s is not of the
// Permissions that the part belongs to.
func (h Part[T]) At(s *Snapshot) *T {
	if h.p == nil || s == nil || s.of != h.p.perm {
		return nil
	}
	t, _ := s.gens[h.p.index].(*T)
	return t
}

// Name returns the name of the part, the one that [Permissions.Reload] takes:
// "address:default", "rules:register", "acl", "group" or "trusted".
func (h Part[T]) Name() string {
	if h.p == nil {
		return ""
	}
	return h.p.name
}

// Reload loads the part anew and puts it in service; see [Permissions.Reload].
// On error the generation in service stays.
func (h Part[T]) Reload(ctx context.Context) (ReloadReport, error) {
	if h.p == nil {
		return ReloadReport{}, errNotOpened
	}
	reports, err := h.p.perm.reload(ctx, []*part{h.p})
	if err != nil {
		return ReloadReport{}, err
	}
	return reports[0], nil
}

// Run keeps the part fresh until ctx ends; see [Permissions.Run]. The Parts of
// cfg are not read.
func (h Part[T]) Run(ctx context.Context, cfg RunConfig) error {
	if h.p == nil {
		return errNotOpened
	}
	cfg.Parts = []string{h.p.name}
	return h.p.perm.Run(ctx, cfg)
}

// Status tells what is in service and how fresh it is.
func (h Part[T]) Status() Status {
	if h.p == nil {
		return Status{}
	}
	return h.p.perm.status(h.p)
}

// OnReload calls f after each load of the part that put a generation in
// service; see [Permissions.OnReload].
func (h Part[T]) OnReload(f func(ReloadReport)) (stop func()) {
	if h.p == nil {
		return func() {}
	}
	return h.p.perm.subscribe(h.p, f)
}

// errNotOpened is what a zero handle says to a reload.
var errNotOpened = errors.New("sipacl: not opened")

// part is what is behind every Part of one list.
type part struct {
	perm   *Permissions
	index  int    // in Snapshot.gens
	name   string // "address:default"
	load   func(ctx context.Context) (loaded, error)
	flight *flight.Flight[[]ReloadReport]

	// version tells the version of the content, if the sources have one; else
	// it is nil or returns "".
	version func(ctx context.Context) (string, error)

	// guarded by Permissions.mu
	status   Status
	sum      string         // of the generation in service
	places   map[string]int // its entries, by where they stand
	resolved int            // of its entries, those that names brought
}

// loaded is a generation that is not in service yet, and what there is to say
// of it.
type loaded struct {
	gen      generation
	content  content
	entries  int
	resolved int            // entries that names brought, and not rows of a source
	places   map[string]int // entries by Origin.Name: which source, which file
	names    []NameStatus
	skipped  []*LoadError
	warnings []string
	changed  []string // names within the part; see ReloadReport
	added    int      // compared with the generation in service
	removed  int
	sum      string // tells one generation from another; loadSafely sets it
}

// content identifies what a generation was built from, while it is built.
type content struct {
	rows digest.Hash // what the sources say: the same on every machine
	rest digest.Hash // where they say it, and what names lead to: news, but no other content
}

// at notes where a row stands.
func (c *content) at(o Origin) {
	c.rest.Text(o.Name)
	c.rest.Number(uint64(o.Line))
	c.rest.Number(uint64(o.Col)<<8 | uint64(o.Unit))
}

// sum is all that makes a generation another one: a row that is left out is
// news too.
func (c *content) sum(skipped []*LoadError) string {
	for _, e := range skipped {
		c.rest.Text(e.Error())
	}
	return c.rows.String() + c.rest.String()
}

// countDiff counts what only next and what only old yields. What is there
// twice counts twice.
func countDiff[K comparable](old, next iter.Seq[K]) (added, removed int) {
	count := map[K]int{}
	for k := range next {
		count[k]++
	}
	for k := range old {
		count[k]--
	}
	for _, n := range count {
		added += max(n, 0)
		removed += max(-n, 0)
	}
	return added, removed
}

// generation is what a part has in service. It does not change once it has its
// number.
type generation interface{ number(n uint64) }

// addPart makes a part. load builds the generation that follows old, which is
// nil at first.
func addPart[T any](p *Permissions, name string, load func(ctx context.Context, old *T) (loaded, error)) Part[T] {
	q := &part{perm: p, index: len(p.parts), name: name, flight: flight.New[[]ReloadReport](), status: Status{Part: name}}
	q.load = func(ctx context.Context) (loaded, error) { return load(ctx, Part[T]{q}.At(p.snap.Load())) }
	p.parts = append(p.parts, q)
	return Part[T]{q}
}

// loadSafely loads the part. A panic, of a driver or a caller's source, is an
// error, and so is the end of ctx: what came until then may be half of it.
func (q *part) loadSafely(ctx context.Context) (l loaded, err error) {
	defer recoverLoad(&err)
	if l, err = q.load(ctx); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return loaded{}, err
	}
	l.sum = l.content.sum(l.skipped)
	return l, nil
}

// versionNow asks for the version of the content, "" if the sources have none.
func (q *part) versionNow(ctx context.Context) (v string, err error) {
	if q.version == nil {
		return "", nil
	}
	defer recoverLoad(&err)
	return q.version(ctx)
}

func recoverLoad(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic while loading: %v", v)
	}
}

// reload loads parts and exchanges all of them or none. Calls for the same
// parts share loads.
func (p *Permissions) reload(ctx context.Context, parts []*part) ([]ReloadReport, error) {
	parts = slices.Clone(parts)
	slices.SortFunc(parts, func(a, b *part) int { return cmp.Compare(a.index, b.index) }) // turns are taken in one order
	parts = slices.Compact(parts)
	reports, err, led := p.together(parts).Do(ctx, func(ctx context.Context) (reports []ReloadReport, err error) {
		err = alone(ctx, parts, func(ctx context.Context) error {
			reports, err = p.loadAndPublish(ctx, parts)
			return err
		})
		return reports, err
	})
	if led {
		p.announce(reports)
	}
	return slices.Clone(reports), err
}

// together is the flight of those who reload exactly these parts.
func (p *Permissions) together(parts []*part) *flight.Flight[[]ReloadReport] {
	var key strings.Builder
	for _, q := range parts {
		fmt.Fprintf(&key, "%d,", q.index)
	}
	f, _ := p.flights.LoadOrStore(key.String(), flight.New[[]ReloadReport]())
	return f.(*flight.Flight[[]ReloadReport])
}

// alone takes the turn of every part.
func alone(ctx context.Context, parts []*part, do func(context.Context) error) error {
	if len(parts) == 0 {
		return do(ctx)
	}
	return parts[0].flight.Alone(ctx, func(ctx context.Context) error { return alone(ctx, parts[1:], do) })
}

// loadAndPublish loads parts, whose turns the caller holds, and exchanges all
// of them or none.
func (p *Permissions) loadAndPublish(ctx context.Context, parts []*part) ([]ReloadReport, error) {
	began := p.clock()
	all, failed := make([]loaded, len(parts)), make([]error, len(parts))
	var why []error
	for i, q := range parts {
		if all[i], failed[i] = q.loadSafely(ctx); failed[i] != nil {
			why = append(why, fmt.Errorf("sipacl: %s: %w", q.name, failed[i]))
		}
	}
	err := errors.Join(why...)
	for i, q := range parts {
		if failed[i] == nil && err != nil {
			failed[i] = fmt.Errorf("loaded and held back: %w", err)
		}
		p.attempted(q, began, failed[i])
	}
	if err != nil {
		return nil, err
	}
	return p.publish(parts, all, began), nil
}

// attempted notes the outcome of an attempt that began then.
func (p *Permissions) attempted(q *part, began time.Time, err error) {
	p.mu.Lock()
	s := &q.status
	s.LastAttempt, s.LastError = began, err
	switch {
	case err == nil:
		s.VerifiedAt, s.FailingSince = began, time.Time{}
	case s.FailingSince.IsZero():
		s.FailingSince = began
	}
	generation := s.Generation
	p.mu.Unlock()

	switch {
	case err == nil:
	case errors.Is(err, ErrUnsettled):
		p.log.Warn("the generation in service stays until the next one stands", "part", q.name, "generation", generation)
	case generation == 0:
		p.log.Error("load failed, nothing is in service", "part", q.name, "err", err)
	default:
		p.log.Error("load failed, the generation in service stays", "part", q.name, "generation", generation, "err", err)
	}
}

// publish puts all in service, with one swap. The caller holds the turns of
// parts.
func (p *Permissions) publish(parts []*part, all []loaded, began time.Time) []ReloadReport {
	reports := p.swap(parts, all, began, p.clock())
	// A log handler may ask for the Status: it is called without the lock.
	for i, r := range reports {
		p.log.Info("loaded", "part", r.Part, "generation", r.Generation, "entries", r.Entries,
			"added", r.Added, "removed", r.Removed, "took", r.Took)
		for _, e := range all[i].skipped {
			p.log.Warn("row left out", "part", r.Part, "err", e)
		}
		for _, w := range all[i].warnings {
			p.log.Warn(w, "part", r.Part)
		}
	}
	return reports
}

func (p *Permissions) swap(parts []*part, all []loaded, began, now time.Time) []ReloadReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.snap.Load().clone(len(p.parts))
	reports := make([]ReloadReport, len(parts))
	for i, q := range parts {
		l, s := &all[i], &q.status
		s.Generation++
		l.gen.number(s.Generation)
		next.gens[q.index] = l.gen
		q.sum, q.resolved, q.places = l.sum, l.resolved, l.places
		s.Entries, s.Skipped, s.Names, s.LoadedAt, s.Digest = l.entries, len(l.skipped), l.names, now, l.content.rows.String()
		reports[i] = ReloadReport{
			Part: q.name, Generation: s.Generation, Entries: l.entries, Changed: l.changed,
			Added: l.added, Removed: l.removed, Skipped: l.skipped, Warnings: l.warnings, Took: now.Sub(began),
		}
	}
	p.snap.Store(next)
	return reports
}

// ReloadReport tells what a load put in service.
type ReloadReport struct {
	Part       string // "address:default"
	Generation uint64 // counts the loads of the part, from 1
	Entries    int
	Added      int // compared with the generation before
	Removed    int
	Changed    []string     // the names that changed, for parts that hold named things
	Skipped    []*LoadError // rows left out; see [SkipBad]
	Warnings   []string     // what loads but is likely not meant
	Took       time.Duration
}

// Status tells what is in service, how fresh it is, and what the last attempt
// to renew it met.
type Status struct {
	Part         string
	Generation   uint64 // 0: never loaded, every check refuses
	Entries      int
	Skipped      int
	Digest       string        // of the content as its sources gave it, the same on every machine
	LoadedAt     time.Time     // when this generation was put in service
	VerifiedAt   time.Time     // when the sources were last read without an error, or said that nothing changed
	Age          time.Duration // since VerifiedAt; 0 if there is no generation
	FailingSince time.Time     // the first of the attempts that failed since then; zero if the last one was good
	LastAttempt  time.Time
	LastError    error // of the last attempt; nil if it succeeded

	Names []NameStatus // what the host names of the table lead to, if they are resolved
}

// MarshalJSON gives the status as metrics want it: ages in seconds, errors as
// text, and what there is none of left out. To publish it:
//
//	expvar.Publish("sipacl", expvar.Func(func() any { return perm.Status() }))
func (s Status) MarshalJSON() ([]byte, error) {
	type name struct {
		Name  string       `json:"name"`
		Addrs []netip.Addr `json:"addrs"`
		Error string       `json:"error,omitempty"`
	}
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	var names []name
	for _, n := range s.Names {
		names = append(names, name{n.Name, n.Addrs, text(n.Err)})
	}
	return json.Marshal(struct {
		Part         string    `json:"part"`
		Generation   uint64    `json:"generation"`
		Entries      int       `json:"entries"`
		Skipped      int       `json:"skipped"`
		Digest       string    `json:"digest,omitempty"`
		LoadedAt     time.Time `json:"loaded_at,omitzero"`
		VerifiedAt   time.Time `json:"verified_at,omitzero"`
		Age          float64   `json:"age_seconds"`
		FailingSince time.Time `json:"failing_since,omitzero"`
		LastAttempt  time.Time `json:"last_attempt,omitzero"`
		LastError    string    `json:"last_error,omitempty"`
		Names        []name    `json:"names,omitempty"`
	}{
		s.Part, s.Generation, s.Entries, s.Skipped, s.Digest, s.LoadedAt, s.VerifiedAt, s.Age.Seconds(),
		s.FailingSince, s.LastAttempt, text(s.LastError), names,
	})
}

func (p *Permissions) status(q *part) Status {
	now := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := q.status
	if s.Generation > 0 {
		s.Age = max(now.Sub(s.VerifiedAt), 0) // a clock may be set back
	}
	return s
}

type subscriber struct {
	part *part // nil: every part
	f    func(ReloadReport)
}

func (p *Permissions) subscribe(q *part, f func(ReloadReport)) (stop func()) {
	s := &subscriber{q, f}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs = append(p.subs, s)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.subs = slices.DeleteFunc(p.subs, func(t *subscriber) bool { return t == s })
	}
}

// announce calls the subscribers without holding a lock, so that they may
// ask, reload, subscribe and stop.
func (p *Permissions) announce(reports []ReloadReport) {
	p.mu.Lock()
	subs := slices.Clone(p.subs)
	p.mu.Unlock()
	for _, r := range reports {
		for _, s := range subs {
			if s.part == nil || s.part.name == r.Part {
				s.f(r)
			}
		}
	}
}
