package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// A contender answers questions.
type contender struct {
	name string
	kind string // what is asked; the answers of contenders of one kind must be the same
	// ask answers the first len(answers) questions of the batch.
	ask func(answers []int32)
}

// outcome is what contenders took, in their order.
type outcome struct {
	took   [][]float64 // nanoseconds a question, of each in each round
	allocs []float64   // a question
	hits   float64     // share of the answers of the first that are not negative
}

// ns is the median of what contender i took for a question.
func (o *outcome) ns(i int) float64 { return median(o.took[i]) }

// ratio is how many times as long as contender base contender i took: the
// median of the ratios of the rounds.
func (o *outcome) ratio(i, base int) float64 {
	ratios := make([]float64, len(o.took[i]))
	for round := range ratios {
		ratios[round] = o.took[i][round] / o.took[base][round]
	}
	return median(ratios)
}

// cell is the time of i and its ratio to that of base.
func (o *outcome) cell(i, base int) string {
	return amount(o.ns(i)) + " · " + times(o.ratio(i, base))
}

// compare times the contenders on a batch of questions, in turns, after it
// has compared their answers. A contender that would take longer than the
// budget is asked the first questions only.
//
// Garbage is collected between the rounds and not while the clock runs: what
// a contender leaves behind is not counted against it.
func (l *lab) compare(batch int, contenders ...contender) (*outcome, error) {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))

	o := &outcome{allocs: make([]float64, len(contenders))}
	answers := make([][]int32, len(contenders))
	first := map[string]int{} // contender of each kind
	garbage := uint64(0)      // of a round
	for i, c := range contenders {
		answers[i] = l.warm(c, batch)
		var left uint64
		o.allocs[i], left = allocations(func() { c.ask(answers[i]) }, len(answers[i]))
		garbage += left
		f, ok := first[c.kind]
		if !ok {
			first[c.kind] = i
			continue
		}
		if err := agree(contenders[f], c, answers[f], answers[i]); err != nil {
			return nil, err
		}
	}
	o.hits = share(answers[0])
	o.took = l.race(contenders, answers, garbage)
	return o, nil
}

// truth is the answer 1 for yes and -1 for no.
func truth(yes bool) int32 {
	if yes {
		return 1
	}
	return -1
}

// share is how many of the answers are not negative.
func share(answers []int32) float64 {
	n := 0
	for _, a := range answers {
		if a >= 0 {
			n++
		}
	}
	return float64(n) / float64(len(answers))
}

// warm asks more and more questions until all are asked or the budget is
// spent, and returns the answers.
func (l *lab) warm(c contender, batch int) []int32 {
	answers := make([]int32, batch)
	for n := min(8, batch); ; {
		each := elapsed(c, answers[:n]) / float64(n)
		affordable := int(float64(l.budget.Nanoseconds()) / each)
		switch {
		case n == batch:
			return answers
		case affordable <= 8*n:
			n = min(max(affordable, n), batch)
			c.ask(answers[:n])
			return answers[:n]
		}
		n = min(8*n, batch)
	}
}

// race gives the nanoseconds a question that each contender took in each
// round. Each round begins with another contender.
func (l *lab) race(contenders []contender, answers [][]int32, garbage uint64) [][]float64 {
	took := make([][]float64, len(contenders))
	for i := range took {
		took[i] = make([]float64, l.rounds)
	}
	const bearable = 256 << 20
	waste := uint64(0)
	for round := range l.rounds {
		for turn := range contenders {
			i := (round + turn) % len(contenders)
			took[i][round] = elapsed(contenders[i], answers[i]) / float64(len(answers[i]))
		}
		if waste += garbage; waste > bearable {
			runtime.GC()
			waste = 0
		}
	}
	return took
}

func elapsed(c contender, answers []int32) (ns float64) {
	start := time.Now()
	c.ask(answers)
	return float64(time.Since(start).Nanoseconds())
}

func agree(a, b contender, x, y []int32) error {
	differ, first := 0, -1
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			if differ++; first < 0 {
				first = i
			}
		}
	}
	if differ > 0 {
		return fmt.Errorf("%s and %s differ in %d answers; question %d: %d and %d",
			a.name, b.name, differ, first, x[first], y[first])
	}
	return nil
}

// allocations gives how often each of n questions allocates, and the bytes
// that all of them leave.
func allocations(ask func(), n int) (each float64, bytes uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	ask()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / float64(n), after.TotalAlloc - before.TotalAlloc
}

func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	if len(s)%2 == 0 {
		return (s[len(s)/2-1] + s[len(s)/2]) / 2
	}
	return s[len(s)/2]
}

// heapGrowth gives by how many bytes the heap is larger for what make returns.
func heapGrowth(build func() any) (bytes float64) {
	before := liveHeap()
	kept := build()
	after := liveHeap()
	runtime.KeepAlive(kept)
	return float64(after) - float64(before)
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers kept
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
