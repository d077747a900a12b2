package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// ordinary are two everyday messages.
var ordinary = []struct{ name, text string }{
	{"OPTIONS", lines(
		"OPTIONS sip:proxy.example.com SIP/2.0",
		"Via: SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-524287-1---7d9e3f;rport",
		"Max-Forwards: 70",
		"From: <sip:monitor@192.0.2.10>;tag=8a7d6c5b",
		"To: <sip:proxy.example.com>",
		"Call-ID: 4f1c2f0a-6a4e-11ef@192.0.2.10",
		"CSeq: 17 OPTIONS",
		"Contact: <sip:monitor@192.0.2.10:5060>",
		"User-Agent: monitor",
		"Content-Length: 0",
		"", "")},
	{"INVITE", lines(
		"INVITE sip:+12125551234@proxy.example.com;user=phone SIP/2.0",
		"Via: SIP/2.0/TLS 192.0.2.10:5061;branch=z9hG4bKPj6c65c5d9-b6d0-4a30;rport;alias",
		"Max-Forwards: 70",
		"From: \"Alice \\\"A\\\" Example\" <sip:alice@example.com>;tag=06aaf0f1",
		"To: <sip:+12125551234@proxy.example.com;user=phone>",
		"Contact: <sip:alice@192.0.2.10:5061;transport=TLS;ob>;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-000a95a0e128>\"",
		"Call-ID: 4f1c2f0a-6a4e-11ef-b00d@192.0.2.10",
		"CSeq: 28402 INVITE",
		"Route: <sip:proxy.example.com;transport=tls;lr>",
		"Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS",
		"Supported: replaces, 100rel, timer, norefersub",
		"Session-Expires: 1800",
		"Min-SE: 90",
		"User-Agent: Example-UA/4.2",
		"P-Asserted-Identity: \"Alice\" <sip:alice@example.com>",
		"Content-Type: application/sdp",
		"Content-Length: 127",
		"",
		"v=0", "o=- 3 3 IN IP4 192.0.2.10", "s=-", "c=IN IP4 192.0.2.10", "t=0 0", "m=audio 4000 RTP/AVP 0 101", "a=rtpmap:0 PCMU/8000", "a=sendrecv", "")},
}

func lines(s ...string) string { return strings.Join(s, "\r\n") }

// parse reads a request as sipgo reads a datagram.
func parse(t testing.TB, msg []byte) *sip.Request {
	m, err := sip.ParseMessage(msg)
	require.NoError(t, err)
	req, ok := m.(*sip.Request)
	require.True(t, ok)
	return req
}

func BenchmarkGate(b *testing.B) {
	for _, m := range ordinary {
		msg := []byte(m.text)
		req := parse(b, msg)
		require.Equal(b, WellFormed, Bytes(msg))
		require.Equal(b, WellFormed, Request(req))
		b.Run(m.name+"/bytes", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Bytes(msg)
			}
		})
		b.Run(m.name+"/request", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Request(req)
			}
		})
		b.Run(m.name+"/parse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = sip.ParseMessage(msg)
			}
		})
		b.Run(m.name+"/share", func(b *testing.B) { share(b, msg, req) })
	}
}

// share measures the doors and the parser in turns, so that other load on the
// machine slows all three alike.
func share(b *testing.B, msg []byte, req *sip.Request) {
	var doors [3]time.Duration
	work := [3]func(){
		func() { Bytes(msg) },
		func() { Request(req) },
		func() { _, _ = sip.ParseMessage(msg) },
	}
	for b.Loop() {
		for i, f := range work {
			begin := time.Now()
			for range 100 {
				f()
			}
			doors[i] += time.Since(begin)
		}
	}
	percent := func(d time.Duration) float64 { return 100 * float64(d) / float64(doors[2]) }
	b.ReportMetric(percent(doors[0]), "bytes-%ofparse")
	b.ReportMetric(percent(doors[1]), "request-%ofparse")
}
