package ruleengine

import (
	"math/bits"
	"regexp/syntax"
	"slices"
	"unicode"

	"github.com/sipacl/sipacl/internal/byteset"
)

// Programs are what the automata are made of: the instructions of all
// expressions that need one, in one slice.
//
//	a(b|c)$     0  byte  {A a}      next 1
//	            1  split            next 2, or 3
//	            2  byte  {B b}      next 4
//	            3  byte  {C c}      next 4
//	            4  if at the end    next 5
//	            5  match of expression 0
//
// Bytes are the characters of Latin-1, as in the expressions.
type instruction struct {
	code uint32 // the operation in the top two bits, below it where to go on
	arg  uint32
}

const (
	opByte  = iota // arg is the number of a set of bytes
	opSplit        // go on at next and at arg
	opIf           // arg is the syntax.EmptyOp that must hold
	opMatch        // arg is the number of the expression
)

const maxInstructions = 1 << 30

func (in instruction) op() uint32   { return in.code >> 30 }
func (in instruction) next() uint32 { return in.code & (maxInstructions - 1) }

func makeInstruction(op, next, arg uint32) instruction { return instruction{op<<30 | next, arg} }

// programmer translates programs of package syntax.
type programmer struct {
	program []instruction
	sets    []byteset.Set
	numbers map[byteset.Set]uint32 // of sets
	used    syntax.EmptyOp         // all conditions that occur
}

// add appends the program of re, which matches expression number x.
func (p *programmer) add(re *syntax.Regexp, x uint32) (first, last uint32, err error) {
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0, 0, err
	}
	first = uint32(len(p.program))
	at := make([]uint32, len(prog.Inst)) // where each instruction goes
	n := first + 1
	for i := range prog.Inst {
		at[i] = n
		if !idle(&prog.Inst[i]) {
			n++
		}
	}
	target := func(i uint32) uint32 {
		for idle(&prog.Inst[i]) {
			i = prog.Inst[i].Out
		}
		return at[i]
	}
	way := target(uint32(prog.Start))
	p.program = append(p.program, makeInstruction(opSplit, way, way)) // the way in is the first one
	for i := range prog.Inst {
		in := &prog.Inst[i]
		switch in.Op {
		case syntax.InstNop, syntax.InstCapture: // idle
		case syntax.InstAlt, syntax.InstAltMatch:
			p.program = append(p.program, makeInstruction(opSplit, target(in.Out), target(in.Arg)))
		case syntax.InstEmptyWidth:
			p.used |= syntax.EmptyOp(in.Arg)
			p.program = append(p.program, makeInstruction(opIf, target(in.Out), in.Arg))
		case syntax.InstMatch:
			p.program = append(p.program, makeInstruction(opMatch, 0, x))
		case syntax.InstFail:
			p.program = append(p.program, makeInstruction(opByte, first, p.number(byteset.Set{})))
		default:
			p.program = append(p.program, makeInstruction(opByte, target(in.Out), p.number(bytesOf(in))))
		}
	}
	return first, uint32(len(p.program)), nil
}

func idle(in *syntax.Inst) bool { return in.Op == syntax.InstNop || in.Op == syntax.InstCapture }

func (p *programmer) number(set byteset.Set) uint32 {
	n, ok := p.numbers[set]
	if !ok {
		n = uint32(len(p.sets))
		p.sets = append(p.sets, set)
		p.numbers[set] = n
	}
	return n
}

func allBytes() byteset.Set {
	var none byteset.Set
	return none.Inverse()
}

// bytesOf gives the bytes that an instruction takes.
func bytesOf(in *syntax.Inst) (set byteset.Set) {
	switch in.Op {
	case syntax.InstRuneAny:
		return allBytes()
	case syntax.InstRuneAnyNotNL:
		set = allBytes()
		set.Remove('\n')
		return set
	}
	if len(in.Rune) == 1 {
		return runeSet(in.Rune[0], in.Op == syntax.InstRune && syntax.Flags(in.Arg)&syntax.FoldCase != 0)
	}
	return classOf(in.Rune)
}

// runeSet gives the bytes that are r, or r in another case.
func runeSet(r rune, foldCase bool) (set byteset.Set) {
	for c := r; ; {
		if c <= 0xff {
			set.Add(byte(c))
		}
		if !foldCase {
			return set
		}
		if c = unicode.SimpleFold(c); c == r {
			return set
		}
	}
}

// before is what stands before a place in a text. Conditions ask for it.
type before uint32

const (
	other before = iota
	word
	newline
	start // the text begins here
)

