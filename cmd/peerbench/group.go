package main

import (
	"context"
	"iter"
	"strings"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/memberset"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// groupNames are the groups that members are spread over.
var groupNames = [...]string{"ld", "int", "local", "voicemail", "conference", "fax", "premium", "test"}

// groups compares who-is-in-which-group with a map.
func (l *lab) groups() error {
	l.heading("Strict groups")
	l.para("Each member is in one group of %d. `set` finds name, domain and group; `IsUserIn` is the whole public call. "+
		"The map goes from name, domain and group, joined to one text, to the row; the text is made in advance, or for each question. "+
		"A miss asks for a user who is in no group.", len(groupNames))
	var lines [][]string
	for _, n := range l.sizes.groups {
		l.log.Printf("groups: %d members", n)
		more, err := l.groupsOf(n)
		if err != nil {
			return err
		}
		lines = append(lines, more...)
	}
	l.table([]string{"members", "", "set", "IsUserIn", "map, text made before", "map, text made for each"}, lines)
	return nil
}

func (l *lab) groupsOf(n int) (lines [][]string, err error) {
	var set *memberset.Set
	setBytes := heapGrowth(func() any {
		var b memberset.Builder
		for i := range n {
			name, domain := member(i)
			b.Add(memberset.Member{Name: name, Domain: domain, Group: groupNames[i%len(groupNames)], Row: uint64(i + 1)})
		}
		set = b.Set()
		return set
	})
	var table *sipacl.GroupTable
	tableBytes := heapGrowth(func() any {
		var g sipacl.Groups
		g, err = sipacl.NewGroups(context.Background(), sipacl.GroupConfig{Members: []sipacl.MemberSource{memberRows(n)}})
		table = g.Current()
		return g
	})
	if err != nil {
		return nil, err
	}
	var joined map[string]uint32
	mapBytes := heapGrowth(func() any {
		joined = map[string]uint32{}
		for i := range n {
			name, domain := member(i)
			joined[join(name, domain, groupNames[i%len(groupNames)])] = uint32(i + 1)
		}
		return joined
	})
	perMember := func(bytes float64) float64 { return bytes / float64(n) }
	bytes := []string{size(n), "bytes per member", amount(perMember(setBytes)), amount(perMember(tableBytes)),
		amount(perMember(mapBytes)), amount(perMember(mapBytes))}
	target := n == 10_000_000
	if target {
		bytes[3] += " " + l.atMost("bytes per member, 10M members", perMember(tableBytes), 42, "")
	}
	lines = append(lines, bytes)
	for _, outcome := range []string{"hit", "miss"} {
		users := users(n, l.batch, outcome == "hit")
		o, err := l.compare(len(users), memberContenders(users, set, table, joined)...)
		if err != nil {
			return nil, err
		}
		line := []string{size(n), outcome, amount(o.ns(0)), o.cell(1, 0), o.cell(2, 0), o.cell(3, 0)}
		if target {
			line[4] += " " + l.atLeast("group "+outcome+", 10M members: map, text made before / set", o.ratio(2, 0), 1)
			line[5] += " " + l.atLeast("group "+outcome+", 10M members: map, text made for each / set", o.ratio(3, 0), 1)
		}
		lines = append(lines, line)
		if n == l.sizes.groups[0] && outcome == "hit" {
			l.verdict("allocations per group check", "0", amount(o.allocs[1]), o.allocs[1] < 0.001)
		}
	}
	return lines, nil
}

// join makes one text of a question, as keys of a map need it.
func join(name, domain, group string) string { return name + "\x00" + domain + "\x00" + group }

// member splits the text of a member.
func member(i int) (name, domain string) {
	name, domain, _ = strings.Cut(workload.Member(i), "@")
	return name, domain
}

func memberRows(n int) sipacl.RowFunc[sipacl.Member] {
	return func(context.Context) iter.Seq2[sipacl.Member, error] {
		return func(yield func(sipacl.Member, error) bool) {
			for i := range n {
				name, domain := member(i)
				m := sipacl.Member{
					User:   sipacl.User{Name: name, Domain: domain},
					Group:  groupNames[i%len(groupNames)],
					Origin: sipacl.Origin{Name: "grp", Line: i + 1, Unit: sipacl.UnitID},
				}
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}

// asked is a question about a member, and its joined text.
type asked struct {
	user          sipacl.User
	group, joined string
}

// users are drawn evenly from the members, or from those who would come after
// them.
func users(n, batch int, members bool) []asked {
	r := workload.NewRand(10)
	all := make([]asked, batch)
	for k := range all {
		i := r.N(n)
		if !members {
			i += n
		}
		name, domain := member(i)
		group := groupNames[i%len(groupNames)]
		all[k] = asked{sipacl.User{Name: name, Domain: domain}, group, join(name, domain, group)}
	}
	return all
}

func memberContenders(users []asked, set *memberset.Set, table *sipacl.GroupTable, joined map[string]uint32) []contender {
	ctx := context.Background()
	return []contender{
		{name: "set", ask: func(answers []int32) {
			for i := range answers {
				q := &users[i]
				_, _, ok := set.Find(q.user.Name, q.user.Domain, q.group)
				answers[i] = truth(ok)
			}
		}},
		{name: "IsUserIn", ask: func(answers []int32) {
			for i := range answers {
				q := &users[i]
				answers[i] = truth(table.IsUserIn(ctx, q.user, q.group).Allowed)
			}
		}},
		{name: "map", ask: func(answers []int32) {
			for i := range answers {
				q := &users[i]
				_, ok := joined[q.joined]
				answers[i] = truth(ok)
			}
		}},
		{name: "map, joined", ask: func(answers []int32) {
			for i := range answers {
				q := &users[i]
				_, ok := joined[join(q.user.Name, q.user.Domain, q.group)]
				answers[i] = truth(ok)
			}
		}},
	}
}
