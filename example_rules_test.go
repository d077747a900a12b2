package sipacl_test

import (
	"context"
	"fmt"
	"net/netip"
	"testing/fstest"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl"
)

// request is what a handler gets, for the examples.
func request(text string) sipacl.Request {
	m, err := sip.ParseMessage([]byte(text))
	if err != nil {
		panic(err)
	}
	req := m.(*sip.Request)
	req.SetSource("192.0.2.1:5060") // as the transport does
	req.SetTransport("UDP")
	return sipacl.RequestOf(req, nil)
}

func ExampleNewRules() {
	files := fstest.MapFS{ // os.DirFS("/etc/opensips")
		"permissions.allow": {Data: []byte(`ALL : "^sip:1[0-9][0-9]@example\.com$"` + "\n")},
		"permissions.deny":  {Data: []byte("All : ALL\nALL : sip:900@example.com\n")},
	}
	_, err := sipacl.NewRules(context.Background(), sipacl.RulesConfig{FS: files})
	fmt.Println(err)
	// Output:
	// sipacl: rules:permissions: permissions.deny:1:1: found All, want an expression; ALL stands alone and in capitals; quote "All" to mean the text
	// permissions.deny:2:10: found a second ":", want the end of the rule; an expression with a colon needs quotes: "sip:..."
}

func ExampleRules_AllowRouting() {
	rules := rulesOf(
		`ALL : "^sip:1[0-9][0-9]@example\.com$"`, // permissions.allow
		`ALL EXCEPT "^sip:boss@" : "^sip:900"`,   // permissions.deny
	)
	req := request("INVITE sip:100@example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:100@example.com>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n")
	fmt.Println(rules.AllowRouting(req))

	branch := sip.Uri{Scheme: "sip", User: "%3900123", Host: "gw.example.net", Port: 5070}
	fmt.Println(rules.AllowRouting(req, branch))
	// Output:
	// 192.0.2.1:5060 udp allowed: allow rule (permissions.allow:1:1) "sip:alice@example.com" -> "sip:100@example.com"
	// 192.0.2.1:5060 udp refused: deny rule (permissions.deny:1:1) "sip:alice@example.com" -> "sip:900123@gw.example.net"
}

func ExampleRuleSet_AllowRouting() {
	rules := rulesOf("", `ALL : "@gw\.example\.net$"`).Current()
	fmt.Println(rules.AllowRouting("sip:alice@example.com", "sip:bob@example.com", "sip:1@gw.example.net").Err())
	// Output:
	// sipacl: refused: deny rule (permissions.deny:1:1) "sip:alice@example.com" -> "sip:1@gw.example.net"
}

func ExampleRules_AllowRegister() {
	rules := rulesOf("", `ALL : "@192\.0\.2\.1$"`) // the gateway
	req := request("REGISTER sip:example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1\r\nFrom: <sip:eve@example.com>;tag=1\r\nTo: <sip:eve@example.com>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 REGISTER\r\nContact: <sip:eve@198.51.100.7>\r\nm: <sip:eve@192.0.2.1:5060>\r\n\r\n")
	fmt.Println(rules.AllowRegister(req))
	// Output:
	// 192.0.2.1:5060 udp refused: deny rule (permissions.deny:1:1) "sip:eve@example.com" -> "sip:eve@192.0.2.1"
}

func ExampleRuleSet_AllowRegisterWithPort() {
	rules := rulesOf(`ALL : ":5060$"`, `ALL : ALL`).Current()
	fmt.Println(rules.AllowRegisterWithPort("sip:alice@example.com", "sip:alice@198.51.100.7:5060").Allowed)
	fmt.Println(rules.AllowRegisterWithPort("sip:alice@example.com", "sip:alice@198.51.100.7:5070").Allowed)
	// Output:
	// true
	// false
}

