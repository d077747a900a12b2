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

// Len returns the number of ACLs.
func (s *ACLSet) Len() int {
	if s == nil {
		return 0
	}
	return len(s.order)
}

// Generation counts the loads of the handle that the set belongs to, from 1.
func (s *ACLSet) Generation() uint64 {
	if s == nil {
		return 0
	}
	return s.gen
}

// Bind makes the list of a consumer out of this generation; see [ACLs.Bind].
func (s *ACLSet) Bind(names string, base ...ACLRule) (*ACLList, error) {
	return bindNames(names, base).pin(s)
}

// BindLines makes the list of a consumer out of this generation; see
// [ACLs.BindLines].
func (s *ACLSet) BindLines(lines ...ACLLine) (*ACLList, error) { return bindLines(lines).pin(s) }

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

// Bind makes the list of a consumer: the rules of its own, if any, and the
// ACLs named, as in an option "acl=lan,trunks". An address must pass each.
//
// The list is pinned: as an Asterisk consumer it keeps the generation it was
// made from until it is made again. A name that is empty or not defined is an
// error that wraps [ErrUnknown], and no list; a name given twice counts once.
// No names at all, "", are no ACLs; without rules such a list refuses
// everything.
func (a ACLs) Bind(names string, base ...ACLRule) (*ACLList, error) {
	return a.Current().Bind(names, base...)
}

// BindLines is Bind from the lines of a consumer as they stand in its
// section. All permit and deny lines make up the rules of its own, in their
// order and wherever the acl lines stand.
func (a ACLs) BindLines(lines ...ACLLine) (*ACLList, error) { return a.Current().BindLines(lines...) }

// Follow is Bind for a consumer that wants every reload at once. A name that
// a later generation does not define turns the list into a refusal until it
// is back.
func (a ACLs) Follow(names string, base ...ACLRule) (*ACLList, error) {
	return a.follow(bindNames(names, base))
}

// FollowLines is Follow from the lines of a consumer; see BindLines.
func (a ACLs) FollowLines(lines ...ACLLine) (*ACLList, error) { return a.follow(bindLines(lines)) }

func (a ACLs) follow(b *binding) (*ACLList, error) {
	l, err := b.pin(a.Current())
	if err != nil {
		return nil, err
	}
	l.live, l.acls = a, nil
	return l, nil
}

// ACLLine is a line of a consumer, such as a SIP endpoint or a column of its
// row.
type ACLLine struct {
	Option string // "permit", "deny" or "acl", in any letter case
	Value  string // rules as in [ParseACLRules], or names of ACLs
	Origin Origin
}

// binding collects what a list is made of, and the mistakes.
type binding struct {
	rules  []ACLRule
	base   bool // there are lines of the consumer's own
	names  []string
	from   []Origin // of names
	errors []error
}

func bindNames(names string, base []ACLRule) *binding {
	b := &binding{rules: base, base: len(base) > 0}
	if names != "" {
		b.addNames(ACLLine{Value: names})
	}
	return b
}

func bindLines(lines []ACLLine) *binding {
	b := &binding{}
	for _, l := range lines {
		if strings.EqualFold(l.Option, "acl") {
			b.addNames(l)
			continue
		}
		sense, ok := parseSense(l.Option)
		if !ok {
			b.errors = append(b.errors, &LoadError{Origin: l.Origin, Value: l.Option,
				Err: fmt.Errorf("found option %q, want permit, deny or acl", shorten(l.Option))})
			continue
		}
		b.base = true
		rules, errs := parseRules(sense, l.Value, l.Origin.shift)
		b.rules = append(b.rules, rules...)
		for _, e := range errs {
			b.errors = append(b.errors, e)
		}
	}
	return b
}

// shift is the origin of what stands off bytes further in the line.
func (o Origin) shift(off int) Origin {
	if o.Col > 0 {
		o.Col += off
	}
	return o
}

// addNames reads the value of an acl line.
//
//	value = name { "," name } .
func (b *binding) addNames(l ACLLine) {
	for name := range strings.SplitSeq(l.Value, ",") {
		switch name = strings.Trim(name, " \t"); {
		case name == "":
			b.errors = append(b.errors, &LoadError{Origin: l.Origin, Value: l.Value,
				Err: fmt.Errorf("found an empty name in %q, want the name of an ACL: %w", shorten(l.Value), ErrUnknown)})
		case !slices.Contains(b.names, name):
			b.names, b.from = append(b.names, name), append(b.from, l.Origin)
		}
	}
}

