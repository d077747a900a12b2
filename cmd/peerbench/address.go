package main

import (
	"context"
	"fmt"
	"iter"
	"net"
	"net/netip"

	"github.com/gaissmai/bart"
	"github.com/yl2chen/cidranger"
	"go4.org/netipx"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// engines are one table in every contender. The libraries that find prefixes
// map each to its node in our index, and go on from there as we do; netipx
// knows only whether an address is in the set.
type engines struct {
	index  *index
	table  *sipacl.Table
	fast   bart.Fast[node]
	small  bart.Table[node]
	ranger cidranger.Ranger // nil in tables too large for it
	set    *netipx.IPSet    // the same
}

func newEngines(rows []workload.Row, peers bool) (*engines, error) {
	e := &engines{index: buildIndex(rows)}
	var err error
	if e.table, err = newTable(addressRows(rows)); err != nil {
		return nil, err
	}
	var set netipx.IPSetBuilder
	if peers {
		e.ranger = cidranger.NewPCTrieRanger()
	}
	for n, p := range e.index.All {
		e.fast.Insert(p, n)
		e.small.Insert(p, n)
		if !peers {
			continue
		}
		if err := e.ranger.Insert(&rangerEntry{*netipx.PrefixIPNet(p), n}); err != nil {
			return nil, err
		}
		set.AddPrefix(p)
	}
	if peers {
		e.set, err = set.IPSet()
	}
	return e, err
}

type rangerEntry struct {
	network net.IPNet
	node    node
}

// Network is the prefix, as cidranger wants it.
func (e *rangerEntry) Network() net.IPNet { return e.network }

// newTable loads a partition, and returns what is in service.
func newTable(rows sipacl.AddressSource) (*sipacl.Table, error) {
	p, err := sipacl.NewPartition(context.Background(), rows)
	return p.Current(), err
}

// addressRows makes the rows those of the library. Row i has line i+1.
func addressRows(rows []workload.Row) sipacl.RowFunc[sipacl.AddressRow] {
	return func(context.Context) iter.Seq2[sipacl.AddressRow, error] {
		return func(yield func(sipacl.AddressRow, error) bool) {
			for i := range rows {
				if !yield(addressRow(rows, i), nil) {
					return
				}
			}
		}
	}
}

func addressRow(rows []workload.Row, i int) sipacl.AddressRow {
	r := &rows[i]
	return sipacl.AddressRow{
		Group: sipacl.GroupID(r.Group), Prefix: r.Prefix, Port: r.Port, Proto: protos[r.Proto],
		Pattern: r.Pattern, Info: r.Info,
		Origin: sipacl.Origin{Name: "address", Line: i + 1, Unit: sipacl.UnitRow},
	}
}

var protos = [...]sipacl.Proto{
	0:            sipacl.ProtoAny,
	workload.UDP: sipacl.ProtoUDP,
	workload.TCP: sipacl.ProtoTCP,
	workload.TLS: sipacl.ProtoTLS,
}

func tableQuery(q *workload.Query) sipacl.Query {
	t := sipacl.Query{
		Addr: q.Addr, Group: sipacl.GroupID(q.Group), Port: q.Port, Proto: protos[q.Proto], Subject: q.Subject,
	}
	if q.Group == 0 {
		t.Any |= sipacl.AnyGroup
	}
	if q.Subject == "" {
		t.Any |= sipacl.AnySubject
	}
	return t
}

// stream is a batch of questions to an address table.
type stream struct {
	name   string
	about  string
	make   func(rows []workload.Row, n int) []workload.Query
	groups bool // asks for all groups of an address
	target bool // has targets
}

var streams = []stream{
	{name: "hit", target: true, about: "addresses inside rows drawn evenly, four in five for the row's group, the others for any",
		make: func(rows []workload.Row, n int) []workload.Query { return workload.Hits(rows, n, 2) }},
	{name: "hot", target: true, about: "the same about at most 4,096 sources, some far busier than others",
		make: func(rows []workload.Row, n int) []workload.Query { return workload.Hot(rows, n, 3) }},
	{name: "miss", target: true, about: "a scanner's: mostly addresses drawn evenly",
		make: func(rows []workload.Row, n int) []workload.Query { return workload.Misses(rows, n, 4) }},
	{name: "any", about: "as hit, all of them for any group",
		make: func(rows []workload.Row, n int) []workload.Query { return anyGroup(workload.Hits(rows, n, 5)) }},
	{name: "pattern", about: "rows with a pattern only; half of the subjects fit it",
		make: func(rows []workload.Row, n int) []workload.Query { return workload.PatternHits(rows, n, 6) }},
	{name: "groups", groups: true, about: "all groups of an address; the addresses are those of hit",
		make: func(rows []workload.Row, n int) []workload.Query { return anyGroup(workload.Hits(rows, n, 2)) }},
}

func anyGroup(q []workload.Query) []workload.Query {
	for i := range q {
		q[i].Group = 0
	}
	return q
}

// addresses compares lookups in address tables.
func (l *lab) addresses() error {
	l.heading("Address tables")
	l.para("`index` gives the number of the row that matches; `CheckAddress` is the whole public call with its " +
		"Decision (for groups: `Groups`). bart and cidranger find the most specific prefix and go on along our own chain of rows, so that only " +
		"the finding differs; netipx says only whether an address is in the set. Patterns are compared by ours everywhere.")
	var kinds []string
	for _, s := range streams {
		kinds = append(kinds, s.name+": "+s.about)
	}
	l.list(kinds)
	var allocs float64
	for _, n := range l.sizes.address {
		l.log.Printf("address: %d rows", n)
		rows := workload.Table(n, 1)
		e, err := newEngines(rows, n <= l.sizes.peers)
		if err != nil {
			return err
		}
		var lines [][]string
		for _, s := range streams {
			queries := s.make(rows, l.batch)
			if err := e.gate(rows, queries); err != nil {
				return fmt.Errorf("%s rows, %s: %w", size(n), s.name, err)
			}
			o, err := l.compare(len(queries), e.contenders(s, queries)...)
			if err != nil {
				return fmt.Errorf("%s rows, %s: %w", size(n), s.name, err)
			}
			allocs = max(allocs, o.allocs[0])
			if !s.groups {
				allocs = max(allocs, o.allocs[1])
			}
			lines = append(lines, l.addressLine(s, n, o))
		}
		l.subheading("%s rows", size(n))
		l.table([]string{"questions", "found", "index", "CheckAddress", "bart.Fast", "bart.Table", "cidranger", "netipx"}, lines)
	}
	l.verdict("allocations per lookup", "0", amount(allocs), allocs < 0.001)
	return nil
}

// gate compares what the contenders' answers do not tell: netipx with the
// index, and the index with a scan of all rows.
func (e *engines) gate(rows []workload.Row, queries []workload.Query) error {
	asked := questions(queries)
	for i := range queries {
		q := &queries[i]
		if covered := e.index.Longest(q.Addr) != 0; e.set != nil && e.set.Contains(q.Addr) != covered {
			return fmt.Errorf("netipx and index differ: %v is covered: %v", q.Addr, covered)
		}
	}
	const most = 10_000_000 // rows looked at
	for i := range min(len(queries), most/len(rows)) {
		q := &queries[i]
		if got, want := e.index.match(e.index.Longest(q.Addr), &asked[i]), scan(rows, q); got != want {
			return fmt.Errorf("index and scan differ: %+v: row %d and %d", *q, got, want)
		}
	}
	return nil
}

// scan is the meaning of a question: of the rows that match, the first of
// those with the longest prefix; -1 if none does.
func scan(rows []workload.Row, q *workload.Query) int32 {
	best, bits := int32(-1), -1
	for i := range rows {
		r := &rows[i]
		if r.Prefix.Bits() > bits && r.Prefix.Contains(q.Addr) && (q.Group == 0 || q.Group == r.Group) &&
			(r.Port == 0 || r.Port == q.Port) && (r.Proto == 0 || r.Proto == q.Proto) &&
			(r.Pattern == "" || q.Subject == "" || mustPattern(r.Pattern).Match(q.Subject)) {
			best, bits = int32(i), r.Prefix.Bits()
		}
	}
	return best
}

func (l *lab) addressLine(s stream, n int, o *outcome) []string {
	cells := []string{s.name, amount(100*o.hits) + " %", amount(o.ns(0))}
	for i := 1; i < len(o.took); i++ {
		cells = append(cells, o.cell(i, 0))
	}
	for len(cells) < 8 {
		cells = append(cells, "–")
	}
	if !s.target {
		return cells
	}
	least := 1.2
	if n >= 100_000 {
		least = 2
	}
	what := fmt.Sprintf("%s, %s rows: ", s.name, size(n))
	cells[4] += " " + l.atLeast(what+"bart.Fast / index", o.ratio(2, 0), least)
	if len(o.took) > 4 {
		cells[6] += " " + l.atLeast(what+"cidranger / index", o.ratio(4, 0), 6)
	}
	return cells
}

// contenders are in the order of the columns.
func (e *engines) contenders(s stream, queries []workload.Query) []contender {
	if s.groups {
		return e.groupContenders(queries)
	}
	whole := make([]sipacl.Query, len(queries))
	for i := range queries {
		whole[i] = tableQuery(&queries[i])
	}
	x, q := e.index, questions(queries)
	all := []contender{
		{name: "index", ask: func(answers []int32) {
			for i := range answers {
				answers[i] = x.match(x.Longest(q[i].addr), &q[i])
			}
		}},
		{name: "CheckAddress", ask: func(answers []int32) {
			for i := range answers {
				answers[i] = -1
				if d := e.table.CheckAddress(whole[i]); d.Allowed {
					answers[i] = int32(d.Origin.Line - 1)
				}
			}
		}},
		{name: "bart.Fast", ask: func(answers []int32) {
			for i := range answers {
				n, _ := e.fast.Lookup(q[i].addr)
				answers[i] = x.match(n, &q[i])
			}
		}},
		{name: "bart.Table", ask: func(answers []int32) {
			for i := range answers {
				n, _ := e.small.Lookup(q[i].addr)
				answers[i] = x.match(n, &q[i])
			}
		}},
	}
	if e.ranger == nil {
		return all
	}
	ips := netIPs(queries)
	return append(all,
		contender{name: "cidranger", ask: func(answers []int32) {
			for i := range answers {
				answers[i] = x.match(e.rangerLongest(ips[i]), &q[i])
			}
		}},
		contender{name: "netipx", kind: "contains", ask: func(answers []int32) {
			for i := range answers {
				answers[i] = truth(e.set.Contains(q[i].addr))
			}
		}})
}

// netIPs are the addresses as cidranger wants them.
func netIPs(q []workload.Query) []net.IP {
	ips := make([]net.IP, len(q))
	for i := range q {
		ips[i] = q[i].Addr.AsSlice()
	}
	return ips
}

func (e *engines) rangerLongest(ip net.IP) node {
	all, err := e.ranger.ContainingNetworks(ip)
	if err != nil || len(all) == 0 {
		return 0
	}
	return all[len(all)-1].(*rangerEntry).node
}

// groupContenders answer with a number made from the groups and their order.
func (e *engines) groupContenders(queries []workload.Query) []contender {
	x, q := e.index, questions(queries)
	from := make([]sipacl.Source, len(queries))
	for i, q := range queries {
		from[i] = sipacl.Source{Addr: q.Addr, Port: q.Port, Proto: protos[q.Proto]}
	}
	chain := func(name string, longest func(netip.Addr) node) contender {
		return contender{name: name, ask: func(answers []int32) {
			var into []uint32
			for i := range answers {
				into = x.groups(longest(q[i].addr), &q[i], into[:0])
				answers[i] = fold(into)
			}
		}}
	}
	all := []contender{
		chain("index", x.Longest),
		{name: "Groups", ask: func(answers []int32) {
			var into []uint32
			for i := range answers {
				into = into[:0]
				for g := range e.table.Groups(from[i]) {
					into = append(into, uint32(g))
				}
				answers[i] = fold(into)
			}
		}},
		chain("bart.Fast", func(a netip.Addr) node { n, _ := e.fast.Lookup(a); return n }),
		chain("bart.Table", func(a netip.Addr) node { n, _ := e.small.Lookup(a); return n }),
	}
	if e.ranger != nil {
		ips := netIPs(queries)
		all = append(all, contender{name: "cidranger", ask: func(answers []int32) {
			var into []uint32
			for i := range answers {
				into = x.groups(e.rangerLongest(ips[i]), &q[i], into[:0])
				answers[i] = fold(into)
			}
		}})
	}
	return all
}

// fold makes one number, not negative, of a list; -1 of an empty one.
func fold(list []uint32) int32 {
	if len(list) == 0 {
		return -1
	}
	h := uint32(len(list))
	for _, x := range list {
		h = h*31 + x
	}
	return int32(h &^ (1 << 31))
}

// prefixLengths compares IPv6 tables of the usual prefix lengths with those of
// all there are.
func (l *lab) prefixLengths() error {
	n := l.sizes.lengths
	l.heading("IPv6 prefix lengths")
	l.para("%s IPv6 rows with prefixes of 4 lengths, and as many with prefixes of all 129. Questions: inside rows, and "+
		"inside the rows of another such table; /0 is a row, so that there everything is covered by some prefix.", size(n))
	var lines [][]string
	few, err := newSix(n, workload.Lengths)
	if err != nil {
		return err
	}
	many, err := newSix(n, workload.AllLengths())
	if err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		rows func(*six) []workload.Row
	}{
		{"own", func(x *six) []workload.Row { return x.rows }},
		{"foreign", func(x *six) []workload.Row { return x.foreign }},
	} {
		var contenders []contender
		for _, x := range []*six{few, many} {
			c := x.engines.contenders(stream{}, workload.Hits(s.rows(x), l.batch, 7))
			for _, i := range []int{0, 2} {
				c[i].kind = fmt.Sprint(len(x.lengths))
				contenders = append(contenders, c[i])
			}
		}
		o, err := l.compare(l.batch, contenders...)
		if err != nil {
			return err
		}
		lines = append(lines, []string{s.name, amount(o.ns(0)), o.cell(2, 0), o.cell(1, 0), o.cell(3, 2)})
	}
	l.table([]string{"questions", "index, 4 lengths", "index, 129 lengths", "bart.Fast, 4 lengths", "bart.Fast, 129 lengths"}, lines)
	l.para("The last two columns' ratios are to the index on the same table.")
	return nil
}

