package main

import (
	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/ruleengine"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// buildEngine makes the library's engine of rules, without what a rule file
// has around it. An expression that stands in many rules is added once.
func buildEngine(rules []workload.Rule) (*ruleengine.Engine, error) {
	b := ruleengine.NewBuilder()
	numbers := map[string]uint32{}
	side := func(any, except []string) (s ruleengine.Side, err error) {
		s.All = len(any) == 0
		if s.Any, err = expressions(b, numbers, any); err != nil {
			return s, err
		}
		s.Except, err = expressions(b, numbers, except)
		return s, err
	}
	for _, r := range rules {
		left, err := side(r.Left, r.LeftExcept)
		if err != nil {
			return nil, err
		}
		right, err := side(r.Right, r.RightExcept)
		if err != nil {
			return nil, err
		}
		b.Rule(ruleengine.Rule{Left: left, Right: right})
	}
	return b.Engine(), nil
}

func expressions(b *ruleengine.Builder, numbers map[string]uint32, texts []string) (list []uint32, err error) {
	for _, text := range texts {
		n, ok := numbers[text]
		if !ok {
			parsed, bad := ere.Parse(text, ere.Options{})
			if bad != nil {
				return nil, bad
			}
			if n, err = b.Expression(parsed); err != nil {
				return nil, err
			}
			numbers[text] = n
		}
		list = append(list, n)
	}
	return list, nil
}

// engineContender asks the engine alone.
func engineContender(kind string, e *ruleengine.Engine, pairs []workload.Pair) contender {
	return contender{name: "engine", kind: kind, ask: func(answers []int32) {
		for i := range answers {
			p := &pairs[i]
			rule, _, _ := e.Find(ruleengine.Text{Plain: p.From, Canonical: p.From}, ruleengine.Text{Plain: p.To, Canonical: p.To})
			answers[i] = int32(rule)
		}
	}}
}
