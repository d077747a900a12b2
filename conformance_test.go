package sipacl

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var vectorsDir = flag.String("vectors", "testdata/vectors", "directory of the recorded vectors")

// conformance knows how to ask the questions of each file of vectors, by its
// name without "-extra" and endings. Each area adds its own.
var conformance = map[string]func(*testing.T, *report, iter.Seq[[]byte]){}

// TestConformance asks every recorded question and compares the answers with
// the recorded ones. It prints a line a file; testdata/vectors/README.md
// explains it.
func TestConformance(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(*vectorsDir, "*.jsonl*"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no vectors in %s", *vectorsDir)
	for _, file := range files {
		name, ok := vectorsName(file)
		if !ok {
			continue
		}
		t.Run(name, func(t *testing.T) {
			r := newReport(name, *vectorsDir)
			ask := conformance[strings.TrimSuffix(name, "-extra")]
			if ask == nil {
				t.Fatalf("%s: nobody knows these vectors", file)
			}
			ask(t, r, jsonLines(t, file))
			fmt.Println(r)
			r.check(t)
		})
	}
}

// vectorsName is the name of the vectors in a file, without its endings.
func vectorsName(file string) (string, bool) {
	base := strings.TrimSuffix(filepath.Base(file), ".gz")
	return strings.CutSuffix(base, ".jsonl")
}

// jsonLines yields the lines of a file that may be compressed.
func jsonLines(t *testing.T, file string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		var in io.Reader = f
		if strings.HasSuffix(file, ".gz") {
			in, err = gzip.NewReader(f)
			require.NoError(t, err)
		}
		lines := bufio.NewReaderSize(in, 1<<20)
		for {
			line, err := lines.ReadBytes('\n')
			if len(bytes.TrimSpace(line)) > 0 && !yield(line) {
				return
			}
			if err == io.EOF {
				return
			}
			require.NoError(t, err)
		}
	}
}

// decode reads one line; numbers into any become json.Number.
func decode(t *testing.T, line []byte, into any) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	require.NoError(t, d.Decode(into), "%s", line)
}

// report counts the recorded questions of one file. Each is counted by one
// call of agree, differ, unaskable or unexplained.
type report struct {
	name, dir string

	total, agreed, wrong int
	different            map[string]int // by decision id
	unasked              map[string]int // by reason
	complaints           []string
}

func newReport(name, dir string) *report {
	return &report{name: name, dir: dir, different: map[string]int{}, unasked: map[string]int{}}
}

func (r *report) agree() {
	r.total++
	r.agreed++
}

// differ counts an answer that differs as the decisions prescribe; several
// ids are joined by "+".
func (r *report) differ(id string) {
	r.total++
	r.different[id]++
}

func (r *report) unaskable(reason string) {
	r.total++
	r.unasked[reason]++
}

func (r *report) unexplained(format string, args ...any) {
	r.total++
	r.wrong++
	if len(r.complaints) < 20 {
		r.complaints = append(r.complaints, fmt.Sprintf(format, args...))
	}
}

func (r *report) String() string {
	different, ids := sum(r.different)
	unasked, _ := sum(r.unasked)
	return fmt.Sprintf("%s: total=%d agree=%d different=%d (%s) unaskable=%d unexplained=%d",
		r.name, r.total, r.agreed, different, ids, unasked, r.wrong)
}

func sum(counts map[string]int) (total int, text string) {
	var parts []string
	for k, n := range counts {
		total += n
		parts = append(parts, fmt.Sprintf("%s=%d", k, n))
	}
	slices.Sort(parts)
	return total, strings.Join(parts, " ")
}

func (r *report) check(t *testing.T) {
	for _, c := range r.complaints {
		t.Error(c)
	}
	if r.wrong > 0 {
		t.Errorf("%s: %d answers are not explained", r.name, r.wrong)
	}
	if unasked, reasons := sum(r.unasked); unasked > 0 {
		t.Logf("%s: unaskable: %s", r.name, reasons)
		if unasked*200 > r.total {
			t.Errorf("%s: %d of %d questions are not asked", r.name, unasked, r.total)
		}
	}
}
