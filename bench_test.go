package sipacl

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// The benchmarks ask what a server asks, on the tables and streams of
// internal/tests/workload, and name what they vary so that benchstat can compare:
//
//	go test -run '^$' -bench . -count 10 . | tee new.txt
//	benchstat -col /impl new.txt
//
// BENCHMARKS.md compares with other libraries.
var large = flag.Bool("large", false, "benchmark more than 100,000 rows or members, and than 10,000 expressions, too")

// upTo gives the sizes, those above most with -large only.
func upTo(most int, sizes ...int) (chosen []int) {
	for _, n := range sizes {
		if n <= most || *large {
			chosen = append(chosen, n)
		}
	}
	return chosen
}

// batch is how many questions a stream has.
const batch = 1 << 14

var benchProtos = [...]Proto{0: ProtoAny, workload.UDP: ProtoUDP, workload.TCP: ProtoTCP, workload.TLS: ProtoTLS}

func benchRows(rows []workload.Row) []AddressRow {
	all := make([]AddressRow, len(rows))
	for i, r := range rows {
		all[i] = AddressRow{
			Group: GroupID(r.Group), Prefix: r.Prefix, Port: r.Port, Proto: benchProtos[r.Proto],
			Pattern: r.Pattern, Info: r.Info, Origin: Origin{Name: "address", Line: i + 1, Unit: UnitRow},
		}
	}
	return all
}

func benchQueries(asked []workload.Query) []Query {
	all := make([]Query, len(asked))
	for i, q := range asked {
		all[i] = Query{Addr: q.Addr, Group: GroupID(q.Group), Port: q.Port, Proto: benchProtos[q.Proto], Subject: q.Subject}
		if q.Group == 0 {
			all[i].Any |= AnyGroup
		}
		if q.Subject == "" {
			all[i].Any |= AnySubject
		}
	}
	return all
}

func benchTable(b *testing.B, rows []AddressRow) *Table {
	t, err := newTable(Rows(rows...))
	require.NoError(b, err)
	return t
}

// scanned is a table that is asked by looking at every row.
type scanned struct {
	rows     []AddressRow
	patterns []Pattern
}

func newScanned(b *testing.B, rows []AddressRow) scanned {
	s := scanned{rows, make([]Pattern, len(rows))}
	for i := range rows {
		s.patterns[i] = mustPattern(b, rows[i].Pattern)
	}
	return s
}

// check gives the first of the rows with the longest prefix that match q, nil
// if none does.
func (s scanned) check(q *Query) (best *AddressRow) {
	for i := range s.rows {
		r := &s.rows[i]
		if s.matches(i, q) && (best == nil || r.Prefix.Bits() > best.Prefix.Bits()) {
			best = r
		}
	}
	return best
}

func (s scanned) matches(i int, q *Query) bool {
	r := &s.rows[i]
	return r.Prefix.Contains(q.Addr) &&
		(r.Group == q.Group || q.Any&AnyGroup != 0) &&
		(r.Port == 0 || r.Port == q.Port) &&
		(r.Proto == ProtoAny || r.Proto == q.Proto) &&
		(r.Pattern == "" || q.Any&AnySubject != 0 || s.patterns[i].Match(q.Subject))
}

// BenchmarkAddress asks an address table, and one that is read from end to
// end for each question.
func BenchmarkAddress(b *testing.B) {
	for _, n := range upTo(100_000, 1_000, 10_000, 100_000, 1_000_000, 10_000_000) {
		made := workload.Table(n, 1)
		rows := benchRows(made)
		table := benchTable(b, rows)
		for _, s := range []struct {
			name  string
			asked []workload.Query
		}{
			{"hit", workload.Hits(made, batch, 2)},
			{"hot", workload.Hot(made, batch, 3)},
			{"miss", workload.Misses(made, batch, 4)},
			{"any", anyGroup(workload.Hits(made, batch, 5))},
			{"pattern", workload.PatternHits(made, batch, 6)},
		} {
			queries := benchQueries(s.asked)
			name := fmt.Sprintf("rows=%d/stream=%s/impl=", n, s.name)
			b.Run(name+"table", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					table.CheckAddress(queries[i%batch])
				}
			})
			if n > 10_000 {
				continue
			}
			linear := newScanned(b, rows)
			for i := range 20 {
				best := linear.check(&queries[i])
				d := table.CheckAddress(queries[i])
				if d.Allowed != (best != nil) || best != nil && d.Origin != best.Origin {
					b.Fatalf("%+v: %v, want %v", queries[i], d, best)
				}
			}
			b.Run(name+"linear", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					linear.check(&queries[i%batch])
				}
			})
		}
		benchmarkGroups(b, n, table, workload.Hits(made, batch, 2))
	}
}

