package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// sources is how many different sources send requests.
const sources = 1024

// guardedGroup is the group whose members are allowed.
const guardedGroup = 1

// requests compares what a guard adds to a request with what sipgo takes to
// parse it.
func (l *lab) requests() error {
	rows := workload.Table(l.sizes.subnets, 1)
	p, err := sipacl.NewPartition(context.Background(), addressRows(rows))
	if err != nil {
		return err
	}
	friends := chooseSources(p, workload.Hits(rows, 64*sources, 2), true)
	scanners := chooseSources(p, workload.Misses(rows, 64*sources, 4), false)
	if len(friends) < sources || len(scanners) < sources {
		return fmt.Errorf("%d sources that are allowed, %d that are not: want %d each", len(friends), len(scanners), sources)
	}
	l.heading("The whole request")
	l.para("A table of %s rows, one group of it allowed, requests from %s sources by turns. `parse` is sipgo's parser on the same bytes; "+
		"Guard decides the parsed request and calls the next handler; its Filter decides a datagram before it is parsed. The ratios are "+
		"how many times cheaper than parsing each is.", size(len(rows)), thousands(sources))
	var lines [][]string
	for _, m := range []struct{ name, text string }{{"OPTIONS", optionsText}, {"INVITE with SDP", inviteText}} {
		o, err := l.compare(l.batch/8, requestContenders(p, m.text, friends, scanners)...)
		if err != nil {
			return err
		}
		line := []string{m.name, fmt.Sprint(len(m.text)), amount(o.ns(0))}
		for i := 1; i < len(o.took); i++ {
			line = append(line, amount(o.ns(i))+" · "+times(o.ratio(0, i)))
		}
		line[3] += " " + l.atLeast(m.name+": parse / Guard allowing", o.ratio(0, 1), 50)
		line[5] += " " + l.atLeast(m.name+": parse / Filter refusing", o.ratio(0, 3), 50)
		if m.name == "OPTIONS" {
			l.atMost("Guard allowing", o.ns(1), 300, " ns")
			l.verdict("allocations of Guard allowing", "0", amount(o.allocs[1]), o.allocs[1] < 0.001)
			l.atMost("Filter refusing", o.ns(3), 60, " ns")
		}
		lines = append(lines, line)
	}
	l.table([]string{"request", "bytes", "parse", "Guard allows", "Guard refuses", "Filter refuses", "Filter allows"}, lines)
	return nil
}

// chooseSources picks those that the guarded group holds, or does not hold.
func chooseSources(p sipacl.Partition, from []workload.Query, allowed bool) (chosen []sipacl.Source) {
	check := p.Sources(guardedGroup)
	for _, q := range from {
		s := sipacl.Source{Addr: q.Addr, Port: q.Port, Proto: sipacl.ProtoUDP}
		if len(chosen) < sources && check(sipacl.Request{Source: s}).Allowed == allowed {
			chosen = append(chosen, s)
		}
	}
	return chosen
}

// requestContenders answer with 1 if what should become of a message did.
func requestContenders(p sipacl.Partition, text string, friends, scanners []sipacl.Source) []contender {
	passed := false
	check := p.Sources(guardedGroup)
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: check, Peers: check, Reject: sipacl.Drop()})
	handle := guard.Wrap(func(*sip.Request, sip.ServerTransaction) { passed = true })
	data := []byte(text)
	guarded := func(from []sipacl.Source, pass bool) func(answers []int32) {
		req, addrs := parsed(data), hostPorts(from)
		return func(answers []int32) {
			for i := range answers {
				passed = false
				req.SetSource(addrs[i%sources])
				handle(req, nil)
				answers[i] = truth(passed == pass)
			}
		}
	}
	filter := guard.Filter()
	filtered := func(datagrams []sip.TransportReadProps, pass bool) func(answers []int32) {
		return func(answers []int32) {
			for i := range answers {
				kept, _ := filter(datagrams[i%sources], data)
				answers[i] = truth((len(kept) > 0) == pass)
			}
		}
	}
	return []contender{
		{name: "parse", ask: func(answers []int32) {
			for i := range answers {
				_, err := sip.ParseMessage(data)
				answers[i] = truth(err == nil)
			}
		}},
		{name: "Guard allows", ask: guarded(friends, true)},
		{name: "Guard refuses", ask: guarded(scanners, false)},
		{name: "Filter refuses", ask: filtered(datagrams(scanners), false)},
		{name: "Filter allows", ask: filtered(datagrams(friends), true)},
	}
}

// parsed is the request as a handler gets it, but for its source: it was just
// read, and lies in the cache.
func parsed(data []byte) *sip.Request {
	msg, err := sip.ParseMessage(data)
	if err != nil {
		panic(err)
	}
	req := msg.(*sip.Request)
	req.SetTransport("UDP")
	return req
}

func hostPorts(from []sipacl.Source) []string {
	all := make([]string, len(from))
	for i, s := range from {
		all[i] = netip.AddrPortFrom(s.Addr, s.Port).String()
	}
	return all
}

func datagrams(from []sipacl.Source) []sip.TransportReadProps {
	all := make([]sip.TransportReadProps, len(from))
	for i, s := range from {
		all[i] = sip.TransportReadProps{Transport: "UDP", RemoteAddr: &net.UDPAddr{IP: s.Addr.AsSlice(), Port: int(s.Port)}}
	}
	return all
}

var optionsText = crlf(`OPTIONS sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport
Max-Forwards: 70
From: <sip:alice@example.com>;tag=1928301774
To: <sip:bob@example.com>
Call-ID: a84b4c76e66710@192.0.2.1
CSeq: 63104 OPTIONS
Contact: <sip:alice@192.0.2.1>
Accept: application/sdp
Content-Length: 0

`)

var inviteText = crlf(`INVITE sip:bob@example.com SIP/2.0
Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK776asdhds;rport
Max-Forwards: 70
From: "Alice" <sip:alice@example.com>;tag=1928301774
To: "Bob" <sip:bob@example.com>
Call-ID: a84b4c76e66710@192.0.2.1
CSeq: 314159 INVITE
Contact: <sip:alice@192.0.2.1:5060>
Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, REFER, NOTIFY
Supported: replaces, timer
User-Agent: bench
Content-Type: application/sdp
Content-Length: 262

v=0
o=alice 2890844526 2890844526 IN IP4 192.0.2.1
s=-
c=IN IP4 192.0.2.1
t=0 0
m=audio 49170 RTP/AVP 0 8 97 101
a=rtpmap:0 PCMU/8000
a=rtpmap:8 PCMA/8000
a=rtpmap:97 iLBC/8000
a=rtpmap:101 telephone-event/8000
a=fmtp:101 0-15
a=ptime:20
a=sendrecv
`)

func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }
