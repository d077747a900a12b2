package rulefile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/lines"
)

// write gives a rule in one spelling, every expression quoted.
func write(r Rule) string {
	return side(r.Left) + " : " + side(r.Right)
}

func side(s Side) string {
	text := "ALL"
	if !s.All {
		text = list(s.Any)
	}
	if len(s.Except) > 0 {
		text += " EXCEPT " + list(s.Except)
	}
	return text
}

func list(es []Expression) string {
	var b []string
	for _, e := range es {
		b = append(b, `"`+e.Text+`"`)
	}
	return strings.Join(b, ", ")
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`ALL : ALL`, `ALL : ALL`},
		{"\t ALL:ALL\t# comment", `ALL : ALL`},
		{`alice : bob`, `"alice" : "bob"`},
		{`"^sip:a@b" , c : "x:y","#,EXCEPT"`, `"^sip:a@b", "c" : "x:y", "#,EXCEPT"`},
		{`ALL EXCEPT a,"b" : c EXCEPT d`, `ALL EXCEPT "a", "b" : "c" EXCEPT "d"`},
		{"ALL\tEXCEPT\ta\t:\tc", `ALL EXCEPT "a" : "c"`},
		{`ALL EXCEPT "a":c`, `ALL EXCEPT "a" : "c"`},
		{`"ALL" : "all"`, `"ALL" : "all"`},
		{`EXCEPTION : ALLY`, `"EXCEPTION" : "ALLY"`},
		{`a#b : c`, ``}, // the rest is a comment: no colon
		{`"x y" : \.$`, `"x y" : "\.$"`},
		{"\"\xff\" : ALL", "\"\xff\" : ALL"},
	} {
		rules, errs := Parse(c.in)
		if c.want == "" {
			require.NotEmpty(t, errs, c.in)
			continue
		}
		require.Empty(t, errs, c.in)
		require.Len(t, rules, 1, c.in)
		require.Equal(t, c.want, write(rules[0]), c.in)
	}
}