// six is an IPv6 table.
type six struct {
	lengths       []int
	rows, foreign []workload.Row
	engines       *engines
}

func newSix(n int, lengths []int) (x *six, err error) {
	x = &six{lengths: lengths, rows: workload.Table6(n, lengths, 1), foreign: workload.Table6(n, lengths, 2)}
	x.engines, err = newEngines(x.rows, false)
	return x, err
}

// growth compares a small table with the largest.
func (l *lab) growth() error {
	small, large := l.sizes.address[0], l.sizes.address[len(l.sizes.address)-1]
	l.heading("From %s to %s rows", size(small), size(large))
	var lines [][]string
	tables := [2]*index{}
	asked := [2][3][]question{}
	for i, n := range []int{small, large} {
		l.log.Printf("growth: %d rows", n)
		rows := workload.Table(n, 1)
		tables[i] = buildIndex(rows)
		for k, s := range streams[:3] {
			asked[i][k] = questions(s.make(rows, l.batch))
		}
	}
	for k, s := range streams[:3] {
		var contenders []contender
		for i, x := range tables {
			q := asked[i][k]
			contenders = append(contenders, contender{kind: fmt.Sprint(i), ask: func(answers []int32) {
				for i := range answers {
					answers[i] = x.match(x.Longest(q[i].addr), &q[i])
				}
			}})
		}
		o, err := l.compare(l.batch, contenders...)
		if err != nil {
			return err
		}
		line := []string{s.name, amount(o.ns(0)), o.cell(1, 0)}
		if s.name == "hot" {
			line[2] += " " + l.atMost(fmt.Sprintf("%s, index: %s / %s rows", s.name, size(large), size(small)), o.ratio(1, 0), 3, "x")
		}
		lines = append(lines, line)
	}
	l.table([]string{"stream", size(small) + " rows", size(large) + " rows"}, lines)
	return nil
}
