package byteset

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSet(t *testing.T) {
	var s Set
	require.True(t, s.Empty())
	require.False(t, s.Contiguous())
	s.AddRange('z', 'a')
	require.True(t, s.Empty())

	s.AddRange('a', 'c')
	require.True(t, s.Contiguous())
	s.Add(0xff)
	require.False(t, s.Contiguous())
	require.Equal(t, 4, s.Count())
	require.Equal(t, byte('a'), s.Min())
	require.Equal(t, byte(0xff), s.Max())

	var ranges []string
	s.Ranges(func(lo, hi byte) { ranges = append(ranges, string([]byte{lo, hi})) })
	require.Equal(t, []string{"ac", "\xff\xff"}, ranges)

	not := s.Inverse()
	require.Equal(t, 252, not.Count())
	require.False(t, not.Has('b'))
	not.Union(&s)
	require.Equal(t, 256, not.Count())
	require.Equal(t, 252, func() int { r := not.Without(&s); return r.Count() }())
	s.Remove('b')
	require.False(t, s.Has('b'))
}

func TestClass(t *testing.T) {
	for name, want := range map[string]int{
		"alpha": 52, "digit": 10, "alnum": 62, "upper": 26, "lower": 26, "space": 6,
		"blank": 2, "punct": 32, "xdigit": 22, "cntrl": 33, "graph": 94, "print": 95,
	} {
		in, ok := Class(name)
		require.True(t, ok, name)
		require.Equal(t, want, in.Count(), name)
	}
	_, ok := Class("word")
	require.False(t, ok)
}
