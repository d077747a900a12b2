// Where address rows come from: tables of OpenSIPS and Kamailio, Kamailio's address_file.

package sipacl

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"net/netip"
	"strings"

	"github.com/sipacl/sipacl/internal/hosts"
	"github.com/sipacl/sipacl/internal/sqlrows"
)

// ZeroMask says what a row with mask 0 means. The originals differ.
type ZeroMask uint8

// The meanings.
const (
	ZeroMaskUnset    ZeroMask = iota // a row with mask 0 is an error
	ZeroMaskHost                     // the address alone, as in Kamailio
	ZeroMaskEveryone                 // every address, as in OpenSIPS: on 0.0.0.0 and :: only
)

// SQLAddresses reads an address table, OpenSIPS's by default. Every name can
// be changed, and [NoColumn] says that the table lacks the column; see
// decisions addr-number, addr-literal and addr-badrow for what is an error.
//
// A table of another shape needs a query:
//
//	SQLAddresses{
//		SQL:   SQL{DB: db, Query: "SELECT name, cidr FROM carriers WHERE active"},
//		IPCol: "cidr", InfoCol: "name",
//	}
type SQLAddresses struct {
	SQL

	GroupCol   string  // "grp"
	Group      GroupID // of every row, if there is no such column
	IPCol      string  // "ip": an address; without MaskCol also a prefix, "203.0.113.0/24"
	MaskCol    string  // "mask"
	PortCol    string  // "port"
	ProtoCol   string  // "proto"
	PatternCol string  // "pattern"
	InfoCol    string  // "context_info"

	ZeroMask ZeroMask // what mask 0 means; must be said if it occurs
	Names    bool     // accept host names in IPCol; see [ResolveConfig]
}

// OpenSIPSAddresses reads OpenSIPS's address table, version 5.
func OpenSIPSAddresses(db Queryer) SQLAddresses {
	return SQLAddresses{SQL: SQL{DB: db, IDCol: "id"}, ZeroMask: ZeroMaskEveryone}
}

// KamailioAddresses reads Kamailio's address table, version 6. It has no
// protocol and no pattern, and mask 0 means a host.
func KamailioAddresses(db Queryer) SQLAddresses {
	return SQLAddresses{
		SQL: SQL{DB: db, IDCol: "id"}, IPCol: "ip_addr", ProtoCol: NoColumn, PatternCol: NoColumn, InfoCol: "tag",
		ZeroMask: ZeroMaskHost,
	}
}

// The cells of a row.
const (
	addressGroup = iota
	addressIP
	addressMask
	addressPort
	addressProto
	addressPattern
	addressInfo
	addressCells
)

// Rows implements [AddressSource].
func (s SQLAddresses) Rows(ctx context.Context) iter.Seq2[AddressRow, error] {
	t := s.reads("address",
		sqlColumn{name: s.GroupCol, byDefault: "grp"}, sqlColumn{name: s.IPCol, byDefault: "ip", needed: true},
		sqlColumn{name: s.MaskCol, byDefault: "mask"}, sqlColumn{name: s.PortCol, byDefault: "port"},
		sqlColumn{name: s.ProtoCol, byDefault: "proto"}, sqlColumn{name: s.PatternCol, byDefault: "pattern"},
		sqlColumn{name: s.InfoCol, byDefault: "context_info"})
	if t.has(addressGroup) && s.Group != 0 {
		t.err = errors.Join(t.err, errors.New("want a Group or a GroupCol, not both"))
	}
	rd := addressReader{zeroMask: s.ZeroMask, names: s.Names}
	return readTable(ctx, t, func(r *record) AddressRow {
		row := rd.row(r)
		if !t.has(addressGroup) {
			row.Group = s.Group
		}
		return row
	})
}

// addressReader turns cells into rows.
type addressReader struct {
	zeroMask ZeroMask
	names    bool
}

func (rd addressReader) row(r *record) AddressRow {
	a := AddressRow{Origin: r.origin}
	a.Group = GroupID(r.integer(addressGroup, 0, 1<<32-1))
	rd.address(r, &a)
	a.Port = uint16(r.integer(addressPort, 0, 65535))
	a.Proto = protoOf(r, addressProto)
	if a.Pattern, _ = r.text(addressPattern); a.Pattern != "" && len(a.Pattern) > maxPattern {
		r.badf(addressPattern, "pattern is longer than %d bytes", maxPattern)
	}
	a.Info, _ = r.text(addressInfo)
	return a
}

// protoOf reads a protocol; the empty text is any.
func protoOf(r *record, cell int) Proto {
	if !r.given(cell) {
		return ProtoAny
	}
	s := r.needed(cell)
	if s == "" {
		return ProtoAny
	}
	proto, err := ParseProto(s)
	if err != nil {
		r.badf(cell, "want one of %s", strings.Join(protoNames[:], " "))
	}
	return proto
}

