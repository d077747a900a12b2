package main

import (
	"fmt"
	"net/netip"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// acls compares checks against named ACLs of different sizes.
func (l *lab) acls() error {
	l.heading("Named ACLs")
	l.para("`ACL.CheckSource` with its Decision, and a scan of all rules that keeps the last one that covers the address. " +
		"Half of the questions are inside rules, half are a scanner's.")
	var ours, all []contender
	for _, n := range l.sizes.acl {
		check, scan, err := aclContenders(n, l.batch)
		if err != nil {
			return err
		}
		ours, all = append(ours, check), append(all, check, scan)
	}
	alone, err := l.compare(l.batch, ours...) // what scans leave in the cache is not counted
	if err != nil {
		return err
	}
	beside, err := l.compare(l.batch, all...)
	if err != nil {
		return err
	}
	var lines [][]string
	for k, n := range l.sizes.acl {
		line := []string{size(n), amount(alone.ns(k)), times(alone.ratio(k, 0)), beside.cell(2*k+1, 2*k)}
		if n == 100_000 {
			line[2] += " " + l.atMost(fmt.Sprintf("ACL.CheckSource: 100k rules / %s rules", size(l.sizes.acl[0])), alone.ratio(k, 0), 3, "x")
		}
		lines = append(lines, line)
	}
	l.table([]string{"rules", "ACL.CheckSource", "of that of " + size(l.sizes.acl[0]), "scan"}, lines)
	l.verdict("allocations per ACL check", "0", amount(alone.allocs[0]), alone.allocs[0] < 0.001)
	return nil
}

// aclContenders answer with the rule that decides, -1 if none does.
func aclContenders(n, batch int) (ours, naive contender, err error) {
	aces := workload.ACL(n, 5)
	aces[1] = workload.ACE{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0)} // shut both families
	rules := make([]sipacl.ACLRule, n)
	for i, a := range aces {
		rules[i] = sipacl.ACLRule{Prefix: a.Prefix, Origin: sipacl.Origin{Name: "acl.conf", Line: i + 1}}
		if a.Permit {
			rules[i].Sense = sipacl.Permit
		}
	}
	acl, err := sipacl.NewACL("bench", rules...)
	if err != nil {
		return ours, naive, err
	}
	ask := aclQuestions(aces, batch)
	kind := size(n)
	ours = contender{name: "ACL.CheckSource, " + kind, kind: kind, ask: func(answers []int32) {
		for i := range answers {
			answers[i] = int32(acl.CheckSource(ask[i]).Origin.Line) - 1
		}
	}}
	naive = contender{name: "scan, " + kind, kind: kind, ask: func(answers []int32) {
		for i := range answers {
			answers[i] = lastCovering(aces, ask[i].Addr)
		}
	}}
	return ours, naive, nil
}

func lastCovering(aces []workload.ACE, addr netip.Addr) int32 {
	for i := len(aces) - 1; i >= 0; i-- {
		if aces[i].Prefix.Contains(addr) {
			return int32(i)
		}
	}
	return -1
}

// aclQuestions are by turns inside a rule and a scanner's.
func aclQuestions(aces []workload.ACE, batch int) []sipacl.Source {
	rows := make([]workload.Row, len(aces))
	for i, a := range aces {
		rows[i].Prefix = a.Prefix
	}
	ask := make([]sipacl.Source, batch)
	hits, misses := workload.Hits(rows, batch, 8), workload.Misses(rows, batch, 9)
	for i := range ask {
		ask[i].Addr = hits[i].Addr
		if i%2 == 1 {
			ask[i].Addr = misses[i].Addr
		}
	}
	return ask
}
