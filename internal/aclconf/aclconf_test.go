package aclconf

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/lines"
)

var update = flag.Bool("update", false, "write what is into testdata")

// A case is a file: what must hold, then files after "-- name --" lines; the
// files "sections" and "errors" are what the others are read as.
func TestCases(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	for _, name := range cases {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			head, files := split(string(text))
			fsys := fstest.MapFS{}
			for _, f := range files {
				fsys[f[0]] = &fstest.MapFile{Data: []byte(f[1])}
			}
			sections, errs := Read(Source{FS: fsys, Name: "acl.conf"})
			last := files[len(files)-2:]
			last[0][1], last[1][1] = dump(sections), list(errs)
			for _, f := range files {
				head += "-- " + f[0] + " --\n" + f[1]
			}
			if *update {
				require.NoError(t, os.WriteFile(name, []byte(head), 0o644))
			}
			require.Equal(t, string(text), head)
		})
	}
}

func split(text string) (head string, files [][2]string) {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(line, "-- "); ok && strings.HasSuffix(name, " --\n") {
			files = append(files, [2]string{strings.TrimSuffix(name, " --\n")})
		} else if files == nil {
			head += line
		} else {
			files[len(files)-1][1] += line
		}
	}
	return head, files
}

func dump(sections []*Section) string {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "[%s] %s:%d:%d", s.Name, s.Pos.File, s.Pos.Line, s.Pos.Col)
		if s.Template {
			b.WriteString(" template")
		}
		b.WriteByte('\n')
		for _, o := range s.Options {
			at := o.Value.At(0)
			fmt.Fprintf(&b, "\t%s = %q %s:%d:%d\n", o.Name, o.Value.String(), at.File, at.Line, at.Col)
		}
	}
	return b.String()
}

func list(errs []*Error) string {
	var b strings.Builder
	for _, e := range errs {
		b.WriteString(e.Error() + "\n")
	}
	return b.String()
}

func read(text string) ([]*Section, []*Error) {
	return Read(Source{FS: fstest.MapFS{"acl.conf": {Data: []byte(text)}}, Name: "acl.conf"})
}

func TestLineEndsAndByteOrderMark(t *testing.T) {
	want, errs := read("[a]\ndeny=192.0.2.1\n")
	require.Empty(t, errs)
	for _, text := range []string{
		"[a]\r\ndeny=192.0.2.1\r\n",
		"[a]\ndeny=192.0.2.1",
		"[a]\r\ndeny=192.0.2.1\r",
		"[a]\ndeny=192.0.2.1\f\n\n\n",
	} {
		got, errs := read(text)
		require.Empty(t, errs)
		require.Equal(t, want, got)
	}
	got, errs := read("\ufeff[a]\r\ndeny=192.0.2.1\r\n")
	require.Empty(t, errs)
	require.Equal(t, dump(want), dump(got))
}

func TestControlBytes(t *testing.T) {
	_, errs := read("[a]\ndeny=192.0.2.1\x00,junk\n; \x00 in a comment\npermit=1\r2\n")
	require.Equal(t, "acl.conf:2:15: found a control byte\nacl.conf:4:9: found a control byte\n", list(errs))
}

func TestLimits(t *testing.T) {
	line := "deny=" + strings.Repeat("1", lines.Max-5)
	_, errs := read("[a]\n" + line + "\n" + line + "\r\n" + line)
	require.Empty(t, errs)
	_, errs = read("[a]\n" + line + "1\n")
	require.Equal(t, "acl.conf:2:1: want at most 65536 bytes in a line\n", list(errs))

	name := strings.Repeat("n", maxName)
	_, errs = read("[" + name + "]\n")
	require.Empty(t, errs)
	_, errs = read("[ " + name + "n]\n")
	require.Equal(t, "acl.conf:1:3: section name of more than 255 bytes\n", list(errs))

	_, errs = read(strings.Repeat(";-- ", maxComments) + strings.Repeat(" --;", maxComments))
	require.Empty(t, errs)
	_, errs = read(strings.Repeat(";-- ", maxComments+1) + strings.Repeat(" --;", maxComments+1))
	require.NotEmpty(t, errs)
}

func TestIncludeDepth(t *testing.T) {
	fsys := fstest.MapFS{"acl.conf": {Data: []byte("[a]\n#include 1")}}
	for i := 1; i <= maxDepth; i++ {
		fsys[fmt.Sprint(i)] = &fstest.MapFile{Data: fmt.Appendf(nil, "#tryinclude %d\n", i+1)}
	}
	_, errs := Read(Source{FS: fsys, Name: "acl.conf"})
	require.Equal(t, "10:1:13: more than 10 files included in each other\n", list(errs))
	fsys["10"] = &fstest.MapFile{}
	_, errs = Read(Source{FS: fsys, Name: "acl.conf"})
	require.Empty(t, errs)
}

