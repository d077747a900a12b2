package ere

import (
	"slices"
	"strings"
)

// A twin matches an expression by following all of its ways at once: from
// the offsets where a part may begin it makes those where the part may end.
// It is the meaning of a translation; when the two differ, Translate is wrong.
//
// It ignores case as the C library does, by comparing in upper case.
type twin func(s string, from offsets) (to offsets)

// offsets tells for each offset of the subject whether it is in the set.
type offsets []bool

// match reports whether t matches anywhere in s.
func (t twin) match(s string) bool {
	from := make(offsets, len(s)+1)
	for i := range from {
		from[i] = true
	}
	return slices.Contains(t(s, from), true)
}

func (o offsets) or(p offsets) (all offsets) {
	for i := range o {
		all = append(all, o[i] || p[i])
	}
	return all
}

func then(a, b twin) twin {
	return func(s string, from offsets) offsets { return b(s, a(s, from)) }
}

func either(a, b twin) twin {
	return func(s string, from offsets) offsets { return a(s, from).or(b(s, from)) }
}

func nothing(_ string, from offsets) offsets { return from }

// times is t from lo to hi times; hi < 0 is any number.
func times(t twin, lo, hi int) twin {
	return func(s string, from offsets) offsets {
		for range lo {
			from = t(s, from)
		}
		all := from
		for n := lo; hi < 0 || n < hi; n++ {
			from = t(s, from)
			next := all.or(from)
			if slices.Equal(next, all) {
				break // and so it stays
			}
			all = next
		}
		return all
	}
}

// where is an anchor.
func where(holds func(s string, i int) bool) twin {
	return func(s string, from offsets) offsets {
		to := make(offsets, len(from))
		for i := range from {
			to[i] = from[i] && holds(s, i)
		}
		return to
	}
}

// one is a single byte.
func one(in func(c byte) bool) twin {
	return func(s string, from offsets) offsets {
		to := make(offsets, len(from))
		for i := range len(s) {
			to[i+1] = from[i] && in(s[i])
		}
		return to
	}
}

// twinParser reads an expression for its twin, token by token. It panics with
// a twinError.
type twinParser struct {
	Options
	tokens []token
}

// twinError says why there is no twin: invalid, or not to be had.
type twinError string

// A token is an operator or, with op 0, a byte. text is what it was made of.
type token struct {
	op   byte
	c    byte
	text string
}

func newTwin(text string, o Options) (t twin, err twinError) {
	defer func() {
		if e, ok := recover().(twinError); ok {
			err = e
		}
	}()
	p := twinParser{Options: o, tokens: scan(text, o.Basic)}
	t = p.alternatives(0)
	if len(p.tokens) > 0 {
		panic(twinError("invalid"))
	}
	return t, ""
}

// scan makes tokens of the text; '[' holds a whole bracket expression, 'i'
// an interval, 'e' another escape.
func scan(text string, basic bool) (tokens []token) {
	for text != "" {
		n, t := 1, token{c: text[0]}
		switch {
		case text[0] == '[':
			n = bracketLen(text)
			t.op = '['
		case text[0] == '\\' && len(text) == 1:
			panic(twinError("invalid"))
		case text[0] == '\\':
			n = 2
			t = token{op: 'e', c: text[1]}
			if basic && strings.IndexByte("(){}|+?", text[1]) >= 0 {
				t = token{op: text[1], c: text[1]}
			}
		case strings.IndexByte("*.^$", text[0]) >= 0:
			t.op = text[0]
		case !basic && strings.IndexByte("(){}|+?", text[0]) >= 0:
			t.op = text[0]
		}
		t.text = text[:n]
		tokens = append(tokens, t)
		text = text[n:]
	}
	return tokens
}

func bracketLen(s string) int {
	i := 1
	if strings.HasPrefix(s[i:], "^") {
		i++
	}
	if strings.HasPrefix(s[i:], "]") {
		i++
	}
	for i < len(s) && s[i] != ']' {
		if s[i] == '[' && i+1 < len(s) && strings.IndexByte(".:=", s[i+1]) >= 0 {
			n := strings.Index(s[i+2:], s[i+1:i+2]+"]")
			if n < 0 {
				panic(twinError("invalid"))
			}
			i += n + 3
		}
		i++
	}
	if i >= len(s) {
		panic(twinError("invalid"))
	}
	return i + 1
}

