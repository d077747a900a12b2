package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// home holds the vectors of this repository.
const home = "../../testdata/vectors"

// recordings is the file of the repository with these vectors.
func recordings(t *testing.T, name string) string {
	found, err := filepath.Glob(filepath.Join(home, name+".jsonl*"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

// asked puts the questions of a file that was never recorded: these lines, in
// the schema of name. What it returns is the line that Run would print.
func asked(t *testing.T, name string, lines ...string) string {
	file := filepath.Join(t.TempDir(), name+".jsonl")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
	r := newReport(name)
	r.ask(t, file, home)
	for _, c := range r.complaints {
		t.Log(c)
	}
	return r.String()
}

func TestLineOfAFile(t *testing.T) {
	line := asked(t, "fnmatch-extra",
		`{"pattern":"a*","string":"ab","locale":"C","FNM_PERIOD":"match"}`,
		"",
		`{"pattern":"?","string":"é","locale":"C.UTF-8","FNM_PERIOD":"match"}`,
		`{"pattern":"a","string":"b","locale":"C","FNM_PERIOD":"match"}`)
	require.Equal(t, "fnmatch-extra: total=3 agree=1 different=1 (pat-locale=1) unaskable=0 unexplained=1", line)
}

func TestRunLeavesTheWireToItsTest(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"wire.jsonl", "wire-extra.jsonl", "dial.jsonl", "dial-extra.jsonl", "README.md"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("no JSON\n"), 0o600))
	}
	Run(t, dir, home)
}
