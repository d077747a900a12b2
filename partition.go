package sipacl

import (
	"context"
	"iter"
	"slices"

	"github.com/emiago/sipgo/sip"
)

// DefaultPartition is the partition meant when no name is given.
const DefaultPartition = "default"

// PartitionConfig names one address table and says where its rows come from.
type PartitionConfig struct {
	Name    string          // "" is [DefaultPartition]
	Sources []AddressSource // at least one; their rows are joined in this order
	Resolve *ResolveConfig  // nil: host names are compared as names only
}

// Partition is a named address table in service: the handle that request
// handlers keep. It stays valid across reloads and is safe for concurrent
// use. The zero Partition and a nil one refuse everything.
//
// Each check reads the [Table] in service at that moment. To ask two
// questions of one generation, take a [Snapshot] or the Table first.
type Partition struct {
	name  string
	perm  *Permissions
	index int
	part  *part
}

// NewPartition loads one partition that stands alone. A bad row is an error
// that names it, as all the others.
func NewPartition(ctx context.Context, cfg PartitionConfig) (*Partition, error) {
	perm, err := Open(ctx, Config{Partitions: []PartitionConfig{cfg}})
	if err != nil {
		return nil, err
	}
	return perm.partitions[0], nil
}

// MustPartition is [NewPartition] of rows in memory, for tests and examples.
// It panics on an error.
func MustPartition(rows ...AddressRow) *Partition {
	p, err := NewPartition(context.Background(), PartitionConfig{Sources: []AddressSource{AddressRows(rows)}})
	if err != nil {
		panic(err)
	}
	return p
}

// Name returns the name of the partition; "" for a nil or zero Partition.
func (p *Partition) Name() string {
	if p == nil {
		return ""
	}
	return p.name
}

// Table returns the generation in service.
func (p *Partition) Table() *Table {
	if !p.opened() {
		return nil
	}
	return p.perm.Snapshot().Table(p)
}

// opened tells a handle that a Permissions made from a nil or zero one.
func (p *Partition) opened() bool { return p != nil && p.perm != nil }

// CheckAddress answers check_address and allow_address: does a row match q?
// The decision names the row.
func (p *Partition) CheckAddress(q Query) (d Decision) {
	p.Table().check(&d, &q)
	return d
}

// CheckSource is [Table.CheckSource] of the generation in service.
func (p *Partition) CheckSource(s Source, group GroupID, subject string) (d Decision) {
	p.Table().checkSource(&d, s, group, subject)
	return d
}

// CheckSourceAddress answers check_source_address and allow_source_address:
// is the socket that req came from in group? A request without one is refused.
func (p *Partition) CheckSourceAddress(req *sip.Request, group GroupID, subject string) (d Decision) {
	s, err := SourceOf(req)
	if err != nil {
		return Decision{Cause: CauseNoSource}
	}
	p.Table().checkSource(&d, s, group, subject)
	return d
}

// SourceGroup answers get_source_group and allow_source_address_group: the
// decision holds the group of the most specific row that matches the socket
// that req came from, its port and protocol; patterns are not asked. To hear
// all groups, see [Table.Groups].
func (p *Partition) SourceGroup(req *sip.Request) Decision {
	s, err := SourceOf(req)
	if err != nil {
		return Decision{Cause: CauseNoSource}
	}
	return p.AddressGroup(s)
}

// AddressGroup is SourceGroup for any address: Kamailio's allow_address_group.
func (p *Partition) AddressGroup(s Source) Decision { return p.Table().AddressGroup(s) }

// Groups yields the groups of s, each once; see [Table.Groups].
func (p *Partition) Groups(s Source) iter.Seq[GroupID] { return p.Table().Groups(s) }

// Sources returns the check "the socket source of the request is in one of
// groups", for [Guard]. Without groups it refuses everything; see AnySource.
// Rows with a pattern are compared with the empty subject.
func (p *Partition) Sources(groups ...GroupID) Check {
	return p.guard(sourceGroups{list: slices.Clone(groups)})
}

// AnySource returns the check "the socket source of the request matches some
// row, of whichever group".
func (p *Partition) AnySource() Check {
	return p.guard(sourceGroups{any: true})
}

func (p *Partition) guard(groups sourceGroups) Check {
	return func(req *sip.Request) (d Decision) {
		s, err := SourceOf(req)
		if err != nil {
			return Decision{Cause: CauseNoSource}
		}
		groups.check(&d, p.Table(), s)
		return d
	}
}

// Allow is Sources in the shape that [ReadFilter], [NewListener] and
// [NewPacketConn] take. Without groups it refuses everything.
func (p *Partition) Allow(groups ...GroupID) func(Source) bool {
	return p.allow(sourceGroups{list: slices.Clone(groups)})
}

// AllowAny is AnySource in the shape that [ReadFilter] takes.
func (p *Partition) AllowAny() func(Source) bool {
	return p.allow(sourceGroups{any: true})
}

func (p *Partition) allow(groups sourceGroups) func(Source) bool {
	return func(s Source) bool {
		q := s.Query(0)
		_, ok := groups.first(p.Table(), &q)
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

// Reload loads the partition anew and puts it in service. On error the
// generation in service stays. See [Permissions.Reload] for what concurrent
// calls can rely on.
func (p *Partition) Reload(ctx context.Context) (ReloadReport, error) {
	if !p.opened() {
		return ReloadReport{}, errNotOpened
	}
	return p.perm.reload(ctx, p.part)
}

// Status tells how fresh the generation in service is.
func (p *Partition) Status() Status {
	if !p.opened() {
		return Status{}
	}
	return p.perm.status(p.part)
}

// OnReload calls f after each reload of this partition; see [Permissions.OnReload].
func (p *Partition) OnReload(f func(ReloadReport)) (stop func()) {
	if !p.opened() {
		return func() {}
	}
	return p.perm.subscribe(p.part, f)
}