func (p *twinParser) next() (t token) {
	if len(p.tokens) > 0 {
		t = p.tokens[0]
	}
	return t
}

func (p *twinParser) skip(op byte) bool {
	ok := len(p.tokens) > 0 && p.tokens[0].op == op
	if ok {
		p.tokens = p.tokens[1:]
	}
	return ok
}

func (p *twinParser) ends(depth int) bool {
	return len(p.tokens) == 0 || p.next().op == '|' || p.next().op == ')' && (depth > 0 || p.Basic)
}

func (p *twinParser) alternatives(depth int) twin {
	t := p.sequence(depth)
	for p.skip('|') {
		t = either(t, p.sequence(depth))
	}
	return t
}

func (p *twinParser) sequence(depth int) twin {
	all := twin(nothing)
	for first := true; !p.ends(depth); first = false {
		tok := p.next()
		p.tokens = p.tokens[1:]
		if a := p.anchor(tok, first, depth); a != nil {
			all = then(all, a)
			continue
		}
		all = then(all, p.repeats(p.single(tok, depth)))
	}
	return all
}

func (p *twinParser) anchor(t token, first bool, depth int) twin {
	begin := func(_ string, i int) bool { return i == 0 }
	end := func(s string, i int) bool { return i == len(s) }
	word := func(s string, i int) bool {
		in := func(i int) bool { return i >= 0 && i < len(s) && isWord(s[i]) }
		return in(i-1) != in(i)
	}
	switch {
	case t.op == '^' && (first || !p.Basic):
		return where(func(s string, i int) bool { return begin(s, i) || p.Newline && s[i-1] == '\n' })
	case t.op == '$' && (!p.Basic || p.ends(depth)):
		return where(func(s string, i int) bool { return end(s, i) || p.Newline && s[i] == '\n' })
	case t.op != 'e':
		return nil
	case t.c == '`':
		return where(begin)
	case t.c == '\'':
		return where(end)
	case t.c == 'b':
		return where(word)
	case t.c == 'B':
		return where(func(s string, i int) bool { return !word(s, i) })
	}
	return nil
}

func (p *twinParser) single(t token, depth int) twin {
	switch t.op {
	case '(':
		in := p.alternatives(depth + 1)
		if !p.skip(')') {
			panic(twinError("invalid"))
		}
		return in
	case '[':
		return one(p.bracketTwin(t.text))
	case '.':
		return one(func(c byte) bool { return c != '\n' || !p.Newline })
	case 'e':
		return p.escaped(t.c)
	case '{':
		panic(twinError("invalid"))
	case '*', '+', '?':
		if !p.Basic {
			panic(twinError("invalid"))
		}
	}
	return p.byte(t.c)
}

func (p *twinParser) escaped(c byte) twin {
	switch {
	case strings.IndexByte("123456789<>", c) >= 0, strings.IndexByte("acdefghijklmnopqrtuvxyz", c) >= 0:
		panic(twinError("not to be had"))
	case c == 'w':
		return one(isWord)
	case c == 'W':
		return one(func(c byte) bool { return !isWord(c) })
	case c == 's':
		return one(func(c byte) bool { return inClass("space", c) })
	case c == 'S':
		return one(func(c byte) bool { return !inClass("space", c) })
	}
	return p.byte(c)
}

func (p *twinParser) byte(c byte) twin {
	return one(func(d byte) bool { return p.fold(c) == p.fold(d) })
}

func (p *twinParser) fold(c byte) byte {
	if !p.CaseSensitive && inClass("lower", c) {
		return c - 32
	}
	return c
}

func isWord(c byte) bool { return c == '_' || inClass("alnum", c) }

