// Host names of address tables, looked up when a table is loaded.

package sipacl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sipacl/sipacl/internal/hosts"
)

// Resolver looks names up. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
	LookupSRV(ctx context.Context, service, proto, name string) (cname string, srvs []*net.SRV, err error)
}

// ResolveConfig has the host names of an address table looked up whenever the
// table is loaded, so that the addresses they lead to match as well: every
// address of a name, with the group, port, protocol, pattern and context info
// of its row. Names are never looked up by a check. Loads by [Permissions.Run]
// keep the addresses fresh.
//
// DNS answers can be forged like UDP packets can. A name that resolves lets
// in whoever can answer for it.
type ResolveConfig struct {
	Resolver Resolver // nil is net.DefaultResolver
	SRV      bool     // also the targets of _sip._udp, _sip._tcp, _sip._tls, _sips._tcp and so on

	Every   time.Duration // an answer is asked for again after this; 0 is one minute
	Timeout time.Duration // for one name; 0 is two seconds

	// MaxAge is how long the last good answer is kept while the name does not
	// resolve, for whatever reason; after that it matches nothing. 0 is one
	// hour.
	MaxAge time.Duration

	// AllowSpecial holds addresses that names may bring into the table though
	// they lead to the host itself, its link or many hosts at once: loopback,
	// link-local, multicast, broadcast and unspecified addresses, and the
	// metadata addresses of clouds. All others of these match nothing, and
	// the name's status says so.
	AllowSpecial []netip.Prefix
}

// NameStatus tells what a host name of a table leads to.
type NameStatus struct {
	Name       string
	Addrs      []netip.Addr // in order; none if it matches nothing
	ResolvedAt time.Time    // of the last good answer; zero if there was none
	Err        error        // of the last look-up, or what it brought that matches nothing; nil if it went well
}

// names keeps the answers for the host names of one partition. Its methods
// are called by the one load of the partition that runs.
type names struct {
	cfg   ResolveConfig
	clock func() time.Time
	known map[string]*answer
	spent time.Duration // on look-ups, by the load that runs
	rows  int           // that names brought to it
	owed  bool          // the load before left names unasked
}

type answer struct {
	NameStatus
	asked  time.Time
	since  time.Time // of Addrs, which may be half of a good answer
	failed bool      // no good answer to the last look-up
	used   bool      // by the load that runs
	owed   bool      // an answer is due, but there was no time left
}

func newNames(cfg ResolveConfig, clock func() time.Time) *names {
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{{&cfg.Every, time.Minute}, {&cfg.Timeout, 2 * time.Second}, {&cfg.MaxAge, time.Hour}} {
		if *d.value <= 0 {
			*d.value = d.def
		}
	}
	return &names{cfg: cfg, clock: clock, known: map[string]*answer{}}
}

// resolving begins a load. It returns the sources with, after each row with a
// host name, the rows of its addresses.
func (n *names) resolving(sources []AddressSource) []AddressSource {
	n.spent, n.rows, n.owed = 0, 0, false
	for _, a := range n.known {
		a.used, n.owed = false, n.owed || a.owed
	}
	all := make([]AddressSource, len(sources))
	for i, s := range sources {
		all[i] = RowFunc[AddressRow](func(ctx context.Context) iter.Seq2[AddressRow, error] { return n.resolve(ctx, s.Rows(ctx)) })
	}
	return all
}

