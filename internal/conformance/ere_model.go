package conformance

import (
	"errors"
	"strconv"
	"strings"
)

// naiveERE is a matcher for POSIX expressions as the GNU C library reads them:
// extended and case-insensitive, or basic and case-sensitive. It shares nothing
// with the translator: it backtracks over the subject, byte by byte, and knows back-references.
type naiveERE struct {
	match naiveNode
	exact bool // upper and lower case differ
}

// naiveNode matches from i on and calls then with each place it may end at,
// until then is satisfied.
type naiveNode func(m *naiveMatch, i int, then func(int) bool) bool

type naiveMatch struct {
	s      string // in upper case, unless the case matters
	groups [10][2]int
}

func (e naiveERE) MatchString(s string) bool {
	m := &naiveMatch{s: s}
	if !e.exact {
		m.s = upperASCII(s)
	}
	for i := range len(s) + 1 {
		m.groups = [10][2]int{}
		if e.match(m, i, func(int) bool { return true }) {
			return true
		}
	}
	return false
}

func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 0x20
		}
	}
	return string(b)
}

var errNaive = errors.New("bad expression")

func parseNaive(text string) (naiveERE, error) { return parseNaiveCase(text, false) }

// parseNaiveBasic writes a basic expression as an extended one, which
// parseNaiveCase reads: an operator has a backslash in the one where it has
// none in the other.
func parseNaiveBasic(text string) (e naiveERE, err error) {
	var b strings.Builder
	head, bare, open := true, true, 0 // a branch begins here; so far it has "^" at most
	for i := 0; i < len(text); {
		token := text[i : i+1]
		switch {
		case token == `\` && i+1 < len(text):
			token = text[i : i+2]
		case token == "[":
			if end, _ := bracketEnd(text, i); end < len(text) {
				token = text[i : end+1]
			}
		}
		i += len(token)
		rest, begins, first := text[i:], bare, head
		head = token == `\(` || token == `\|`
		bare = head || first && token == "^"
		switch token {
		case `\(`, `\)`:
			if open++; token == `\)` {
				open -= 2
			}
			if open < 0 {
				return e, errNaive
			}
			b.WriteString(token[1:])
		case `\{`, `\}`, `\|`:
			b.WriteString(token[1:])
		case `\+`, `\?`:
			if begins {
				b.WriteByte('\\')
			}
			b.WriteString(token[1:])
		case "(", ")", "{", "}", "|", "+", "?":
			b.WriteString(`\` + token)
		case "*":
			if begins {
				b.WriteByte('\\')
			}
			b.WriteString(token)
		case "^":
			if !first {
				b.WriteByte('\\')
			}
			b.WriteString(token)
		case "$":
			if rest != "" && !strings.HasPrefix(rest, `\)`) && !strings.HasPrefix(rest, `\|`) {
				b.WriteByte('\\')
			}
			b.WriteString(token)
		default:
			b.WriteString(token)
		}
	}
	return parseNaiveCase(b.String(), true)
}

func parseNaiveCase(text string, exact bool) (e naiveERE, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = errNaive
		}
	}()
	p := &naiveParser{s: text, exact: exact}
	n := p.alternatives(0)
	if p.i < len(p.s) {
		return e, errNaive
	}
	return naiveERE{n, exact}, nil
}

type naiveParser struct {
	s      string
	i      int
	groups int
	exact  bool
}

func (p *naiveParser) more() bool { return p.i < len(p.s) }

func (p *naiveParser) alternatives(depth int) naiveNode {
	alts := []naiveNode{p.sequence(depth)}
	for p.more() && p.s[p.i] == '|' {
		p.i++
		alts = append(alts, p.sequence(depth))
	}
	return func(m *naiveMatch, i int, then func(int) bool) bool {
		for _, a := range alts {
			if a(m, i, then) {
				return true
			}
		}
		return false
	}
}

func (p *naiveParser) sequence(depth int) naiveNode {
	n := naiveNode(func(m *naiveMatch, i int, then func(int) bool) bool { return then(i) })
	for p.more() && p.s[p.i] != '|' && (p.s[p.i] != ')' || depth == 0) {
		first, second := n, p.repeated(depth)
		n = func(m *naiveMatch, i int, then func(int) bool) bool {
			return first(m, i, func(j int) bool { return second(m, j, then) })
		}
	}
	return n
}

func (p *naiveParser) repeated(depth int) naiveNode {
	start := p.i
	n := p.atom(depth)
	if naiveAnchor(p.s[start:p.i]) {
		return n // a repeat has nothing to repeat
	}
	for p.more() {
		lo, hi := 0, -1
		switch p.s[p.i] {
		case '*':
		case '+':
			lo = 1
		case '?':
			hi = 1
		case '{':
			end := strings.IndexByte(p.s[p.i:], '}')
			a, b, comma := strings.Cut(p.s[p.i+1:p.i+end], ",")
			lo = naiveNumber(a, 0)
			if hi = lo; comma {
				hi = naiveNumber(b, -1)
			}
			if a == "" && !comma || hi >= 0 && hi < lo {
				panic(errNaive)
			}
			p.i += end
		default:
			return n
		}
		p.i++
		n = naiveRepeat(n, lo, hi)
	}
	return n
}

func naiveAnchor(s string) bool {
	return s == "^" || s == "$" || len(s) == 2 && s[0] == '\\' && strings.IndexByte("bB<>`'", s[1]) >= 0
}

func naiveNumber(s string, def int) int {
	if s == "" {
		return def
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 32767 {
		panic(errNaive)
	}
	return n
}

func naiveRepeat(n naiveNode, lo, hi int) naiveNode {
	var from func(m *naiveMatch, count, i int, then func(int) bool) bool
	from = func(m *naiveMatch, count, i int, then func(int) bool) bool {
		if hi < 0 || count < hi {
			if n(m, i, func(j int) bool { return (j > i || count < lo) && from(m, count+1, j, then) }) {
				return true
			}
		}
		return count >= lo && then(i)
	}
	return func(m *naiveMatch, i int, then func(int) bool) bool { return from(m, 0, i, then) }
}

func (p *naiveParser) atom(depth int) naiveNode {
	c := p.s[p.i]
	p.i++
	switch c {
	case '*', '+', '?', '{':
		panic(errNaive)
	case '(':
		p.groups++
		g := p.groups
		n := p.alternatives(depth + 1)
		if p.s[p.i] != ')' {
			panic(errNaive)
		}
		p.i++
		return func(m *naiveMatch, i int, then func(int) bool) bool {
			return n(m, i, func(j int) bool {
				if g > 9 {
					return then(j)
				}
				old := m.groups[g]
				m.groups[g] = [2]int{i, j}
				if then(j) {
					return true
				}
				m.groups[g] = old
				return false
			})
		}
	case '^':
		return naiveAt(func(m *naiveMatch, i int) bool { return i == 0 })
	case '$':
		return naiveAt(func(m *naiveMatch, i int) bool { return i == len(m.s) })
	case '.':
		return naiveByte(func(byte) bool { return true })
	case '[':
		return naiveByte(p.bracket())
	case '\\':
		c = p.s[p.i]
		p.i++
		return p.escape(c)
	}
	c = p.folded(c)
	return naiveByte(func(b byte) bool { return b == c })
}

func (p *naiveParser) escape(c byte) naiveNode {
	word := func(m *naiveMatch, i int) bool { return i >= 0 && i < len(m.s) && naiveWord(m.s[i]) }
	edge := func(m *naiveMatch, i int) bool { return word(m, i-1) != word(m, i) }
	switch {
	case c == 'w':
		return naiveByte(naiveWord)
	case c == 'W':
		return naiveByte(func(b byte) bool { return !naiveWord(b) })
	case c == 's':
		return naiveByte(func(b byte) bool { return strings.IndexByte(" \t\n\v\f\r", b) >= 0 })
	case c == 'S':
		return naiveByte(func(b byte) bool { return strings.IndexByte(" \t\n\v\f\r", b) < 0 })
	case c == 'b':
		return naiveAt(edge)
	case c == 'B':
		return naiveAt(func(m *naiveMatch, i int) bool { return !edge(m, i) })
	case c == '<':
		return naiveAt(func(m *naiveMatch, i int) bool { return edge(m, i) && word(m, i) })
	case c == '>':
		return naiveAt(func(m *naiveMatch, i int) bool { return edge(m, i) && !word(m, i) })
	case c == '`':
		return naiveAt(func(m *naiveMatch, i int) bool { return i == 0 })
	case c == '\'':
		return naiveAt(func(m *naiveMatch, i int) bool { return i == len(m.s) })
	case '1' <= c && c <= '9':
		g := int(c - '0')
		if g > p.groups {
			panic(errNaive)
		}
		return func(m *naiveMatch, i int, then func(int) bool) bool {
			t := m.s[m.groups[g][0]:m.groups[g][1]]
			return strings.HasPrefix(m.s[i:], t) && then(i+len(t))
		}
	}
	return naiveByte(func(b byte) bool { return b == c }) // the subject is in upper case: \d never matches
}

func naiveWord(b byte) bool {
	return b == '_' || '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}

func naiveAt(ok func(m *naiveMatch, i int) bool) naiveNode {
	return func(m *naiveMatch, i int, then func(int) bool) bool { return ok(m, i) && then(i) }
}

func naiveByte(ok func(byte) bool) naiveNode {
	return func(m *naiveMatch, i int, then func(int) bool) bool {
		return i < len(m.s) && ok(m.s[i]) && then(i+1)
	}
}

var naiveClasses = map[string]func(b byte) bool{
	"alpha":  func(b byte) bool { return naiveWord(b) && b != '_' && (b < '0' || b > '9') },
	"digit":  func(b byte) bool { return '0' <= b && b <= '9' },
	"alnum":  func(b byte) bool { return naiveWord(b) && b != '_' },
	"upper":  func(b byte) bool { return 'A' <= b && b <= 'Z' },
	"lower":  func(b byte) bool { return 'a' <= b && b <= 'z' },
	"space":  func(b byte) bool { return strings.IndexByte(" \t\n\v\f\r", b) >= 0 },
	"blank":  func(b byte) bool { return b == ' ' || b == '\t' },
	"punct":  func(b byte) bool { return '!' <= b && b <= '~' && (!naiveWord(b) || b == '_') },
	"print":  func(b byte) bool { return ' ' <= b && b <= '~' },
	"graph":  func(b byte) bool { return '!' <= b && b <= '~' },
	"cntrl":  func(b byte) bool { return b < ' ' || b == 0x7f },
	"xdigit": func(b byte) bool { return strings.IndexByte("0123456789abcdefABCDEF", b) >= 0 },
}

// bracket reads a set. A byte is in it if it is in either case.
func (p *naiveParser) bracket() func(byte) bool {
	not := p.s[p.i] == '^'
	if not {
		p.i++
	}
	var set [256]bool
	for first := true; first || p.s[p.i] != ']'; first = false {
		if strings.HasPrefix(p.s[p.i:], "[:") {
			name, _, _ := strings.Cut(p.s[p.i+2:], ":]")
			in := naiveClasses[name]
			for b := range 256 {
				set[b] = set[b] || in(byte(b))
			}
			p.i += len(name) + 4
			continue
		}
		if !first && p.s[p.i] == '-' && p.s[p.i+1] != ']' {
			panic(errNaive)
		}
		lo := p.element()
		hi := lo
		if p.s[p.i] == '-' && p.s[p.i+1] != ']' {
			if p.i++; strings.HasPrefix(p.s[p.i:], "[:") || strings.HasPrefix(p.s[p.i:], "[=") {
				panic(errNaive)
			}
			hi = p.element()
		}
		if p.folded(hi) < p.folded(lo) {
			panic(errNaive)
		}
		for b := int(lo); b <= int(hi); b++ {
			set[b] = true
		}
	}
	p.i++
	return func(b byte) bool {
		in := set[b] || !p.exact && 'A' <= b && b <= 'Z' && set[b+0x20]
		return in != not
	}
}

// folded is the byte by which the ends of a range are compared.
func (p *naiveParser) folded(b byte) byte {
	if p.exact {
		return b
	}
	return upperASCII(string([]byte{b}))[0]
}

// element reads a byte, or one that is named by itself. The C locale has no
// other names.
func (p *naiveParser) element() byte {
	for _, q := range []string{".", "="} {
		if strings.HasPrefix(p.s[p.i:], "["+q) {
			name, _, _ := strings.Cut(p.s[p.i+2:], q+"]")
			p.i += len(name) + 4
			if len(name) != 1 {
				panic(errNaive)
			}
			return name[0]
		}
	}
	p.i++
	return p.s[p.i-1]
}

// ereRefused reports whether decision rule-ere refuses a valid expression.
// It reads the text on its own: brackets, escapes and repeats are all it
// needs to know.
func ereRefused(text string, basic bool) bool {
	repeats := []int{1} // the highest product so far, in each open group
	last := 1           // that of what a repeat would repeat
	for i := 0; i < len(text); i++ {
		op := string(text[i])
		if text[i] == '\\' {
			i++
			if i == len(text) || strings.Contains("123456789<>acdefghijklmnopqrtuvxyz", text[i:i+1]) {
				return i < len(text)
			}
			op = `\` + text[i:i+1]
		}
		if basic {
			op = map[string]string{`\(`: "(", `\)`: ")", `\{`: "{", "[": "[", "*": "*"}[op]
		}
		top := len(repeats) - 1
		switch op {
		case "[":
			end, named := bracketEnd(text, i)
			if named {
				return true
			}
			i, last = end, 1
		case "(":
			repeats = append(repeats, 1)
		case ")":
			last = 1 // it closes nothing: a character
			if top > 0 {
				last = repeats[top]
				repeats = repeats[:top]
			}
		case "{":
			last *= highest(text[i:])
		case "*", "+", "?":
		default:
			last = 1
		}
		repeats[len(repeats)-1] = max(repeats[len(repeats)-1], last)
		if last > 1000 {
			return true
		}
	}
	return false
}

// bracketEnd finds the end of the brackets at i, and whether an element in
// them is named.
func bracketEnd(text string, i int) (end int, named bool) {
	for j := i + 1; j < len(text); j++ {
		switch {
		case text[j] == ']' && strings.Trim(text[i+1:j], "^") != "", text[j] == ']' && j > i+2:
			return j, named
		case text[j] == '[' && j+2 < len(text) && strings.Contains(".:=", text[j+1:j+2]):
			n := strings.Index(text[j+2:], text[j+1:j+2]+"]")
			if n < 0 {
				return len(text), named
			}
			named = named || n != 1 && text[j+1] != ':'
			j += n + 3
		}
	}
	return len(text), named
}

// highest is the highest number of the interval at the beginning of s.
func highest(s string) int {
	n := 1
	end := strings.IndexByte(s, '}')
	for _, f := range strings.FieldsFunc(s[:max(end, 0)], func(r rune) bool { return r < '0' || r > '9' }) {
		if v, err := strconv.Atoi(f); err == nil {
			n = max(n, v)
		}
	}
	return n
}
