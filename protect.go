// Protector: no registration leads to a protected address.

package sipacl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"
)

// HostNames says what a [Protector] does with a Contact that is a host name:
// anybody can make a name point to any address.
type HostNames uint8

const (
	RefuseHostNames  HostNames = iota // only addresses register
	PassHostNames                     // every name registers that the partition does not hold: else only literal addresses are protected
	ResolveHostNames                  // a name registers if no address it leads to now, SRV included, is protected
)

// ProtectConfig lists the addresses that nobody may register: gateways, media
// servers, the proxy itself. A config that lists none is an error.
type ProtectConfig struct {
	Prefixes []netip.Prefix

	// Partition and Groups protect what an address table holds, whatever
	// port, protocol and pattern its rows have. Without Groups the partition
	// is not asked.
	Partition Partition
	Groups    []GroupID

	HostNames HostNames
	Resolver  Resolver      // for ResolveHostNames
	Timeout   time.Duration // of resolving for one request; 0 is 2 seconds
}

// Protector keeps addresses from being registered. Without it a user
// registers a gateway's address as Contact, and the calls to that user leave
// through the gateway, with no check between.
//
// It looks at the host of every Contact, Path and Route of a request, and at
// the maddr, received and alias in their parameters and the Route in their
// headers. An address is recognised in every spelling that some resolver
// understands: with leading zeros, octal or decimal, in hexadecimal, as one
// number, IPv4-mapped, embedded in a NAT64 or 6to4 address, in brackets, with a
// trailing dot. What is neither a canonical address nor a host name is refused
// even if it is not protected.
//
// The zero Protector and a nil one refuse everything.
type Protector struct {
	cfg ProtectConfig
	ok  bool
}

// NewProtector checks cfg.
func NewProtector(cfg ProtectConfig) (*Protector, error) {
	if len(cfg.Prefixes) == 0 && (cfg.Partition.p == nil || len(cfg.Groups) == 0) {
		return nil, errors.New("sipacl: protector: want prefixes, or a partition and groups")
	}
	if len(cfg.Groups) > 0 && cfg.Partition.p == nil {
		return nil, errors.New("sipacl: protector: groups without a partition")
	}
	if cfg.HostNames > ResolveHostNames || cfg.HostNames == ResolveHostNames && cfg.Resolver == nil {
		return nil, errors.New("sipacl: protector: want a resolver to resolve host names")
	}
	prefixes := make([]netip.Prefix, len(cfg.Prefixes))
	for i, p := range cfg.Prefixes {
		if !p.IsValid() || p.Addr().Is4In6() && p.Bits() < 96 {
			return nil, fmt.Errorf("sipacl: protector: %s is no prefix to protect", p)
		}
		if p.Addr().Is4In6() {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		prefixes[i] = p.Masked()
	}
	cfg.Prefixes = prefixes
	cfg.Groups = append([]GroupID(nil), cfg.Groups...)
	if cfg.Timeout <= 0 {
		cfg.Timeout = 2 * time.Second
	}
	return &Protector{cfg, true}, nil
}

// CheckRegister refuses a REGISTER that leads to a protected address. The
// Right of the decision is what leads there. It allows nothing beyond that:
// join it with the other checks by [AllOf]. It is a [Check]. With
// ResolveHostNames it does I/O, for Timeout at the most.
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
	c.refusal.Source = r.Source
	if c.request(r.Request) {
		return Decision{Allowed: true, Cause: CauseNotProtected, Source: r.Source}
	}
	return c.refusal
}

// CheckHost refuses a host that is a protected address, or a name that is.
func (p *Protector) CheckHost(ctx context.Context, host string) Decision {
	if p == nil || !p.ok {
		return Decision{}
	}
	c := protection{Protector: p, ctx: ctx, table: p.cfg.Partition.Current()}
	if c.host(host) {
		return Decision{Allowed: true, Cause: CauseNotProtected, Right: host}
	}
	return c.refusal
}

// protection is one check. Its methods report whether what they are given is
// harmless; the first that is not sets refusal.
type protection struct {
	*Protector
	ctx     context.Context
	table   *Table // of the partition
	refusal Decision
	trace   *Trace // nil most of the time
}

func (c *protection) refuse(cause Cause, what, why string) bool {
	c.refusal.Cause, c.refusal.Right, c.refusal.Info = cause, shorten(what), why
	return false
}

func (c *protection) request(req *sip.Request) bool {
	for _, h := range req.Headers() {
		ok := true
		switch name := headerName(h); {
		case isHeader(name, "contact", "m"):
			ok = c.contact(h)
		case strings.EqualFold(name, "path"):
			ok = c.addresses(h.Value())
		case strings.EqualFold(name, "route"):
			route, typed := h.(*sip.RouteHeader)
			if ok = !typed || route != nil; !ok {
				return c.refuse(CauseMalformed, "Route", "no address")
			}
			ok = c.addresses(h.Value())
		}
		if !ok {
			return false
		}
	}
	return true
}

