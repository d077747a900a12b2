package conformance

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// origSection is a section of acl.conf.
type origSection struct {
	name, at string
	tmpl     bool
	vars     []origVar
}

type origVar struct {
	name, value, at string
	extended        bool // by "+="
}

// aclFile is a file while it is parsed.
type aclFile struct {
	*aclOriginal
	cur    *origSection
	level  int // of includes
	stack  []string
	depth  int    // of block comments
	opened string // where the outermost of them begins
}

// file parses a file that continues a section, nil at first. It returns false
// if no file has that name.
func (m *aclOriginal) file(name string, cur *origSection, level int, stack []string) bool {
	text, ok := m.files[name]
	if !ok {
		return false
	}
	f := &aclFile{aclOriginal: m, cur: cur, level: level, stack: append(stack, name)}
	for n, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		if !f.line(line, fmt.Sprintf("%s:%d", name, n+1)) {
			return true // the rest is not read
		}
	}
	if f.depth > 0 {
		f.strict(aclSyntax, f.opened)
	}
	return true
}

// line reads a line. It returns false if the original reads no more of them.
func (f *aclFile) line(line, at string) bool {
	if len(line) > 8190 && !f.is(aclLong) {
		return true
	}
	if len(strings.TrimSuffix(line, "\r")) > 65536 {
		f.wrong(at)
		return true
	}
	if i := strings.IndexByte(line, 0); i >= 0 {
		f.strict(aclSyntax, at)
		line = line[:i]
	}
	was := f.depth
	live, stray := uncommented(line, &f.depth)
	if was == 0 && f.depth > 0 {
		f.opened = at
	}
	if stray {
		return f.strict(aclSyntax, at)
	}
	return f.parse(strip33(live), at)
}

var controlByte = regexp.MustCompile(`[\x00-\x1f\x7f]`)

func strip33(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r < 33 })
}

func (f *aclFile) parse(live, at string) bool {
	if controlByte.MatchString(strings.ReplaceAll(live, "\t", "")) && f.strict(aclSyntax, at) {
		return true
	}
	ok := true
	switch {
	case live == "":
	case live[0] == '[':
		f.cur, ok = f.header(live, at)
	case live[0] == '#':
		ok = f.directive(live, at)
	default:
		ok = f.option(live, at)
	}
	return ok || f.broken(at)
}

// broken notes a line that ends the file. The original refuses acl.conf then,
// but drops the rest of an included file only, and leaks its level.
func (f *aclFile) broken(at string) bool {
	f.wrong(at)
	if f.on&aclSyntax == 0 && f.level == 0 {
		return false
	}
	f.touched |= aclSyntax
	if f.on&aclSyntax != 0 {
		return true
	}
	delete(f.bad, at)
	f.leaks++
	return false
}

// uncommented takes the comments out of a line.
func uncommented(s string, depth *int) (live string, stray bool) {
	var out []byte
	dashes := 0 // dashes directly before, that may close
	for i := 0; i < len(s); i++ {
		c := s[i]
		opens := strings.HasPrefix(s[i:], ";--") && (i+3 == len(s) || s[i+3] != '-')
		switch {
		case *depth == 0 && c == '\\' && i+1 < len(s) && s[i+1] == ';':
			out = append(out, ';')
			i++
			dashes = 0
			continue
		case c == ';' && opens:
			*depth++
			i += 2
			dashes = 0
			continue
		case c == ';' && dashes >= 2:
			if *depth == 0 {
				return string(out), true
			}
			*depth--
			dashes = 0
			continue
		case c == ';' && *depth == 0:
			return string(out), false
		case c == '-':
			dashes++
		default:
			dashes = 0
		}
		if *depth == 0 {
			out = append(out, c)
		}
	}
	return string(out), false
}

func (m *aclOriginal) find(name string, tmpl bool) *origSection {
	for _, s := range m.secs {
		if asciiFold(s.name) == asciiFold(name) && (tmpl || !s.tmpl) {
			return s
		}
	}
	return nil
}

func asciiFold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] += 32
		}
	}
	return string(b)
}

// header reads "[name](token,token)" and returns the section that follows.
func (m *aclOriginal) header(line, at string) (*origSection, bool) {
	name, rest, ok := strings.Cut(line[1:], "]")
	if !ok {
		return &origSection{name: "\x00broken", tmpl: true}, false
	}
	s := &origSection{name: m.sectionName(name, at), at: at}
	tokens, listed := strings.CutPrefix(rest, "(")
	if !listed {
		if rest != "" {
			m.strict(aclSyntax, at)
		}
		m.secs = append(m.secs, s)
		return s, true
	}
	tokens, after, ok := strings.Cut(tokens, ")")
	if !ok {
		m.secs = append(m.secs, s)
		return s, false
	}
	if after != "" {
		m.strict(aclSyntax, at)
	}
	return m.inherit(s, tokens, at)
}

