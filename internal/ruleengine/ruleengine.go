// Package ruleengine finds the first of many rules that matches a pair of
// texts, with all their regular expressions at once.
//
// A [Rule] has two sides. A side lists expressions, of which one must match
// its text, or ALL, and exceptions, of which none may. Every expression is
// asked in the end, or known to match: the answer is that of asking one rule
// after the other. What makes it fast is that most rules are never looked at.
//
//	rule  left side                 right side          found by
//	0     @a\.com$                  ALL                 "@a.comZ" on the left
//	1     .*@b\.com                 ^sip:\+?39          "@b.com" on the left
//	2     .*@b\.com                 ^sip:\+?40          "Asip:40" or "Asip:+40" on the right,
//	      ... and 500 rules alike                       where fewer rules share a factor
//	3     ^sip:[0-9]+@              [13579]$            nothing: in a block
//
//	text of the left ──► index of factors ──┐              (factor.go, index.go)
//	text of the right ─► index of factors ──┤
//	both ──► blocks: automata of up to 63 ──┴─► candidates  (block.go, dfa.go)
//	         expressions without a factor
//	candidate ─► its expressions and exceptions one by one  (match.go, dfa.go)
//	          ─► the first so far: only rules before it are looked at from now on
//
// Expressions that are nothing but their factors, such as @a\.com$, are matched
// by comparing strings, others by automata (dfa.go). All structures are slices
// without pointers, so that the garbage collector does not look into them.
package ruleengine

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/sipacl/sipacl/internal/byteset"
)

// Rule is a rule to match.
type Rule struct{ Left, Right Side }

// Side is one side of a rule: a text matches it if one of Any matches, or All
// is set, and none of Except does. They are numbers that [Builder.Expression]
// gave. The zero Side matches nothing.
type Side struct {
	All         bool
	Any, Except []uint32
}

// Text is what a side is asked about, in one or two spellings: a side matches
// if it matches one of them, its exceptions included. Two equal ones are one.
type Text struct{ Plain, Canonical string }

// The sides of a rule.
const (
	left = iota
	right
)

// Engine is an immutable set of rules. It is safe for concurrent use. The zero
// Engine has no rules.
type Engine struct {
	rules    []uint32      // of each rule the lengths of its four lists, and they
	ruleAt   []uint32      // where each rule begins in rules
	certain  uint32        // the first rule that matches everything, else how many there are
	exprs    []expression  // by number
	literals []byte        // see appendLiteral
	lists    []uint32      // lists of rules, each behind its length
	index    [2]index      // of the sides
	blocks   []block       // of the rules that have no factor
	grouped  []grouped     // the rules of blocks
	program  []instruction // of all expressions that need an automaton
	sets     []byteset.Set // of bytes, for program
	machines []machine     // the automata, without their states
	members  []uint32      // the expressions of machines
	code     [256]byte     // the alphabet: bytes that no expression tells apart have one code
	sample   [256]byte     // a byte of each code
	codes    int           // how many they are
	few      bool          // expressions stand in so few places that each is asked
	lines    bool          // an expression knows about line ends
	words    bool          // or about words
	arena    atomic.Pointer[arena]
	maker    maker
	walkers  sync.Pool
	bitmaps  sync.Pool
}

// expression is an expression that was added.
type expression struct {
	kind     kind
	anchored bool   // it can match at the beginning of a text only
	count    uint16 // how many literals it has
	first    uint32 // its program is program[first:last],
	last     uint32 // its literals begin at literals[first]
	machine  uint32 // its automaton
}

type kind uint8

const (
	never     kind = iota // it matches nothing
	always                // everything
	byLiteral             // the texts that hold one of its literals
	byMachine             // what its automaton says
)

// Find returns the first rule that matches, -1 if none does, and the spellings
// that it matches, the plain one if it matches both. It allocates nothing
// where automata have the states they need.
func (e *Engine) Find(l, r Text) (rule int, matchedLeft, matchedRight string) {
	switch {
	case len(e.ruleAt) == 0:
		return -1, "", ""
	case e.certain == 0:
		return 0, l.Plain, r.Plain
	}
	s := e.search(l, r)
	s.stop = e.certain
	s.run()
	if int(s.stop) == len(e.ruleAt) {
		return -1, "", ""
	}
	return int(s.stop), s.spelling(s.stop, left), s.spelling(s.stop, right)
}

