package txtar

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteGivesBackWhatParseRead(t *testing.T) {
	const text = "A comment.\n-- a --\nline\n-- --\n-- b c --\n-- d --\nlast"
	comment, files := Parse(text)
	require.Equal(t, "A comment.\n", comment)
	require.Equal(t, map[string]string{"a": "line\n-- --\n", "b c": "", "d": "last"}, files)
	require.Equal(t, text, Write(comment, files, "a", "b c", "d"))
}