func TestPositions(t *testing.T) {
	rules, errs := Parse("\ufeff# head\r\n\r\n  \"ab\", c EXCEPT d : ALL EXCEPT \"e\" # tail\r\n")
	require.Empty(t, errs)
	require.Equal(t, []Rule{{
		Line: 3, Col: 3, Text: `"ab", c EXCEPT d : ALL EXCEPT "e"`,
		Left: Side{
			Any:    []Expression{{"ab", 4}, {"c", 9}},
			Except: []Expression{{"d", 18}},
		},
		Right: Side{All: true, Except: []Expression{{"e", 34}}},
	}}, rules)
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`ALL`, `1:4: found end of line, want ":" and a right side`},
		{`ALL :`, `1:6: found end of line, want an expression or ALL`},
		{`: ALL`, `1:1: found ":", want an expression or ALL`},
		{`All : ALL`, `1:1: found All, want an expression; ALL stands alone and in capitals; quote "All" to mean the text`},
		{`ALL, x : ALL`, `1:4: found ",", want EXCEPT or the end of the side; ALL stands alone`},
		{`ALL x : ALL`, `1:5: found "x", want EXCEPT or the end of the side; ALL stands alone`},
		{`x, ALL : ALL`, `1:4: found ALL, want an expression; ALL stands alone and in capitals; quote "ALL" to mean the text`},
		{`ALL : sip:bob@x`, `1:10: found a second ":", want the end of the rule; an expression with a colon needs quotes: "sip:..."`},
		{`ALL : a : b`, `1:9: found a second ":", want the end of the rule; an expression with a colon needs quotes`},
		{`bob carol : ALL`, `1:5: found "carol", want "," or EXCEPT or the end of the side; an expression with blanks or quotes around a part needs quotes around the whole`},
		{`b"o"b : ALL`, `1:2: found '"', want "," or EXCEPT or the end of the side; an expression with blanks or quotes around a part needs quotes around the whole`},
		{`"b"ob : ALL`, `1:4: found "ob", want "," or EXCEPT or the end of the side; an expression with blanks or quotes around a part needs quotes around the whole`},
		{`"bob : ALL`, `1:11: found end of line, want '"' to close the one at column 1`},
		{`"" : ALL`, `1:1: found an empty expression, want some text between the quotes; to mean everything, write ALL`},
		{`a,,b : ALL`, `1:3: found ",", want an expression or ALL`},
		{`a, : ALL`, `1:4: found ":", want an expression or ALL`},
		{`a EXCEPT b EXCEPT c : ALL`, `1:12: found a second EXCEPT, want "," or ":" or end of line; list all exceptions behind one EXCEPT, with commas`},
		{`ALL EXCEPT : ALL`, `1:12: found ":", want an expression or ALL`},
		{`EXCEPT a : ALL`, `1:1: found EXCEPT, want an expression; EXCEPT needs a list on both its sides`},
		{`"a" except "b" : ALL`, `1:5: found "except", want "," or EXCEPT or the end of the side; EXCEPT is written in capitals, with blanks around it`},
		{`"a"EXCEPT "b" : ALL`, `1:4: found "EXCEPT", want "," or EXCEPT or the end of the side; EXCEPT is written in capitals, with blanks around it`},
		{`"a" EXCEPT"b" : ALL`, `1:5: found "EXCEPT", want "," or EXCEPT or the end of the side; EXCEPT is written in capitals, with blanks around it`},
		{`ALL EXCEPT,b : ALL`, `1:5: found "EXCEPT", want EXCEPT or the end of the side; ALL stands alone`},
		{`EXCEPT,b : ALL`, `1:1: found EXCEPT, want an expression; EXCEPT needs a list on both its sides`},
		{"ALL : \"x\rEXCEPT\"", `1:9: found control byte 0x0d, want text`},
		{"x : y\x00", `1:6: found control byte 0x00, want text`},
		{"\n" + strings.Repeat("#", lines.Max+1), `2:65537: found a longer line, want at most 65536 bytes`},
		{`ALL : "` + strings.Repeat("x", MaxExpression+1) + `"`, `1:8: found a longer expression, want at most 4096 bytes`},
	} {
		rules, errs := Parse(c.in)
		require.Empty(t, rules)
		require.Len(t, errs, 1, c.in)
		require.Equal(t, c.want, errs[0].Error(), c.in)
	}
}

func TestEveryErrorOfAFileIsReported(t *testing.T) {
	_, errs := Parse("All, \"\" : ,b c\nALL : ALL\nx\n")
	var at []string
	for _, e := range errs {
		at = append(at, fmt.Sprintf("%d:%d", e.Line, e.Col))
	}
	require.Equal(t, []string{"1:1", "1:6", "1:11", "1:14", "3:2"}, at)
}

func FuzzParse(f *testing.F) {
	f.Add("ALL EXCEPT \"a:b\", c : ALL # comment\r\nAll : \"x")
	f.Add("\ufeffa EXCEPT b EXCEPT c : d,,\"\"\n\x00")
	f.Fuzz(func(t *testing.T, in string) {
		rules, errs := Parse(in)
		lines := strings.Split(strings.TrimPrefix(in, "\ufeff"), "\n")
		for _, e := range errs {
			require.LessOrEqual(t, e.Line, len(lines))
			require.Positive(t, e.Col)
			require.LessOrEqual(t, e.Col, len(lines[e.Line-1])+1)
		}
		for _, r := range rules {
			for _, s := range []Side{r.Left, r.Right} {
				require.NotEqual(t, s.All, len(s.Any) > 0)
				for _, e := range append(s.Any, s.Except...) {
					require.True(t, strings.HasPrefix(lines[r.Line-1][e.Col-1:], e.Text))
				}
			}
			again, errs := Parse(write(r))
			require.Empty(t, errs, "%q", write(r))
			require.Equal(t, write(r), write(again[0]))
		}
	})
}
