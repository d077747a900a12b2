package conformance

import (
	"path/filepath"
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
