package sipacl

import (
	"encoding/base64"
	"iter"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
)

func init() {
	conformance["fnmatch"] = conformFnmatch
	conformance["posix-ere"] = conformPosixERE
	conformance["posix-regex"] = conformPosixRegex
	conformance["rule-patterns"] = conformRulePatterns
}

// conformFnmatch: glibc's fnmatch(3), called with FNM_PERIOD.
func conformFnmatch(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q struct {
			Pattern, String, Locale string
			Period                  string `json:"FNM_PERIOD"`
		}
		decode(t, line, &q)
		p, err := CompilePattern(q.Pattern)
		switch {
		case err == nil && p.Match(q.String) == (q.Period == "match"):
			r.agree()
		case otherLocale(q.Locale, q.Pattern+q.String):
			r.differ("pat-locale")
		default:
			r.unexplained("%q ~ %q is %s: %v", q.Pattern, q.String, q.Period, err)
		}
	}
}

// conformPosixERE: glibc's regcomp(3) and regexec(3), with the flags of rule
// files and with those of groups. Each line holds two answers.
func conformPosixERE(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q struct {
			Pattern, String, Regcomp, Locale string
			Match                            bool
			MatchNewline                     bool `json:"match_newline"`
		}
		decode(t, line, &q)
		valid := q.Regcomp == "ok"
		for syntax, match := range []bool{ere.RuleSyntax: q.Match, ere.GroupSyntax: q.MatchNewline} {
			got := ereVerdict(q.Pattern, q.String, ere.Syntax(syntax))
			switch {
			case got == recorded(valid, match):
				r.agree()
			case valid && got == "error" && ereRefused(q.Pattern, false):
				r.differ("rule-ere")
			case otherLocale(q.Locale, q.Pattern+q.String):
				r.differ("pat-locale")
			default:
				r.unexplained("%d: %s: we say %s", syntax, line, got)
			}
		}
	}
}

// conformPosixRegex: the same, and basic expressions as well. Each line holds
// three answers.
func conformPosixRegex(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q struct{ Kind, Pattern, Subject, Rules, Group, Trusted string }
		decode(t, line, &q)
		if q.Kind == "header" {
			continue
		}
		for syntax, want := range []string{ere.RuleSyntax: q.Rules, ere.GroupSyntax: q.Group, ere.TrustedSyntax: q.Trusted} {
			if strings.HasPrefix(want, "err") {
				want = "error"
			}
			got := ereVerdict(q.Pattern, q.Subject, ere.Syntax(syntax))
			switch {
			case got == want:
				r.agree()
			case got == "error" && ereRefused(q.Pattern, ere.Syntax(syntax) == ere.TrustedSyntax):
				r.differ("rule-ere")
			default:
				r.unexplained("%d: %s: we say %s", syntax, line, got)
			}
		}
	}
}

// conformRulePatterns: whether regcomp(3) takes what stands in rule files.
func conformRulePatterns(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q struct {
			Pattern string
			Base64  string `json:"pattern_b64"`
			Regcomp bool
		}
		decode(t, line, &q)
		if q.Base64 != "" {
			text, err := base64.StdEncoding.DecodeString(q.Base64)
			require.NoError(t, err)
			q.Pattern = string(text)
		}
		_, err := ere.CompileExpression(q.Pattern, ere.RuleSyntax)
		switch {
		case (err == nil) == q.Regcomp:
			r.agree()
		case err != nil && ereRefused(q.Pattern, false):
			r.differ("rule-ere")
		default:
			r.unexplained("%s: %v", line, err)
		}
	}
}

func ereVerdict(text, subject string, syntax ere.Syntax) string {
	e, err := ere.CompileExpression(text, syntax)
	return recorded(err == nil, e.MatchString(subject))
}

func recorded(valid, match bool) string {
	switch {
	case !valid:
		return "error"
	case match:
		return "match"
	}
	return "no"
}

// otherLocale reports whether a recording was made where bytes beyond ASCII
// are not characters of their own, and has some (decision pat-locale).
func otherLocale(locale, text string) bool {
	return locale != "C" && strings.ContainsFunc(text, func(r rune) bool { return r >= 0x80 })
}

