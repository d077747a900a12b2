// Package workload generates the tables, rule files and streams of questions
// that the benchmarks use. Nothing in it depends on the machine, the Go
// version or the time: the same size and seed give the same bytes anywhere,
// so that figures can be compared and a slow case can be looked at again.
//
// The shapes are those of a carrier's table: most rows are hosts in a few
// hundred or thousand /16 blocks, some blocks far busier than others, and
// most packets come either from a few busy peers or from scanners.
package workload

// Rand is the splitmix64 generator: not for secrets.
type Rand struct{ state uint64 }

// NewRand returns the generator of a seed.
func NewRand(seed uint64) *Rand { return &Rand{seed} }

// Uint64 returns the next 64 bits.
func (r *Rand) Uint64() uint64 {
	r.state += 0x9e3779b97f4a7c15
	z := r.state
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// N returns a number from 0 to n-1.
func (r *Rand) N(n int) int { return int(r.Uint64() % uint64(n)) }

// Percent is true p times out of 100.
func (r *Rand) Percent(p int) bool { return r.N(100) < p }

// Busy returns a number from 0 to n-1, i about as often as 1/(i+1): what is
// first is busiest (log-uniform, as Zipf's law has it).
func (r *Rand) Busy(n int) int {
	b := 1
	for 1<<b < n+1 {
		b++
	}
	k := r.N(b)
	v := (1 << k) - 1 + r.N(1<<k)
	if v >= n {
		v = r.N(n)
	}
	return v
}
