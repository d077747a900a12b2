package sipacl

import (
	"context"
	"iter"

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
func (p *Partition) CheckAddress(q Query) Decision { return p.Table().CheckAddress(q) }

// CheckSource is [Table.CheckSource] of the generation in service.
func (p *Partition) CheckSource(s Source, group GroupID, subject string) Decision {
	return p.Table().CheckSource(s, group, subject)
}

// CheckSourceAddress answers check_source_address and allow_source_address:
// is the socket that req came from in group? A request without one is refused.
func (p *Partition) CheckSourceAddress(req *sip.Request, group GroupID, subject string) Decision {
	s, err := SourceOf(req)
	if err != nil {
		return Decision{Cause: CauseNoSource}
	}
	return p.CheckSource(s, group, subject)
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
	return p.guard(anyOf(groups))
}

// AnySource returns the check "the socket source of the request matches some
// row, of whichever group".
func (p *Partition) AnySource() Check {
	return p.guard(anySource)
}

func (p *Partition) guard(check sourceCheck) Check {
	return func(req *sip.Request) Decision {
		s, err := SourceOf(req)
		if err != nil {
			return Decision{Cause: CauseNoSource}
		}
		return check(p.Table(), s)
	}
}

// Allow is Sources in the shape that [ReadFilter], [NewListener] and
// [NewPacketConn] take. Without groups it refuses everything.
func (p *Partition) Allow(groups ...GroupID) func(Source) bool {
	check := anyOf(groups)
	return func(s Source) bool { return check(p.Table(), s).Allowed }
}

// AllowAny is AnySource in the shape that [ReadFilter] takes.
func (p *Partition) AllowAny() func(Source) bool {
	return func(s Source) bool { return anySource(p.Table(), s).Allowed }
}

type sourceCheck func(*Table, Source) Decision

// anyOf asks the groups one after the other. Its refusal is that of the last.
func anyOf(groups []GroupID) sourceCheck {
	groups = append([]GroupID(nil), groups...)
	return func(t *Table, s Source) Decision {
		d := Decision{Source: s, Info: "no group is listed"}
		for _, g := range groups {
			if d = t.CheckAddress(s.Query(g)); d.Allowed {
				return d
			}
		}
		return d
	}
}

func anySource(t *Table, s Source) Decision {
	q := s.Query(0)
	q.Any = AnyGroup
	return t.CheckAddress(q)
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
