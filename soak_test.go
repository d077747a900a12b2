package sipacl

import (
	"context"
	"flag"
	"iter"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var soak = flag.Duration("soak", time.Second, "how long TestSoak runs")

// TestSoak reloads a table of 100,000 rows without pause while readers ask it,
// and wants nothing to leak. It prints how long lookups took without and with
// reloads beside them, timed in batches of 100:
//
//	go test -run TestSoak -v -timeout 0 . -soak 10m
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second or more")
	}
	src := &rotating{}
	p, err := newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{src}})
	require.NoError(t, err)
	reload := func() {
		_, err := p.Reload(t.Context())
		require.NoError(t, err)
	}
	reload()
	goroutines, heap := runtime.NumGoroutine(), liveHeap()

	var quiet, busy []time.Duration
	reloads := 0
	for range soakRounds { // in turns, so that a busy machine is busy for both
		quiet = append(quiet, lookups(p, *soak/(4*soakRounds))...)
		stop, stopped := make(chan struct{}), make(chan int)
		go func() {
			n := 0
			for ; ; n++ {
				select {
				case <-stop:
					stopped <- n
					return
				default:
					reload()
				}
			}
		}()
		busy = append(busy, lookups(p, *soak*3/(4*soakRounds))...)
		close(stop)
		reloads += <-stopped
	}
	t.Logf("%d reloads of %d rows, %d lookups", reloads, rotatingRows, 100*(len(quiet)+len(busy)))
	for _, q := range []float64{0.5, 0.99, 0.999} {
		t.Logf("p%g: %v without, %v with reloads", 100*q, quantile(quiet, q)/100, quantile(busy, q)/100)
	}
	quiet, busy = nil, nil
	grown := liveHeap() - heap
	runtime.KeepAlive(p)
	t.Logf("heap: %d MB, grown by %d kB; goroutines: %d, before %d", heap>>20, grown>>10, runtime.NumGoroutine(), goroutines)
	require.Less(t, grown, heap/5+1<<20, "memory stays")
	require.LessOrEqual(t, runtime.NumGoroutine(), goroutines, "a goroutine stays")
}

const (
	rotatingRows = 100_000
	soakRounds   = 20
)

// rotating is a source whose rows differ a little at each load.
type rotating struct{ loads atomic.Uint32 }

func (r *rotating) Rows(context.Context) iter.Seq2[AddressRow, error] {
	n := r.loads.Add(1)
	return func(yield func(AddressRow, error) bool) {
		for i := range uint32(rotatingRows) {
			b := i
			if i%1000 == n%1000 {
				b += n << 20
			}
			row := AddressRow{Group: GroupID(i % 64), Prefix: netip.PrefixFrom(address(b), 32), Info: "carrier"}
			if !yield(row, nil) {
				return
			}
		}
	}
}

func address(i uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{10 + byte(i>>24), byte(i >> 16), byte(i >> 8), byte(i)})
}

// lookups asks for a while and returns how long each hundred took.
func lookups(p Partition, d time.Duration) (took []time.Duration) {
	for end, i := time.Now().Add(d), uint32(0); time.Now().Before(end); {
		began := time.Now()
		for range 100 {
			i = (i*1664525 + 1013904223)
			p.Current().CheckSource(Source{address(i % (2 * rotatingRows)), 5060, ProtoUDP}, GroupID(i%64), "")
		}
		took = append(took, time.Since(began))
	}
	return took
}

func quantile(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
