package ruleengine

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/workload"
)

// exploding has expressions whose automata have far more states than an
// automaton may have rows.
func exploding(n int) []ruleText {
	rules := make([]ruleText, n)
	for i := range rules {
		rules[i] = ruleText{left: []string{fmt.Sprintf(`a[ab]{%d}c`, 12+i)}}
	}
	return rules
}

// letters makes a text of n letters a and b, and now and then a c.
func letters(r *workload.Rand, n int) string {
	var b strings.Builder
	for range n {
		b.WriteByte("abababababc"[r.N(11)])
	}
	return b.String()
}

// TestArenaIsBounded sends texts that each need new states, to an arena of the
// size in use and to small ones.
func TestArenaIsBounded(t *testing.T) {
	for _, k := range []bounds{
		defaultBounds,
		{states: 1000, cells: 10_000, classes: 1000, sets: 100_000, rows: 1000, flushAfter: 1 << 60},
		{states: 1000, cells: 1 << 20, classes: 1000, sets: 5_000, rows: 1000, flushAfter: 1 << 60},
		{states: 1000, cells: 1 << 20, classes: 1 << 20, sets: 1 << 20, rows: 100, flushAfter: 1 << 60},
		{states: 10, cells: 1 << 20, classes: 1 << 20, sets: 1 << 20, rows: 1 << 20, flushAfter: 1 << 60},
	} {
		e, slow := build(t, exploding(5), options(false))
		e.maker.bounds = k
		r := workload.NewRand(1)
		for range 400 {
			text := letters(r, 200)
			compare(t, e, slow, Text{text, text}, Text{}, func() string { return fmt.Sprint(k) })
		}
		ar := e.arena.Load()
		require.LessOrEqual(t, len(ar.cells), int(k.cells))
		require.LessOrEqual(t, len(ar.classes), int(k.classes))
		require.LessOrEqual(t, len(e.maker.sets), k.sets)
		require.LessOrEqual(t, e.maker.rows, k.rows)
		require.LessOrEqual(t, len(e.maker.table), max(64, 4*k.rows))
		for _, a := range ar.automata {
			require.LessOrEqual(t, a.rows, k.states)
		}
	}
}

func TestDefaultBoundsAreThirtyMegabytes(t *testing.T) {
	k := defaultBounds
	require.LessOrEqual(t, 4*int(k.cells)+int(k.classes)+4*k.sets+8*k.rows, 30<<20)
}

// TestFullArenaIsFlushedLate counts the flushes: each is paid by the bytes that
// were followed without states before it.
func TestFullArenaIsFlushedLate(t *testing.T) {
	e, _ := build(t, exploding(5), options(false))
	e.maker.bounds = bounds{states: 1000, cells: 5000, classes: 1000, sets: 1 << 20, rows: 1000, flushAfter: 10_000}
	r := workload.NewRand(1)
	asked := 0
	for range 500 {
		text := letters(r, 200)
		asked += len(text) * len(e.machines)
		e.Find(Text{text, text}, Text{})
	}
	flushes := int(e.arena.Load().generation) - 1
	require.Positive(t, flushes)
	require.LessOrEqual(t, flushes, asked/10_000)
}

// TestBeginningIsInItsArena has a reader that was held up between reading the
// arena and where an automaton begins, while the arena grew.
func TestBeginningIsInItsArena(t *testing.T) {
	e := fast(t, of(workload.Rules(100, 3)))
	late := e.arena.Load()
	for m := range uint32(len(e.machines) - 1) {
		e.match(m+1, "sip:alice@example.com")
	}
	require.Greater(t, len(e.arena.Load().cells), len(late.cells))
	for m := range uint32(len(e.machines) - 1) {
		ar, row, how := e.beginning(late, m+1)
		require.Equal(t, done, how)
		require.Less(t, int(row&^matching), len(ar.cells))
		require.Len(t, ar.classesOf(m+1, e.codes), e.codes)
	}
	e.reset(late.generation + 1)
	_, _, how := e.beginning(late, 1)
	require.Equal(t, flushed, how)
}

// TestArenaGrowsUnderReaders begins automata from all sides while the arrays
// that hold them are replaced by larger ones, and emptied.
func TestArenaGrowsUnderReaders(t *testing.T) {
	var rules []ruleText
	for i := range 300 {
		rules = append(rules, ruleText{left: []string{fmt.Sprintf(`[a-c]{%d}%d[x-z]$`, i%7+1, i)}})
	}
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	e := fast(t, rules)
	for round := range rounds {
		e.reset(uint32(round + 2))
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range uint32(len(e.machines) - 1) {
					m := 1 + (i+uint32(g%2))%uint32(len(e.machines)-1)
					e.match(m, "abcabc")
				}
			}()
		}
		wg.Wait()
	}
}

// TestColdEngineIsSafeForConcurrentUse asks cold engines from all sides.
func TestColdEngineIsSafeForConcurrentUse(t *testing.T) {
	rules := append(of(workload.Rules(200, 3)), exploding(3)...)
	_, slow := build(t, rules, options(false))
	pairs := workload.Pairs(150, 200, 50, 5)
	r := workload.NewRand(1)
	want := make([]int, len(pairs))
	for i := range pairs {
		if i%3 == 0 {
			pairs[i].From = letters(r, 60)
		}
		want[i], _, _ = slow.find(Text{pairs[i].From, pairs[i].From}, Text{pairs[i].To, pairs[i].To})
	}
	for _, k := range []bounds{
		defaultBounds,
		{states: 20, cells: 2000, classes: 1000, sets: 2000, rows: 100, flushAfter: 100},
	} {
		e := fast(t, rules)
		e.maker.bounds = k
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range pairs {
					i = (i + g*len(pairs)/8) % len(pairs)
					p := pairs[i]
					if got, _, _ := e.Find(Text{p.From, p.From}, Text{p.To, p.To}); got != want[i] {
						t.Errorf("%q %q: found %d, want %d", p.From, p.To, got, want[i])
					}
				}
			}()
		}
		wg.Wait()
	}
}

func TestWarmFindDoesNotAllocate(t *testing.T) {
	rules := append(of(workload.Rules(300, 3)), ruleText{left: []string{`^[^@]+@`, `[0-9]{3}`}, right: []string{`.*x`}})
	e := fast(t, rules)
	pairs := workload.Pairs(100, 300, 50, 5)
	long := "sip:" + strings.Repeat("1", 1000) + "@carrier1.net"
	pairs = append(pairs, workload.Pair{From: long, To: long})
	ask := func() {
		for i := range pairs {
			p := &pairs[i]
			e.Find(Text{p.From, p.To}, Text{p.To, p.From})
		}
	}
	ask()
	require.Zero(t, testing.AllocsPerRun(10, ask))
}
