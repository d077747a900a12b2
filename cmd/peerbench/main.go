// Command peerbench measures the library beside what else could be used, on the
// tables, rules and streams of internal/tests/workload, and prints a Markdown
// document: BENCHMARKS.md at the root of the repository is one.
//
//	cd cmd/peerbench
//	go run . -large > ../../BENCHMARKS.md    # everything, 20 minutes, 16 GB
//	go run .                                 # up to 1M rows
//	go run . -quick -only acl,glob           # a look at two sections
//
// Everything runs in one process and in turns: in each round every contender
// answers the same questions, and a ratio is the median of the ratios of the
// rounds, so that a busy machine is busy for all of them. Before anything is
// timed, the contenders' answers are compared; one difference ends a section.
//
// The peers are this module's own requirements, so that nobody who uses the
// library downloads them. Those written in C need cgo and the GNU C library;
// with -tags noglibc they are left out.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// lab says how much is measured, and where it goes.
type lab struct {
	*report
	rounds int
	batch  int           // questions of a stream
	budget time.Duration // for one contender in one round; a slow one gets fewer questions
	sizes  sizes
	log    *log.Logger // progress
}

// sizes are how many rows, rules, members are measured.
type sizes struct {
	address  []int
	peers    int   // the largest table that cidranger and netipx are given
	lengths  int   // IPv6 rows of many and of few prefix lengths
	build    []int // tables whose building is timed
	bytes    []int // tables whose memory is measured
	rules    []int
	linear   int // the largest rule set that is asked one expression after the other
	odd      int // rules of the slow cases
	acl      []int
	groups   []int
	subnets  int // rows of the table in front of a server
	loadTime time.Duration
}

func defaultSizes() sizes {
	return sizes{
		address:  []int{1_000, 10_000, 100_000, 1_000_000},
		peers:    1_000_000,
		lengths:  100_000,
		build:    []int{1_000_000},
		bytes:    []int{1_000, 1_000_000},
		rules:    []int{1, 10, 1_000, 10_000, 100_000},
		linear:   10_000,
		odd:      1_000,
		acl:      []int{10, 1_000, 100_000},
		groups:   []int{1_000_000},
		subnets:  100_000,
		loadTime: time.Second,
	}
}

func (s *sizes) large() {
	s.address = append(s.address, 10_000_000)
	s.build = append(s.build, 10_000_000)
	s.bytes = append(s.bytes, 10_000_000)
	s.groups = append(s.groups, 10_000_000)
}

// quick keeps what is ready within seconds.
func (s *sizes) quick() {
	*s = sizes{
		address: []int{1_000, 100_000}, peers: 100_000, lengths: 10_000,
		build: []int{100_000}, bytes: []int{1_000, 100_000},
		rules: []int{1, 10, 1_000}, linear: 1_000, odd: 200,
		acl: []int{10, 1_000, 100_000}, groups: []int{100_000},
		subnets: 100_000, loadTime: 200 * time.Millisecond,
	}
}

// A section measures one thing and reports it.
type section struct {
	name    string
	measure func(*lab) error
}

var sections = []section{
	{"address", (*lab).addresses},
	{"lengths", (*lab).prefixLengths},
	{"growth", (*lab).growth},
	{"footprint", (*lab).footprint},
	{"rules", (*lab).rules},
	{"worst", (*lab).worstRules},
	{"acl", (*lab).acls},
	{"group", (*lab).groups},
	{"glob", (*lab).globs},
	{"request", (*lab).requests},
	{"load", (*lab).load},
}

func main() {
	rounds := flag.Int("rounds", 10, "how often every contender answers")
	only := flag.String("only", "", "sections to run, separated by commas: "+names(sections))
	large := flag.Bool("large", false, "also 10,000,000 rows and members")
	quick := flag.Bool("quick", false, "small sizes and three rounds: for a look, not for figures")
	addresses := flag.String("sizes", "", "rows of the address tables, separated by commas, instead of the usual ones")
	flag.Parse()

	l := &lab{
		report: newReport(os.Stdout), rounds: *rounds, batch: 1 << 17, budget: 400 * time.Millisecond,
		sizes: defaultSizes(), log: log.New(os.Stderr, "", log.Ltime),
	}
	if *large {
		l.sizes.large()
	}
	if *quick {
		l.sizes.quick()
		l.rounds, l.batch, l.budget = min(l.rounds, 3), 1<<14, 20*time.Millisecond
	}
	chosen, err := pick(sections, *only)
	if err == nil && *addresses != "" {
		l.sizes.address, err = numbers(*addresses)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	l.preface(command())
	if err := l.run(chosen); err != nil {
		l.log.Print(err)
		os.Exit(1)
	}
}

// run measures the sections in their order. One that fails does not keep the
// others from being measured.
func (l *lab) run(chosen []section) error {
	var errs []error
	for _, s := range chosen {
		l.log.Printf("== %s", s.name)
		if err := l.try(s); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
			l.para("This section ended early: %v", err)
		}
		debug.FreeOSMemory()
	}
	l.verdictTable()
	return errors.Join(errs...)
}

func (l *lab) try(s section) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v\n%s", p, debug.Stack())
		}
	}()
	return s.measure(l)
}

func pick(all []section, only string) (chosen []section, err error) {
	if only == "" {
		return all, nil
	}
	for name := range strings.SplitSeq(only, ",") {
		found := false
		for _, s := range all {
			if s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("no section %q; there are %s", name, names(all))
		}
	}
	return chosen, nil
}

func names(all []section) string {
	var s []string
	for _, x := range all {
		s = append(s, x.name)
	}
	return strings.Join(s, ",")
}

func numbers(list string) (all []int, err error) {
	for s := range strings.SplitSeq(list, ",") {
		var n int
		if _, err := fmt.Sscan(s, &n); err != nil || n < 1 {
			return nil, fmt.Errorf("-sizes: want whole numbers above 0, found %q", s)
		}
		all = append(all, n)
	}
	return all, nil
}

// command gives the command line as one types it.
func command() string {
	return strings.Join(append([]string{"go run ."}, os.Args[1:]...), " ")
}

// newReport writes to w.
func newReport(w io.Writer) *report { return &report{w: w} }
