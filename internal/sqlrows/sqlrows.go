// Package sqlrows reads tables through database/sql as they are found in the
// field: integers of any width or as text, CHAR padding, NULLs, views.
//
// What it cannot read exactly it refuses: a number is a whole decimal number
// in range, never the digits at the head of something else.
package sqlrows

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"math"
	"reflect"
	"strconv"
	"strings"
)

// Queryer is the part of *sql.DB, *sql.Conn and *sql.Tx that reading needs.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Dialect is how a database writes identifiers and parameters.
type Dialect uint8

// The dialects. Plain writes identifiers as they are and parameters as "?".
const (
	Plain Dialect = iota
	PostgreSQL
	MySQL
	SQLite
)

// Param gives the n-th parameter of a query, from 1.
func (d Dialect) Param(n int) string {
	if d == PostgreSQL {
		return "$" + strconv.Itoa(n)
	}
	return "?"
}

// Identifier gives a table or column name as the dialect writes it. Names are
// letters, digits, "_" and "$", not beginning with a digit; a table may be
// qualified by up to two more names and dots. Nothing else gets into a query.
func (d Dialect) Identifier(name string) (string, error) {
	parts := strings.Split(name, ".")
	if len(parts) > 3 {
		return "", fmt.Errorf("identifier %q: more than two dots", name)
	}
	for i, p := range parts {
		if !plain(p) {
			return "", fmt.Errorf("identifier %q: want letters, digits and _", name)
		}
		switch d {
		case PostgreSQL:
			parts[i] = `"` + p + `"`
		case MySQL, SQLite: // to SQLite "p" is a text if there is no such column
			parts[i] = "`" + p + "`"
		}
	}
	return strings.Join(parts, "."), nil
}

func plain(s string) bool {
	if s == "" || len(s) > 128 || s[0] >= '0' && s[0] <= '9' || s[0] == '$' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '_' && c != '$' && (c < '0' || c > '9') && (c|32 < 'a' || c|32 > 'z') {
			return false
		}
	}
	return true
}

// Select gives "SELECT columns FROM table", with "ORDER BY order" unless order
// is "". Every name that is no identifier is an error of its own.
func (d Dialect) Select(table string, columns []string, order string) (string, error) {
	return d.SelectWhere(table, columns, nil, order)
}

// SelectWhere is Select of the rows in which the columns of where equal the
// parameters of the query.
func (d Dialect) SelectWhere(table string, columns, where []string, order string) (string, error) {
	var errs []error
	write := func(name string) string {
		s, err := d.Identifier(name)
		if err != nil {
			errs = append(errs, err)
		}
		return s
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = write(c)
	}
	q := "SELECT " + strings.Join(names, ", ") + " FROM " + write(table)
	word := " WHERE "
	for i, c := range where {
		q += word + write(c) + " = " + d.Param(i+1)
		word = " AND "
	}
	if order != "" {
		q += " ORDER BY " + write(order)
	}
	return q, errors.Join(errs...)
}

// Row is one row of a result. Its values are those the driver gave and are
// valid until the next row.
type Row struct {
	N      int // from 1
	Values []any
}

// Read yields the rows of a query, one at a time, and ends after an error.
func Read(ctx context.Context, db Queryer, query string, args ...any) iter.Seq2[Row, error] {
	return Pick(ctx, db, nil, query, args...)
}

// Pick is Read of the named columns of the result, in this order and in any
// letter case; nil means all of them. A name that is missing, or there twice,
// is an error even if there are no rows.
func Pick(ctx context.Context, db Queryer, names []string, query string, args ...any) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			yield(Row{}, err)
			return
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			yield(Row{}, err)
			return
		}
		values, into, err := destinations(columns, names)
		if err != nil {
			yield(Row{}, err)
			return
		}
		for n := 1; rows.Next(); n++ {
			if err := rows.Scan(into...); err != nil {
				yield(Row{}, err)
				return
			}
			if !yield(Row{N: n, Values: values}, nil) {
				return
			}
		}
		if err := rows.Err(); err != nil {
			yield(Row{}, err)
		} else if err := ctx.Err(); err != nil {
			yield(Row{}, err) // some drivers end a cancelled result early, without a word
		}
	}
}

