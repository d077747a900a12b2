// Package need skips tests on machines that lack what they need. Where
// SIPACL_NEED is set, as in .ci/run, they fail instead.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Program skips t unless the program is there; from says where to get it.
func Program(t *testing.T, name, from string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		Missing(t, "%s is not installed (%s)", name, from)
	}
}

// Missing skips t, or fails it where nothing may be missing.
func Missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("SIPACL_NEED") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}
