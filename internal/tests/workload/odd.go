package workload

import (
	"fmt"
	"net/netip"
	"strings"
)

// What is here is not what a carrier sees: it is made to find the slow cases.

// PatternHits makes n questions as Hits does, about rows with a pattern only.
// Half of their subjects are made to fit the row's pattern.
func PatternHits(rows []Row, n int, seed uint64) []Query {
	r := NewRand(seed)
	var with []*Row
	for i := range rows {
		if rows[i].Pattern != "" {
			with = append(with, &rows[i])
		}
	}
	q := make([]Query, n)
	for i := range q {
		row := with[r.N(len(with))]
		q[i] = about(r, row)
		if r.Percent(50) {
			q[i].Subject = fitting(r, row.Pattern)
		}
	}
	return q
}

// fitting makes a text that a pattern of Table matches.
func fitting(r *Rand, pattern string) string {
	return strings.NewReplacer(
		"[0-9]", fmt.Sprint(r.N(10)),
		"?", string(rune('a'+r.N(26))),
		"*", fmt.Sprint(r.N(1e9)),
	).Replace(pattern)
}

// Lengths are the prefix lengths of IPv6 rows: the four that Table has.
var Lengths = []int{48, 56, 64, 128}

// AllLengths are those that there can be, 0 to 128.
func AllLengths() []int {
	all := make([]int, 129)
	for i := range all {
		all[i] = i
	}
	return all
}

// Table6 makes n rows of distinct IPv6 prefixes whose lengths are drawn evenly
// from lengths, half of them inside an earlier row. Where the prefixes of a
// short length are used up, others stand in their place.
func Table6(n int, lengths []int, seed uint64) []Row {
	g := newTableGen(n, seed)
	rows := make([]Row, 0, n)
	seen := make(map[netip.Prefix]bool, n)
	for len(rows) < n {
		addr := addr6(g.blocks6[g.Busy(len(g.blocks6))]|g.Uint64()&0xffffffff, g.Uint64())
		if len(rows) > 0 && g.Percent(50) {
			addr = Inside(g.Rand, rows[g.N(len(rows))].Prefix)
		}
		prefix := netip.PrefixFrom(addr, lengths[g.N(len(lengths))]).Masked()
		if seen[prefix] {
			continue
		}
		seen[prefix] = true
		rows = append(rows, Row{Group: uint32(1 + g.Busy(Groups)), Prefix: prefix, Port: g.port(), Proto: g.proto()})
	}
	return rows
}

// SameLiteral makes n rules that differ only in the number on the right. They
// have half of the numbers that SameLiteralPairs asks about.
func SameLiteral(n int) []Rule {
	rules := make([]Rule, n)
	for i := range rules {
		rules[i] = Rule{
			Left:  []string{`@carrier1\.example\.com$`},
			Right: []string{fmt.Sprintf(`^sip:\+?1%06d`, 2*i)},
		}
	}
	return rules
}

// SameLiteralPairs makes n pairs all of which have the left side of the rules
// of SameLiteral, and half of which have the right side of one.
func SameLiteralPairs(n, rules int, seed uint64) []Pair {
	r := NewRand(seed)
	pairs := make([]Pair, n)
	for i := range pairs {
		pairs[i] = Pair{
			From: fmt.Sprintf("sip:user%d@carrier1.example.com", r.N(100000)),
			To:   fmt.Sprintf("sip:+1%06d%d@gw%d.example.com", r.N(2*rules), r.N(1000), r.N(2000)),
		}
	}
	return pairs
}

// NoLiteral makes n rules without a text of two bytes or more that every match
// holds. Pairs hardly ever match one, so that all have to be asked.
func NoLiteral(n int, seed uint64) []Rule {
	r := NewRand(seed)
	letter := func(from, to int) rune { return rune(from + r.N(to-from+1)) }
	rules := make([]Rule, n)
	for i := range rules {
		var e string
		switch k := r.N(100); {
		case k < 50:
			e = fmt.Sprintf(`^[a-z]+:[%c-%c][0-9]{%d}[^0-9]`, letter('a', 'm'), letter('n', 'z'), 6+r.N(20))
		case k < 90:
			e = fmt.Sprintf(`^[a-z]+:[^@]{%d,}[%c-%c][0-9]+[%c-%c]@`, 1+r.N(12), letter('a', 'm'), letter('n', 'z'), letter('a', 'm'), letter('n', 'z'))
		default:
			e = fmt.Sprintf(`[%c-%c]{3}[0-9][a-%c]$`, letter('a', 'c'), letter('d', 'f'), letter('m', 'z'))
		}
		rules[i].Left = []string{e}
	}
	return rules
}

// HostileLength is how long the texts of HostilePairs are: the most that rules
// are asked about.
const HostileLength = 1024

// HostilePairs makes n pairs of URIs that are as long as they may be and are
// put together from the beginnings and ends of what Rules(rules) asks for.
func HostilePairs(n, rules int, seed uint64) []Pair {
	r := NewRand(seed)
	pairs := make([]Pair, n)
	for i := range pairs {
		pairs[i] = Pair{From: hostile(r, rules), To: hostile(r, rules)}
	}
	return pairs
}

func hostile(r *Rand, rules int) string {
	var b strings.Builder
	b.WriteString("sip:")
	for b.Len() < HostileLength {
		host := domain(r, domains(rules))
		switch r.N(6) {
		case 0:
			b.WriteString("@" + host[:len(host)-1])
		case 1:
			fmt.Fprintf(&b, "user%d@%s.", r.N(100000), host)
		case 2:
			fmt.Fprintf(&b, "sip:gw-%d.", r.N(1000))
		case 3:
			fmt.Fprintf(&b, "trunk%d@", r.N(1000))
		case 4:
			fmt.Fprintf(&b, "sip:+%d", r.N(1e9))
		default:
			fmt.Fprintf(&b, "@gw%d.example.co", r.N(2000))
		}
	}
	return b.String()[:HostileLength]
}
