package filter

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFilter(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 7, 8, 1000, 100_000} {
		f := New(n)
		added := map[uint32]bool{0: n > 0, 1<<32 - 1: n > 1}
		for len(added) < n {
			added[r.Uint32()] = true
		}
		for h, yes := range added {
			if yes {
				f.Add(h)
			}
		}
		mistakes := 0
		for h, yes := range added {
			require.True(t, !yes || f.Has(h))
		}
		for range n {
			if h := r.Uint32(); f.Has(h) && !added[h] {
				mistakes++
			}
		}
		if n >= 1000 {
			require.Less(t, mistakes, n/6)
		}
	}
}
