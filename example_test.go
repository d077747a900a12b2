package sipacl_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/netip"
	"testing/fstest"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
)

// offices is the table of these examples.
func offices() sipacl.Partition {
	return partitionOf(
		sipacl.AddressRow{Group: 200, Prefix: netip.MustParsePrefix("203.0.113.0/24"), Info: "OfficeSubnet"},
		sipacl.AddressRow{Group: 250, Prefix: netip.MustParsePrefix("203.0.113.7/32"), Port: 5060, Proto: sipacl.ProtoUDP, Info: "TestServer"},
		sipacl.AddressRow{Group: 300, Prefix: netip.MustParsePrefix("2001:db8::/32"), Pattern: "sip:alice@example.com"},
		sipacl.AddressRow{Group: 400, Host: "gw.example.com"},
	)
}

// received is a request as a Guard makes it of what sipgo hands a handler.
func received(from string) sipacl.Request {
	r := request("OPTIONS sip:example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:example.com>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n")
	r.SetSource(from)
	return sipacl.RequestOf(r.Request, nil)
}

func Example() {
	ctx := context.Background()
	files := fstest.MapFS{"address.txt": {Data: []byte("200 203.0.113.0 24 0 OfficeSubnet\n")}}
	perm, err := sipacl.Open(ctx, sipacl.Config{Partitions: []sipacl.PartitionConfig{
		{Sources: []sipacl.AddressSource{sipacl.AddressFile{FS: files, Name: "address.txt"}}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	peers, err := perm.Partition("")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(peers.CheckSourceAddress(received("203.0.113.9:5060"), 200, ""))
	fmt.Println(peers.CheckSourceAddress(received("198.51.100.9:5060"), 200, "").Err())
	// Output:
	// 203.0.113.9:5060 udp allowed: address matches 203.0.113.0/24 group 200 (address.txt:1) "OfficeSubnet"
	// sipacl: 198.51.100.9:5060 udp refused: no address matches
}

func ExampleTable_CheckAddress() {
	table := offices().Current()
	q := sipacl.Query{Group: 250, Addr: netip.MustParseAddr("203.0.113.7")}
	fmt.Println(table.CheckAddress(q).Allowed) // port 0 is no "any"
	q.Any = sipacl.AnyPort | sipacl.AnyProto
	fmt.Println(table.CheckAddress(q).Allowed)
	fmt.Println(table.CheckAddress(sipacl.Query{Group: 400, Host: "gw.example.com"}).Allowed)
	// Output:
	// false
	// true
	// true
}

func ExampleTable_CheckSource() {
	s := sipacl.Source{Addr: netip.MustParseAddr("2001:db8::7"), Port: 5061, Proto: sipacl.ProtoTLS}
	fmt.Println(offices().Current().CheckSource(s, 300, "sip:alice@example.com").Allowed)
	fmt.Println(offices().Current().CheckSource(s, 300, "sip:bob@example.com").Allowed)
	// Output:
	// true
	// false
}

func ExamplePartition_CheckSourceAddress() {
	fmt.Println(offices().CheckSourceAddress(received("203.0.113.7:5060"), 250, ""))
	// Output: 203.0.113.7:5060 udp allowed: address matches 203.0.113.7/32 group 250 "TestServer"
}

func ExamplePartition_SourceGroup() {
	d := offices().SourceGroup(received("203.0.113.7:5060"))
	fmt.Println(d.Group, d.Info)
	// Output: 250 TestServer
}

func ExampleTable_AddressGroup() {
	d := offices().Current().AddressGroup(sipacl.Source{Addr: netip.MustParseAddr("203.0.113.8"), Port: 5060, Proto: sipacl.ProtoTCP})
	fmt.Println(d.Group, d.Info)
	// Output: 200 OfficeSubnet
}

func ExampleTable_Groups() {
	for g := range offices().Current().Groups(sipacl.Source{Addr: netip.MustParseAddr("203.0.113.7"), Port: 5060, Proto: sipacl.ProtoUDP}) {
		fmt.Println(g)
	}
	// Output:
	// 250
	// 200
}

func ExamplePartition_Sources() {
	check := offices().Sources(200, 250)
	fmt.Println(check(received("203.0.113.9:5060")).Allowed)
	fmt.Println(check(received("198.51.100.9:5060")).Allowed)
	// Output:
	// true
	// false
}

func ExamplePartition_AnySource() {
	fmt.Println(offices().AnySource()(received("203.0.113.9:5060")).Group)
	// Output: 200
}

func ExampleGuard_Filter() {
	guard := sipacl.NewGuard(sipacl.GuardConfig{
		Peers:   offices().Sources(200),
		Observe: func(e sipacl.Event) { fmt.Println(e.Gate, e.Decision) },
	})
	option := sip.WithTransportLayerReadFilter(guard.Filter())
	ua, err := sipgo.NewUA(sipgo.WithUserAgentTransportLayerOptions(option))
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()

	// What sipgo does with each datagram:
	from := &net.UDPAddr{IP: net.IPv4(198, 51, 100, 9), Port: 5060}
	rest, err := guard.Filter()(sip.TransportReadProps{Transport: "UDP", RemoteAddr: from}, []byte("OPTIONS ..."))
	fmt.Println(len(rest), err)
	// Output:
	// bytes 198.51.100.9:5060 udp refused: no address matches
	// 0 <nil>
}

func ExampleGuard_Handle() {
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: offices().AnySource()})
	handler := guard.Handle(func(r sipacl.Request, tx sip.ServerTransaction, d sipacl.Decision) {
		fmt.Println(r.Method, "of", d.Info, "in group", d.Group)
	})
	handler(received("203.0.113.9:5060").Request, nil) // what the server does
	// Output: OPTIONS of OfficeSubnet in group 200
}

func ExampleGuard_Listener() {
	guard := sipacl.NewGuard(sipacl.GuardConfig{Peers: offices().Sources(200)})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	l = guard.Listener(l, "tls") // and tls.NewListener around it
	fmt.Println(l.Close())
	// Output: <nil>
}

func ExampleGuard_Decide() {
	// Beside another SIP stack: there is no *sip.Request.
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: offices().AnySource()})
	remote := &net.UDPAddr{IP: net.IPv4(203, 0, 113, 9), Port: 5060}
	s, err := sipacl.SourceFromAddr(remote, "udp")
	if err != nil {
		log.Fatal(err)
	}
	d := guard.Decide(sipacl.Request{Source: s})
	fmt.Println(d.Allowed, d.Group)
	// Output: true 200
}

