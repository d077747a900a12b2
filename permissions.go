package sipacl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sipacl/sipacl/internal/swap"
)

// Config says what [Open] loads. The zero Config has nothing in it.
type Config struct {
	// Partitions are the address tables. Two of the same name are an error.
	Partitions []PartitionConfig

	// ACLs are the named permit and deny lists, if there are sources.
	ACLs ACLConfig

	// Groups says who is in which group, if there are sources.
	Groups GroupConfig

	// Rules are the rule sets. Two of the same name are an error.
	Rules []RulesConfig

	// Trusted are the sources of Kamailio's trusted table, if there is one.
	Trusted []TrustedSource

	// Logger hears of loads that succeed (Info), rows left out and last good
	// generations kept (Warn, Error). nil is silent.
	Logger *slog.Logger

	// Clock tells the time of loads; nil is time.Now. Checks read no clock.
	Clock func() time.Time
}

// Permissions is everything loaded from a [Config]. Its methods are safe for
// concurrent use.
type Permissions struct {
	snap atomic.Pointer[Snapshot] // the only state that checks read

	partitions []*Partition
	acls       *ACLs
	groups     *Groups
	rules      []*Rules
	trusted    *Trusted
	parts      []*part
	log        *slog.Logger
	clock      func() time.Time

	mu   sync.Mutex // publishing, status and subscribers; checks never take it
	subs []*subscriber
}

// Snapshot is one generation of every part: immutable, valid for as long as
// it is held. A request handler that asks two questions takes one Snapshot
// and asks it both.
type Snapshot struct {
	of       *Permissions
	tables   []*Table // by Partition.index
	acls     *ACLSet
	groups   *GroupTable
	ruleSets []*RuleSet // by Rules.index
	trusted  *TrustedTable
}

// Table returns the table of p in this snapshot; nil, which refuses
// everything, if p is not of the Permissions the snapshot was taken from.
func (s *Snapshot) Table(p *Partition) *Table {
	if s == nil || p == nil || p.perm == nil || s.of != p.perm {
		return nil
	}
	return s.tables[p.index]
}

// part is what can be reloaded by itself.
type part struct {
	name   string // "address:default"
	load   func(ctx context.Context) (loaded, error)
	flight *swap.Flight[ReloadReport]

	// version tells the version of the content, if the source has one; else
	// it is nil or returns "".
	version func(ctx context.Context) (string, error)

	// guarded by Permissions.mu
	status   Status
	sum      uint64 // of the content in service
	resolved int    // of its entries, those that names brought
}

// loaded is a generation that is not in service yet.
type loaded struct {
	entries  int
	resolved int    // entries that names brought, and not rows of a source
	sum      uint64 // of the content: equal sums are equal content
	skipped  []*LoadError
	warnings []string
	changed  []string // names within the part; see ReloadReport
	added    int      // compared with the generation in service
	removed  int
	// install puts the generation into next, a copy of the snapshot in
	// service. It must not block.
	install func(next *Snapshot, generation uint64)
}

// ReloadReport tells what a load put in service.
type ReloadReport struct {
	Part       string // "address:default"
	Generation uint64 // counts the loads of the part, from 1
	Entries    int
	Added      int // compared with the generation before
	Removed    int
	Changed    []string     // the names that changed, for parts that hold named things
	Skipped    []*LoadError // rows left out under SkipBad
	Warnings   []string     // what loads but is likely not meant
	Took       time.Duration
}

// Status tells what is in service, how fresh it is, and what the last attempt
// to renew it met.
type Status struct {
	Part        string
	Generation  uint64 // 0: never loaded, every check refuses
	Entries     int
	Skipped     int
	LoadedAt    time.Time     // of the generation in service
	Age         time.Duration // since LoadedAt
	LastAttempt time.Time
	LastError   error // of the last attempt; nil if it succeeded

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
		Part        string    `json:"part"`
		Generation  uint64    `json:"generation"`
		Entries     int       `json:"entries"`
		Skipped     int       `json:"skipped"`
		LoadedAt    time.Time `json:"loaded_at,omitzero"`
		Age         float64   `json:"age_seconds"`
		LastAttempt time.Time `json:"last_attempt,omitzero"`
		LastError   string    `json:"last_error,omitempty"`
		Names       []name    `json:"names,omitempty"`
	}{s.Part, s.Generation, s.Entries, s.Skipped, s.LoadedAt, s.Age.Seconds(), s.LastAttempt, text(s.LastError), names})
}

