// Package filter tells most of what is not in a set, in one look at one bit.
package filter

// Filter is a set of hashes that may say yes by mistake, about one time in
// eight: one bit a hash, and eight bits of room for each. It is safe for
// concurrent use once nothing is added any more.
type Filter []uint64

// New returns a filter with room for n hashes.
func New(n int) Filter { return make(Filter, n/8+1) }

// Add puts in a hash. Its upper bits count most.
func (f Filter) Add(hash uint32) {
	i := Scale(hash, len(f)*64)
	f[i/64] |= 1 << (i % 64)
}

// Has reports whether hash may have been added; false is certain.
func (f Filter) Has(hash uint32) bool {
	i := Scale(hash, len(f)*64)
	return f[i/64]>>(i%64)&1 != 0
}

// Scale maps a hash evenly to 0 to n-1, in the order of hashes.
func Scale(hash uint32, n int) uint32 { return uint32(uint64(hash) * uint64(n) >> 32) }
