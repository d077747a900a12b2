package main

import (
	"runtime"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/rowindex"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// footprint measures what tables cost beside lookups: memory, building, and
// what the collector has to do while they are alive.
func (l *lab) footprint() error {
	if err := l.bytesPerRow(); err != nil {
		return err
	}
	if err := l.buildRate(); err != nil {
		return err
	}
	return l.collection()
}

// bytesPerRow measures by how much the heap grows.
func (l *lab) bytesPerRow() error {
	l.heading("Memory of address tables")
	l.para("By how many bytes a row the heap grows. A Table holds rows, origins, texts and index; its patterns' " +
		"compiled forms are counted apart, by loading the same rows without patterns. bart holds the distinct prefixes only.")
	var lines [][]string
	for _, n := range l.sizes.bytes {
		l.log.Printf("memory: %d rows", n)
		rows := workload.Table(n, 1)
		var err error
		table := func() any {
			t, e := newTable(addressRows(rows))
			if e != nil {
				err = e
			}
			return t
		}
		whole := growthPerRow(n, table)
		for i := range rows {
			rows[i].Pattern = ""
		}
		plain := growthPerRow(n, table)
		if err != nil {
			return err
		}
		fast := growthPerRow(n, func() any {
			t := new(bart.Fast[uint32])
			for i := range rows {
				t.Insert(rows[i].Prefix, uint32(i))
			}
			return t
		})
		small := growthPerRow(n, func() any {
			t := new(bart.Table[uint32])
			for i := range rows {
				t.Insert(rows[i].Prefix, uint32(i))
			}
			return t
		})
		runtime.KeepAlive(rows)
		line := []string{size(n), amount(plain), amount(whole - plain), amount(fast), amount(small)}
		if most := map[int]float64{1_000: 160, 1_000_000: 64}[n]; most > 0 {
			line[1] += " " + l.atMost("bytes per row, "+size(n)+" rows", plain, most, "")
		}
		lines = append(lines, line)
	}
	l.table([]string{"rows", "Table", "its patterns", "bart.Fast", "bart.Table"}, lines)
	return nil
}

// growthPerRow gives the bytes that each of n rows takes. Of small tables it
// builds many, since the growth of one cannot be told from noise.
func growthPerRow(n int, build func() any) float64 {
	copies := max(1, 100_000/n)
	bytes := heapGrowth(func() any {
		all := make([]any, copies)
		for i := range all {
			all[i] = build()
		}
		return all
	})
	return bytes / float64(n*copies)
}

// buildRate times the building of tables on one core.
func (l *lab) buildRate() error {
	l.heading("Building address tables")
	l.para("Rows per second from rows in memory, on one core, the collector's work included. `NewPartition` checks the rows, " +
		"numbers their texts, compiles their patterns and builds the index; `index` is the last part alone. bart inserts the prefixes.")
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var lines [][]string
	for _, n := range l.sizes.build {
		l.log.Printf("build: %d rows", n)
		rows := workload.Table(n, 1)
		prepared := make([]sipacl.AddressRow, n)
		for i := range rows {
			prepared[i] = addressRow(rows, i)
		}
		prefixes, keys := prefixesOf(rows), make([]rowindex.Key, n)
		for i, r := range rows {
			keys[i] = rowindex.Key{Group: r.Group, Port: r.Port, Proto: uint8(protos[r.Proto])}
		}
		rows = nil
		var err error
		table := l.rate(n, func() {
			if _, e := newTable(sipacl.Rows(prepared...)); e != nil {
				err = e
			}
		})
		if err != nil {
			return err
		}
		prepared = nil
		engine := l.rate(n, func() { buildRows(prefixes, keys) })
		fast := l.rate(n, func() {
			var t bart.Fast[uint32]
			for i, p := range prefixes {
				t.Insert(p, uint32(i))
			}
		})
		line := []string{size(n), amount(table / 1e6), amount(engine / 1e6), amount(fast / 1e6)}
		least := map[int]float64{1_000_000: 3, 10_000_000: 1.8}[n]
		if least > 0 {
			line[1] += " " + l.verdict("million rows built per second, "+size(n)+" rows", "≥ "+amount(least), amount(table/1e6), table/1e6 >= least)
		}
		lines = append(lines, line)
	}
	l.table([]string{"rows", "NewPartition, M rows/s", "index, M rows/s", "bart.Fast, M rows/s"}, lines)
	return nil
}

// rate gives the median of how many of n rows are built in a second; large
// tables are built less often.
func (l *lab) rate(n int, build func()) float64 {
	var rates []float64
	for range max(3, min(l.rounds, 10_000_000/n)) {
		runtime.GC()
		start := time.Now()
		build()
		rates = append(rates, float64(n)/time.Since(start).Seconds())
	}
	return median(rates)
}

// collection times cycles of the garbage collector without a table, beside a
// Table, and beside bart's.
func (l *lab) collection() error {
	n := l.sizes.address[len(l.sizes.address)-1]
	l.heading("Garbage collection beside %s rows", size(n))
	l.para("How long a full cycle takes, in µs. Not measurably longer is: the median beside a Table is no longer than " +
		"nine in ten of the cycles without one.")
	l.log.Printf("collection: %d rows", n)
	without := cycles(5 * l.rounds)
	rows := workload.Table(n, 1)
	table, err := newTable(addressRows(rows))
	if err != nil {
		return err
	}
	fast := new(bart.Fast[uint32])
	for i := range rows {
		fast.Insert(rows[i].Prefix, uint32(i))
	}
	rows = nil
	both := cycles(l.rounds)
	runtime.KeepAlive(fast)
	fast = nil
	with := cycles(5 * l.rounds)
	runtime.KeepAlive(table)
	table = nil
	without = slices.Sorted(slices.Values(append(without, cycles(5*l.rounds)...)))
	usual := without[len(without)*9/10]
	line := []string{amount(median(without)), amount(usual), amount(median(with)), amount(median(both))}
	line[2] += " " + l.atMost("GC cycle with "+size(n)+" rows alive, µs, against nine in ten without", median(with), usual, "")
	l.table([]string{"no table", "nine in ten of these up to", "Table alive", "Table and bart.Fast alive"}, [][]string{line})
	return nil
}

// cycles times n full cycles of the garbage collector, in microseconds.
func cycles(n int) (took []float64) {
	runtime.GC()
	for range n {
		start := time.Now()
		runtime.GC()
		took = append(took, float64(time.Since(start).Microseconds()))
	}
	return took
}
