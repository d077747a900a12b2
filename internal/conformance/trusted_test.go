package conformance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// The model of a pattern is held against the recorded verdicts of regcomp(3)
// and regexec(3).
func TestTrustedModelReadsBasicExpressions(t *testing.T) {
	n := 0
	for line := range vectors.Lines(t, recordings(t, "posix-regex")) {
		var q struct{ Kind, Pattern, Subject, Trusted string }
		vectors.Decode(t, line, &q)
		if q.Kind == "header" {
			continue
		}
		e, err := parseNaiveBasic(q.Pattern)
		got := verdict(err == nil, err == nil && e.MatchString(q.Subject))
		if want := q.Trusted; strings.HasPrefix(want, "err") {
			require.Equal(t, "error", got, "%s", line)
		} else {
			require.Equal(t, want, got, "%s", line)
		}
		_, err = ere.CompileExpression(q.Pattern, ere.TrustedSyntax)
		require.Equal(t, err != nil, trustedBadPattern(q.Pattern), "%s: %v", line, err)
		n++
	}
	require.Positive(t, n)
}
