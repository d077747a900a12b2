package main

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing/fstest"
	"time"

	"github.com/wasilibs/go-re2/experimental"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/ruleengine"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// rules compares rule files of different sizes.
func (l *lab) rules() error {
	l.heading("Rule sets")
	l.para("A question is a pair of URIs; the answer is the first rule that matches. `engine` finds it; `Test` is the "+
		"whole public call on the same texts; `canonical` is the same with the canonical texts, which is the default. stdlib and regexec "+
		"try one expression after the other%s; they are asked fewer questions where they are slow. The set of go-re2 holds the expressions "+
		"of the left sides only and tells up to four that match, in no order.", withoutC)
	l.para("known: how many in 100 callers are of a domain that the rules are about.")
	var lines [][]string
	growth := []contender{}
	for _, n := range l.sizes.rules {
		l.log.Printf("rules: %d", n)
		rules := workload.Rules(n, 6)
		set, err := loadRules(rules, true)
		if err != nil {
			return err
		}
		engine, err := buildEngine(rules)
		if err != nil {
			return err
		}
		for _, known := range []int{5, 50} {
			pairs := workload.Pairs(l.batch/8, n, known, 7)
			line, err := l.rulesLine(rules, engine, set, known, pairs)
			if err != nil {
				return fmt.Errorf("%s rules: %w", size(n), err)
			}
			lines = append(lines, line)
			if known == 5 && n >= 10 {
				growth = append(growth, engineContender(size(n), engine, pairs))
			}
		}
	}
	l.table([]string{"rules", "known", "matched", "engine", "Test", "canonical", "stdlib", "regexec", "go-re2 set"}, lines)
	if err := l.rulesGrowth(growth); err != nil {
		return err
	}
	return l.rulesBuild()
}

// loadRules loads rule i from line i+1 of an allow file.
func loadRules(rules []workload.Rule, asSent bool) (*sipacl.RuleSet, error) {
	return loadRuleText(ruleText(rules), asSent)
}

func loadRuleText(text []byte, asSent bool) (*sipacl.RuleSet, error) {
	files := fstest.MapFS{"permissions.allow": {Data: text}}
	rules, err := sipacl.NewRules(context.Background(), sipacl.RulesConfig{FS: files, AsSent: asSent})
	return rules.Current(), err
}

func ruleText(rules []workload.Rule) []byte {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString(r.Line() + "\n")
	}
	return []byte(b.String())
}

func testContender(kind string, set *sipacl.RuleSet, pairs []workload.Pair) contender {
	return contender{name: "Test", kind: kind, ask: func(answers []int32) {
		for i := range answers {
			answers[i] = -1
			if d := set.Test(pairs[i].From, pairs[i].To); d.Cause == sipacl.CauseAllowRule {
				answers[i] = int32(d.Origin.Line) - 1
			}
		}
	}}
}

func (l *lab) rulesLine(rules []workload.Rule, engine *ruleengine.Engine, set *sipacl.RuleSet, known int, pairs []workload.Pair) ([]string, error) {
	canonical, err := loadRules(rules, false)
	if err != nil {
		return nil, err
	}
	contenders := []contender{
		engineContender("", engine, pairs), testContender("", set, pairs), testContender("canonical", canonical, pairs),
	}
	n := len(rules)
	linear := n <= l.sizes.linear
	if linear {
		peers, err := linearContenders(rules, pairs)
		if err != nil {
			return nil, err
		}
		contenders = append(contenders, peers...)
	}
	re2, err := re2Contender(rules, pairs)
	if err == nil {
		contenders = append(contenders, re2)
	} else {
		l.log.Printf("go-re2: %v", err)
	}
	o, err := l.compare(len(pairs), contenders...)
	if err != nil {
		return nil, err
	}
	line := []string{size(n), fmt.Sprint(known), amount(100*o.hits) + " %", amount(o.ns(0)), o.cell(1, 0), o.cell(2, 0), "–", "–", "–"}
	for i := 3; i < len(contenders); i++ {
		column := map[string]int{"stdlib": 6, "regexec": 7, "go-re2": 8}[contenders[i].name]
		line[column] = o.cell(i, 0)
		if least, ok := ruleTargets[contenders[i].name][n]; ok {
			what := fmt.Sprintf("rule set of %s, %d %% known: %s / engine", size(n), known, contenders[i].name)
			line[column] += " " + l.atLeast(what, o.ratio(i, 0), least)
		}
	}
	if n == 1_000 && known == 50 {
		l.verdict("allocations per pair of URIs", "0", amount(o.allocs[1]), o.allocs[1] < 0.001)
	}
	return line, nil
}

