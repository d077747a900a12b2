package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// test is one test, example or fuzz target.
type test struct {
	name    string
	cost    time.Duration
	reaches map[block]bool // nil if it is not known
}

// block is a stretch of code that runs as a whole.
type block struct {
	file     string
	from, to spot
}

type spot struct{ line, column int }

func (s spot) before(t spot) bool {
	return s.line < t.line || s.line == t.line && s.column < t.column
}

// survey runs every test by itself and notes what it reaches.
func (b *bench) survey(ctx context.Context) error {
	if err := b.compile(ctx, &b.woven, nil, "-cover"); err != nil {
		return err
	}
	list, err := b.process(ctx, &b.woven, 0, nil, time.Minute, "-test.list=^(Test|Example|Fuzz)")
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(list) {
		if err := b.measure(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// measure runs one test. One that fails here counts as reaching everything:
// tests that count allocations may.
func (b *bench) measure(ctx context.Context, name string) error {
	profile := filepath.Join(b.dir, "cover.out")
	began := time.Now()
	_, err := b.process(ctx, &b.woven, 0, []string{name}, time.Minute, "-test.coverprofile="+profile)
	t := test{name: name, cost: time.Since(began)}
	if err == nil {
		text, err := os.ReadFile(profile)
		if err != nil {
			return err
		}
		t.reaches = b.reached(string(text))
	}
	b.tests = append(b.tests, t)
	return ctx.Err()
}

// reached reads a coverage profile, and notes all blocks if it is the first.
func (b *bench) reached(profile string) map[block]bool {
	reaches, first := map[block]bool{}, len(b.blocks) == 0
	for line := range strings.Lines(profile) {
		k, count, ok := parseBlock(line)
		if ok && first {
			b.blocks = append(b.blocks, k)
		}
		if count > 0 {
			reaches[k] = true
		}
	}
	return reaches
}

// parseBlock reads a line of a coverage profile.
func parseBlock(line string) (k block, count int, ok bool) {
	name, rest, _ := strings.Cut(line, ":")
	k.file = filepath.Base(name)
	var statements int
	n, _ := fmt.Sscanf(rest, "%d.%d,%d.%d %d %d", &k.from.line, &k.from.column, &k.to.line, &k.to.column, &statements, &count)
	return k, count, n == 6
}

// reaching gives the tests that run what m changes, the cheap ones apart.
func (b *bench) reaching(m *mutant) (quick, slow []test) {
	blocks := b.blocksOf(m)
	for _, t := range b.tests {
		switch {
		case !t.reach(blocks):
		case t.cost <= cheap:
			quick = append(quick, t)
		default:
			slow = append(slow, t)
		}
	}
	return quick, slow
}

// apart gives the tests and subtests that reach m and that the woven binary
// skips, though they pass in a plain one.
func (b *bench) apart(m *mutant) (tests []test) {
	blocks := b.blocksOf(m)
	for _, name := range b.woven.skip {
		i := slices.IndexFunc(b.tests, func(t test) bool { return t.name == topLevel([]string{name})[0] })
		if !slices.Contains(b.alone.skip, name) && i >= 0 && b.tests[i].reach(blocks) {
			tests = append(tests, test{name: name, cost: b.tests[i].cost})
		}
	}
	return tests
}

func (t *test) reach(blocks []block) bool {
	return t.reaches == nil || slices.ContainsFunc(blocks, func(k block) bool { return t.reaches[k] })
}

// blocksOf gives the block that m changes. What is in none, such as the values
// of a case, counts as being in all blocks of its function.
func (b *bench) blocksOf(m *mutant) []block {
	at := m.file.spot(m.start)
	from, to := m.file.spot(m.file.offset(m.fn.Pos())), m.file.spot(m.file.offset(m.fn.End()))
	var all []block
	for _, k := range b.blocks {
		if k.file != m.file.name || k.from.before(from) || to.before(k.to) {
			continue
		}
		if !at.before(k.from) && at.before(k.to) {
			return []block{k}
		}
		all = append(all, k)
	}
	return all
}

// spot gives the line and column of an offset, both from 1.
func (f *source) spot(offset int) spot {
	head := f.text[:offset]
	return spot{strings.Count(head, "\n") + 1, offset - strings.LastIndexByte(head, '\n')}
}
