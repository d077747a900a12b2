package aclconf

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

var (
	errNoPath   = errors.New("include without a file name")
	errQuote    = errors.New("file name with a quote that is not closed at its end")
	errAbsolute = errors.New("absolute path, but no folder is configured for those")
	errOutOfFS  = errors.New("path leads out of the configured folder")
	errBraces   = errors.New("braces in a file name are not supported")
	errDepth    = fmt.Errorf("more than %d files included in each other", maxDepth)
	errFiles    = fmt.Errorf("more than %d files or %d bytes included", maxFiles, maxBytes)
	errNoMatch  = errors.New("no file matches")
)

// directive = "#" ( "include" | "tryinclude" ) path .
func (p *parser) directive(t Text, s string, in *Section) {
	end := strings.IndexAny(s, " \t")
	if end < 0 {
		end = len(s)
	}
	word := lower(s[:end])
	if word != "#include" && word != "#tryinclude" {
		p.fail(t.At(0), fmt.Errorf(`unknown directive %q, want "#include" or "#tryinclude"; comments begin with ";"`, cut(s[:end])))
		return
	}
	at := t.At(end + leading(s[end:]))
	names, err := p.names(blanks(s[end:]))
	try := word == "#tryinclude"
	if err != nil {
		if !try || !errors.Is(err, fs.ErrNotExist) {
			p.fail(at, err)
		}
		return
	}
	for _, name := range names {
		p.include(name, in, at, try)
	}
}

// names = file | glob .
func (p *parser) names(arg string) ([]string, error) {
	arg, err := unquote(arg)
	if err != nil {
		return nil, err
	}
	name := path.Join(p.dir, arg)
	if path.IsAbs(arg) {
		if p.src.Root == "" {
			return nil, errAbsolute
		}
		name = path.Join(p.src.Root, path.Clean(arg))
	}
	switch {
	case !fs.ValidPath(name):
		return nil, errOutOfFS
	case strings.Contains(name, "{"):
		return nil, errBraces
	case !strings.ContainsAny(name, `*?[\`):
		return []string{name}, nil
	}
	if _, err := path.Match(classes(name), ""); err != nil {
		return nil, err
	}
	names, err := p.glob([]string{"."}, strings.Split(classes(name), "/"))
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%w %q: %w", errNoMatch, cut(arg), fs.ErrNotExist)
	}
	return names, err
}

// unquote takes `"` or "<>" from both ends.
func unquote(s string) (string, error) {
	if s != "" && (s[0] == '"' || s[0] == '<') {
		end := map[byte]string{'"': `"`, '<': ">"}[s[0]]
		name, ok := strings.CutSuffix(s[1:], end)
		if !ok || strings.Contains(name, end) {
			return "", errQuote
		}
		s = name
	}
	if s == "" {
		return "", errNoPath
	}
	return s, nil
}

// classes writes the "[!a]" of glob(3) as path.Match wants it.
func classes(pattern string) string { return strings.ReplaceAll(pattern, "[!", "[^") }

// glob returns the files below dirs that the elements of a pattern match, in
// order of their names. A file whose name begins with a dot is found only by
// an element that does. A folder that cannot be read is an error: fs.Glob
// would leave out the deny list in it without a word.
func (p *parser) glob(dirs, elements []string) (names []string, err error) {
	for i, e := range elements {
		var next []string
		for _, dir := range dirs {
			if !strings.ContainsAny(e, `*?[\`) {
				next = append(next, path.Join(dir, e))
				continue
			}
			entries, err := fs.ReadDir(p.src.FS, dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			for _, f := range entries {
				if i < len(elements)-1 && !f.IsDir() && f.Type()&fs.ModeSymlink == 0 {
					continue
				}
				if f.Name()[0] == '.' && e[0] != '.' {
					continue
				}
				if ok, _ := path.Match(e, f.Name()); ok {
					next = append(next, path.Join(dir, f.Name()))
				}
			}
		}
		dirs = next
	}
	if strings.ContainsAny(elements[len(elements)-1], `*?[\`) {
		return dirs, nil
	}
	for _, name := range dirs { // "*/acl.conf": those that have it
		if _, err := fs.Stat(p.src.FS, name); err == nil {
			names = append(names, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return names, nil
}

// include parses a file in the place of the directive at pos.
func (p *parser) include(name string, in *Section, at Pos, try bool) {
	switch {
	case slices.Contains(p.stack, name):
		p.fail(at, fmt.Errorf("%s includes itself", name))
		return
	case len(p.stack) > maxDepth:
		p.fail(at, errDepth)
		return
	}
	if p.files++; p.files > maxFiles || p.bytes > maxBytes {
		if !p.full {
			p.fail(at, errFiles)
		}
		p.full = true
		return
	}
	p.file(name, in, at, try)
}

// file reads and parses name. at is where to say that it cannot be read; when
// try is set, it need not exist.
func (p *parser) file(name string, in *Section, at Pos, try bool) {
	text, err := fs.ReadFile(p.src.FS, name)
	if err != nil {
		if !try || !errors.Is(err, fs.ErrNotExist) {
			p.fail(at, err)
		}
		return
	}
	p.bytes += len(text)
	p.stack = append(p.stack, name)
	p.text(name, string(text), in)
	p.stack = p.stack[:len(p.stack)-1]
}

// cut keeps messages readable when a value is hostile.
func cut(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}
