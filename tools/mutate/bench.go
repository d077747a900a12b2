package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cheap is how long a test may take to be among those that run first.
const cheap = 150 * time.Millisecond

// memory is the limit of a test process in KiB of address space, for mutants
// that allocate without end.
const memory = 6 << 20

// bench is a copy of the module, and what is known of its tests.
type bench struct {
	dir    string // of everything that is temporary
	module string // the copy
	tests  []test
	blocks []block // of the package
	woven  binary  // holds many mutants
	alone  binary  // holds one mutant or none, and nothing else that is new
}

// binary is a compiled test. The tests and subtests in skip fail in it whether
// or not a mutant is on.
type binary struct {
	path string
	skip []string
}

// newBench copies the module in root and finds out what its tests reach.
func newBench(ctx context.Context, root string) (*bench, error) {
	dir, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return nil, err
	}
	b := &bench{dir: dir, module: filepath.Join(dir, "module")}
	b.woven.path, b.alone.path = filepath.Join(dir, "woven.test"), filepath.Join(dir, "alone.test")
	if err := b.prepare(ctx, root); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

func (b *bench) prepare(ctx context.Context, root string) error {
	if err := os.Mkdir(filepath.Join(b.dir, "tmp"), 0o755); err != nil {
		return err
	}
	if err := copyModule(b.module, root); err != nil {
		return err
	}
	return b.survey(ctx)
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }

// copyModule copies the files below root, without those of git.
func copyModule(to, root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == ".git" && d.IsDir():
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, path), 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), text, 0o644)
	})
}

// build makes the binary that holds the mutants.
func (b *bench) build(ctx context.Context, mutants []*mutant) error {
	byFile := map[*source][]*mutant{}
	for _, m := range mutants {
		byFile[m.file] = append(byFile[m.file], m)
	}
	texts := map[string]string{"zz_mutant.go": switchFile}
	for f, ms := range byFile {
		texts[f.name] = weave(f, ms)
	}
	if err := b.compile(ctx, &b.woven, texts); err != nil {
		return err
	}
	return b.settle(ctx)
}

// settle finds the tests that fail with no mutant on. In the woven binary those
// that count allocations may; what fails in a plain one is left out for good.
func (b *bench) settle(ctx context.Context) error {
	b.woven.skip, b.alone.skip = nil, nil
	once, err := b.failures(ctx, &b.woven, nil)
	if len(once) == 0 {
		return err
	}
	twice, _ := b.failures(ctx, &b.woven, topLevel(once))
	b.woven.skip = twice
	if _, err := b.failures(ctx, &b.woven, topLevel(once)); err != nil || len(twice) == 0 {
		return err
	}
	if err := b.compile(ctx, &b.alone, nil); err != nil {
		return err
	}
	b.alone.skip, _ = b.failures(ctx, &b.alone, topLevel(twice))
	return ctx.Err()
}

// failures runs tests with no mutant on and lists those that fail.
func (b *bench) failures(ctx context.Context, bin *binary, names []string) ([]string, error) {
	out, err := b.process(ctx, bin, 0, names, 5*time.Minute)
	if err != nil {
		err = fmt.Errorf("the tests fail with no mutant on: %w\n%s", err, out)
	}
	return innermost(failed.FindAllStringSubmatch(out, -1)), err
}