func anyGroup(asked []workload.Query) []workload.Query {
	for i := range asked {
		asked[i].Group = 0
	}
	return asked
}

// benchmarkGroups asks for all groups of an address.
func benchmarkGroups(b *testing.B, n int, table *Table, asked []workload.Query) {
	b.Run(fmt.Sprintf("rows=%d/stream=groups/impl=table", n), func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			q := &asked[i%batch]
			for range table.Groups(Source{q.Addr, q.Port, benchProtos[q.Proto]}) {
			}
		}
	})
}

// BenchmarkPrefixLengths asks IPv6 tables of the usual four prefix lengths and
// of all 129.
func BenchmarkPrefixLengths(b *testing.B) {
	for _, lengths := range [][]int{workload.Lengths, workload.AllLengths()} {
		made := workload.Table6(10_000, lengths, 1)
		table := benchTable(b, benchRows(made))
		queries := benchQueries(workload.Hits(made, batch, 7))
		b.Run(fmt.Sprintf("rows=%d/lengths=%d", len(made), len(lengths)), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				table.CheckAddress(queries[i%batch])
			}
		})
	}
}

// BenchmarkBuild makes a table of rows in memory. B/row is what the heap grows
// by, compiled patterns included.
func BenchmarkBuild(b *testing.B) {
	for _, n := range upTo(100_000, 1_000, 100_000, 1_000_000, 10_000_000) {
		rows := benchRows(workload.Table(n, 1))
		before := liveHeap()
		table := benchTable(b, rows)
		grown := liveHeap() - before
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				table = benchTable(b, rows)
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(grown)/float64(n), "B/row")
		})
		require.Equal(b, n, table.size())
	}
}

// BenchmarkReload loads rows from memory and puts them in service.
func BenchmarkReload(b *testing.B) {
	for _, n := range upTo(100_000, 1_000, 100_000, 1_000_000) {
		rows := benchRows(workload.Table(n, 1))
		p, err := newPartition(b.Context(), PartitionConfig{Sources: []AddressSource{Rows(rows...)}})
		require.NoError(b, err)
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Reload(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

// ruleLines is rules as the text of a file.
func ruleLines(rules []workload.Rule) string {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString(r.Line() + "\n")
	}
	return b.String()
}

// oneByOne are rules that are asked by trying one expression after the other.
type oneByOne []struct{ left, right, leftExcept, rightExcept []ere.Expression }

func newOneByOne(b *testing.B, rules []workload.Rule) oneByOne {
	compile := func(texts []string) (all []ere.Expression) {
		for _, text := range texts {
			all = append(all, mustExpression(b, text, ere.RuleSyntax))
		}
		return all
	}
	all := make(oneByOne, len(rules))
	for i, r := range rules {
		all[i].left, all[i].leftExcept = compile(r.Left), compile(r.LeftExcept)
		all[i].right, all[i].rightExcept = compile(r.Right), compile(r.RightExcept)
	}
	return all
}

// find gives the first rule that matches, -1 if none does.
func (rules oneByOne) find(p *workload.Pair) int {
	for i := range rules {
		r := &rules[i]
		if anyMatches(r.left, p.From, true) && !anyMatches(r.leftExcept, p.From, false) &&
			anyMatches(r.right, p.To, true) && !anyMatches(r.rightExcept, p.To, false) {
			return i
		}
	}
	return -1
}

// anyMatches reports whether one of list matches; of an empty list, empty.
func anyMatches(list []ere.Expression, text string, empty bool) bool {
	for _, e := range list {
		if e.MatchString(text) {
			return true
		}
	}
	return len(list) == 0 && empty
}

// BenchmarkRules asks a rule file, and its expressions one after the other.
func BenchmarkRules(b *testing.B) {
	for _, n := range upTo(10_000, 1, 10, 1_000, 10_000, 100_000) {
		rules := workload.Rules(n, 6)
		for _, known := range []int{5, 50} {
			pairs := workload.Pairs(batch, n, known, 7)
			benchmarkRules(b, fmt.Sprintf("rules=%d/stream=known%d", n, known), rules, pairs)
		}
	}
}

// BenchmarkSlowRules asks rule files and URIs that are made to be slow.
func BenchmarkSlowRules(b *testing.B) {
	const n = 1_000
	benchmarkRules(b, "rules=1000/stream=same-literal", workload.SameLiteral(n), workload.SameLiteralPairs(batch, n, 11))
	benchmarkRules(b, "rules=1000/stream=no-literal", workload.NoLiteral(n, 12), workload.Pairs(batch, n, 5, 7))
	benchmarkRules(b, "rules=1000/stream=hostile", workload.Rules(n, 6), workload.HostilePairs(batch, n, 13))
}

func benchmarkRules(b *testing.B, name string, rules []workload.Rule, pairs []workload.Pair) {
	set, err := loadRulesOf(RulesConfig{FS: memFS{defaultRules + ".allow": ruleLines(rules)}, AsSent: true})
	require.NoError(b, err)
	b.Run(name+"/impl=set", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			set.Test(pairs[i%len(pairs)].From, pairs[i%len(pairs)].To)
		}
	})
	if len(rules) > 10_000 {
		return
	}
	linear := newOneByOne(b, rules)
	for i := range 5 {
		d := set.Test(pairs[i].From, pairs[i].To)
		require.Equal(b, linear.find(&pairs[i]), d.Origin.Line-1, "%+v", pairs[i])
	}
	b.Run(name+"/impl=linear", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			linear.find(&pairs[i%len(pairs)])
		}
	})
}

