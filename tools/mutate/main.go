// Command mutate changes the decision core of the package in small ways and
// reports which changes no test notices. Run it in the root of the module:
//
//	go run ./tools/mutate -n 300 -seed 1 -o report.md
//	go run ./tools/mutate -n 0 -files guard.go,uri.go
//
// It works on a copy of the module. Every mutant runs alone, in a process of
// its own; many are compiled into one test binary, because a build takes longer
// than most runs. Interrupt it to get the report of what was done so far.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"time"
)

// core lists the files that decide. One that does not exist is left out.
const core = "guard.go,request.go,uri.go,register.go,protect.go,routing.go,address.go,subnet.go," +
	"partition.go,acl.go,acllist.go,group.go,trusted.go,ban.go"

// together is how many mutants are compiled into one binary.
const together = 250

type options struct {
	count, skip int
	seed        uint64
	files       string
	list        bool
}

func main() {
	var o options
	flag.IntVar(&o.count, "n", 100, "how many mutants to run; 0 is all")
	flag.IntVar(&o.skip, "skip", 0, "leave out this many mutants first, to continue an earlier run")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the sample")
	flag.StringVar(&o.files, "files", "", "comma-separated files; the default is the decision core")
	flag.BoolVar(&o.list, "list", false, "print the sample and run nothing")
	out := flag.String("o", "", "write the report to this file instead of stdout")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, *out); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(2)
	}
}

func run(ctx context.Context, o options, out string) error {
	prog, err := load(".")
	if err != nil {
		return err
	}
	known, err := readAccepted("tools/mutate/accepted.txt")
	if err != nil {
		return err
	}
	r := &report{command: strings.Join(os.Args[1:], " "), accepted: known}
	sample, err := draw(prog, o, r)
	if err != nil {
		return err
	}
	if o.list {
		for _, m := range sample {
			fmt.Printf("%s\t%s\t%s\t%s\n", m.place(), m.function, m.kind, m.after)
		}
		return nil
	}
	if err := runAll(ctx, sample, r); err != nil {
		return err
	}
	return writeReport(out, r)
}

// draw finds the mutants of the files and picks those to run. Mutants that do
// not compile are counted in r.
func draw(prog *program, o options, r *report) ([]*mutant, error) {
	var all []*mutant
	for name := range strings.SplitSeq(orCore(o.files), ",") {
		f := prog.file(name)
		if f == nil && o.files != "" {
			return nil, fmt.Errorf("%s: not a file of the package", name)
		}
		if f != nil {
			all = append(all, prog.mutants(f)...)
		}
	}
	r.found = len(all)
	r.stale = r.accepted.stale(all)
	rand.New(rand.NewPCG(o.seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })

	var sample []*mutant
	for _, m := range all {
		if o.count > 0 && len(sample) == o.skip+o.count {
			break
		}
		if !prog.compiles(m) {
			r.broken++
			continue
		}
		m.id = len(sample) + 1
		sample = append(sample, m)
	}
	return sample[min(o.skip, len(sample)):], nil
}

func orCore(files string) string {
	if files == "" {
		return core
	}
	return files
}

// runAll runs the sample, and ends early when ctx does.
func runAll(ctx context.Context, sample []*mutant, r *report) error {
	sample = r.setAside(sample)
	if len(sample) == 0 {
		return nil
	}
	progress("copying the module, asking which test reaches which line")
	bench, err := newBench(ctx, ".")
	if err != nil {
		return err
	}
	defer bench.close()
	for done := 0; done < len(sample); done += together {
		part := sample[done:min(done+together, len(sample))]
		progress("building a binary with %d mutants", len(part))
		if err := bench.build(ctx, part); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		for i, m := range part {
			began := time.Now()
			bench.run(ctx, m)
			if ctx.Err() != nil {
				return nil
			}
			r.mutants = append(r.mutants, m)
			progress("%d/%d %s %s: %s (%.1f s)", done+i+1, len(sample), m.place(), m.function, m.outcome(), time.Since(began).Seconds())
		}
		r.leaveOut(bench.alone.skip)
	}
	return nil
}

func progress(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

func writeReport(name string, r *report) error {
	if name == "" {
		r.write(os.Stdout)
		return nil
	}
	var b strings.Builder
	r.write(&b)
	return os.WriteFile(name, []byte(b.String()), 0o644)
}