func (n *names) resolve(ctx context.Context, rows iter.Seq2[AddressRow, error]) iter.Seq2[AddressRow, error] {
	return func(yield func(AddressRow, error) bool) {
		for r, err := range rows {
			if !yield(r, err) {
				return
			}
			name, ok := hosts.Name(r.Host)
			if err != nil || !ok {
				continue
			}
			for _, addr := range n.addrs(ctx, name) {
				n.rows++
				r.Host, r.Prefix, r.resolved = "", netip.PrefixFrom(addr, addr.BitLen()), true
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// errNoTime is what Status shows of a name that nobody asked for.
var errNoTime = errors.New("not looked up yet: other names took too long")

// addrs returns the addresses of a name, asking for them if it is time to.
// Look-ups take a bounded time of each load, so that a dead resolver does not
// hold up the table. What they leave over comes first in the next load, before
// names that failed: a few dead names must not keep the others unasked.
func (n *names) addrs(ctx context.Context, name string) []netip.Addr {
	a := n.known[name]
	if a == nil {
		a = &answer{NameStatus: NameStatus{Name: name}}
		n.known[name] = a
	}
	a.used = true
	now := n.clock()
	age := now.Sub(a.asked)
	if age >= 0 && age < n.cfg.Every {
		return a.Addrs
	}
	switch {
	case n.owed && a.failed && !a.owed:
	case n.spent >= 2*n.cfg.Timeout:
		a.owed, a.failed, a.Err = true, true, errNoTime
	default:
		n.ask(ctx, a, now)
	}
	if a.failed && now.Sub(a.since) > n.cfg.MaxAge {
		a.Addrs = nil
	}
	return a.Addrs
}

// ask looks the name of a up.
func (n *names) ask(ctx context.Context, a *answer, now time.Time) {
	began := time.Now()
	one, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
	addrs, special, err := n.lookup(one, a.Name)
	cancel()
	n.spent += time.Since(began)
	if ctx.Err() != nil {
		return // tells of the load, not of the name
	}
	a.asked, a.Err, a.failed, a.owed = now, err, err != nil, false
	if special != nil {
		a.Err = errors.Join(err, special)
	}
	switch {
	case err == nil:
		a.Addrs, a.ResolvedAt, a.since = addrs, now, now
	case now.Sub(a.ResolvedAt) > n.cfg.MaxAge: // what came is better than what is too old
		a.Addrs, a.since = addrs, now
	}
}

// What one name can bring into a table, and of how many look-ups.
const (
	maxAddrs   = 256
	maxTargets = 16
)

// lookup returns the addresses of a name and of its SRV targets, as a set, and
// as an errSpecial what it leaves out. err says that some may be missing.
func (n *names) lookup(ctx context.Context, name string) (addrs []netip.Addr, special, err error) {
	all, err := resolveName(ctx, n.cfg.Resolver, name, n.cfg.SRV)
	slices.SortFunc(all, netip.Addr.Compare)
	for _, a := range slices.Compact(all) {
		switch what := hosts.Special(a); {
		case !a.IsValid():
		case what != "" && !contains(n.cfg.AllowSpecial, a):
			special = fmt.Errorf("%s leads to %s, %s: %w", name, a, what, errSpecial)
		default:
			addrs = append(addrs, a)
		}
	}
	switch {
	case len(addrs) > maxAddrs:
		return nil, special, fmt.Errorf("%s has %d addresses, want at most %d", name, len(addrs), maxAddrs)
	case len(addrs) == 0 && err == nil && special != nil:
		return nil, nil, special
	case len(addrs) == 0 && err == nil:
		return nil, nil, fmt.Errorf("%s has no address", name)
	}
	return addrs, special, err
}

// errSpecial is wrapped by the error for an address that is left out.
var errSpecial = errors.New("left out, see AllowSpecial")

// services are the SRV names below which SIP servers, sipgo among them, look
// for where a host name leads.
var services = [...][2]string{
	{"sip", "udp"}, {"sip", "tcp"}, {"sip", "tls"}, {"sips", "tcp"}, {"sips", "tls"}, {"sips", "udp"},
}

// resolveName returns every address that a name leads to, and with srv those
// of its SRV targets. An error says that some may be missing; that a name has
// none is no error. The name is asked for as it is written, so that hosts files
// and search lists apply as they do for who sends to it.
func resolveName(ctx context.Context, r Resolver, name string, srv bool) ([]netip.Addr, error) {
	addrs, err := hostAddrs(ctx, r, name)
	if !srv {
		return addrs, err
	}
	for _, s := range services {
		_, targets, srvErr := r.LookupSRV(ctx, s[0], s[1], name)
		if err = errors.Join(err, unlessNotFound(srvErr)); len(targets) > maxTargets {
			return nil, fmt.Errorf("_%s._%s.%s has %d targets, want at most %d", s[0], s[1], name, len(targets), maxTargets)
		}
		for _, t := range targets {
			more, hostErr := hostAddrs(ctx, r, strings.TrimSuffix(t.Target, "."))
			addrs, err = append(addrs, more...), errors.Join(err, hostErr)
		}
	}
	return addrs, err
}

// hostAddrs returns the addresses of a name; that it has none is no error.
func hostAddrs(ctx context.Context, r Resolver, name string) ([]netip.Addr, error) {
	addrs, err := r.LookupNetIP(ctx, "ip", name)
	plain := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		plain[i] = plainAddr(a)
	}
	return plain, unlessNotFound(err)
}

func unlessNotFound(err error) error {
	var dns *net.DNSError
	if errors.As(err, &dns) && dns.IsNotFound {
		return nil
	}
	return err
}

// warnings are about the names that match nothing by address, and those of
// whose addresses one is left out.
func (n *names) warnings() (all []string) {
	for _, s := range n.status() {
		switch {
		case len(s.Addrs) == 0:
			all = append(all, fmt.Sprintf("host name %s matches no address: %v", s.Name, s.Err))
		case errors.Is(s.Err, errSpecial):
			all = append(all, fmt.Sprintf("host name %s: %v", s.Name, s.Err))
		}
	}
	return all
}

// status tells the state of the names that the last load used, and forgets
// the others. That load must have read every row.
func (n *names) status() []NameStatus {
	var all []NameStatus
	for name, a := range n.known {
		if !a.used {
			delete(n.known, name)
			continue
		}
		s := a.NameStatus
		s.Addrs = slices.Clone(s.Addrs)
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b NameStatus) int { return compareFold(a.Name, b.Name) })
	return all
}