// BenchmarkLoadRules reads and compiles a rule file.
func BenchmarkLoadRules(b *testing.B) {
	for _, n := range upTo(10_000, 10, 1_000, 10_000, 100_000) {
		files := memFS{defaultRules + ".allow": ruleLines(workload.Rules(n, 6))}
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := loadRulesOf(RulesConfig{FS: files}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rules/s")
		})
	}
}

// benchACL is an ACL that denies everybody and has n rules altogether.
func benchACL(n int) []ACLRule {
	rules := make([]ACLRule, n)
	for i, a := range workload.ACL(n, 5) {
		rules[i] = ACLRule{Prefix: a.Prefix, Origin: Origin{Name: "acl.conf", Line: i + 1}}
		if a.Permit {
			rules[i].Sense = Permit
		}
	}
	rules[1] = ACLRule{Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Origin: rules[1].Origin}
	return rules
}

// BenchmarkACL asks a named ACL, and all its rules.
func BenchmarkACL(b *testing.B) {
	for _, n := range upTo(100_000, 10, 1_000, 100_000) {
		rules := benchACL(n)
		list, err := NewACL("bench", rules...)
		require.NoError(b, err)
		made := make([]workload.Row, n)
		for i, r := range rules {
			made[i].Prefix = r.Prefix
		}
		for name, asked := range map[string][]workload.Query{
			"hit": workload.Hits(made, batch, 8), "miss": workload.Misses(made, batch, 9),
		} {
			name = fmt.Sprintf("rules=%d/stream=%s/impl=", n, name)
			b.Run(name+"table", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					list.CheckSource(Source{Addr: asked[i%batch].Addr})
				}
			})
			b.Run(name+"linear", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					slowACL(rules, asked[i%batch].Addr)
				}
			})
		}
	}
}

// BenchmarkLoadACLConf reads acl.conf.
func BenchmarkLoadACLConf(b *testing.B) {
	const n = 100_000
	var text strings.Builder
	text.WriteString("[a]\n")
	for _, r := range benchACL(n) {
		fmt.Fprintf(&text, "%s=%s\n", r.Sense, r.Prefix)
	}
	b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
		b.SetBytes(int64(text.Len()))
		for b.Loop() {
			mustACLs(b, text.String())
		}
	})
}

// benchUser is the i-th user, who is in the group "ld".
func benchUser(i int) User {
	name, domain, _ := strings.Cut(workload.Member(i), "@")
	return User{name, domain}
}

func joinMember(u User, group string) string { return u.Name + "\x00" + u.Domain + "\x00" + group }