func ExampleProtector() {
	protector, err := sipacl.NewProtector(sipacl.ProtectConfig{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")},
	})
	if err != nil {
		panic(err)
	}
	for _, contact := range []string{"sip:e@192.0.2.1", "sip:e@192.0.2.01", "sip:e@[::ffff:c000:201]", "sip:e@198.51.100.7;maddr=3221225985", "sip:e@198.51.100.7"} {
		req := request("REGISTER sip:example.com SIP/2.0\r\n" +
			"Via: SIP/2.0/UDP 198.51.100.7;branch=z9hG4bK1\r\nCSeq: 1 REGISTER\r\nContact: <" + contact + ">\r\n\r\n")
		fmt.Println(protector.CheckRegister(req).Allowed, contact)
	}
	// Output:
	// false sip:e@192.0.2.1
	// false sip:e@192.0.2.01
	// false sip:e@[::ffff:c000:201]
	// false sip:e@198.51.100.7;maddr=3221225985
	// true sip:e@198.51.100.7
}

func ExampleRules_AllowReferTo() {
	rules := rulesOf("", `ALL : "^sip:900"`)
	req := request("REFER sip:bob@example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>;tag=2\r\n" +
		"Call-ID: 1\r\nCSeq: 2 REFER\r\nr: <sips:900123@example.net>\r\n\r\n")
	fmt.Println(rules.AllowReferTo(req))
	// Output:
	// 192.0.2.1:5060 udp refused: deny rule (permissions.deny:1:1) "sip:alice@example.com" -> "sip:900123@example.net"
}

func ExampleRules_AllowURI() {
	rules := rulesOf("", `ALL : "^sip:900"`)
	req := request("INVITE sip:bob@example.com SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n")
	fmt.Println(rules.AllowURI(req, "sip:900123@example.net").Allowed)
	fmt.Println(rules.AllowURI(req, "sip:100@example.net").Allowed)
	// Output:
	// false
	// true
}

func ExampleRuleSet_Test() {
	rules := rulesOf("", `"^sip:eve@" : ALL`).Current()
	fmt.Println(rules.Test("sip:eve@example.com", "sip:bob@example.com"))
	// Output:
	// refused: deny rule (permissions.deny:1:1) "sip:eve@example.com" -> "sip:bob@example.com"
}

func ExampleTrusted_AllowTrusted() {
	trusted, err := sipacl.NewTrusted(context.Background(), sipacl.Rows( // SQLTrusted{SQL: SQL{DB: db}}
		sipacl.TrustedRow{Source: netip.MustParseAddr("192.0.2.1"), Proto: sipacl.ProtoUDP, From: `@example\.com$`, Tag: "carrier"},
	))
	if err != nil {
		panic(err)
	}
	req := request("INVITE sip:bob@example.org SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.org>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n")
	fmt.Println(trusted.AllowTrusted(req))
	// Output:
	// 192.0.2.1:5060 udp allowed: trusted "carrier"
}

func ExampleExplain() {
	rules := rulesOf(`"^sip:boss@" : ALL`, `ALL : "@gw\.example\.net$"`)
	trunks := partitionOf(sipacl.AddressRow{Group: 1, Prefix: netip.MustParsePrefix("198.51.100.0/24")})
	check := sipacl.AnyOf(trunks.AnySource(), rules.Routing())
	r := request("INVITE sip:1@gw.example.net:5070 SIP/2.0\r\n" +
		"Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:alice@example.com;x>;tag=1\r\nTo: <sip:1@gw.example.net>\r\n" +
		"Call-ID: 1\r\nCSeq: 1 INVITE\r\n\r\n")
	fmt.Println(sipacl.Explain(check, r))
	// Output:
	// 192.0.2.1:5060 udp refused: deny rule (permissions.deny:1:1) "sip:alice@example.com;x" -> "sip:1@gw.example.net"
	//   - no address matches
	//   - rules:permissions permissions.allow:1:1 "^sip:boss@" : ALL ~ "sip:alice@example.com -> sip:1@gw.example.net": left side does not match
	//   + rules:permissions permissions.deny:1:1 ALL : "@gw\.example\.net$" ~ "sip:alice@example.com;x (canonical sip:alice@example.com) -> sip:1@gw.example.net"
}
