package ruleengine

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// twin is the meaning of an Engine: it asks one rule after the other, with
// package regexp. When the two differ, Engine is wrong.
type twin struct{ rules []twinRule }

type twinRule struct{ left, right twinSide }

type twinSide struct {
	all         bool
	any, except []*regexp.Regexp
}

func (s *twinSide) matches(t Text) (string, bool) {
	for _, text := range []string{t.Plain, t.Canonical} {
		if (s.all || matchesOne(s.any, text)) && !matchesOne(s.except, text) {
			return text, true
		}
	}
	return "", false
}

func matchesOne(list []*regexp.Regexp, text string) bool {
	for _, re := range list {
		if re.MatchString(latin1(text)) {
			return true
		}
	}
	return false
}

// latin1 has each byte of s as the rune of its number.
func latin1(s string) string {
	r := make([]rune, len(s))
	for i := range r {
		r[i] = rune(s[i])
	}
	return string(r)
}

func (t *twin) find(l, r Text) (int, string, string) {
	for i := range t.rules {
		if ml, ok := t.rules[i].left.matches(l); ok {
			if mr, ok := t.rules[i].right.matches(r); ok {
				return i, ml, mr
			}
		}
	}
	return -1, "", ""
}

func (t *twin) each(l, r Text) (all []int) {
	for i := range t.rules {
		_, lok := t.rules[i].left.matches(l)
		_, rok := t.rules[i].right.matches(r)
		if lok && rok {
			all = append(all, i)
		}
	}
	return all
}

// ruleText is a rule as expressions; no expressions on a side are ALL.
type ruleText struct{ left, leftExcept, right, rightExcept []string }

func (r ruleText) String() string {
	return fmt.Sprintf("%q except %q : %q except %q", r.left, r.leftExcept, r.right, r.rightExcept)
}

// build makes an Engine and its twin of the same rules. Expressions that the
// translation refuses are left out.
func build(t testing.TB, rules []ruleText, o ere.Options) (*Engine, *twin) {
	b, slow := NewBuilder(), &twin{}
	numbers := map[string]uint32{}
	list := func(texts []string) (fast []uint32, slow []*regexp.Regexp) {
		for _, text := range texts {
			s, bad := ere.Translate(text, o)
			if bad != nil {
				continue
			}
			re := regexp.MustCompile(s)
			x, ok := numbers[text]
			if !ok {
				tree, err := syntax.Parse(s, syntax.Perl)
				require.NoError(t, err)
				x, err = b.Expression(tree)
				require.NoError(t, err)
				numbers[text] = x
			}
			fast, slow = append(fast, x), append(slow, re)
		}
		return fast, slow
	}
	side := func(texts, excepts []string) (Side, twinSide) {
		fast, slow := Side{All: len(texts) == 0}, twinSide{all: len(texts) == 0}
		fast.Any, slow.any = list(texts)
		fast.Except, slow.except = list(excepts)
		return fast, slow
	}
	for _, r := range rules {
		fl, sl := side(r.left, r.leftExcept)
		fr, sr := side(r.right, r.rightExcept)
		b.Rule(Rule{fl, fr})
		slow.rules = append(slow.rules, twinRule{sl, sr})
	}
	return b.Engine(), slow
}

func compare(t testing.TB, e *Engine, slow *twin, l, r Text, what func() string) {
	rule, ml, mr := e.Find(l, r)
	wantRule, wl, wr := slow.find(l, r)
	if rule != wantRule || ml != wl || mr != wr {
		t.Fatalf("%q %q: found %d %q %q, want %d %q %q\n%s", l, r, rule, ml, mr, wantRule, wl, wr, what())
	}
	var all []int
	e.Each(l, r, func(r int) bool { all = append(all, r); return true })
	if want := slow.each(l, r); fmt.Sprint(all) != fmt.Sprint(want) {
		t.Fatalf("%q %q: each gives %v, want %v\n%s", l, r, all, want, what())
	}
}

// source makes choices out of the bytes of a fuzzer.
type source struct{ data []byte }

func (s *source) n(n int) int {
	if len(s.data) == 0 {
		return 0
	}
	c := int(s.data[0])
	s.data = s.data[1:]
	return c % n
}

func (s *source) pick(of ...string) string { return of[s.n(len(of))] }

// expression writes an expression: the more depth, the deeper.
func (s *source) expression(depth int) string {
	if depth == 0 {
		return s.atom()
	}
	switch s.n(10) {
	case 0, 1, 2, 3:
		return s.expression(depth-1) + s.expression(depth-1)
	case 4:
		return "(" + s.expression(depth-1) + "|" + s.expression(depth-1) + ")"
	case 5:
		return "(" + s.expression(depth-1) + ")" + s.pick("*", "+", "?", "{2}", "{1,2}", "{0,2}", "{2,}")
	case 6:
		return "^" + s.expression(depth-1)
	case 7:
		return s.expression(depth-1) + "$"
	case 8:
		return s.expression(depth-1) + "|" + s.expression(depth-1)
	}
	return s.atom()
}

func (s *source) atom() string {
	return s.pick("a", "b", "ab", "abc", "@", "@a", "sip:", "^sip:", "1", "2", "12", "@b\\.c", ".", ".*", "[ab]", "[^a]", "[0-9]", "[[:alpha:]]",
		"\\b", "\\B", "^", "$", "\\w", "\\W", "\\s", "", "\xe9", "[\xc9\xe9]", "\n", "k", "@abc$", "^sip:[0-9]+@", "(1|2)@", "\\`", "\\'", "[a-d]", "[1-5]", "_")
}

