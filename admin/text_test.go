package admin

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// requirePrintable fails if text would do anything to a terminal but print.
func requirePrintable(t *testing.T, text string) {
	t.Helper()
	for _, r := range text {
		require.True(t, r == '\n' || strconv.IsPrint(r), "%q in %q", r, text)
	}
}
