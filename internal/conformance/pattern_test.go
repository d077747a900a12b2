package conformance

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// These expressions are just inside and outside of decision rule-ere.
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

// These recordings are just inside and outside of decision pat-locale.
func TestPatLocaleIsNarrow(t *testing.T) {
	require.True(t, otherLocale("C.UTF-8", "?é"))
	require.False(t, otherLocale("C.UTF-8", "?e"))
	require.False(t, otherLocale("C", "?é"))
}

// The model's patterns are those of glibc.
func TestModelGlob(t *testing.T) {
	for line := range vectors.Lines(t, recordings(t, "fnmatch")) {
		var v struct{ Pattern, String, Locale, FNM_PERIOD string }
		if vectors.Decode(t, line, &v); v.Locale != "C" {
			continue
		}
		if got := modelGlob(v.Pattern, v.String, true); got != (v.FNM_PERIOD == "match") {
			t.Errorf("%q %q: %v", v.Pattern, v.String, got)
		}
	}
}