// Each calls f with each rule that matches, in order, until it returns false.
func (e *Engine) Each(l, r Text, f func(rule int) bool) {
	var found [window / 64]uint64
	s := e.search(l, r)
	n := uint32(len(e.ruleAt))
	for from := uint32(0); from < n; from += window {
		clear(found[:])
		s.found, s.from, s.stop = found[:], from, min(from+window, n)
		s.run()
		for i := from; i < s.stop; i++ {
			if found[(i-from)>>6]>>(i&63)&1 != 0 && !f(int(i)) {
				return
			}
		}
	}
}

// window is how many rules Each looks for at a time.
const window = 4096

// search is one search for rules.
type search struct {
	*Engine
	texts      [2][2]string // of the sides, in their spellings
	spellings  [2]int
	from, stop uint32   // rules from <= r < stop are looked for
	found      []uint64 // if not nil, a bit for each of them; else stop becomes the first one
	tried      tried
}

func (e *Engine) search(l, r Text) search {
	s := search{Engine: e, spellings: [2]int{1, 1}}
	for side, t := range [...]Text{l, r} {
		s.texts[side] = [2]string{t.Plain, t.Canonical}
		if t.Plain != t.Canonical {
			s.spellings[side] = 2
		}
	}
	return s
}

func (s *search) run() {
	if s.few || s.lines && s.hasNewline() {
		s.every()
		return
	}
	for side := range s.index {
		for spelling := range s.spellings[side] {
			s.scan(side, spelling)
		}
	}
	s.runBlocks()
}

func (s *search) hasNewline() bool {
	for side := range s.texts {
		for _, text := range s.texts[side] {
			if strings.IndexByte(text, '\n') >= 0 {
				return true
			}
		}
	}
	return false
}

// every tries one rule after the other.
func (s *search) every() {
	for r := s.from; r < s.stop; r++ {
		if s.rule(r, none, none) {
			s.accept(r)
		}
	}
}

// accept takes a rule that matches.
func (s *search) accept(r uint32) {
	if s.found == nil {
		s.stop = r
		return
	}
	s.found[(r-s.from)>>6] |= 1 << (r & 63)
}

// none is no side, and no spelling.
const none = -1

// rule reports whether rule r matches. One of the expressions of a side is
// known to match a spelling of its text, unless these are none.
func (s *search) rule(r uint32, side, spelling int) bool {
	if r < s.from || s.found != nil && s.found[(r-s.from)>>6]>>(r&63)&1 != 0 {
		return false
	}
	known := [2]int{none, none}
	if side != none {
		known[side] = spelling
	}
	return s.side(r, left, known[left]) && s.side(r, right, known[right])
}

// side reports whether a side of rule r matches a spelling. For that of known
// one of its expressions does.
func (s *search) side(r uint32, side, known int) bool {
	list, except := s.listsOf(r, side)
	for spelling := range s.spellings[side] {
		text := s.texts[side][spelling]
		if (spelling == known || len(list) == 0 || s.matchesAny(list, text)) && !s.matchesAny(except, text) {
			return true
		}
	}
	return false
}

// spelling gives the first spelling that a side of rule r, which matches one,
// matches.
func (s *search) spelling(r uint32, side int) string {
	n := s.spellings[side]
	if n == 2 {
		s.spellings[side] = 1
		if !s.side(r, side, none) {
			return s.texts[side][1]
		}
	}
	return s.texts[side][0]
}

// listsOf gives the lists of a side of rule r. No expressions are ALL.
func (e *Engine) listsOf(r uint32, side int) (list, except []uint32) {
	at := e.ruleAt[r]
	lens := e.rules[at : at+4 : at+4]
	at += 4
	if side == right {
		at += lens[0] + lens[1]
	}
	n := lens[2*side]
	return e.rules[at : at+n], e.rules[at+n : at+n+lens[2*side+1]]
}

func (e *Engine) matchesAny(list []uint32, text string) bool {
	for _, x := range list {
		if e.matches(x, text) {
			return true
		}
	}
	return false
}

// matches reports whether expression x matches text.
func (e *Engine) matches(x uint32, text string) bool {
	switch ex := &e.exprs[x]; ex.kind {
	case always:
		return true
	case byLiteral:
		return e.matchesLiteral(ex, text)
	case byMachine:
		return e.match(ex.machine, text) != 0
	}
	return false
}
