package sqlrows

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/stretchr/testify/require"
)

func TestIntegersOfEveryKind(t *testing.T) {
	for _, v := range []any{
		int64(12), uint64(12), int32(12), int(12), int8(12), uint8(12), uint16(12), uint32(12), float64(12), float32(12),
		"12", " 12\t", "12    ", "0012", []byte("12"), []byte("12  "),
	} {
		n, err := Integer(v, 0, 65535)
		require.NoError(t, err, "%T %v", v, v)
		require.Equal(t, int64(12), n)
	}
	for _, v := range []any{
		"", " ", "-", "+12", "0x12", "1e2", "12.0", "12a", "1 2", "--1", "\uff11\uff12", "12\x00", "99999999999999999999", "-1", "65536",
		[]byte(nil), 12.5, math.NaN(), math.Inf(1), -1.0, 1e300, true, int64(-1), int64(65536), uint64(math.MaxUint64), uint64(1 << 63), struct{}{},
	} {
		_, err := Integer(v, 0, 65535)
		require.EqualError(t, err, "want a whole number, 0 to 65535", "%T %v", v, v)
	}
	_, err := Integer(nil, 0, 1)
	require.ErrorIs(t, err, ErrNull)
	n, err := Integer("4294967295", 0, 1<<32-1)
	require.NoError(t, err)
	require.Equal(t, int64(1<<32-1), n)
	n, err = Integer("-2", -2, 0)
	require.NoError(t, err)
	require.Equal(t, int64(-2), n)
}

func TestTextsWithoutPadding(t *testing.T) {
	for want, v := range map[string]any{
		"any": "any   ", " x": []byte(" x "), "a\t": "a\t", "": "   ", "17": int64(17), "18": uint64(18), "-19": int32(-19), "20": uint8(20),
	} {
		s, ok, err := Text(v)
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, want, s)
	}
	_, ok, err := Text(nil)
	require.NoError(t, err)
	require.False(t, ok)
	for _, v := range []any{true, 1.5, struct{}{}} {
		_, _, err := Text(v)
		require.ErrorContains(t, err, "want text, not ")
	}
}

func TestShow(t *testing.T) {
	require.Equal(t, []string{"NULL", "x", "17", "true"}, []string{Show(nil), Show([]byte("x")), Show(17), Show(true)})
}

func TestNothingButIdentifiersGetsIntoAQuery(t *testing.T) {
	for _, name := range []string{
		"", ".", "a.", ".a", "a..b", "a.b.c.d", "1a", "$a", "a b", "a;b", `a"b`, "a`b", "a'b", "a--", "a/*", "a,b", "a)", "*", "a\x00", "a\n", "\u00e4",
		"address; DROP TABLE address", `address" UNION SELECT 1 --`, "count(*)", strings.Repeat("a", 129),
	} {
		for d := Plain; d <= SQLite; d++ {
			_, err := d.Identifier(name)
			require.ErrorContains(t, err, "identifier ", "%q", name)
			_, err = d.Select(name, []string{"a"}, "")
			require.Error(t, err)
			_, err = d.Select("a", []string{"b", name}, "")
			require.Error(t, err)
			if name != "" {
				_, err = d.Select("a", []string{"b"}, name)
				require.Error(t, err)
			}
		}
	}
	_, err := Plain.Select("a b", []string{"c d"}, "e f")
	require.Equal(t, 3, strings.Count(err.Error(), "identifier"), "each of them is named")
}

func TestDialects(t *testing.T) {
	for d, want := range map[Dialect]string{
		Plain:      "SELECT grp, a_1 FROM db.address ORDER BY id$ / ?",
		PostgreSQL: `SELECT "grp", "a_1" FROM "db"."address" ORDER BY "id$" / $2`,
		MySQL:      "SELECT `grp`, `a_1` FROM `db`.`address` ORDER BY `id$` / ?",
		SQLite:     "SELECT `grp`, `a_1` FROM `db`.`address` ORDER BY `id$` / ?",
	} {
		q, err := d.Select("db.address", []string{"grp", "a_1"}, "id$")
		require.NoError(t, err)
		require.Equal(t, want, q+" / "+d.Param(2))
	}
}

func TestReadStopsWhereItMust(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("t", []string{"a"}, []any{int64(1)}, []any{int64(2)}, []any{int64(3)})
	read := func(ctx context.Context, most int) (got []int64, err error) {
		for r, e := range Read(ctx, db.SQL(), "SELECT a FROM t") {
			if e != nil {
				require.NoError(t, err, "one error ends it")
				err = e
				continue
			}
			require.Equal(t, len(got)+1, r.N)
			if got = append(got, r.Values[0].(int64)); len(got) == most {
				break
			}
		}
		return got, err
	}
	got, err := read(t.Context(), -1)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2, 3}, got)
	got, err = read(t.Context(), 2)
	require.NoError(t, err)
	require.Equal(t, []int64{1, 2}, got)
	require.Zero(t, db.SQL().Stats().InUse, "rows are closed")

	gone := errors.New("gone away")
	db.FailAfter(2, gone)
	got, err = read(t.Context(), -1)
	require.ErrorIs(t, err, gone)
	require.Equal(t, []int64{1, 2}, got)
	db.Fail(gone)
	_, err = read(t.Context(), -1)
	require.ErrorIs(t, err, gone)
	db.Fail(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = read(ctx, -1)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, db.SQL().Stats().InUse)
}
