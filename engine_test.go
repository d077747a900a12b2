package sipacl

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/ruleengine"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// recordedTexts gives the distinct texts of fields of the lines of a file, in
// order.
func recordedTexts(t *testing.T, file string, fields ...string) (texts []string) {
	seen := map[string]bool{}
	for line := range vectors.Lines(t, "testdata/vectors/"+file+".jsonl.gz") {
		q := map[string]any{}
		vectors.Decode(t, line, &q)
		for _, f := range fields {
			if s, ok := q[f].(string); ok && !seen[s] {
				seen[s] = true
				texts = append(texts, s)
			}
		}
	}
	return texts
}

// TestRecordedExpressionsThroughEngine asks one engine of all recorded
// expressions about all recorded subjects, and each expression by itself.
func TestRecordedExpressionsThroughEngine(t *testing.T) {
	texts := recordedTexts(t, "posix-ere", "pattern")
	texts = append(texts, recordedTexts(t, "posix-regex", "pattern")...)
	texts = append(texts, recordedTexts(t, "rule-patterns", "pattern")...)
	subjects := recordedTexts(t, "posix-ere", "string")
	subjects = append(subjects, recordedTexts(t, "posix-regex", "subject")...)
	if testing.Short() {
		texts = texts[:len(texts)/5]
	}
	for _, syntax := range []ere.Syntax{ere.RuleSyntax, ere.GroupSyntax, ere.TrustedSyntax} {
		var expressions []ere.Expression
		b := newEngineBuilder(syntax)
		for _, text := range texts {
			e, err := ere.CompileExpression(text, syntax)
			x, bad := b.expression(text)
			require.Equal(t, err == nil, bad == nil, text)
			if err != nil {
				require.Equal(t, err, bad, text)
				continue
			}
			expressions = append(expressions, e)
			b.Rule(ruleengine.Rule{Left: ruleengine.Side{Any: []uint32{x}}, Right: ruleengine.Side{All: true}})
		}
		require.NotEmpty(t, expressions)
		engine := b.Engine()
		for _, s := range subjects {
			var got, want []int
			engine.Each(ruleengine.Text{Plain: s, Canonical: s}, ruleengine.Text{}, func(i int) bool {
				got = append(got, i)
				return true
			})
			for i, e := range expressions {
				if e.MatchString(s) {
					want = append(want, i)
				}
			}
			require.Equal(t, want, got, "%q", s)
			first, _, _ := engine.Find(ruleengine.Text{Plain: s, Canonical: s}, ruleengine.Text{})
			require.Equal(t, append(want, -1)[0], first, "%q", s)
		}
	}
}

// TestRecordedRuleFilesThroughEngine asks each recorded rule file about
// recorded texts, of all its rules at once and one by one.
func TestRecordedRuleFilesThroughEngine(t *testing.T) {
	asked := 0
	for _, file := range []string{"opensips-rules", "kamailio-rules"} {
		subjects := recordedTexts(t, file, "from", "to", "ruri", "uri", "contact")
		for n, text := range recordedTexts(t, file, "allow", "deny") {
			f, errs := loadRuleFile(memFS{"f": text}, "f", false)
			if len(errs) > 0 {
				continue
			}
			slow := linear{f.rules, compiler{}}
			for i := range 60 {
				l, r := subjects[(n*17+i*7)%len(subjects)], subjects[(n*5+i*13)%len(subjects)]
				left, right := texts{plain: l, canonical: canonicalText(l, false)}, texts{plain: r, canonical: canonicalText(r, i%2 == 0)}
				got, gl, gr := f.search.find(left, right)
				want, wl, wr := slow.find(left, right)
				require.Equal(t, []any{want, wl, wr}, []any{got, gl, gr}, "%s\n%q %q", text, l, r)
				if want != nil {
					asked++
				}
			}
		}
	}
	require.Greater(t, asked, 100)
}

// TestClassesAreThoseOfEachExpression asks the engine of the classes, which
// looks at all rows at once, and each row by itself.
func TestClassesAreThoseOfEachExpression(t *testing.T) {
	var rows []ClassRow
	for i, text := range recordedTexts(t, "posix-ere", "pattern") {
		if _, err := ere.CompileExpression(text, ere.GroupSyntax); err == nil && text != "" {
			rows = append(rows, ClassRow{Expression: text, Class: ClassID(i)})
		}
	}
	all := mustGroups(t, GroupConfig{Classes: []ClassSource{Rows(rows...)}})
	first := mustGroups(t, GroupConfig{Classes: []ClassSource{Rows(rows...)}, FirstOnly: true})
	for _, u := range []User{{"alice", "example.com"}, {"+361105", "192.0.2.1"}, {"a\xe9", "b"}, {"a_b", "a.b"}} {
		var want []ClassID
		for _, r := range rows {
			if e, _ := ere.CompileExpression(r.Expression, ere.GroupSyntax); e.MatchString(u.uri()) {
				want = append(want, r.Class)
			}
		}
		require.NotEmpty(t, want)
		require.Equal(t, want, slices.Collect(all.Current().Classes(u)))
		require.Equal(t, want[:1], slices.Collect(first.Current().Classes(u)))
	}
}
