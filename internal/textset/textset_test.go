package textset

import (
	"strings"
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

func TestChunks(t *testing.T) {
	var b Builder
	var texts []string
	for i := range 100 {
		texts = append(texts, strings.Repeat(string(rune('a'+i%26)), i*i*i))
	}
	for _, s := range texts {
		b.Number(s)
	}
	for i := range texts {
		texts[i] = string([]byte(texts[i]))
	}
	numbers := make([]uint32, len(texts))
	for i, s := range texts {
		numbers[i] = b.Number(s)
	}
	set := b.Set()
	for i, s := range texts {
		require.Equal(t, s, set.At(numbers[i]))
	}
	require.Greater(t, len(set.chunks), 10)
}
