package sipacl

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// DumpFormat is a layout to write address tables in. All of them are JSON, in
// one line without end.
type DumpFormat uint8

// The formats. Those of the originals show only what the originals had, and no
// row for protocol "none", which never matches; use DumpComplete to see
// everything. OpenSIPS's leave out host names. Kamailio's leave out protocols
// and patterns, and show networks without host bits.
const (
	// DumpComplete has every row and column, in the order of the source.
	DumpComplete DumpFormat = iota

	// DumpOpenSIPSAddresses is the reply of address_dump: the rows for single
	// addresses, by group, then in the order of the source.
	DumpOpenSIPSAddresses
	// DumpOpenSIPSSubnets is the reply of subnet_dump: the rows for wider
	// prefixes, in the same order.
	DumpOpenSIPSSubnets

	// DumpKamailioAddresses is the result of permissions.addressDump: the rows
	// for single addresses, by bucket of Kamailio's hash table, last row first.
	DumpKamailioAddresses
	// DumpKamailioSubnets is the result of permissions.subnetDump: the rows
	// for wider prefixes, by group, then in the order of the source.
	DumpKamailioSubnets
	// DumpKamailioDomains is permissions.domainDump: the rows for host names,
	// by bucket, last row first. Kamailio writes one object that repeats its
	// keys, of which a JSON reader keeps the last; this is a list.
	DumpKamailioDomains
)

// Dump writes parts in a format, as OpenSIPS's dumps do without a partition
// argument: {"Partitions":[{"name":"default","Destinations":[...]}]}. All
// parts of one [Permissions] are of the same snapshot.
//
// Kamailio has no partitions: its formats take exactly one and write a list.
// Dump returns the first error of w.
func Dump(w io.Writer, format DumpFormat, parts ...Partition) error {
	d, err := newDump(w, format, parts)
	if err != nil {
		return err
	}
	if d.kamailio() {
		if len(parts) != 1 {
			return fmt.Errorf("sipacl: dump of %d partitions: Kamailio's format has one", len(parts))
		}
		d.list(d.tables[0])
		return d.w.Flush()
	}
	d.text(`{"Partitions":[`)
	for i, p := range parts {
		if i > 0 {
			d.text(",")
		}
		d.partition(`{"name":`, strings.TrimPrefix(p.Name(), partitionKind), d.tables[i])
	}
	d.text("]}")
	return d.w.Flush()
}

// Dump writes the partition in a format, as OpenSIPS's dumps do with a
// partition argument: {"part":"p1","Destinations":[...]}. Kamailio's formats
// are a list. Dump returns the first error of w.
func (p Partition) Dump(w io.Writer, format DumpFormat) error {
	d, err := newDump(w, format, []Partition{p})
	if err != nil {
		return err
	}
	if d.kamailio() {
		d.list(d.tables[0])
	} else {
		d.partition(`{"part":`, strings.TrimPrefix(p.Name(), partitionKind), d.tables[0])
	}
	return d.w.Flush()
}

// dump is a dump being written. Its writer keeps the first error.
type dump struct {
	w      *bufio.Writer
	format DumpFormat
	tables []*Table
	buf    []byte // of one row
}

func newDump(w io.Writer, format DumpFormat, parts []Partition) (*dump, error) {
	if format > DumpKamailioDomains {
		return nil, fmt.Errorf("sipacl: dump format %d is unknown", format)
	}
	d := &dump{w: bufio.NewWriter(w), format: format}
	snapshots := map[*Permissions]*Snapshot{}
	for _, p := range parts {
		if p.p == nil {
			return nil, errNotOpened
		}
		s, ok := snapshots[p.p.perm]
		if !ok {
			s = p.p.perm.Snapshot()
			snapshots[p.p.perm] = s
		}
		d.tables = append(d.tables, p.At(s))
	}
	return d, nil
}

func (d *dump) kamailio() bool { return d.format >= DumpKamailioAddresses }

