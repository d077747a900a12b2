package textset

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func FuzzSet(f *testing.F) {
	f.Add("a", "", "b", "a")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		texts := []string{a, b, c, d, a, b}
		var numbers []uint32
		var builder Builder
		for _, s := range texts {
			numbers = append(numbers, builder.Number(s))
		}
		set := builder.Set()
		for i, s := range texts {
			require.Equal(t, s, set.At(numbers[i]))
			for j := range texts {
				require.Equal(t, texts[j] == s, numbers[j] == numbers[i])
			}
		}
		require.Equal(t, "", set.At(0))
	})
}
