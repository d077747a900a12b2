package workload

import (
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSame pins the bytes: a change would make all figures incomparable.
func TestSame(t *testing.T) {
	rows := Table(2000, 1)
	for _, c := range []struct {
		name string
		made any
		want uint64
	}{
		{"table", rows, 0x1d93b056200cd60c},
		{"hits", Hits(rows, 1000, 2), 0xcc054e4aea89ce7c},
		{"hot", Hot(rows, 1000, 3), 0x52afa771dbc284fb},
		{"misses", Misses(rows, 1000, 4), 0x71d81d4f17cf41b8},
		{"acl", ACL(1000, 5), 0x850da1afa5ea3f7b},
		{"rules", Rules(1000, 6), 0x1f46e3b7c453e77},
		{"pairs", Pairs(1000, 1000, 50, 7), 0x27844ad5e68771ec},
		{"pattern hits", PatternHits(rows, 1000, 8), 0x3269044f93455e84},
		{"four lengths", Table6(1000, Lengths, 9), 0x193bd9675d5814eb},
		{"all lengths", Table6(1000, AllLengths(), 10), 0x1c0237c211252205},
		{"same literal", SameLiteral(1000), 0xd26dfa668d8a8ed5},
		{"same literal pairs", SameLiteralPairs(1000, 1000, 11), 0xd6f8d035329ad13a},
		{"no literal", NoLiteral(1000, 12), 0x3e286692e478f2f},
		{"hostile pairs", HostilePairs(100, 1000, 13), 0x37c52564fc6dbe0b},
	} {
		h := fnv.New64a()
		fmt.Fprintf(h, "%v", c.made)
		require.Equal(t, fmt.Sprintf("%#x", c.want), fmt.Sprintf("%#x", h.Sum64()), c.name)
	}
}