// pin looks the names up in s.
func (b *binding) pin(s *ACLSet) (*ACLList, error) {
	l := &ACLList{names: b.names}
	errs := b.errors
	if b.base {
		base, err := makeACL("", b.rules)
		if err != nil {
			errs = append(errs, err)
		}
		l.base = base
	}
	for i, name := range b.names {
		a, ok := s.Lookup(name)
		if !ok {
			errs = append(errs, &LoadError{Origin: b.from[i], Value: name, Err: fmt.Errorf("ACL %q: %w", shorten(name), ErrUnknown)})
		}
		l.acls = append(l.acls, a)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("sipacl: %w", errors.Join(errs...))
	}
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
	acls  []*ACL // by names, when pinned
	live  ACLs   // asked for the names, when following: acls is nil then
}

// Names yields the names of the list in order.
func (l *ACLList) Names() iter.Seq[string] {
	if l == nil {
		return slices.Values([]string(nil))
	}
	return slices.Values(l.names)
}

// Uses tells whether one of these names is in the list: whether a reload that
// changed them concerns its consumer.
func (l *ACLList) Uses(names ...string) bool {
	return l != nil && slices.ContainsFunc(names, func(n string) bool { return slices.Contains(l.names, n) })
}

// Check tells whether addr passes the list. The decision is that of the ACL
// that refuses, or of the last one in which a rule permits; Info is its name.
func (l *ACLList) Check(addr netip.Addr) Decision { return l.CheckSource(Source{Addr: addr}) }

// CheckSource is Check for the address of s.
func (l *ACLList) CheckSource(s Source) Decision {
	s.Addr = plainAddr(s.Addr)
	v := l.decide(s.Addr)
	d := v.acl.decision(v.cause, v.ruling, s)
	if v.cause == CauseUnknownACL {
		d.Info = v.name
	}
	return d
}

// CheckRequest is Check for the socket that req came from. It is a [Check].
func (l *ACLList) CheckRequest(req *sip.Request) Decision {
	s, err := SourceOf(req)
	if err != nil {
		return Decision{Cause: CauseNoSource}
	}
	return l.CheckSource(s)
}

// Allow is CheckSource in the shape that [ReadFilter], [NewListener] and
// [NewPacketConn] take.
func (l *ACLList) Allow(s Source) bool { return permits(l.decide(plainAddr(s.Addr)).cause) }

// verdict is a decision before it is written out.
type verdict struct {
	cause  Cause
	ruling // of acl
	acl    *ACL
	name   string
}