// What a few lines can blow up to is limited, so that reading ends.
func TestBombs(t *testing.T) {
	fsys := fstest.MapFS{"acl.conf": {Data: []byte("[a]\n#include 1")}}
	for i := 1; i < maxDepth; i++ {
		fsys[fmt.Sprint(i)] = &fstest.MapFile{Data: []byte(strings.Repeat(fmt.Sprintf("#include %d\n", i+1), 20))}
	}
	fsys[fmt.Sprint(maxDepth)] = &fstest.MapFile{Data: []byte("deny=192.0.2.1\n")}
	_, errs := Read(Source{FS: fsys, Name: "acl.conf"})
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], errFiles)

	text := "[t0](!)\ndeny=192.0.2.1\n"
	for i := range 40 {
		text += fmt.Sprintf("[t%d](!,t%d,t%d)\n", i+1, i, i)
	}
	_, errs = read(text)
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], errMany)
}

func TestAbsoluteIncludes(t *testing.T) {
	fsys := fstest.MapFS{
		"conf/acl.conf":     {Data: []byte("[a]\n#include /etc/x/b.conf\n#tryinclude /etc/../../out\n#include c.conf\n")},
		"conf/c.conf":       {Data: []byte("deny=2\n")},
		"root/etc/x/b.conf": {Data: []byte("deny=1\n")},
		"out":               {Data: []byte("deny=3\n")},
	}
	sections, errs := Read(Source{FS: fsys, Name: "conf/acl.conf", Root: "root"})
	require.Empty(t, errs)
	require.Equal(t, "[a] conf/acl.conf:1:2\n\tdeny = \"1\" root/etc/x/b.conf:1:6\n\tdeny = \"2\" conf/c.conf:1:6\n", dump(sections))
	_, errs = Read(Source{FS: fsys, Name: "conf/acl.conf"})
	require.Equal(t, "conf/acl.conf:2:10: absolute path, but no folder is configured for those\n"+
		"conf/acl.conf:3:13: absolute path, but no folder is configured for those\n", list(errs))
}

// badFS fails with something else than "does not exist".
type badFS struct{ fstest.MapFS }

var errBroken = errors.New("disk on fire")

func (f badFS) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, "bad") {
		return nil, errBroken
	}
	return f.MapFS.Open(name)
}

func (f badFS) ReadFile(name string) ([]byte, error) {
	if strings.HasPrefix(name, "bad") {
		return nil, errBroken
	}
	return f.MapFS.ReadFile(name)
}

func (f badFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if strings.HasPrefix(name, "bad") {
		return nil, errBroken
	}
	return f.MapFS.ReadDir(name)
}

func TestTryincludeToleratesNothingButAbsence(t *testing.T) {
	fsys := badFS{fstest.MapFS{"acl.conf": {Data: []byte("[a]\n#tryinclude bad.conf\n#tryinclude bad/*.conf\n#tryinclude good/*\n")}}}
	_, errs := Read(Source{FS: fsys, Name: "acl.conf"})
	require.Len(t, errs, 2)
	require.ErrorIs(t, errs[0], errBroken)
	require.ErrorIs(t, errs[1], errBroken)
}

func TestMissingFile(t *testing.T) {
	_, errs := Read(Source{FS: fstest.MapFS{}, Name: "acl.conf"})
	require.Len(t, errs, 1)
	require.ErrorIs(t, errs[0], fs.ErrNotExist)
}

func TestTextKnowsItsPlaces(t *testing.T) {
	sections, errs := read("[a]\npermit=192.0.2.1;-- x --;,192.0.2.2\ndeny=1\npermit += ,bad\n")
	require.Empty(t, errs)
	v := sections[0].Options[0].Value
	s := v.String()
	require.Equal(t, "192.0.2.1,192.0.2.2 ,bad", s)
	require.Equal(t, Pos{"acl.conf", 2, 8}, v.At(0))
	require.Equal(t, Pos{"acl.conf", 2, 27}, v.At(strings.Index(s, "192.0.2.2")))
	require.Equal(t, Pos{"acl.conf", 4, 12}, v.At(strings.Index(s, "bad")))
	require.Equal(t, Pos{"acl.conf", 4, 15}, v.At(len(s)+7))
}

func FuzzRead(f *testing.F) {
	cases, _ := filepath.Glob("testdata/*.txt")
	for _, name := range cases {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		_, files := split(string(text))
		f.Add(files[0][1], files[1][1])
	}
	f.Fuzz(func(t *testing.T, main, other string) {
		fsys := fstest.MapFS{"acl.conf": {Data: []byte(main)}, "b.conf": {Data: []byte(other)}}
		sections, errs := Read(Source{FS: fsys, Name: "acl.conf", Root: "."})
		for _, e := range errs {
			require.NotEmpty(t, e.Error())
			require.NotEmpty(t, e.Pos.File)
		}
		for _, s := range sections {
			for _, o := range s.Options {
				require.NotEmpty(t, o.Name)
				v := o.Value.String()
				for off := range len(v) {
					at := o.Value.At(off)
					line := strings.Split(map[string]string{"acl.conf": strings.TrimPrefix(main, "\ufeff"), "b.conf": strings.TrimPrefix(other, "\ufeff")}[at.File], "\n")[at.Line-1]
					require.Equal(t, v[off], line[at.Col-1])
				}
			}
		}
	})
}
