package sipacl

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// benchTable has n rows in 64 groups: three quarters hosts, the rest /24s.
func benchTable(b *testing.B, n int) *Partition {
	rows := make(AddressRows, n)
	for i := range rows {
		bits := 32
		if i%4 == 0 {
			bits = 24
		}
		rows[i] = AddressRow{Group: GroupID(i % 64), Prefix: netip.PrefixFrom(benchAddr(i), bits), Info: "carrier"}
	}
	p, err := NewPartition(b.Context(), PartitionConfig{Sources: []AddressSource{rows}})
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// benchAddr spreads the numbers below 2^24 over 10.0.0.0/8.
func benchAddr(i int) netip.Addr {
	x := uint32(i) * 2654435761 >> 8
	return netip.AddrFrom4([4]byte{10, byte(x >> 16), byte(x >> 8), byte(x)})
}

// BenchmarkCheckSource asks for a source that is in the group and for a
// scanner's that is in no row.
func BenchmarkCheckSource(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		p := benchTable(b, n)
		for _, c := range []struct {
			outcome string
			addr    func(i int) netip.Addr
		}{
			{"hit", func(i int) netip.Addr { return benchAddr(i % n) }},
			{"miss", func(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}) }},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", n, c.outcome), func(b *testing.B) {
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					i++
					p.CheckSource(Source{c.addr(i), 5060, ProtoUDP}, GroupID(i%n%64), "")
				}
			})
		}
	}
}

// BenchmarkGuard is what a guard adds to a request, beside what sipgo takes
// to parse it.
func BenchmarkGuard(b *testing.B) {
	p := benchTable(b, 100_000)
	text := []byte("OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1;rport\r\n" +
		"From: <sip:a@example.com>;tag=1\r\nTo: <sip:b@example.com>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n")
	b.Run("impl=parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sip.ParseMessage(text); err != nil {
				b.Fatal(err)
			}
		}
	})
	msg, err := sip.ParseMessage(text)
	if err != nil {
		b.Fatal(err)
	}
	req := msg.(*sip.Request)
	req.SetTransport("UDP")
	req.SetSource(benchAddr(1).String() + ":5060")
	handle := Guard(GuardConfig{Check: p.Sources(1)})(func(*sip.Request, sip.ServerTransaction) {})
	b.Run("impl=guard", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			handle(req, nil)
		}
	})
}

// BenchmarkReload loads rows from memory and puts them in service.
func BenchmarkReload(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		p := benchTable(b, n)
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Reload(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
