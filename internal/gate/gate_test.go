package gate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// base is the message that the cases change.
var base = lines(
	"REGISTER sip:example.com SIP/2.0",
	"Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1;rport",
	"Max-Forwards: 70",
	"From: \"Alice\" <sip:alice@example.com>;tag=1",
	"To: <sip:alice@example.com>",
	"Call-ID: 1@192.0.2.10",
	"CSeq: 1 REGISTER",
	"Contact: <sip:alice@192.0.2.10>;expires=60",
	"Subject: one",
	"Content-Length: 4",
	"", "body")

// unread stands for a message that sipgo does not parse.
const unread = rules

// Each case replaces a part of base twice: by text that breaks a rule, and by
// text just outside the rule, which must pass both doors.
var cases = []struct {
	part, broken, sound string
	bytes, request      Rule // the answers to the broken one
}{
	{"\r\n\r\nbody", "\r\n", "\r\n\r\nbody", NoEnd, unread},
	{"Subject: one", "Subject: one\nRoute: <sip:192.0.2.66>", "Subject: one\r\n Route: <sip:192.0.2.66>", BareLF, BareLF},
	{"\"Alice\"", "\"A\nB\"", "\"A\r\n B\"", BareLF, BareLF},
	{";tag=1", ";tag=1;x=\"a\nb c\"", ";tag=1;x=\"a\r\n b\"", BareLF, BareLF},
	{"Subject: one", "Subject: one\rtwo", "Subject: one\r\n\ttwo", BareCR, unread},
	{"Subject: one", "Subject: one\x00", "Subject: one\t", ControlByte, ControlByte},
	{"Subject: one", "Subject: \\\x07", "Subject: \"\\\x07\"", ControlByte, ControlByte},
	{"\"Alice\"", "\"\x07\"", "\"\\\x07\\\x7f\"", ControlByte, Address},
	{"Call-ID: 1@", "Call-ID: \x7f@", "Call-ID: ~@", ControlByte, ControlByte},
	{" SIP/2.0\r\nVia", " SIP/2.0\t\r\nVia", " SIP/2.0\r\nVia", StartLine, StartLine},
	{" SIP/2.0\r\nVia", "  SIP/2.0\r\nVia", " SIP/2.0\r\nVia", StartLine, unread},
	{"REGISTER sip", "\tREGISTER sip", "\r\nREGISTER sip", Method, Method},
	{"REGISTER sip", "\"REGISTER\" sip", "register sip", Method, Method},
	{"sip:example.com SIP", "sip:example..com SIP", "sip:example.com. SIP", RequestURI, RequestURI},
	{"sip:example.com SIP", "sip://a@example.com SIP", "sip:/a@example.com SIP", RequestURI, RequestURI},
	{"sip:example.com SIP", "tel:+1-555-x SIP", "tel:+1-555;ext=x SIP", RequestURI, RequestURI},
	{"Subject: one", "Sub ject: one", "Subject : one", FieldName, FieldName},
	{"Subject: one", "Subject", "Subject:", FieldName, unread},
	{"Subject: one", "Subject: one\r\n \r\n two", "Subject: one\r\n two", EmptyFold, WellFormed},
	{"Subject: one", "f: <sip:bob@example.com>;tag=2", "x: <sip:bob@example.com>;tag=2", TwoFrom, TwoFrom},
	{"Subject: one", "TO: <sip:bob@example.com>", "TOO: <sip:bob@example.com>", TwoTo, TwoTo},
	{"Subject: one", "i: 2", "j: 2", TwoCallID, TwoCallID},
	{"Subject: one", "cseq: 2 REGISTER", "rack: 2 REGISTER", TwoCSeq, TwoCSeq},
	{"Subject: one", "Max-Forwards: 70", "Min-Expires: 70", TwoMaxForwards, TwoMaxForwards},
	{"Subject: one", "l: 4", "e: 4", TwoContentLength, TwoContentLength},
	{"Subject: one", "Expires: 1\r\nEXPIRES: 2", "Expires: 1", TwoExpires, TwoExpires},
	{"Subject: one", "r: <sip:a@b>\r\nRefer-To: <sip:a@b>", "r: <sip:a@b>", TwoReferTo, TwoReferTo},
	{"From: ", "X-From: ", "From : ", NoFrom, NoFrom},
	{"To: ", "X-To: ", "t: ", NoTo, NoTo},
	{"Call-ID: ", "X-Call-ID: ", "I: ", NoCallID, NoCallID},
	{"CSeq: ", "X-CSeq: ", "CSEQ: ", NoCSeq, NoCSeq},
	{"Via: ", "X-Via: ", "v:", NoVia, NoVia},
	{"Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1;rport", "Via: ", "Via: SIP/2.0/UDP [2001:db8::1]", Via, unread},
	{"192.0.2.10;branch", "h:x;branch", "h:5060;branch", WellFormed, Via},
	{";rport", ";x=\"y\"", ";x=y", WellFormed, Via},
	{"1 REGISTER", "2147483648 REGISTER", "2147483647\t REGISTER", CSeq, unread},
	{"1 REGISTER", "1REGISTER", "01 register", CSeq, unread},
	{"1 REGISTER", "1 INVITE", "1  REGISTER", CSeqMethod, CSeqMethod},
	{"Max-Forwards: 70", "Max-Forwards: 256", "Max-Forwards: 0255", MaxForwards, MaxForwards},
	{"Content-Length: 4", "Content-Length: +4", "Content-Length: 004", ContentLength, unread},
	{"Content-Length: 4", "Content-Length: 4, 4", "Content-Length: 3", ContentLength, unread},
	{"Subject: one", "Expires: 60s", "Expires: 4294967296", Expires, Expires},
	{"To: <sip:alice@example.com>", "To: <sip:alice@example.com>, <sip:b@c>", "To: <sip:alice@example.com>;x", Address, Address},
	{"To: <sip:alice@example.com>", "To: <sip:alice@example.com>;x=a@b", "To: <sip:alice@example.com>;x=a:5060", Address, Address},
	{"\"Alice\"", "Al\"ice", "A \t l.i-c~e", Address, unread},
	{"\"Alice\"", "a\\", "\"a\\\\\"", Address, Address},
	{"Subject: one", "Path: <sip:a@192.0.2.1", "Path: <sip:a@192.0.2.1>, sip:b@c;lr, \"x, \\\"y\" <sip:d@[2001:db8::1]:5060;lr>", Address, Address},
	{"60\r\nSubject", "60;a=\"\\\", <sip:b@c>;b=\\\"\"\r\nSubject", "60;a=\"\\\"b\"\r\nSubject", Misread, Address},
	{"Subject: one", "Path: <sip:a@b>;x=\"\\\"\", <sip:c@d>", "Path: <sip:a@b>;x=\"\\\"y\\\"\", <sip:c@d>", Misread, Misread},
	{"Subject: one", "Route: \"\\\"\" <sip:192.0.2.1;lr>", "Route: \"\\\\\" <sip:192.0.2.1;lr>", WellFormed, AddressURI},
	{"sip:alice@192.0.2.10", "sip:al ice@192.0.2.10", "sip:al%20ice@192.0.2.10", AddressURI, AddressURI},
	{"sip:alice@192.0.2.10", "sip:a:b:c@192.0.2.10", "SIPS:a:b@192.0.2.10", AddressURI, AddressURI},
	{"sip:alice@192.0.2.10", "sip:alice@192.0.2.10;x=a@b", "sip:alice@192.0.2.10;x=a%40b", AddressURI, AddressURI},
	{"sip:alice@192.0.2.10", "sip:alice@[2001:db8::1", "sip:alice@[2001:db8::1]", AddressURI, unread},
	{"sip:alice@192.0.2.10", "sip:alice@-h", "sip:alice@h-x_1.", AddressURI, AddressURI},
	{"sip:alice@192.0.2.10", "sip:alice@192.0.2.010", "sip:alice@192.0.2.10x", NumericHost, NumericHost},
	{"sip:alice@192.0.2.10", "sip:alice@0x7f.1", "sip:alice@0x7g.1", NumericHost, NumericHost},
	{"sip:alice@192.0.2.10", "sip:alice@192.0.2.256", "sip:alice@192.0.2.255", NumericHost, NumericHost},
	{"sip:alice@192.0.2.10", "sip:alice@192.0.2.10:65536", "sip:alice@192.0.2.10:65535", Port, Port},
	{"sip:alice@192.0.2.10", "sip:alice@192.0.2.10:0", "sip:alice@192.0.2.10:1", Port, WellFormed},
	{"sip:alice@192.0.2.10", "sip:alice@192.0.2.10;lr;x;LR=on", "sip:alice@192.0.2.10;lr;x;lrx=on", TwoParams, TwoParams},
	{"sip:alice@192.0.2.10", "sip:h" + many(maxParams+1), "sip:h" + many(maxParams), ManyParams, ManyParams},
	{";rport", many(maxParams), many(maxParams - 1), ManyParams, ManyParams},
	{"sip:alice@192.0.2.10", "sip:a@b?h" + strings.ReplaceAll(many(maxParams+1), ";", "&"), "sip:a@b?h" + strings.ReplaceAll(many(maxParams), ";", "&"), ManyParams, ManyParams},
	{";expires=60", many(maxParams + 1), many(maxParams), ManyParams, ManyParams},
	{"Contact: <sip:alice@192.0.2.10>;expires=60", "Contact: *\r\nm: <sip:a@b>", "Contact: *", Star, Star},
	{"Contact: <sip:alice@192.0.2.10>;expires=60", "m: <sip:a@b>, <sip:c@d>\r\nContact: *", "m: *", Star, Star},
	{"Contact: <sip:alice@192.0.2.10>;expires=60", "Contact: *;expires=0", "Contact:\t*", AddressURI, Star},
	{"Contact: <sip:alice@192.0.2.10>;expires=60", "Contact: <sip:a@*>", "Contact: <sip:*@a>", AddressURI, AddressURI},
	{";expires=60", ";a=\", <sip:b@192.0.2.66>, sip:c@d?x\"", ";a=\",<sip:b@192.0.2.66>,sip:c@d?x\"", WellFormed, Rewritten},
	{";expires=60", ";methods=\"INVITE, BYE\"", ";methods=\"INVITE,BYE\"", WellFormed, Rewritten},
	{";expires=60", ";x=\"a b;c\"", ";x=\"a b\";y = c", WellFormed, Rewritten},
	{";tag=1", ";tag=1=", ";tag=1;x=\"=\"", Address, Rewritten},
	{";tag=1", ";tag=1;x=\"a=;b\"", ";tag=1;x=\"a=b;c=d\"", WellFormed, Rewritten},
	{"sip:alice@192.0.2.10", "sip:192.0.2.10;x=[::1]", "sip:a@192.0.2.10;x=[::1]", Misread, WellFormed},
	{"Subject: one", "Path: <sip:192.0.2.10?x=[::1]>", "Path: <sip:[::1]?x=[::1]>", Misread, Misread},
	{"sip:alice@192.0.2.10", "sip:@192.0.2.10;x=[::1]", "sip:[::1];x=::1", AddressURI, Rewritten},
	{"sip:alice@192.0.2.10", "sip:alice@192.0.2.10;lr?subject=x", "sip:alice@192.0.2.10;lr=on?subject=x", WellFormed, Rewritten},
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(";p")
		b.WriteByte("0123456789abcdef"[i/16])
		b.WriteByte("0123456789abcdef"[i%16])
	}
	return b.String()
}

func TestRules(t *testing.T) {
	var seen [rules]bool
	for _, c := range cases {
		require.Equal(t, 1, strings.Count(base, c.part), c.part)
		broken, sound := strings.Replace(base, c.part, c.broken, 1), strings.Replace(base, c.part, c.sound, 1)

		require.Equal(t, c.bytes, Bytes([]byte(broken)), "%q", broken)
		require.Equal(t, c.request, requestRule(broken), "%q", broken)
		require.Equal(t, WellFormed, Bytes([]byte(sound)), "%q", sound)
		require.Equal(t, WellFormed, requestRule(sound), "%q", sound)
		seen[c.bytes] = true
		if c.request != unread {
			seen[c.request] = true
		}
	}
	seen[BodyLength] = true // TestBodyLength
	for r, ok := range seen {
		require.True(t, ok, "%d has no case", r)
		require.NotEmpty(t, Rule(r).String())
	}
	require.Equal(t, "unknown rule", rules.String())
}

// requestRule is the answer of the second door. A message that begins with an
// empty line is read as from a stream.
func requestRule(msg string) Rule {
	m, _, err := sip.NewParser().Parse([]byte(msg), strings.HasPrefix(msg, "\r\n"))
	req, ok := m.(*sip.Request)
	if err != nil || !ok {
		return unread
	}
	return Request(req)
}

