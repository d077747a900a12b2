package admin

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sipacl/sipacl"
)

// DumpFormat is a layout to write address tables in. All of them are JSON, on
// one line without a line end.
type DumpFormat uint8

// The formats. Those of the originals show only what the originals had, and
// leave out rows for protocol "none", which never match; use Complete to see
// everything. OpenSIPS's leave out host names. Kamailio's leave out protocols
// and patterns, and show networks without host bits.
const (
	// Complete has every row and column, in the order of the source.
	Complete DumpFormat = iota

	// OpenSIPSAddresses is the reply of address_dump: the rows for single
	// addresses, by group, then in the order of the source.
	OpenSIPSAddresses
	// OpenSIPSSubnets is the reply of subnet_dump: the rows for wider
	// prefixes, in the same order.
	OpenSIPSSubnets

	// KamailioAddresses is the result of permissions.addressDump in Kamailio
	// 6.1: the rows for single addresses, by bucket of its hash table, last row
	// first.
	KamailioAddresses
	// Kamailio56Addresses is the same in Kamailio 5.6, which hashes bytes from
	// 0x80 on as negative numbers. An address with such a byte after its first
	// one is likely in another bucket there: 2001:db8::1 in 37, and in 5 in 6.1.
	Kamailio56Addresses
	// KamailioSubnets is the result of permissions.subnetDump, in both: the
	// rows for wider prefixes, by group, then in the order of the source.
	KamailioSubnets
	// KamailioDomains is permissions.domainDump, in both: the rows for host
	// names, by bucket, last row first. Kamailio writes one object that repeats
	// its keys, of which a JSON reader keeps the last; this is a list.
	KamailioDomains
)

func (f DumpFormat) kamailio() bool { return f >= KamailioAddresses }

// hashed reports whether the format is in the order of a hash table.
func (f DumpFormat) hashed() bool { return f.kamailio() && f != KamailioSubnets }

// Dump writes parts in a format, as OpenSIPS's dumps do without a partition
// argument: {"Partitions":[{"name":"default","Destinations":[...]}]}.
//
// The tables are those in s; one that s does not hold is an error. With a nil s
// they are those in service, each read once. To dump several as they are at one
// moment, pass [sipacl.Permissions.Snapshot].
//
// Kamailio has no partitions: its formats take exactly one and write a list.
// Complete is written as it is read; the other formats are sorted first. Dump
// returns the first error of w.
func Dump(w io.Writer, format DumpFormat, s *sipacl.Snapshot, parts ...sipacl.Partition) error {
	d, err := newDump(w, format, s, parts)
	if err != nil {
		return err
	}
	if format.kamailio() {
		if len(parts) != 1 {
			return fmt.Errorf("admin: dump of %d partitions: Kamailio's formats take one", len(parts))
		}
		d.list(d.tables[0])
		return d.w.Flush()
	}
	d.text(`{"Partitions":[`)
	for i, p := range parts {
		if i > 0 {
			d.text(",")
		}
		d.partition(`{"name":`, p.Name(), d.tables[i])
	}
	d.text("]}")
	return d.w.Flush()
}

// DumpPartition writes one partition as OpenSIPS's dumps do with a partition
// argument: {"part":"p1","Destinations":[...]}. Everything else is as in [Dump].
func DumpPartition(w io.Writer, format DumpFormat, s *sipacl.Snapshot, p sipacl.Partition) error {
	if format.kamailio() {
		return Dump(w, format, s, p)
	}
	d, err := newDump(w, format, s, []sipacl.Partition{p})
	if err != nil {
		return err
	}
	d.partition(`{"part":`, p.Name(), d.tables[0])
	return d.w.Flush()
}

// dump is a dump being written. Its writer keeps the first error.
type dump struct {
	w      *bufio.Writer
	format DumpFormat
	tables []*sipacl.Table
	buf    []byte // of one row
}

func newDump(w io.Writer, format DumpFormat, s *sipacl.Snapshot, parts []sipacl.Partition) (*dump, error) {
	if format > KamailioDomains {
		return nil, fmt.Errorf("admin: dump format %d is unknown", format)
	}
	d := &dump{w: bufio.NewWriter(w), format: format}
	for _, p := range parts {
		t, err := tableOf(p, s)
		if err != nil {
			return nil, err
		}
		d.tables = append(d.tables, t)
	}
	return d, nil
}