func ExampleByMethod() {
	check := sipacl.ByMethod(map[sip.RequestMethod]sipacl.Check{sip.OPTIONS: offices().AnySource()})
	r := received("203.0.113.9:5060")
	fmt.Println(check(r).Allowed)
	r.Request.Method = sip.INVITE
	fmt.Println(check(r))
	// Output:
	// true
	// 203.0.113.9:5060 udp refused: nothing allows it "the method is not listed"
}

func ExampleAllowed() {
	var closed bool
	hours := func(r sipacl.Request) sipacl.Decision {
		if closed {
			return sipacl.Refused("after hours")
		}
		return sipacl.Allowed("open")
	}
	check := sipacl.AllOf(offices().AnySource(), hours)
	fmt.Println(check(received("203.0.113.9:5060")))
	closed = true
	fmt.Println(check(received("203.0.113.9:5060")))
	// Output:
	// 203.0.113.9:5060 udp allowed: own check, let in by 203.0.113.0/24 group 200 "OfficeSubnet"
	// 203.0.113.9:5060 udp refused: own check "after hours"
}

func ExampleTable_Matches() {
	q := sipacl.Query{Addr: netip.MustParseAddr("203.0.113.7"), Any: sipacl.AnyGroup | sipacl.AnyPort | sipacl.AnyProto}
	for d := range offices().Current().Matches(q) {
		fmt.Println(d.Prefix, d.Group)
	}
	// Output:
	// 203.0.113.7/32 250
	// 203.0.113.0/24 200
}

