package ruleengine

import (
	"regexp/syntax"
	"strings"

	"github.com/sipacl/sipacl/internal/byteset"
)

// A factor is a string of symbols that occurs in every text an expression
// matches. A symbol is a byte in lower case, or one of two sentinels: the text
// "sip:Bob@B.com" is the symbols "Asip:bob@b.comZ". Capitals are free to be
// sentinels because a folded text has none.
//
//	^sip:.*@b\.com$      "Asip:" and "@b.comZ": one of them will do
//	(alice|bob)@b\.com   "alice@b.com" or "bob@b.com": the text has one of both
//	^[0-9]+$             none
//
// Texts with a line end never come here where expressions know about lines, so
// that ^ and $ are the ends of the text in either kind.
const (
	begin = 'A'
	end   = 'Z'
)

// Limits that keep analysis, index and search bounded.
const (
	maxFactor  = 64 // symbols of a factor: a search looks no further from any place
	maxFactors = 32 // factors of an expression, of which a text has one
	maxClass   = 4  // symbols of a class that are written out
)

// facts tell what is known about the symbols that a part of an expression
// matches. A set lists alternatives: each match has one of them. An empty set
// that is not nil says that there is no match.
type facts struct {
	whole  []string // all there are; nil if they are too many
	exact  bool     // and each of whole is a match
	head   []string // it begins so; {""} says nothing; meant if whole is nil
	tail   []string // it ends so
	inside []string // it holds this; nil says nothing
	empty  bool     // or, beside all that, it is empty
}

var (
	nothing  = []string{""}
	anything = facts{head: nothing, tail: nothing}
)

func only(s ...string) facts { return facts{whole: s, exact: true} }

func (f *facts) heads() []string { return f.either(f.head) }
func (f *facts) tails() []string { return f.either(f.tail) }

// either gives whole or, without it, set and what is empty.
func (f *facts) either(set []string) []string {
	if f.whole != nil {
		return f.whole
	}
	if f.empty {
		return orNothing(union(set, nothing))
	}
	return set
}

func orNothing(set []string) []string {
	if set == nil {
		return nothing
	}
	return set
}

// required gives the most telling set.
func (f *facts) required() []string {
	if f.whole != nil {
		return f.whole
	}
	if f.empty {
		return nothing
	}
	return telling(f.head, f.tail, f.inside)
}

// analyse finds the facts of an expression.
func analyse(re *syntax.Regexp) facts {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return only("")
	case syntax.OpNoMatch:
		return facts{whole: []string{}, exact: true}
	case syntax.OpLiteral:
		return literal(re)
	case syntax.OpCharClass:
		set := classOf(re.Rune)
		return class(&set)
	case syntax.OpBeginText, syntax.OpBeginLine:
		return only(string(begin))
	case syntax.OpEndText, syntax.OpEndLine:
		return only(string(end))
	case syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		return facts{whole: nothing}
	case syntax.OpCapture:
		return analyse(re.Sub[0])
	case syntax.OpConcat:
		f := only("")
		for _, sub := range re.Sub {
			f = concat(f, analyse(sub))
		}
		return f
	case syntax.OpAlternate:
		f := analyse(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			f = either(f, analyse(sub))
		}
		return f
	case syntax.OpQuest:
		return optional(analyse(re.Sub[0]))
	case syntax.OpPlus:
		return repeated(analyse(re.Sub[0]), 1, -1)
	case syntax.OpRepeat:
		return repeated(analyse(re.Sub[0]), re.Min, re.Max)
	}
	return anything
}

// literal gives the facts of a run of characters.
func literal(re *syntax.Regexp) facts {
	symbols := make([]byte, len(re.Rune))
	exact := true
	for i, r := range re.Rune {
		if r >= 0x80 {
			return oddLiteral(re)
		}
		symbols[i] = fold[r]
		exact = exact && (re.Flags&syntax.FoldCase != 0 || !letter(symbols[i]))
	}
	if n := len(symbols); n > maxFactor {
		head, tail := []string{string(symbols[:maxFactor])}, []string{string(symbols[n-maxFactor:])}
		return facts{head: head, tail: tail}
	}
	return facts{whole: []string{string(symbols)}, exact: exact}
}