// BenchmarkIsUserIn asks who is in a strict group, and a map from name, domain
// and group, joined to one text for each question, to the row.
func BenchmarkIsUserIn(b *testing.B) {
	for _, n := range upTo(100_000, 1_000, 100_000, 1_000_000, 10_000_000) {
		rows := RowFunc[Member](func(context.Context) iter.Seq2[Member, error] {
			return func(yield func(Member, error) bool) {
				for i := range n {
					if !yield(Member{benchUser(i), "ld", Origin{Name: "grp", Line: i + 1, Unit: UnitID}}, nil) {
						return
					}
				}
			}
		})
		g := mustGroups(b, GroupConfig{Members: []MemberSource{rows}})
		joined := make(map[string]uint32, n)
		for i := range n {
			joined[joinMember(benchUser(i), "ld")] = uint32(i + 1)
		}
		for name, first := range map[string]int{"hit": 0, "miss": n} {
			r := workload.NewRand(10)
			users := make([]User, batch)
			for k := range users {
				users[k] = benchUser(first + r.N(n))
			}
			prefix := fmt.Sprintf("members=%d/stream=%s/impl=", n, name)
			b.Run(prefix+"set", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if g.Current().IsUserIn(context.Background(), users[i%batch], "ld").Allowed != (name == "hit") {
						b.Fatal(users[i%batch])
					}
				}
			})
			b.Run(prefix+"map", func(b *testing.B) {
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					if _, ok := joined[joinMember(users[i%batch], "ld")]; ok != (name == "hit") {
						b.Fatal(users[i%batch])
					}
				}
			})
		}
	}
}

func BenchmarkPattern(b *testing.B) {
	for _, text := range []string{"sip:*@*.example.com", "sip:[0-9]*@*.example.[!o]*"} {
		p := mustPattern(b, text)
		for name, subject := range map[string]string{"hit": "sip:4412345@gw.example.com", "miss": "sip:4412345@gw.example.org"} {
			b.Run(fmt.Sprintf("pattern=%s/stream=%s", text, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if p.Match(subject) != (name == "hit") {
						b.Fatal(subject)
					}
				}
			})
		}
	}
}

func BenchmarkExpression(b *testing.B) {
	e := mustExpression(b, `^sip:[^@]*@gw[0-9]*\.example\.com$`, ere.RuleSyntax)
	for name, subject := range map[string]string{"hit": "sip:alice@gw7.example.com", "miss": "sip:alice@gw7.example.org"} {
		b.Run("stream="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e.MatchString(subject)
			}
		})
	}
}

// BenchmarkRequest is what a guard and a read filter add to a request, beside
// what sipgo takes to parse it. The sources are 1,024 by turns.
func BenchmarkRequest(b *testing.B) {
	const sources, group = 1024, 1
	made := workload.Table(100_000, 1)
	p, err := newPartition(b.Context(), PartitionConfig{Sources: []AddressSource{Rows(benchRows(made)...)}})
	require.NoError(b, err)
	choose := func(asked []workload.Query, allowed bool) (chosen []Source) {
		for _, q := range asked {
			s := Source{q.Addr, q.Port, ProtoUDP}
			if len(chosen) < sources && p.Current().CheckSource(s, group, "").Allowed == allowed {
				chosen = append(chosen, s)
			}
		}
		require.Len(b, chosen, sources)
		return chosen
	}
	from := map[string][]Source{
		"allowed": choose(workload.Hits(made, 64*sources, 2), true),
		"refused": choose(workload.Misses(made, 64*sources, 4), false),
	}
	text := []byte("OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n" +
		"From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
	b.Run("impl=parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sip.ParseMessage(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	for name, list := range from {
		benchmarkGuard(b, "stream="+name+"/impl=guard", p.Sources(group), text, list)
		benchmarkFilter(b, "stream="+name+"/impl=filter", p.Sources(group), text, list)
	}
}

func benchmarkGuard(b *testing.B, name string, check Check, text []byte, from []Source) {
	msg, err := sip.ParseMessage(text)
	require.NoError(b, err)
	req := msg.(*sip.Request)
	req.SetTransport("UDP")
	addrs := make([]string, len(from))
	for i, s := range from {
		addrs[i] = netip.AddrPortFrom(s.Addr, s.Port).String()
	}
	handle := NewGuard(GuardConfig{Check: check, Reject: Drop()}).Wrap(func(*sip.Request, sip.ServerTransaction) {})
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			req.SetSource(addrs[i%len(addrs)])
			handle(req, nil)
		}
	})
}

func benchmarkFilter(b *testing.B, name string, check Check, text []byte, from []Source) {
	datagrams := make([]sip.TransportReadProps, len(from))
	for i, s := range from {
		datagrams[i] = sip.TransportReadProps{Transport: "UDP", RemoteAddr: &net.UDPAddr{IP: s.Addr.AsSlice(), Port: int(s.Port)}}
	}
	filter := peers(check).Filter()
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := filter(datagrams[i%len(datagrams)], text); err != nil {
				b.Fatal(err)
			}
		}
	})
}
