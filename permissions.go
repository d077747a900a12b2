// Permissions: every part of one configuration, and nothing of their content.

package sipacl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says what [Open] loads. The zero Config has nothing in it.
type Config struct {
	// Partitions are the address tables. Two of the same name are an error.
	Partitions []PartitionConfig

	// Rules are the rule sets. Two of the same name are an error.
	Rules []RulesConfig

	// ACLs are the sources of named permit and deny lists, in this order: a
	// name that one of them defines hides the same name in those after it, as
	// acl.conf hides the realtime table.
	ACLs []ACLSource

	// Groups says who is in which group, if there are sources.
	Groups GroupConfig

	// Trusted are the sources of Kamailio's trusted table, if there is one.
	Trusted []TrustedSource

	// Logger hears of loads that succeed (Info), rows left out and last good
	// generations kept (Warn, Error). nil is silent.
	Logger *slog.Logger

	// Clock tells the time of loads; nil is time.Now. Checks read no clock.
	Clock func() time.Time
}

// Permissions is everything loaded from a [Config]. Its methods are safe for
// concurrent use; a nil one has nothing in it.
type Permissions struct {
	snap atomic.Pointer[Snapshot] // the only state that checks read

	partitions []Partition
	rules      []Rules
	acls       ACLs
	groups     Groups
	trusted    Trusted

	parts   []*part  // in the order of the configuration
	flights sync.Map // of reloads, by the parts they are about: see together
	log     *slog.Logger
	clock   func() time.Time

	mu   sync.Mutex // publishing, status and subscribers; checks never take it
	subs []*subscriber
}

// Snapshot is one generation of every part: immutable, valid for as long as
// it is held. A request handler that asks two questions takes one Snapshot
// and asks it both; see [Part.At].
type Snapshot struct {
	of   *Permissions
	gens []any // by part.index
}

// clone copies s with room for n parts, so that some can be exchanged.
func (s *Snapshot) clone(n int) *Snapshot {
	next := &Snapshot{of: s.of, gens: make([]any, n)}
	copy(next.gens, s.gens)
	return next
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
	var errs []error
	for _, c := range cfg.Partitions {
		errs = append(errs, p.addPartition(c))
	}
	errs = append(errs, p.addACLs(cfg.ACLs), p.addGroups(cfg.Groups))
	for _, c := range cfg.Rules {
		errs = append(errs, p.addRules(c))
	}
	errs = append(errs, p.addTrusted(cfg.Trusted))
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.snap.Store(&Snapshot{of: p, gens: make([]any, len(p.parts))})
	if _, err := p.Reload(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Partition returns the handle of a partition; "" is the one without a name,
// "default". A name that is not configured gives an error that wraps
// [ErrUnknown].
func (p *Permissions) Partition(name string) (Partition, error) {
	if p == nil {
		p = &Permissions{}
	}
	return named(p.partitions, partitionKind, orDefault(name, defaultPartition))
}

// Partitions yields the partitions in the order of the configuration.
func (p *Permissions) Partitions() iter.Seq[Partition] {
	if p == nil {
		return func(func(Partition) bool) {}
	}
	return slices.Values(p.partitions)
}

// Rules returns the handle of a rule set; "" is the one without a name,
// "permissions". A name that is not configured gives an error that wraps
// [ErrUnknown].
func (p *Permissions) Rules(name string) (Rules, error) {
	if p == nil {
		p = &Permissions{}
	}
	return named(p.rules, rulesKind, orDefault(name, defaultRules))
}

// ACLs returns the handle of the named ACLs; the zero ACLs, which knows no
// name, if none are configured.
func (p *Permissions) ACLs() ACLs {
	if p == nil {
		return ACLs{}
	}
	return p.acls
}

// Groups returns the handle of the groups; the zero Groups, which refuses
// everything, if none are configured.
func (p *Permissions) Groups() Groups {
	if p == nil {
		return Groups{}
	}
	return p.groups
}

// Trusted returns the handle of the trusted table; the zero Trusted, which
// refuses everything, if none is configured.
func (p *Permissions) Trusted() Trusted {
	if p == nil {
		return Trusted{}
	}
	return p.trusted
}

// The kinds of parts that have names: "address:default".
const (
	partitionKind = "address:"
	rulesKind     = "rules:"
)

// named finds a handle by its kind and name.
func named[H interface{ Name() string }](all []H, kind, name string) (h H, err error) {
	var known []string
	for _, h := range all {
		if h.Name() == kind+name {
			return h, nil
		}
		known = append(known, strings.TrimPrefix(h.Name(), kind))
	}
	return h, fmt.Errorf("sipacl: %w", unknown(kind, name, known))
}

// unknown is the error for a name that is none of those known.
func unknown(kind, name string, known []string) error {
	const most = 20
	if len(known) > most {
		known = append(known[:most:most], "...")
	}
	if len(known) == 0 {
		known = []string{"none is configured"}
	}
	return fmt.Errorf("%s%s: %w (known: %s)", kind, printable(name), ErrUnknown, printable(strings.Join(known, ", ")))
}

// Snapshot returns the generations in service, with one atomic load.
func (p *Permissions) Snapshot() *Snapshot {
	if p == nil {
		return nil
	}
	return p.snap.Load()
}

// Reload loads the named parts anew, or all of them without names, and puts
// them in service together: if one fails, none is exchanged, and the error
// says everything that is wrong in any of them. See [Part.Name] for the names.
// What is held back says so in its [Status]. Parts that should not wait for
// each other are reloaded one by one.
//
// When Reload returns nil, every change committed before its call is in
// service. Concurrent calls for the same parts share loads: any number at once
// cost at most two, and a caller whose context ends does not fail the others.
// Reload has no timeout of its own: give it a context with a deadline, because
// it holds up other loads of its parts.
func (p *Permissions) Reload(ctx context.Context, parts ...string) ([]ReloadReport, error) {
	if p == nil {
		return nil, errNotOpened
	}
	which, err := p.named(parts)
	if err != nil {
		return nil, err
	}
	return p.reload(ctx, which)
}

// named returns the parts of these names, or all of them without names.
func (p *Permissions) named(names []string) ([]*part, error) {
	if len(names) == 0 {
		return p.parts, nil
	}
	var parts []*part
	for _, name := range names {
		i := slices.IndexFunc(p.parts, func(q *part) bool { return q.name == name })
		if i < 0 {
			var known []string
			for _, q := range p.parts {
				known = append(known, q.name)
			}
			return nil, fmt.Errorf("sipacl: %w", unknown("part ", name, known))
		}
		parts = append(parts, p.parts[i])
	}
	return parts, nil
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