// oddLiteral is literal where characters beyond ASCII may fold into others.
func oddLiteral(re *syntax.Regexp) facts {
	f := only("")
	for _, r := range re.Rune {
		set := runeSet(r, re.Flags&syntax.FoldCase != 0)
		f = concat(f, class(&set))
	}
	return f
}

// class gives the facts of one character out of a set.
func class(set *byteset.Set) facts {
	f := facts{whole: []string{}, exact: true}
	if set.Count() > 2*maxClass {
		return anything
	}
	set.Ranges(func(lo, hi byte) {
		for c := int(lo); c <= int(hi); c++ {
			s := fold[c]
			twin := set.Has(s) && (!letter(s) || set.Has(s-'a'+'A'))
			if byte(c) == s || !twin {
				f.whole = append(f.whole, string([]byte{s}))
			}
			f.exact = f.exact && twin
		}
	})
	if len(f.whole) > maxClass {
		return anything
	}
	return f
}

// classOf gives the bytes of a class: of the ranges that runes bound.
func classOf(runes []rune) (set byteset.Set) {
	for i := 0; i < len(runes) && runes[i] <= 0xff; i += 2 {
		set.AddRange(byte(runes[i]), byte(min(runes[i+1], 0xff)))
	}
	return set
}

// concat gives the facts of a and b after it.
func concat(a, b facts) facts {
	if whole := product(a.whole, b.whole); whole != nil {
		return facts{whole: whole, exact: a.exact && b.exact}
	}
	f := facts{head: a.head, tail: b.tail, empty: a.empty && b.empty}
	if a.whole != nil {
		f.head = product(a.whole, b.heads())
	} else if a.empty {
		f.head = union(a.head, b.heads())
	}
	if f.head == nil {
		f.head = a.heads()
	}
	if b.whole != nil {
		f.tail = product(a.tails(), b.whole)
	} else if b.empty {
		f.tail = union(b.tail, a.tails())
	}
	if f.tail == nil {
		f.tail = b.tails()
	}
	f.inside = telling(a.required(), b.required(), product(a.tails(), b.heads()))
	return f
}

// either gives the facts of a or b.
func either(a, b facts) facts {
	if whole := union(a.whole, b.whole); whole != nil {
		return facts{whole: whole, exact: a.exact && b.exact}
	}
	return facts{
		head:   orNothing(union(a.heads(), b.heads())),
		tail:   orNothing(union(a.tails(), b.tails())),
		inside: union(a.required(), b.required()),
	}
}

// optional gives the facts of a or nothing.
func optional(a facts) facts {
	if a.whole == nil {
		return facts{head: a.head, tail: a.tail, empty: true}
	}
	return either(a, only(""))
}

// repeated gives the facts of a, repeated from least to most times, without
// end if most is negative.
func repeated(a facts, least, most int) facts {
	if most == 0 {
		return only("")
	}
	if least == 0 {
		if most == 1 {
			return optional(a)
		}
		return anything
	}
	if a.whole == nil {
		return facts{head: a.heads(), tail: a.tails(), inside: a.inside}
	}
	all, n := a.whole, 1
	for ; n < least; n++ {
		more := product(all, a.whole)
		if more == nil {
			break
		}
		all = more
	}
	if n == most {
		return facts{whole: all, exact: a.exact}
	}
	return facts{head: all, tail: all}
}

// product gives each of a followed by each of b; nil if one is nil or they
// are too many or too long.
func product(a, b []string) []string {
	if a == nil || b == nil || len(a)*len(b) > maxFactors {
		return nil
	}
	all := make([]string, 0, len(a)*len(b))
	for _, x := range a {
		for _, y := range b {
			s, ok := join(x, y)
			if len(s) > maxFactor {
				return nil
			}
			if ok {
				all = add(all, s)
			}
		}
	}
	return all
}

