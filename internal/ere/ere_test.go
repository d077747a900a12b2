package ere

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	rule    = Options{}
	group   = Options{Newline: true}
	trusted = Options{Basic: true, CaseSensitive: true}
)

// bytesAsRunes brings s into the form that is matched.
func bytesAsRunes(s string) string {
	r := make([]rune, len(s))
	for i := range r {
		r[i] = rune(s[i])
	}
	return string(r)
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		o        Options
		text     string
		yes, not []string
	}{
		{rule, ``, []string{"", "a"}, nil},
		{rule, `^sip:alice@example\.com$`, []string{"sip:alice@example.com", "SIP:Alice@EXAMPLE.com"}, []string{"sip:alice@exampleXcom", "xsip:alice@example.com"}},
		{rule, `b`, []string{"abc", "B"}, []string{"ac"}},
		{rule, `k|s`, []string{"K", "s"}, []string{"\xe2\x84\xaa", "\xc5\xbf"}}, // the Kelvin sign, the long s
		{rule, `a|`, []string{"", "b"}, nil},
		{rule, `()|a||b`, []string{""}, nil},
		{rule, `^(a|b)*$`, []string{"", "abba"}, []string{"abc"}},
		{rule, `^a{,2}$`, []string{"", "aa"}, []string{"aaa"}},
		{rule, `^a{,}$`, []string{"", "aaa"}, []string{"b"}},
		{rule, `^a{2}{3}$`, []string{"aaaaaa"}, []string{"aaaaa"}},
		{rule, `^a+?$`, []string{"", "aa"}, []string{"b"}}, // not lazy: one or more, or none
		{rule, `^a**+$`, []string{"", "aa"}, []string{"b"}},
		{rule, `^a{0}b$`, []string{"b"}, []string{"ab"}},
		{rule, `a)`, []string{"a)"}, []string{"a"}},
		{rule, `^]}$`, []string{"]}"}, []string{"]"}},
		{rule, `a^b`, nil, []string{"ab", "a^b"}},
		{rule, `x*^a`, []string{"a"}, []string{"xa"}},
		{rule, `a$$`, []string{"ba"}, []string{"a$", "a\n"}},
		{rule, `^a.b$`, []string{"a\nb", "axb"}, []string{"ab"}},
		{rule, `^[^a]$`, []string{"\n", "b"}, []string{"a", "A"}},
		{rule, `\bal\B`, []string{"x alice"}, []string{"xalice", "al"}},
		{rule, "\\`a\\'", []string{"a"}, []string{"a\n", "\na", "`a'"}},
		{rule, `^\w\W\s\S$`, []string{"a@\vb", "_- x"}, []string{"@a b"}},
		{rule, `^\D\A\Z$`, []string{"daz"}, []string{"1az"}},
		{rule, `^\.\*\[\0\-$`, []string{".*[0-"}, nil},
		{rule, `^[\w]$`, []string{`\`, "w", "W"}, []string{"a"}},
		{rule, `^[\]]$`, []string{`\]`}, []string{"]", `\`}},
		{rule, `^[]a]$`, []string{"]", "A"}, []string{`b`}},
		{rule, `^[^]a]$`, []string{"b"}, []string{"]", "A"}},
		{rule, `^[a-]$`, []string{"a", "-"}, []string{"b"}},
		{rule, `^[--a]$`, []string{"-", "5", "a"}, []string{"b", "+"}},
		{rule, `^[a-Z]$`, []string{"q", "Q"}, []string{"_"}},
		{rule, `^[[.a.][=b=][.-.]]$`, []string{"a", "B", "-"}, []string{".", "="}},
		{rule, `^[[.+.]-[.-.]]$`, []string{"+", ",", "-"}, []string{"."}},
		{rule, `^[[:upper:]]$`, []string{"a", "A"}, []string{"1"}},
		{rule, `^[[:digit:][:punct:]]$`, []string{"1", "~"}, []string{"a", " "}},
		{rule, `[:alpha:]`, []string{"p", ":"}, []string{"b"}},
		{rule, "^\xe9.$", []string{"\xe9\xff"}, []string{"\xc9\xff", "\xc3\xa9x"}},
		{rule, "^..$", []string{"é"}, []string{"e"}},
		{rule, "^[é]$", []string{"\xc3", "\xa9"}, []string{"é"}},

		{group, `^b$`, []string{"b", "a\nb\nc", "B"}, []string{"ab"}},
		{group, `a.b`, []string{"axb"}, []string{"a\nb"}},
		{group, `a[^c]b`, []string{"axb"}, []string{"a\nb", "acb"}},
		{group, `a\Wb`, []string{"a\nb"}, []string{"acb"}},
		{group, "\\`b", []string{"b"}, []string{"a\nb"}},

		{trusted, `^sip:a@b$`, []string{"sip:a@b"}, []string{"sip:A@b"}},
		{trusted, `^a+b?(c){2}|d$`, []string{"a+b?(c){2}|d"}, []string{"aab"}},
		{trusted, `^\(a\|b\)\{2\}$`, []string{"ab"}, []string{"a"}},
		{trusted, `^a\+b\?$`, []string{"a", "aab"}, []string{"b"}},
		{trusted, `*a`, []string{"*a"}, []string{"a"}},
		{trusted, `^*a`, []string{"*a"}, []string{"a"}},
		{trusted, `\(*a\)`, []string{"*a"}, []string{"a"}},
		{trusted, `\+a\|\?b`, []string{"+a", "?b"}, []string{"a"}},
		{trusted, `a^b$c`, []string{"a^b$c"}, []string{"abc"}},
		{trusted, `^^a`, []string{"^a"}, []string{"a"}},
		{trusted, `a\|^b`, []string{"b", "xa"}, []string{"xb"}},
		{trusted, `\(a$\)`, []string{"ba"}, []string{"a$"}},
		{trusted, `\}`, []string{"}"}, []string{"{"}},
		{trusted, `^[[:upper:]]$`, []string{"A"}, []string{"a"}},
	} {
		re, err := Compile(c.text, c.o)
		require.Nil(t, err, "%s: %v", c.text, err)
		slow, no := newTwin(c.text, c.o)
		require.Empty(t, no, c.text)
		for _, s := range c.yes {
			require.True(t, slow.match(s), "twin: %q ~ %q", c.text, s)
			require.True(t, re.MatchString(bytesAsRunes(s)), "%q ~ %q: %s", c.text, s, re)
		}
		for _, s := range c.not {
			require.False(t, slow.match(s), "twin: %q ~ %q", c.text, s)
			require.False(t, re.MatchString(bytesAsRunes(s)), "%q ~ %q: %s", c.text, s, re)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		o          Options
		text, want string
	}{
		{rule, `x\d+`, `col 2: \d has no meaning of its own; write [0-9]`},
		{rule, `a\n`, `col 2: \n has no meaning of its own; write n for the letter`},
		{rule, `(a)\1`, `col 4: RE2 has no back-reference as \1`},
		{rule, `\<a`, `col 1: RE2 has no \<; write \b where it does as well`},
		{rule, `a\`, `col 2: found \ at the end; write \\ for the character`},
		{rule, `+1`, `col 1: found + with nothing before it to repeat; write \+ for the character`},
		{rule, `a|*`, `col 3: found * with nothing before it to repeat; write \* for the character`},
		{rule, `^*`, `col 2: found * with nothing before it to repeat; write \* for the character`},
		{rule, `(?:a)`, `col 2: found ? with nothing before it to repeat; write \? for the character`},
		{rule, `{1}`, `col 1: found { with nothing before it to repeat; write \{ for the character`},
		{rule, `a{`, `col 2: found no repeat as {2}, {2,} or {2,3} after {; write \{ for the character`},
		{rule, `a{x}`, `col 2: found no repeat as {2}, {2,} or {2,3} after {; write \{ for the character`},
		{rule, `a{2,1}`, `col 2: repeat from 2 to 1`},
		{rule, `a{1001}`, `col 2: more than 1000 repeats`},
		{rule, `(a{100}){11}`, `col 9: more than 1000 repeats, nested ones multiplied`},
		{rule, `a(b`, `col 2: found (, want a ) after it`},
		{rule, `a[b`, `col 2: found [, want a ] after it`},
		{rule, `[[:alpha`, `col 2: found [:, want :] after it`},
		{rule, `[[:word:]]`, `col 2: there is no class "word"`},
		{rule, `[[.hyphen.]]`, `col 2: there is no collating element "hyphen"; write the character`},
		{rule, `[Z-a]`, `col 2: found a range from high to low: Z-a; ranges are compared in upper case`},
		{rule, `[a-c-e]`, `col 5: found - with no character before it; write it first or last in the brackets`},
		{rule, `[a-[:digit:]]`, `col 4: found a class at the end of a range, want a character`},
		{rule, `[[:digit:]-a]`, `col 2: found a range that begins with a class`},
		{rule, `[[=a=]-c]`, `col 2: found a range that begins with an equivalence class`},
		{rule, "a\x00", `col 2: an expression cannot hold a NUL`},
		{rule, strings.Repeat("a", 4097), `col 4097: expression is longer than 4096 bytes`},
		{rule, strings.Repeat("(", 201) + strings.Repeat(")", 201), `col 1: groups and repeats nested more than 200 deep`},
		{rule, strings.Repeat("a{1000}", 11), `col 78: expression grows to more than 10000 characters here`},
		{trusted, `a\)`, `col 2: found ), want a ( before it`},
		{trusted, `\(a`, `col 1: found (, want a ) after it`},
		{trusted, `\{1\}`, `col 1: found { with nothing before it to repeat`},
		{trusted, `a**`, `col 3: found a repeat of a repeat, want \( and \) around the first`},
		{trusted, `a\{1`, `col 2: found no repeat as {2}, {2,} or {2,3} after {`},
	} {
		_, err := Translate(c.text, c.o)
		require.NotNil(t, err, "%q", c.text)
		require.Equal(t, c.want, err.Error(), "%q", c.text)
	}
}

// FuzzTranslate compares the translation with the twin.
func FuzzTranslate(f *testing.F) {
	for _, s := range []string{`^sip:[^@]+@a\.b$`, `a{,2}|(b|c*)+`, `[[:alpha:]-]`, `\(a\|b*\)\{1,2\}$`, `\bx\B.\s`, "[^\xe9]\n"} {
		f.Add(s, "sip:a@a.b", uint8(0))
		f.Add(s, "ab\nc", uint8(1))
		f.Add(s, "a", uint8(2))
	}
	f.Fuzz(func(t *testing.T, text, subject string, which uint8) {
		o := []Options{rule, group, trusted}[which%3]
		re, err := Compile(text, o)
		if len(text) > 60 || len(subject) > 30 || strings.Contains(text, "\x00") {
			return // the limits are tested above, and the twin is slow
		}
		if err != nil && (strings.Contains(err.Msg, "more than") || strings.HasPrefix(err.Msg, "RE2 cannot")) {
			return
		}
		slow, no := newTwin(text, o)
		require.Equal(t, no == "", err == nil, "%q: twin %s, %v", text, no, err)
		if err == nil {
			require.Equal(t, slow.match(subject), re.MatchString(bytesAsRunes(subject)), "%q ~ %q: %s", text, subject, re)
		}
	})
}