// sipgo makes no request with such a body, but handlers can.
func TestBodyLength(t *testing.T) {
	req := sip.NewRequest(sip.OPTIONS, sip.Uri{Scheme: "sip", Host: "example.com"})
	for _, line := range strings.Split(base, "\r\n")[1:7] {
		name, value, _ := strings.Cut(line, ": ")
		req.AppendHeader(sip.NewHeader(name, strings.Replace(value, "REGISTER", "OPTIONS", 1)))
	}
	require.Equal(t, WellFormed, Request(req))
	req.SetBody([]byte("body"))
	require.Equal(t, WellFormed, Request(req))
	*req.ContentLength() = 3
	require.Equal(t, BodyLength, Request(req))
	req.RemoveHeader("Content-Length")
	require.Equal(t, BodyLength, Request(req))
}

func TestNoRequest(t *testing.T) {
	require.Equal(t, StartLine, Request(nil))
	require.Equal(t, StartLine, Request(&sip.Request{}))
}

// A filter must not drop what keeps a connection open.
func TestKeepAlivesPass(t *testing.T) {
	const request = "\x00\x01\x00\x04\x21\x12\xa4\x42 transaction\x80\x2a\x00\x00"
	for _, msg := range []string{"", "\r\n", "\r\n\r\n", "\x00\x00\x00\x00", request} {
		require.Equal(t, WellFormed, Bytes([]byte(msg)), "%q", msg)
	}
	require.NotEqual(t, WellFormed, Bytes([]byte(request+"x")))
	require.NotEqual(t, WellFormed, Bytes([]byte("jaK")))
}

