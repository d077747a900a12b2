// Protector: no registration leads to a protected address.

package sipacl

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/hosts"
)

// HostNames says what a [Protector] does with a Contact that is a host name:
// anybody can make a name point to any address.
type HostNames uint8

const (
	RefuseHostNames  HostNames = iota // only addresses register
	PassHostNames                     // a name registers unless the partition lists it; what it resolves to is not checked
	ResolveHostNames                  // a name registers if no address it leads to now, SRV included, is protected
)

// ProtectConfig lists the addresses that nobody may register, gateways, media
// servers, the proxy itself, beside those that are always protected:
// unspecified, loopback, link-local, multicast and broadcast addresses, and
// the metadata addresses of clouds. The zero config protects those.
type ProtectConfig struct {
	Prefixes []netip.Prefix

	// Partition and Groups protect what an address table holds, whatever
	// port, protocol and pattern its rows have. Both are set or none.
	Partition Partition
	Groups    []GroupID

	// AllowSpecial holds those of the always protected addresses that may
	// register nevertheless: 127.0.0.0/8 for a server with all its phones on
	// one machine. It takes nothing from Prefixes and Partition.
	AllowSpecial []netip.Prefix

	// NAT64 are the prefixes that translators of this network use, of the
	// lengths of RFC 6052. 64:ff9b::/96 and 64:ff9b:1::/48 are known.
	NAT64 []netip.Prefix

	HostNames HostNames
	Resolver  Resolver      // for ResolveHostNames
	Timeout   time.Duration // of resolving for one request; 0 is 2 seconds

	// What one request may hold and cost; more is refused.
	MaxContacts int // addresses in Contact; 0 is 10
	MaxNames    int // names that are resolved; 0 is 16
	MaxLookups  int // questions to the Resolver; a name takes seven and one a target; 0 is 64
}

// Protector keeps addresses from being registered. Without it a user
// registers a gateway's address as Contact, and the calls to that user leave
// through the gateway, with no check between.
//
// It looks at every address in Contact, Path, Route and Record-Route of a
// request: at the host of the URI, at maddr, received, alias, fs_path and
// x-ast-orig-host, and at whatever looks like an address in other parameters
// and in the headers of the URI, escaped up to three times. In those other
// places a number of fewer than four parts, as 5060, 0.5 or 167772161, is
// protected by Prefixes and Partition only, and a host name by Partition only.
//
// An address is recognised in every spelling that some resolver understands:
// with leading zeros, octal or decimal, in hexadecimal, as one number, in
// brackets, with a trailing dot, and embedded in IPv6: mapped, compatible,
// translated, NAT64, 6to4, Teredo, ISATAP. A host that is neither a canonical
// address nor a host name is refused even if it is not protected. So is a Path
// or Route that sipgo would read otherwise than others do.
//
// The zero Protector and a nil one refuse everything.
type Protector struct {
	cfg ProtectConfig
	ok  bool
}

// NewProtector checks cfg.
func NewProtector(cfg ProtectConfig) (*Protector, error) {
	if cfg.HostNames > ResolveHostNames || cfg.HostNames == ResolveHostNames && cfg.Resolver == nil {
		return nil, errors.New("sipacl: protector: want a resolver to resolve host names")
	}
	if (len(cfg.Groups) > 0) != (cfg.Partition.p != nil) {
		return nil, errors.New("sipacl: protector: want a partition and groups, or neither")
	}
	if err := cfg.addresses(); err != nil {
		return nil, fmt.Errorf("sipacl: protector: %w", err)
	}
	cfg.defaults()
	return &Protector{cfg, true}, nil
}

// addresses checks the lists of cfg, and makes copies of them.
func (cfg *ProtectConfig) addresses() (err error) {
	cfg.Groups, cfg.NAT64 = slices.Clone(cfg.Groups), slices.Clone(cfg.NAT64)
	if cfg.Prefixes, err = plainPrefixes(cfg.Prefixes); err != nil {
		return fmt.Errorf("in Prefixes: %w", err)
	}
	if cfg.AllowSpecial, err = plainPrefixes(cfg.AllowSpecial); err != nil {
		return fmt.Errorf("in AllowSpecial: %w", err)
	}
	for _, p := range cfg.AllowSpecial {
		if !hosts.HoldsSpecial(p) {
			return fmt.Errorf("%s in AllowSpecial holds no address that is always protected", p)
		}
	}
	for _, p := range cfg.NAT64 {
		if !hosts.ValidNAT64(p) {
			return fmt.Errorf("%s in NAT64: want IPv6 of length 32, 40, 48, 56, 64 or 96", p)
		}
	}
	return nil
}

