package admin_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"testing/fstest"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/admin"
)

// partitionOf is a partition of rows in memory.
func partitionOf(rows ...sipacl.AddressRow) sipacl.Partition {
	p, err := sipacl.NewPartition(context.Background(), sipacl.Rows(rows...))
	if err != nil {
		log.Fatal(err)
	}
	return p
}

// aclsOf are the ACLs of an acl.conf in memory.
func aclsOf(text string) sipacl.ACLs {
	acls, err := sipacl.NewACLs(context.Background(), sipacl.ACLConf{FS: fstest.MapFS{"acl.conf": {Data: []byte(text)}}})
	if err != nil {
		log.Fatal(err)
	}
	return acls
}

func ExampleDump() {
	p := partitionOf(
		sipacl.AddressRow{Group: 1, Prefix: netip.MustParsePrefix("192.0.2.10/32"), Port: 5060, Proto: sipacl.ProtoUDP, Info: "TestServer"},
		sipacl.AddressRow{Group: 2, Prefix: netip.MustParsePrefix("2001:db8::/48")},
	)
	for _, format := range []admin.DumpFormat{admin.OpenSIPSAddresses, admin.OpenSIPSSubnets} {
		if err := admin.Dump(os.Stdout, format, nil, p); err != nil {
			log.Fatal(err)
		}
		fmt.Println()
	}
	// Output:
	// {"Partitions":[{"name":"default","Destinations":[{"grp":1,"ip":"192.0.2.10","mask":"32","port":5060,"proto":"udp","pattern":"","context_info":"TestServer"}]}]}
	// {"Partitions":[{"name":"default","Destinations":[{"grp":2,"ip":"2001:DB8:0:0:0:0:0:0","mask":"FFFF:FFFF:FFFF:0:0:0:0:0","port":0,"proto":"any","pattern":"","context_info":""}]}]}
}

func ExampleDumpPartition() {
	p := partitionOf(sipacl.AddressRow{
		Group: 200, Prefix: netip.MustParsePrefix("198.51.100.0/24"), Port: 5060, Info: "OfficeSubnet",
		Origin: sipacl.Origin{Name: "address", Line: 3, Unit: sipacl.UnitID},
	})
	for _, format := range []admin.DumpFormat{admin.KamailioSubnets, admin.Complete} {
		if err := admin.DumpPartition(os.Stdout, format, nil, p); err != nil {
			log.Fatal(err)
		}
		fmt.Println()
	}
	// Output:
	// [{"id":0,"group":200,"item":{"ip":"198.51.100.0","mask":24,"port":5060,"tag":"OfficeSubnet"}}]
	// {"part":"default","generation":1,"rows":[{"group":200,"prefix":"198.51.100.0/24","host":"","port":5060,"proto":"any","pattern":"","info":"OfficeSubnet","origin":"address:id 3"}]}
}

func ExampleShowACL() {
	set := aclsOf("[office]\npermit=192.0.2.0/24\n[trunks]\ndeny=0.0.0.0/0,::/0\npermit=198.51.100.0/24\n").Current()
	fmt.Print(admin.ShowACLs(set), admin.ShowACL(set, "trunks"))
	// Output:
	// acl
	// ---
	// office
	// trunks
	//
	// ACL: trunks
	// ---------------------------------------------
	//   0:  deny - 0.0.0.0/0.0.0.0
	//   1:  deny - ::/::
	//   2: allow - 198.51.100.0/255.255.255.0
}

func ExampleShowList() {
	acls := aclsOf("[lan]\npermit=192.0.2.0/24\n")
	own, err := sipacl.ParseACLRules("deny=0.0.0.0/0,::/0")
	if err != nil {
		log.Fatal(err)
	}
	alice, err := acls.Follow("lan", own...)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(admin.ShowList(alice))
	// Output:
	// ACL: (unnamed)
	// ---------------------------------------------
	//   0:  deny - 0.0.0.0/0.0.0.0
	//   1:  deny - ::/::
	// ACL: lan
	// ---------------------------------------------
	//   0: allow - 192.0.2.0/255.255.255.0
}

func ExampleDumpACLs() {
	if err := admin.DumpACLs(os.Stdout, aclsOf("[lan]\ndeny=0.0.0.0/0\n").Current()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// {"generation":1,"acls":[{"name":"lan","realtime":false,"origin":"acl.conf:1:2","rules":[{"sense":"deny","prefix":"0.0.0.0/0","origin":"acl.conf:2:6"}]}]}
}

// Serve the counters with http.Handle("/metrics", &counters).
func ExampleCounters() {
	var counters admin.Counters
	trunks := partitionOf(sipacl.AddressRow{Group: 1, Prefix: netip.MustParsePrefix("203.0.113.0/24")})
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: trunks.Sources(1), Observe: counters.Observe})
	for _, addr := range []string{"203.0.113.9", "203.0.113.10", "198.51.100.1"} {
		guard.Decide(sipacl.Request{Source: sipacl.Source{Addr: netip.MustParseAddr(addr), Port: 5060, Proto: sipacl.ProtoUDP}})
	}
	w := httptest.NewRecorder()
	counters.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	fmt.Print(w.Body)
	// Output:
	// # HELP sipacl_decisions_total Decisions of the guards.
	// # TYPE sipacl_decisions_total counter
	// sipacl_decisions_total{gate="handler",method="none",cause="address matches",outcome="allowed"} 2
	// sipacl_decisions_total{gate="handler",method="none",cause="no address matches",outcome="refused"} 1
}