// join gives the symbols of x followed by y. ok is false if no text has them:
// nothing comes before its beginning or after its end.
func join(x, y string) (s string, ok bool) {
	if x == "" || y == "" {
		return x + y, true
	}
	before, after := x[len(x)-1], y[0]
	switch {
	case before == end && after == end, before == begin && after == begin:
		return x + y[1:], true
	case before == end && after == begin: // the empty text
		return "AZ", len(strings.Trim(x+y, "AZ")) == 0
	case before == end, after == begin:
		return "", false
	}
	return x + y, true
}

// union gives what is in a or b; nil if one is nil or they are too many.
func union(a, b []string) []string {
	if a == nil || b == nil {
		return nil
	}
	all := make([]string, 0, len(a)+len(b))
	all = append(all, a...)
	for _, s := range b {
		all = add(all, s)
	}
	if len(all) > maxFactors {
		return nil
	}
	return all
}

func add(set []string, s string) []string {
	for _, t := range set {
		if s == t {
			return set
		}
	}
	return append(set, s)
}

// telling gives the set that fewest texts have, as far as its strings show.
func telling(sets ...[]string) (best []string) {
	most := -1
	for _, set := range sets {
		if set == nil {
			continue
		}
		if n := information(set); n > most || n == most && len(set) < len(best) {
			best, most = set, n
		}
	}
	return best
}

// information counts the symbols that tell texts apart, in the string of the
// set that has fewest. What every URI has counts for nothing.
func information(set []string) int {
	least := maxFactor
	for _, s := range set {
		least = min(least, informative(s))
	}
	return least
}

func informative(s string) (n int) {
	for _, common := range [...]string{"Asips:", "Asip:", "sip:"} {
		if strings.HasPrefix(common, s) {
			return 0
		}
		if rest, ok := strings.CutPrefix(s, common); ok {
			s = rest
			break
		}
	}
	for i := range len(s) {
		if s[i] != begin && s[i] != end && !landmark(s[i]) {
			n++
		}
	}
	return n
}

// landmark tells the bytes that most texts have a few times. Factors that begin
// with one are found without a look at the rest of the text.
func landmark(c byte) bool { return c == '@' || c == '.' }

const landmarkBytes = "@."

// fromLandmark cuts each factor before its first landmark; nil if one has
// none, or if nothing is won.
func fromLandmark(set []string) []string {
	cut := make([]string, 0, len(set))
	won := false
	for _, s := range set {
		i := strings.IndexAny(s, landmarkBytes)
		if i < 0 || s[0] == begin {
			return nil
		}
		won = won || i > 0
		cut = add(cut, s[i:])
	}
	if !won || information(cut) < usable {
		return nil
	}
	return cut
}

// usable is the least information that makes a factor worth looking for. With
// less, texts that have it are as frequent as matches of no literal at all.
const usable = 2

// matchesEmpty reports whether re matches the empty string anywhere, and thus
// every text.
func matchesEmpty(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpStar, syntax.OpQuest:
		return true
	case syntax.OpRepeat:
		return re.Min == 0 || matchesEmpty(re.Sub[0])
	case syntax.OpPlus, syntax.OpCapture:
		return matchesEmpty(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			if !matchesEmpty(sub) {
				return false
			}
		}
		return true
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if matchesEmpty(sub) {
				return true
			}
		}
	}
	return false
}

// fold brings bytes into lower case.
var fold = func() (t [256]byte) {
	for c := range t {
		t[c] = byte(c)
		if 'A' <= c && c <= 'Z' {
			t[c] += 'a' - 'A'
		}
	}
	return t
}()

func letter(c byte) bool { return 'a' <= c && c <= 'z' }
