package ruleengine

import (
	"slices"
	"sync"
	"sync/atomic"
)

// An automaton tells which of up to 63 expressions a text matches, in one
// look at each byte. Its states are made when a text first needs them and are
// kept in an arena that all automata of an engine share:
//
//	cells    ... | set mask mask | t0 t1 t2 ... tEnd | set mask mask | ...
//	                             ^ a row, named by this offset
//
// A row has a cell for each class of bytes that the automaton tells apart and
// one for the end of the text. A cell holds the row to go on with, 0 if nobody
// has gone there yet, or dead; the top bit says that expressions match on the
// way there, those of the row's mask. For ^a:
//
//	classes  a: 1, others: 0
//	row 4    dead, 10|matching, dead    the beginning of the text
//	row 10   mask 1: the match is made, and nobody goes on
//
// Whoever only reads needs no lock: cells are read and written atomically, and
// a row is complete before the first cell that names it is written. Arrays
// that are full are copied to larger ones, which keeps all offsets.
//
// Bounds: the arrays of an arena take at most 30 MiB together, beside 20 bytes
// for each automaton there could be, and an automaton has at most 1,000 rows
// (defaultBounds). Where a row cannot be made, the automaton of several
// expressions gives way to those of its halves, and that of one expression to
// following its program without keeping states: slower, never wrong, and
// without a lock. A full arena is emptied only after texts of 64 MiB were
// followed so, which takes many times longer than to fill it again. Until then
// automata that are not begun, or that miss a row, are slower for everybody.
type arena struct {
	generation uint32
	cells      []uint32
	classes    []byte      // a class for each code of the alphabet, automaton after automaton
	automata   []automaton // as in Engine.machines
}

const (
	dead     = 1       // a cell: nothing can match any more
	matching = 1 << 31 // a flag in a cell
	header   = 3       // cells before a row: the offset in sets, the mask
)

type bounds struct {
	states     uint32 // rows of an automaton
	cells      uint32 // of 4 bytes
	classes    uint32 // of a byte
	sets       int    // of 4 bytes
	rows       int    // of all automata; each takes up to 8 bytes of the table
	flushAfter int64  // bytes of text
}

var defaultBounds = bounds{
	states: 1000, cells: 4 << 20, classes: 4 << 20, sets: 2 << 20, rows: 1 << 18, flushAfter: 64 << 20,
}

// automaton is what an arena has of a machine.
type automaton struct {
	start   uint32 // a row as in a cell; 0: not begun
	closed  uint32 // 1 if it has as many rows as it may
	classes uint32 // offset of its classes
	width   uint32 // how many they are
	rows    uint32
}

// machine is an automaton to be: the expressions members[first:first+n], and
// the machines of both halves if they are more than one.
type machine struct {
	first, n    uint32
	left, right uint32
}

// outcome says how a run of an automaton ended.
type outcome uint8

const (
	done    outcome = iota
	stuck           // a row could not be made
	flushed         // the arena is another one now
)

// match gives the members of machine m that text matches, as bits.
func (e *Engine) match(m uint32, text string) uint64 {
	for range 2 {
		mask, how := e.run(m, text)
		if how == done {
			return mask
		}
		if how == stuck {
			break
		}
	}
	mc := &e.machines[m]
	if mc.n == 1 {
		return e.simulate(mc, text)
	}
	shift := e.machines[mc.left].n
	return e.match(mc.left, text) | e.match(mc.right, text)<<shift
}

