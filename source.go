package sipacl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"net/netip"
	"strings"

	"github.com/sipacl/sipacl/internal/sqlrows"
)

// AddressSource yields the rows of an address table. A row that cannot be
// read is yielded as a [*LoadError], and the sequence goes on so that all of
// them are named; any other error ends it.
type AddressSource interface {
	Addresses(ctx context.Context) iter.Seq2[AddressRow, error]
}

// AddressRows is an [AddressSource] of rows in memory.
type AddressRows []AddressRow

// Addresses implements [AddressSource].
func (rows AddressRows) Addresses(context.Context) iter.Seq2[AddressRow, error] {
	return func(yield func(AddressRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// AddressFunc is an [AddressSource] made of a function.
type AddressFunc func(ctx context.Context) iter.Seq2[AddressRow, error]

// Addresses implements [AddressSource].
func (f AddressFunc) Addresses(ctx context.Context) iter.Seq2[AddressRow, error] { return f(ctx) }

// Queryer is what tables are read through: *sql.DB, *sql.Conn and *sql.Tx are
// Queryers.
type Queryer = sqlrows.Queryer

// Dialect is how a database writes identifiers and parameters. The zero
// value writes plain identifiers and "?".
type Dialect = sqlrows.Dialect

// The dialects.
const (
	PlainSQL   = sqlrows.Plain
	PostgreSQL = sqlrows.PostgreSQL
	MySQL      = sqlrows.MySQL // MariaDB too
	SQLite     = sqlrows.SQLite
)

// NoColumn as a column name says that the table lacks the column.
const NoColumn = "-"

// ZeroMask says what a row with mask 0 means. The originals differ.
type ZeroMask uint8

const (
	ZeroMaskUnset    ZeroMask = iota // a row with mask 0 is an error
	ZeroMaskHost                     // the address alone, as in Kamailio
	ZeroMaskEveryone                 // every address, as in OpenSIPS: on 0.0.0.0 and :: only
)

// SQLAddresses reads an address table through database/sql, row by row. Every
// name can be changed; "" means the default given here, which is OpenSIPS's,
// and [NoColumn] that the table lacks the column.
//
// Integers may have any width or be text, texts may be padded with blanks. A
// value that is not what the column needs is an error that names row, column
// and value; see decisions addr-number, addr-literal and addr-badrow.
type SQLAddresses struct {
	DB      Queryer
	Dialect Dialect

	Table      string // "address"
	IDCol      string // none; orders the rows and names them in decisions and errors
	GroupCol   string // "grp"
	IPCol      string // "ip"
	MaskCol    string // "mask"
	PortCol    string // "port"
	ProtoCol   string // "proto"
	PatternCol string // "pattern"
	InfoCol    string // "context_info"

	ZeroMask ZeroMask // what mask 0 means; must be said if it occurs
	Names    bool     // what is no address but a valid host name is a host row

	// VersionQuery is a query whose result changes whenever the table does:
	// Run asks it instead of reading the table. None by default.
	VersionQuery string

	// SkipBad leaves out rows with errors and reports them, instead of
	// failing the load. Use it only for tables whose match grants something:
	// a skipped row that was to refuse would let its caller in.
	SkipBad bool
}

// OpenSIPSAddresses reads OpenSIPS's address table, version 5.
func OpenSIPSAddresses(db Queryer) SQLAddresses {
	return SQLAddresses{DB: db, IDCol: "id", ZeroMask: ZeroMaskEveryone}
}

// KamailioAddresses reads Kamailio's address table, version 6. It has no
// protocol and no pattern, and mask 0 means a host.
func KamailioAddresses(db Queryer) SQLAddresses {
	return SQLAddresses{
		DB: db, IDCol: "id", IPCol: "ip_addr", ProtoCol: NoColumn, PatternCol: NoColumn, InfoCol: "tag",
		ZeroMask: ZeroMaskHost,
	}
}

// Addresses implements [AddressSource].
func (s SQLAddresses) Addresses(ctx context.Context) iter.Seq2[AddressRow, error] {
	return func(yield func(AddressRow, error) bool) {
		table := orDefault(s.Table, "address")
		rd := addressReader{zeroMask: s.ZeroMask, names: s.Names, skipBad: s.SkipBad, patterns: map[string]error{}}
		var columns []string
		column := func(name, def string) int {
			if name = orDefault(name, def); name == "" || name == NoColumn {
				return -1
			}
			columns = append(columns, name)
			return len(columns) - 1
		}
		id := column(s.IDCol, "")
		at := [...]int{
			colGroup: column(s.GroupCol, "grp"), colIP: column(s.IPCol, "ip"),
			colMask: column(s.MaskCol, "mask"), colPort: column(s.PortCol, "port"),
			colProto: column(s.ProtoCol, "proto"), colPattern: column(s.PatternCol, "pattern"),
			colInfo: column(s.InfoCol, "context_info"),
		}
		query, err := s.query(table, columns, at[colGroup], at[colIP])
		if err != nil {
			yield(AddressRow{}, &LoadError{Origin: Origin{Name: table}, Err: err})
			return
		}
		for r, err := range sqlrows.Read(ctx, s.DB, query) {
			if err != nil {
				yield(AddressRow{}, fmt.Errorf("%s: %w", table, err))
				return
			}
			raw := rawAddress{origin: rowOrigin(table, r, id)}
			for c, i := range at {
				if i >= 0 {
					raw.cell[c] = cell{columns[i], r.Values[i], true, 0}
				}
			}
			if !rd.read(raw, yield) {
				return
			}
		}
	}
}

// Version implements [Versioned] by the VersionQuery.
func (s SQLAddresses) Version(ctx context.Context) (string, error) {
	return sqlrows.Version(ctx, s.DB, s.VersionQuery)
}

func (s SQLAddresses) query(table string, columns []string, group, ip int) (string, error) {
	if s.DB == nil {
		return "", errors.New("want a database")
	}
	if group < 0 || ip < 0 {
		return "", errors.New("a table without group or address column")
	}
	order := s.IDCol
	if order == NoColumn {
		order = ""
	}
	return s.Dialect.Select(table, columns, order)
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// rowOrigin names a row by its id column, if there is one that is a number,
// else by its place in the result.
func rowOrigin(table string, r sqlrows.Row, id int) Origin {
	if id >= 0 {
		if n, err := sqlrows.Integer(r.Values[id], 1, min(1<<32-1, math.MaxInt)); err == nil {
			return Origin{Name: table, Line: int(n), Unit: UnitID}
		}
	}
	return Origin{Name: table, Line: r.N, Unit: UnitRow}
}

// The cells of a row, before they are understood.
const (
	colGroup = iota
	colIP
	colMask
	colPort
	colProto
	colPattern
	colInfo
	addressCols
)

type cell struct {
	name  string
	value any // as drivers give it
	given bool
	col   int // byte column in a file
}

type rawAddress struct {
	origin Origin
	cell   [addressCols]cell
}

// addressReader turns cells into rows.
type addressReader struct {
	zeroMask ZeroMask
	names    bool
	skipBad  bool
	patterns map[string]error // what CompilePattern says to each
}

// read yields the row, or every error it has.
func (rd addressReader) read(raw rawAddress, yield func(AddressRow, error) bool) bool {
	p := rowParser{raw: raw, addressReader: rd}
	r := p.row()
	if len(p.errs) == 0 {
		return yield(r, nil)
	}
	for _, e := range p.errs {
		if !yield(AddressRow{}, e) {
			return false
		}
	}
	return true
}

type rowParser struct {
	addressReader
	raw  rawAddress
	errs []*LoadError
}

func (p *rowParser) bad(col int, format string, args ...any) {
	c := p.raw.cell[col]
	at := p.raw.origin
	at.Col = c.col
	p.errs = append(p.errs, &LoadError{
		Origin: at, Column: c.name, Value: sqlrows.Show(c.value),
		Err: fmt.Errorf(format, args...), Skipped: p.skipBad,
	})
}

func (p *rowParser) row() AddressRow {
	r := AddressRow{Origin: p.raw.origin}
	r.Group = GroupID(p.integer(colGroup, 1<<32-1))
	p.address(&r)
	r.Port = uint16(p.integer(colPort, 65535))
	r.Proto = p.proto()
	r.Pattern = p.pattern()
	r.Info = p.text(colInfo)
	return r
}

// integer reads a number from 0 to most; a column that is not there is 0.
func (p *rowParser) integer(col int, most int64) int64 {
	if !p.raw.cell[col].given {
		return 0
	}
	n, err := sqlrows.Integer(p.raw.cell[col].value, 0, most)
	if err != nil {
		p.bad(col, "%w", err)
	}
	return n
}

// text reads a text; NULL is "".
func (p *rowParser) text(col int) string {
	s, _, err := sqlrows.Text(p.raw.cell[col].value)
	if err != nil {
		p.bad(col, "%w", err)
	}
	return s
}

// pattern reads a pattern that can be compiled. The table would find the
// others too, but knows neither their column nor SkipBad.
func (p *rowParser) pattern() string {
	s := p.text(colPattern)
	if s == "" {
		return ""
	}
	err, ok := p.patterns[s]
	if !ok {
		_, err = CompilePattern(s)
		p.patterns[s] = err
	}
	if err != nil {
		p.bad(colPattern, "%w", err)
	}
	return s
}

func (p *rowParser) proto() Proto {
	c := p.raw.cell[colProto]
	if !c.given {
		return ProtoAny
	}
	if c.value == nil {
		p.bad(colProto, "%w", sqlrows.ErrNull)
	}
	s := p.text(colProto)
	if s == "" {
		return ProtoAny
	}
	proto, err := ParseProto(s)
	if err != nil {
		p.bad(colProto, "want one of %s", strings.Join(protoNames[:], " "))
	}
	return proto
}

// address reads ip and mask, or a host name.
func (p *rowParser) address(r *AddressRow) {
	if p.raw.cell[colIP].value == nil {
		p.bad(colIP, "%w", sqlrows.ErrNull)
		return
	}
	before := len(p.errs)
	text := p.text(colIP)
	if len(p.errs) > before {
		return
	}
	addr, err := ParseAddress(text)
	if err != nil {
		p.host(r, sqlrows.Trim(text))
		return
	}
	if !p.raw.cell[colMask].given {
		r.Prefix = netip.PrefixFrom(addr, addr.BitLen())
		return
	}
	mask := int(p.integer(colMask, int64(addr.BitLen())))
	if mask == 0 && len(p.errs) == before {
		mask = p.zero(addr)
	}
	if len(p.errs) > before {
		return
	}
	if addr.Is4In6() && mask <= 96 {
		p.bad(colMask, "want more than 96 for an IPv4-mapped address")
		return
	}
	r.Prefix = netip.PrefixFrom(addr, mask)
}

// zero gives the prefix length that mask 0 means.
func (p *rowParser) zero(addr netip.Addr) int {
	switch {
	case p.zeroMask == ZeroMaskHost:
		return addr.BitLen()
	case p.zeroMask == ZeroMaskUnset:
		p.bad(colMask, "mask 0 is a host to Kamailio and everyone to OpenSIPS: the source must say which (ZeroMask)")
	case !addr.IsUnspecified():
		p.bad(colMask, "mask 0 on %s would be everyone: want %d for the host, or 0.0.0.0 or ::", addr, addr.BitLen())
	}
	return 0
}

func (p *rowParser) host(r *AddressRow, text string) {
	name, ok := hostName(text)
	switch {
	case !ok:
		p.bad(colIP, "want an IPv4 or IPv6 address")
	case !p.names:
		p.bad(colIP, "want an IPv4 or IPv6 address; for host names set Names")
	default:
		r.Host = name
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
	Names bool   // what is no address but a valid host name is a host row

	// SkipBad is as in [SQLAddresses].
	SkipBad bool
}

// maxLine is the longest line of a text file, in bytes, without its end.
const maxLine = 64 << 10

// Addresses implements [AddressSource].
func (f AddressFile) Addresses(ctx context.Context) iter.Seq2[AddressRow, error] {
	return func(yield func(AddressRow, error) bool) {
		if f.FS == nil {
			yield(AddressRow{}, &LoadError{Origin: Origin{Name: f.Name}, Err: errors.New("want a file system")})
			return
		}
		text, err := fs.ReadFile(f.FS, f.Name)
		if err != nil {
			yield(AddressRow{}, err)
			return
		}
		rd := addressReader{zeroMask: ZeroMaskHost, names: f.Names, skipBad: f.SkipBad}
		n := 0
		for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
			if n++; n%4096 == 0 && ctx.Err() != nil {
				yield(AddressRow{}, ctx.Err())
				return
			}
			if !f.line(rd, n, string(bytes.TrimRight(line, "\r\n")), yield) {
				return
			}
		}
	}
}

// Version implements [Versioned] by a hash of the file.
func (f AddressFile) Version(context.Context) (string, error) { return fileVersion(f.FS, f.Name) }

// fileVersion is a hash of the content of files.
func fileVersion(fsys fs.FS, names ...string) (string, error) {
	h := sha256.New()
	for _, name := range names {
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d:", len(text))
		h.Write(text)
	}
	return string(h.Sum(nil)), nil
}

func (f AddressFile) line(rd addressReader, n int, line string, yield func(AddressRow, error) bool) bool {
	at := Origin{Name: f.Name, Line: n}
	bad := func(col int, format string, args ...any) bool {
		at.Col = col
		return yield(AddressRow{}, &LoadError{Origin: at, Err: fmt.Errorf(format, args...), Skipped: f.SkipBad})
	}
	if len(line) > maxLine {
		return bad(maxLine+1, "want at most %d bytes in a line", maxLine)
	}
	line, _, _ = strings.Cut(line, "#")
	fields, cols := columns(line)
	switch {
	case len(fields) == 0:
		return true
	case len(fields) == 1:
		return bad(len(line)+1, "found end of line, want an address")
	case len(fields) > 5:
		return bad(cols[5], "found %q, want at most five columns: group address mask port tag", shorten(fields[5]))
	}
	raw := rawAddress{origin: at}
	raw.cell[colMask] = cell{"mask", "0", true, 0}
	for i, c := range []struct {
		col  int
		name string
	}{{colGroup, "group"}, {colIP, "address"}, {colMask, "mask"}, {colPort, "port"}, {colInfo, "tag"}} {
		if i < len(fields) {
			raw.cell[c.col] = cell{c.name, fields[i], true, cols[i]}
		}
	}
	return rd.read(raw, yield)
}

// columns splits a line at blanks and gives the byte column of each field.
func columns(line string) (fields []string, cols []int) {
	start := -1
	for i := 0; i <= len(line); i++ {
		blank := i == len(line) || line[i] == ' ' || line[i] == '\t' || line[i] == '\r'
		switch {
		case blank && start >= 0:
			fields, cols = append(fields, line[start:i]), append(cols, start+1)
			start = -1
		case !blank && start < 0:
			start = i
		}
	}
	return fields, cols
}
