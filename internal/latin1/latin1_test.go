package latin1

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOf(t *testing.T) {
	require.Equal(t, "", Of(""))
	require.Equal(t, "sip:alice", Of("sip:alice"))
	require.Equal(t, "a\u00c3\u00a9\u00ffz", Of("aé\xffz"))
	require.Zero(t, testing.AllocsPerRun(100, func() { Of("sip:alice@example.com") }))
}