func (d *dump) text(s string) { _, _ = d.w.WriteString(s) } // Flush reports the error

// partition writes one object with the rows of t, beginning with open.
func (d *dump) partition(open, name string, t *Table) {
	b := appendJSON(append(d.buf[:0], open...), name)
	if d.format == DumpComplete {
		b = strconv.AppendUint(append(b, `,"generation":`...), t.Generation(), 10)
		b = append(b, `,"rows":`...)
	} else {
		b = append(b, `,"Destinations":`...)
	}
	d.buf = b
	_, _ = d.w.Write(b)
	d.list(t)
	d.text("}")
}

// list writes the rows of t that the format has, and ends early if w fails.
func (d *dump) list(t *Table) {
	d.text("[")
	n := 0
	for r := range d.rows(t) {
		d.buf = d.buf[:0]
		if n > 0 {
			d.buf = append(d.buf, ',')
		}
		d.buf = d.row(d.buf, n, r)
		if _, err := d.w.Write(d.buf); err != nil {
			return
		}
		n++
	}
	d.text("]")
}

// rows yields the rows of t in the order of the format.
func (d *dump) rows(t *Table) iter.Seq[AddressRow] {
	if d.format == DumpComplete {
		return t.Rows()
	}
	return func(yield func(AddressRow) bool) {
		for _, i := range d.order(t) {
			if !yield(t.row(i)) {
				return
			}
		}
	}
}

// order sorts the rows that the format has, by what it sorts by.
func (d *dump) order(t *Table) []uint32 {
	type place struct{ key, row uint32 }
	var places []place
	for i := range uint32(t.size()) {
		if r := t.row(i); d.has(r) {
			places = append(places, place{d.key(r), i})
		}
	}
	if d.format == DumpKamailioAddresses || d.format == DumpKamailioDomains {
		slices.Reverse(places)
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.key, b.key) })
	order := make([]uint32, len(places))
	for i, p := range places {
		order[i] = p.row
	}
	return order
}

// key is what the format sorts by.
func (d *dump) key(r AddressRow) uint32 {
	if d.format == DumpKamailioAddresses || d.format == DumpKamailioDomains {
		return bucket(r)
	}
	return uint32(r.Group)
}

// has reports whether a format of the originals shows r.
func (d *dump) has(r AddressRow) bool {
	switch {
	case r.Proto == ProtoNone:
		return false
	case r.Host != "":
		return d.format == DumpKamailioDomains
	case r.Prefix.IsSingleIP():
		return d.format == DumpOpenSIPSAddresses || d.format == DumpKamailioAddresses
	}
	return d.format == DumpOpenSIPSSubnets || d.format == DumpKamailioSubnets
}

// row appends the n-th row, from 0.
func (d *dump) row(b []byte, n int, r AddressRow) []byte {
	switch d.format {
	case DumpComplete:
		return appendComplete(b, r)
	case DumpOpenSIPSAddresses, DumpOpenSIPSSubnets:
		return appendOpenSIPS(b, r)
	case DumpKamailioSubnets:
		return appendKamailio(b, `{"id":`, uint32(n), r)
	}
	return appendKamailio(b, `{"table":`, bucket(r), r)
}

func appendComplete(b []byte, r AddressRow) []byte {
	b = strconv.AppendUint(append(b, `{"group":`...), uint64(r.Group), 10)
	prefix := ""
	if r.Host == "" {
		prefix = r.Prefix.String()
	}
	b = appendJSON(append(b, `,"prefix":`...), prefix)
	b = appendJSON(append(b, `,"host":`...), r.Host)
	b = strconv.AppendUint(append(b, `,"port":`...), uint64(r.Port), 10)
	b = appendJSON(append(b, `,"proto":`...), r.Proto.String())
	b = appendJSON(append(b, `,"pattern":`...), r.Pattern)
	b = appendJSON(append(b, `,"info":`...), r.Info)
	b = appendJSON(append(b, `,"origin":`...), r.Origin.String())
	return append(b, '}')
}