func (c *protection) contact(h sip.Header) bool {
	contact, ok := h.(*sip.ContactHeader)
	switch {
	case !ok:
		return c.addresses(h.Value())
	case contact == nil:
		return c.refuse(CauseMalformed, "Contact", "no address")
	}
	if contact.Address.Wildcard && contact.Address.Scheme == "" {
		return true
	}
	return c.uri(&contact.Address) && c.params(contact.Params, true)
}

// addresses looks at a list of addresses.
func (c *protection) addresses(list string) bool {
	for text := range splitAddresses(list) {
		var u sip.Uri
		var params sip.HeaderParams
		if _, err := sip.ParseAddressValue(text, &u, &params); err != nil {
			return c.refuse(CauseMalformed, text, "no address")
		}
		if !c.uri(&u) || !c.params(params, true) {
			return false
		}
	}
	return true
}

func (c *protection) uri(u *sip.Uri) bool {
	switch u.Scheme {
	case "sip", "sips":
		return c.host(u.Host) && c.params(u.UriParams, false) && c.params(u.Headers, false) && c.routes(u.Headers)
	case "tel", "urn":
		return true // leads to no address
	}
	return c.refuse(CauseMalformed, u.String(), "scheme")
}

// routes looks at the Route header fields that a URI asks for.
func (c *protection) routes(fields sip.HeaderParams) bool {
	for _, f := range fields {
		if strings.EqualFold(strings.Trim(unescape(f.K), " \t"), "route") && !c.addresses(unescape(f.V)) {
			return false
		}
	}
	return true
}

// params looks at the parameters that lead somewhere else, and refuses those
// in which one may hide. Behind a URI, quotes are possible.
func (c *protection) params(params sip.HeaderParams, quotes bool) bool {
	if !openParams(params, quotes) {
		return c.refuse(CauseMalformed, params.String(), "a parameter may hide another")
	}
	for _, p := range params {
		switch strings.ToLower(strings.Trim(unescape(p.K), " \t")) {
		case "maddr", "received", "alias":
			if !c.place(unescape(p.V)) {
				return false
			}
		}
	}
	return true
}

// place looks at the value of a parameter: a host, host:port, a SIP URI, or
// host~port~protocol.
func (c *protection) place(s string) bool {
	s = strings.Trim(s, " \t\"<>")
	if scheme, _, ok := strings.Cut(s, ":"); ok && (strings.EqualFold(scheme, "sip") || strings.EqualFold(scheme, "sips")) {
		u := parseURI(s)
		if u.Host == "" {
			return c.refuse(CauseMalformed, s, "no valid URI")
		}
		return c.uri(&u)
	}
	s, _, _ = strings.Cut(s, "~")
	if strings.Count(s, ":") == 1 {
		s, _, _ = strings.Cut(s, ":")
	} else if i := strings.LastIndexByte(s, ']'); i >= 0 {
		s = s[:i+1]
	}
	return c.host(s)
}

// host looks at a host in any spelling.
func (c *protection) host(host string) bool {
	harmless := c.read(host)
	if c.trace != nil {
		c.trace.Steps = append(c.trace.Steps, Step{Check: "protector", Subject: host, Matched: !harmless, Note: c.refusal.Info})
	}
	return harmless
}

func (c *protection) read(host string) bool {
	addrs, kind := readHost(host)
	for _, a := range addrs {
		if !c.harmless(host, a) {
			return false
		}
	}
	switch kind {
	case hostAddress:
		return true
	case hostIsName:
		return c.name(host)
	}
	return c.refuse(CauseMalformed, host, "neither a canonical address nor a host name")
}

// harmless looks at an address that host leads to.
func (c *protection) harmless(host string, a netip.Addr) bool {
	for _, p := range c.cfg.Prefixes {
		if p.Contains(a) {
			return c.refuse(CauseProtected, host, a.String()+" is protected")
		}
	}
	return c.asked(host, Query{Addr: a}, a.String())
}

// asked looks for what in the groups of the partition. A partition that cannot
// answer protects everything.
func (c *protection) asked(host string, q Query, what string) bool {
	q.Any = AnyPort | AnyProto | AnySubject
	for _, g := range c.cfg.Groups {
		q.Group = g
		switch d := c.table.CheckAddress(q); {
		case d.Allowed:
			return c.refuse(CauseProtected, host, what+" is protected")
		case d.Cause != CauseNoAddress:
			return c.refuse(d.Cause, host, "the partition does not answer")
		}
	}
	return true
}

