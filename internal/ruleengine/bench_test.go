package ruleengine

import (
	"flag"
	"fmt"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

var large = flag.Bool("large", false, "benchmarks of 100,000 rules too")

// pairs is how many questions a stream has.
const pairs = 1 << 16

// of makes the rules that benchmarks ask.
func of(rules []workload.Rule) []ruleText {
	texts := make([]ruleText, len(rules))
	for i, r := range rules {
		texts[i] = ruleText{r.Left, r.LeftExcept, r.Right, r.RightExcept}
	}
	return texts
}

// fast makes an engine alone.
func fast(tb testing.TB, rules []ruleText) *Engine {
	b := NewBuilder()
	numbers := map[string]uint32{}
	list := func(texts []string) (list []uint32) {
		for _, text := range texts {
			x, ok := numbers[text]
			if !ok {
				re, bad := ere.Parse(text, ere.Options{})
				if bad != nil {
					tb.Fatal(bad)
				}
				var err error
				if x, err = b.Expression(re); err != nil {
					tb.Fatal(err)
				}
				numbers[text] = x
			}
			list = append(list, x)
		}
		return list
	}
	for _, r := range rules {
		b.Rule(Rule{
			Side{len(r.left) == 0, list(r.left), list(r.leftExcept)},
			Side{len(r.right) == 0, list(r.right), list(r.rightExcept)},
		})
	}
	return b.Engine()
}

// slowly makes the twin with each distinct expression compiled once, and asked
// without a copy of the text: as fast as it can be.
func slowly(rules []ruleText) func(l, r string) int {
	type side struct{ any, except []*regexp.Regexp }
	compiled := map[string]*regexp.Regexp{}
	list := func(texts []string) (list []*regexp.Regexp) {
		for _, text := range texts {
			if compiled[text] == nil {
				s, _ := ere.Translate(text, ere.Options{})
				compiled[text] = regexp.MustCompile(s)
			}
			list = append(list, compiled[text])
		}
		return list
	}
	sides := make([][2]side, len(rules))
	for i, r := range rules {
		sides[i] = [2]side{{list(r.left), list(r.leftExcept)}, {list(r.right), list(r.rightExcept)}}
	}
	in := func(list []*regexp.Regexp, text string) bool {
		for _, re := range list {
			if re.MatchString(text) {
				return true
			}
		}
		return false
	}
	matches := func(s *side, text string) bool { return (len(s.any) == 0 || in(s.any, text)) && !in(s.except, text) }
	return func(l, r string) int {
		for i := range sides {
			if matches(&sides[i][left], l) && matches(&sides[i][right], r) {
				return i
			}
		}
		return -1
	}
}

// stream is a named list of questions.
type stream struct {
	name  string
	pairs []workload.Pair
}

func streams(rules int) []stream {
	return []stream{
		{"scan", workload.Pairs(pairs, rules, 5, 7)},
		{"known", workload.Pairs(pairs, rules, 50, 7)},
	}
}

func (s stream) ask(e *Engine, i int) int {
	p := s.pairs[i&(len(s.pairs)-1)]
	rule, _, _ := e.Find(Text{p.From, p.From}, Text{p.To, p.To})
	return rule
}

func BenchmarkFind(b *testing.B) {
	for _, n := range []int{1, 3, 10, 1_000, 10_000, 100_000} {
		if n > 10_000 && !*large {
			continue
		}
		rules := of(workload.Rules(n, 1))
		for _, s := range streams(n) {
			b.Run(fmt.Sprintf("rules=%d/stream=%s/impl=engine", n, s.name), func(b *testing.B) {
				e := fast(b, rules)
				for i := range s.pairs {
					s.ask(e, i)
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					i++
					s.ask(e, i)
				}
			})
			if n > 10_000 {
				continue
			}
			b.Run(fmt.Sprintf("rules=%d/stream=%s/impl=regexp", n, s.name), func(b *testing.B) {
				find := slowly(rules)
				i := 0
				for b.Loop() {
					i++
					p := s.pairs[i&(len(s.pairs)-1)]
					find(p.From, p.To)
				}
			})
		}
	}
}

// BenchmarkWorst asks what is built to be slow.
func BenchmarkWorst(b *testing.B) {
	for _, c := range []struct {
		name  string
		rules []ruleText
		l, r  string
	}{
		{"same-literal", numbered(10_000, func(i int) ruleText {
			return ruleText{left: []string{`@carrier\.example\.com$`}, right: []string{fmt.Sprintf(`^sip:\+%d@`, 1000000+i)}}
		}), "sip:alice@carrier.example.com", "sip:+1009999@gw.example.com"},
		{"crowd", numbered(10_000, func(i int) ruleText {
			return ruleText{left: []string{`@carrier\.example\.com$`}, right: []string{fmt.Sprintf(`^sip:[0-9]{%d}[a-z]{%d}`, i/100+1, i%100+1)}}
		}), "sip:alice@carrier.example.com", "sip:1009999@gw.example.com"},
		{"no-literal", numbered(1_000, func(i int) ruleText {
			return ruleText{left: []string{[]string{`.*`, `^[^@]+@`, fmt.Sprintf(`^sip:[0-9]{%d}@`, i%50+1), `^sip:[0-9]+@[0-9.]+$`}[i%4]},
				right: []string{fmt.Sprintf(`[0-9]{%d}[a-z]{%d}@`, i%30+1, i/30+1)}}
		}), "sip:12345@192.0.2.1", "sip:+1009999@gw.example.com"},
		{"no-literal-left", numbered(1_000, func(i int) ruleText {
			return ruleText{left: []string{fmt.Sprintf(`^sip:[0-9]{%d}[a-z]{%d}@`, i%30+1, i/30+1)}}
		}), "sip:+12345@192.0.2.1", "sip:+1009999@gw.example.com"},
		{"repeated", repeatedRules(), repeatedText, "sip:+1009999@gw.example.com"},
	} {
		e := fast(b, c.rules)
		b.Run(fmt.Sprintf("rules=%d/stream=%s/impl=engine", len(c.rules), c.name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.Find(Text{c.l, c.l}, Text{c.r, c.r})
			}
		})
		find := slowly(c.rules)
		b.Run(fmt.Sprintf("rules=%d/stream=%s/impl=regexp", len(c.rules), c.name), func(b *testing.B) {
			for b.Loop() {
				find(c.l, c.r)
			}
		})
	}
	for _, n := range []int{1_000, 10_000} {
		rules := of(workload.Rules(n, 1))
		e, find := fast(b, rules), slowly(rules)
		for _, h := range hostile(n) {
			b.Run(fmt.Sprintf("rules=%d/stream=%s/impl=engine", n, h.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					e.Find(Text{h.text, h.text}, Text{h.text, h.text})
				}
			})
			if n > 1_000 {
				continue
			}
			b.Run(fmt.Sprintf("rules=%d/stream=%s/impl=regexp", n, h.name), func(b *testing.B) {
				for b.Loop() {
					find(h.text, h.text)
				}
			})
		}
	}
}