// Open loads every part of cfg. It fails if any part does, with every error
// of every part: a server should not start with half its rules.
func Open(ctx context.Context, cfg Config) (*Permissions, error) {
	p := &Permissions{log: cfg.Logger, clock: cfg.Clock}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if p.clock == nil {
		p.clock = time.Now
	}
	p.snap.Store(&Snapshot{of: p, tables: make([]*Table, len(cfg.Partitions)), ruleSets: make([]*RuleSet, len(cfg.Rules))})
	var errs []error
	for _, c := range cfg.Partitions {
		errs = append(errs, p.addPartition(c))
	}
	errs = append(errs, p.addACLs(cfg.ACLs))
	errs = append(errs, p.addGroups(cfg.Groups))
	for _, c := range cfg.Rules {
		errs = append(errs, p.addRules(c))
	}
	errs = append(errs, p.addTrusted(cfg.Trusted))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if _, err := p.Reload(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Permissions) addPartition(cfg PartitionConfig) error {
	if cfg.Name == "" {
		cfg.Name = DefaultPartition
	}
	if _, err := p.Partition(cfg.Name); err == nil {
		return fmt.Errorf("sipacl: partition %q: defined twice", cfg.Name)
	}
	if len(cfg.Sources) == 0 || slices.Contains(cfg.Sources, nil) {
		return fmt.Errorf("sipacl: partition %q: want a source", cfg.Name)
	}
	i, sources := len(p.partitions), slices.Clone(cfg.Sources)
	part := p.addPart("address:"+cfg.Name, nil)
	part.load = func(ctx context.Context) (loaded, error) {
		return p.loadTable(ctx, i, join(ctx, sources, AddressSource.Addresses))
	}
	part.version = versions(sources)
	if cfg.Resolve != nil {
		n := newNames(*cfg.Resolve, p.clock)
		part.load = func(ctx context.Context) (loaded, error) {
			l, err := p.loadTable(ctx, i, n.resolve(ctx, join(ctx, sources, AddressSource.Addresses)))
			if err == nil { // else rows may not have been read, and their names not used
				p.resolved(part, n)
			}
			l.resolved = n.rows
			return l, err
		}
		part.version = nil // names change while their table does not
	}
	p.partitions = append(p.partitions, &Partition{name: cfg.Name, perm: p, index: i, part: part})
	return nil
}

// loadTable builds the next generation of partition i.
func (p *Permissions) loadTable(ctx context.Context, i int, rows iter.Seq2[AddressRow, error]) (loaded, error) {
	old := p.snap.Load().tables[i]
	t, errs := buildTable(rows, old.Len()+old.Len()/64)
	l := loaded{entries: t.Len(), sum: t.sum(), warnings: t.suspect}
	fatal := false
	for _, err := range errs {
		if e, ok := err.(*LoadError); ok && e.Skipped {
			l.skipped = append(l.skipped, e)
		} else {
			fatal = true
		}
	}
	if fatal {
		return loaded{}, errors.Join(errs...)
	}
	for _, e := range l.skipped { // a row that is left out is news too
		l.sum = l.sum*31 + maphash.String(tableSeed, e.Error())
	}
	diff(old, t, func(AddressRow) { l.added++ }, func(AddressRow) { l.removed++ })
	l.install = func(next *Snapshot, generation uint64) {
		t.gen = generation
		next.tables[i] = t
	}
	return l, nil
}

// resolved notes what the names of a part lead to.
func (p *Permissions) resolved(q *part, n *names) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.status.Names = n.status()
}

