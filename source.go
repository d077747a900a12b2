// RowSource: where rows come from. The one reader of tables, the one reader of lines.

package sipacl

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/sipacl/sipacl/internal/lines"
	"github.com/sipacl/sipacl/internal/sqlrows"
)

// RowSource yields the rows of one list. A row that cannot be read is yielded
// as a [*LoadError] and the sequence goes on, so that all of them are named;
// any other error ends it. A source that is also [Versioned] is read less
// often.
type RowSource[R any] interface {
	Rows(ctx context.Context) iter.Seq2[R, error]
}

// The sources, by what they yield.
type (
	AddressSource = RowSource[AddressRow] // of a [Partition]
	ACLSource     = RowSource[ACLRow]     // of [ACLs]
	MemberSource  = RowSource[Member]     // of [Groups]
	ClassSource   = RowSource[ClassRow]   // of [Groups]
	TrustedSource = RowSource[TrustedRow] // of [Trusted]
)

// Rows is a source of rows in memory.
func Rows[R any](rows ...R) RowSource[R] { return memoryRows[R](rows) }

type memoryRows[R any] []R

func (rows memoryRows[R]) Rows(context.Context) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// RowFunc is a source made of a function.
type RowFunc[R any] func(ctx context.Context) iter.Seq2[R, error]

// Rows implements [RowSource].
func (f RowFunc[R]) Rows(ctx context.Context) iter.Seq2[R, error] { return f(ctx) }

// SkipBad returns s without the rows that have errors: they are left out and
// reported in [ReloadReport] and [Status] instead of failing the load. Give it
// only what grants something: a row that was to refuse, and is left out, would
// let its caller in. Of named ACLs it leaves out the whole ACL, so that its
// name refuses.
func SkipBad[R any](s RowSource[R]) RowSource[R] { return skipping[R]{s} }

type skipping[R any] struct{ source RowSource[R] }

// checked is a row that can say what is wrong with it.
type checked interface{ check() error }

