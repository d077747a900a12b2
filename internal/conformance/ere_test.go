package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// The naive matcher is held against the recorded verdicts of regcomp(3) and
// regexec(3), with the flags of rule files.
func TestNaiveReadsExtendedExpressions(t *testing.T) {
	asked := 0
	for line := range vectors.Lines(t, recordings(t, "posix-ere")) {
		var q struct {
			Pattern, String, Regcomp, Locale string
			Match                            bool
		}
		if vectors.Decode(t, line, &q); q.Locale != "C" {
			continue
		}
		e, err := parseNaive(q.Pattern)
		if got, want := verdict(err == nil, err == nil && e.MatchString(q.String)), verdict(q.Regcomp == "ok", q.Match); got != want {
			t.Errorf("%s: %s", line, got)
		}
		asked++
	}
	require.Positive(t, asked)
}
