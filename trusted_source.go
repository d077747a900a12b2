// Where trusted rows come from.

package sipacl

import (
	"context"
	"errors"
	"iter"
	"math"
	"net/netip"
)

// SQLTrusted reads Kamailio's trusted table. Every name can be changed, and
// [NoColumn] says that the table lacks the column.
type SQLTrusted struct {
	SQL // IDCol: "id", unless it is NoColumn or there is a Query

	SourceCol   string // "src_ip"
	ProtoCol    string // "proto"
	FromCol     string // "from_pattern"
	TargetCol   string // "ruri_pattern"
	TagCol      string // "tag"
	PriorityCol string // "priority"
}

// The cells of a row.
const (
	trustedSourceCell = iota
	trustedProtoCell
	trustedFromCell
	trustedTargetCell
	trustedTagCell
	trustedPriorityCell
)

// Rows implements [TrustedSource].
func (s SQLTrusted) Rows(ctx context.Context) iter.Seq2[TrustedRow, error] {
	if s.Query == "" {
		s.IDCol = orDefault(s.IDCol, "id")
	}
	t := s.reads("trusted",
		sqlColumn{name: s.SourceCol, byDefault: "src_ip", needed: true}, sqlColumn{name: s.ProtoCol, byDefault: "proto"},
		sqlColumn{name: s.FromCol, byDefault: "from_pattern"}, sqlColumn{name: s.TargetCol, byDefault: "ruri_pattern"},
		sqlColumn{name: s.TagCol, byDefault: "tag"}, sqlColumn{name: s.PriorityCol, byDefault: "priority"})
	return readTable(ctx, t, trustedRowOf)
}

func trustedRowOf(r *record) TrustedRow {
	row := TrustedRow{Origin: r.origin, Source: trustedSourceOf(r), Proto: protoOf(r, trustedProtoCell)}
	if s, ok := r.text(trustedProtoCell); ok && s == "" {
		r.bad(trustedProtoCell, errors.New("want a protocol, or any"))
	}
	row.From, _ = r.text(trustedFromCell)
	row.Target, _ = r.text(trustedTargetCell)
	tag, ok := r.text(trustedTagCell)
	row.Tag, row.NoTag = tag, !ok
	if r.given(trustedPriorityCell) && r.values[trustedPriorityCell] != nil {
		row.Priority = int(r.integer(trustedPriorityCell, math.MinInt32, math.MaxInt32))
	}
	return row
}

func trustedSourceOf(r *record) netip.Addr {
	before := len(r.errs)
	s := r.needed(trustedSourceCell)
	if len(r.errs) > before {
		return netip.Addr{}
	}
	addr, err := parseAddress(s)
	if err != nil {
		r.bad(trustedSourceCell, errors.New("want an IPv4 or IPv6 address"))
	}
	return addr
}