var (
	failed  = regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`)
	crashed = regexp.MustCompile(`(?m)^(panic|fatal error): .*`)
)

// innermost lists the names that failed, without those of which a subtest did.
func innermost(matches [][]string) (names []string) {
	for i, m := range matches {
		if i+1 == len(matches) || !strings.HasPrefix(matches[i+1][1], m[1]+"/") {
			names = append(names, m[1])
		}
	}
	return names
}

// topLevel gives the tests that names are of, each once.
func topLevel(names []string) (tops []string) {
	for _, n := range names {
		top, _, _ := strings.Cut(n, "/")
		tops = append(tops, top)
	}
	return slices.Compact(tops)
}

// pattern matches tests and subtests of exactly these names.
func pattern(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte('|')
		}
		b.WriteString("^" + strings.ReplaceAll(regexp.QuoteMeta(name), "/", "$/^") + "$")
	}
	return b.String()
}

// compile builds a test binary with texts in place of the files of the copy.
func (b *bench) compile(ctx context.Context, bin *binary, texts map[string]string, flags ...string) error {
	overlay, err := b.overlay(texts)
	if err != nil {
		return err
	}
	args := append([]string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", overlay, "-o", bin.path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = b.module
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// overlay writes texts, and the file that tells the go command about them.
func (b *bench) overlay(texts map[string]string) (string, error) {
	replace := map[string]string{}
	for name, text := range texts {
		file := filepath.Join(b.dir, name)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return "", err
		}
		replace[filepath.Join(b.module, name)] = file
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	file := filepath.Join(b.dir, "overlay.json")
	return file, os.WriteFile(file, list, 0o644)
}

// result is what became of a mutant.
type result uint8

const (
	survived result = iota
	unreached
	killed
	timedOut
	accepted
)

func (m *mutant) outcome() string {
	switch m.result {
	case unreached:
		return "survived, no test reaches it"
	case killed:
		return "killed by " + m.killer
	case timedOut:
		return "killed, it timed out"
	case accepted:
		return "accepted"
	}
	return "survived"
}

// run runs the tests that reach m until one fails: the cheap ones first, and
// those that cannot run in the woven binary last.
func (b *bench) run(ctx context.Context, m *mutant) {
	quick, slow := b.reaching(m)
	m.result = survived
	if len(quick)+len(slow) == 0 {
		m.result = unreached
	}
	for _, tests := range [][]test{quick, slow} {
		if m.result == survived && len(tests) > 0 {
			b.try(ctx, &b.woven, m, tests)
		}
	}
	if apart := b.apart(m); m.result == survived && len(apart) > 0 {
		b.runAlone(ctx, m, apart)
	}
}

// runAlone runs tests in a binary that is made for m. Where an import is left
// unused there is none, and m stays a survivor.
func (b *bench) runAlone(ctx context.Context, m *mutant, tests []test) {
	whole := m.apply(0, len(m.file.text))
	if b.compile(ctx, &b.alone, map[string]string{m.file.name: whole}) == nil {
		b.try(ctx, &b.alone, m, tests)
	}
}

// try runs some tests with m on. Only a failure that comes again counts: on a
// busy machine a test that waits may fail by itself.
func (b *bench) try(ctx context.Context, bin *binary, m *mutant, tests []test) {
	for range 3 {
		m.result, m.killer = b.attempt(ctx, bin, m, tests)
		if m.result != killed {
			return
		}
		again := slices.DeleteFunc(slices.Clone(tests), func(t test) bool { return t.name != m.killer })
		if len(again) == 0 {
			return
		}
		if r, _ := b.attempt(ctx, bin, m, again); r != survived {
			return
		}
	}
}

// attempt runs tests once, and names the one that failed.
func (b *bench) attempt(ctx context.Context, bin *binary, m *mutant, tests []test) (result, string) {
	names, limit := make([]string, len(tests)), 10*time.Second
	for i, t := range tests {
		names[i] = t.name
		limit += 4 * t.cost
	}
	out, err := b.process(ctx, bin, m.id, names, limit, "-test.failfast")
	switch {
	case err == nil:
		return survived, ""
	case errors.Is(err, context.DeadlineExceeded):
		return timedOut, ""
	}
	return killed, whatFailed(out, err)
}

// whatFailed names the test that failed.
func whatFailed(out string, err error) string {
	if f := failed.FindStringSubmatch(out); f != nil {
		return topLevel(f[1:])[0]
	}
	if line := crashed.FindString(out); line != "" {
		return line
	}
	return err.Error()
}

// process runs tests of a binary with one mutant on: those named, or all of
// them. It returns context.DeadlineExceeded after limit.
func (b *bench) process(ctx context.Context, bin *binary, id int, names []string, limit time.Duration, flags ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	flags = append(flags, "-test.short", "-test.count=1", "-test.timeout=0")
	if names != nil {
		flags = append(flags, "-test.run="+pattern(names))
	}
	if len(bin.skip) > 0 {
		flags = append(flags, "-test.skip="+pattern(bin.skip))
	}
	args := append([]string{"-c", `ulimit -v "$0" && exec "$@"`, strconv.Itoa(memory), bin.path}, flags...)
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Dir = b.module
	cmd.Env = append(os.Environ(), "SIPACL_MUTANT="+strconv.Itoa(id), "TMPDIR="+filepath.Join(b.dir, "tmp"))
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return string(out), err
}
