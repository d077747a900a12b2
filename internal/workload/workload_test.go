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
	} {
		h := fnv.New64a()
		fmt.Fprintf(h, "%v", c.made)
		require.Equal(t, c.want, h.Sum64(), c.name)
	}
}
