package sipacl

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
)

func mustPattern(t testing.TB, s string) Pattern {
	p, err := CompilePattern(s)
	require.NoError(t, err, "%q", s)
	return p
}

func mustExpression(t testing.TB, s string, syntax ere.Syntax) ere.Expression {
	e, err := ere.CompileExpression(s, syntax)
	require.NoError(t, err, "%q", s)
	return e
}

func TestPatternMatch(t *testing.T) {
	for _, c := range []struct {
		pattern  string
		yes, not []string
	}{
		{``, []string{""}, []string{"a"}},
		{`*`, []string{"", "a", "a.b", "\x00", "é"}, []string{".", ".a"}},
		{`?`, []string{"a", "\xe9"}, []string{"", ".", "é", "ab"}},
		{`??`, []string{"é", "ab"}, []string{"e"}},
		{`[.]`, nil, []string{".", "a"}},
		{`*?[.-z]`, []string{"xz", "xx."}, []string{"x.", ".z"}}, // by mistake, but so it is
		{`*?[.]`, []string{"xx."}, []string{"x."}},
		{`*?[.,}]*{`, []string{"a,}{", "x..{"}, []string{"x.{", "a{"}},
		{`?*?[.]`, []string{"xx."}, []string{"x."}},
		{`[!a]`, []string{"b"}, []string{".", "a"}},
		{`\.a`, []string{".a"}, []string{"a"}},
		{`a*`, []string{"a", "a."}, []string{".a"}},
		{`sip:*@example.com`, []string{"sip:alice@example.com", "sip:@example.com", "sip:\xff@example.com"}, []string{"sip:alice@example_com", "SIP:alice@example.com"}},
		{`*a*b*c?`, []string{"xaxbxcx", "abcc"}, []string{"abc", "cba"}},
		{`[^abc]`, []string{"d", "^"}, []string{"a"}},
		{`[]a]`, []string{"]", "a"}, []string{"[", "b"}},
		{`[!]a]`, []string{"b"}, []string{"]", "a"}},
		{`[a-c0-9-]x`, []string{"bx", "5x", "-x"}, []string{"dx", "ax "}},
		{`[abc-e]`, []string{"d", "e"}, []string{"-"}},
		{`[a-c-e]`, []string{"b", "-", "e"}, []string{"d"}},
		{`[--/]`, []string{"-", "/"}, []string{",", "0"}},
		{`[%--]`, []string{"%", "-", "+"}, []string{"."}},
		{`[!-/]`, []string{"a", "0"}, []string{"-", "/"}},
		{`x["-/]`, []string{`x"`, "x/"}, []string{"x!"}},
		{`[z-a]`, nil, []string{"z", "a", "-", "[z-a]"}},
		{`[z-ab]`, []string{"b"}, []string{"z"}},
		{`[[:alpha:]]`, []string{"q", "Q"}, []string{"1", ":"}},
		{`[[:digit:]x]`, []string{"4", "x"}, []string{"d"}},
		{`[[:nothing:]]`, nil, []string{"n", "[[:nothing:]]"}},
		{`[a[:nothing:]b]`, []string{"a"}, []string{"b"}},
		{`[[=a=]-c]`, []string{"a", "-", "c"}, []string{"b"}},
		{`[[.a.]-c]`, []string{"a", "b"}, []string{"-", "d"}},
		{`[[.hyphen.]]`, nil, []string{"-", "h"}},
		{`{a,b}`, []string{"{a,b}"}, []string{"a", "b"}},
		{`+(a)@(a|b)`, []string{"+(a)@(a|b)"}, []string{"a"}},
		{`[`, []string{"["}, []string{"a"}},
		{`[a`, []string{"[a"}, []string{"a"}},
		{`[[`, []string{"[["}, []string{"["}},
		{`[]`, []string{"[]"}, []string{"]"}},
		{`[a-`, nil, []string{"[a-", "a"}},
		{`a\`, nil, []string{"a", `a\`}},
		{`\a\*\\`, []string{`a*\`}, []string{`aa\`}},
		{`[\]]`, []string{"]"}, []string{`\`}},
		{`[a\-z]`, []string{"a", "-", "z"}, []string{"b"}},
		{`a/*`, []string{"a/b/c"}, []string{"a"}},
		{"[\xe0-\xef]x", []string{"\xe9x"}, []string{"éx"}},
		{`[é]`, []string{"\xc3", "\xa9"}, []string{"é"}},
		{`é*`, []string{"éa"}, []string{"e"}},
	} {
		p := mustPattern(t, c.pattern)
		require.Equal(t, c.pattern, p.String())
		for _, s := range c.yes {
			require.True(t, slowMatch(c.pattern, s), "twin: %q ~ %q", c.pattern, s)
			require.True(t, p.Match(s), "%q ~ %q", c.pattern, s)
		}
		for _, s := range c.not {
			require.False(t, slowMatch(c.pattern, s), "twin: %q ~ %q", c.pattern, s)
			require.False(t, p.Match(s), "%q ~ %q", c.pattern, s)
		}
	}
}

func TestZeroPatternMatchesNothing(t *testing.T) {
	require.False(t, Pattern{}.Match(""))
	require.False(t, Pattern{}.Match("a"))
	require.False(t, ere.Expression{}.MatchString(""))
	require.False(t, ere.Expression{}.MatchString("a"))
}

func TestPatternErrors(t *testing.T) {
	for text, want := range map[string]string{
		"a\x00":                    "col 2: a pattern cannot hold a NUL",
		"b[ax-[:digit:]]":          "col 2: a class cannot be the end of a range",
		strings.Repeat("a", 4097):  "pattern is longer than 4096 bytes",
		strings.Repeat("[a", 2049): "pattern is longer than 4096 bytes",
	} {
		p, err := CompilePattern(text)
		require.EqualError(t, err, want)
		require.False(t, p.Match(text))
	}
	mustPattern(t, strings.Repeat("[a", 2048))
}

func TestPatternRefusesLongSubjects(t *testing.T) {
	p := mustPattern(t, "*")
	require.True(t, p.Match(strings.Repeat("a", 4096)))
	require.False(t, p.Match(strings.Repeat("a", 4097)))
}

func TestPatternMatchDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties pools")
	}
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"sip:*@example.com", "sip:alice@example.com", true},
		{"sip:*@example.com", "sip:alice@example.org", false},
		{"sip:[a-z]*@*.example.[!o]*", "sip:alice@gw.example.com", true},
		{"sip:[a-z]*@*.example.[!o]*", "sip:alice@gw.example.org", false},
		{"*a*[bc]*d?", "xaxbxcxdx", true},
		{"sip:*@example.com", "sip:\xe9@example.com", true}, // no ?, set or such byte in the pattern
		{"sip:*@example.com", "sip:\xe9@example.org", false},
	} {
		p := mustPattern(t, c.pattern)
		allocs := testing.AllocsPerRun(100, func() {
			if p.Match(c.subject) != c.want {
				t.Errorf("%q ~ %q is not %v", p, c.subject, c.want)
			}
		})
		require.Zero(t, allocs, "%q ~ %q", c.pattern, c.subject)
	}
	p := mustPattern(t, "sip:?*@example.com")
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() { p.Match("sip:\xe9@example.com") }), 1.0)
}

func TestExpressionMatchStringDoesNotAllocate(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector empties pools")
	}
	for _, syntax := range []ere.Syntax{ere.RuleSyntax, ere.GroupSyntax, ere.TrustedSyntax} {
		e := mustExpression(t, `^sip:[^@]*@gw[0-9]*\.example\.com$`, syntax)
		for _, s := range []string{"sip:alice@gw7.example.com", "sip:alice@gw7.example.org"} {
			require.Zero(t, testing.AllocsPerRun(100, func() { e.MatchString(s) }), s)
		}
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { e.MatchString("sip:\xe9@gw.example.com") }), 1.0)
	}
}

// TestHostileSubjects bounds the time of the worst that a sender can do to
// patterns an administrator might write. The bound is generous: it tells
// milliseconds from minutes.
func TestHostileSubjects(t *testing.T) {
	long := strings.Repeat("a", maxSubject)
	for _, text := range []string{
		"*a*a*a*b",
		"*?[.a]" + strings.Repeat("*[ab]", 20) + "*c?",
		strings.Repeat("*a", 30) + "*b?",
		strings.Repeat("*[ab]", 30) + "*c?",
		strings.Repeat("*a?", 30) + "*[b]",
		strings.Repeat("*?", 40) + "[b]",
		"*" + strings.Repeat("[ab]", 30) + "[b]",
	} {
		p := mustPattern(t, text)
		start := time.Now()
		require.False(t, p.Match(long), text)
		took := time.Since(start)
		t.Logf("%.20s: %v", text, took)
		require.Less(t, took, time.Second, text)
	}
	for _, text := range []string{"(a*)*b", "(a|aa)+$b", "(.*)(.*)(.*)(.*)c", "(a?){500}a{500}b"} {
		e := mustExpression(t, text, ere.RuleSyntax)
		start := time.Now()
		require.False(t, e.MatchString(long[:1024]), text)
		took := time.Since(start)
		t.Logf("%.20s: %v", text, took)
		require.Less(t, took, 5*time.Second, text)
	}
}

func TestExpressionSyntaxes(t *testing.T) {
	for _, c := range []struct {
		syntax  ere.Syntax
		text    string
		subject string
		want    bool
	}{
		{ere.RuleSyntax, "^A+$", "aa", true},
		{ere.RuleSyntax, "^b", "a\nb", false},
		{ere.GroupSyntax, "^b", "a\nB", true},
		{ere.TrustedSyntax, "^A+$", "A+", true},
		{ere.TrustedSyntax, "^A+$", "a+", false},
	} {
		e := mustExpression(t, c.text, c.syntax)
		require.Equal(t, c.text, e.String())
		require.Equal(t, c.want, e.MatchString(c.subject), "%d %q ~ %q", c.syntax, c.text, c.subject)
	}
}

func TestExpressionError(t *testing.T) {
	_, err := ere.CompileExpression(`^\d`, ere.RuleSyntax)
	var e *ere.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, ere.Error{Col: 2, Msg: `\d has no meaning of its own`, Hint: "write [0-9]"}, *e)
	require.EqualError(t, err, `col 2: \d has no meaning of its own; write [0-9]`)

	_, err = ere.CompileExpression("a", ere.TrustedSyntax+1)
	require.EqualError(t, err, "col 1: there is no Syntax 3")
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"*a*[b-d]?", "[!a]", "[[:alpha:]-z]", "[a-", "[[.a.]-\\c]", "\\", "[\xe0-\xff]", "*?[!a]"} {
		f.Add(s, "abc.d")
		f.Add(s, "\xe9")
	}
	f.Fuzz(func(t *testing.T, pattern, subject string) {
		p, err := CompilePattern(pattern)
		if err != nil {
			require.Contains(t, err.Error(), "col ")
			return
		}
		if len(pattern) > 60 || len(subject) > 60 || strings.Contains(subject, "\x00") {
			p.Match(subject) // the twin would take long
			return
		}
		require.Equal(t, slowMatch(pattern, subject), p.Match(subject), "%q ~ %q: %s", pattern, subject, p.glob)
	})
}

func FuzzExpression(f *testing.F) {
	f.Add(`^sip:[^@]*@(a|b){2}$`, "sip:a@ab", uint8(0))
	f.Fuzz(func(t *testing.T, text, subject string, syntax uint8) {
		e, err := ere.CompileExpression(text, ere.Syntax(syntax%4))
		var where *ere.Error
		if err != nil {
			require.ErrorAs(t, err, &where)
			require.GreaterOrEqual(t, where.Col, 1)
			require.NotEmpty(t, where.Msg)
			require.False(t, e.MatchString(subject))
			return
		}
		e.MatchString(subject)
	})
}

// slowMatch is the twin of Pattern: fnmatch(3) with FNM_PERIOD, byte by byte.
// It is the meaning of Pattern; when the two differ, Pattern is wrong.
func slowMatch(pattern, s string) bool {
	if s != "" && s[0] == '.' && pattern != "" && strings.IndexByte("*?[", pattern[0]) >= 0 {
		return false
	}
	run := len(pattern) - len(strings.TrimLeft(pattern, "*?"))
	after := strings.Count(pattern[:run], "?")
	if after > 0 && pattern[0] == '*' && strings.HasPrefix(pattern[run:], "[") {
		// After *? a bracket takes the byte that comes first for a leading one.
		for i := after; i <= len(s); i++ {
			if !(i == after && strings.HasPrefix(s[i:], ".")) && slowMatchAt(pattern[run:], s[i:]) {
				return true
			}
		}
		return false
	}
	return slowMatchAt(pattern, s)
}

func slowMatchAt(pattern, s string) bool {
	for pattern != "" {
		if pattern[0] == '*' {
			for i := range len(s) + 1 {
				if slowMatchAt(pattern[1:], s[i:]) {
					return true
				}
			}
			return false
		}
		if s == "" {
			return false
		}
		ok, n := matchOne(pattern, s[0])
		if !ok {
			return false
		}
		pattern, s = pattern[n:], s[1:]
	}
	return s == ""
}

// matchOne matches c with what takes one byte at the beginning of the
// pattern, and returns how long that is.
func matchOne(pattern string, c byte) (ok bool, n int) {
	switch pattern[0] {
	case '?':
		return true, 1
	case '\\':
		return len(pattern) > 1 && pattern[1] == c, 2
	case '[':
		return matchBracket(pattern, c)
	}
	return pattern[0] == c, 1
}

// matchBracket asks the members of a bracket expression for c, one by one.
func matchBracket(p string, c byte) (ok bool, n int) {
	i := 1
	not := i < len(p) && (p[i] == '!' || p[i] == '^')
	if not {
		i++
	}
	for first := true; ; first = false {
		if i >= len(p) {
			return c == '[', 1
		}
		if p[i] == ']' && !first {
			return not, i + 1
		}
		holds, n := matchMember(p[i:], c)
		if holds {
			end := endOfBracket(p, i+max(n, 1))
			if end == len(p)+1 {
				return c == '[', 1
			}
			return !not && end > 0, end
		}
		if n < 0 {
			return false, 0
		}
		i += n
	}
}

// matchMember asks the member at the beginning of s. n is negative if
// matching ends with it.
func matchMember(s string, c byte) (holds bool, n int) {
	if name, ok := between(s, "[:", ":]"); ok && strings.Trim(name, "abcdefghijklmnopqrstuvwxy") == "" {
		in, known := map[string]string{
			"alpha": "az AZ", "digit": "09", "alnum": "az AZ 09", "upper": "AZ", "lower": "az",
			"space": "\t\r   ", "blank": "\t\t   ", "punct": "!/ :@ [` {~", "xdigit": "09 af AF",
			"cntrl": "\x01\x1f \x7f\x7f", "graph": "!~", "print": "   !~",
		}[name]
		if !known {
			return false, -1
		}
		for ; in != ""; in = strings.TrimPrefix(in[2:], " ") {
			holds = holds || in[0] <= c && c <= in[1]
		}
		return holds, len(name) + 4
	}
	if len(s) > 4 && s[:2] == "[=" && s[3:5] == "=]" {
		return s[2] == c, 5
	}
	lo, n := rangePoint(s)
	rest := s[max(n, 0):]
	switch {
	case n < 0:
		return false, -1
	case rest == "-":
		return c == lo, -1
	case rest == "" || rest[0] != '-':
		return c == lo, n
	case rest[1] == ']':
		return c == lo && s[:2] != "[.", n
	}
	hi, m := rangePoint(rest[1:])
	if m < 0 {
		return false, -1
	}
	return lo <= c && c <= hi, n + 1 + m
}

func rangePoint(s string) (c byte, n int) {
	if s[0] == '\\' {
		if len(s) == 1 {
			return 0, -1
		}
		return s[1], 2
	}
	if strings.HasPrefix(s, "[.") {
		name, ok := between(s, "[.", ".]")
		if !ok || len(name) != 1 {
			return 0, -1
		}
		return name[0], 5
	}
	return s[0], 1
}

// endOfBracket looks for the end of a bracket expression that has matched:
// 0 if there is none, len(p)+1 if the pattern ends before.
func endOfBracket(p string, i int) int {
	for i < len(p) {
		s := p[i:]
		switch {
		case s[0] == ']':
			return i + 1
		case s == `\`:
			return 0
		case s[0] == '\\':
			i++
		case strings.HasPrefix(s, "[="):
			if len(s) < 5 || s[3:5] != "=]" {
				return 0
			}
			i += 4
		case strings.HasPrefix(s, "[."):
			name, ok := between(s, "[.", ".]")
			if !ok {
				return 0
			}
			i += len(name) + 3
		case strings.HasPrefix(s, "[:"):
			if name, ok := between(s, "[:", ":]"); ok && strings.Trim(name, "abcdefghijklmnopqrstuvwxy") == "" {
				i += len(name) + 3
			}
		}
		i++
	}
	return len(p) + 1
}

func between(s, open, close string) (string, bool) {
	s, ok := strings.CutPrefix(s, open)
	n := strings.Index(s, close)
	if !ok || n < 0 {
		return "", false
	}
	return s[:n], true
}

func ExamplePattern() {
	p, err := CompilePattern("sip:*@example.com")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Match("sip:alice@example.com"), p.Match("sip:alice@example.org"))
	// Output: true false
}

func ExampleExpression() {
	e, err := ere.CompileExpression(`^sip:1900[0-9]{7}@`, ere.RuleSyntax)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.MatchString("SIP:19005550100@example.com"))
	_, err = ere.CompileExpression(`^sip:1900\d+@`, ere.RuleSyntax)
	fmt.Println(err)
	// Output:
	// true
	// col 10: \d has no meaning of its own; write [0-9]
}