// run runs the automaton of machine m.
func (e *Engine) run(m uint32, text string) (mask uint64, how outcome) {
	ar, row, how := e.beginning(e.arena.Load(), m)
	if how != done || row == dead {
		return 0, how
	}
	all := uint64(1)<<e.machines[m].n - 1
	if row >= matching {
		row -= matching
		if mask = ar.mask(row); mask == all {
			return mask, done
		}
	}
	cells, classes := ar.cells, ar.classesOf(m, e.codes)
	for i := 0; i < len(text); {
		t := atomic.LoadUint32(&cells[row+uint32(classes[e.code[text[i]]])])
		if int32(t) > dead {
			row = t
			i++
			continue
		}
		if t == dead {
			return mask, done
		}
		if t == 0 {
			if ar, how = e.extend(ar, m, row, int(text[i])); how != done {
				return 0, how
			}
			cells, classes = ar.cells, ar.classesOf(m, e.codes)
			continue
		}
		row = t - matching
		i++
		if mask |= ar.mask(row); mask == all {
			return mask, done
		}
	}
	return e.finish(ar, m, row, mask)
}

// beginning gives the row that machine m begins with, as in a cell, and an
// arena that holds it. The row may be younger than ar, whose automata are those
// of larger arenas too, so the arena is read again behind it.
func (e *Engine) beginning(ar *arena, m uint32) (*arena, uint32, outcome) {
	row := atomic.LoadUint32(&ar.automata[m].start)
	if row == 0 {
		return e.start(m)
	}
	now := e.arena.Load()
	if now.generation != ar.generation {
		return now, 0, flushed
	}
	return now, row, done
}

// finish takes the end of the text.
func (e *Engine) finish(ar *arena, m, row uint32, mask uint64) (uint64, outcome) {
	t := atomic.LoadUint32(&ar.cells[row+ar.automata[m].width])
	if t == 0 {
		var how outcome
		if ar, how = e.extend(ar, m, row, atEnd); how != done {
			return 0, how
		}
		t = atomic.LoadUint32(&ar.cells[row+ar.automata[m].width])
	}
	if t != dead {
		mask |= ar.mask(t &^ matching)
	}
	return mask, done
}

func (ar *arena) mask(row uint32) uint64 {
	return uint64(ar.cells[row-2]) | uint64(ar.cells[row-1])<<32
}

func (ar *arena) classesOf(m uint32, codes int) []byte {
	at := int(ar.automata[m].classes)
	return ar.classes[at : at+codes]
}

// simulate follows the program of a machine of one expression without making
// states.
func (e *Engine) simulate(mc *machine, text string) uint64 {
	if e.maker.full.Load() && e.maker.followed.Add(int64(len(text))) > e.maker.bounds.flushAfter {
		e.flush()
	}
	w := e.walkers.Get().(*walker)
	defer e.walkers.Put(w)
	w.begin(e.membersOf(mc))
	for is, i := start, 0; i < len(text); i++ {
		if w.mask != 0 || len(w.places) == 0 && e.exprs[w.members[0]].anchored {
			return w.mask
		}
		w.step(is, int(text[i]))
		is = beforeOf(text[i])
	}
	if w.mask == 0 {
		w.step(beforeEnd(text), atEnd)
	}
	return w.mask
}

func beforeEnd(text string) before {
	if text == "" {
		return start
	}
	return beforeOf(text[len(text)-1])
}

// maker makes states. Its lock is taken to make one, and for nothing else.
type maker struct {
	sync.Mutex
	bounds   bounds
	walker   *walker
	cells    uint32   // how many of the arena are used
	classes  uint32   // likewise
	sets     []uint32 // machine, what is before, number of places, places
	table    []uint32 // rows by a hash of their sets and masks; half of it is empty
	rows     int
	full     atomic.Bool
	followed atomic.Int64 // bytes that were simulated since it is full
}

// flush empties the arena.
func (e *Engine) flush() {
	k := &e.maker
	k.Lock()
	defer k.Unlock()
	if k.full.Load() {
		e.reset(e.arena.Load().generation + 1)
	}
}

func (e *Engine) reset(generation uint32) {
	k := &e.maker
	k.cells, k.classes, k.rows, k.sets, k.table = 1, 0, 0, nil, make([]uint32, 64)
	e.arena.Store(&arena{generation: generation, automata: make([]automaton, len(e.machines))})
	k.followed.Store(0)
	k.full.Store(false)
}

