// Package room makes room in slices of millions.
package room

import "slices"

// Double returns s, if it is full with room for as many again. Of a large
// slice, append makes a quarter, and so moves elements four times instead of
// once; what is too much, [Trim] gives back.
func Double[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	return slices.Grow(s, len(s))
}

// Trim returns s without the room that is left in it, unless that is hardly
// any.
func Trim[T any](s []T) []T {
	if cap(s)-len(s) <= len(s)/64 {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}
