package sipacl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/stretchr/testify/require"
)

// adjustable is a source whose rows, or failure, change between loads.
type adjustable struct {
	loads atomic.Int32
	next  atomic.Pointer[RowFunc[AddressRow]]
}

func (a *adjustable) Rows(ctx context.Context) iter.Seq2[AddressRow, error] {
	a.loads.Add(1)
	return (*a.next.Load())(ctx)
}

func (a *adjustable) does(f RowFunc[AddressRow]) { a.next.Store(&f) }

func (a *adjustable) holds(rows ...AddressRow) { a.does(Rows(rows...).Rows) }

func (a *adjustable) fails(err error) {
	a.does(func(context.Context) iter.Seq2[AddressRow, error] {
		return func(yield func(AddressRow, error) bool) { yield(AddressRow{}, err) }
	})
}

func (a *adjustable) called(name string) PartitionConfig {
	return PartitionConfig{Name: name, Sources: []AddressSource{a}}
}

var (
	one = AddressRow{Group: 1, Prefix: prefix("192.0.2.1/32")}
	two = AddressRow{Group: 1, Prefix: prefix("192.0.2.2/32")}
)

func allows(p Partition, a string) bool {
	return p.Current().CheckAddress(Query{Group: 1, Addr: addr(a)}).Allowed
}

// clock is a clock that tests turn.
type clock struct{ at atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(c.at.Load(), 0) }
func (c *clock) forward(d time.Duration) { c.at.Add(int64(d / time.Second)) }

func opened(t *testing.T, cfg Config) *Permissions {
	p, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	return p
}

func part1(t *testing.T, p *Permissions, name string) Partition {
	q, err := p.Partition(name)
	require.NoError(t, err)
	return q
}

func TestFailedReloadKeepsTheGenerationAndSaysSo(t *testing.T) {
	boom := errors.New("boom")
	for name, failure := range map[string]func(a *adjustable){
		"error":             func(a *adjustable) { a.fails(boom) },
		"bad row":           func(a *adjustable) { a.holds(two, AddressRow{}, two) },
		"error after a row": func(a *adjustable) { a.does(rowThen(two, boom)) },
		"panic":             func(a *adjustable) { a.does(func(context.Context) iter.Seq2[AddressRow, error] { panic("driver") }) },
		"panic midway": func(a *adjustable) {
			a.does(func(context.Context) iter.Seq2[AddressRow, error] {
				return func(yield func(AddressRow, error) bool) { yield(two, nil); panic(boom) }
			})
		},
		"nil sequence": func(a *adjustable) { a.does(func(context.Context) iter.Seq2[AddressRow, error] { return nil }) },
	} {
		t.Run(name, func(t *testing.T) {
			var a adjustable
			a.holds(one)
			var c clock
			c.forward(time.Hour)
			p := opened(t, Config{Partitions: []PartitionConfig{a.called("")}, Clock: c.now})
			part := part1(t, p, "")
			before := part.Current()
			want := part.Status()
			require.Equal(t, Status{
				Part: "address:default", Generation: 1, Entries: 1, Digest: want.Digest,
				LoadedAt: c.now(), VerifiedAt: c.now(), LastAttempt: c.now(),
			}, want)
			require.Len(t, want.Digest, 32)

			c.forward(time.Minute)
			failure(&a)
			report, err := part.Reload(t.Context())
			require.ErrorContains(t, err, "sipacl: address:default: ")
			require.Zero(t, report)
			require.Same(t, before, part.Current(), "nothing is swapped")
			require.True(t, allows(part, "192.0.2.1"))
			require.False(t, allows(part, "192.0.2.2"))

			s := part.Status()
			require.Error(t, s.LastError)
			want.Age, want.LastAttempt, want.FailingSince, want.LastError = time.Minute, c.now(), c.now(), s.LastError
			require.Equal(t, want, s)

			a.holds(two)
			c.forward(time.Minute)
			report, err = part.Reload(t.Context())
			require.NoError(t, err)
			require.Equal(t, ReloadReport{Part: "address:default", Generation: 2, Entries: 1, Added: 1, Removed: 1}, report)
			s = part.Status()
			require.NotEqual(t, want.Digest, s.Digest)
			require.Equal(t, Status{
				Part: "address:default", Generation: 2, Entries: 1, Digest: s.Digest,
				LoadedAt: c.now(), VerifiedAt: c.now(), LastAttempt: c.now(),
			}, s)
			require.Equal(t, uint64(2), part.Current().Generation())
			require.False(t, allows(part, "192.0.2.1"))
			require.True(t, allows(part, "192.0.2.2"))
		})
	}
}