// address reads ip and mask, or a host name.
func (rd addressReader) address(r *record, a *AddressRow) {
	before := len(r.errs)
	text := r.needed(addressIP)
	if len(r.errs) > before {
		return
	}
	literal, bits, prefix := strings.Cut(text, "/")
	addr, err := parseAddress(literal)
	if err != nil || prefix && r.given(addressMask) {
		rd.host(r, a, sqlrows.Trim(text))
		return
	}
	mask := addr.BitLen()
	switch {
	case prefix:
		if mask, err = prefixBits(bits, addr.BitLen()); err != nil {
			r.badf(addressIP, "want 0 to %d behind the /", addr.BitLen())
		} else if mask == 0 && !addr.IsUnspecified() {
			r.badf(addressIP, "/0 on %s would be everyone: want 0.0.0.0/0 or ::/0 to say so", addr)
		}
	case r.given(addressMask):
		if mask = int(r.integer(addressMask, 0, int64(addr.BitLen()))); mask == 0 && len(r.errs) == before {
			mask = rd.zero(r, addr)
		}
	}
	if len(r.errs) > before {
		return
	}
	if addr.Is4In6() && mask <= 96 {
		cell := addressIP
		if r.given(addressMask) {
			cell = addressMask
		}
		r.bad(cell, errMappedMask)
		return
	}
	a.Prefix = netip.PrefixFrom(addr, mask)
}

var errMappedMask = errors.New("want more than 96 for an IPv4-mapped address")

// prefixBits reads the bits of a prefix.
func prefixBits(s string, most int) (int, error) {
	n, err := sqlrows.Integer(sqlrows.Trim(s), 0, int64(most))
	return int(n), err
}

// zero gives the prefix length that mask 0 means.
func (rd addressReader) zero(r *record, addr netip.Addr) int {
	switch {
	case rd.zeroMask == ZeroMaskHost:
		return addr.BitLen()
	case rd.zeroMask == ZeroMaskUnset:
		r.badf(addressMask, "mask 0 is a host to Kamailio and everyone to OpenSIPS: the source must say which (ZeroMask)")
	case !addr.IsUnspecified():
		r.badf(addressMask, "mask 0 on %s would be everyone: want %d for the host, or 0.0.0.0 or ::", addr, addr.BitLen())
	}
	return 0
}

func (rd addressReader) host(r *record, a *AddressRow, text string) {
	want := "an IPv4 or IPv6 address"
	if !r.given(addressMask) {
		want += " or prefix"
	}
	name, ok := hosts.Name(text)
	switch {
	case !ok:
		r.badf(addressIP, "want %s", want)
	case !rd.names:
		r.badf(addressIP, "want %s; for host names set Names", want)
	default:
		a.Host = name
	}
}

// AddressFile reads Kamailio's address_file: a row a line, columns separated
// by blanks, "#" begins a comment anywhere.
//
//	group address [mask [port [tag]]]
//
// A mask that is missing or 0 means the address alone.
type AddressFile struct {
	FS    fs.FS
	Name  string // a path of FS
	Names bool   // accept host names as addresses
}

// The names of the cells of a line, in the order of its columns.
var addressColumns = [...]struct {
	cell int
	name string
}{{addressGroup, "group"}, {addressIP, "address"}, {addressMask, "mask"}, {addressPort, "port"}, {addressInfo, "tag"}}

// Rows implements [AddressSource].
func (f AddressFile) Rows(ctx context.Context) iter.Seq2[AddressRow, error] {
	rd := addressReader{zeroMask: ZeroMaskHost, names: f.Names}
	return readLines(ctx, f.FS, f.Name, func(l textLine, yield func(AddressRow, error) bool) bool {
		l.text = withoutComment(l.text)
		fields, cols := columns(l.text)
		switch {
		case len(fields) == 0:
			return true
		case len(fields) == 1:
			return yield(AddressRow{}, l.errorf(len(l.text)+1, "found end of line, want an address"))
		case len(fields) > len(addressColumns):
			return yield(AddressRow{}, l.errorf(cols[5], "found %q, want at most five columns: group address mask port tag", shorten(fields[5])))
		}
		r := record{origin: l.origin, names: make([]string, addressCells), values: make([]any, addressCells), cols: make([]int, addressCells)}
		r.names[addressMask], r.values[addressMask] = "mask", "0"
		for i, field := range fields {
			c := addressColumns[i]
			r.names[c.cell], r.values[c.cell], r.cols[c.cell] = c.name, field, cols[i]
		}
		return yieldRow(&r, rd.row(&r), yield)
	})
}

// Version implements [Versioned] by a hash of the file.
func (f AddressFile) Version(context.Context) (string, error) { return fileVersion(f.FS, f.Name) }
