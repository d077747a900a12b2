package conformance

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// The model is held against the recordings that have both answers.
func TestModelClassesAreTheRecordedOnes(t *testing.T) {
	asked := 0
	for line := range vectors.Lines(t, recordings(t, "opensips-group")) {
		var l openSIPSGroup
		vectors.Decode(t, line, &l)
		if l.Fn != "db_get_user_group" || !unsetOr1(l.MultipleGid) || l.RC <= 0 || strings.EqualFold(l.Source, "Credentials") {
			continue
		}
		q := groupQuestion{uri: l.URI, classes: classRows(t, l.Rows)}
		require.Equal(t, l.Gids, q.modelClasses(), "%s", line)
		asked++
	}
	require.Positive(t, asked)
}

// These recordings are just outside of the decisions.
func TestGroupDecisionsAreNarrow(t *testing.T) {
	q := groupQuestion{firstOnly: true}
	require.True(t, lastRowFirst(q, []sipacl.ClassID{3}, []sipacl.ClassID{1, 2, 3}))
	require.False(t, lastRowFirst(q, []sipacl.ClassID{2}, []sipacl.ClassID{1, 2, 3}), "not the last row")
	require.False(t, lastRowFirst(q, []sipacl.ClassID{1}, []sipacl.ClassID{1}), "one row")
	require.False(t, lastRowFirst(groupQuestion{}, []sipacl.ClassID{3}, []sipacl.ClassID{1, 2, 3}), "all rows count")

	q = groupQuestion{source: "Credentials", verified: &sipacl.User{Name: "alice", Domain: "a.com"}}
	_, ok := q.user()
	require.True(t, ok)
	q.wrong = true
	_, ok = q.user()
	require.False(t, ok)
}
