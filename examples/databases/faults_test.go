package databases

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

const many = 5000 // rows, more than a server sends at once

// faulty is a partition whose PostgreSQL server is reached through chaos, and
// that Run watches.
type faulty struct {
	sipacl.Partition
	*chaos
	direct server // past the chaos
	pool   *sql.DB
}

func newFaulty(t *testing.T, cfg sipacl.RunConfig) faulty {
	s := postgres(t)
	s.exec(t, s.opensips, fmt.Sprintf("INSERT INTO address (grp, ip) SELECT 1, '10.0.' || i / 250 || '.' || i %% 250 FROM generate_series(0, %d) i", many-1))
	c, dsn := behind(t, s.dsn)
	pool, err := sql.Open("pgx", dsn)
	require.NoError(t, err)
	t.Cleanup(func() { pool.Close() })
	src := sipacl.OpenSIPSAddresses(pool)
	src.Dialect = sipacl.PostgreSQL
	p, err := sipacl.NewPartition(t.Context(), src)
	require.NoError(t, err)
	f := faulty{p, c, s, pool}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Run(ctx, cfg)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	require.True(t, f.in("10.0.0.1"))
	return f
}

var quick = sipacl.RunConfig{Interval: 20 * time.Millisecond, Settle: 5 * time.Millisecond, Timeout: 500 * time.Millisecond, MaxPause: 50 * time.Millisecond}

func (f faulty) in(addr string) bool {
	return f.Current().CheckAddress(sipacl.Query{Group: 1, Addr: netip.MustParseAddr(addr)}).Allowed
}

func (f faulty) failing() bool { return f.Status().LastError != nil }

func eventually(t *testing.T, f func() bool, what string) {
	t.Helper()
	require.Eventually(t, f, 15*time.Second, 5*time.Millisecond, what)
}

// recovers shows that the next change is taken once the fault is over.
func (f faulty) recovers(t *testing.T) {
	t.Helper()
	require.True(t, f.in("10.0.0.1"), "the last good generation answers")
	f.direct.exec(t, "INSERT INTO address (grp, ip) VALUES (1, '192.0.2.1')")
	eventually(t, func() bool { return f.in("192.0.2.1") && !f.failing() }, "the change arrives")
	require.Equal(t, many+1, f.Status().Entries)
}

func TestPostgresDiesDuringALoad(t *testing.T) {
	f := newFaulty(t, quick)
	f.cutAt.Store(20_000)
	f.cut()
	eventually(t, f.failing, "the fault shows")
	require.True(t, f.in("10.0.0.1"))
	require.True(t, f.in("10.0.19.249"), "no half of a table")
	require.Positive(t, f.Status().Age)
	f.cutAt.Store(0)
	f.recovers(t)
}

func TestPostgresHangs(t *testing.T) {
	f := newFaulty(t, quick)
	resume := f.stall()
	eventually(t, f.failing, "the fault shows")
	require.ErrorIs(t, f.Status().LastError, context.DeadlineExceeded)
	require.True(t, f.in("10.0.0.1"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.Reload(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	resume()
	f.recovers(t)
}

func TestPostgresGoesAwayAndComesBack(t *testing.T) {
	f := newFaulty(t, quick)
	f.cutAt.Store(1)
	for range 5 {
		f.cut()
		time.Sleep(20 * time.Millisecond)
	}
	eventually(t, f.failing, "the fault shows")
	f.cutAt.Store(0)
	f.recovers(t)
}

func TestPostgresRowTurnsBad(t *testing.T) {
	f := newFaulty(t, quick)
	f.direct.exec(t, "UPDATE address SET ip = 'nonsense' WHERE id = 7")
	eventually(t, f.failing, "the fault shows")
	require.ErrorContains(t, f.Status().LastError, `address:id 7: ip "nonsense"`)
	f.direct.exec(t, "UPDATE address SET ip = '10.0.0.6' WHERE id = 7")
	f.recovers(t)
}

func TestPostgresTableIsTruncated(t *testing.T) {
	cfg := quick
	cfg.MaxShrink = 0.5
	f := newFaulty(t, cfg)
	f.direct.exec(t, "CREATE TABLE aside AS SELECT * FROM address", "TRUNCATE address")
	eventually(t, f.failing, "the fault shows")
	require.ErrorIs(t, f.Status().LastError, sipacl.ErrShrunk)
	f.direct.exec(t, "INSERT INTO address SELECT * FROM aside")
	f.recovers(t)
}

func TestPostgresPoolIsExhausted(t *testing.T) {
	f := newFaulty(t, quick)
	f.pool.SetMaxOpenConns(1)
	var held *sql.Conn
	eventually(t, func() (ok bool) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var err error
		held, err = f.pool.Conn(ctx)
		return err == nil
	}, "somebody else takes the only connection")
	eventually(t, f.failing, "the fault shows")
	require.NoError(t, held.Close())
	f.recovers(t)
}

func TestPostgresReloadStorm(t *testing.T) {
	f := newFaulty(t, sipacl.RunConfig{Interval: time.Hour})
	before := runtime.NumGoroutine()
	generation := f.Status().Generation
	for i := range 3 {
		f.direct.exec(t, fmt.Sprintf("INSERT INTO address (grp, ip) VALUES (1, '192.0.2.%d')", i))
		errs := make(chan error)
		for range 100 {
			go func() {
				_, err := f.Reload(t.Context())
				if err == nil && !f.in(fmt.Sprintf("192.0.2.%d", i)) {
					err = fmt.Errorf("reload %d came back without the row", i)
				}
				errs <- err
			}()
		}
		for range 100 {
			require.NoError(t, <-errs)
		}
	}
	// A hundred at once cost at most two loads, if they are at once; give
	// the scheduler some of them late.
	require.Less(t, f.Status().Generation-generation, uint64(30))
	eventually(t, func() bool { return runtime.NumGoroutine() <= before+2 }, "no goroutine stays")
}
