package room

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoom(t *testing.T) {
	var s []int
	moves := 0
	for i := range 100_000 {
		before := cap(s)
		if s = append(Double(s), i); cap(s) != before {
			moves++
		}
	}
	require.Less(t, moves, 20)
	require.Greater(t, cap(s), len(s))
	trimmed := Trim(s)
	require.Equal(t, s, trimmed)
	require.LessOrEqual(t, cap(trimmed), len(s)*65/64)
	require.Empty(t, Trim[int](nil))
}