func (m *aclOriginal) sectionName(name, at string) string {
	if t := strings.Trim(name, " \t"); t != name && m.is(aclBlanks) {
		name = t
	}
	switch {
	case name == "":
		m.strict(aclSyntax, at)
	case len(name) <= 79:
	case !m.is(aclLong):
		return name[:79]
	case len(name) > 255:
		m.wrong(at)
	}
	return name
}

// inherit applies the tokens behind a section's name.
func (m *aclOriginal) inherit(s *origSection, tokens, at string) (*origSection, bool) {
	into, added, ok := s, false, true
	for _, tok := range strings.Split(tokens, ",") {
		if t := strings.Trim(tok, " \t"); t != tok && m.is(aclBlanks) {
			tok = t
		}
		switch {
		case tok == "!":
			into.tmpl = true
		case tok == "+":
			old := m.find(s.name, false)
			if old == nil {
				ok = false
				continue
			}
			old.add(into)
			into, added = old, true
		case strings.HasPrefix(tok, "+"):
			m.unmodelled(aclSyntax, at)
		default:
			vars, found := m.base(tok, at)
			if !found && m.on&aclSyntax == 0 {
				return s, false
			}
			ok = ok && found
			into.vars = append(into.vars, vars...)
		}
	}
	if !added {
		m.secs = append(m.secs, s)
	}
	return into, ok
}

// add moves what was collected for a section to the one that it continues.
func (s *origSection) add(more *origSection) {
	if s != more {
		s.vars = append(s.vars, more.vars...)
		s.tmpl = s.tmpl || more.tmpl
	}
}

// base gives what is inherited; to the original, an empty token is the first
// section of all.
func (m *aclOriginal) base(tok, at string) (vars []origVar, ok bool) {
	switch {
	case tok != "":
		if s := m.find(tok, true); s != nil {
			return s.vars, true
		}
		return nil, false
	case m.strict(aclSyntax, at):
		return nil, true
	case len(m.secs) == 0:
		return nil, false
	}
	return m.secs[0].vars, true
}

var quotedName = regexp.MustCompile(`^(?:"([^"]+)"|<([^>]+)>)$`)

func (f *aclFile) directive(line, at string) bool {
	word, arg := line, ""
	if i := strings.IndexFunc(line, func(r rune) bool { return r < 33 }); i >= 0 {
		word, arg = line[:i], strip33(line[i:])
	}
	switch word = asciiFold(word); {
	case word == "#exec" && f.exec:
		f.unmodelled(aclSyntax, at)
		return true
	case word != "#include" && word != "#tryinclude", arg == "":
		f.strict(aclSyntax, at)
		return true
	}
	if quoted := quotedName.FindStringSubmatch(arg); quoted != nil {
		arg = quoted[1] + quoted[2]
	} else if strings.ContainsRune("\"<$", rune(arg[0])) || strings.Contains(arg, "{") || !fs.ValidPath(path.Clean(arg)) {
		f.unmodelled(aclSyntax, at) // absolute paths and those out of the folder too
		return true
	}
	return f.include(f.glob(path.Clean(arg)), at) || word == "#tryinclude"
}

// include parses the files. It returns false without any.
func (f *aclFile) include(names []string, at string) bool {
	if f.level+f.leaks >= 10 && f.on&aclSyntax == 0 {
		f.touched |= aclSyntax
		return false
	}
	for _, name := range names {
		if !slices.Contains(f.stack, name) || !f.strict(aclSyntax, at) {
			f.file(name, f.cur, f.level+1, f.stack)
		}
	}
	return len(names) > 0
}

func (m *aclOriginal) glob(pattern string) (names []string) {
	for name := range m.files {
		if ok, _ := path.Match(pattern, name); ok && (pattern == name || !strings.HasPrefix(path.Base(name), ".")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// option reads "name = value"; "+=" extends the last value of the name.
func (f *aclFile) option(line, at string) bool {
	cur := f.cur
	if cur == nil {
		return false
	}
	line, escaped := strings.CutPrefix(line, `\`)
	if escaped && line == "" {
		return false
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		f.strict(aclSyntax, at)
		return true
	}
	value = strings.TrimPrefix(value, ">")
	name, more := strings.CutSuffix(name, "+")
	if name = strip33(name); name == "" {
		f.strict(aclSyntax, at)
		return true
	}
	if more {
		for i := len(cur.vars) - 1; i >= 0; i-- {
			if v := &cur.vars[i]; v.name == name {
				cur.vars = slices.Clone(cur.vars)
				v = &cur.vars[i]
				v.value, v.extended = strip33(v.value+value), true
				return true
			}
		}
	}
	cur.vars = append(cur.vars[:len(cur.vars):len(cur.vars)], origVar{name: name, value: strip33(value), at: at})
	return true
}
