package sipacl_test

import (
	"context"
	"fmt"
	"log"
	"net/netip"
	"testing/fstest"

	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
)

// A file of named ACLs, as os.DirFS("/etc/asterisk") would give it.
func aclFiles() fstest.MapFS {
	return fstest.MapFS{"acl.conf": {Data: []byte(`
[nobody](!)
deny=0.0.0.0/0,::/0

[office](nobody)
permit=192.0.2.0/24,2001:db8::/32
deny=192.0.2.66

[trunks](nobody)
permit=198.51.100.0/255.255.255.0
`)}}
}

// loadACLs is what a server does at its start.
func loadACLs(files fstest.MapFS) sipacl.ACLs {
	acls, err := sipacl.NewACLs(context.Background(), sipacl.ACLConf{FS: files})
	if err != nil {
		log.Fatal(err)
	}
	return acls
}

// A packet or request from 192.0.2.1 port 5060.
func packetFrom(addr string) sipacl.Request { return received(addr) }

func ExampleACLSet_Bind() {
	acls := loadACLs(aclFiles())
	office, err := acls.Current().Bind("office") // acl=office
	if err != nil {
		log.Fatal(err) // a name that is not defined is found here, not in a call
	}
	for _, addr := range []string{"192.0.2.1", "192.0.2.66", "203.0.113.9"} {
		fmt.Println(office.CheckSource(sipacl.Source{Addr: netip.MustParseAddr(addr)}))
	}
	// Output:
	// 192.0.2.1 allowed: ACL permits 192.0.2.0/24 (acl.conf:6:8) "office"
	// 192.0.2.66 refused: ACL denies 192.0.2.66/32 (acl.conf:7:6) "office"
	// 203.0.113.9 refused: ACL denies 0.0.0.0/0 (acl.conf:3:6) "office"
}

func ExampleACLSet_Bind_ownRules() {
	acls := loadACLs(aclFiles())
	// An endpoint with lines of its own, deny=192.0.2.128/25 and acl=office. An
	// address must pass its rules and every ACL.
	own, err := sipacl.ParseACLRules("deny=192.0.2.128/25")
	if err != nil {
		log.Fatal(err)
	}
	list, err := acls.Current().Bind("office", own...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(list.CheckSource(sipacl.Source{Addr: netip.MustParseAddr("192.0.2.1")}).Allowed)
	fmt.Println(list.CheckSource(sipacl.Source{Addr: netip.MustParseAddr("192.0.2.129")}).Allowed)
	// Output:
	// true
	// false
}

func ExampleACLs_Follow() {
	files := aclFiles()
	acls := loadACLs(files)
	pinned, err := acls.Current().Bind("trunks")
	if err != nil {
		log.Fatal(err)
	}
	live, err := acls.Follow("trunks")
	if err != nil {
		log.Fatal(err)
	}
	files["acl.conf"] = &fstest.MapFile{Data: []byte("[office]\ndeny=192.0.2.66\n")}
	if _, err := acls.Reload(context.Background()); err != nil {
		log.Fatal(err)
	}
	trunk := sipacl.Source{Addr: netip.MustParseAddr("198.51.100.7")}
	fmt.Println(pinned.CheckSource(trunk).Cause)
	fmt.Println(live.CheckSource(trunk).Cause)
	// Output:
	// ACL permits
	// unknown ACL
}

func ExampleACLs_OnReload() {
	files := aclFiles()
	acls := loadACLs(files)
	list, err := acls.Current().Bind("office")
	if err != nil {
		log.Fatal(err)
	}
	stop := acls.OnReload(func(r sipacl.ReloadReport) {
		fmt.Println("changed:", r.Changed, "ours:", list.Uses(r.Changed...))
	})
	defer stop()
	files["acl.conf"] = &fstest.MapFile{Data: append(files["acl.conf"].Data, "deny=198.51.100.66\n"...)}
	if _, err := acls.Reload(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// changed: [trunks] ours: false
}

func ExampleACLList_Check() {
	list, err := loadACLs(aclFiles()).Current().Bind("office")
	if err != nil {
		log.Fatal(err)
	}
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: list.Check})
	fmt.Println(guard.Decide(packetFrom("203.0.113.9:5060")))
	// Output:
	// 203.0.113.9:5060 udp refused: ACL denies 0.0.0.0/0 (acl.conf:3:6) "office"
}

