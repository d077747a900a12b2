package sipacl

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// book is a Resolver that answers from memory.
type book struct {
	mu    sync.Mutex
	addrs map[string][]string
	srvs  map[string][]string
	err   error
	asked int
}

func (b *book) LookupNetIP(ctx context.Context, network, host string) (addrs []netip.Addr, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if b.err != nil {
		return nil, b.err
	}
	for _, a := range b.addrs[host] {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func (b *book) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return "", nil, b.err
	}
	var srvs []*net.SRV
	for _, target := range b.srvs["_"+service+"._"+proto+"."+name] {
		srvs = append(srvs, &net.SRV{Target: target, Port: 5060})
	}
	if len(srvs) == 0 {
		return "", nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return name, srvs, nil
}

func (b *book) set(name string, addrs ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.addrs[name], b.err = addrs, nil
}

func (b *book) fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// resolving is a partition with one host row and a clock that tests turn.
func resolving(t *testing.T, b *book, cfg ResolveConfig) (Partition, func(time.Duration)) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	cfg.Resolver = b
	perm, err := Open(t.Context(), Config{
		Clock: func() time.Time { return now },
		Partitions: []PartitionConfig{{
			Sources: []AddressSource{Rows([]AddressRow{{Group: 1, Host: "GW.example.com", Port: 5060, Info: "carrier"}}...)},
			Resolve: &cfg,
		}},
	})
	require.NoError(t, err)
	p, err := perm.Partition("")
	require.NoError(t, err)
	return p, func(d time.Duration) {
		now = now.Add(d)
		_, err := p.Reload(t.Context())
		require.NoError(t, err)
	}
}

func reaches(p Partition, addr string, port uint16) bool {
	return p.Current().CheckAddress(Query{Group: 1, Addr: netip.MustParseAddr(addr), Port: port}).Allowed
}

func TestEveryAddressOfANameMatches(t *testing.T) {
	b := &book{addrs: map[string][]string{
		"gw.example.com":  {"192.0.2.2", "192.0.2.1", "2001:db8::1", "192.0.2.1", "::ffff:192.0.2.3", "0.0.0.0", "224.0.0.1"},
		"srv.example.com": {"192.0.2.9"},
	}, srvs: map[string][]string{"_sip._udp.gw.example.com": {"srv.example.com"}}}
	p, _ := resolving(t, b, ResolveConfig{SRV: true})
	for _, addr := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.9", "2001:db8::1"} {
		require.True(t, reaches(p, addr, 5060), addr)
		require.False(t, reaches(p, addr, 5070), "the row's port counts")
	}
	require.False(t, reaches(p, "0.0.0.0", 5060))
	require.True(t, p.Current().CheckAddress(Query{Group: 1, Host: "gw.example.com", Port: 5060}).Allowed, "the name itself still matches")
	names := p.Status().Names
	require.Len(t, names, 1)
	require.Equal(t, "gw.example.com", names[0].Name)
	require.Len(t, names[0].Addrs, 5)
	require.ErrorContains(t, names[0].Err, "left out", "0.0.0.0 and 224.0.0.1")
}