func (s *source) list(most int) (list []string) {
	for range s.n(most + 1) {
		list = append(list, s.expression(s.n(4)))
	}
	return list
}

func (s *source) text() string {
	var b strings.Builder
	for range s.n(10) {
		b.WriteString(s.pick("a", "b", "ab", "abc", "A", "B", "@", "sip:", "SIP:", "1", "2", "12", "@b.c", "@abc", "\n", "\xe9", "\xc9", "_", " ", "K", "c", "Z", "AZ", "\x00"))
	}
	return b.String()
}

func (s *source) spellings() Text {
	t := Text{Plain: s.text()}
	t.Canonical = t.Plain
	if s.n(2) == 0 {
		t.Canonical = s.text()
	}
	return t
}

func (s *source) rules(most int) []ruleText {
	rules := make([]ruleText, 1+s.n(most))
	for i := range rules {
		rules[i] = ruleText{left: s.list(2), right: s.list(2)}
		if s.n(4) == 0 {
			rules[i].leftExcept = s.list(2)
		}
		if s.n(4) == 0 {
			rules[i].rightExcept = s.list(2)
		}
	}
	return rules
}

// bounds gives those in use, or such that every way around a full arena is
// taken.
func (s *source) bounds() bounds {
	return []bounds{
		defaultBounds,
		{states: 3, cells: 1 << 12, classes: 1 << 10, sets: 1 << 12, rows: 1 << 8, flushAfter: 1 << 20},
		{states: 50, cells: 200, classes: 100, sets: 100, rows: 10, flushAfter: 20},
		{flushAfter: 10},
	}[s.n(4)]
}

func options(lines bool) ere.Options { return ere.Options{Newline: lines} }

func check(t testing.TB, data []byte) {
	s := &source{data}
	o := options(s.n(2) == 1)
	rules := s.rules(12)
	e, slow := build(t, rules, o)
	e.maker.bounds, e.few = s.bounds(), e.few && s.n(2) == 0
	what := func() string { return fmt.Sprintf("%+v %v", o, rules) }
	for range 6 {
		compare(t, e, slow, s.spellings(), s.spellings(), what)
	}
}

func TestEngineIsItsTwin(t *testing.T) {
	n := 3000
	if testing.Short() {
		n = 300
	}
	for data := range noise(n, 600) {
		check(t, data)
	}
}

// noise yields n times size bytes, the same ones each time.
func noise(n, size int) func(yield func([]byte) bool) {
	r := workload.NewRand(1)
	return func(yield func([]byte) bool) {
		for range n {
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(r.Uint64())
			}
			if !yield(data) {
				return
			}
		}
	}
}

// FuzzFactors checks that a text has a factor of each set by which an
// expression that matches it could be found, and that a sure set is had by
// those texts alone.
func FuzzFactors(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 1000 {
			checkFactors(t, data)
		}
	})
}

func TestFactorsAreInMatches(t *testing.T) {
	for data := range noise(20_000, 80) {
		checkFactors(t, data)
	}
}

func checkFactors(t testing.TB, data []byte) {
	s := &source{data}
	o := options(s.n(2) == 1)
	text := s.expression(s.n(6))
	translated, bad := ere.Translate(text, o)
	if bad != nil {
		return
	}
	tree, err := syntax.Parse(translated, syntax.Perl)
	require.NoError(t, err)
	re, facts := regexp.MustCompile(translated), analyse(tree)
	for range 8 {
		subject := strings.ReplaceAll(s.text(), "\n", "")
		matches := re.MatchString(latin1(subject))
		if matchesEmpty(tree) {
			require.True(t, matches, "%q ~ %q", text, subject)
		}
		if facts.exact {
			require.Equal(t, matches, holdsOne(subject, facts.whole), "%q ~ %q: %q", text, subject, facts.whole)
		}
		if !matches {
			continue
		}
		for _, set := range [][]string{facts.heads(), facts.tails(), facts.required(), fromLandmark(facts.required())} {
			require.True(t, set == nil || holdsOne(subject, set), "%q ~ %q: %q", text, subject, set)
		}
	}
}

func holdsOne(subject string, factors []string) bool {
	symbols := []byte("A" + subject + "Z")
	for i := range len(subject) {
		symbols[i+1] = fold[subject[i]]
	}
	for _, f := range factors {
		if strings.Contains(string(symbols), f) {
			return true
		}
	}
	return false
}

func FuzzEngine(f *testing.F) {
	f.Add([]byte("0123456789abcdefghijklmnopqrstuvwxyz"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2000 {
			check(t, data)
		}
	})
}

func TestExpressionsAreTriedOnce(t *testing.T) {
	e := fast(t, repeatedRules())
	s := e.search(Text{}, Text{})
	for range 3 { // the second time with what forget left
		for _, again := range []bool{false, true} {
			for x := range uint32(len(e.exprs)) {
				require.Equal(t, again, s.again(x), x)
			}
		}
		s.forget()
	}
}

// TestRepeatedFactors has each of 62 factors up to a thousand times in a text:
// to try them at each place takes longer than one expression after the other.
func TestRepeatedFactors(t *testing.T) {
	rules := repeatedRules()
	e, find := fast(t, rules), slowly(rules)
	took := func(f func()) time.Duration {
		start := time.Now()
		f()
		return time.Since(start)
	}
	text := Text{repeatedText, repeatedText}
	fastest, slowest := time.Hour, time.Duration(0)
	for range 3 {
		fastest = min(fastest, took(func() { e.Find(text, text) }))
		slowest = max(slowest, took(func() { find(repeatedText, repeatedText) }))
	}
	require.Less(t, fastest, slowest)
}
