package ruleengine

import (
	"math"
	"regexp/syntax"
	"slices"

	"github.com/sipacl/sipacl/internal/byteset"
)

// Builder collects the rules of an engine.
type Builder struct {
	engine     *Engine
	programmer programmer
	candidates []candidate
	sets       [][2]int32 // the candidates of each expression: from, to
}

// candidate is a set of factors by which an expression could be found.
type candidate struct {
	factors []string
	sure    bool // the expression matches wherever one of them is
}

// maxSharers is how many expressions may be found by the same factor if they
// must be verified then. Where there are more, a block reads the text fewer
// times.
const maxSharers = 16

// fewExpressions is how many expressions, counted as often as they stand in a
// rule, are faster asked one by one.
const fewExpressions = 4

// crowd is the cost from which on it is too dear to look at each of the rules
// that are found at once: if the other side has automata, the rules are better
// off in blocks.
const crowd = 500

// nobody is an expression that matches nothing.
const nobody = 0

// NewBuilder returns a Builder without rules.
func NewBuilder() *Builder {
	b := &Builder{engine: &Engine{machines: make([]machine, 1)}}
	b.programmer.numbers = map[byteset.Set]uint32{}
	b.keep(expression{kind: never})
	return b
}

func (b *Builder) keep(ex expression) uint32 {
	b.engine.exprs = append(b.engine.exprs, ex)
	n := int32(len(b.candidates))
	b.sets = append(b.sets, [2]int32{n, n})
	return uint32(len(b.engine.exprs) - 1)
}

// Expression adds an expression and returns its number. Its characters are
// bytes. An error says that it cannot be compiled.
func (b *Builder) Expression(re *syntax.Regexp) (uint32, error) {
	e, f, lines := b.engine, analyse(re), knowsLines(re)
	e.lines = e.lines || lines
	switch {
	case matchesEmpty(re), f.exact && everywhere(f.whole):
		return b.keep(expression{kind: always}), nil
	case impossible(&f) && !lines: // where they mean something, facts are of texts without line ends
		return b.keep(expression{kind: never}), nil
	}
	ex := expression{kind: byLiteral, first: uint32(len(e.literals)), count: uint16(len(f.whole))}
	if f.exact && !lines && information(f.whole) >= usable {
		for _, s := range f.whole {
			e.literals = appendLiteral(e.literals, s)
		}
	} else {
		ex = expression{kind: byMachine, machine: uint32(len(e.machines))}
		var err error
		if ex.first, ex.last, err = b.programmer.add(re, uint32(len(e.exprs))); err != nil {
			return nobody, err
		}
		e.machines = append(e.machines, machine{first: uint32(len(e.members)), n: 1})
		e.members = append(e.members, uint32(len(e.exprs)))
	}
	x := b.keep(ex)
	b.propose(&f)
	b.sets[x][1] = int32(len(b.candidates))
	return x, nil
}

// propose notes the sets of factors that are worth a look.
func (b *Builder) propose(f *facts) {
	if f.whole != nil {
		b.candidate(f.whole, f.exact)
		return
	}
	for _, set := range [...][]string{f.head, f.tail, f.inside} {
		if set != nil {
			b.candidate(set, false)
		}
	}
}

func (b *Builder) candidate(set []string, sure bool) {
	if information(set) < usable {
		return
	}
	b.candidates = append(b.candidates, candidate{set, sure})
	if cut := fromLandmark(set); cut != nil {
		b.candidates = append(b.candidates, candidate{cut, false})
	}
}

// everywhere reports whether one of the strings is in every text.
func everywhere(set []string) bool {
	return slices.ContainsFunc(set, func(s string) bool { return s == "" || s == string(begin) || s == string(end) })
}

// impossible reports whether no text has what f says.
func impossible(f *facts) bool {
	return slices.ContainsFunc([][]string{f.whole, f.head, f.tail, f.inside}, func(set []string) bool {
		return set != nil && len(set) == 0
	})
}

// knowsLines reports whether line ends mean something to re.
func knowsLines(re *syntax.Regexp) bool {
	return re.Op == syntax.OpBeginLine || re.Op == syntax.OpEndLine || slices.ContainsFunc(re.Sub, knowsLines)
}

