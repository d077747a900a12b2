package sipacl

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"
)

// changing is an address source that tests change while it is watched.
type changing struct {
	mu      sync.Mutex
	rows    []AddressRow
	err     error
	version string
	reads   atomic.Int32
}

func (c *changing) set(rows ...AddressRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows, c.err = rows, nil
}

func (c *changing) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

func (c *changing) Rows(context.Context) iter.Seq2[AddressRow, error] {
	c.reads.Add(1)
	return func(yield func(AddressRow, error) bool) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.err != nil {
			yield(AddressRow{}, c.err)
			return
		}
		for _, r := range c.rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

func host(addr string) AddressRow {
	a := netip.MustParseAddr(addr)
	return AddressRow{Group: 1, Prefix: netip.PrefixFrom(a, a.BitLen())}
}

func hostRows(n int) (rows []AddressRow) {
	a := netip.MustParseAddr("192.0.2.0")
	for range n {
		rows = append(rows, host(a.String()))
		a = a.Next()
	}
	return rows
}

var quick = RunConfig{Interval: 5 * time.Millisecond, Settle: time.Millisecond}

// running is a partition that Run watches until the test ends.
func running(t *testing.T, cfg RunConfig, src AddressSource) (Partition, *atomic.Int32) {
	p, err := newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{src}})
	require.NoError(t, err)
	var told atomic.Int32
	p.OnReload(func(ReloadReport) { told.Add(1) })
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- p.p.perm.Run(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
	})
	return p, &told
}

func allowed(p Partition, addr string) bool {
	return p.Current().CheckAddress(Query{Group: 1, Addr: netip.MustParseAddr(addr)}).Allowed
}

func eventually(t *testing.T, f func() bool) {
	t.Helper()
	require.Eventually(t, f, 10*time.Second, time.Millisecond)
}

func TestRunTakesChangesAndNothingElse(t *testing.T) {
	src := new(changing)
	src.set(host("192.0.2.1"))
	p, told := running(t, quick, src)
	before := src.reads.Load()
	eventually(t, func() bool { return src.reads.Load() > before+5 })
	require.Zero(t, told.Load())
	require.Equal(t, uint64(1), p.Status().Generation)

	src.set(host("192.0.2.2"))
	eventually(t, func() bool { return allowed(p, "192.0.2.2") })
	require.False(t, allowed(p, "192.0.2.1"))
	eventually(t, func() bool { return told.Load() == 1 })
	require.Equal(t, uint64(2), p.Status().Generation)
}

func TestRunTriggerDoesNotWaitForTheInterval(t *testing.T) {
	src := new(changing)
	src.set(host("192.0.2.1"))
	trigger := make(chan struct{}, 1)
	p, _ := running(t, RunConfig{Interval: time.Hour, Settle: time.Millisecond, Trigger: trigger}, src)
	eventually(t, func() bool { return src.reads.Load() > 1 }) // the first look
	src.set(host("192.0.2.2"))
	trigger <- struct{}{}
	eventually(t, func() bool { return allowed(p, "192.0.2.2") })
}

// A table that is emptied and refilled row by row is taken when it stands: when
// two reads agree.
func TestRunTakesWhatStands(t *testing.T) {
	const full = 60
	reads := -1
	p := must(NewPartition(t.Context(), RowFunc[AddressRow](func(ctx context.Context) iter.Seq2[AddressRow, error] {
		if reads++; reads == 0 {
			return Rows(host("198.51.100.1"), host("198.51.100.2")).Rows(ctx)
		}
		return Rows(hostRows(min(reads-1, full))...).Rows(ctx)
	})))
	w := &watch{part: p.p}
	cfg := RunConfig{Interval: time.Hour, Timeout: time.Hour, Settle: 1}
	for reads < full {
		w.look(t.Context(), p.p.perm, cfg)
		require.ErrorIs(t, p.Status().LastError, ErrUnsettled)
		require.True(t, allowed(p, "198.51.100.1"), "after %d reads", reads)
		require.LessOrEqual(t, w.pause, cfg.Interval, "soon again")
	}
	w.look(t.Context(), p.p.perm, cfg)
	require.NoError(t, p.Status().LastError)
	require.Equal(t, full, p.Status().Entries)
}

func TestRunRefusesWhatHasShrunk(t *testing.T) {
	src := new(changing)
	src.set(hostRows(10)...)
	cfg := quick
	cfg.MaxShrink = 0.5
	p, told := running(t, cfg, src)
	src.set(hostRows(4)...)
	eventually(t, func() bool { return errors.Is(p.Status().LastError, ErrShrunk) })
	require.True(t, allowed(p, "192.0.2.9"))
	require.Zero(t, told.Load())
	src.set(hostRows(5)...)
	eventually(t, func() bool { return p.Status().Entries == 5 })
	src.set()
	eventually(t, func() bool { return errors.Is(p.Status().LastError, ErrShrunk) })
	_, err := p.Reload(t.Context()) // somebody means it
	require.NoError(t, err)
	require.False(t, allowed(p, "192.0.2.1"))
}

