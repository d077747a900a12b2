package conformance

import (
	"iter"
	"strings"
	"testing"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// askFnmatch: glibc's fnmatch(3), called with FNM_PERIOD.
func askFnmatch(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q struct {
			Pattern, String, Locale string
			Period                  string `json:"FNM_PERIOD"`
		}
		vectors.Decode(t, line, &q)
		p, err := sipacl.CompilePattern(q.Pattern)
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

// askPosixERE: glibc's regcomp(3) and regexec(3), with the flags of rule
// files and with those of groups. Each line holds two answers.
func askPosixERE(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q struct {
			Pattern, String, Regcomp, Locale string
			Match                            bool
			MatchNewline                     bool `json:"match_newline"`
		}
		vectors.Decode(t, line, &q)
		valid := q.Regcomp == "ok"
		for syntax, match := range []bool{ere.RuleSyntax: q.Match, ere.GroupSyntax: q.MatchNewline} {
			got := ereVerdict(q.Pattern, q.String, ere.Syntax(syntax))
			switch {
			case got == verdict(valid, match):
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

// askPosixRegex: the same, and basic expressions as well. Each line holds
// three answers.
func askPosixRegex(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q struct{ Kind, Pattern, Subject, Rules, Group, Trusted string }
		vectors.Decode(t, line, &q)
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

// recordedPattern is an expression and whether regcomp(3) takes it with the
// flags of rule files.
type recordedPattern struct {
	Pattern *string
	Coded   *string `json:"pattern_b64"`
	Regcomp bool
}

func (p recordedPattern) text(t *testing.T) string { return *fromBase64(t, p.Pattern, p.Coded) }

// askRulePatterns: whether regcomp(3) takes what stands in rule files.
func askRulePatterns(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var q recordedPattern
		vectors.Decode(t, line, &q)
		text := q.text(t)
		_, err := ere.CompileExpression(text, ere.RuleSyntax)
		switch {
		case (err == nil) == q.Regcomp:
			r.agree()
		case err != nil && ereRefused(text, false):
			r.differ("rule-ere")
		default:
			r.unexplained("%s: %v", line, err)
		}
	}
}

func ereVerdict(text, subject string, syntax ere.Syntax) string {
	e, err := ere.CompileExpression(text, syntax)
	return verdict(err == nil, e.MatchString(subject))
}

func verdict(valid, match bool) string {
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
