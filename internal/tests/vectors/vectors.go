// Package vectors reads recorded decisions: files of JSON Lines, compressed or
// not.
package vectors

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Name is the name of the vectors in a file, without its endings. ok is false
// for a file that holds none.
func Name(file string) (name string, ok bool) {
	base := strings.TrimSuffix(filepath.Base(file), ".gz")
	return strings.CutSuffix(base, ".jsonl")
}

// Lines yields the lines of a file, without the blank ones.
func Lines(t testing.TB, file string) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		in := bufio.NewReaderSize(plain(t, f), 1<<20)
		for {
			line, err := in.ReadBytes('\n')
			if len(bytes.TrimSpace(line)) > 0 && !yield(line) {
				return
			}
			if err == io.EOF {
				return
			}
			require.NoError(t, err)
		}
	}
}

// plain reads a file that may be compressed.
func plain(t testing.TB, f *os.File) io.Reader {
	if !strings.HasSuffix(f.Name(), ".gz") {
		return f
	}
	in, err := gzip.NewReader(f)
	require.NoError(t, err, f.Name())
	return in
}

// Decode reads a line; numbers in an any become [json.Number].
func Decode(t testing.TB, line []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	require.NoError(t, d.Decode(into), "%s", line)
}
