package fakedb

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// read returns what one column of a query holds.
func read(ctx context.Context, d *DB, query string, args ...any) (values []any, err error) {
	rows, err := d.SQL().QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var v any
		if err := rows.Scan(&v); err != nil {
			return values, err
		}
		values = append(values, v)
	}
	return values, rows.Err()
}

func address(t *testing.T) *DB {
	d := Open(t)
	d.Set("address", []string{"id", "ip", "grp"},
		[]any{int64(10), "10.0.0.2", nil},
		[]any{int64(2), []byte("10.0.0.1"), uint64(7)},
		[]any{nil, "10.0.0.3", int64(7)})
	return d
}

func TestSelect(t *testing.T) {
	d := address(t)
	for query, want := range map[string][]any{
		"SELECT ip FROM address":                   {"10.0.0.2", []byte("10.0.0.1"), "10.0.0.3"},
		"SELECT grp FROM address":                  {nil, uint64(7), int64(7)},
		`SELECT "ip" FROM "address" ORDER BY "id"`: {"10.0.0.3", []byte("10.0.0.1"), "10.0.0.2"},
	} {
		got, err := read(t.Context(), d, query)
		require.NoError(t, err, query)
		require.Equal(t, want, got, query)
	}
	got, err := read(t.Context(), d, "SELECT ip FROM address WHERE grp = $1 AND ip = $2", 7, "10.0.0.1")
	require.NoError(t, err)
	require.Equal(t, []any{[]byte("10.0.0.1")}, got)
	require.Equal(t, 4, d.Queries())
}

func TestSelectRefuses(t *testing.T) {
	d := address(t)
	for _, query := range []string{
		"SELECT ip FROM trusted", "SELECT mask FROM address", "SELECT ip FROM address ORDER BY mask",
		"SELECT ip FROM address LIMIT 1", "DELETE FROM address", "SELECT ip FROM", "SELECT ip FROM address WHERE ip = ?", "",
	} {
		_, err := read(t.Context(), d, query)
		require.Error(t, err, query)
	}
}

func TestFail(t *testing.T) {
	d, down := address(t), errors.New("down")
	d.Fail(down)
	_, err := read(t.Context(), d, "SELECT ip FROM address")
	require.ErrorIs(t, err, down)

	d.FailAfter(2, down)
	got, err := read(t.Context(), d, "SELECT ip FROM address")
	require.ErrorIs(t, err, down)
	require.Len(t, got, 2)

	d.Fail(nil)
	_, err = read(t.Context(), d, "SELECT ip FROM address")
	require.NoError(t, err)
}

func TestPanic(t *testing.T) {
	d := address(t)
	d.Panic("driver bug")
	require.PanicsWithValue(t, "driver bug", func() { _, _ = read(t.Context(), d, "SELECT ip FROM address") })
	d.Panic(nil)
	_, err := read(t.Context(), d, "SELECT ip FROM address")
	require.NoError(t, err)
}

func TestHang(t *testing.T) {
	d := address(t)
	release := d.Hang()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	_, err := read(ctx, d, "SELECT ip FROM address")
	require.ErrorIs(t, err, context.DeadlineExceeded)

	done := make(chan error)
	go func() {
		_, err := read(t.Context(), d, "SELECT ip FROM address")
		done <- err
	}()
	release()
	require.NoError(t, <-done)
	release()
}