func TestRunKeepsTheLastGoodGenerationAndComesBack(t *testing.T) {
	src := new(changing)
	src.set(host("192.0.2.1"))
	p, _ := running(t, RunConfig{Interval: 5 * time.Millisecond, MaxPause: 20 * time.Millisecond, Settle: time.Millisecond}, src)
	down := errors.New("the database is down")
	src.fail(down)
	eventually(t, func() bool { return errors.Is(p.Status().LastError, down) })
	require.True(t, allowed(p, "192.0.2.1"))
	src.set(host("192.0.2.2"))
	eventually(t, func() bool { return allowed(p, "192.0.2.2") })
	require.NoError(t, p.Status().LastError)
}

func TestRunWaitsLongerAfterErrors(t *testing.T) {
	down := false
	p := must(NewPartition(t.Context(), RowFunc[AddressRow](func(context.Context) iter.Seq2[AddressRow, error] {
		return func(yield func(AddressRow, error) bool) {
			if down {
				yield(AddressRow{}, errors.New("down"))
			}
		}
	})))
	down = true
	perm, w := p.p.perm, &watch{part: p.p}
	cfg := RunConfig{Interval: time.Second, Timeout: time.Second, MaxPause: 5 * time.Second}
	for _, want := range []time.Duration{1, 2, 4, 5, 5} {
		w.look(t.Context(), perm, cfg)
		require.Equal(t, want*time.Second, w.pause)
		require.InDelta(t, w.pause, time.Until(w.due), float64(w.pause)/5)
	}
}

type versioned struct {
	*changing
	asked atomic.Int32
}

func (v *versioned) Version(context.Context) (string, error) {
	v.asked.Add(1)
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.version, nil
}

func TestRunAsksForTheVersionFirst(t *testing.T) {
	src := &versioned{changing: new(changing)}
	src.version = "1"
	src.set(host("192.0.2.1"))
	p, _ := running(t, quick, src)
	eventually(t, func() bool { return src.asked.Load() > 3 })
	reads := src.reads.Load()
	asked := src.asked.Load()
	eventually(t, func() bool { return src.asked.Load() > asked+5 })
	require.Equal(t, reads, src.reads.Load())
	src.mu.Lock()
	src.rows, src.version = []AddressRow{host("192.0.2.2")}, "2"
	src.mu.Unlock()
	eventually(t, func() bool { return allowed(p, "192.0.2.2") })
}

// What a Reload takes between two looks and the source takes back is not in
// service for good: the version is the old one again, the generation is not.
func TestRunTakesBackWhatAReloadTook(t *testing.T) {
	src := &versioned{changing: new(changing)}
	set := func(version string, rows ...AddressRow) {
		src.set(rows...)
		src.version = version
	}
	set("1", host("192.0.2.1"))
	p, err := newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{src}})
	require.NoError(t, err)
	w := &watch{part: p.p}
	cfg := RunConfig{Interval: time.Second, Timeout: time.Second, Settle: time.Millisecond}
	w.look(t.Context(), p.p.perm, cfg)
	set("2", host("192.0.2.2"))
	_, err = p.Reload(t.Context())
	require.NoError(t, err)
	set("1", host("192.0.2.1"))
	w.look(t.Context(), p.p.perm, cfg)
	require.True(t, allowed(p, "192.0.2.1"))
	require.False(t, allowed(p, "192.0.2.2"))
	reads := src.reads.Load()
	w.look(t.Context(), p.p.perm, cfg)
	require.Equal(t, reads, src.reads.Load())
}

// A bad row that comes along changes no answer, and is told all the same.
func TestRunTellsOfRowsLeftOut(t *testing.T) {
	fsys := &lockedFS{files: fstest.MapFS{"address": {Data: []byte("1 192.0.2.1\n")}}}
	p, told := running(t, quick, SkipBad[AddressRow](AddressFile{FS: fsys, Name: "address"}))
	for n, text := range []string{"1 192.0.2.1\n1 192.0.2.x\n", "1 192.0.2.1\n1 192.0.2.y\n", "1 192.0.2.1\n"} {
		fsys.write("address", text)
		eventually(t, func() bool { return told.Load() == int32(n+1) })
		require.Equal(t, 1-n/2, p.Status().Skipped)
	}
}

