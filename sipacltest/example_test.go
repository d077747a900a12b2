package sipacltest_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/sipacltest"
)

// printing stands for the *testing.T that a test is given.
type printing struct{ testing.TB }

func (printing) Helper()                           {}
func (printing) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }

var t printing

// What a test says when it fails.
func ExampleRefused() {
	trunks := sipacltest.Partition(t, sipacl.AddressRow{Group: 1, Prefix: netip.MustParsePrefix("203.0.113.0/24"), Info: "carrier"})
	rules := sipacltest.Rules(t, "", `ALL : "^sip:00[0-9]*@"`)
	check := sipacl.AllOf(trunks.Sources(1), rules.Routing())

	abroad := sipacltest.Message{Method: "INVITE", URI: "sip:+44123@example.com", Source: "203.0.113.9:5060 udp"}
	sipacltest.Refused(t, check, abroad, sipacl.CauseDenyRule)
	// Output:
	// INVITE sip:+44123@example.com: want it refused: deny rule
	// 203.0.113.9:5060 udp allowed: no rule matches, let in by 203.0.113.0/24 group 1 "sip:alice@example.com" -> "sip:+44123@example.com" "carrier"
	//   + address:default group 1 203.0.113.0/24 port any proto any
	//   - rules:permissions permissions.deny:1:1 ALL : "^sip:00[0-9]*@" ~ "sip:alice@example.com -> sip:+44123@example.com": right side does not match
}

func ExampleAllowed() {
	office := sipacltest.ACL(t, "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/24")
	sipacltest.Allowed(t, office.Check, sipacltest.Message{Source: "192.0.2.7:5060 udp"}) // and says nothing
	sipacltest.Allowed(t, office.Check, sipacltest.Message{Source: "198.51.100.1:5060 udp"})
	// Output:
	// OPTIONS sip:example.com: want it allowed
	// 198.51.100.1:5060 udp refused: ACL denies 0.0.0.0/0
	//   + acl deny 0.0.0.0/0 ~ "198.51.100.1": decides
	//   - acl deny ::/0 ~ "198.51.100.1": other address family
	//   - acl permit 192.0.2.0/24 ~ "198.51.100.1"
}

func ExampleTransaction() {
	office := sipacltest.ACL(t, "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/24")
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: office.Check})
	invite := guard.Wrap(func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, sip.StatusRinging, "Ringing", nil))
	})
	for _, source := range []string{"192.0.2.7:5060 udp", "198.51.100.1:5060 udp"} {
		var tx sipacltest.Transaction
		invite(sipacltest.Message{Method: "INVITE", Source: source}.Request(t).Request, &tx)
		for _, res := range tx.Responses {
			fmt.Println(source, res.StatusCode, res.Reason)
		}
	}
	// Output:
	// 192.0.2.7:5060 udp 180 Ringing
	// 198.51.100.1:5060 udp 403 Forbidden
}