func ExampleTable_Tracing() {
	q := sipacl.Query{Group: 250, Addr: netip.MustParseAddr("203.0.113.7"), Port: 5062, Proto: sipacl.ProtoUDP}
	var t sipacl.Trace
	offices().Current().Tracing(&t).CheckAddress(q)
	fmt.Println(t)
	// Output:
	// 203.0.113.7:5062 udp refused: no address matches
	//   - group 250 203.0.113.7/32 port 5060 proto udp: port is 5062
	//   - group 200 203.0.113.0/24 port any proto any: group 250 was asked
}

func ExampleSourceOf() {
	r := received("[::ffff:203.0.113.9]:5060")
	s, err := sipacl.SourceOf(r.Request)
	fmt.Println(s, err)
	_, err = sipacl.SourceOf(sip.NewRequest(sip.OPTIONS, sip.Uri{}))
	fmt.Println(err)
	// Output:
	// 203.0.113.9:5060 udp <nil>
	// no network source
}

func ExampleGuard() {
	ua, err := sipgo.NewUA()
	if err != nil {
		log.Fatal(err)
	}
	defer ua.Close()
	srv, err := sipgo.NewServer(ua)
	if err != nil {
		log.Fatal(err)
	}
	guard := sipacl.NewGuard(sipacl.GuardConfig{
		Check:   offices().Sources(200),
		Observe: func(e sipacl.Event) { fmt.Println(e.Request.Method, e.Decision) },
	})
	handler := guard.Wrap(func(req *sip.Request, tx sip.ServerTransaction) { fmt.Println("handled") })
	srv.OnInvite(handler)
	srv.OnOptions(handler)
	srv.OnNoRoute(handler)
	srv.OnAck(guard.Wrap(func(*sip.Request, sip.ServerTransaction) {}))

	handler(received("203.0.113.9:5060").Request, nil) // what the server does
	// Output:
	// OPTIONS 203.0.113.9:5060 udp allowed: address matches 203.0.113.0/24 group 200 "OfficeSubnet"
	// handled
}

func ExampleAllOf() {
	inOffice, inTest := offices().Sources(200), offices().Sources(250)
	fmt.Println(sipacl.AllOf(inOffice, inTest)(received("203.0.113.9:5060")).Allowed)
	fmt.Println(sipacl.AnyOf(inOffice, inTest)(received("203.0.113.9:5060")).Allowed)
	fmt.Println(sipacl.AllOf()(received("203.0.113.9:5060")).Allowed)
	// Output:
	// false
	// true
	// false
}

func ExamplePermissions_Reload() {
	files := fstest.MapFS{"address.txt": {Data: []byte("200 203.0.113.0 24\n")}}
	p, err := sipacl.NewPartition(context.Background(), sipacl.AddressFile{FS: files, Name: "address.txt"})
	if err != nil {
		log.Fatal(err)
	}
	files["address.txt"].Data = []byte("200 203.0.113.0 33\n200 198.51.100.7\n")
	_, err = p.Reload(context.Background())
	fmt.Println(err)
	fmt.Println(p.Status().Generation, p.Sources(200)(received("203.0.113.9:5060")).Allowed)
	// Output:
	// sipacl: address:default: address.txt:1:17: mask "33": want a whole number, 0 to 32
	// 1 true
}

func ExampleTable_Diff() {
	a, b := netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("198.51.100.7/32")
	old := partitionOf(sipacl.AddressRow{Group: 200, Prefix: a}).Current()
	next := partitionOf(sipacl.AddressRow{Group: 200, Prefix: b}).Current()
	added, removed := next.Diff(old)
	fmt.Println("+", added[0])
	fmt.Println("-", removed[0])
	// Output:
	// + group 200 198.51.100.7/32 port any proto any
	// - group 200 203.0.113.0/24 port any proto any
}