// join yields the rows of every source, one source after the other.
func join[S, R any](ctx context.Context, sources []S, rows func(S, context.Context) iter.Seq2[R, error]) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for _, s := range sources {
			for r, err := range rows(s, ctx) {
				if !yield(r, err) {
					return
				}
			}
		}
	}
}

func (p *Permissions) addPart(name string, load func(context.Context) (loaded, error)) *part {
	q := &part{name: name, load: load, flight: swap.New[ReloadReport](), status: Status{Part: name}}
	p.parts = append(p.parts, q)
	return q
}

// Snapshot returns the generations in service, with one atomic load.
func (p *Permissions) Snapshot() *Snapshot {
	if p == nil {
		return nil
	}
	return p.snap.Load()
}

// Partition returns the handle of a partition; "" is the default one. A name
// that is not configured gives an error that wraps [ErrUnknown].
func (p *Permissions) Partition(name string) (*Partition, error) {
	if name == "" {
		name = DefaultPartition
	}
	for q := range p.Partitions() {
		if q.name == name {
			return q, nil
		}
	}
	return nil, fmt.Errorf("sipacl: partition %q: %w", name, ErrUnknown)
}

// Partitions yields the partitions in the order of the configuration.
func (p *Permissions) Partitions() iter.Seq[*Partition] {
	if p == nil {
		return func(func(*Partition) bool) {}
	}
	return slices.Values(p.partitions)
}

// Reload loads the named parts anew, or all of them without names, and puts
// each in service as its load succeeds. A part whose load fails keeps its
// generation, and its error is joined to the one returned. Parts are called
// "address:NAME", "rules:NAME", "trusted", "acl" and "group".
//
// When Reload returns nil, every change committed before its call is in
// service. Concurrent calls share loads: any number at once cost at most two,
// and a caller whose context ends does not fail the others.
func (p *Permissions) Reload(ctx context.Context, names ...string) ([]ReloadReport, error) {
	if p == nil {
		return nil, errNotOpened
	}
	parts, err := p.named(names)
	if err != nil {
		return nil, err
	}
	var reports []ReloadReport
	var errs []error
	for _, q := range parts {
		r, err := p.reload(ctx, q)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		reports = append(reports, r)
	}
	return reports, errors.Join(errs...)
}

// errNotOpened is what a nil or zero handle says to a reload.
var errNotOpened = errors.New("sipacl: not opened")

// reload is Reload of one part.
func (p *Permissions) reload(ctx context.Context, q *part) (ReloadReport, error) {
	report, err, led := q.flight.Do(ctx, func(ctx context.Context) (ReloadReport, error) {
		return p.loadAndPublish(ctx, q)
	})
	if err != nil {
		return ReloadReport{}, fmt.Errorf("sipacl: %s: %w", q.name, err)
	}
	if led {
		p.announce(q, report)
	}
	return report, nil
}

func (p *Permissions) loadAndPublish(ctx context.Context, q *part) (report ReloadReport, err error) {
	began := p.clock()
	l, err := q.loadSafely(ctx)
	if err == nil {
		err = ctx.Err() // what a cancelled load brought may be half of it
	}
	p.attempted(q, began, err)
	if err != nil {
		return ReloadReport{}, err
	}
	return p.publish(q, l, began), nil
}

// attempted notes the outcome of a load that began then.
func (p *Permissions) attempted(q *part, began time.Time, err error) {
	p.mu.Lock()
	q.status.LastAttempt, q.status.LastError = began, err
	generation := q.status.Generation
	p.mu.Unlock()
	switch {
	case errors.Is(err, ErrUnsettled):
		p.log.Warn("the generation in service stays until the next one stands", "part", q.name, "generation", generation)
	case err != nil:
		p.log.Error("load failed, the generation in service stays", "part", q.name, "generation", generation, "err", err)
	}
}