// decide asks the ACLs in order. What it returns permits only if all do.
func (l *ACLList) decide(addr netip.Addr) verdict {
	v := verdict{cause: CauseEmptyACL, ruling: noRule}
	if l == nil {
		return v
	}
	if l.base != nil {
		if v = v.and(l.base, "", addr); !permits(v.cause) {
			return v
		}
	}
	set := l.set()
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
func (l *ACLList) set() *ACLSet { return l.live.Current() }

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

// Explain is Check with a step for every rule of every ACL.
func (l *ACLList) Explain(addr netip.Addr) Trace {
	t := Trace{Decision: l.Check(addr)}
	if l == nil {
		return t
	}
	addr = plainAddr(addr)
	if l.base != nil {
		t.Steps = append(t.Steps, l.base.explain(addr)...)
	}
	set := l.set()
	for i, name := range l.names {
		a := l.named(set, i)
		if a == nil {
			t.Steps = append(t.Steps, Step{Text: "ACL " + name, Note: CauseUnknownACL.String()})
			continue
		}
		for _, s := range a.explain(addr) {
			s.Text = name + ": " + strings.TrimPrefix(s.Text, "ACL "+name)
			t.Steps = append(t.Steps, s)
		}
	}
	return t
}

// ACLFor returns the check of a list that pick chooses for each request: that
// of the endpoint by its listener, From user or digest user. A request for
// which pick returns nil is refused, as all are without a pick.
//
// What pick reads in the request is written by the sender. A user is known
// only after digest verification; until then, a list picked by From user
// keeps honest endpoints to their addresses and does no more.
func ACLFor(pick func(req *sip.Request) *ACLList) Check {
	if pick == nil {
		return AllOf()
	}
	return func(req *sip.Request) Decision { return pick(req).CheckRequest(req) }
}

// ContactConfig says how [ACLList.CheckContacts] treats what is no address.
type ContactConfig struct {
	// SkipNames lets Contacts with a host name pass unasked; unset, they are
	// refused. The check looks up no names: whoever resolves one later must
	// ask about the addresses then.
	SkipNames bool
}

// CheckContacts tells whether every Contact of req leads to an address that
// passes the list, as contact_acl does for REGISTER: its host, and every maddr
// parameter that it has. It stands beside the check of the source. Right of
// the decision is the Contact that was refused.
//
// Contacts that are no SIP URI are refused. A request without Contact, and a
// "Contact: *" that stands alone, bind nothing and are allowed, as long as the
// list lets anybody pass: one without rules and names, or with a name that is
// not defined, refuses these too.
func (l *ACLList) CheckContacts(req *sip.Request, cfg ContactConfig) Decision {
	if req == nil {
		return Decision{Cause: CauseMalformed}
	}
	s, _ := SourceOf(req) // tells who it was; not asked about
	if d := l.closed(); d.Cause != CauseNone {
		d.Source = s
		return d
	}
	contacts := req.GetHeaders("Contact")
	d := Decision{Allowed: true, Cause: CauseNoContact, Source: s}
	for _, h := range contacts {
		c, ok := h.(*sip.ContactHeader)
		if !ok {
			return Decision{Cause: CauseMalformed, Source: s, Right: shorten(h.Value())}
		}
		if star(c) {
			if len(contacts) > 1 {
				return Decision{Cause: CauseMalformed, Source: s, Right: "*"}
			}
			return Decision{Allowed: true, Cause: CauseStar, Source: s, Right: "*"}
		}
		if d = l.checkContact(c, cfg); !d.Allowed {
			d.Source, d.Right = s, shorten(c.Address.String())
			return d
		}
		d.Source = s
	}
	return d
}

// Contacts is CheckContacts as a [Check].
func (l *ACLList) Contacts(cfg ContactConfig) Check {
	return func(req *sip.Request) Decision { return l.CheckContacts(req, cfg) }
}

// star tells the bare "*" from "<sip:*>", which parses to much the same.
func star(c *sip.ContactHeader) bool {
	return c.Address.Wildcard && c.Address.Scheme == "" && c.Address.User == "" && len(c.Params) == 0
}

// checkContact asks about the host and every maddr, in the URI or behind it:
// who is lenient elsewhere may follow any of them. Parameters in which more
// could be hidden, a maddr or another Contact, are refused.
func (l *ACLList) checkContact(c *sip.ContactHeader, cfg ContactConfig) Decision {
	u := &c.Address
	if !strings.EqualFold(u.Scheme, "sip") && !strings.EqualFold(u.Scheme, "sips") {
		return Decision{Cause: CauseMalformed, Info: "no SIP URI"}
	}
	if !openParams(u.UriParams, false) || !openParams(u.Headers, false) || !openParams(c.Params, true) {
		return Decision{Cause: CauseMalformed, Info: "a parameter may hide another Contact"}
	}
	d := l.checkHost(u.Host, cfg)
	for _, params := range []sip.HeaderParams{u.UriParams, c.Params} {
		for _, p := range params {
			if !d.Allowed {
				return d
			}
			if strings.EqualFold(strings.Trim(p.K, " \t"), "maddr") {
				d = l.checkHost(strings.Trim(p.V, " \t"), cfg)
			}
		}
	}
	return d
}

// checkHost asks about a host as it stands in a URI. What a resolver might
// take for an address though it is none ("10.1", "0x0a000001") is refused.
func (l *ACLList) checkHost(host string, cfg ContactConfig) Decision {
	if a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")); err == nil && a.Zone() == "" {
		return l.Check(a)
	}
	switch name, ok := hostName(host); {
	case !ok || hexNumber(name[strings.LastIndexByte(name, '.')+1:]):
		return Decision{Cause: CauseMalformed, Info: "host is neither address nor name"}
	case !cfg.SkipNames:
		return Decision{Cause: CauseMalformed, Info: "host is a name"}
	}
	return Decision{Allowed: true, Cause: CauseDefault, Info: "host is a name"}
}

// hexNumber tells "0xa", which resolvers take for a part of an IPv4 address.
func hexNumber(s string) bool {
	digits, ok := strings.CutPrefix(s, "0x")
	return ok && strings.Trim(digits, "0123456789abcdef") == ""
}

// closed is the refusal of a list that refuses everything, whatever its rules
// say; its cause is CauseNone if there are rules to ask.
func (l *ACLList) closed() Decision {
	if l == nil || l.base == nil && len(l.names) == 0 {
		return Decision{Cause: CauseEmptyACL}
	}
	set := l.set()
	for i, name := range l.names {
		if l.named(set, i) == nil {
			return Decision{Cause: CauseUnknownACL, Info: name}
		}
	}
	return Decision{}
}
