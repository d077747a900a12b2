// An address table in service, and its checks.

package sipacl

import (
	"context"
	"fmt"
	"slices"

	"github.com/sipacl/sipacl/internal/rowindex"
)

// defaultPartition is the name of a partition without one.
const defaultPartition = "default"

// PartitionConfig names one address table and says where its rows come from.
type PartitionConfig struct {
	Name    string          // "" is "default"
	Sources []AddressSource // at least one; their rows are joined in this order
	Resolve *ResolveConfig  // nil: host names are compared as names only
}

// Partition is a named address table in service: the handle that request
// handlers keep. Current, Status, Reload, Run and OnReload are those of [Part].
// The zero Partition refuses everything.
type Partition struct{ Part[Table] }

// NewPartition loads one partition that stands alone, named "address:default".
// A bad row is an error that names it, as all the others.
func NewPartition(ctx context.Context, sources ...AddressSource) (Partition, error) {
	perm, err := Open(ctx, Config{Partitions: []PartitionConfig{{Sources: sources}}})
	if err != nil {
		return Partition{}, err
	}
	return perm.partitions[0], nil
}

// addPartition makes the part of one partition.
func (p *Permissions) addPartition(cfg PartitionConfig) error {
	cfg.Name = orDefault(cfg.Name, defaultPartition)
	if _, err := p.Partition(cfg.Name); err == nil {
		return fmt.Errorf("sipacl: %s%s: defined twice", partitionKind, printable(cfg.Name))
	}
	if err := checkSources(partitionKind+printable(cfg.Name), cfg.Sources); err != nil {
		return err
	}
	sources := slices.Clone(cfg.Sources)
	var n *names
	if cfg.Resolve != nil {
		n = newNames(*cfg.Resolve, p.clock)
	}
	part := addPart(p, partitionKind+cfg.Name, func(ctx context.Context, old *Table) (loaded, error) {
		return loadTable(ctx, old, sources, n)
	})
	if n == nil { // names change while their table does not
		part.p.version = versions(sources)
	}
	p.partitions = append(p.partitions, Partition{part})
	return nil
}

// CheckSourceAddress answers check_source_address and allow_source_address:
// is the socket that r came from in group? Rows with a pattern are compared
// with subject; "" leaves patterns unasked, as those functions do without
// their pattern argument. A request without a socket is refused.
func (p Partition) CheckSourceAddress(r Request, group GroupID, subject string) (d Decision) {
	if !r.Source.Addr.IsValid() {
		return noSource()
	}
	q := r.Source.query(group)
	if q.Subject = subject; subject == "" {
		q.Any = AnySubject
	}
	asked(p.Part, r.at, r.trace).check(&d, &q)
	return d
}

// SourceGroup answers get_source_group and allow_source_address_group: the
// decision holds the group of the most specific row that matches the socket
// that r came from, its port and protocol; patterns are not asked. To hear
// all groups, see [Table.Groups]. It is a [Check].
func (p Partition) SourceGroup(r Request) Decision {
	if !r.Source.Addr.IsValid() {
		return noSource()
	}
	return asked(p.Part, r.at, r.trace).AddressGroup(r.Source)
}

// Sources returns the check "the socket that the request came from is in one
// of groups". The decision is that of the most specific row among them: what a
// handler bills by. Patterns are not asked. Without groups it refuses
// everything; see AnySource.
func (p Partition) Sources(groups ...GroupID) Check {
	return p.sources(sourceGroups{list: slices.Clone(groups)})
}

// AnySource returns the check "the socket that the request came from matches
// some row, of whichever group".
func (p Partition) AnySource() Check {
	return p.sources(sourceGroups{any: true})
}

func (p Partition) sources(groups sourceGroups) Check {
	return func(r Request) (d Decision) {
		if !r.Source.Addr.IsValid() {
			return noSource()
		}
		groups.check(&d, asked(p.Part, r.at, r.trace), &r.Source)
		return d
	}
}

// sourceGroups are the groups that a source may be in.
type sourceGroups struct {
	list []GroupID
	any  bool
}

// check makes d, which is zero, the decision about s: that of the most
// specific row in one of the groups.
func (g *sourceGroups) check(d *Decision, t *Table, s *Source) {
	d.Source = *s
	if len(g.list) == 0 && !g.any {
		d.Info = "no group is listed"
		return
	}
	if !t.loaded() {
		d.Cause = CauseNotLoaded
	} else if i, ok := g.first(t, s); ok {
		t.decide(d, i)
	} else {
		d.Cause = CauseNoAddress
	}
	if t != nil && t.trace != nil {
		q := s.query(0)
		q.Any = AnyGroup | AnySubject
		t.explain(q, g.list, d)
	}
}

// first finds the row. A Query is not made: it would cost as much as the
// lookup.
func (g *sourceGroups) first(t *Table, s *Source) (i uint32, ok bool) {
	n := t.index.Longest(plainAddr(s.Addr))
	if n == 0 {
		return 0, false
	}
	q := rowindex.Question{Port: s.Port, Proto: uint8(s.Proto)}
	if g.any {
		q.Any = rowindex.AnyGroup
		return t.index.First(n, &q, everyPattern)
	}
	for _, group := range g.list {
		q.Group = uint32(group)
		if next, found := t.index.First(n, &q, everyPattern); found && (!ok || t.wins(next, i)) {
			i, ok = next, true
		}
	}
	return i, ok
}

// everyPattern leaves patterns unasked.
func everyPattern(uint32) bool { return true }