func (c *protection) name(host string) bool {
	if c.cfg.HostNames != RefuseHostNames && !c.asked(host, Query{Host: host}, host) {
		return false
	}
	switch c.cfg.HostNames {
	case PassHostNames:
		return true
	case RefuseHostNames:
		return c.refuse(CauseProtected, host, "host names do not register")
	}
	addrs, err := resolveName(c.ctx, c.cfg.Resolver, strings.TrimSuffix(host, "."), true)
	if err != nil || len(addrs) == 0 {
		return c.refuse(CauseError, host, "the name does not resolve")
	}
	for _, a := range addrs {
		for _, b := range embedded(a) {
			if !c.harmless(host, b) {
				return false
			}
		}
	}
	return true
}

// hostKind says what a host is, as written.
type hostKind uint8

const (
	hostBad     hostKind = iota // a spelling that readers understand differently
	hostAddress                 // a canonical address
	hostIsName                  // a name
)

// readHost gives every address that host may be read as, and what it is.
func readHost(host string) (addrs []netip.Addr, kind hostKind) {
	s := strings.TrimSuffix(host, ".")
	inner := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	zoneless, _, _ := strings.Cut(inner, "%")
	if a, err := netip.ParseAddr(zoneless); err == nil {
		if s != host || zoneless != inner {
			return embedded(a), hostBad
		}
		if a.Is4() && s != inner || a.Is6() && s != "["+inner+"]" {
			return embedded(a), hostBad
		}
		return embedded(a), hostAddress
	}
	if numericHost(inner) {
		return numericAddrs(inner), hostBad
	}
	if strings.ContainsAny(inner, ":[]") {
		return looseIPv6(zoneless), hostBad
	}
	if _, ok := hostName(strings.ReplaceAll(s, "_", "x")); !ok || !labelBytes(s) {
		return nil, hostBad
	}
	return nil, hostIsName
}

// embedded gives a and the IPv4 addresses it leads to: of IPv4-mapped,
// IPv4-compatible, NAT64 and 6to4 addresses.
func embedded(a netip.Addr) []netip.Addr {
	a = a.WithZone("")
	if !a.Is6() {
		return []netip.Addr{a}
	}
	b := a.As16()
	addrs := []netip.Addr{a.Unmap()}
	switch {
	case nat64.Contains(a), compatible.Contains(a):
		addrs = append(addrs, netip.AddrFrom4([4]byte(b[12:])))
	case sixToFour.Contains(a):
		addrs = append(addrs, netip.AddrFrom4([4]byte(b[2:6])))
	}
	return addrs
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	compatible = netip.MustParsePrefix("::/96")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

// numericAddrs gives the IPv4 addresses that inet_aton(3) and its lookalikes
// read: one to four numbers, the last one filling what is left, each number
// decimal, hexadecimal or, with a leading zero, octal or decimal.
func numericAddrs(s string) (addrs []netip.Addr) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return nil
	}
	for readings := range 1 << len(parts) { // a bit a part: leading zeros are octal
		var v uint64
		ok := true
		for i, p := range parts {
			n, err := readNumber(p, readings>>i&1 == 1)
			width := 8
			if i == len(parts)-1 {
				width = 8 * (5 - len(parts))
			}
			// Lookalikes without a range check keep the low bits.
			ok = ok && err == nil
			v = v<<width | n&(1<<width-1)
		}
		if ok {
			addrs = append(addrs, netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}))
		}
	}
	return addrs
}

func readNumber(s string, octal bool) (uint64, error) {
	switch {
	case s == "":
		return 0, nil
	case len(s) > 1 && s[0] == '0' && s[1]|0x20 == 'x':
		return strconv.ParseUint("0"+s[2:], 16, 64)
	case octal && s[0] == '0':
		return strconv.ParseUint(s, 8, 64)
	}
	return strconv.ParseUint(s, 10, 64)
}

// looseIPv6 reads IPv6 with more than four digits in a group, or with an IPv4
// tail that is spelled oddly.
func looseIPv6(s string) []netip.Addr {
	groups := strings.Split(s, ":")
	for i, g := range groups {
		if g == "" || strings.Contains(g, ".") {
			continue
		}
		g = strings.TrimLeft(g, "0")
		groups[i] = "0" + g[max(0, len(g)-4):] // as readers that keep the low bits
		if len(g) >= 4 {
			groups[i] = g[len(g)-4:]
		}
	}
	last := len(groups) - 1
	tails := []netip.Addr{{}}
	if strings.Contains(groups[last], ".") {
		tails = numericAddrs(groups[last])
	}
	var addrs []netip.Addr
	for _, t := range tails {
		if t.IsValid() {
			groups[last] = t.String()
		}
		if a, err := netip.ParseAddr(strings.Join(groups, ":")); err == nil {
			addrs = append(addrs, embedded(a)...)
		}
	}
	return addrs
}

// unescape decodes every escape, for texts that are searched for what they
// may hide.
func unescape(s string) string {
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if hi, lo := unhex(s[i+1]), unhex(s[i+2]); hi >= 0 && lo >= 0 {
				b = append(b, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}