// start makes the row that machine m begins with, unless it is there.
func (e *Engine) start(m uint32) (*arena, uint32, outcome) {
	k := &e.maker
	if k.full.Load() {
		return nil, 0, stuck
	}
	k.Lock()
	defer k.Unlock()
	ar := e.arena.Load()
	if row := ar.automata[m].start; row != 0 {
		return ar, row, done
	}
	codes := uint32(e.codes)
	ar, ok := e.room(ar, 0, codes)
	if !ok {
		return nil, 0, stuck
	}
	members := e.membersOf(&e.machines[m])
	a := &ar.automata[m]
	a.classes = k.classes
	a.width = e.classify(members, ar.classes[k.classes:k.classes+codes])
	k.walker.begin(members)
	ar, row := e.row(ar, m, start)
	if row == 0 {
		return nil, 0, stuck
	}
	k.classes += codes
	atomic.StoreUint32(&a.start, row)
	return ar, row, done
}

// extend makes the cell for c, a byte or atEnd, in a row of machine m.
func (e *Engine) extend(ar *arena, m, row uint32, c int) (*arena, outcome) {
	k := &e.maker
	if k.full.Load() || atomic.LoadUint32(&ar.automata[m].closed) != 0 {
		return ar, stuck
	}
	k.Lock()
	defer k.Unlock()
	now := e.arena.Load()
	if now.generation != ar.generation {
		return now, flushed
	}
	cell := row + now.automata[m].width
	if c != atEnd {
		cell = row + uint32(now.classesOf(m, e.codes)[e.code[c]])
	}
	if now.cells[cell] != 0 {
		return now, done
	}
	set := k.sets[now.cells[row-header]:]
	w := k.walker
	w.members = e.membersOf(&e.machines[m])
	w.places = append(w.places[:0], set[3:3+set[2]]...)
	w.step(before(set[1]), c)
	is := other
	if c != atEnd {
		is = beforeOf(byte(c))
	}
	now, t := e.row(now, m, is)
	if t == 0 {
		return now, stuck
	}
	atomic.StoreUint32(&now.cells[cell], t)
	return now, done
}

// row gives the row for where the walker is, as in a cell, and makes it if
// need be; 0 if it cannot be made.
func (e *Engine) row(ar *arena, m uint32, is before) (*arena, uint32) {
	k := &e.maker
	w := k.walker
	if len(w.places) == 0 && w.mask == 0 && e.allAnchored(w.members) {
		return ar, dead
	}
	if !w.waiting() || is == word && !e.words {
		is = other
	}
	var flag uint32
	if w.mask != 0 {
		flag = matching
	}
	slot, row := k.find(ar, m, is)
	if row != 0 {
		return ar, row | flag
	}
	a := &ar.automata[m]
	if a.rows == k.bounds.states {
		atomic.StoreUint32(&a.closed, 1)
		return ar, 0
	}
	ar, ok := e.room(ar, header+a.width+1, 0)
	if !ok || len(k.sets)+3+len(w.places) > k.bounds.sets || k.rows == k.bounds.rows {
		k.full.Store(true)
		return ar, 0
	}
	row = k.cells + header
	ar.cells[row-3], ar.cells[row-2], ar.cells[row-1] = uint32(len(k.sets)), uint32(w.mask), uint32(w.mask>>32)
	k.cells = row + a.width + 1
	k.sets = append(append(k.sets, m, uint32(is), uint32(len(w.places))), w.places...)
	k.table[slot] = row
	a.rows++
	if k.rows++; k.rows > len(k.table)/2 {
		k.rehash(ar)
	}
	return ar, row | flag
}

