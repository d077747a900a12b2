// Package names tests host rows against a real DNS server on loopback.
package names

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/examples/internal/socket"
)

// zone is a DNS server for what it is told.
type zone struct {
	addr string

	mu       sync.Mutex
	addrs    map[string][]netip.Addr
	srvs     map[string]string // name -> target
	silent   bool              // answers nothing
	truncate bool              // answers over UDP do not fit
	tcp      int               // questions that came by TCP
}

func newZone(t *testing.T) *zone {
	udp, tcp, addr, err := socket.Both("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { udp.Close(); tcp.Close() })
	z := &zone{addr: addr.String(), addrs: map[string][]netip.Addr{}, srvs: map[string]string{}}
	go z.serveUDP(udp)
	go z.serveTCP(tcp)
	return z
}

func (z *zone) set(name string, addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs[name] = nil
	for _, a := range addrs {
		z.addrs[name] = append(z.addrs[name], netip.MustParseAddr(a))
	}
}

func (z *zone) do(f func()) {
	z.mu.Lock()
	defer z.mu.Unlock()
	f()
}

func (z *zone) serveUDP(c net.PacketConn) {
	buf := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer := z.answer(buf[:n], false); answer != nil {
			_, _ = c.WriteTo(answer, from)
		}
	}
}

func (z *zone) serveTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			question := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, question); err != nil {
				return
			}
			answer := z.answer(question, true)
			_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
		}()
	}
}

// answer returns the message that answers a question, nil for silence.
func (z *zone) answer(question []byte, tcp bool) []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	var m dnsmessage.Message
	if z.silent || m.Unpack(question) != nil || len(m.Questions) != 1 {
		return nil
	}
	if tcp {
		z.tcp++
	}
	q := m.Questions[0]
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	m.Answers = z.records(q)
	if _, known := z.addrs[q.Name.String()]; !known && len(m.Answers) == 0 {
		m.RCode = dnsmessage.RCodeNameError
	}
	if z.truncate && !tcp {
		m.Truncated, m.Answers = true, nil
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}

func (z *zone) records(q dnsmessage.Question) (records []dnsmessage.Resource) {
	add := func(body dnsmessage.ResourceBody) {
		records = append(records, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: body})
	}
	for _, a := range z.addrs[q.Name.String()] {
		switch {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			add(&dnsmessage.AResource{A: a.As4()})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			add(&dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	if target, ok := z.srvs[q.Name.String()]; ok && q.Type == dnsmessage.TypeSRV {
		add(&dnsmessage.SRVResource{Priority: 1, Weight: 1, Port: 5060, Target: dnsmessage.MustNewName(target)})
	}
	return records
}

// watched is a partition with the row gw.example.com that Run keeps fresh.
func watched(t *testing.T, z *zone) sipacl.Partition {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, z.addr)
	}}
	perm, err := sipacl.Open(t.Context(), sipacl.Config{Partitions: []sipacl.PartitionConfig{{
		Sources: []sipacl.AddressSource{sipacl.Rows(sipacl.AddressRow{Group: 1, Host: "gw.example.com", Info: "carrier"})},
		Resolve: &sipacl.ResolveConfig{
			Resolver: resolver, SRV: true,
			Every: 5 * time.Millisecond, Timeout: 300 * time.Millisecond, MaxAge: 1500 * time.Millisecond,
		},
	}}})
	require.NoError(t, err)
	p, err := perm.Partition("")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Run(ctx, sipacl.RunConfig{Interval: 10 * time.Millisecond, Settle: time.Millisecond})
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return p
}

func in(p sipacl.Partition, addr string) bool {
	return p.Current().CheckAddress(sipacl.Query{Group: 1, Addr: netip.MustParseAddr(addr)}).Allowed
}

func eventually(t *testing.T, f func() bool, what string) {
	t.Helper()
	require.Eventually(t, f, 10*time.Second, 2*time.Millisecond, what)
}

func TestNameThatChangesAndShrinks(t *testing.T) {
	z := newZone(t)
	z.set("gw.example.com.", "192.0.2.1", "2001:db8::1")
	z.set("srv.example.com.", "192.0.2.9")
	z.do(func() { z.srvs["_sip._udp.gw.example.com."] = "srv.example.com." })
	p := watched(t, z)
	for _, a := range []string{"192.0.2.1", "2001:db8::1", "192.0.2.9"} {
		require.True(t, in(p, a), a)
	}
	z.set("gw.example.com.", "192.0.2.2")
	eventually(t, func() bool { return in(p, "192.0.2.2") && !in(p, "192.0.2.1") && !in(p, "2001:db8::1") }, "changed and shrunk")
	require.True(t, in(p, "192.0.2.9"))
	generation := p.Status().Generation
	asked := p.Status().Names[0].ResolvedAt
	eventually(t, func() bool { return p.Status().Names[0].ResolvedAt.After(asked.Add(50 * time.Millisecond)) }, "asked again")
	require.Equal(t, generation, p.Status().Generation, "no swap when nothing changed")
}

func TestNameThatIsGone(t *testing.T) {
	z := newZone(t)
	z.set("gw.example.com.", "192.0.2.1")
	p := watched(t, z)
	z.do(func() { delete(z.addrs, "gw.example.com.") })
	eventually(t, func() bool { return p.Status().Names[0].Err != nil }, "shows in Status")
	require.True(t, in(p, "192.0.2.1"), "the last good answer is kept")
	eventually(t, func() bool { return !in(p, "192.0.2.1") }, "up to its age")
	require.NoError(t, p.Status().LastError)
}

func TestServerThatIsSilent(t *testing.T) {
	z := newZone(t)
	z.set("gw.example.com.", "192.0.2.1")
	p := watched(t, z)
	z.do(func() { z.silent = true })
	eventually(t, func() bool {
		var timeout net.Error
		return errors.As(p.Status().Names[0].Err, &timeout) && timeout.Timeout()
	}, "shows in Status")
	require.True(t, in(p, "192.0.2.1"))
	z.do(func() { z.silent = false })
	z.set("gw.example.com.", "192.0.2.2")
	eventually(t, func() bool { return in(p, "192.0.2.2") }, "comes back")
}

func TestAnswerThatIsTruncated(t *testing.T) {
	z := newZone(t)
	var many []string
	for a := netip.MustParseAddr("192.0.2.1"); len(many) < 100; a = a.Next() {
		many = append(many, a.String())
	}
	z.set("gw.example.com.", many...)
	z.do(func() { z.truncate = true })
	p := watched(t, z)
	for _, a := range many {
		require.True(t, in(p, a), a)
	}
	z.do(func() { require.Positive(t, z.tcp) })
}