func (s skipping[R]) Rows(ctx context.Context) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for r, err := range s.source.Rows(ctx) {
			if c, ok := any(r).(checked); ok && err == nil {
				err = c.check()
			}
			if bad := (*LoadError)(nil); errors.As(err, &bad) {
				skipped := *bad
				skipped.Skipped = true
				err = &skipped
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Version implements [Versioned].
func (s skipping[R]) Version(ctx context.Context) (string, error) {
	if v, ok := s.source.(Versioned); ok {
		return v.Version(ctx)
	}
	return "", nil
}

// readAll gives add every row of sources, one source after the other. It
// returns the rows left out, or every error there is.
func readAll[R any](ctx context.Context, sources []RowSource[R], add func(R) error) (skipped []*LoadError, err error) {
	var errs []error
	for _, s := range sources {
		n := 0
		for r, err := range s.Rows(ctx) {
			if n++; n%4096 == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err == nil {
				err = add(r)
			}
			if err == nil {
				continue
			}
			bad := (*LoadError)(nil)
			row := errors.As(err, &bad)
			if row && bad.Skipped {
				skipped = append(skipped, bad)
				continue
			}
			if errs = append(errs, err); !row {
				break
			}
		}
	}
	return skipped, errors.Join(errs...)
}

// checkSources tells a list without sources, or with a nil one.
func checkSources[R any](part string, sources []RowSource[R]) error {
	for _, s := range sources {
		if s == nil {
			return fmt.Errorf("sipacl: %s: want a source, not nil", part)
		}
	}
	if len(sources) == 0 {
		return fmt.Errorf("sipacl: %s: want a source", part)
	}
	return nil
}

// versions joins the versions of sources; it is nil if one has none.
func versions[S any](sources []S) func(context.Context) (string, error) {
	all := make([]Versioned, 0, len(sources))
	for _, s := range sources {
		v, ok := any(s).(Versioned)
		if !ok {
			return nil
		}
		all = append(all, v)
	}
	return func(ctx context.Context) (joined string, err error) {
		for _, v := range all {
			one, err := v.Version(ctx)
			if err != nil || one == "" {
				return "", err
			}
			joined += fmt.Sprintf("%d:%s", len(one), one)
		}
		return joined, nil
	}
}

// Queryer is what tables are read through: *sql.DB, *sql.Conn and *sql.Tx are
// Queryers.
type Queryer = sqlrows.Queryer

// Dialect is how a database writes identifiers and parameters. The zero
// Dialect writes plain identifiers and "?".
type Dialect uint8

// The dialects.
const (
	PlainSQL Dialect = iota
	PostgreSQL
	MySQL // MariaDB too
	SQLite
)

// NoColumn as a column name says that the table lacks the column.
const NoColumn = "-"

// SQL is what all readers of tables through database/sql have in common. Rows
// are read one at a time. Integers may have any width or be text, texts may be
// padded with blanks. A value that is not what the column needs is an error
// that names row, column and value.
type SQL struct {
	DB      Queryer
	Dialect Dialect
	Table   string // the default is the reader's

	// Query is read instead of a table, and finds its own order. Columns have
	// no default names then: name those that the query gives.
	Query string

	// IDCol orders the rows and names them in decisions and errors; "" is none.
	IDCol string

	// VersionQuery is a query whose result changes whenever the table does:
	// Run asks it instead of reading the table. None by default.
	VersionQuery string
}

// Version implements [Versioned] by the VersionQuery.
func (s SQL) Version(ctx context.Context) (string, error) {
	if s.VersionQuery != "" && s.DB == nil {
		return "", errNoDatabase
	}
	return sqlrows.Version(ctx, s.DB, s.VersionQuery)
}

// A source that lacks these has no row that could be left out: no LoadError.
var (
	errNoDatabase = errors.New("want a database")
	errNoFiles    = errors.New("want a file system")
)

// sqlColumn is a column as its reader knows it.
type sqlColumn struct {
	name      string // as configured
	byDefault string
	needed    bool
}

// sqlTable is an SQL and what one reader wants of it.
type sqlTable struct {
	SQL
	name    string   // of the table, for origins and errors
	cells   []string // the name of each cell, "" if the table lacks it
	at      []int    // by cell: its index in columns, -1 none
	columns []string // that are read
	id      int      // index in columns; -1 none
	where   []string // columns that equal args
	args    []any
	err     error
}

// reads returns the table of s. name is its default name.
func (s SQL) reads(name string, columns ...sqlColumn) *sqlTable {
	t := &sqlTable{SQL: s, name: orDefault(s.Table, name), id: -1}
	if s.Query != "" {
		t.name = orDefault(s.Table, "query")
	}
	if s.DB == nil {
		t.err = errNoDatabase
	}
	for _, c := range columns {
		col := c.name
		if s.Query == "" {
			col = orDefault(col, c.byDefault)
		}
		if col == NoColumn {
			col = ""
		}
		if col == "" && c.needed {
			t.err = errors.Join(t.err, fmt.Errorf("want a column for %q", c.byDefault))
		}
		t.cells, t.at = append(t.cells, col), append(t.at, t.column(col))
	}
	if s.IDCol != NoColumn {
		t.id = t.column(s.IDCol)
	}
	return t
}

// column adds a column to those that are read.
func (t *sqlTable) column(name string) int {
	if name == "" {
		return -1
	}
	t.columns = append(t.columns, name)
	return len(t.columns) - 1
}

// has reports whether the table has the column of a cell.
func (t *sqlTable) has(cell int) bool { return t.at[cell] >= 0 }

// only selects the rows in which the column has this value. The column is read,
// too: a name that is none is a text to SQLite if it stands in double quotes.
func (t *sqlTable) only(column string, value any) {
	if !slices.Contains(t.columns, column) {
		t.column(column)
	}
	t.where, t.args = append(t.where, column), append(t.args, value)
}

// rows yields the rows as the driver gives them.
func (t *sqlTable) rows(ctx context.Context) iter.Seq2[sqlrows.Row, error] {
	query, err := t.query()
	if err != nil {
		return func(yield func(sqlrows.Row, error) bool) {
			yield(sqlrows.Row{}, err)
		}
	}
	return sqlrows.Pick(ctx, t.DB, t.columns, query, t.args...)
}

func (t *sqlTable) query() (string, error) {
	if t.err != nil || t.Query != "" {
		return t.Query, t.err
	}
	order := ""
	if t.id >= 0 {
		order = t.columns[t.id]
	}
	return sqlrows.Dialect(t.Dialect).SelectWhere(t.name, t.columns, t.where, order)
}

// origin names a row by its id column, if there is one that is a number, else
// by its place in the result.
func (t *sqlTable) origin(r sqlrows.Row) Origin {
	if t.id >= 0 {
		if n, err := sqlrows.Integer(r.Values[t.id], 1, min(1<<32-1, math.MaxInt)); err == nil {
			return Origin{Name: t.name, Line: int(n), Unit: UnitID}
		}
	}
	return Origin{Name: t.name, Line: r.N, Unit: UnitRow}
}

// readTable yields what read makes of each row of the table, or every error it
// has found.
func readTable[R any](ctx context.Context, t *sqlTable, read func(*record) R) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		rec := record{names: t.cells, values: make([]any, len(t.cells))}
		for r, err := range t.rows(ctx) {
			if err != nil {
				var none R
				yield(none, fmt.Errorf("%s: %w", t.name, err))
				return
			}
			rec.origin = t.origin(r)
			for cell, i := range t.at {
				if i >= 0 {
					rec.values[cell] = r.Values[i]
				}
			}
			if !yieldRow(&rec, read(&rec), yield) {
				return
			}
		}
	}
}