// room makes room for so many more cells and classes, if the bounds allow it.
func (e *Engine) room(ar *arena, cells, classes uint32) (*arena, bool) {
	k := &e.maker
	if k.cells+cells > k.bounds.cells || k.classes+classes > k.bounds.classes {
		k.full.Store(true)
		return ar, false
	}
	larger := *ar
	if need := int(k.cells + cells); need > len(ar.cells) {
		larger.cells = make([]uint32, min(max(2*len(ar.cells), need, 256), int(k.bounds.cells)))
		copy(larger.cells, ar.cells)
	}
	if need := int(k.classes + classes); need > len(ar.classes) {
		larger.classes = make([]byte, min(max(2*len(ar.classes), need), int(k.bounds.classes)))
		copy(larger.classes, ar.classes)
	}
	if len(larger.cells) == len(ar.cells) && len(larger.classes) == len(ar.classes) {
		return ar, true
	}
	e.arena.Store(&larger)
	return &larger, true
}

// find looks for the row of where the walker is, and gives its slot of the
// table, or that where it belongs.
func (k *maker) find(ar *arena, m uint32, is before) (slot int, row uint32) {
	w := k.walker
	for slot = k.slot(m, uint32(is), w.mask, w.places); ; slot = (slot + 1) & (len(k.table) - 1) {
		row = k.table[slot]
		if row == 0 {
			return slot, 0
		}
		set := k.sets[ar.cells[row-header]:]
		if set[0] == m && set[1] == uint32(is) && ar.mask(row) == w.mask && slices.Equal(set[3:3+set[2]], w.places) {
			return slot, row
		}
	}
}

// slot is where the search for a row begins.
func (k *maker) slot(m, is uint32, mask uint64, places []uint32) int {
	h := (uint64(m)<<2|uint64(is))*0x9e3779b97f4a7c15 ^ mask
	for _, at := range places {
		h = (h ^ uint64(at)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return int(h>>32) & (len(k.table) - 1)
}

// rehash doubles the table.
func (k *maker) rehash(ar *arena) {
	old := k.table
	k.table = make([]uint32, 2*len(old))
	for _, row := range old {
		if row == 0 {
			continue
		}
		set := k.sets[ar.cells[row-header]:]
		slot := k.slot(set[0], set[1], ar.mask(row), set[3:3+set[2]])
		for k.table[slot] != 0 {
			slot = (slot + 1) & (len(k.table) - 1)
		}
		k.table[slot] = row
	}
}

func (e *Engine) membersOf(mc *machine) []uint32 { return e.members[mc.first : mc.first+mc.n] }

func (e *Engine) allAnchored(members []uint32) bool {
	for _, x := range members {
		if !e.exprs[x].anchored {
			return false
		}
	}
	return true
}

// classify writes the class of each code of the alphabet, as far as the
// expressions can tell them apart, and returns how many there are.
func (e *Engine) classify(members []uint32, classes []byte) uint32 {
	clear(classes)
	n := 1
	for _, x := range members {
		for _, in := range e.program[e.exprs[x].first:e.exprs[x].last] {
			switch in.op() {
			case opByte:
				set := &e.sets[in.arg]
				n = split(classes, n, func(code int) bool { return set.Has(e.sample[code]) })
			case opIf:
				n = split(classes, n, func(code int) bool { return e.sample[code] == '\n' })
				n = split(classes, n, func(code int) bool { return beforeOf(e.sample[code]) == word })
			}
		}
	}
	return uint32(n)
}

// split parts the codes of each of n classes by in, and returns how many
// classes there are then.
func split(classes []byte, n int, in func(code int) bool) int {
	var out, inside [256]bool // the classes with codes of either kind
	for code, c := range classes {
		if in(code) {
			inside[c] = true
		} else {
			out[c] = true
		}
	}
	var to [256]int
	for c := range n {
		if to[c] = c; inside[c] && out[c] {
			to[c] = n
			n++
		}
	}
	for code, c := range classes {
		if in(code) {
			classes[code] = byte(to[c])
		}
	}
	return n
}