// ruleTargets is how many times as long as the engine a peer is to take, by the
// number of rules.
var ruleTargets = map[string]map[int]float64{
	"stdlib":  {1: 1, 10: 5, 1_000: 1_000, 10_000: 8_000},
	"regexec": {10: 6, 1_000: 1_500, 10_000: 20_000},
}

// linearContenders try one expression after the other.
func linearContenders(rules []workload.Rule, pairs []workload.Pair) ([]contender, error) {
	compiled := make([]linearRule, len(rules))
	for i, r := range rules {
		var err error
		if compiled[i], err = compileLinear(r); err != nil {
			return nil, err
		}
	}
	all := []contender{{name: "stdlib", ask: func(answers []int32) {
		for i := range answers {
			answers[i] = firstMatch(compiled, pairs[i])
		}
	}}}
	ask, err := cRules(rules, pairs)
	if ask != nil {
		all = append(all, contender{name: "regexec", ask: ask})
	}
	return all, err
}

type linearRule struct{ left, right linearSide }

type linearSide struct{ any, except []*regexp.Regexp }

func compileLinear(r workload.Rule) (c linearRule, err error) {
	for _, x := range []struct {
		texts []string
		into  *[]*regexp.Regexp
	}{{r.Left, &c.left.any}, {r.LeftExcept, &c.left.except}, {r.Right, &c.right.any}, {r.RightExcept, &c.right.except}} {
		for _, text := range x.texts {
			e, err := ere.Compile(text, ere.Options{})
			if err != nil {
				return c, err
			}
			*x.into = append(*x.into, e)
		}
	}
	return c, nil
}

func firstMatch(rules []linearRule, p workload.Pair) int32 {
	for i := range rules {
		if rules[i].left.matches(p.From) && rules[i].right.matches(p.To) {
			return int32(i)
		}
	}
	return -1
}

func (s *linearSide) matches(text string) bool {
	return (len(s.any) == 0 || oneOf(s.any, text)) && !oneOf(s.except, text)
}

func oneOf(list []*regexp.Regexp, text string) bool {
	for _, e := range list {
		if e.MatchString(text) {
			return true
		}
	}
	return false
}

// re2Contender answers with how many of the expressions on the left match, at
// most four.
func re2Contender(rules []workload.Rule, pairs []workload.Pair) (contender, error) {
	var texts []string
	for _, r := range rules {
		for _, e := range r.Left {
			text, err := ere.Translate(e, ere.Options{})
			if err != nil {
				return contender{}, err
			}
			texts = append(texts, text)
		}
	}
	set, err := experimental.CompileSet(texts)
	if err != nil {
		return contender{}, err
	}
	if _, err := set.FindAllStringWithError(pairs[0].From, 4); err != nil {
		return contender{}, err
	}
	return contender{name: "go-re2", kind: "left sides", ask: func(answers []int32) {
		for i := range answers {
			found, err := set.FindAllStringWithError(pairs[i].From, 4)
			if err != nil {
				found = nil
			}
			answers[i] = int32(len(found))
		}
	}}, nil
}

