// Package fakedb is a database/sql driver for tests. It serves tables held in
// memory and fails, hangs or panics when told to.
//
// It understands what the library asks, and nothing else is let through:
//
//	SELECT column, ... FROM table [WHERE column = ? AND ...] [ORDER BY column]
package fakedb

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// DB is a database in memory. Its methods are safe for concurrent use and
// take effect on the next query.
type DB struct {
	sql *sql.DB

	mu      sync.Mutex
	tables  map[string]table
	queries int
	err     error // of every query
	after   int   // rows that come before err; -1: the query itself fails
	panics  any
	hang    chan struct{} // closed by release; nil when queries do not hang
}

type table struct {
	columns []string
	rows    [][]any
}

// Open returns an empty database, closed when the test ends.
func Open(t testing.TB) *DB {
	d := &DB{tables: map[string]table{}}
	d.sql = sql.OpenDB(connector{d})
	t.Cleanup(func() { d.sql.Close() })
	return d
}

// SQL returns the handle to give to what is tested.
func (d *DB) SQL() *sql.DB { return d.sql }

// Set puts a table in place of the one of that name. The rows hold values as
// drivers give them, which any query receives unchanged.
func (d *DB) Set(name string, columns []string, rows ...[]any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tables[name] = table{slices.Clone(columns), slices.Clone(rows)}
}

// Fail makes every query fail with err; nil ends it.
func (d *DB) Fail(err error) { d.fail(err, -1) }

// FailAfter makes every result break with err after n rows.
func (d *DB) FailAfter(n int, err error) { d.fail(err, n) }

func (d *DB) fail(err error, after int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.after = err, after
}

// Panic makes every query panic with v; nil ends it.
func (d *DB) Panic(v any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.panics = v
}

// Hang makes every query wait until its context ends or release is called.
func (d *DB) Hang() (release func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	hang := make(chan struct{})
	d.hang = hang
	return sync.OnceFunc(func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(hang)
		if d.hang == hang {
			d.hang = nil
		}
	})
}

// Queries counts the queries that were sent, whatever became of them.
func (d *DB) Queries() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.queries
}

func (d *DB) query(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	d.mu.Lock()
	d.queries++
	err, after, panics, hang := d.err, d.after, d.panics, d.hang
	d.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if panics != nil {
		panic(panics)
	}
	if err != nil && after < 0 {
		return nil, err
	}
	r, selectErr := d.selectRows(text, args)
	if selectErr != nil {
		return nil, fmt.Errorf("fakedb: %w: %s", selectErr, text)
	}
	if err != nil {
		r.rows, r.err = r.rows[:min(after, len(r.rows))], err
	}
	return r, nil
}

func (d *DB) selectRows(text string, args []driver.NamedValue) (*rows, error) {
	s, err := parse(text)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	t, ok := d.tables[s.table]
	d.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("no such table: %s", s.table)
	}
	if len(s.where) != len(args) {
		return nil, fmt.Errorf("%d parameters for %d conditions", len(args), len(s.where))
	}
	at := func(name string) (i int) {
		if i = slices.Index(t.columns, name); i < 0 {
			err = fmt.Errorf("no such column: %s", name)
		}
		return i
	}
	r := &rows{columns: s.columns}
	for _, c := range s.columns {
		r.pick = append(r.pick, at(c))
	}
	var where []int
	for _, c := range s.where {
		where = append(where, at(c))
	}
	order := -1
	if s.order != "" {
		order = at(s.order)
	}
	if err != nil {
		return nil, err
	}
	for _, row := range t.rows {
		if holds(row, where, args) {
			r.rows = append(r.rows, row)
		}
	}
	if order >= 0 {
		slices.SortStableFunc(r.rows, func(a, b []any) int { return compare(a[order], b[order]) })
	}
	return r, nil
}

func holds(row []any, where []int, args []driver.NamedValue) bool {
	for i, c := range where {
		if row[c] == nil || text(row[c]) != text(args[i].Value) {
			return false
		}
	}
	return true
}

// compare orders numbers, by their text what else there is, and NULL first.
func compare(a, b any) int {
	if a == nil || b == nil {
		return cmp.Compare(text(a), text(b))
	}
	x, errX := strconv.ParseInt(text(a), 10, 64)
	y, errY := strconv.ParseInt(text(b), 10, 64)
	if errX == nil && errY == nil {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(text(a), text(b))
}

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}

type selection struct {
	columns []string
	table   string
	where   []string
	order   string
}

var errSyntax = errors.New("want SELECT ... FROM ... [WHERE ... AND ...] [ORDER BY ...]")

// parse reads a SELECT whose words are parted by blanks. Quotes around names
// are dropped, and the parameters are taken in their order.
func parse(text string) (s selection, err error) {
	p := parser{words: strings.Fields(strings.NewReplacer(",", " ", `"`, "", "`", "").Replace(text))}
	p.want("SELECT")
	for len(p.words) > 0 && p.words[0] != "FROM" {
		s.columns = append(s.columns, p.next())
	}
	p.want("FROM")
	s.table = p.next()
	if p.word("WHERE") {
		for again := true; again; again = p.word("AND") {
			s.where = append(s.where, p.next())
			p.want("=")
			p.next()
		}
	}
	if p.word("ORDER") {
		p.want("BY")
		s.order = p.next()
	}
	if p.bad || len(p.words) > 0 {
		return selection{}, errSyntax
	}
	return s, nil
}

type parser struct {
	words []string
	bad   bool
}

func (p *parser) next() string {
	if len(p.words) == 0 {
		p.bad = true
		return ""
	}
	w := p.words[0]
	p.words = p.words[1:]
	return w
}

func (p *parser) word(w string) bool {
	if len(p.words) == 0 || p.words[0] != w {
		return false
	}
	p.next()
	return true
}

func (p *parser) want(w string) { p.bad = !p.word(w) || p.bad }

// rows is the result of a query.
type rows struct {
	columns []string
	pick    []int
	rows    [][]any
	err     error // after the rows
}

func (r *rows) Columns() []string { return r.columns }

func (r *rows) Close() error { return nil }

func (r *rows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		if r.err != nil {
			return r.err
		}
		return io.EOF
	}
	for i, c := range r.pick {
		dest[i] = r.rows[0][c]
	}
	r.rows = r.rows[1:]
	return nil
}

type connector struct{ db *DB }

func (c connector) Connect(context.Context) (driver.Conn, error) { return conn(c), nil }

func (c connector) Driver() driver.Driver { return c }

func (c connector) Open(string) (driver.Conn, error) { return conn(c), nil }

type conn struct{ db *DB }

func (c conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.db.query(ctx, query, args)
}

var errReadOnly = errors.New("fakedb: queries only")

func (c conn) Prepare(string) (driver.Stmt, error) { return nil, errReadOnly }

func (c conn) Begin() (driver.Tx, error) { return nil, errReadOnly }

func (c conn) Close() error { return nil }