func numbered(n int, rule func(int) ruleText) []ruleText {
	rules := make([]ruleText, n)
	for i := range rules {
		rules[i] = rule(i)
	}
	return rules
}

type hostileText struct{ name, text string }

// hostile makes texts of 1,024 bytes for n rules of the workload.
func hostile(n int) []hostileText {
	var triggers strings.Builder
	triggers.WriteString("sip:")
	for i := 0; triggers.Len() < 1024; i++ {
		fmt.Fprintf(&triggers, "@%s%d.%s", [...]string{"carrier", "pbx", "voip", "tel", "example"}[i%5], i, [...]string{"com", "net", "org", "de", "es", "io"}[i%6])
	}
	return []hostileText{
		{"triggers", triggers.String()[:1024]},
		{"at", "sip:" + strings.Repeat("@", 1020)},
		{"prefixes", ("sip:" + strings.Repeat("@carrier1", 200))[:1024]},
		{"digits", "sip:+" + strings.Repeat("1", 1019)},
	}
}

// repeatedRules have factors that repeatedText is full of, and do not match.
func repeatedRules() []ruleText {
	return numbered(62*32, func(i int) ruleText {
		return ruleText{left: []string{fmt.Sprintf(`[0-9]{%d}a{%d}[0-9]`, i%32+1, i/32+2)}}
	})
}

var repeatedText = "sip:" + strings.Repeat("a", 1020)

func BenchmarkBuild(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		if n > 10_000 && !*large {
			continue
		}
		rules := of(workload.Rules(n, 1))
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			var before, after runtime.MemStats
			var e *Engine
			for b.Loop() {
				e = nil
				runtime.GC()
				runtime.ReadMemStats(&before)
				e = fast(b, rules)
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "B/rule")
			runtime.KeepAlive(e)
		})
	}
}
