package conformance

import (
	"encoding/json"
	"fmt"
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
		require.Equal(t, []sipacl.ClassID(l.Gids), q.modelClasses(), "%s", line)
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

// The recorder wrote the values of an AVP as a list or as text, or only the
// one on top.
func TestClassesRecordedAsText(t *testing.T) {
	question := func(multiple, rc, gids string) string {
		return fmt.Sprintf(`{"fn":"db_get_user_group","use_domain":0,"multiple_gid":%s,"re_rows":[["^sip:alice@",5],["a",-3]],`+
			`"source":"uri-string","uri":"sip:alice@x.org","rc":%s,"avp_gids_top_first":%s}`, multiple, rc, gids)
	}
	for _, several := range []string{`[5, -3]`, `"5,-3,"`, `"5,-3"`, `["5","-3"]`, `"5,"`, `5`} {
		for _, last := range []string{`[-3]`, `"-3,"`, `"-3"`, `-3`} {
			require.Equal(t, "opensips-group: total=2 agree=1 different=1 (grp-order=1) unaskable=0 unexplained=0",
				asked(t, "opensips-group", question("1", "2", several), question("0", "1", last)), "%s %s", several, last)
		}
	}
	nobody := `{"fn":"db_get_user_group","re_rows":[["bob",5]],"source":"From","uri":"sip:alice@x.org","rc":-1,"avp_gids_top_first":%s}`
	for _, none := range []string{`[]`, `""`, `null`, `","`} {
		require.Equal(t, "opensips-group: total=1 agree=1 different=0 () unaskable=0 unexplained=0",
			asked(t, "opensips-group", fmt.Sprintf(nobody, none)))
	}
	require.Contains(t, asked(t, "opensips-group", fmt.Sprintf(nobody, `"5,"`)), "unexplained=1")
	require.Contains(t, asked(t, "opensips-group", question("1", "2", `"-3,"`)), "unexplained=1", "not the one on top")
	require.Error(t, json.Unmarshal([]byte(`"5,x"`), new(gids)))
}