// What DNS says never makes a table admit the host itself, its link or many
// hosts at once, unless it is allowed to.
func TestNamesBringNoSpecialAddress(t *testing.T) {
	for a, what := range map[string]string{
		"127.0.0.1": "a loopback address", "::1": "a loopback address", "::ffff:127.0.0.2": "a loopback address",
		"169.254.1.1": "a link-local address", "fe80::1": "a link-local address", "169.254.169.254": "the metadata address of clouds",
		"255.255.255.255": "the broadcast address", "224.0.0.1": "a multicast address", "ff02::1": "a multicast address", "0.0.0.0": "an unspecified address", "::": "an unspecified address",
	} {
		b := &book{addrs: map[string][]string{"gw.example.com": {a}}}
		want := fmt.Sprintf("gw.example.com leads to %s, %s: left out, see AllowSpecial", addr(a).Unmap(), what)
		p, turn := resolving(t, b, ResolveConfig{MaxAge: time.Hour})
		require.False(t, reaches(p, a, 5060), a)
		require.Empty(t, p.Status().Names[0].Addrs)
		require.EqualError(t, p.Status().Names[0].Err, want)
		require.Zero(t, p.Status().Names[0].ResolvedAt)
		require.NoError(t, p.Status().LastError)

		// Other addresses of the name match, and keep matching.
		b.set("gw.example.com", a, "192.0.2.1")
		for range 70 {
			turn(2 * time.Minute)
			require.True(t, reaches(p, "192.0.2.1", 5060))
			require.False(t, reaches(p, a, 5060))
		}
		require.EqualError(t, p.Status().Names[0].Err, want)
		require.NotZero(t, p.Status().Names[0].ResolvedAt)

		allowed, _ := resolving(t, b, ResolveConfig{AllowSpecial: []netip.Prefix{netip.PrefixFrom(addr(a).Unmap(), addr(a).Unmap().BitLen())}})
		require.True(t, reaches(allowed, a, 5060), a)
		require.NoError(t, allowed.Status().Names[0].Err)
	}
}

func TestLastGoodAnswerIsKeptUpToItsAge(t *testing.T) {
	b := &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1"}}}
	p, turn := resolving(t, b, ResolveConfig{Every: time.Minute, MaxAge: 10 * time.Minute})
	for _, fault := range []error{errors.New("timeout"), &net.DNSError{IsNotFound: true}} {
		b.set("gw.example.com", "192.0.2.1")
		turn(2 * time.Minute)
		require.True(t, reaches(p, "192.0.2.1", 5060))
		b.fail(fault)
		turn(9 * time.Minute)
		require.True(t, reaches(p, "192.0.2.1", 5060), "%v", fault)
		require.Error(t, p.Status().Names[0].Err)
		turn(2 * time.Minute)
		require.False(t, reaches(p, "192.0.2.1", 5060), "%v", fault)
		require.Empty(t, p.Status().Names[0].Addrs)
	}
	b.set("gw.example.com", "192.0.2.2")
	turn(2 * time.Minute)
	require.True(t, reaches(p, "192.0.2.2", 5060))
	require.False(t, reaches(p, "192.0.2.1", 5060))
}

func TestUnresolvedNameMatchesNothingAndFailsNothing(t *testing.T) {
	b := &book{addrs: map[string][]string{}}
	p, _ := resolving(t, b, ResolveConfig{})
	require.False(t, reaches(p, "192.0.2.1", 5060))
	require.ErrorContains(t, p.Status().Names[0].Err, "gw.example.com has no address")
	require.NoError(t, p.Status().LastError)
}

func TestAnswersAreAskedForWhenTheyAreOld(t *testing.T) {
	b := &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1"}}}
	_, turn := resolving(t, b, ResolveConfig{Every: time.Minute})
	require.Equal(t, 1, b.asked)
	turn(30 * time.Second)
	require.Equal(t, 1, b.asked)
	turn(31 * time.Second)
	require.Equal(t, 2, b.asked)
}

func TestAnotherOrderOfAddressesIsNoChange(t *testing.T) {
	b := &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1", "192.0.2.2"}}}
	p, _ := resolving(t, b, ResolveConfig{Every: time.Nanosecond})
	w := &watch{part: p.p}
	cfg := RunConfig{Timeout: time.Second, Interval: time.Second, Settle: time.Millisecond}
	b.set("gw.example.com", "192.0.2.2", "192.0.2.1", "192.0.2.2")
	w.look(t.Context(), p.p.perm, cfg)
	require.Equal(t, uint64(1), p.Status().Generation)
	b.set("gw.example.com", "192.0.2.2")
	w.look(t.Context(), p.p.perm, cfg)
	require.Equal(t, uint64(1), p.Status().Generation, "not asked again yet")
}

