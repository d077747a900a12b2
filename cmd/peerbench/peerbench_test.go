package main

import (
	"bytes"
	"io"
	"log"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func tinyLab(w io.Writer) *lab {
	return &lab{
		report: newReport(w), rounds: 2, batch: 1 << 12, budget: time.Millisecond,
		sizes: sizes{
			address: []int{500, 3_000}, peers: 3_000, lengths: 1_000, build: []int{1_000}, bytes: []int{1_000},
			rules: []int{1, 10, 100}, linear: 100, odd: 50, acl: []int{10, 1_000}, groups: []int{1_000},
			subnets: 20_000, loadTime: 50 * time.Millisecond,
		},
		log: log.New(io.Discard, "", 0),
	}
}

// TestSections runs every section at sizes that say nothing of speed: what is
// tested is that the contenders give the same answers.
func TestSections(t *testing.T) {
	for _, s := range sections {
		t.Run(s.name, func(t *testing.T) {
			var out bytes.Buffer
			require.NoError(t, s.measure(tinyLab(&out)))
			require.Contains(t, out.String(), "| ---: |")
			require.NotContains(t, out.String(), "NaN")
			require.NotContains(t, out.String(), "%!")
		})
	}
}

// contend is a contender whose answers are those of f.
func contend(name, kind string, f func(i int) int32) contender {
	return contender{name: name, kind: kind, ask: func(answers []int32) {
		for i := range answers {
			answers[i] = f(i)
		}
	}}
}

func TestDifferentAnswersAreNotTimed(t *testing.T) {
	l := tinyLab(io.Discard)
	same := func(i int) int32 { return int32(i) }
	odd := func(i int) int32 { return int32(i / 7 * 7) }
	_, err := l.compare(100, contend("a", "", same), contend("b", "", same), contend("c", "other", odd))
	require.NoError(t, err)
	_, err = l.compare(100, contend("a", "", same), contend("b", "", odd))
	require.ErrorContains(t, err, "a and b differ in 85 answers; question 1: 1 and 0")
}

func TestSlowContendersAreAskedLess(t *testing.T) {
	l := tinyLab(io.Discard)
	fast := contend("fast", "", func(int) int32 { return 0 })
	slow := contend("slow", "", func(int) int32 { time.Sleep(100 * time.Microsecond); return 0 })
	require.Len(t, l.warm(fast, 1000), 1000)
	require.LessOrEqual(t, len(l.warm(slow, 1000)), 16)
}

// TestFailedSectionKeepsTheOthers: what was measured is not lost.
func TestFailedSectionKeepsTheOthers(t *testing.T) {
	var out bytes.Buffer
	l := tinyLab(&out)
	err := l.run([]section{
		{"bad", func(*lab) error { panic("broken") }},
		{"good", func(l *lab) error { l.para("measured"); l.atLeast("speed", 3, 2); return nil }},
	})
	require.ErrorContains(t, err, "bad: broken")
	require.Contains(t, out.String(), "measured")
	require.Contains(t, out.String(), "1 of 1 met.")
}

func TestAmounts(t *testing.T) {
	for want, x := range map[string]float64{"0": 0.0001, "0.012": 0.0123, "0.25": 0.25, "9.94": 9.94, "10.0": 9.96, "99.4": 99.4, "123": 123.4, "1,000": 999.9, "1,234,567": 1234567} {
		require.Equal(t, want, amount(x))
	}
	require.Equal(t, []string{"1", "1500", "100k", "10M"}, []string{size(1), size(1500), size(100_000), size(10_000_000)})
}