func (cfg *ProtectConfig) defaults() {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	for _, limit := range []struct {
		value *int
		def   int
	}{{&cfg.MaxContacts, 10}, {&cfg.MaxNames, 16}, {&cfg.MaxLookups, 64}} {
		if *limit.value <= 0 {
			*limit.value = limit.def
		}
	}
}

// plainPrefixes returns prefixes in the form that plain addresses are compared
// with: unmapped and masked.
func plainPrefixes(prefixes []netip.Prefix) ([]netip.Prefix, error) {
	plain := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		switch {
		case !p.IsValid():
			return nil, errors.New("a prefix is not set")
		case p.Addr().Is4In6() && p.Bits() < 96:
			return nil, fmt.Errorf("%s is half IPv4: want a mask of 96 at least", p)
		case p.Addr().Is4In6():
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		plain[i] = p.Masked()
	}
	return plain, nil
}

func contains(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// CheckRegister refuses a REGISTER that leads to a protected address. The
// Right of the decision is what leads there, Info says where it stands and why
// it is refused. It allows nothing beyond that: join it with the other checks
// by [AllOf]. It is a [Check]. With ResolveHostNames it does I/O, for Timeout
// at the most.
func (p *Protector) CheckRegister(r Request) Decision {
	if p == nil || !p.ok || r.Request == nil {
		return Decision{Source: r.Source}
	}
	c := protection{Protector: p, ctx: context.Background()}
	if p.cfg.HostNames == ResolveHostNames {
		var cancel context.CancelFunc
		c.ctx, cancel = context.WithTimeout(c.ctx, p.cfg.Timeout)
		defer cancel()
	}
	c.table, c.trace = asked(p.cfg.Partition.Part, r.at, r.trace), r.trace
	if c.request(r.Request) {
		return Decision{Allowed: true, Cause: CauseNotProtected, Source: r.Source}
	}
	c.refusal.Source = r.Source
	return c.refusal
}

// CheckHost refuses a host that is a protected address, or a name that is.
func (p *Protector) CheckHost(ctx context.Context, host string) Decision {
	if p == nil || !p.ok {
		return Decision{}
	}
	c := protection{Protector: p, ctx: ctx, table: p.cfg.Partition.Current()}
	if c.harmless(&place{text: host}) {
		return Decision{Allowed: true, Cause: CauseNotProtected, Right: host}
	}
	return c.refusal
}

// protection is one check. Its methods report whether what they are given is
// harmless; one that is not sets refusal.
type protection struct {
	*Protector
	ctx     context.Context
	table   *Table // of the partition
	refusal Decision
	trace   *Trace // nil most of the time

	names   int      // that were resolved
	known   []string // those that are harmless
	lookups *budget
}

func (c *protection) refuse(cause Cause, p *place, why string) bool {
	if where := p.where(); where != "" {
		why = where + ": " + why
	}
	c.refusal = Decision{Cause: cause, Right: shorten(p.text), Info: why}
	return false
}

// request looks at the places of req: up to the first that is refused, and at
// all of them for a trace.
func (c *protection) request(req *sip.Request) bool {
	var w walk
	w.request(req, true)
	if w.why != "" {
		return c.note(&w.odd, c.refuse(CauseMalformed, &w.odd, w.why))
	}
	if w.contacts > c.cfg.MaxContacts {
		all := place{field: "Contact"}
		return c.note(&all, c.refuse(CauseMalformed, &all, fmt.Sprintf("more than %d addresses", c.cfg.MaxContacts)))
	}
	var first Decision
	for i := range w.n {
		p := w.at(i)
		if c.note(p, c.harmless(p)) {
			continue
		}
		if first.Cause == CauseNone {
			first = c.refusal
		}
		if c.trace == nil {
			break
		}
	}
	c.refusal = first
	return first.Cause == CauseNone
}

// note adds a place to the trace, and returns what was found out about it.
func (c *protection) note(p *place, harmless bool) bool {
	if c.trace == nil {
		return harmless
	}
	s := Step{Check: "protector", Text: p.where(), Subject: p.text, Matched: !harmless}
	if !harmless {
		s.Note = strings.TrimPrefix(c.refusal.Info, s.Text+": ")
	}
	c.trace.Steps = append(c.trace.Steps, s)
	return harmless
}

func (c *protection) harmless(p *place) bool {
	if p.kind == namePlace {
		return c.asked(p, Query{Host: p.text})
	}
	var few [4]netip.Addr
	addrs, kind := p.read(few[:0])
	for _, a := range addrs {
		if !c.passes(p, a) {
			return false
		}
	}
	switch kind {
	case hosts.Address:
		return true
	case hosts.Domain:
		return c.name(p)
	}
	return c.refuse(CauseMalformed, p, "neither a canonical address nor a host name")
}

// passes looks at an address that a place leads to, and at those in it.
func (c *protection) passes(p *place, a netip.Addr) bool {
	var few [4]netip.Addr
	for _, a := range hosts.Embedded(few[:0], a, c.cfg.NAT64) {
		what := hosts.Special(a)
		switch {
		case p.kind == numberPlace && a.As4()[0] == 0:
			continue // a number below 2^24 is a count
		case contains(c.cfg.Prefixes, a):
			return c.refuse(CauseProtected, p, a.String()+" is protected")
		case p.kind != numberPlace && what != "" && !contains(c.cfg.AllowSpecial, a):
			return c.refuse(CauseProtected, p, a.String()+" is "+what)
		case !c.asked(p, Query{Addr: a}):
			return false
		}
	}
	return true
}

// asked looks for an address or host in the groups of the partition. A
// partition that cannot answer protects everything.
func (c *protection) asked(p *place, q Query) bool {
	q.Any = AnyPort | AnyProto | AnySubject
	for _, g := range c.cfg.Groups {
		q.Group = g
		switch d := c.table.CheckAddress(q); {
		case d.Allowed:
			what := q.Host
			if q.Addr.IsValid() {
				what = q.Addr.String()
			}
			return c.refuse(CauseProtected, p, what+" is protected")
		case d.Cause != CauseNoAddress:
			return c.refuse(d.Cause, p, "the partition does not answer")
		}
	}
	return true
}

// name looks at a host name.
func (c *protection) name(p *place) bool {
	if c.cfg.HostNames == RefuseHostNames {
		return c.refuse(CauseProtected, p, "host names do not register")
	}
	if !c.asked(p, Query{Host: p.text}) {
		return false
	}
	return c.cfg.HostNames == PassHostNames || c.resolves(p)
}

// resolves looks at the addresses that a name leads to.
func (c *protection) resolves(p *place) bool {
	name := strings.TrimSuffix(p.text, ".")
	if slices.Contains(c.known, name) {
		return true
	}
	if c.names++; c.names > c.cfg.MaxNames {
		return c.refuse(CauseError, p, fmt.Sprintf("more than %d host names", c.cfg.MaxNames))
	}
	if c.lookups == nil {
		c.lookups = &budget{c.cfg.Resolver, c.cfg.MaxLookups}
	}
	addrs, err := resolveName(c.ctx, c.lookups, name, true)
	switch {
	case errors.Is(err, errBudget):
		return c.refuse(CauseError, p, fmt.Sprintf("more than %d look-ups", c.cfg.MaxLookups))
	case err != nil || len(addrs) == 0:
		return c.refuse(CauseError, p, "the name does not resolve")
	}
	for _, a := range addrs {
		if !c.passes(p, a) {
			return false
		}
	}
	c.known = append(c.known, name)
	return true
}

// budget is a Resolver that answers a number of questions.
type budget struct {
	Resolver
	left int
}

var errBudget = errors.New("too many look-ups")

func (b *budget) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if b.left--; b.left < 0 {
		return nil, errBudget
	}
	return b.Resolver.LookupNetIP(ctx, network, host)
}

func (b *budget) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if b.left--; b.left < 0 {
		return "", nil, errBudget
	}
	return b.Resolver.LookupSRV(ctx, service, proto, name)
}