func ExampleACLFor() {
	acls := loadACLs(aclFiles())
	lists := map[uint16]*sipacl.ACLList{}
	for port, names := range map[uint16]string{5060: "office", 5070: "trunks"} {
		list, err := acls.Follow(names)
		if err != nil {
			log.Fatal(err)
		}
		lists[port] = list
	}
	check := sipacl.ACLFor(func(r sipacl.Request) *sipacl.ACLList {
		return lists[r.Source.Port] // nil refuses
	})
	fmt.Println(check(packetFrom("192.0.2.1:5060")).Cause)
	fmt.Println(check(packetFrom("192.0.2.1:5070")).Cause)
	fmt.Println(check(packetFrom("192.0.2.1:5080")).Cause)
	// Output:
	// ACL permits
	// ACL denies
	// empty ACL list
}

func ExampleACLList_Contacts() {
	list, err := loadACLs(aclFiles()).Current().Bind("office")
	if err != nil {
		log.Fatal(err)
	}
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: "example.com"})
	req.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: "bob", Host: "192.0.2.66"}})
	d := list.Contacts(sipacl.ContactConfig{})(sipacl.RequestOf(req, nil))
	fmt.Println(d.Allowed, d.Cause, d.Right)
	// Output:
	// false ACL denies sip:bob@192.0.2.66
}

func ExampleACL_CheckSource() {
	rules, err := sipacl.ParseACLRules("deny=203.0.113.0/24,!203.0.113.7")
	if err != nil {
		log.Fatal(err)
	}
	ban, err := sipacl.NewACL("ban", rules...)
	if err != nil {
		log.Fatal(err)
	}
	for _, addr := range []string{"203.0.113.9", "203.0.113.7", "192.0.2.1"} {
		fmt.Println(ban.CheckSource(sipacl.Source{Addr: netip.MustParseAddr(addr)}).Allowed)
	}
	// Output:
	// false
	// true
	// true
}

func ExampleACLList_Tracing() {
	list, err := loadACLs(aclFiles()).Current().Bind("office")
	if err != nil {
		log.Fatal(err)
	}
	var t sipacl.Trace
	list.Tracing(&t).CheckSource(sipacl.Source{Addr: netip.MustParseAddr("192.0.2.66")})
	fmt.Println(t)
	// Output:
	// 192.0.2.66 refused: ACL denies 192.0.2.66/32 (acl.conf:7:6) "office"
	//   + acl.conf:3:6 office: deny 0.0.0.0/0 ~ "192.0.2.66": overruled by a later rule
	//   - acl.conf:3:16 office: deny ::/0 ~ "192.0.2.66": other address family
	//   + acl.conf:6:8 office: permit 192.0.2.0/24 ~ "192.0.2.66": overruled by a later rule
	//   - acl.conf:6:21 office: permit 2001:db8::/32 ~ "192.0.2.66": other address family
	//   + acl.conf:7:6 office: deny 192.0.2.66/32 ~ "192.0.2.66": decides
}

func ExampleParseACLRules() {
	_, err := sipacl.ParseACLRules("permit=10/8,192.0.2.0/255.0.255.0", "allow=192.0.2.1")
	fmt.Println(err)
	// Output:
	// sipacl: "10" is no IPv4 or IPv6 address
	// sipacl: "192.0.2.0/255.0.255.0": want a netmask of ones followed by zeros after the /
	// sipacl: "allow=192.0.2.1": want permit= or deny=
}
