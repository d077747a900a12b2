package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// report is what became of the mutants.
type report struct {
	command  string
	found    int // in the files
	broken   int // did not compile
	mutants  []*mutant
	failing  []string // tests that fail without mutants
	accepted accepts
	stale    []accept
}

// accept is a mutant that somebody looked at and found to change nothing.
type accept struct{ file, function, after, reason string }

type accepts []accept

// readAccepted reads lines of four fields with tabs between them: the file,
// the function, the mutated line, the reason.
func readAccepted(name string) (accepts, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var list accepts
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 4 {
			return nil, fmt.Errorf("%s: found %q, want file, function, line and reason with tabs between", name, line)
		}
		list = append(list, accept{f[0], f[1], f[2], f[3]})
	}
	return list, nil
}

func (a accept) is(m *mutant) bool {
	return a.file == m.file.name && a.function == m.function && a.after == m.after
}

// reason says why m is accepted.
func (list accepts) reason(m *mutant) (string, bool) {
	i := slices.IndexFunc(list, func(a accept) bool { return a.is(m) })
	if i < 0 {
		return "", false
	}
	return list[i].reason, true
}

// stale lists what is accepted and is no mutant of files that were read.
func (list accepts) stale(all []*mutant) []accept {
	var old []accept
	for _, a := range list {
		read := slices.ContainsFunc(all, func(m *mutant) bool { return m.file.name == a.file })
		if read && !slices.ContainsFunc(all, a.is) {
			old = append(old, a)
		}
	}
	return old
}

// setAside takes the accepted mutants out of the sample: they do not run.
func (r *report) setAside(sample []*mutant) (rest []*mutant) {
	for _, m := range sample {
		if why, ok := r.accepted.reason(m); ok {
			m.result, m.killer = accepted, why
			r.mutants = append(r.mutants, m)
			continue
		}
		rest = append(rest, m)
	}
	return rest
}

// leaveOut notes tests that fail without mutants.
func (r *report) leaveOut(names []string) {
	r.failing = append(r.failing, names...)
	slices.Sort(r.failing)
	r.failing = slices.Compact(r.failing)
}

// tally counts results.
type tally struct{ killed, timedOut, survived, accepted int }

func (t *tally) add(m *mutant) {
	switch m.result {
	case killed:
		t.killed++
	case timedOut:
		t.killed++
		t.timedOut++
	case accepted:
		t.accepted++
	default:
		t.survived++
	}
}

// score is the share that was killed, of those that are not accepted.
func (t *tally) score() string {
	if t.killed+t.survived == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(t.killed)/float64(t.killed+t.survived))
}

// write writes the report as Markdown.
func (r *report) write(w io.Writer) {
	slices.SortStableFunc(r.mutants, func(a, b *mutant) int {
		return cmp.Or(cmp.Compare(a.file.name, b.file.name), a.start-b.start, a.end-b.end, cmp.Compare(a.text, b.text))
	})
	fmt.Fprintf(w, "# Mutation test\n\n    go run ./tools/mutate %s\n\n", r.command)
	fmt.Fprintf(w, "The files hold %d mutants. This run drew %d that compile and %d that do not.\n\n", r.found, len(r.mutants), r.broken)
	r.writeTable(w)
	r.writeSurvivors(w)
	r.writeAccepted(w)
	r.writeTimedOut(w)
	writeList(w, "Tests left out", "They fail without any mutant.", r.failing)
}

func (r *report) writeTable(w io.Writer) {
	fmt.Fprintln(w, "| file | killed | of these timed out | survived | accepted | score |\n|---|--:|--:|--:|--:|--:|")
	var all tally
	byFile, names := map[string]*tally{}, []string(nil)
	for _, m := range r.mutants {
		all.add(m)
		if byFile[m.file.name] == nil {
			byFile[m.file.name] = &tally{}
			names = append(names, m.file.name)
		}
		byFile[m.file.name].add(m)
	}
	for _, name := range names {
		byFile[name].row(w, name)
	}
	all.row(w, "all")
}

func (t *tally) row(w io.Writer, name string) {
	fmt.Fprintf(w, "| %s | %d | %d | %d | %d | %s |\n", name, t.killed, t.timedOut, t.survived, t.accepted, t.score())
}

func (r *report) writeSurvivors(w io.Writer) {
	fmt.Fprint(w, "\n## Survivors\n\n")
	for _, m := range r.mutants {
		if m.result != survived && m.result != unreached {
			continue
		}
		fmt.Fprintf(w, "%s `%s`: %s%s\n\n```diff\n- %s\n+ %s\n```\n\n", m.place(), m.function, m.kind, m.remark(), m.before, m.after)
	}
}

func (m *mutant) remark() string {
	if m.result == unreached {
		return " (no test reaches it)"
	}
	return ""
}

func (r *report) writeAccepted(w io.Writer) {
	var lines, old []string
	for _, m := range r.mutants {
		if m.result == accepted {
			lines = append(lines, fmt.Sprintf("%s `%s`: `%s`: %s", m.place(), m.function, m.after, m.killer))
		}
	}
	for _, a := range r.stale {
		old = append(old, fmt.Sprintf("%s `%s`: `%s`", a.file, a.function, a.after))
	}
	writeList(w, "Accepted", "Somebody looked at them: they change nothing that matters.", lines)
	writeList(w, "Stale lines of accepted.txt", "No mutant is like this any longer.", old)
}

func (r *report) writeTimedOut(w io.Writer) {
	var lines []string
	for _, m := range r.mutants {
		if m.result == timedOut {
			lines = append(lines, fmt.Sprintf("%s `%s`: `%s`", m.place(), m.function, m.after))
		}
	}
	writeList(w, "Timed out", "They count as killed.", lines)
}

// writeList writes a section, if it has any lines.
func writeList(w io.Writer, title, about string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(w, "## %s\n\n%s\n\n", title, about)
	for _, l := range lines {
		fmt.Fprintln(w, "-", l)
	}
	fmt.Fprintln(w)
}
