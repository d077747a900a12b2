// Named ACLs in service, and the list of one consumer: acl=lan,trunks.

package sipacl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/hosts"
)

// maxACLName is the longest name of an ACL, in bytes.
const maxACLName = 255

// ACLSet is one immutable generation of named ACLs. It is safe for concurrent
// use and stays valid for as long as it is held. A nil set knows no name.
type ACLSet struct {
	byName map[string]*ACL
	order  []*ACL // as they were defined
	gen    uint64
}

// Lookup returns the ACL of that name, letter case included.
func (s *ACLSet) Lookup(name string) (*ACL, bool) {
	if s == nil {
		return nil, false
	}
	a, ok := s.byName[name]
	return a, ok
}

// All yields the ACLs in the order in which they are defined.
func (s *ACLSet) All() iter.Seq[*ACL] {
	return func(yield func(*ACL) bool) {
		if s == nil {
			return
		}
		for _, a := range s.order {
			if !yield(a) {
				return
			}
		}
	}
}

// Generation counts the loads of the handle that the set belongs to, from 1.
func (s *ACLSet) Generation() uint64 {
	if s == nil {
		return 0
	}
	return s.gen
}

// Bind makes the list of a consumer: the rules of its own, if any, and the
// ACLs named, as in an option "acl=lan,trunks". An address must pass each.
//
// The list is pinned: as an Asterisk consumer it keeps the generation it was
// made from until it is made again. A name that is empty or not defined is an
// error that wraps [ErrUnknown], and no list; a name given twice counts once.
// No names at all, "", are no ACLs; without rules such a list refuses
// everything.
//
// What stands in permit and deny lines of a consumer, [ParseACLRules] reads.
func (s *ACLSet) Bind(names string, base ...ACLRule) (*ACLList, error) {
	l := &ACLList{}
	var errs []error
	if len(base) > 0 {
		own, err := makeACL("", base)
		if err != nil {
			errs = append(errs, err)
		}
		l.base = own
	}
	for name := range strings.SplitSeq(names, ",") {
		name = strings.Trim(name, " \t")
		a, ok := s.Lookup(name)
		switch {
		case names == "" || slices.Contains(l.names, name):
			continue
		case name == "":
			errs = append(errs, fmt.Errorf("found an empty name in %q, want the name of an ACL: %w", shorten(names), ErrUnknown))
		case !ok:
			errs = append(errs, unknown("ACL ", name, s.nameList()))
		}
		l.names, l.acls = append(l.names, name), append(l.acls, a)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("sipacl: %w", errors.Join(errs...))
	}
	return l, nil
}

// nameList gives the names of the ACLs, for messages.
func (s *ACLSet) nameList() (names []string) {
	for a := range s.All() {
		names = append(names, a.name)
	}
	return names
}

func (s *ACLSet) number(n uint64) { s.gen = n }

// ACLs holds the named ACLs in service: the handle to bind lists with. The
// zero ACLs knows no name.
type ACLs struct{ Part[ACLSet] }

// NewACLs loads named ACLs that stand alone. The error names every mistake of
// every file and table. A name that one source defines hides the same name in
// those after it, as acl.conf hides the realtime table.
func NewACLs(ctx context.Context, sources ...ACLSource) (ACLs, error) {
	if err := checkSources("acl", sources); err != nil {
		return ACLs{}, err
	}
	perm, err := Open(ctx, Config{ACLs: sources})
	if err != nil {
		return ACLs{}, err
	}
	return perm.acls, nil
}

// addACLs makes the part of the named ACLs.
func (p *Permissions) addACLs(sources []ACLSource) error {
	if len(sources) == 0 {
		return nil
	}
	if err := checkSources("acl", sources); err != nil {
		return err
	}
	sources = slices.Clone(sources)
	p.acls.Part = addPart(p, "acl", func(ctx context.Context, old *ACLSet) (loaded, error) {
		return loadACLSet(ctx, old, sources)
	})
	p.acls.p.version = versions(sources)
	return nil
}

// Follow makes the list of a consumer as [ACLSet.Bind] does, for one that
// wants every reload at once. A name that a later generation does not define
// turns the list into a refusal until it is back.
func (a ACLs) Follow(names string, base ...ACLRule) (*ACLList, error) {
	l, err := a.Current().Bind(names, base...)
	if err != nil {
		return nil, err
	}
	l.live, l.acls = a, nil
	return l, nil
}