func TestResponses(t *testing.T) {
	response := strings.Replace(base, "REGISTER sip:example.com SIP/2.0", "SIP/2.0 200 OK", 1)
	for _, start := range []string{"SIP/2.0 200 OK", "SIP/2.0 100 ", "SIP/2.0 486 Besetzt \xc3\xbc"} {
		require.Equal(t, WellFormed, Bytes([]byte(strings.Replace(response, "SIP/2.0 200 OK", start, 1))), start)
	}
	for _, start := range []string{"SIP/2.0 200", "SIP/2.0 20 OK", "SIP/2.0 2000 OK", "SIP/2.0 +20 OK"} {
		require.Equal(t, StartLine, Bytes([]byte(strings.Replace(response, "SIP/2.0 200 OK", start, 1))), start)
	}
	require.Equal(t, TwoFrom, Bytes([]byte(strings.Replace(response, "Subject: one", "f: <sip:b@c>", 1))))
	require.Equal(t, CSeq, Bytes([]byte(strings.Replace(response, "1 REGISTER", "1 \"", 1))))
}

// The valid messages of RFC 4475 pass both doors, or the first if sipgo does not
// read them. The files are those of sipgo.
func TestRFC4475(t *testing.T) {
	files, err := filepath.Glob("testdata/rfc4475/*.dat")
	require.NoError(t, err)
	require.Len(t, files, 13)
	for _, file := range files {
		msg, err := os.ReadFile(file)
		require.NoError(t, err)
		require.Equal(t, WellFormed, Bytes(msg), file)
		if req := taken(msg, "udp"); req != nil {
			require.Equal(t, WellFormed, Request(req), file)
		}
	}
}

func TestDoesNotAllocate(t *testing.T) {
	for _, m := range ordinary {
		msg := []byte(m.text)
		req := parse(t, msg)
		require.Zero(t, testing.AllocsPerRun(100, func() { Bytes(msg) }), m.name)
		require.Zero(t, testing.AllocsPerRun(100, func() { Request(req) }), m.name)
	}
}
