// Package lines reads text files line by line, the same for every list: a BOM
// at the beginning is dropped, CR LF ends a line as LF does, and a line has a
// greatest length.
package lines

import (
	"fmt"
	"iter"
	"strings"
)

// Max is the greatest length of a line in bytes, without its end.
const Max = 64 << 10

// ErrLong is what a longer line gives.
var ErrLong = fmt.Errorf("want at most %d bytes in a line", Max)

// Of yields the lines of a text and their numbers, from 1.
func Of(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
			n++
			line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
			if !yield(n, line) {
				return
			}
		}
	}
}
