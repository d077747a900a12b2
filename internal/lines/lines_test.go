package lines

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLines(t *testing.T) {
	for text, want := range map[string]map[int]string{
		"":                 {},
		"a":                {1: "a"},
		"a\n":              {1: "a"},
		"a\n\nb":           {1: "a", 2: "", 3: "b"},
		"\ufeffa\r\nb\r\n": {1: "a", 2: "b"},
		"a\rb\n":           {1: "a\rb"}, // a lone CR is for the reader to refuse
		"a\r\r\n":          {1: "a\r"},  // and so is a second one
		"a\n\ufeffb":       {1: "a", 2: "\ufeffb"},
		"\ufeff\ufeffa":    {1: "\ufeffa"},
	} {
		require.Equal(t, want, maps.Collect(Of(text)), "%q", text)
	}
	for n := range Of("a\nb\n") {
		require.Equal(t, 1, n)
		break
	}
}
