package digest

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The value is written down: another one would make a fleet that is being
// updated look as if its servers had different lists.
func TestTheSameOnEveryMachine(t *testing.T) {
	var h Hash
	h.Text("alice")
	h.Number(7)
	h.Flag(true)
	h.Prefix(netip.MustParsePrefix("192.0.2.0/24"))
	h.Addr(netip.MustParseAddr("2001:db8::1"))
	require.Equal(t, "caa60f33ee6e2339f9f4153a77056a35", h.String())
}

func TestEveryFieldCounts(t *testing.T) {
	of := func(write func(*Hash)) string {
		var h Hash
		write(&h)
		return h.String()
	}
	sums := map[string]bool{}
	all := []func(*Hash){
		func(*Hash) {},
		func(h *Hash) { h.Text("") },
		func(h *Hash) { h.Text(""); h.Text("") },
		func(h *Hash) { h.Text("ab"); h.Text("c") },
		func(h *Hash) { h.Text("a"); h.Text("bc") },
		func(h *Hash) { h.Text("abc") },
		func(h *Hash) { h.Flag(true) },
		func(h *Hash) { h.Addr(netip.Addr{}) },
		func(h *Hash) { h.Addr(netip.MustParseAddr("0.0.0.0")) },
		func(h *Hash) { h.Addr(netip.MustParseAddr("::")) },
		func(h *Hash) { h.Addr(netip.MustParseAddr("::ffff:0.0.0.0")) },
		func(h *Hash) { h.Prefix(netip.Prefix{}) },
		func(h *Hash) { h.Prefix(netip.MustParsePrefix("0.0.0.0/0")) },
		func(h *Hash) { h.Text(strings.Repeat("x", 3*full)) },
		func(h *Hash) { h.Text(strings.Repeat("x", 3*full+1)) },
	}
	for _, write := range all {
		sums[of(write)] = true
		require.Equal(t, of(write), of(write))
	}
	require.Len(t, sums, len(all))
}