// repeats takes the repeats after t. The translation multiplies nested
// ones; the twin is asked with short texts and few.
func (p *twinParser) repeats(t twin) twin {
	for n := 0; ; n++ {
		switch {
		case p.Basic && n > 0 && (p.next().op == '*' || p.next().op == '{'):
			panic(twinError("invalid"))
		case p.skip('*'):
			t = times(t, 0, -1)
		case p.skip('+'):
			t = times(t, 1, -1)
		case p.skip('?'):
			t = times(t, 0, 1)
		case p.skip('{'):
			t = p.interval(t)
		default:
			return t
		}
	}
}

func (p *twinParser) interval(t twin) twin {
	var in strings.Builder
	for len(p.tokens) > 0 && p.next().op != '}' {
		in.WriteString(p.next().text)
		p.tokens = p.tokens[1:]
	}
	lo, hi, comma := strings.Cut(in.String(), ",")
	low, high := decimal(lo), decimal(hi)
	switch {
	case !p.skip('}'), low < 0 && !comma, strings.Trim(lo+hi, "0123456789") != "", high >= 0 && low > high:
		panic(twinError("invalid"))
	case max(low, high) > maxRepeat:
		panic(twinError("not to be had"))
	case !comma:
		high = low
	}
	return times(t, max(low, 0), high)
}

// decimal is the number s, -1 if s is empty.
func decimal(s string) int {
	n := -1
	for _, c := range []byte(s) {
		n = min(10*max(n, 0)+int(c-'0'), maxRepeat+1)
	}
	return n
}

// bracketTwin asks each byte of the range [lo-hi] instead of making a set.
func (p *twinParser) bracketTwin(text string) func(byte) bool {
	in := text[1 : len(text)-1]
	in, not := strings.CutPrefix(in, "^")
	holds := func(byte) bool { return false }
	for first := true; in != ""; first = false {
		if !first && in[0] == '-' && len(in) > 1 {
			panic(twinError("invalid"))
		}
		lo, what, n := p.element(in)
		in = in[n:]
		before := holds
		if len(in) > 1 && in[0] == '-' {
			hi, end, n := p.element(in[1:])
			if what != "" || end != "" || p.fold(hi) < p.fold(lo) {
				panic(twinError("invalid"))
			}
			in = in[1+n:]
			holds = func(c byte) bool {
				return before(c) || p.fold(lo) <= p.fold(c) && p.fold(c) <= p.fold(hi)
			}
			continue
		}
		holds = func(c byte) bool {
			switch {
			case what == "" || what == "=":
				return before(c) || p.fold(c) == p.fold(lo)
			case !p.CaseSensitive && (what == "upper" || what == "lower"):
				return before(c) || inClass("alpha", c)
			}
			return before(c) || inClass(what, c)
		}
	}
	return func(c byte) bool {
		if not && p.Newline && c == '\n' {
			return false
		}
		return holds(c) != not
	}
}

// element is a byte, or the name of a class in what.
func (p *twinParser) element(s string) (c byte, what string, n int) {
	if s[0] != '[' || len(s) == 1 || strings.IndexByte(".:=", s[1]) < 0 {
		return s[0], "", 1
	}
	name := s[2 : 2+strings.Index(s[2:], s[1:2]+"]")]
	n = len(name) + 4
	switch {
	case s[1] == ':' && strings.Contains(" alpha digit alnum upper lower space blank punct xdigit cntrl graph print ", " "+name+" "):
		return 0, name, n
	case s[1] == ':' || len(name) != 1:
		panic(twinError("invalid"))
	case s[1] == '=':
		return name[0], "=", n
	}
	return name[0], "", n
}

// inClass is the character class as POSIX tables it for the C locale.
func inClass(name string, c byte) bool {
	const lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
	const punct = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	return strings.IndexByte(map[string]string{
		"alpha": lower + upper, "digit": digits, "alnum": lower + upper + digits,
		"upper": upper, "lower": lower, "space": " \t\n\v\f\r", "blank": " \t", "punct": punct,
		"xdigit": digits + "abcdefABCDEF", "graph": lower + upper + digits + punct,
		"print": lower + upper + digits + punct + " ",
		"cntrl": "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\v\f\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f\x7f",
	}[name], c) >= 0
}