// Rule adds a rule behind those that are there.
func (b *Builder) Rule(r Rule) {
	e := b.engine
	e.ruleAt = append(e.ruleAt, uint32(len(e.rules)))
	sides := [2]Side{r.Left, r.Right}
	for i := range sides {
		if s := &sides[i]; s.All {
			s.Any = nil
		} else if len(s.Any) == 0 {
			s.Any = []uint32{nobody}
		}
		e.rules = append(e.rules, uint32(len(sides[i].Any)), uint32(len(sides[i].Except)))
	}
	for _, s := range sides {
		e.rules = append(append(e.rules, s.Any...), s.Except...)
	}
}

// Engine returns the engine of the rules. The Builder must not be used after.
func (b *Builder) Engine() *Engine {
	e := b.engine
	e.program, e.sets = slices.Clip(b.programmer.program), b.programmer.sets
	e.words = b.programmer.used&(syntax.EmptyWordBoundary|syntax.EmptyNoWordBoundary) != 0
	e.walkers.New = func() any { return e.newWalker() }
	e.bitmaps.New = func() any { return &bitmap{words: make([]uint64, len(e.exprs)/64+1)} }
	e.maker.walker = e.newWalker()
	for x := range e.exprs {
		if ex := &e.exprs[x]; ex.kind == byMachine {
			ex.anchored = e.onlyAtStart(uint32(x))
		}
	}
	e.alphabet()
	b.place()
	e.certain = e.firstCertain()
	lengths := 4 * len(e.ruleAt)
	e.few = len(e.rules)-lengths <= fewExpressions
	e.maker.bounds = defaultBounds
	e.reset(1)
	return e
}

// firstCertain gives the first rule that matches everything; if there is none,
// how many rules there are.
func (e *Engine) firstCertain() uint32 {
	for r := range uint32(len(e.ruleAt)) {
		if e.certainly(r, left) && e.certainly(r, right) {
			return r
		}
	}
	return uint32(len(e.ruleAt))
}

func (e *Engine) certainly(r uint32, side int) bool {
	list, except := e.listsOf(r, side)
	all := len(list) == 0 || slices.ContainsFunc(list, func(x uint32) bool { return e.exprs[x].kind == always })
	return all && len(except) == 0
}

func (e *Engine) newWalker() *walker {
	return &walker{Engine: e, seen: make([]uint64, len(e.program)/64+1)}
}

// onlyAtStart reports whether expression x matches at the beginning of a text
// only.
func (e *Engine) onlyAtStart(x uint32) bool {
	w := e.maker.walker
	w.members, w.mask, w.places = []uint32{x}, 0, w.places[:0]
	w.follow(e.exprs[x].first, newline, unknown)
	w.unmark()
	return len(w.places) == 0 && w.mask == 0
}

// alphabet gives a code to each byte.
func (e *Engine) alphabet() {
	e.codes = 1
	classes := e.code[:]
	for i := range e.sets {
		e.codes = split(classes, e.codes, func(c int) bool { return e.sets[i].Has(byte(c)) })
	}
	e.codes = split(classes, e.codes, func(c int) bool { return c == '\n' })
	if e.words {
		e.codes = split(classes, e.codes, func(c int) bool { return beforeOf(byte(c)) == word })
	}
	for c, code := range classes {
		e.sample[code] = byte(c)
	}
}

// choice is how an expression is found on a side.
type choice struct {
	candidate *candidate // nil: not by factors
	cost      uint64     // rules that are looked at, about
}

const (
	costOfBlock = 1 << 40 // more than any factor's
	costOfAll   = 1 << 50
)

// choose makes the choice for each expression that stands on a side.
func (b *Builder) choose(side int) []choice {
	used := b.usage(side)
	type sharers struct{ rules, exprs uint32 }
	shared := map[string]sharers{}
	var once []string // the factors of an expression, also those of several candidates
	for x, n := range used {
		if n == 0 {
			continue
		}
		once = once[:0]
		for _, c := range b.candidatesOf(x) {
			for _, f := range c.factors {
				once = add(once, f)
			}
		}
		for _, f := range once {
			s := shared[f]
			shared[f] = sharers{s.rules + n, s.exprs + 1}
		}
	}
	choices := make([]choice, len(used))
	for x, n := range used {
		best := choice{cost: costOfBlock}
		if n == 0 {
			continue
		}
		set := b.candidatesOf(x)
		for i := range set {
			c := &set[i]
			cost := uint64(0)
			for _, f := range c.factors {
				s := shared[f]
				if s.exprs > maxSharers && !c.sure || s.exprs > math.MaxUint16 {
					cost = costOfBlock
					break
				}
				cost += uint64(s.rules) * frequency(f)
			}
			if cost < best.cost {
				best = choice{c, cost}
			}
		}
		choices[x] = best
	}
	return choices
}