// publish puts l in service. The caller holds the turn of q's flight.
func (p *Permissions) publish(q *part, l loaded, began time.Time) ReloadReport {
	report := p.swap(q, l, began, p.clock())
	// A log handler may ask for the Status: it is called without the lock.
	p.log.Info("loaded", "part", q.name, "generation", report.Generation, "entries", l.entries,
		"added", report.Added, "removed", report.Removed, "took", report.Took)
	for _, e := range l.skipped {
		p.log.Warn("row left out", "part", q.name, "err", e)
	}
	for _, w := range l.warnings {
		p.log.Warn(w, "part", q.name)
	}
	return report
}

func (p *Permissions) swap(q *part, l loaded, began, now time.Time) ReloadReport {
	p.mu.Lock()
	defer p.mu.Unlock()
	report := ReloadReport{
		Part: q.name, Generation: q.status.Generation + 1, Entries: l.entries, Changed: l.changed,
		Added: l.added, Removed: l.removed, Skipped: l.skipped, Warnings: l.warnings, Took: now.Sub(began),
	}
	next := p.snap.Load().clone()
	l.install(next, report.Generation)
	p.snap.Store(next)
	q.sum, q.resolved = l.sum, l.resolved
	q.status.Generation, q.status.Entries, q.status.Skipped, q.status.LoadedAt = report.Generation, l.entries, len(l.skipped), now
	return report
}

// sum identifies the content in service.
func (p *Permissions) sum(q *part) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return q.sum
}

// shrunk is the refusal of a generation that has lost more than the share most
// of the rows in service. What names lead to comes and goes by itself, and
// neither hides nor is a loss.
func (p *Permissions) shrunk(q *part, l loaded, most float64) error {
	p.mu.Lock()
	was := q.status.Entries - q.resolved
	p.mu.Unlock()
	if lost := was - (l.entries - l.resolved); most > 0 && float64(lost) > most*float64(was) {
		return fmt.Errorf("%w: %d of %d", ErrShrunk, lost, was)
	}
	return nil
}

// versionNow asks for the version of the content, "" if the source has none.
func (q *part) versionNow(ctx context.Context) (v string, err error) {
	if q.version == nil {
		return "", nil
	}
	defer recoverLoad(&err)
	return q.version(ctx)
}

// loadSafely turns a panic, of a driver or a caller's source, into an error.
func (q *part) loadSafely(ctx context.Context) (l loaded, err error) {
	defer recoverLoad(&err)
	return q.load(ctx)
}

func recoverLoad(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic while loading: %v", v)
	}
}

// clone copies s, so that one part can be exchanged.
func (s *Snapshot) clone() *Snapshot {
	next := *s
	next.tables = slices.Clone(s.tables)
	next.ruleSets = slices.Clone(s.ruleSets)
	return &next
}

// Status tells the state of every part, in the order of the configuration.
func (p *Permissions) Status() []Status {
	if p == nil {
		return nil
	}
	all := make([]Status, len(p.parts))
	for i, q := range p.parts {
		all[i] = p.status(q)
	}
	return all
}

func (p *Permissions) status(q *part) Status {
	now := p.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := q.status
	if s.Generation > 0 {
		s.Age = max(now.Sub(s.LoadedAt), 0) // a clock may be set back
	}
	return s
}

type subscriber struct {
	part *part // nil: every part
	f    func(ReloadReport)
}

// OnReload calls f after each load of any part that put a generation in
// service, on the goroutine that reloaded: a slow f delays that caller of
// Reload, never a check. Reports of concurrent reloads may come out of order;
// Generation tells. stop ends the calls.
func (p *Permissions) OnReload(f func(ReloadReport)) (stop func()) {
	if p == nil {
		return func() {}
	}
	return p.subscribe(nil, f)
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
func (p *Permissions) announce(q *part, report ReloadReport) {
	p.mu.Lock()
	subs := slices.Clone(p.subs)
	p.mu.Unlock()
	for _, s := range subs {
		if s.part == nil || s.part == q {
			s.f(report)
		}
	}
}