// tableOf is the table of p in s, or in service without s.
func tableOf(p sipacl.Partition, s *sipacl.Snapshot) (*sipacl.Table, error) {
	t := p.At(s)
	if s == nil {
		t = p.Current()
	}
	switch {
	case p.Name() == "":
		return nil, errors.New("admin: dump of a partition that is not opened")
	case t == nil:
		return nil, fmt.Errorf("admin: dump: %s is not in the snapshot", printable(p.Name()))
	}
	return t, nil
}

func (d *dump) text(s string) { _, _ = d.w.WriteString(s) } // Flush reports the error

// partition writes one object with the rows of t, beginning with open. name is
// that of the part, "address:default".
func (d *dump) partition(open, name string, t *sipacl.Table) {
	b := appendJSON(append(d.buf[:0], open...), strings.TrimPrefix(name, "address:"))
	if d.format == Complete {
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
func (d *dump) list(t *sipacl.Table) {
	d.text("[")
	n := 0
	for r := range d.format.rows(t) {
		d.buf = d.buf[:0]
		if n > 0 {
			d.buf = append(d.buf, ',')
		}
		d.buf = d.format.row(d.buf, n, r)
		if _, err := d.w.Write(d.buf); err != nil {
			return
		}
		n++
	}
	d.text("]")
}

// rows yields the rows of t that the format has, in its order.
func (f DumpFormat) rows(t *sipacl.Table) iter.Seq[sipacl.AddressRow] {
	if f == Complete {
		return t.Rows()
	}
	var rows []sipacl.AddressRow
	for r := range t.Rows() {
		if f.has(r) {
			rows = append(rows, r)
		}
	}
	if f.hashed() {
		slices.Reverse(rows)
	}
	slices.SortStableFunc(rows, func(a, b sipacl.AddressRow) int { return cmp.Compare(f.key(a), f.key(b)) })
	return slices.Values(rows)
}

// key is what the format sorts by.
func (f DumpFormat) key(r sipacl.AddressRow) uint32 {
	if f.hashed() {
		return f.bucket(r)
	}
	return uint32(r.Group)
}

// has reports whether a format of the originals shows r.
func (f DumpFormat) has(r sipacl.AddressRow) bool {
	switch {
	case r.Proto == sipacl.ProtoNone:
		return false
	case r.Host != "":
		return f == KamailioDomains
	case r.Prefix.IsSingleIP():
		return f == OpenSIPSAddresses || f == KamailioAddresses || f == Kamailio56Addresses
	}
	return f == OpenSIPSSubnets || f == KamailioSubnets
}

// row appends the n-th row, from 0.
func (f DumpFormat) row(b []byte, n int, r sipacl.AddressRow) []byte {
	switch f {
	case Complete:
		return appendComplete(b, r)
	case OpenSIPSAddresses, OpenSIPSSubnets:
		return appendOpenSIPS(b, r)
	case KamailioSubnets:
		return appendKamailio(b, `{"id":`, uint32(n), r)
	}
	return appendKamailio(b, `{"table":`, f.bucket(r), r)
}

func appendComplete(b []byte, r sipacl.AddressRow) []byte {
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

func appendOpenSIPS(b []byte, r sipacl.AddressRow) []byte {
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
func appendKamailio(b []byte, open string, number uint32, r sipacl.AddressRow) []byte {
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
// four bytes of an address, or all of a name. Names are ASCII, and in the same
// slot in every version.
func (f DumpFormat) bucket(r sipacl.AddressRow) uint32 {
	if r.Host != "" {
		return coreHash([]byte(r.Host), false) & 127
	}
	return coreHash(r.Prefix.Addr().AsSlice()[:4], f == Kamailio56Addresses) & 127
}

// coreHash is the hash of Kamailio's core, over words of 32 bits of which the
// last is shorter, or empty. Bytes are signed in Kamailio 5.6.
func coreHash(b []byte, signed bool) uint32 {
	var h, v uint32
	for ; len(b) >= 4; b = b[4:] {
		v = word(b[:4], signed)
		h += v ^ v>>3
	}
	v = word(b, signed)
	h += v ^ v>>3
	return h + h>>11 + h>>13 + h>>23
}

// word is the number that big-endian bytes make; a negative one borrows from
// the byte before it.
func word(b []byte, signed bool) (v uint32) {
	for _, c := range b {
		if v = v<<8 + uint32(c); signed && c >= 0x80 {
			v -= 0x100
		}
	}
	return v
}
