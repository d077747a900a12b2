package main

import (
	"github.com/gobwas/glob"

	"github.com/sipacl/sipacl"
)

// globPatterns are ones that gobwas/glob understands as fnmatch(3) does, of
// the kinds that address tables hold.
var globPatterns = []string{
	"sip:*@carrier17.example.com", "sip:+49*", "*", "sip:trunk-[0-9]?@c12.*", "sip:[!a-z]*@*.example.com", "sip:?*@gw*.example.[!o]*",
}

var globSubjects = []string{
	"sip:+4930123456@carrier17.example.com", "sip:trunk-7a@c12.example.net", "sip:alice@gw3.example.org",
}

const slowPattern, slowSubject = "*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

// globs compares patterns.
func (l *lab) globs() error {
	l.heading("Patterns")
	l.para("Six patterns as address tables hold them, each with three subjects, and one made to take long, with 63 letters. "+
		"gobwas/glob is asked raw, with patterns that it reads as fnmatch does; fnmatch is that of the C library, called for a batch "+
		"at a time so that crossing into C does not count%s.", withoutC)
	var lines [][]string
	for _, c := range []struct {
		name               string
		patterns, subjects []string
	}{{"usual", globPatterns, globSubjects}, {"slow", []string{slowPattern}, []string{slowSubject}}} {
		contenders, err := globContenders(c.patterns, c.subjects)
		if err != nil {
			return err
		}
		o, err := l.compare(l.batch, contenders...)
		if err != nil {
			return err
		}
		line := []string{c.name, amount(o.ns(0)), o.cell(1, 0), "–"}
		if len(contenders) > 2 {
			line[3] = o.cell(2, 0)
		}
		lines = append(lines, line)
	}
	l.table([]string{"patterns", "Pattern", "gobwas raw", "fnmatch"}, lines)
	return nil
}

func globContenders(patterns, subjects []string) ([]contender, error) {
	ours, raw := make([]sipacl.Pattern, len(patterns)), make([]*glob.Pattern, len(patterns))
	for i, text := range patterns {
		var err error
		if ours[i], err = sipacl.CompilePattern(text); err != nil {
			return nil, err
		}
		if raw[i], err = glob.Compile(text); err != nil {
			return nil, err
		}
	}
	// question i is of pattern i, in turns, and of a subject that changes
	// with each turn
	subject := func(i int) string { return subjects[i/len(patterns)%len(subjects)] }
	all := []contender{
		{name: "Pattern", ask: func(answers []int32) {
			for i := range answers {
				answers[i] = truth(ours[i%len(ours)].Match(subject(i)))
			}
		}},
		{name: "gobwas raw", ask: func(answers []int32) {
			for i := range answers {
				answers[i] = truth(raw[i%len(raw)].Match(subject(i)))
			}
		}},
	}
	if ask := cFnmatch(patterns, subjects); ask != nil {
		all = append(all, contender{name: "fnmatch", ask: ask})
	}
	return all, nil
}