func beforeOf(c byte) before {
	switch {
	case c == '_' || byteset.Alnum(c):
		return word
	case c == '\n':
		return newline
	}
	return other
}

// What follows a place: a byte, or one of these.
const (
	atEnd   = -1
	unknown = -2 // not read yet
)

// verdict of a condition.
type verdict uint8

const (
	fails verdict = iota
	holds
	later // when the next byte is known
)

func verdictOf(b bool) verdict {
	if b {
		return holds
	}
	return fails
}

// judge tells whether a condition holds between what is before and what is
// next. Programs have one condition an instruction.
func judge(cond syntax.EmptyOp, is before, next int) verdict {
	switch cond {
	case syntax.EmptyBeginText:
		return verdictOf(is == start)
	case syntax.EmptyBeginLine:
		return verdictOf(is == start || is == newline)
	}
	if next == unknown {
		return later
	}
	switch cond {
	case syntax.EmptyEndText:
		return verdictOf(next == atEnd)
	case syntax.EmptyEndLine:
		return verdictOf(next == atEnd || next == '\n')
	}
	boundary := (is == word) != (next >= 0 && beforeOf(byte(next)) == word)
	return verdictOf(boundary == (cond == syntax.EmptyWordBoundary))
}

// walker follows programs. It holds where it is as a set of places: of the
// instructions that take a byte next and of the conditions that wait for it.
type walker struct {
	*Engine
	members []uint32 // the expressions that are looked for
	mask    uint64   // those of them that matched
	places  []uint32
	old     []uint32
	stack   []uint32
	seen    []uint64 // a bit an instruction: it is in places or was followed
	marked  []uint32 // the bits that are set
}

// begin goes to where all members begin.
func (w *walker) begin(members []uint32) {
	w.members, w.mask, w.places = members, 0, w.places[:0]
	for _, x := range members {
		w.follow(w.exprs[x].first, start, unknown)
	}
	w.settle()
}

// step goes on from places with c, a byte or atEnd, where is was before it.
func (w *walker) step(is before, c int) {
	w.mask = 0
	if w.waiting() {
		w.old = append(w.old[:0], w.places...)
		w.places = w.places[:0]
		for _, at := range w.old {
			w.follow(at, is, c)
		}
		w.unmark()
	}
	w.old = append(w.old[:0], w.places...)
	w.places = w.places[:0]
	if c == atEnd {
		w.settle()
		return
	}
	is = beforeOf(byte(c))
	for _, at := range w.old {
		if in := w.program[at]; w.sets[in.arg].Has(byte(c)) {
			w.follow(in.next(), is, unknown)
		}
	}
	for i, x := range w.members {
		if e := &w.exprs[x]; !e.anchored && w.mask>>i&1 == 0 {
			w.follow(e.first, is, unknown)
		}
	}
	w.settle()
}

// waiting reports whether a condition is among the places.
func (w *walker) waiting() bool {
	for _, at := range w.places {
		if w.program[at].op() == opIf {
			return true
		}
	}
	return false
}

// follow adds the places that at leads to without taking a byte.
func (w *walker) follow(at uint32, is before, next int) {
	w.stack = append(w.stack[:0], at)
	for len(w.stack) > 0 {
		at := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		if w.seen[at>>6]>>(at&63)&1 != 0 {
			continue
		}
		w.seen[at>>6] |= 1 << (at & 63)
		w.marked = append(w.marked, at)
		switch in := w.program[at]; in.op() {
		case opByte:
			w.places = append(w.places, at)
		case opSplit:
			w.stack = append(w.stack, in.arg, in.next())
		case opIf:
			switch judge(syntax.EmptyOp(in.arg), is, next) {
			case holds:
				w.stack = append(w.stack, in.next())
			case later:
				w.places = append(w.places, at)
			}
		case opMatch:
			w.matched(in.arg)
		}
	}
}

// matched notes that expression x matched.
func (w *walker) matched(x uint32) {
	for i, m := range w.members {
		if m == x {
			w.mask |= 1 << i
		}
	}
}

// settle brings the places into one form: sorted, and without those of
// expressions that matched just now.
func (w *walker) settle() {
	w.unmark()
	for rest := w.mask; rest != 0; rest &= rest - 1 {
		e := &w.exprs[w.members[bits.TrailingZeros64(rest)]]
		w.places = slices.DeleteFunc(w.places, func(at uint32) bool { return e.first <= at && at < e.last })
	}
	slices.Sort(w.places)
}

func (w *walker) unmark() {
	for _, at := range w.marked {
		w.seen[at>>6] = 0
	}
	w.marked = w.marked[:0]
}