// ereRefused reports whether decision rule-ere refuses a valid expression.
// It reads the text on its own: brackets, escapes and repeats are all it
// needs to know.
func ereRefused(text string, basic bool) bool {
	repeats := []int{1} // the highest product so far, in each open group
	last := 1           // that of what a repeat would repeat
	for i := 0; i < len(text); i++ {
		op := string(text[i])
		if text[i] == '\\' {
			i++
			if i == len(text) || strings.Contains("123456789<>acdefghijklmnopqrtuvxyz", text[i:i+1]) {
				return i < len(text)
			}
			op = `\` + text[i:i+1]
		}
		if basic {
			op = map[string]string{`\(`: "(", `\)`: ")", `\{`: "{", "[": "[", "*": "*"}[op]
		}
		top := len(repeats) - 1
		switch op {
		case "[":
			end, named := bracketEnd(text, i)
			if named {
				return true
			}
			i, last = end, 1
		case "(":
			repeats = append(repeats, 1)
		case ")":
			last = 1 // it closes nothing: a character
			if top > 0 {
				last = repeats[top]
				repeats = repeats[:top]
			}
		case "{":
			last *= highest(text[i:])
		case "*", "+", "?":
		default:
			last = 1
		}
		repeats[len(repeats)-1] = max(repeats[len(repeats)-1], last)
		if last > 1000 {
			return true
		}
	}
	return false
}

// bracketEnd finds the end of the brackets at i, and whether an element in
// them is named.
func bracketEnd(text string, i int) (end int, named bool) {
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] == ']' && strings.Trim(text[i+1:j], "^") != "", text[j] == ']' && j > i+2:
			return j, named
		case text[j] == '[' && j+2 < len(text) && strings.Contains(".:=", text[j+1:j+2]):
			n := strings.Index(text[j+2:], text[j+1:j+2]+"]")
			if n < 0 {
				return len(text), named
			}
			named = named || n != 1 && text[j+1] != ':'
			j += n + 3
		}
	}
	return len(text), named
}

// highest is the highest number of the interval at the beginning of s.
func highest(s string) int {
	n := 1
	end := strings.IndexByte(s, '}')
	for _, f := range strings.FieldsFunc(s[:max(end, 0)], func(r rune) bool { return r < '0' || r > '9' }) {
		if v, err := strconv.Atoi(f); err == nil {
			n = max(n, v)
		}
	}
	return n
}

// TestRuleEREIsNarrow has expressions just outside of decision rule-ere.
func TestRuleEREIsNarrow(t *testing.T) {
	for _, c := range []struct {
		text            string
		basic, in, near bool
	}{
		{`(a)\1`, false, true, false}, {`(a)\\1`, false, false, true}, {`[\1]`, false, false, true}, {`\0`, false, false, true},
		{`\<a`, false, true, false}, {`[\<]a`, false, false, true},
		{`\d`, false, true, false}, {`[\d]`, false, false, true}, {`\D`, false, false, true}, {`\\d`, false, false, true},
		{`\w\s\b`, false, false, true},
		{`a{1001}`, false, true, false}, {`a{1000}`, false, false, true}, {`a\{1001}`, false, false, true},
		{`(a{32}){32}`, false, true, false}, {`(a{600})(b{600})`, false, false, true}, {`a{31}{32}`, false, false, true}, {`\(a{40}){40}`, false, false, true}, {`(a{40}){40}b`, false, true, false},
		{`a{2}|b{700}`, false, false, true}, {`(a{600})b{2}`, false, false, true}, {`(a{600}b){2}`, false, true, false},
		{`[[.hyphen.]]`, false, true, false}, {`[[.-.]]`, false, false, true}, {`[]\d]`, false, false, true}, {`[^]\d]`, false, false, true},
		{`\d`, true, true, false}, {`a\{1001\}`, true, true, false}, {`a{1001}`, true, false, true}, {`\(a\)\1`, true, true, false},
	} {
		require.Equal(t, c.in, ereRefused(c.text, c.basic), c.text)
		syntax := ere.RuleSyntax
		if c.basic {
			syntax = ere.TrustedSyntax
		}
		_, err := ere.CompileExpression(c.text, syntax)
		require.Equal(t, c.near, err == nil, "%s: %v", c.text, err)
	}
}

// TestPatLocaleIsNarrow has recordings just outside of decision pat-locale.
func TestPatLocaleIsNarrow(t *testing.T) {
	require.True(t, otherLocale("C.UTF-8", "?é"))
	require.False(t, otherLocale("C.UTF-8", "?e"))
	require.False(t, otherLocale("C", "?é"))
}
