package sipacl

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/emiago/sipgo/sip"
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
// handlers keep. The zero Partition refuses everything.
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

// CheckAddress answers check_address and allow_address: does a row match q?
// The decision names the row.
func (p Partition) CheckAddress(q Query) (d Decision) {
	p.Current().check(&d, &q)
	return d
}

// CheckSource is [Table.CheckSource] of the generation in service.
func (p Partition) CheckSource(s Source, group GroupID, subject string) (d Decision) {
	p.Current().checkSource(&d, s, group, subject)
	return d
}

// CheckSourceAddress answers check_source_address and allow_source_address:
// is the socket that req came from in group? A request without one is refused.
func (p Partition) CheckSourceAddress(req *sip.Request, group GroupID, subject string) (d Decision) {
	s, err := SourceOf(req)
	if err != nil {
		return Decision{Cause: CauseNoSource}
	}
	p.Current().checkSource(&d, s, group, subject)
	return d
}

// SourceGroup answers get_source_group and allow_source_address_group: the
// decision holds the group of the most specific row that matches the socket
// that req came from, its port and protocol; patterns are not asked. To hear
// all groups, see [Table.Groups].
func (p Partition) SourceGroup(req *sip.Request) Decision {
	s, err := SourceOf(req)
	if err != nil {
		return Decision{Cause: CauseNoSource}
	}
	return p.AddressGroup(s)
}

// AddressGroup is SourceGroup for any address: Kamailio's allow_address_group.
func (p Partition) AddressGroup(s Source) Decision { return p.Current().AddressGroup(s) }

// Groups yields the groups of s, each once; see [Table.Groups].
func (p Partition) Groups(s Source) iter.Seq[GroupID] { return p.Current().Groups(s) }

// Sources returns the check "the socket source of the request is in one of
// groups", for [Guard]. Without groups it refuses everything; see AnySource.
// Rows with a pattern are compared with the empty subject.
func (p Partition) Sources(groups ...GroupID) Check {
	return p.guard(sourceGroups{list: slices.Clone(groups)})
}

// AnySource returns the check "the socket source of the request matches some
// row, of whichever group".
func (p Partition) AnySource() Check {
	return p.guard(sourceGroups{any: true})
}

func (p Partition) guard(groups sourceGroups) Check {
	return func(req *sip.Request) (d Decision) {
		s, err := SourceOf(req)
		if err != nil {
			return Decision{Cause: CauseNoSource}
		}
		groups.check(&d, p.Current(), s)
		return d
	}
}

// Allow is Sources in the shape that [ReadFilter], [NewListener] and
// [NewPacketConn] take. Without groups it refuses everything.
func (p Partition) Allow(groups ...GroupID) func(Source) bool {
	return p.allow(sourceGroups{list: slices.Clone(groups)})
}

// AllowAny is AnySource in the shape that [ReadFilter] takes.
func (p Partition) AllowAny() func(Source) bool {
	return p.allow(sourceGroups{any: true})
}

func (p Partition) allow(groups sourceGroups) func(Source) bool {
	return func(s Source) bool {
		q := s.Query(0)
		_, ok := groups.first(p.Current(), &q)
		return ok
	}
}

// sourceGroups are the groups that a source may be in.
type sourceGroups struct {
	list []GroupID
	any  bool
}

// first finds the row that answers q, a question about a source, for the
// first group that holds it. It leaves that group in q.
func (g sourceGroups) first(t *Table, q *Query) (i uint32, ok bool) {
	if !t.loaded() {
		return 0, false
	}
	n := t.index.Longest(plainAddr(q.Addr))
	if n == 0 {
		return 0, false
	}
	if g.any {
		q.Any = AnyGroup
		return t.firstAt(n, q)
	}
	for _, q.Group = range g.list {
		if i, ok = t.firstAt(n, q); ok {
			break
		}
	}
	return i, ok
}

// check makes d, which is zero, the decision about s.
func (g sourceGroups) check(d *Decision, t *Table, s Source) {
	if len(g.list) == 0 && !g.any {
		d.Source, d.Info = s, "no group is listed"
		return
	}
	q := s.Query(0)
	i, ok := g.first(t, &q)
	t.conclude(d, &q, i, ok)
}