func TestRunWatchesFiles(t *testing.T) {
	fsys := &lockedFS{files: fstest.MapFS{"address": {Data: []byte("1 192.0.2.1\n")}}}
	p, _ := running(t, quick, AddressFile{FS: fsys, Name: "address"})
	require.True(t, allowed(p, "192.0.2.1"))
	fsys.write("address", "1 192.0.2.2\n1 192.0.2.")
	eventually(t, func() bool { return p.Status().LastError != nil }) // half written
	require.True(t, allowed(p, "192.0.2.1"))
	fsys.write("address", "1 192.0.2.2\n1 192.0.2.3\n")
	eventually(t, func() bool { return allowed(p, "192.0.2.3") })
	fsys.write("address", "")
	fsys.remove("address")
	eventually(t, func() bool { return p.Status().LastError != nil })
	require.True(t, allowed(p, "192.0.2.3"))
}

func TestRunRefusesNonsense(t *testing.T) {
	perm, err := Open(t.Context(), Config{})
	require.NoError(t, err)
	require.ErrorIs(t, perm.Run(t.Context(), RunConfig{Parts: []string{"address:nobody"}}), ErrUnknown)
	require.Error(t, perm.Run(t.Context(), RunConfig{Interval: -1}))
	require.Error(t, perm.Run(t.Context(), RunConfig{MaxShrink: 2}))
	require.Error(t, perm.Run(t.Context(), RunConfig{MaxShrink: -1}))
	require.ErrorContains(t, perm.Run(t.Context(), RunConfig{Settle: time.Second, Timeout: time.Second}), "no change is ever taken")
	require.ErrorContains(t, perm.Run(t.Context(), RunConfig{Timeout: 50 * time.Millisecond}), "no change is ever taken")
	require.Error(t, (*Permissions)(nil).Run(t.Context(), RunConfig{}))
}

func TestSubscriberMayReload(t *testing.T) {
	src := new(changing)
	src.set(host("192.0.2.1"))
	p, _ := running(t, quick, src)
	var calls atomic.Int32
	done := make(chan struct{})
	p.OnReload(func(ReloadReport) {
		if calls.Add(1) == 1 {
			_, err := p.Reload(context.Background())
			require.NoError(t, err)
			close(done)
		}
	})
	src.set(host("192.0.2.2"))
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a subscriber that reloads hangs")
	}
}

// A subscriber that takes its time holds up the caller of its Reload, and
// neither checks nor other reloads.
func TestASlowSubscriberHoldsUpNobodyElse(t *testing.T) {
	src := new(changing)
	src.set(host("192.0.2.0"))
	p, err := newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{src}})
	require.NoError(t, err)
	release := make(chan struct{})
	p.OnReload(func(ReloadReport) { <-release })
	var waiting sync.WaitGroup
	for _, addr := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		src.set(host(addr))
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			_, err := p.Reload(context.Background())
			require.NoError(t, err)
		}()
		eventually(t, func() bool { return allowed(p, addr) })
	}
	close(release)
	waiting.Wait()
}

func TestWhatKeepsChangingIsLookedAtLessAndLessOften(t *testing.T) {
	var n atomic.Uint32
	src := RowFunc[AddressRow](func(context.Context) iter.Seq2[AddressRow, error] {
		return Rows([]AddressRow{{Group: GroupID(n.Add(1)), Prefix: netip.MustParsePrefix("192.0.2.0/24")}}...).Rows(context.Background())
	})
	p, err := newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{src}})
	require.NoError(t, err)
	w := &watch{part: p.p}
	cfg := RunConfig{Interval: 5 * time.Millisecond, Timeout: time.Second, Settle: time.Millisecond, MaxPause: time.Second}
	for _, want := range []time.Duration{1, 2, 4, 5, 5} {
		w.look(t.Context(), p.p.perm, cfg)
		require.ErrorIs(t, p.Status().LastError, ErrUnsettled)
		require.Equal(t, want*time.Millisecond, w.pause)
	}
	require.Equal(t, uint64(1), p.Status().Generation)
}

func TestAClockThatIsSetBackChangesNothingButTheAge(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	perm, err := Open(t.Context(), Config{
		Clock:      func() time.Time { return now },
		Partitions: []PartitionConfig{{Sources: []AddressSource{Rows(hostRows(1)...)}}},
	})
	require.NoError(t, err)
	now = now.Add(time.Hour)
	require.Equal(t, time.Hour, perm.Status()[0].Age)
	now = now.Add(-24 * time.Hour)
	require.Zero(t, perm.Status()[0].Age)
	p, err := perm.Partition("")
	require.NoError(t, err)
	require.True(t, allowed(p, "192.0.2.0"))
}
