// Package conformance asks the library what the originals were asked, and
// explains every answer that differs.
//
// Each original has a naive model here, with a switch for each behaviour
// decision. With all switches off a model must answer as was recorded; with
// all on, as the library does. The smallest set of switches that turns one
// answer into the other names the decisions. A model is written from the
// description of the original and uses none of the library's parsers and
// translators.
package conformance

import (
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// asker puts the questions of a file.
type asker func(*testing.T, *report, iter.Seq[[]byte])

// askers know the files of vectors, by name without "-extra".
var askers = map[string]asker{
	"asterisk-acl":             askAsteriskACL,
	"asterisk-unit":            askAsteriskUnit,
	"fnmatch":                  askFnmatch,
	"kamailio-address":         askKamailioAddress,
	"kamailio-address-file":    askKamailioAddress,
	"kamailio-group":           askKamailioGroup,
	"kamailio-quirks":          askKamailioQuirks,
	"kamailio-rules":           askKamailioRules,
	"kamailio-trusted":         askKamailioTrusted,
	"opensips-address":         askOpenSIPSAddress(original{}),
	"opensips-address-pre2025": askOpenSIPSAddress(original{pre2025: true, subnets: 128}),
	"opensips-group":           askOpenSIPSGroup,
	"opensips-misc":            askOpenSIPSMisc,
	"opensips-rules":           askOpenSIPSRules,
	"opensips-strings":         askOpenSIPSStrings,
	"posix-ere":                askPosixERE,
	"posix-regex":              askPosixRegex,
	"rule-patterns":            askRulePatterns,
}

// elsewhere are the files that TestWire reads.
var elsewhere = []string{"wire", "dial"}

// Run asks every question recorded in the files of dir and prints a line a
// file; testdata/vectors/README.md explains it. home holds the vectors of this
// repository: the models read verdicts of regcomp(3) there that dir may lack.
func Run(t *testing.T, dir, home string) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl*"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no vectors in %s", dir)
	for _, file := range files {
		name, ok := vectors.Name(file)
		if !ok || slices.Contains(elsewhere, schema(name)) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if askers[schema(name)] == nil {
				t.Fatalf("%s: unknown vectors", file)
			}
			r := newReport(name)
			defer r.close(t)
			r.ask(t, file, home)
		})
	}
}

// schema is the name of the vectors whose schema those of name have.
func schema(name string) string { return strings.TrimSuffix(name, "-extra") }

// report counts the recorded questions of one file. Each is counted by one
// call of agree, differ, unaskable or unexplained.
type report struct {
	name     string
	patterns []string // folders with recorded verdicts on expressions
	ended    bool     // every question was put

	total, agreed, wrong int
	different            map[string]int // by decision id
	unasked              map[string]int // by reason
	complaints           []string
}

func newReport(name string) *report {
	return &report{name: name, different: map[string]int{}, unasked: map[string]int{}}
}

// ask puts the questions of one file.
func (r *report) ask(t *testing.T, file, home string) {
	r.patterns = []string{home, filepath.Dir(file)}
	askers[schema(r.name)](t, r, vectors.Lines(t, file))
	r.ended = true
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
	r.complain(format, args...)
}

// complain fails the file for something that is not the answer to a question.
func (r *report) complain(format string, args ...any) {
	r.wrong++
	if len(r.complaints) < 20 {
		r.complaints = append(r.complaints, fmt.Sprintf(format, args...))
	}
}

// String gives the line of the file.
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

// close prints the line and fails the test for what is not explained, for more
// than a few questions that were not asked, and for a file that ended early.
func (r *report) close(t *testing.T) {
	if !r.ended {
		r.complain("the other questions could not be put")
	}
	fmt.Println(r)
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