func rowThen(r AddressRow, err error) RowFunc[AddressRow] {
	return func(context.Context) iter.Seq2[AddressRow, error] {
		return func(yield func(AddressRow, error) bool) {
			if yield(r, nil) {
				yield(AddressRow{}, err)
			}
		}
	}
}

func TestOpenFailsWithEveryError(t *testing.T) {
	bad := func(name string) PartitionConfig {
		return PartitionConfig{Name: name, Sources: []AddressSource{Rows([]AddressRow{{Origin: Origin{Name: name, Line: 1}}}...)}}
	}
	p, err := Open(t.Context(), Config{Partitions: []PartitionConfig{bad("a"), inMemory(one), bad("b")}})
	require.Nil(t, p)
	require.ErrorContains(t, err, "sipacl: address:a: a:1: ")
	require.ErrorContains(t, err, "sipacl: address:b: b:1: ")

	_, err = Open(t.Context(), Config{Partitions: []PartitionConfig{
		inMemory(one), inMemory(two), {Name: "empty"}, {Name: "nil", Sources: []AddressSource{nil}},
		{Name: defaultPartition, Sources: []AddressSource{Rows[AddressRow]()}},
	}})
	require.EqualError(t, err, `sipacl: address:default: defined twice
sipacl: address:empty: want a source
sipacl: address:nil: want a source, not nil
sipacl: address:default: defined twice`)

	_, err = newPartition(t.Context(), PartitionConfig{})
	require.Error(t, err)
}

func inMemory(rows ...AddressRow) PartitionConfig {
	return PartitionConfig{Sources: []AddressSource{Rows(rows...)}}
}

func TestCancelledContextLoadsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Open(ctx, Config{Partitions: []PartitionConfig{inMemory(one)}})
	require.ErrorIs(t, err, context.Canceled)

	// A source that does not look at its context brings half a table.
	var a adjustable
	a.holds(one)
	part := part1(t, opened(t, Config{Partitions: []PartitionConfig{a.called("")}}), "")
	ctx, cancel = context.WithCancel(t.Context())
	a.does(func(context.Context) iter.Seq2[AddressRow, error] {
		return func(yield func(AddressRow, error) bool) { yield(two, nil); cancel() }
	})
	_, err = part.Reload(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, part.Status().LastError, context.Canceled)
	require.True(t, allows(part, "192.0.2.1"))
	require.False(t, allows(part, "192.0.2.2"))
}

func TestDatabaseTroubleKeepsTheGeneration(t *testing.T) {
	db := fakedb.Open(t)
	columns := []string{"id", "grp", "ip", "mask", "port", "proto", "pattern", "context_info"}
	db.Set("address", columns, []any{1, 1, "192.0.2.1", 32, 0, "any", nil, nil})
	part, err := newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{OpenSIPSAddresses(db.SQL())}})
	require.NoError(t, err)
	kept := func(err error, why string) {
		t.Helper()
		require.ErrorContains(t, err, why)
		require.ErrorContains(t, part.Status().LastError, why)
		require.Equal(t, uint64(1), part.Status().Generation)
		require.True(t, allows(part, "192.0.2.1"))
	}
	reload := func() error { _, err := part.Reload(t.Context()); return err }

	db.Fail(errors.New("connection refused"))
	kept(reload(), "address: connection refused")
	db.FailAfter(0, errors.New("gone away"))
	kept(reload(), "address: gone away")
	db.Fail(nil)
	db.Panic("index out of range")
	kept(reload(), "panic while loading: index out of range")
	db.Panic(nil)
	db.Set("address", []string{"id"})
	kept(reload(), "no such column")

	release := db.Hang()
	ctx, cancel := context.WithCancel(t.Context())
	before := db.Queries()
	go func() {
		for db.Queries() == before { // until the one below hangs
			runtime.Gosched()
		}
		cancel()
	}()
	_, err = part.Reload(ctx)
	require.ErrorIs(t, err, context.Canceled)
	release()
	require.True(t, allows(part, "192.0.2.1"))

	db.Set("address", columns)
	require.NoError(t, reload())
	require.False(t, allows(part, "192.0.2.1"), "an empty table is nobody")
}

