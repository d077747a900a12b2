package fnmatch

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// What a translation matches is tested where gobwas/glob is imported.
func TestTranslate(t *testing.T) {
	for pattern, want := range map[string]Translation{
		``:                  {},
		`*`:                 {Glob: `*`, Period: true},
		`?**?*`:             {Glob: `??*`, Period: true, Bytes: true},
		`*?a`:               {Glob: `?*a`, Period: true, Bytes: true},
		`sip:*@example.com`: {Glob: `sip\:*\@example\.com`},
		`{a,b}`:             {Glob: `\{a\,b\}`},
		`\*\a\{`:            {Glob: `\*a\{`},
		"a\xe9":             {Glob: "aé", Bytes: true},
		`x[ac-e]`:           {Glob: `x[acde]`, Bytes: true},
		`x[b-d]`:            {Glob: `x[b-d]`, Bytes: true},
		`x[!b-d]`:           {Glob: `x[!b-d]`, Bytes: true},
		`x[^b]`:             {Glob: `x[!b-b]`, Bytes: true},
		`x[-+a]`:            {Glob: `x[-\+a]`, Bytes: true},
		`x[!-/]`:            {Glob: `x[!-\/]`, Bytes: true},
		`x[[:digit:]]`:      {Glob: `x[0-9]`, Bytes: true},
		`[a]`:               {Glob: `a`, Period: true},
		`[]`:                {Glob: `\[\]`},
		`x[]-a]`:            {Glob: `x[]-a]`, Bytes: true},
		"x[\x01-\xff]":      {Glob: "x[\x01-ÿ]", Bytes: true},
		`x\`:                {Never: true},
		`[z-a]`:             {Never: true},
		`x[[:foo:]]*`:       {Never: true},
	} {
		got, err := Translate(pattern)
		require.NoError(t, err)
		require.Equal(t, want, got, "%q", pattern)
	}
}

func TestTranslateErrors(t *testing.T) {
	for pattern, want := range map[string]string{
		"ab\x00":           "col 3: a pattern cannot hold a NUL",
		"a[bx-[:digit:]c]": "col 2: a class cannot be the end of a range",
	} {
		_, err := Translate(pattern)
		require.EqualError(t, err, want)
	}
}

func FuzzTranslate(f *testing.F) {
	for _, s := range []string{`*a[!b-d]?\`, `[[:alpha:][.a.]-c[=d=]]`, "[\xff", `[[.`, `[a-`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, pattern string) {
		got, err := Translate(pattern)
		if err != nil {
			return
		}
		require.True(t, utf8.ValidString(got.Glob))
		require.False(t, got.Never && got.Glob != "")
	})
}
