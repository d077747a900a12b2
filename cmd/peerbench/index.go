package main

import (
	"net/netip"
	"slices"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/rowindex"
	"github.com/sipacl/sipacl/internal/tests/workload"
	"github.com/sipacl/sipacl/internal/trie"
)

// node is a prefix of an index; 0 is none.
type node = trie.Node

// index is the library's index of a table. The peers that find prefixes share
// all of it but Longest, so that only the finding differs.
type index struct {
	*rowindex.Index
	patterns []sipacl.Pattern // [0] is none
}

// question is a question to an index, made before the clock runs.
type question struct {
	rowindex.Question
	addr    netip.Addr
	subject string // "" matches every pattern
}

func questions(queries []workload.Query) []question {
	all := make([]question, len(queries))
	for i, q := range queries {
		all[i] = question{
			Question: rowindex.Question{Group: q.Group, Port: q.Port, Proto: uint8(protos[q.Proto])},
			addr:     q.Addr, subject: q.Subject,
		}
		if q.Group == 0 {
			all[i].Any = rowindex.AnyGroup
		}
	}
	return all
}

func buildIndex(rows []workload.Row) *index {
	x := &index{patterns: make([]sipacl.Pattern, 1)}
	number := map[string]uint32{"": 0}
	keys := make([]rowindex.Key, len(rows))
	for i, r := range rows {
		p, ok := number[r.Pattern]
		if !ok {
			p = uint32(len(x.patterns))
			number[r.Pattern] = p
			x.patterns = append(x.patterns, mustPattern(r.Pattern))
		}
		keys[i] = rowindex.Key{Group: r.Group, Pattern: p, Port: r.Port, Proto: uint8(protos[r.Proto])}
	}
	x.Index = buildRows(prefixesOf(rows), keys)
	return x
}

// buildRows builds what finds rows, and nothing else.
func buildRows(prefixes []netip.Prefix, keys []rowindex.Key) *rowindex.Index {
	var b rowindex.Builder
	b.Grow(len(prefixes))
	for i, p := range prefixes {
		b.Add(p, keys[i])
	}
	return rowindex.Build(&b, func(uint32, rowindex.Ref) {})
}

func prefixesOf(rows []workload.Row) []netip.Prefix {
	all := make([]netip.Prefix, len(rows))
	for i := range rows {
		all[i] = rows[i].Prefix
	}
	return all
}

// match gives the first row of n and the prefixes above it that matches q, -1
// if none does.
func (x *index) match(n node, q *question) int32 {
	row, ok := x.First(n, &q.Question, func(pattern uint32) bool {
		return q.subject == "" || x.patterns[pattern].Match(q.subject)
	})
	if !ok {
		return -1
	}
	return int32(row)
}

// groups appends the groups, each once, of the rows of n and the prefixes
// above it that match all of q but its subject.
func (x *index) groups(n node, q *question, into []uint32) []uint32 {
	x.Each(n, func(_ uint32, k rowindex.Key) bool {
		if k.Compare(&q.Question) == rowindex.Matched && !slices.Contains(into, k.Group) {
			into = append(into, k.Group)
		}
		return true
	})
	return into
}

func mustPattern(text string) sipacl.Pattern {
	p, err := sipacl.CompilePattern(text)
	if err != nil {
		panic(err)
	}
	return p
}