func TestAHundredReloadsCostTwoLoads(t *testing.T) {
	hundredReloads(t, func(p *Permissions, parts ...*part) error {
		_, err := p.Reload(t.Context(), parts[0].name)
		return err
	}, 1)
}

func TestAHundredReloadsOfAllCostTwoLoads(t *testing.T) {
	hundredReloads(t, func(p *Permissions, _ ...*part) error {
		_, err := p.Reload(t.Context())
		return err
	}, 2)
}

// hundredReloads holds the first of a hundred reloads up until the others have
// joined the second.
func hundredReloads(t *testing.T, reload func(*Permissions, ...*part) error, involved int) {
	var a, b adjustable
	a.holds(one)
	b.holds(one)
	p := opened(t, Config{Partitions: []PartitionConfig{a.called("a"), b.called("b")}})
	pa := part1(t, p, "a")
	running, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	a.does(func(context.Context) iter.Seq2[AddressRow, error] {
		return func(yield func(AddressRow, error) bool) {
			once.Do(func() { close(running); <-release })
			yield(two, nil)
		}
	})
	a.loads.Store(0)
	var told atomic.Int32
	defer pa.OnReload(func(ReloadReport) { told.Add(1) })()

	var calls sync.WaitGroup
	call := func() {
		defer calls.Done()
		require.NoError(t, reload(p, pa.p))
	}
	calls.Add(100)
	go call()
	<-running
	for range 99 {
		go call()
	}
	for p.together(p.parts[:involved]).Joined() < 99 {
		runtime.Gosched()
	}
	close(release)
	calls.Wait()
	require.Equal(t, int32(2), a.loads.Load())
	require.Equal(t, int32(2), told.Load(), "one call of subscribers a load")
	require.True(t, allows(pa, "192.0.2.2"))
}

