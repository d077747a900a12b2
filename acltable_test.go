package sipacl

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// aclTableFake is a table of named ACLs behind database/sql. It understands the
// one query that SQLACLs sends.
type aclTableFake struct {
	mu      sync.Mutex
	columns []string
	rows    []map[string]any
	err     error // of the next queries
}

func (f *aclTableFake) set(rows []map[string]any, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rows, f.err = rows, err
}

func (f *aclTableFake) open(t *testing.T) *sql.DB {
	db := sql.OpenDB(f)
	t.Cleanup(func() { db.Close() })
	return db
}

// aclTableDB is a database with such a table. Rows may lack columns, which
// are NULL then.
func aclTableDB(t *testing.T, columns []string, rows []map[string]any) *sql.DB {
	return (&aclTableFake{columns: columns, rows: rows}).open(t)
}

func (f *aclTableFake) Connect(context.Context) (driver.Conn, error) { return f, nil }
func (f *aclTableFake) Driver() driver.Driver                        { return nil }
func (f *aclTableFake) Prepare(string) (driver.Stmt, error)          { return nil, driver.ErrSkip }
func (f *aclTableFake) Begin() (driver.Tx, error)                    { return nil, driver.ErrSkip }
func (f *aclTableFake) Close() error                                 { return nil }

var aclSelect = regexp.MustCompile(`^SELECT (.+) FROM (\w+)(?: WHERE (\w+) = \?)?(?: ORDER BY (\w+))?$`)

// QueryContext answers SELECT ... FROM ... WHERE one column = ?.
func (f *aclTableFake) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := aclSelect.FindStringSubmatch(query)
	if f.err != nil || m == nil {
		return nil, fmt.Errorf("%s: %w", query, f.err)
	}
	r := &aclTableRows{columns: strings.Split(m[1], ", ")}
	for _, c := range append(slices.Clone(r.columns), m[3], m[4]) {
		if c != "" && !slices.ContainsFunc(f.columns, func(have string) bool { return strings.EqualFold(have, c) }) {
			return nil, fmt.Errorf("no such column: %s", c)
		}
	}
	for _, row := range f.rows {
		if m[3] != "" && column(row, m[3]) != args[0].Value {
			continue
		}
		values := make([]driver.Value, len(r.columns))
		for i, c := range r.columns {
			values[i] = driverValue(column(row, c))
		}
		r.rows = append(r.rows, values)
	}
	return r, nil
}

func column(row map[string]any, name string) any {
	for k, v := range row {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

func driverValue(v any) driver.Value {
	if n, ok := v.(json.Number); ok {
		if i, err := n.Int64(); err == nil {
			return i
		}
		return n.String()
	}
	return v
}

type aclTableRows struct {
	columns []string
	rows    [][]driver.Value
}

func (r *aclTableRows) Columns() []string { return r.columns }
func (r *aclTableRows) Close() error      { return nil }

func (r *aclTableRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}