// ACLList is what a consumer asks: its own rules first, if it has any, then
// named ACLs. An address must pass each of them. A list without rules and
// names, a nil one and the zero one refuse everything.
//
// It is safe for concurrent use; a check takes no lock and allocates nothing.
type ACLList struct {
	base  *ACL // nil: no lines of its own
	names []string
	acls  []*ACL  // by names, when pinned
	live  ACLs    // asked for the names, when following: acls is nil then
	trace *tracer // of a copy that was made to trace
}

// ACLs yields what an address must pass, in order, by name: the list's own
// rules as an ACL without a name, if it has any, then the named ACLs. They are
// of one generation, the one in service if the list follows reloads. A name that
// this generation does not define comes with a nil ACL, which refuses.
func (l *ACLList) ACLs() iter.Seq2[string, *ACL] {
	return func(yield func(string, *ACL) bool) {
		if l == nil || l.base != nil && !yield("", l.base) {
			return
		}
		set := l.set(nil)
		for i, name := range l.names {
			if !yield(name, l.named(set, i)) {
				return
			}
		}
	}
}

// Uses tells whether one of these names is in the list: whether a reload that
// changed them concerns its consumer.
func (l *ACLList) Uses(names ...string) bool {
	return l != nil && slices.ContainsFunc(names, func(n string) bool { return slices.Contains(l.names, n) })
}

// Check tells whether the socket that r came from passes the list. It is a
// [Check]; see CheckSource.
func (l *ACLList) Check(r Request) Decision {
	if !r.Source.Addr.IsValid() {
		return noSource()
	}
	return l.asked(r.trace).check(r.Source, l.set(r.at))
}

// CheckSource tells whether the address of s passes the list. The decision is
// that of the ACL that refuses, or of the last one in which a rule permits;
// Info is its name.
func (l *ACLList) CheckSource(s Source) Decision { return l.check(s, l.set(nil)) }

func (l *ACLList) check(s Source, set *ACLSet) Decision {
	s.Addr = plainAddr(s.Addr)
	v := l.decide(s.Addr, set)
	d := v.acl.decision(v.cause, v.ruling, s)
	if v.cause == CauseUnknownACL {
		d.Info = v.name
	}
	if l != nil && l.trace != nil {
		l.explain(s.Addr, set, d)
	}
	return d
}

// asked is l, or one that traces if a request does.
func (l *ACLList) asked(into *Trace) *ACLList {
	if into == nil {
		return l
	}
	return l.tracing(&tracer{into: into, check: "acl"})
}

// Tracing returns l with every rule that a question looks at recorded in into:
// for one question.
func (l *ACLList) Tracing(into *Trace) *ACLList { return l.tracing(&tracer{into: into}) }

func (l *ACLList) tracing(tr *tracer) *ACLList {
	next := ACLList{}
	if l != nil {
		next = *l
	}
	next.trace = tr
	return &next
}

// verdict is a decision before it is written out.
type verdict struct {
	cause  Cause
	ruling // of acl
	acl    *ACL
	name   string
}

// decide asks the ACLs in order. What it returns permits only if all do.
func (l *ACLList) decide(addr netip.Addr, set *ACLSet) verdict {
	v := verdict{cause: CauseEmptyACL, ruling: noRule}
	if l == nil {
		return v
	}
	if l.base != nil {
		if v = v.and(l.base, "", addr); !permits(v.cause) {
			return v
		}
	}
	for i, name := range l.names {
		a := l.named(set, i)
		if a == nil {
			return verdict{cause: CauseUnknownACL, ruling: noRule, name: name}
		}
		if v = v.and(a, name, addr); !permits(v.cause) {
			return v
		}
	}
	return v
}

// set is what a list that follows looks its names up in.
func (l *ACLList) set(at *Snapshot) *ACLSet {
	if l == nil {
		return nil
	}
	return in(l.live.Part, at)
}

// named returns the ACL of the i-th name, nil if set does not know it.
func (l *ACLList) named(set *ACLSet, i int) *ACL {
	if l.acls != nil {
		return l.acls[i]
	}
	a, _ := set.Lookup(l.names[i])
	return a
}

// and is the verdict of a, or v itself where a has no rule to show for it.
func (v verdict) and(a *ACL, name string, addr netip.Addr) verdict {
	cause, r := a.decide(addr)
	if cause == CauseDefault && v.cause == CausePermit {
		return v
	}
	return verdict{cause, r, a, name}
}