// When Reload returns nil, every change committed before its call is in
// service, whoever loaded it. Readers see only whole generations meanwhile.
func TestReloadShowsWhatWasCommittedBeforeIt(t *testing.T) {
	var committed atomic.Int64
	source := RowFunc[AddressRow](func(context.Context) iter.Seq2[AddressRow, error] {
		n := committed.Load()
		return func(yield func(AddressRow, error) bool) {
			for i := range 20 {
				if !yield(AddressRow{Group: GroupID(n), Prefix: netip.PrefixFrom(addr(fmt.Sprintf("192.0.2.%d", i)), 32)}, nil) {
					return
				}
			}
		}
	})
	part, err := newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{source}})
	require.NoError(t, err)
	group := func(table *Table, i int) GroupID {
		return table.AddressGroup(Source{addr(fmt.Sprintf("192.0.2.%d", i)), 5060, ProtoUDP}).Group
	}

	var writers, readers sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			last, generation := GroupID(0), uint64(0)
			for {
				select {
				case <-stop:
					return
				default:
				}
				table := part.Current()
				g := group(table, 0)
				if g < last || table.Generation() < generation || group(table, 19) != g || part.Status().Generation < table.Generation() {
					t.Errorf("a reader saw group %d after %d, generation %d after %d", g, last, table.Generation(), generation)
					return
				}
				last, generation = g, table.Generation()
			}
		}()
	}
	for range 4 {
		writers.Add(1)
		go func() {
			defer writers.Done()
			for range 100 {
				mine := committed.Add(1)
				if _, err := part.Reload(t.Context()); err != nil {
					t.Error(err)
				}
				if g := group(part.Current(), 7); int64(g) < mine {
					t.Errorf("committed %d, in service %d", mine, g)
				}
			}
		}()
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

func TestSnapshotIsOneGenerationOfEveryPart(t *testing.T) {
	var a, b adjustable
	a.holds(one)
	b.holds(one)
	p := opened(t, Config{Partitions: []PartitionConfig{a.called("a"), b.called("b")}})
	pa, pb := part1(t, p, "a"), part1(t, p, "b")
	old := p.Snapshot()
	a.holds(two)
	b.holds(two, two)
	_, err := p.Reload(t.Context(), "address:a")
	require.NoError(t, err)
	mid := p.Snapshot()
	require.Same(t, pb.At(old), pb.At(mid), "the other part is shared")
	_, err = p.Reload(t.Context())
	require.NoError(t, err)

	require.Equal(t, []uint64{1, 1}, []uint64{pa.At(old).Generation(), pb.At(old).Generation()})
	require.Equal(t, []uint64{2, 1}, []uint64{pa.At(mid).Generation(), pb.At(mid).Generation()})
	require.Equal(t, []uint64{3, 2}, []uint64{pa.Current().Generation(), pb.Current().Generation()})
	require.True(t, pb.At(old).CheckAddress(Query{Group: 1, Addr: addr("192.0.2.1")}).Allowed, "an old one stays valid")
	added, removed := pb.Current().Diff(pb.At(old))
	require.Equal(t, []AddressRow{two, two}, added)
	require.Equal(t, []AddressRow{one}, removed)
}

// A handle asks only the snapshots of its own Permissions.
func TestSnapshotOfOtherPermissionsRefuses(t *testing.T) {
	mine, other := mustPartition(one), mustPartition(one)
	require.NotNil(t, mine.At(mine.p.perm.Snapshot()))
	require.Nil(t, other.At(mine.p.perm.Snapshot()))
	require.Nil(t, mine.At(other.p.perm.Snapshot()))
	require.Nil(t, Partition{}.At(mine.p.perm.Snapshot()))
	require.Nil(t, mine.At(nil))
	require.Nil(t, Partition{}.At(&Snapshot{}))
}

func TestNilAndZeroPermissions(t *testing.T) {
	for _, p := range []*Permissions{nil, {}} {
		require.Nil(t, p.Snapshot())
		require.Empty(t, collect(p.Partitions()))
		require.Empty(t, p.Status())
		_, err := p.Partition("")
		require.ErrorIs(t, err, ErrUnknown)
	}
	_, err := (*Permissions)(nil).Reload(t.Context())
	require.Error(t, err)
	(*Permissions)(nil).OnReload(func(ReloadReport) {})()
}

func TestUnknownNamesAreErrors(t *testing.T) {
	p := opened(t, Config{Partitions: []PartitionConfig{inMemory(one), {Name: "trunks", Sources: []AddressSource{Rows(two)}}}})
	for _, name := range []string{"trunk", "Trunks", "address:trunks", " "} {
		q, err := p.Partition(name)
		require.ErrorIs(t, err, ErrUnknown, name)
		require.ErrorContains(t, err, name)
		require.Zero(t, q)
		require.ErrorContains(t, err, "known: default, trunks")
	}
	for _, name := range []string{"trunks", "", "address:", "rules:trunks"} {
		reports, err := p.Reload(t.Context(), "address:trunks", name)
		require.ErrorIs(t, err, ErrUnknown, name)
		require.Empty(t, reports)
		require.ErrorContains(t, err, "known: address:default, address:trunks")
	}
	require.Equal(t, uint64(1), part1(t, p, "trunks").Status().Generation, "nothing was loaded")
	require.Equal(t, part1(t, p, ""), part1(t, p, defaultPartition))
	names := []string{}
	for q := range p.Partitions() {
		names = append(names, q.Name())
	}
	require.Equal(t, []string{"address:default", "address:trunks"}, names)
	reports, err := p.Reload(t.Context(), "address:trunks")
	require.NoError(t, err)
	require.Len(t, reports, 1)
	require.Equal(t, uint64(2), reports[0].Generation)
}

func TestReloadOfSeveralIsAllOrNone(t *testing.T) {
	var a, b adjustable
	a.holds(one)
	b.holds(one)
	p := opened(t, Config{Partitions: []PartitionConfig{a.called("a"), b.called("b")}})
	a.fails(errors.New("boom"))
	reports, err := p.Reload(t.Context())
	require.EqualError(t, err, "sipacl: address:a: boom")
	require.Empty(t, reports)
	status := p.Status()
	require.EqualError(t, status[0].LastError, "boom")
	require.EqualError(t, status[1].LastError, "loaded and held back: sipacl: address:a: boom")
	require.Equal(t, uint64(1), status[1].Generation)
	_, err = p.Reload(t.Context(), "address:b")
	require.NoError(t, err, "alone it is exchanged")
}

func TestSubscribersHearOfEachSwapUntilTheyStop(t *testing.T) {
	var a, b adjustable
	a.holds(one)
	b.holds(one)
	p := opened(t, Config{Partitions: []PartitionConfig{a.called("a"), b.called("b")}})
	var all, onlyB []string
	note := func(to *[]string) func(ReloadReport) {
		return func(r ReloadReport) { *to = append(*to, fmt.Sprint(r.Part, " ", r.Generation)) }
	}
	stopAll := p.OnReload(note(&all))
	stopB := part1(t, p, "b").OnReload(note(&onlyB))
	reload := func() { _, _ = p.Reload(t.Context()) }
	reload()
	a.fails(errors.New("boom"))
	reload()
	require.Equal(t, []string{"address:a 2", "address:b 2"}, all, "a failed load is no swap")
	require.Equal(t, []string{"address:b 2"}, onlyB)
	stopAll()
	stopAll()
	reload()
	stopB()
	reload()
	require.Len(t, all, 2)
	require.Len(t, onlyB, 1)
}

// What the application gives may ask back: a subscriber, a log handler.
func TestSubscribersAndLogHandlersMayAsk(t *testing.T) {
	var a adjustable
	a.holds(one)
	var p *Permissions
	var log bytes.Buffer
	asking := slog.New(asksStatus{slog.NewTextHandler(&log, nil), &p})
	p = opened(t, Config{Partitions: []PartitionConfig{a.called("")}, Logger: asking})
	part := part1(t, p, "")
	var stop func()
	stop = p.OnReload(func(ReloadReport) {
		stop()
		p.OnReload(func(ReloadReport) {})()
		part.Status()
		a.fails(errors.New("boom"))
		_, err := p.Reload(t.Context())
		require.Error(t, err)
	})
	_, err := p.Reload(t.Context())
	require.NoError(t, err)
	require.Contains(t, log.String(), "level=INFO msg=loaded part=address:default generation=2 entries=1")
	require.Contains(t, log.String(), `level=ERROR msg="load failed, the generation in service stays" part=address:default generation=2 err=boom`)
}

type asksStatus struct {
	slog.Handler
	perm **Permissions
}

func (h asksStatus) Handle(ctx context.Context, r slog.Record) error {
	(*h.perm).Status()
	return h.Handler.Handle(ctx, r)
}

func TestSkippedAndSuspectRowsAreReportedAndLogged(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("address", []string{"id", "grp", "ip_addr", "mask", "port", "tag"},
		[]any{4, 1, "192.0.2.1", 33, 0, nil},
		[]any{5, 1, "192.0.2.2", 32, 0, nil},
		[]any{6, 1, "2001:db8::1", 32, 0, nil})
	source := KamailioAddresses(db.SQL())
	var log bytes.Buffer
	p := opened(t, Config{Partitions: []PartitionConfig{{Sources: []AddressSource{SkipBad[AddressRow](source)}}}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	require.Equal(t, 1, p.Status()[0].Skipped)
	require.Equal(t, 2, p.Status()[0].Entries)
	reports, err := p.Reload(t.Context())
	require.NoError(t, err)
	require.Len(t, reports[0].Skipped, 1)
	require.True(t, reports[0].Skipped[0].Skipped)
	require.EqualError(t, reports[0].Skipped[0], `address:id 4: mask "33": want a whole number, 0 to 32`)
	require.Equal(t, []string{"address:id 6: 2001:db8::1/32 is the whole of 2001:db8::/32; a host has mask 128"}, reports[0].Warnings)
	require.Contains(t, log.String(), `level=WARN msg="row left out" part=address:default err="address:id 4:`)
	require.Contains(t, log.String(), `level=WARN msg="address:id 6: 2001:db8::1/32 is the whole`)
}

func TestSourcesAreJoinedInOrder(t *testing.T) {
	first, second := one, one
	first.Info, second.Info = "first", "second"
	sources := []AddressSource{Rows(first), Rows(two, second)}
	p := opened(t, Config{Partitions: []PartitionConfig{{Sources: sources}}})
	part := part1(t, p, "")
	require.Equal(t, "first", part.Current().CheckAddress(Query{Group: 1, Addr: addr("192.0.2.1")}).Info)
	sources[0] = nil // the configuration was taken over
	_, err := part.Reload(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, part.Current().size())
	require.Equal(t, []AddressRow{first, two, second}, slices.Collect(part.Current().Rows()))
}

func TestStatusIsJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	text, err := json.Marshal(Status{
		Part: "address:default", Generation: 2, Entries: 3, Digest: "d1", LoadedAt: at, VerifiedAt: at.Add(time.Second), Age: 90 * time.Second,
		FailingSince: at.Add(2 * time.Second), LastAttempt: at.Add(time.Minute), LastError: errors.New("the database is down"),
		Names: []NameStatus{{Name: "gw.example.com", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Err: errors.New("timeout")}},
	})
	require.NoError(t, err)
	require.JSONEq(t, `{"part":"address:default","generation":2,"entries":3,"skipped":0,"digest":"d1","loaded_at":"2026-01-02T03:04:05Z","verified_at":"2026-01-02T03:04:06Z","age_seconds":90,
		"failing_since":"2026-01-02T03:04:07Z","last_attempt":"2026-01-02T03:05:05Z","last_error":"the database is down",
		"names":[{"name":"gw.example.com","addrs":["192.0.2.1"],"error":"timeout"}]}`, string(text))
	text, err = json.Marshal(Status{Part: "acl"})
	require.NoError(t, err)
	require.JSONEq(t, `{"part":"acl","generation":0,"entries":0,"skipped":0,"age_seconds":0}`, string(text))
}

// Nothing is in service yet when a first load fails, and the log does not say
// that something stays.
func TestAFirstLoadThatFailsSaysThatNothingIsInService(t *testing.T) {
	var log bytes.Buffer
	_, err := Open(t.Context(), Config{
		Partitions: []PartitionConfig{{Sources: []AddressSource{Rows(AddressRow{})}}},
		Logger:     slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.Error(t, err)
	require.Contains(t, log.String(), "load failed, nothing is in service")
	require.NotContains(t, log.String(), "stays")
}

// Reads that fail and reads that are good show in Status by themselves, and a
// read that finds nothing new verifies what is in service.
func TestStatusTellsWhenItWasVerifiedAndSinceWhenReadsFail(t *testing.T) {
	var a adjustable
	a.holds(one)
	var c clock
	c.forward(time.Hour)
	p := opened(t, Config{Partitions: []PartitionConfig{a.called("")}, Clock: c.now})
	part := part1(t, p, "")
	loaded := c.now()
	w, cfg := &watch{part: part.p}, RunConfig{Interval: time.Hour, Timeout: time.Hour, Settle: 1}
	look := func() Status {
		c.forward(time.Minute)
		w.look(t.Context(), p, cfg)
		return part.Status()
	}
	s := look()
	require.Equal(t, []time.Time{loaded, c.now()}, []time.Time{s.LoadedAt, s.VerifiedAt})
	require.Zero(t, s.FailingSince)
	verified := c.now()

	a.fails(errors.New("down"))
	s = look()
	since := c.now()
	s = look()
	require.Equal(t, []time.Time{loaded, verified, since, c.now()}, []time.Time{s.LoadedAt, s.VerifiedAt, s.FailingSince, s.LastAttempt})
	require.Equal(t, 2*time.Minute, s.Age)

	a.holds(one)
	s = look()
	require.Zero(t, s.FailingSince)
	require.NoError(t, s.LastError)
	require.Equal(t, []time.Time{loaded, c.now()}, []time.Time{s.LoadedAt, s.VerifiedAt})
	require.Equal(t, uint64(1), s.Generation)
}

// Two servers with the same rows have the same digest, whatever their tables
// number the rows, and however often they loaded them.
func TestDigestIsTheSameOnEveryMachine(t *testing.T) {
	of := func(rows ...AddressRow) string { return mustPartition(rows...).Status().Digest }
	row := AddressRow{Group: 1, Prefix: prefix("192.0.2.1/32"), Port: 1, Proto: ProtoUDP, Pattern: "a", Info: "b"}
	base := of(row)
	require.Equal(t, "9bd9", base[:4], "written down: another digest would look like drift")
	moved := row
	moved.Origin = Origin{Name: "other", Line: 7, Unit: UnitID}
	require.Equal(t, base, of(moved))
	for i, change := range []func(*AddressRow){
		func(r *AddressRow) { r.Group = 2 }, func(r *AddressRow) { r.Prefix = prefix("192.0.2.1/31") },
		func(r *AddressRow) { r.Port = 0 }, func(r *AddressRow) { r.Proto = ProtoAny }, func(r *AddressRow) { r.Pattern = "" },
		func(r *AddressRow) { r.Info = "" }, func(r *AddressRow) { r.Prefix, r.Host = netip.Prefix{}, "a.example" },
	} {
		r := row
		change(&r)
		require.NotEqual(t, base, of(r), i)
	}
	require.NotEqual(t, of(row, moved), of(row))
}