func appendOpenSIPS(b []byte, r AddressRow) []byte {
	b = strconv.AppendUint(append(b, `{"grp":`...), uint64(r.Group), 10)
	b = appendLong(append(b, `,"ip":"`...), r.Prefix.Addr())
	b = append(b, `","mask":"`...)
	if r.Prefix.IsSingleIP() {
		b = strconv.AppendInt(b, int64(r.Prefix.Bits()), 10)
	} else {
		b = appendLong(b, netmask(r.Prefix))
	}
	b = strconv.AppendUint(append(b, `","port":`...), uint64(r.Port), 10)
	b = appendJSON(append(b, `,"proto":`...), r.Proto.String())
	b = appendJSON(append(b, `,"pattern":`...), r.Pattern)
	b = appendJSON(append(b, `,"context_info":`...), r.Info)
	return append(b, '}')
}

// appendKamailio appends a row whose number is an index or a bucket. A tag
// that is NULL or empty reads NULL, but is empty in a subnet.
func appendKamailio(b []byte, open string, number uint32, r AddressRow) []byte {
	b = strconv.AppendUint(append(b, open...), uint64(number), 10)
	b = strconv.AppendUint(append(b, `,"group":`...), uint64(r.Group), 10)
	subnet := r.Host == "" && !r.Prefix.IsSingleIP()
	if b = append(b, `,"item":{`...); r.Host != "" {
		b = appendJSON(append(b, `"domain_name":`...), r.Host)
	} else {
		b = appendJSON(append(b, `"ip":`...), r.Prefix.Addr().String())
	}
	if subnet {
		b = strconv.AppendInt(append(b, `,"mask":`...), int64(r.Prefix.Bits()), 10)
	}
	if r.Info == "" && !subnet {
		r.Info = "NULL"
	}
	b = strconv.AppendUint(append(b, `,"port":`...), uint64(r.Port), 10)
	return append(appendJSON(append(b, `,"tag":`...), r.Info), "}}"...)
}

// appendLong appends an address as OpenSIPS prints it: IPv6 in upper case,
// all eight groups, no leading zeros.
func appendLong(b []byte, a netip.Addr) []byte {
	if a.Is4() {
		return a.AppendTo(b)
	}
	groups := a.As16()
	for i := 0; i < len(groups); i += 2 {
		if i > 0 {
			b = append(b, ':')
		}
		b = fmt.Appendf(b, "%X", binary.BigEndian.Uint16(groups[i:]))
	}
	return b
}

// netmask gives 255.255.0.0 for a prefix of 16 bits.
func netmask(p netip.Prefix) netip.Addr {
	ones := slices.Repeat([]byte{0xff}, p.Addr().BitLen()/8)
	a, _ := netip.AddrFromSlice(ones)
	return netip.PrefixFrom(a, p.Bits()).Masked().Addr()
}

// bucket numbers the slot of a row in Kamailio's hash tables: by the first
// four bytes of an address, or all of a name.
func bucket(r AddressRow) uint32 {
	if r.Host != "" {
		return coreHash([]byte(r.Host)) & 127
	}
	return coreHash(r.Prefix.Addr().AsSlice()[:4]) & 127
}

// coreHash is the hash of Kamailio's core, over words of 32 bits of which the
// last is shorter, or empty.
func coreHash(b []byte) uint32 {
	var h, v uint32
	for ; len(b) >= 4; b = b[4:] {
		v = binary.BigEndian.Uint32(b)
		h += v ^ v>>3
	}
	v = 0
	for _, c := range b {
		v = v<<8 + uint32(c)
	}
	h += v ^ v>>3
	return h + h>>11 + h>>13 + h>>23
}

// appendJSON appends s as a JSON string. Bytes that are no UTF-8 become
// U+FFFD.
func appendJSON(b []byte, s string) []byte {
	b = append(b, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c < ' ' || c == 0x7f:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = utf8.AppendRune(b, c)
		}
	}
	return append(b, '"')
}