// A carrier must not lose half of its addresses because one look-up of
// several timed out.
func TestHalfAnAnswerDoesNotReplaceAWholeOne(t *testing.T) {
	b := &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1"}, "srv.example.com": {"192.0.2.9"}},
		srvs: map[string][]string{"_sip._udp.gw.example.com": {"srv.example.com"}}}
	half := &failingSRV{book: b}
	now := time.Now()
	n := newNames(ResolveConfig{Resolver: half, SRV: true}, func() time.Time { return now })
	require.Len(t, n.addrs(t.Context(), "gw.example.com"), 2)
	half.err = errors.New("timeout")
	now = now.Add(2 * time.Minute)
	require.Len(t, n.addrs(t.Context(), "gw.example.com"), 2)
	now = now.Add(2 * time.Hour)
	require.Len(t, n.addrs(t.Context(), "gw.example.com"), 1, "half is better than what is too old")
}

type failingSRV struct {
	*book
	err error
}

func (f *failingSRV) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	if f.err != nil {
		return "", nil, f.err
	}
	return f.book.LookupSRV(ctx, service, proto, name)
}

// A resolver that does not answer delays a load by a bounded time, whatever
// the number of names.
func TestADeadResolverDoesNotHoldUpTheTable(t *testing.T) {
	var rows []AddressRow
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		rows = append(rows, AddressRow{Group: 1, Host: string(c) + ".example.com"})
	}
	rows = append(rows, host("192.0.2.1"))
	began := time.Now()
	p, err := newPartition(t.Context(), PartitionConfig{
		Sources: []AddressSource{Rows(rows...)},
		Resolve: &ResolveConfig{Resolver: silent{}, Timeout: 20 * time.Millisecond},
	})
	require.NoError(t, err)
	require.Less(t, time.Since(began), 2*time.Second)
	require.True(t, allowed(p, "192.0.2.1"))
}

// A table that takes long to read leaves its names as much time as any other.
func TestASlowTableDoesNotStarveItsNames(t *testing.T) {
	b := &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1"}}}
	slow := RowFunc[AddressRow](func(context.Context) iter.Seq2[AddressRow, error] {
		return func(yield func(AddressRow, error) bool) {
			time.Sleep(30 * time.Millisecond)
			yield(AddressRow{Group: 1, Host: "gw.example.com"}, nil)
		}
	})
	p, err := newPartition(t.Context(), PartitionConfig{
		Sources: []AddressSource{slow},
		Resolve: &ResolveConfig{Resolver: b, Timeout: 10 * time.Millisecond},
	})
	require.NoError(t, err)
	require.True(t, allowed(p, "192.0.2.1"))
}

// Names that time out, however many, keep no other one unasked and no answer
// past its age.
func TestDeadNamesDoNotStarveTheOthers(t *testing.T) {
	b := &dying{book: book{addrs: map[string][]string{}}, dead: map[string]bool{}}
	var rows []AddressRow
	for _, c := range "abcdefghij" {
		rows = append(rows, AddressRow{Group: 1, Host: string(c) + ".example.com"})
		b.addrs[string(c)+".example.com"] = []string{"192.0.2." + strconv.Itoa(int(c))}
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	perm, err := Open(t.Context(), Config{Clock: func() time.Time { return now }, Partitions: []PartitionConfig{{
		Sources: []AddressSource{Rows(rows...)},
		Resolve: &ResolveConfig{Resolver: b, Timeout: 5 * time.Millisecond, Every: time.Minute, MaxAge: time.Hour},
	}}})
	require.NoError(t, err)
	p, _ := perm.Partition("")
	require.True(t, allowed(p, "192.0.2.97"))
	for _, c := range "abcdefgh" { // these die, the last two move
		b.dead[string(c)+".example.com"] = true
	}
	b.addrs["i.example.com"], b.addrs["j.example.com"] = []string{"192.0.2.200"}, []string{"192.0.2.201"}
	load := func(n int) {
		for range n {
			now = now.Add(30 * time.Second)
			_, err := p.Reload(t.Context())
			require.NoError(t, err)
		}
	}
	load(3)
	require.True(t, allowed(p, "192.0.2.104"))
	require.ErrorIs(t, p.Status().Names[7].Err, errNoTime)
	load(5)
	require.True(t, allowed(p, "192.0.2.200"))
	require.True(t, allowed(p, "192.0.2.201"))
	load(120)
	for _, c := range "abcdefgh" {
		require.False(t, allowed(p, "192.0.2."+strconv.Itoa(int(c))), "%c is past its age", c)
	}
	require.True(t, allowed(p, "192.0.2.200"))
}

// dying does not answer for some names.
type dying struct {
	book
	dead map[string]bool
}

func (d *dying) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if d.dead[host] {
		return silent{}.LookupNetIP(ctx, network, host)
	}
	return d.book.LookupNetIP(ctx, network, host)
}