// rulesGrowth compares rule sets of different sizes, of which the first has
// 10 rules.
func (l *lab) rulesGrowth(sets []contender) error {
	o, err := l.compare(l.batch/8, sets...)
	if err != nil {
		return err
	}
	l.subheading("Growth")
	l.para("The engine by the number of rules, 5 in 100 callers known, all sizes in turns.")
	var lines [][]string
	for i, c := range sets {
		line := []string{c.kind, amount(o.ns(i)), times(o.ratio(i, 0))}
		if most := map[string]float64{"10k": 4, "100k": 20}[c.kind]; most > 0 {
			line[2] += " " + l.atMost("engine: "+c.kind+" rules / "+sets[0].kind+" rules", o.ratio(i, 0), most, "x")
		}
		lines = append(lines, line)
	}
	l.table([]string{"rules", "engine", "of that of " + sets[0].kind}, lines)
	return nil
}

// rulesBuild times the loading of a file and measures the heap.
func (l *lab) rulesBuild() error {
	l.subheading("Loading")
	var lines [][]string
	for _, n := range l.sizes.rules {
		text := ruleText(workload.Rules(n, 6))
		l.log.Printf("loading %d rules", n)
		var err error
		var seconds []float64
		bytes := heapGrowth(func() any {
			var set *sipacl.RuleSet
			for range min(l.rounds, max(3, 50_000/n)) {
				start := time.Now()
				if set, err = loadRuleText(text, false); err != nil {
					return nil
				}
				seconds = append(seconds, time.Since(start).Seconds())
			}
			return set
		})
		if err != nil {
			return err
		}
		took, megabytes := median(seconds), bytes/(1<<20)
		line := []string{size(n), amount(took), amount(megabytes)}
		if n == 100_000 {
			line[1] += " " + l.atMost("loading 100k rules", took, 3, " s")
			line[2] += " " + l.atMost("heap of 100k rules", megabytes, 200, " MB")
		}
		lines = append(lines, line)
	}
	l.table([]string{"rules", "load, s", "heap, MB"}, lines)
	return nil
}

// worstRules measures what is made to be slow.
func (l *lab) worstRules() error {
	n, batch := l.sizes.odd, l.batch/8
	l.heading("Rule sets made to be slow")
	l.para("%s rules each. same literal: all have one expression on the left, which every caller matches, and differ on the right. "+
		"no literal: expressions that hold no text of two bytes, and hardly ever match. hostile URIs: the usual rules, asked about URIs of "+
		"%d bytes put together from pieces of what they look for.", size(n), workload.HostileLength)
	var lines [][]string
	for _, c := range []struct {
		name  string
		rules []workload.Rule
		pairs []workload.Pair
	}{
		{"same literal", workload.SameLiteral(n), workload.SameLiteralPairs(batch, n, 11)},
		{"no literal", workload.NoLiteral(n, 12), workload.Pairs(batch, n, 5, 7)},
		{"hostile URIs", workload.Rules(n, 6), workload.HostilePairs(min(batch, 4096), n, 13)},
	} {
		l.log.Printf("rules: %s", c.name)
		set, err := loadRules(c.rules, true)
		if err != nil {
			return err
		}
		engine, err := buildEngine(c.rules)
		if err != nil {
			return err
		}
		peers, err := linearContenders(c.rules, c.pairs)
		if err != nil {
			return err
		}
		ours := []contender{engineContender("", engine, c.pairs), testContender("", set, c.pairs)}
		o, err := l.compare(len(c.pairs), append(ours, peers...)...)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		line := []string{c.name, amount(100*o.hits) + " %", amount(o.ns(0)), o.cell(1, 0), o.cell(2, 0), "–"}
		if len(peers) > 1 {
			line[5] = o.cell(3, 0)
		}
		if c.name == "no literal" {
			line[2] += " " + l.atMost(size(n)+" rules without a literal", o.ns(0)/1000, 10, " µs")
		}
		lines = append(lines, line)
	}
	l.table([]string{"", "matched", "engine", "Test", "stdlib", "regexec"}, lines)
	return nil
}
