package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// report writes a Markdown document, each part as soon as it is there, and
// remembers which targets were met.
type report struct {
	w        io.Writer
	verdicts []verdict
}

// verdict is one target and what was measured.
type verdict struct {
	what, target, measured string
	met                    bool
}

func (r *report) preface(command string) {
	fmt.Fprintf(r.w, "# Benchmarks\n\n")
	r.para("Made by `%s` in `cmd/peerbench`. Machine: %s, %d cores, %s, %s/%s.",
		command, processor(), runtime.NumCPU(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	r.para("Every figure is the median of interleaved rounds in one process: in each round every contender " +
		"answers the same questions, made in advance. A time is nanoseconds a question; behind it stands how many " +
		"times that of the first column it is, the median of the ratios of the rounds. Read the ratios: the times " +
		"are those of this machine. Before anything was timed the answers of all contenders were compared, without a " +
		"difference. The last section holds the targets and which of them were met.")
}

// processor is the model of the CPU, if the system tells.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}

func (r *report) heading(format string, args ...any) { fmt.Fprintf(r.w, "## "+format+"\n\n", args...) }

func (r *report) subheading(format string, args ...any) {
	fmt.Fprintf(r.w, "### "+format+"\n\n", args...)
}

func (r *report) para(format string, args ...any) { fmt.Fprintf(r.w, format+"\n\n", args...) }

func (r *report) list(items []string) {
	for _, s := range items {
		fmt.Fprintf(r.w, "- %s\n", s)
	}
	fmt.Fprintln(r.w)
}

// table writes a header, all of whose columns but the first are numbers, and
// the rows below it.
func (r *report) table(header []string, rows [][]string) {
	rule := make([]string, len(header))
	for i := range rule {
		rule[i] = "---:"
	}
	rule[0] = "---"
	for _, cells := range append([][]string{header, rule}, rows...) {
		fmt.Fprintf(r.w, "| %s |\n", strings.Join(cells, " | "))
	}
	fmt.Fprintln(r.w)
}

// atLeast notes the target that x, measured as a ratio, is at least least, and
// says in one word what came of it.
func (r *report) atLeast(what string, x, least float64) string {
	return r.verdict(what, "≥ "+times(least), times(x), x >= least)
}

// atMost notes the target that x, of a unit, is at most most.
func (r *report) atMost(what string, x, most float64, unit string) string {
	return r.verdict(what, "≤ "+amount(most)+unit, amount(x)+unit, x <= most)
}

func (r *report) verdict(what, target, measured string, met bool) string {
	r.verdicts = append(r.verdicts, verdict{what, target, measured, met})
	if met {
		return "met"
	}
	return "**missed**"
}

// verdictTable closes the document.
func (r *report) verdictTable() {
	r.heading("Targets")
	var rows [][]string
	var missed []string
	for _, v := range r.verdicts {
		word := "met"
		if !v.met {
			word = "**missed**"
			if reason := why(v.what); reason != "" {
				missed = append(missed, v.what+": "+reason)
			}
		}
		rows = append(rows, []string{v.what, v.target, v.measured, word})
	}
	met := slices.DeleteFunc(slices.Clone(r.verdicts), func(v verdict) bool { return !v.met })
	r.para("%d of %d met.", len(met), len(rows))
	r.table([]string{"what", "target", "measured", ""}, rows)
	if len(missed) > 0 {
		r.para("Why some are missed:")
		r.list(missed)
	}
}

// times writes a ratio: "2.14x", "1,390x".
func times(x float64) string { return amount(x) + "x" }

// amount writes three digits or so: what is small has three behind the point,
// what is large all those before it.
func amount(x float64) string {
	switch {
	case x < 0.0005:
		return "0"
	case x < 0.0995:
		return strconv.FormatFloat(x, 'f', 3, 64)
	case x >= 999.5:
		return thousands(int(x + 0.5))
	case x >= 99.5:
		return strconv.FormatFloat(x, 'f', 0, 64)
	case x >= 9.95:
		return strconv.FormatFloat(x, 'f', 1, 64)
	}
	return strconv.FormatFloat(x, 'f', 2, 64)
}

// thousands writes 1234567 as "1,234,567".
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes 100000 as "100k".
func size(n int) string {
	switch {
	case n >= 1_000_000 && n%1_000_000 == 0:
		return strconv.Itoa(n/1_000_000) + "M"
	case n >= 1_000 && n%1_000 == 0:
		return strconv.Itoa(n/1_000) + "k"
	}
	return strconv.Itoa(n)
}