// Answers outlive loads that fail: what is not known any longer when database
// and resolver come back one after the other is a carrier out of service.
func TestAnswersOutliveFailedLoads(t *testing.T) {
	src, b := new(changing), &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1"}}}
	src.set(AddressRow{Group: 1, Host: "gw.example.com"})
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	perm, err := Open(t.Context(), Config{Clock: func() time.Time { return now }, Partitions: []PartitionConfig{{
		Sources: []AddressSource{src}, Resolve: &ResolveConfig{Resolver: b},
	}}})
	require.NoError(t, err)
	p, _ := perm.Partition("")
	src.fail(errors.New("down"))
	b.fail(errors.New("down too"))
	now = now.Add(2 * time.Minute)
	_, err = p.Reload(t.Context())
	require.Error(t, err)
	require.Len(t, p.Status().Names, 1)
	src.set(AddressRow{Group: 1, Host: "gw.example.com"})
	_, err = p.Reload(t.Context())
	require.NoError(t, err)
	require.True(t, allowed(p, "192.0.2.1"))
}

// MaxShrink guards the rows of the table: it keeps no address past its age,
// and addresses that a name brings make up for no row.
func TestMaxShrinkCountsRowsNotAddresses(t *testing.T) {
	src, b := new(changing), &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"}}}
	name := AddressRow{Group: 1, Host: "gw.example.com"}
	src.set(append(hostRows(3), name)...)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	perm, err := Open(t.Context(), Config{Clock: func() time.Time { return now }, Partitions: []PartitionConfig{{
		Sources: []AddressSource{src}, Resolve: &ResolveConfig{Resolver: b},
	}}})
	require.NoError(t, err)
	p, _ := perm.Partition("")
	w := &watch{part: p.p}
	cfg := RunConfig{Interval: time.Second, Timeout: time.Second, Settle: time.Millisecond, MaxShrink: 0.25}

	b.fail(errors.New("down"))
	now = now.Add(2 * time.Hour)
	w.look(t.Context(), perm, cfg)
	require.NoError(t, p.Status().LastError)
	require.False(t, allowed(p, "192.0.2.4"), "past its age")

	b.set("gw.example.com", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5")
	src.set(name)
	now = now.Add(2 * time.Hour)
	w.look(t.Context(), perm, cfg)
	require.ErrorIs(t, p.Status().LastError, ErrShrunk)
	require.ErrorContains(t, p.Status().LastError, "3 of 4")
}

// A name of whose addresses one is left out resolves: it does not wait behind
// names that are owed an answer, as one that failed does.
func TestALeftOutAddressIsNoFailure(t *testing.T) {
	b := &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1", "127.0.0.1"}}}
	now := time.Now()
	n := newNames(ResolveConfig{Resolver: b}, func() time.Time { return now })
	require.Equal(t, []netip.Addr{addr("192.0.2.1")}, n.addrs(t.Context(), "gw.example.com"))
	b.set("gw.example.com", "192.0.2.2", "127.0.0.1")
	now, n.owed = now.Add(2*time.Minute), true
	require.Equal(t, []netip.Addr{addr("192.0.2.2")}, n.addrs(t.Context(), "gw.example.com"))
	b.fail(errors.New("timeout"))
	now = now.Add(2 * time.Minute)
	require.Equal(t, []netip.Addr{addr("192.0.2.2")}, n.addrs(t.Context(), "gw.example.com"))
	b.set("gw.example.com", "192.0.2.3")
	now = now.Add(2 * time.Minute)
	require.Equal(t, []netip.Addr{addr("192.0.2.2")}, n.addrs(t.Context(), "gw.example.com"), "it failed, and waits")
}

// A load that is cancelled says nothing about the names it was asking for.
func TestCancelledLoadDoesNotFailNames(t *testing.T) {
	n := newNames(ResolveConfig{Resolver: silent{}}, time.Now)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	n.addrs(ctx, "gw.example.com")
	n.cfg.Resolver = &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1"}}}
	require.Len(t, n.addrs(t.Context(), "gw.example.com"), 1)
}

type silent struct{}

func (silent) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (silent) LookupSRV(ctx context.Context, _, _, _ string) (string, []*net.SRV, error) {
	<-ctx.Done()
	return "", nil, ctx.Err()
}

// What loads and matches nothing says so.
func TestNamesThatMatchNothingAreWarnings(t *testing.T) {
	warnings := func(resolve *ResolveConfig) (all []string) {
		perm, err := Open(t.Context(), Config{Partitions: []PartitionConfig{{
			Sources: []AddressSource{Rows(
				AddressRow{Host: "gw.example.com", Origin: Origin{Name: "address", Line: 3, Unit: UnitID}},
				AddressRow{Host: "none.example.com"}, AddressRow{Prefix: prefix("192.0.2.7/32")},
			)}, Resolve: resolve,
		}}})
		require.NoError(t, err)
		perm.OnReload(func(r ReloadReport) { all = r.Warnings })
		_, err = perm.Reload(t.Context())
		require.NoError(t, err)
		return all
	}
	require.Equal(t, []string{"address:id 3: host name gw.example.com matches queries for that name only, and no source: see Resolve (rows with names: 2)"}, warnings(nil))
	b := &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1"}}}
	require.Equal(t, []string{"host name none.example.com matches no address: none.example.com has no address"}, warnings(&ResolveConfig{Resolver: b}))
	b = &book{addrs: map[string][]string{"gw.example.com": {"192.0.2.1", "127.0.0.1"}, "none.example.com": {"::1"}}}
	require.Equal(t, []string{
		"host name gw.example.com: gw.example.com leads to 127.0.0.1, a loopback address: left out, see AllowSpecial",
		"host name none.example.com matches no address: none.example.com leads to ::1, a loopback address: left out, see AllowSpecial",
	}, warnings(&ResolveConfig{Resolver: b}))
}

// Names are asked for as they are written: single labels and those of a hosts
// file resolve, and every resolver is asked alike.
func TestNamesAreAskedForAsWritten(t *testing.T) {
	var asked []string
	r := noting{func(name string) { asked = append(asked, name) }}
	p := must(newPartition(t.Context(), PartitionConfig{Sources: []AddressSource{Rows(AddressRow{Group: 1, Host: "gw"}, AddressRow{Group: 1, Host: "gw.example.com."})},
		Resolve: &ResolveConfig{Resolver: r, SRV: true}}))
	require.Contains(t, asked, "gw")
	require.Contains(t, asked, "gw.example.com")
	require.Contains(t, asked, "target.example.com")
	require.True(t, allowed(p, "192.0.2.1"))
	tables := asked

	asked = nil
	protector := must(NewProtector(ProtectConfig{Prefixes: []netip.Prefix{prefix("10.0.0.0/8")}, HostNames: ResolveHostNames, Resolver: r}))
	require.True(t, protector.CheckHost(t.Context(), "gw").Allowed)
	require.True(t, protector.CheckHost(t.Context(), "gw.example.com.").Allowed)
	require.Equal(t, tables, asked, "the Protector asks the same")
}

// noting is a Resolver that knows every name.
type noting struct{ note func(string) }

func (n noting) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	n.note(host)
	return []netip.Addr{addr("192.0.2.1")}, nil
}

func (n noting) LookupSRV(_ context.Context, service, proto, name string) (string, []*net.SRV, error) {
	n.note("_" + service + "._" + proto + "." + name)
	return name, []*net.SRV{{Target: "target.example.com."}}, nil
}
