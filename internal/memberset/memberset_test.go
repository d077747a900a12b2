package memberset

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// slowSet is the meaning of Set; when the two differ, Set is wrong.
type slowSet []Member

func (s *slowSet) add(m Member) bool {
	if s.find(m.Name, m.Domain, m.Group) != nil {
		return false
	}
	*s = append(*s, m)
	return true
}

func (s slowSet) find(name, domain, group string) *Member {
	for i, m := range s {
		if m.Name == name && m.Domain == domain && m.Group == group {
			return &s[i]
		}
	}
	return nil
}

// compare builds both sets of the same members and asks both the same.
func compare(t *testing.T, members []Member) {
	var b Builder
	var slow slowSet
	for _, m := range members {
		require.Equal(t, slow.add(m), b.Add(m), "%q", m)
	}
	s := b.Set()
	require.Equal(t, len(slow), s.Len())
	require.ElementsMatch(t, []Member(slow), slices.Collect(s.All()))
	ask := func(name, domain, group string) {
		tag, row, ok := s.Find(name, domain, group)
		m := slow.find(name, domain, group)
		require.Equal(t, m != nil, ok, "%q %q %q", name, domain, group)
		if ok {
			require.Equal(t, m.Tag, tag)
			require.Equal(t, m.Row, row)
		}
	}
	for _, m := range members {
		ask(m.Name, m.Domain, m.Group)
		ask(m.Name+"x", m.Domain, m.Group)
		ask(m.Domain, m.Name, m.Group)
		ask(m.Name, m.Domain, m.Name)
	}
	var groups []string
	for _, m := range slow {
		if !slices.Contains(groups, m.Group) {
			groups = append(groups, m.Group)
		}
	}
	require.Equal(t, groups, slices.Collect(s.Groups()))
}

func TestSetAgreesWithSlowSet(t *testing.T) {
	compare(t, nil)
	compare(t, []Member{{}, {Name: "a"}, {Domain: "a"}, {Group: "a"}, {}})
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string { return strings.Repeat("x", r.IntN(3)) + fmt.Sprint(r.IntN(40)) }
	var members []Member
	for i := range 2000 {
		members = append(members, Member{text(), text(), text(), r.Uint32(), uint64(i) << r.IntN(40)})
	}
	compare(t, members)
}

func FuzzSet(f *testing.F) {
	f.Add("alice,example.com,ld;bob,,ld;alice,example.com,ld")
	f.Fuzz(func(t *testing.T, text string) {
		var members []Member
		for i, row := range strings.Split(text, ";") {
			c := append(strings.Split(row, ","), "", "", "")
			members = append(members, Member{c[0], c[1], c[2], uint32(i), uint64(i)})
		}
		if len(members) < 500 {
			compare(t, members)
		}
	})
}

func TestEmptySet(t *testing.T) {
	for _, s := range []*Set{nil, {}, new(Builder).Set()} {
		_, _, ok := s.Find("", "", "")
		require.False(t, ok)
		require.Zero(t, s.Len())
		require.Empty(t, slices.Collect(s.All()))
		require.Empty(t, slices.Collect(s.Groups()))
	}
}

func TestFindDoesNotAllocate(t *testing.T) {
	var b Builder
	b.Add(Member{Name: "alice", Domain: "example.com", Group: "ld"})
	s := b.Set()
	require.Zero(t, testing.AllocsPerRun(100, func() {
		s.Find("alice", "example.com", "ld")
		s.Find("bob", "example.com", "ld")
	}))
}

// member is the i-th of many: names as they are, a thousand domains, ten groups.
func member(i int) Member {
	return Member{fmt.Sprintf("+1555%07d", i), fmt.Sprintf("tenant%d.example.com", i%1000), fmt.Sprintf("group%d", i%10), 0, uint64(i + 1)}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

var large = flag.Bool("large", false, "benchmark more than 100,000 members too")

// BenchmarkFind asks a Set, and beside it a map from the joined texts to a
// row. bytes/member is what the heap grew by.
func BenchmarkFind(b *testing.B) {
	for _, size := range []int{100_000, 1_000_000, 10_000_000} {
		if size > 100_000 && !*large {
			continue
		}
		benchmarkFind(b, "set", size, func() func(*Member) bool { return findInSet(size) })
		benchmarkFind(b, "map", size, func() func(*Member) bool { return findInMap(size) })
	}
}

func questions(size int, hit bool) []Member {
	r := rand.New(rand.NewPCG(3, 4))
	asked := make([]Member, 1<<16)
	for i := range asked {
		asked[i] = member(r.IntN(size))
		if !hit {
			asked[i].Name += "x"
		}
	}
	return asked
}

var outcomes = []struct {
	name string
	hit  bool
}{{"hit", true}, {"miss", false}}

// benchmarkFind asks what build makes of so many members.
func benchmarkFind(b *testing.B, impl string, size int, build func() (find func(m *Member) bool)) {
	before := heap()
	find := build()
	bytes := float64(heap()-before) / float64(size)
	for _, o := range outcomes {
		b.Run(fmt.Sprintf("rows=%d/stream=%s/impl=%s", size, o.name, impl), func(b *testing.B) {
			asked := questions(size, o.hit)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				m := &asked[i&(1<<16-1)]
				if find(m) != o.hit {
					b.Fatal(m)
				}
			}
			b.ReportMetric(bytes, "bytes/member")
		})
	}
}

func findInSet(size int) func(m *Member) bool {
	var b Builder
	for i := range size {
		b.Add(member(i))
	}
	s := b.Set()
	return func(m *Member) bool {
		_, _, ok := s.Find(m.Name, m.Domain, m.Group)
		return ok
	}
}

func findInMap(size int) func(m *Member) bool {
	joined := func(m *Member) string { return m.Name + "\x00" + m.Domain + "\x00" + m.Group }
	s := map[string]uint32{}
	for i := range size {
		m := member(i)
		s[joined(&m)] = uint32(m.Row)
	}
	return func(m *Member) bool {
		_, ok := s[joined(m)]
		return ok
	}
}

// TestCrowded has buckets of all sizes, and entries that four bytes cannot
// tell the size of.
func TestCrowded(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, n := range []int{1, 2, 3, 10, 300} {
		var members []Member
		for i := range n {
			name := strings.Repeat("n", r.IntN(4)*r.IntN(120)) + fmt.Sprint(i)
			members = append(members, Member{Name: name, Domain: "d", Group: "g", Row: uint64(i)})
		}
		compare(t, members)
	}
	var b Builder
	for i := range 100_000 {
		b.Add(Member{Name: fmt.Sprint(i), Row: uint64(i)})
	}
	s := b.Set()
	most := 0
	for i := range 100_000 {
		_, row, ok := s.Find(fmt.Sprint(i), "", "")
		require.True(t, ok)
		require.EqualValues(t, i, row)
		_, _, ok = s.Find(fmt.Sprint(i+100_000), "", "")
		require.False(t, ok)
	}
	for i, b := range s.buckets[:len(s.buckets)-1] {
		n := 0
		for range s.entries(b, s.buckets[i+1].at()) {
			n++
		}
		require.Equal(t, n > perBucket, b&crowded != 0)
		most = max(most, n)
	}
	require.Greater(t, most, perBucket)
}
