package main

import (
	"go/importer"
	"go/token"
	"slices"
	"strings"
	"testing"
)

const example = `package sipacl

type Cause uint8

const (
	CauseNone Cause = iota
	CauseAddress
)

type Decision struct {
	Allowed bool
	Cause   Cause
}

type Table struct{ rows []int }

func (t *Table) Check(n int, _ string, more ...int) (d Decision, ok bool) {
	if t == nil || n < 2 && !ok {
		return Decision{Cause: CauseAddress}, false
	}
	t.grow()
	switch {
	case len(more) > 1:
		n = 4
		d.Allowed = true
	}
	return d, n == 4
}

func (t *Table) grow() { t.rows = append(t.rows, 1) }
`

func parsed(t *testing.T, text string) *program {
	p := &program{fset: token.NewFileSet(), importer: importer.Default()}
	if err := p.add("table.go", text); err != nil {
		t.Fatal(err)
	}
	if err := p.check(); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestMutants(t *testing.T) {
	want := strings.Split(strings.TrimSpace(`
if !(t == nil || n < 2 && !ok) {
if t == nil && n < 2 && !ok {
if t != nil || n < 2 && !ok {
if t == nil || (n < 2 || !ok) {
if t == nil || n <= 2 && !ok {
if t == nil || n < 1 && !ok {
if t == nil || n < 2 && ok {
return Decision{Cause: CauseAddress}, true
return Decision{Allowed: true, Cause: CauseAddress}, false
return Decision{Cause: CauseNone}, false
deleted: t.grow()
deleted: case len(more) > 1:
case len(more) >= 1:
case len(more) > 2:
deleted: n = 4
deleted: d.Allowed = true
d.Allowed = false
return Decision{}, n == 4
return d, n != 4
return d, n == 3
return d, n == 5
func (t *Table) grow() { }`), "\n")
	p := parsed(t, example)
	var got []string
	for _, m := range p.mutants(p.files[0]) {
		got = append(got, m.after)
		if !p.compiles(m) {
			t.Errorf("does not compile: %s", m.after)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWovenMutantsCompileTogether(t *testing.T) {
	p := parsed(t, example)
	all := p.mutants(p.files[0])
	for i, m := range all {
		m.id = i + 1
	}
	woven := weave(p.files[0], all) + "\nvar mutantOn int\n"
	if n := strings.Count(woven, "\ncase "); n < len(all) {
		t.Errorf("found %d cases, want %d", n, len(all))
	}
	parsed(t, woven)
}

func TestStaleLines(t *testing.T) {
	p := parsed(t, example)
	list := accepts{
		{"table.go", "Table.Check", "deleted: n = 4", "why"},
		{"table.go", "Table.Check", "deleted: n = 5", "why"},
		{"other.go", "f", "deleted: n = 5", "not read"},
	}
	if old := list.stale(p.mutants(p.files[0])); !slices.Equal(old, list[1:2]) {
		t.Errorf("found %v, want %v", old, list[1:2])
	}
}

func TestInnermostFailuresAreSkipped(t *testing.T) {
	out := "--- FAIL: TestA (0.1s)\n    --- FAIL: TestA/b (0.0s)\n    --- FAIL: TestA/c.d (0.0s)\n--- FAIL: TestB (0.0s)\n"
	names := innermost(failed.FindAllStringSubmatch(out, -1))
	if got, want := pattern(names), `^TestA$/^b$|^TestA$/^c\.d$|^TestB$`; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	if tops := topLevel(names); !slices.Equal(tops, []string{"TestA", "TestB"}) {
		t.Errorf("found %s", tops)
	}
}
