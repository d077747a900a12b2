// One ACL: rules in order, the last one that covers an address decides.

package sipacl

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sipacl/sipacl/internal/trie"
)

// Sense is what a rule of an ACL does with the addresses it covers. The zero
// Sense is Deny.
type Sense uint8

// The senses.
const (
	Deny Sense = iota
	Permit
)

// String gives "deny" or "permit".
func (s Sense) String() string {
	if s == Permit {
		return "permit"
	}
	return "deny"
}

// parseSense reads "permit" or "deny" in any letter case, and nothing else.
func parseSense(s string) (sense Sense, ok bool) {
	switch {
	case strings.EqualFold(s, "permit"):
		return Permit, true
	case strings.EqualFold(s, "deny"):
		return Deny, true
	}
	return Deny, false
}

// ACLRule is one rule of an [ACL]: a permitted or denied prefix.
type ACLRule struct {
	Sense  Sense
	Prefix netip.Prefix // host bits do not count
	Origin Origin

	bare bool // written without a mask
}

// String gives "deny 203.0.113.0/24".
func (r ACLRule) String() string { return r.Sense.String() + " " + r.Prefix.String() }

// ParseACLRules reads permit and deny lines as they stand in acl.conf:
// "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/255.255.255.0,!192.0.2.66". The
// error names every item that is none.
//
//	line = ( "permit" | "deny" ) "=" item { "," item } .
//	item = [ "!" ] address [ "/" ( bits | netmask ) ] .    "!" is the other sense
//
// An address is an IPv4 or IPv6 literal, the latter with or without brackets;
// a netmask is contiguous and of the address's family. Without a mask a rule
// covers the one address: "deny=::" is not "deny=::/0".
func ParseACLRules(lines ...string) ([]ACLRule, error) {
	var rules []ACLRule
	var errs []error
	for _, line := range lines {
		option, value, _ := strings.Cut(line, "=")
		sense, ok := parseSense(strings.Trim(option, " \t"))
		if !ok {
			errs = append(errs, fmt.Errorf("sipacl: %q: want permit= or deny=", shorten(line)))
			continue
		}
		rs, bad := parseRules(sense, value, func(int) Origin { return Origin{} })
		rules = append(rules, rs...)
		for _, e := range bad {
			errs = append(errs, fmt.Errorf("sipacl: %w", e))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return rules, nil
}

// parseRules reads the value of a permit or deny line. at tells where the
// byte at an offset of value was written.
//
//	value = item { "," item } .
func parseRules(sense Sense, value string, at func(off int) Origin) (rules []ACLRule, errs []*LoadError) {
	off := 0
	for item := range strings.SplitSeq(value, ",") {
		text := strings.Trim(item, " \t")
		start := off + strings.Index(item, text)
		off += len(item) + 1
		r, err := parseRule(sense, text)
		if r.Origin = at(start); err != nil {
			errs = append(errs, &LoadError{Origin: r.Origin, Value: text, Err: err})
			continue
		}
		rules = append(rules, r)
	}
	return rules, errs
}

// parseRule reads one item.
//
//	item = [ "!" ] address [ "/" mask ] .
func parseRule(sense Sense, item string) (ACLRule, error) {
	text, inverted := strings.CutPrefix(item, "!")
	if inverted {
		sense = Permit - sense
	}
	host, mask, masked := strings.Cut(text, "/")
	switch {
	case text == "":
		return ACLRule{}, fmt.Errorf("found %q, want an address", item)
	case strings.ContainsAny(text, " \t"):
		return ACLRule{}, fmt.Errorf("%q has a blank in it", shorten(item))
	}
	addr, err := parseAddress(host)
	if err != nil {
		return ACLRule{}, err
	}
	n := addr.BitLen()
	if masked {
		if addr, n, err = parseMask(addr, mask); err != nil {
			return ACLRule{}, fmt.Errorf("%q: %w", shorten(item), err)
		}
	}
	p, err := plainPrefix(netip.PrefixFrom(addr, n))
	if err != nil {
		return ACLRule{}, fmt.Errorf("%q: %w", shorten(item), err)
	}
	return ACLRule{Sense: sense, Prefix: p, bare: !masked}, nil
}

// parseMask reads what follows the "/" of addr. An IPv4 netmask makes an
// IPv4-mapped address the IPv4 address it stands for.
//
//	mask = bits | netmask .
func parseMask(addr netip.Addr, mask string) (netip.Addr, int, error) {
	if !strings.ContainsAny(mask, ".:") {
		n, err := strconv.Atoi(mask)
		if err != nil || mask != strconv.Itoa(n) || n < 0 || n > addr.BitLen() {
			return addr, 0, fmt.Errorf("want 0 to %d or a netmask after the /", addr.BitLen())
		}
		return addr, n, nil
	}
	m, err := netip.ParseAddr(mask)
	if err == nil && m.Is4() && addr.Is4In6() {
		addr = addr.Unmap()
		if m.IsUnspecified() {
			return addr, 0, errMapped
		}
	}
	if err != nil || m.Zone() != "" || m.BitLen() != addr.BitLen() {
		return addr, 0, errors.New("want a netmask of the address's family after the /")
	}
	n, ok := contiguous(m)
	if !ok {
		return addr, 0, errors.New("want a netmask of ones followed by zeros after the /")
	}
	return addr, n, nil
}

// contiguous counts the leading ones of a netmask. ok is false when another
// one follows them.
func contiguous(mask netip.Addr) (n int, ok bool) {
	b := mask.AsSlice()
	for n/8 < len(b) && b[n/8] == 0xff {
		n += 8
	}
	if n/8 < len(b) {
		n += bits.LeadingZeros8(^b[n/8])
	}
	p, err := mask.Prefix(n)
	return n, err == nil && p.Addr() == mask
}

var errMapped = errors.New("want a mask of more than 96 bits for an IPv4-mapped address")

// plainPrefix is the one form of a prefix that is compared: IPv4-mapped ones
// are IPv4. Host bits stay.
func plainPrefix(p netip.Prefix) (netip.Prefix, error) {
	switch addr := p.Addr(); {
	case !p.IsValid():
		return p, errors.New("want a valid prefix")
	case !addr.Is4In6():
		return p, nil
	case p.Bits() <= 96:
		return p, errMapped
	default:
		return netip.PrefixFrom(addr.Unmap(), p.Bits()-96), nil
	}
}

// ACL is an immutable, ordered list of permitted and denied prefixes with the
// meaning it has in Asterisk: all rules are looked at, and the last one that
// covers the address decides. Addresses that no rule covers are permitted.
//
// The families are separate, with one exception: a list whose deny rules cover
// all of one family, and which holds no rule of the other, refuses the other
// too; see decision acl-family.
//
// A nil ACL and the zero one refuse everything. An ACL is safe for concurrent
// use; a check takes one lookup, however many rules there are.
type ACL struct {
	name     string
	origin   Origin
	realtime bool
	loaded   bool // was defined somewhere, and may be without rules
	rules    []ACLRule

	index *trie.Trie // its values are aclValues
	names []string   // Origin.Name of the rules; [0] is ""
	later []uint32   // by rule: 1 + a later one that covers all it covers
	shut  [2]uint32
	// shut[0] is 1 + the rule that refuses all of IPv4 because it denies all
	// of IPv6, shut[1] the other way round; 0 is none.
}

// NewACL returns an ACL of these rules, in this order. The error names every
// rule whose prefix is not valid.
//
// Without rules it refuses everything, unlike the [ACL] of a section without
// rules, which somebody wrote down: what a program filters from elsewhere can
// come out empty by accident. To permit everything, say so with two rules.
func NewACL(name string, rules ...ACLRule) (*ACL, error) {
	a, err := makeACL(name, rules)
	if err != nil {
		return nil, fmt.Errorf("sipacl: ACL %q: %w", shorten(name), err)
	}
	return a, nil
}

func makeACL(name string, rules []ACLRule) (*ACL, error) {
	a := &ACL{name: name}
	var errs []error
	for _, r := range rules {
		r, err := r.valid()
		if err != nil {
			errs = append(errs, &LoadError{Origin: r.Origin, Value: r.Prefix.String(), Err: err})
			continue
		}
		a.rules = append(a.rules, r)
	}
	if len(a.rules) > trie.MaxEntries {
		errs = append(errs, fmt.Errorf("more than %d rules", trie.MaxEntries))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	a.build()
	return a, nil
}

// valid returns the rule with its prefix in the one form that is compared, or
// what is wrong with it.
func (r ACLRule) valid() (ACLRule, error) {
	p, err := plainPrefix(r.Prefix)
	if err == nil && r.Sense > Permit {
		err = fmt.Errorf("unknown sense %d", r.Sense)
	}
	if err != nil {
		return r, fmt.Errorf("%s: %w", r.Prefix, err)
	}
	r.Prefix = p
	return r, nil
}

// build makes the index. The trie finds the most specific prefix that covers
// an address; the rules that cover the address are those of that prefix and
// of all above it, and only the last of them counts. So each prefix is given
// the last rule among its own and its parent's.
func (a *ACL) build() {
	a.loaded = a.loaded || len(a.rules) > 0
	var b trie.Builder
	for i, r := range a.rules {
		b.Add(r.Prefix.Masked(), uint32(i))
	}
	a.later = make([]uint32, len(a.rules))
	numbers := map[string]uint32{"": 0}
	a.names = []string{""}
	a.index = trie.Build(&b, func(n trie.Node, above trie.Value, own []uint32) trie.Value {
		last := trie.Value(a.value(own[len(own)-1], n, numbers))
		if above[0] > last[0] {
			last = above
		}
		for _, rule := range own {
			if rule+1 != last[0] {
				a.later[rule] = last[0]
			}
		}
		return last
	})
	a.shut = a.shutFamilies()
}

// aclValue is what a decision tells of the last rule that covers a prefix, so
// that a check need not look at the rule, somewhere else in memory:
//
//	0  1 + its number
//	1  the node of its prefix; 0 if the rest would not hold the rule's origin
//	2  the line of its origin
//	3  the column
//	4  the number of the name, from bit 8 on; bits 1 to 7 are the unit; bit 0 is set if it denies
type aclValue trie.Value

// value makes the value of a rule of prefix n.
func (a *ACL) value(rule uint32, n trie.Node, numbers map[string]uint32) aclValue {
	r := &a.rules[rule]
	name, ok := numbers[r.Origin.Name]
	if !ok {
		name = uint32(len(a.names))
		a.names = append(a.names, r.Origin.Name)
		numbers[r.Origin.Name] = name
	}
	if uint64(r.Origin.Line) > math.MaxUint32 || uint64(r.Origin.Col) > math.MaxUint32 || r.Origin.Unit > 0x7f || name >= 1<<24 {
		n = 0
	}
	v := aclValue{rule + 1, uint32(n), uint32(r.Origin.Line), uint32(r.Origin.Col), name<<8 | uint32(r.Origin.Unit)<<1}
	if r.Sense == Deny {
		v[4] |= 1
	}
	return v
}

func (v *aclValue) denies() bool { return v[4]&1 != 0 }

func (a *ACL) originOf(v *aclValue) Origin {
	return Origin{Name: a.names[v[4]>>8], Line: int(v[2]), Col: int(v[3]), Unit: Unit(v[4] >> 1 & 0x7f)}
}

// shutFamilies finds the rules that speak for the family that has no rule: of
// a family whose deny rules cover all of it, the widest of them.
func (a *ACL) shutFamilies() (shut [2]uint32) {
	var any [2]bool
	var denied [2][]netip.Prefix
	var widest [2]uint32 // 1 + the rule; the last one of those
	for i, r := range a.rules {
		f := family(r.Prefix.Addr())
		any[f] = true
		if later := a.later[i]; r.Sense == Permit || later > 0 && a.rules[later-1].Sense == Permit {
			continue // or permitted again
		}
		denied[f] = append(denied[f], r.Prefix.Masked())
		if w := widest[f]; w == 0 || r.Prefix.Bits() <= a.rules[w-1].Prefix.Bits() {
			widest[f] = uint32(i) + 1
		}
	}
	for f := range shut {
		if other := 1 - f; !any[f] && covered(everything[other], denied[other]) {
			shut[f] = widest[other]
		}
	}
	return shut
}

var everything = [2]netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}

// covered reports whether list covers all of p.
func covered(p netip.Prefix, list []netip.Prefix) bool {
	var within []netip.Prefix // parts of p
	for _, q := range list {
		switch {
		case q.Bits() <= p.Bits() && q.Contains(p.Addr()):
			return true
		case p.Contains(q.Addr()):
			within = append(within, q)
		}
	}
	if len(within) < 2 { // one part is not the whole
		return false
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	high := netip.PrefixFrom(upperHalf(p), p.Bits()+1)
	return covered(low, within) && covered(high, within)
}

// upperHalf is the first address of the upper half of p.
func upperHalf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// family is 0 for IPv4, 1 for IPv6.
func family(addr netip.Addr) int {
	if addr.Is4() {
		return 0
	}
	return 1
}

// Name returns the name; "" for the rules of one consumer.
func (a *ACL) Name() string {
	if a == nil {
		return ""
	}
	return a.name
}

// Origin returns where the ACL is defined: its first section or row.
func (a *ACL) Origin() Origin {
	if a == nil {
		return Origin{}
	}
	return a.origin
}

// Realtime tells whether the ACL comes from a table.
func (a *ACL) Realtime() bool { return a != nil && a.realtime }

// Rules yields the rules in their order.
func (a *ACL) Rules() iter.Seq[ACLRule] {
	return func(yield func(ACLRule) bool) {
		if a == nil {
			return
		}
		for _, r := range a.rules {
			if !yield(r.masked()) {
				return
			}
		}
	}
}

func (r ACLRule) masked() ACLRule {
	r.Prefix = r.Prefix.Masked()
	return r
}

// CheckSource tells whether the ACL permits the address of s. The decision
// holds the rule that decided and, as Info, the ACL's name. An IPv4-mapped
// address is the IPv4 address it stands for; the zero Addr is refused.
func (a *ACL) CheckSource(s Source) Decision {
	s.Addr = plainAddr(s.Addr)
	cause, r := a.decide(s.Addr)
	return a.decision(cause, r, s)
}

// ruling is the rule that decided: its number, -1 for none, and where the
// index found it, nil if it did not.
type ruling struct {
	rule  int
	value *aclValue
}

var noRule = ruling{rule: -1}

// decide finds the cause and the rule.
func (a *ACL) decide(addr netip.Addr) (Cause, ruling) {
	switch {
	case a == nil || !a.loaded:
		return CauseEmptyACL, noRule
	case !addr.IsValid():
		return CauseMalformed, noRule
	}
	if n := a.index.Longest(addr); n != 0 {
		v := (*aclValue)(a.index.Value(n))
		if v.denies() {
			return CauseDeny, ruling{int(v[0]) - 1, v}
		}
		return CausePermit, ruling{int(v[0]) - 1, v}
	}
	if rule := int(a.shut[family(addr)]) - 1; rule >= 0 {
		return CauseFamily, ruling{rule: rule}
	}
	return CauseDefault, noRule
}

func (a *ACL) decision(cause Cause, r ruling, s Source) Decision {
	d := Decision{Allowed: permits(cause), Cause: cause, Source: s, Info: a.Name()}
	switch {
	case r.value != nil && r.value[1] != 0:
		d.Origin, d.Prefix = a.originOf(r.value), a.index.Prefix(trie.Node(r.value[1]))
	case r.rule >= 0:
		d.Origin, d.Prefix = a.rules[r.rule].Origin, a.rules[r.rule].Prefix.Masked()
	}
	return d
}

// permits tells whether an ACL that decided with this cause lets the address
// through.
func permits(c Cause) bool { return c == CausePermit || c == CauseDefault }

// explain records the steps: the decision is decide's, the rules are asked one
// by one.
func (a *ACL) explain(addr netip.Addr, t *tracer) {
	cause, decided := a.decide(addr)
	if a == nil || len(a.rules) == 0 {
		t.step(Step{Origin: a.Origin(), Text: a.title(), Note: noteEmpty(cause)})
		return
	}
	for i, r := range a.rules {
		s := Step{Origin: r.Origin, Subject: addr.String(), Text: r.masked().String(), Matched: r.Prefix.Contains(addr)}
		if a.name != "" {
			s.Text = a.name + ": " + s.Text
		}
		switch {
		case i == decided.rule && cause == CauseFamily:
			s.Note = "refuses the other address family too, which has no rule"
		case i == decided.rule:
			s.Note = "decides"
		case s.Matched:
			s.Note = "overruled by a later rule"
		case addr.IsValid() && r.Prefix.Addr().BitLen() != addr.BitLen():
			s.Note = "other address family"
		}
		t.step(s)
	}
}

func noteEmpty(c Cause) string {
	if c == CauseDefault {
		return "no rules: permits"
	}
	return c.String()
}

// title names the ACL for a person.
func (a *ACL) title() string {
	if a.Name() == "" {
		return "ACL (unnamed)"
	}
	return "ACL " + a.name
}

// same tells whether both hold the same rules in the same order.
func (a *ACL) same(b *ACL) bool {
	return a.loaded == b.loaded && a.realtime == b.realtime &&
		slices.EqualFunc(a.rules, b.rules, func(r, s ACLRule) bool {
			return r.Sense == s.Sense && r.Prefix.Masked() == s.Prefix.Masked()
		})
}

// warnings tells what loads but is likely not meant.
func (a *ACL) warnings() (all []string) {
	const most = 50 // of one ACL
	warn := func(o Origin, format string, args ...any) {
		if len(all) < most {
			all = append(all, fmt.Sprintf("%s: ACL %q: %s", o, a.name, fmt.Sprintf(format, args...)))
		}
	}
	if len(a.rules) == 0 {
		warn(a.origin, "no rules, so it permits everything")
	}
	if len(a.rules) > 0 && !slices.ContainsFunc(a.rules, func(r ACLRule) bool { return r.Sense == Deny }) {
		warn(a.origin, "permits and denies nothing: everybody passes; begin with deny=0.0.0.0/0,::/0")
	}
	for f, rule := range a.shut {
		if rule > 0 {
			warn(a.rules[rule-1].Origin, "denies all of %s and says nothing of %s, which is refused too", familyName(1-f), familyName(f))
		}
	}
	for i, r := range a.rules {
		if r.bare && r.Prefix.Addr().IsUnspecified() {
			warn(r.Origin, "%s is one address; everything is %s/0", r, r.Prefix.Addr())
		}
		if p := r.masked().Prefix; p != r.Prefix {
			warn(r.Origin, "%s has host bits set, it covers %s", r, p)
		}
		if a.later[i] > 0 {
			by := a.rules[a.later[i]-1]
			warn(r.Origin, "%s never decides: %s at %s comes later and covers it", r.masked(), by.masked(), by.Origin)
		}
	}
	return all
}

func familyName(f int) string { return [...]string{"IPv4", "IPv6"}[f] }
