package ruleengine

import "slices"

// A block has rules that no factor finds, in order, and two automata: one a
// side, each of up to 63 expressions. A rule is a candidate if one of its bits
// is set on both sides; bit 63 is always set, for ALL.
//
//	block  left automaton   ^sip:[0-9]+@   bit 0
//	                        [a-z]$         bit 1
//	       rule 3           left 1<<0      right 1<<63
//	       rule 8           left 1<<0|1<<1 right 1<<63
type block struct {
	machine [2]uint32 // of the sides; 0 is none
	first   uint32    // its rules are grouped[first:last]
	last    uint32
}

type grouped struct {
	rule uint32
	bits [2]uint64
}

const allBit = 1 << 63

// runBlocks tries the rules that have no factor.
func (s *search) runBlocks() {
	for i := range s.blocks {
		b := &s.blocks[i]
		rules := s.grouped[b.first:b.last]
		if rules[0].rule >= s.stop {
			return
		}
		if rules[len(rules)-1].rule >= s.from {
			s.runBlock(b, rules)
		}
	}
}

func (s *search) runBlock(b *block, rules []grouped) {
	var bits [2]uint64
	for i := range rules {
		r := &rules[i]
		if r.rule >= s.stop {
			return
		}
		if s.candidate(b, r, &bits) && s.rule(r.rule, none, none) {
			s.accept(r.rule)
		}
	}
}

// candidate reports whether r has a bit set on either side, where bits are
// found when they are first asked for.
func (s *search) candidate(b *block, r *grouped, bits *[2]uint64) bool {
	for side := range bits {
		if bits[side] == 0 {
			bits[side] = allBit
			for spelling := range s.spellings[side] {
				if b.machine[side] != 0 {
					bits[side] |= s.match(b.machine[side], s.texts[side][spelling])
				}
			}
		}
		if bits[side]&r.bits[side] == 0 {
			return false
		}
	}
	return true
}

// blockBuilder puts rules into blocks.
type blockBuilder struct {
	e       *Engine
	members [2][]uint32
	first   int
}

// add adds a rule that is looked for by the expressions of lists; a nil list
// asks for nothing.
func (b *blockBuilder) add(rule uint32, lists [2][]uint32) {
	if len(lists[left]) > maxMembers {
		lists[left] = nil
	}
	if len(lists[right]) > maxMembers {
		lists[right] = nil
	}
	for side := range lists {
		if len(b.with(side, lists[side])) > maxMembers {
			b.close()
		}
	}
	g := grouped{rule: rule, bits: [2]uint64{allBit, allBit}}
	for side, list := range lists {
		if list == nil {
			continue
		}
		b.members[side] = b.with(side, list)
		g.bits[side] = 0
		for _, x := range list {
			g.bits[side] |= 1 << slices.Index(b.members[side], x)
		}
	}
	b.e.grouped = append(b.e.grouped, g)
}

const maxMembers = 63

// with gives the members of the open block and those of list.
func (b *blockBuilder) with(side int, list []uint32) []uint32 {
	all := slices.Clone(b.members[side])
	for _, x := range list {
		if !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	return all
}

// close ends the open block, if it has rules.
func (b *blockBuilder) close() {
	if len(b.e.grouped) == b.first {
		return
	}
	blk := block{first: uint32(b.first), last: uint32(len(b.e.grouped))}
	for side, members := range b.members {
		if len(members) > 0 {
			blk.machine[side] = b.e.union(members)
		}
		b.members[side] = nil
	}
	b.e.blocks = append(b.e.blocks, blk)
	b.first = len(b.e.grouped)
}

// union makes the machine of members, and those of its halves.
func (e *Engine) union(members []uint32) uint32 {
	if len(members) == 1 {
		return e.exprs[members[0]].machine
	}
	m := machine{first: uint32(len(e.members)), n: uint32(len(members))}
	e.members = append(e.members, members...)
	half := len(members) / 2
	m.left, m.right = e.union(members[:half]), e.union(members[half:])
	e.machines = append(e.machines, m)
	return uint32(len(e.machines) - 1)
}
