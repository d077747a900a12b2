package workload

import (
	"fmt"
	"strings"
)

// Rule is one line of a rule file: expressions of the left and the right
// side and their exceptions. A side without expressions is ALL.
type Rule struct {
	Left, LeftExcept   []string
	Right, RightExcept []string
}

// Rules makes n rules with one or two expressions on the left, most of them
// of a domain; one in five with an exception there; half with an expression
// on the right, one in ten with an exception. About one in the file has ALL on
// the left.
func Rules(n int, seed uint64) []Rule {
	r := NewRand(seed)
	rules := make([]Rule, n)
	for i := range rules {
		rule := &rules[i]
		if n <= 4 || r.N(n) != 0 {
			for k := 1 + r.N(2); k > 0; k-- {
				rule.Left = append(rule.Left, callerExpression(r, domains(n)))
			}
		}
		if r.Percent(20) {
			rule.LeftExcept = append(rule.LeftExcept, fmt.Sprintf(`^sip:(test|anonymous%d)`, r.N(100)))
		}
		if r.Percent(50) || len(rule.Left) == 0 {
			rule.Right = append(rule.Right, numberExpression(r))
		}
		if r.Percent(10) {
			rule.RightExcept = append(rule.RightExcept, `^sip:(00|\+)?(900|118)`)
		}
	}
	return rules
}

// domains is how many domains n rules are about.
func domains(n int) int { return n*2 + 50 }

func domain(r *Rand, n int) string {
	k := r.N(n)
	name := [...]string{"carrier", "pbx", "voip", "tel", "example"}[k%5]
	return fmt.Sprintf("%s%d.%s", name, k, [...]string{"com", "net", "org", "de", "es", "io"}[k%6])
}

func callerExpression(r *Rand, domains int) string {
	k := r.N(100)
	host := strings.Replace(domain(r, domains), ".", `\.`, 1)
	switch {
	case k < 40:
		return `@` + host + `$`
	case k < 60:
		return fmt.Sprintf(`^sip:user%d@%s$`, r.N(100000), host)
	case k < 72:
		return fmt.Sprintf(`^sips?:\+?%d[0-9]*@`, 1+r.N(9999))
	case k < 82:
		return `^sip:.*@` + host
	case k < 90:
		return fmt.Sprintf(`^sip:[a-z]+%d@(.*\.)?%s(:[0-9]+)?$`, r.N(1000), host)
	case k < 96:
		return fmt.Sprintf(`(alice|bob|trunk%d)@%s`, r.N(1000), host)
	case k < 99:
		return fmt.Sprintf(`^sip:gw-[0-9]{1,3}\.%s`, host)
	}
	return fmt.Sprintf(`^sip:%d\.[0-9]+\.[0-9]+\.[0-9]+`, 1+r.N(250))
}

func numberExpression(r *Rand) string {
	switch k := r.N(100); {
	case k < 40:
		return fmt.Sprintf(`^sip:\+?%d`, 1+r.N(9999))
	case k < 60:
		return fmt.Sprintf(`^sip:(00|\+)%d[0-9]{4,}@`, 1+r.N(9999))
	case k < 75:
		return fmt.Sprintf(`^sip:(00|011)?%d[1-9][0-9]*@`, 1+r.N(9999))
	case k < 90:
		return fmt.Sprintf(`@gw%d\.example\.com`, r.N(1000))
	}
	return fmt.Sprintf(`^sip:(support|sales|ivr%d)@`, r.N(1000))
}

// Line writes the rule as a line of a rule file.
func (r Rule) Line() string {
	return side(r.Left, r.LeftExcept) + " : " + side(r.Right, r.RightExcept)
}

func side(list, except []string) string {
	s := "ALL"
	if len(list) > 0 {
		s = quoted(list)
	}
	if len(except) > 0 {
		s += " EXCEPT " + quoted(except)
	}
	return s
}

func quoted(list []string) string { return `"` + strings.Join(list, `", "`) + `"` }

// Pair is a question to a rule set.
type Pair struct{ From, To string }

// Pairs makes n pairs of which known in 100 come from a domain of a file of
// the given number of rules, the others from a scanner's.
func Pairs(n, rules, known int, seed uint64) []Pair {
	r := NewRand(seed)
	pairs := make([]Pair, n)
	for i := range pairs {
		host := fmt.Sprintf("host%d.scan%d.net", r.N(1000), r.N(100000))
		if r.Percent(known) {
			host = domain(r, domains(rules))
		}
		pairs[i].From = caller(r, host)
		prefix := [...]string{"+", "00", "011", ""}[r.N(4)]
		pairs[i].To = fmt.Sprintf("sip:%s%d%d@gw%d.example.com", prefix, 1+r.N(99), r.N(1e9), r.N(2000))
	}
	return pairs
}

func caller(r *Rand, host string) string {
	switch r.N(4) {
	case 0:
		return fmt.Sprintf("sip:user%d@%s", r.N(100000), host)
	case 1:
		return fmt.Sprintf("sip:+%d%d@%s", 1+r.N(99), r.N(1e9), host)
	case 2:
		return fmt.Sprintf("sip:%d@%d.%d.%d.%d", 100+r.N(900), 1+r.N(222), r.N(256), r.N(256), r.N(256))
	}
	return fmt.Sprintf("sip:trunk%d@%s:5060", r.N(1000), host)
}