// frequency says how often texts have a factor, as far as its own symbols
// show, and how dear it is to look for.
func frequency(factor string) uint64 {
	often := uint64(1)
	for n := informative(factor); n < 4; n++ {
		often *= 4
	}
	if factor[0] != begin && !landmark(factor[0]) {
		often *= 16 // every place must be looked at, for all factors
	}
	return often
}

// usage counts the rules that each expression stands in on a side.
func (b *Builder) usage(side int) []uint32 {
	used := make([]uint32, len(b.engine.exprs))
	for r := range b.engine.ruleAt {
		list, _ := b.engine.listsOf(uint32(r), side)
		for _, x := range list {
			used[x]++
		}
	}
	return used
}

func (b *Builder) candidatesOf(x int) []candidate {
	return b.candidates[b.sets[x][0]:b.sets[x][1]]
}

// place puts each rule into the index of one side, or into a block, or both
// if only some of its expressions have factors.
func (b *Builder) place() {
	e := b.engine
	choices := [2][]choice{b.choose(left), b.choose(right)}
	var postings [2][]posting
	blocks := blockBuilder{e: e}
	for r := range uint32(len(e.ruleAt)) {
		var lists [2][]uint32
		var cost [2]uint64
		for side := range lists {
			lists[side], cost[side] = b.cost(r, side, choices[side])
		}
		if cost[left] == 0 || cost[right] == 0 {
			continue // it never matches
		}
		side := left
		if cost[right] < cost[left] {
			side = right
		}
		if other := 1 - side; cost[side] > crowd && cost[other] < costOfAll && e.allMachines(lists[other]) {
			side = other
		}
		var rest []uint32
		for _, x := range lists[side] {
			if choices[side][x].candidate != nil {
				postings[side] = append(postings[side], posting{x, r})
			} else {
				rest = append(rest, x)
			}
		}
		if len(rest) == 0 && cost[side] < costOfAll {
			continue
		}
		lists[side] = rest
		for i := range lists {
			if i != side && cost[i] != costOfBlock*uint64(len(lists[i])) || !e.allMachines(lists[i]) {
				lists[i] = nil
			}
		}
		blocks.add(r, lists)
	}
	blocks.close()
	for side := range postings {
		e.index[side] = buildIndex(e.entries(postings[side], choices[side]))
	}
}

// cost gives the expressions by which a side of a rule can be found, none for
// ALL, and what that costs: 0 if the side never matches.
func (b *Builder) cost(r uint32, side int, choices []choice) (list []uint32, cost uint64) {
	all, _ := b.engine.listsOf(r, side)
	if len(all) == 0 {
		return nil, costOfAll
	}
	for _, x := range all {
		switch b.engine.exprs[x].kind {
		case always:
			return nil, costOfAll
		case never:
		default:
			list = append(list, x)
			cost += choices[x].cost
		}
	}
	return list, min(cost, costOfAll-1)
}

func (e *Engine) allMachines(list []uint32) bool {
	for _, x := range list {
		if e.exprs[x].kind != byMachine {
			return false
		}
	}
	return len(list) > 0
}

// posting says that a rule is found by an expression.
type posting struct{ expr, rule uint32 }

// entries makes the entries of an index, and the lists of rules they name.
func (e *Engine) entries(postings []posting, choices []choice) (entries []entry) {
	slices.SortStableFunc(postings, func(a, b posting) int { return int(int64(a.expr) - int64(b.expr)) })
	for i := 0; i < len(postings); {
		x := postings[i].expr
		rules, at := postings[i].rule, uint32(len(e.lists))
		e.lists = append(e.lists, 0)
		n := i
		for ; n < len(postings) && postings[n].expr == x; n++ {
			e.lists = append(e.lists, postings[n].rule)
		}
		if n-i > 1 {
			e.lists[at] = uint32(n - i)
			rules = at | many
		} else {
			e.lists = e.lists[:at]
		}
		c := choices[x].candidate
		en := entry{expr: x, rules: rules, first: postings[i].rule}
		if c.sure {
			en.expr |= sure
		}
		for _, f := range c.factors {
			en.factor = f
			entries = append(entries, en)
		}
		i = n
	}
	return entries
}