// explain records a step for every rule of every ACL.
func (l *ACLList) explain(addr netip.Addr, set *ACLSet, d Decision) {
	l.trace.into.Decision = d
	if l.base != nil {
		l.base.explain(addr, l.trace)
	}
	for i, name := range l.names {
		if a := l.named(set, i); a != nil {
			a.explain(addr, l.trace)
		} else {
			l.trace.step(Step{Text: "ACL " + name, Note: CauseUnknownACL.String()})
		}
	}
}

// ACLFor returns the check of a list that pick chooses for each request: that
// of the endpoint by its listener, From user or digest user. A request for
// which pick returns nil is refused, as all are without a pick.
//
// What pick reads in the request is written by the sender. A user is known
// only after digest verification; until then, a list picked by From user
// keeps honest endpoints to their addresses and does no more.
func ACLFor(pick func(Request) *ACLList) Check {
	if pick == nil {
		return AllOf()
	}
	return func(r Request) Decision { return pick(r).Check(r) }
}

// ContactConfig says how [ACLList.Contacts] treats what is no address.
type ContactConfig struct {
	// SkipNames lets Contacts with a host name pass unasked; unset, they are
	// refused. The check looks up no names: whoever resolves one later must
	// ask about the addresses then.
	SkipNames bool
}

// Contacts returns the check "every Contact leads to addresses that pass the
// list", as contact_acl does for REGISTER. The list is asked about the same
// places in Contact as a [Protector] looks at: the host, the parameters that
// lead elsewhere, and every address in other parameters. An IPv6 address with
// an IPv4 address in it passes if both do. It stands beside the check of the
// source. Right of the decision is the Contact that was refused.
//
// Contacts that are no SIP URI are refused. A request without Contact, and a
// "Contact: *" that stands alone, bind nothing and are allowed, as long as the
// list lets anybody pass: one without rules and names, or with a name that is
// not defined, refuses these too.
func (l *ACLList) Contacts(cfg ContactConfig) Check {
	return func(r Request) Decision {
		d := l.asked(r.trace).checkContacts(r.Request, l.set(r.at), cfg)
		d.Source = r.Source
		return d
	}
}

func (l *ACLList) checkContacts(req *sip.Request, set *ACLSet, cfg ContactConfig) Decision {
	if req == nil {
		return Decision{Cause: CauseMalformed}
	}
	if d := l.closed(set); d.Cause != CauseNone {
		return d
	}
	var w walk
	switch w.request(req, false); {
	case w.why != "":
		return Decision{Cause: CauseMalformed, Right: shorten(w.odd.text), Info: w.why}
	case w.star:
		return Decision{Allowed: true, Cause: CauseStar, Right: "*"}
	}
	d := Decision{Allowed: true, Cause: CauseNoContact}
	for i := range w.n {
		p := w.at(i)
		if p.kind == numberPlace || p.kind == namePlace {
			continue // leads nowhere by itself
		}
		if d = l.checkPlace(p, set, cfg); !d.Allowed {
			d.Right = shorten(p.uri.String())
			return d
		}
	}
	return d
}

// checkPlace asks about a place in a Contact. What a resolver might take for
// an address though it is none ("10.1", "0x0a000001") is refused.
func (l *ACLList) checkPlace(p *place, set *ACLSet, cfg ContactConfig) (d Decision) {
	var few, all [4]netip.Addr
	addrs, kind := p.read(few[:0])
	switch {
	case p.kind == noPlace:
		return Decision{Cause: CauseMalformed, Info: "no SIP URI"}
	case kind == hosts.Bad:
		return Decision{Cause: CauseMalformed, Info: "host is neither address nor name"}
	case kind == hosts.Domain && !cfg.SkipNames:
		return Decision{Cause: CauseMalformed, Info: "host is a name"}
	case kind == hosts.Domain:
		return Decision{Allowed: true, Cause: CauseDefault, Info: "host is a name"}
	}
	for _, a := range addrs {
		for _, a := range hosts.Embedded(all[:0], a, nil) {
			if d = l.check(Source{Addr: a}, set); !d.Allowed {
				return d
			}
		}
	}
	return d
}

// closed is the refusal of a list that refuses everything, whatever its rules
// say; its cause is CauseNone if there are rules to ask.
func (l *ACLList) closed(set *ACLSet) Decision {
	if l == nil || l.base == nil && len(l.names) == 0 {
		return Decision{Cause: CauseEmptyACL}
	}
	for i, name := range l.names {
		if l.named(set, i) == nil {
			return Decision{Cause: CauseUnknownACL, Info: name}
		}
	}
	return Decision{}
}