// destinations gives the values of the named columns and, for every column,
// what it is scanned into.
func destinations(columns, names []string) (values, into []any, err error) {
	into = make([]any, len(columns))
	if names == nil {
		values = make([]any, len(columns))
		for i := range into {
			into[i] = &values[i]
		}
		return values, into, nil
	}
	for i := range into {
		into[i] = new(any)
	}
	values = make([]any, len(names))
	var errs []error
	for v, name := range names {
		found := -1
		for i, c := range columns {
			switch {
			case !strings.EqualFold(c, name):
			case found >= 0:
				errs = append(errs, fmt.Errorf("column %q is there twice", name))
			default:
				found = i
			}
		}
		if found < 0 {
			errs = append(errs, fmt.Errorf("no column %q among %s", name, strings.Join(columns, ", ")))
			continue
		}
		into[found] = &values[v]
	}
	return values, into, errors.Join(errs...)
}

// Version gives the result of a query as one text, and "" for no query.
func Version(ctx context.Context, db Queryer, query string) (string, error) {
	if query == "" {
		return "", nil
	}
	var b strings.Builder
	for r, err := range Read(ctx, db, query) {
		if err != nil {
			return "", err
		}
		for _, v := range r.Values {
			fmt.Fprintf(&b, "%T %q\n", v, Show(v))
		}
	}
	return b.String(), nil
}

// ErrNull is what NULL gives where a value is needed.
var ErrNull = errors.New("want a value, not NULL")

// Integer reads a whole number from lo to hi.
func Integer(v any, lo, hi int64) (int64, error) {
	n, err := integer(v)
	if err != nil || n < lo || n > hi {
		if err == ErrNull {
			return 0, err
		}
		return 0, fmt.Errorf("want a whole number, %d to %d", lo, hi)
	}
	return n, nil
}

var errNumber = errors.New("not a whole number")

func integer(v any) (int64, error) {
	switch v := v.(type) {
	case nil:
		return 0, ErrNull
	case int64:
		return v, nil
	case uint64:
		if v <= math.MaxInt64 {
			return int64(v), nil
		}
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v), nil
		}
		return 0, errNumber
	case []byte:
		return decimal(string(v))
	case string:
		return decimal(v)
	}
	return other(v)
}

// other reads the widths that database/sql does not promise and some drivers
// give all the same.
func other(v any) (int64, error) {
	switch r := reflect.ValueOf(v); {
	case r.CanInt():
		return r.Int(), nil
	case r.CanUint() && r.Uint() <= math.MaxInt64:
		return int64(r.Uint()), nil
	case r.CanFloat():
		return integer(r.Float())
	}
	return 0, errNumber
}

// decimal reads "12" and "-12", with the blanks of CHAR columns around it,
// and nothing more lenient ("+12", "0x12", "1e2", "12.0").
func decimal(s string) (int64, error) {
	s = Trim(s)
	digits := strings.TrimPrefix(s, "-")
	if digits == "" {
		return 0, errNumber
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, errNumber
		}
	}
	return strconv.ParseInt(s, 10, 64)
}

// Text reads a text, without the blanks that pad CHAR columns on the right.
// A number gives its decimal text. ok is false for NULL; other types are an
// error.
func Text(v any) (s string, ok bool, err error) {
	switch v := v.(type) {
	case nil:
		return "", false, nil
	case string:
		s = v
	case []byte:
		s = string(v)
	default:
		switch r := reflect.ValueOf(v); {
		case r.CanInt():
			s = strconv.FormatInt(r.Int(), 10)
		case r.CanUint():
			s = strconv.FormatUint(r.Uint(), 10)
		default:
			return "", false, fmt.Errorf("want text, not %T", v)
		}
	}
	return strings.TrimRight(s, " "), true, nil
}

// Trim takes blanks and tabs from both ends.
func Trim(s string) string { return strings.Trim(s, " \t") }

// Show gives a value as a message shows it.
func Show(v any) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case []byte:
		return string(v)
	}
	return fmt.Sprint(v)
}