// record is a row of cells before they are understood, of a table or of a line.
type record struct {
	origin Origin
	names  []string // of the cells; "" for one that is not there
	values []any    // as drivers give them
	cols   []int    // byte columns in a line; nil for tables
	errs   []*LoadError
}

// yieldRow yields r, or the errors of rec. The row goes with its errors: what
// it is part of may be known.
func yieldRow[R any](rec *record, r R, yield func(R, error) bool) bool {
	if len(rec.errs) == 0 {
		return yield(r, nil)
	}
	errs := rec.errs
	rec.errs = nil
	for _, e := range errs {
		if !yield(r, e) {
			return false
		}
	}
	return true
}

// given reports whether there is such a cell at all.
func (r *record) given(cell int) bool { return r.names[cell] != "" }

// bad notes what is wrong with a cell.
func (r *record) bad(cell int, err error) {
	at := r.origin
	if r.cols != nil {
		at.Col = r.cols[cell]
	}
	r.errs = append(r.errs, &LoadError{Origin: at, Column: r.names[cell], Value: sqlrows.Show(r.values[cell]), Err: err})
}

func (r *record) badf(cell int, format string, args ...any) { r.bad(cell, fmt.Errorf(format, args...)) }

// integer reads a number from lo to hi; a cell that is not there is 0.
func (r *record) integer(cell int, lo, hi int64) int64 {
	if !r.given(cell) {
		return 0
	}
	n, err := sqlrows.Integer(r.values[cell], lo, hi)
	if err != nil {
		r.bad(cell, err)
	}
	return n
}

// text reads a text; ok is false for NULL and for a cell that is not there,
// which are "".
func (r *record) text(cell int) (s string, ok bool) {
	if !r.given(cell) {
		return "", false
	}
	s, ok, err := sqlrows.Text(r.values[cell])
	if err != nil {
		r.bad(cell, err)
	}
	return s, ok
}

// needed is text of a cell in which NULL is an error.
func (r *record) needed(cell int) string {
	s, ok := r.text(cell)
	if !ok && r.given(cell) && r.values[cell] == nil {
		r.bad(cell, sqlrows.ErrNull)
	}
	return s
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// textLine is one line of a text file, without its end.
type textLine struct {
	origin Origin
	text   string
}

func (l textLine) errorf(col int, format string, args ...any) *LoadError {
	l.origin.Col = col
	return &LoadError{Origin: l.origin, Err: fmt.Errorf(format, args...)}
}

// readLines yields what read makes of the lines of a file; read yields each
// row, and each error, that a line has.
func readLines[R any](ctx context.Context, fsys fs.FS, name string, read func(l textLine, yield func(R, error) bool) bool) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var none R
		text, err := readFile(fsys, name)
		if err != nil {
			yield(none, err)
			return
		}
		for n, line := range lines.Of(string(text)) {
			if n%4096 == 0 && ctx.Err() != nil {
				yield(none, ctx.Err())
				return
			}
			l := textLine{Origin{Name: name, Line: n}, line}
			if len(line) > lines.Max {
				if !yield(none, l.errorf(lines.Max+1, "%w", lines.ErrLong)) {
					return
				}
				continue
			}
			if !read(l, yield) {
				return
			}
		}
	}
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	if fsys == nil {
		return nil, fmt.Errorf("%s: %w", name, errNoFiles)
	}
	return fs.ReadFile(fsys, name)
}

// fileVersion is a hash of the content of files. One that does not exist is
// another content than an empty one.
func fileVersion(fsys fs.FS, names ...string) (string, error) {
	h := sha256.New()
	for _, name := range names {
		text, err := readFile(fsys, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		fmt.Fprintf(h, "%t %d:", err == nil, len(text))
		h.Write(text)
	}
	return string(h.Sum(nil)), nil
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

// withoutComment is a line without what follows a "#".
func withoutComment(line string) string {
	line, _, _ = strings.Cut(line, "#")
	return line
}
