package sipacl_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/fstest"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// Checks do not allocate where an application makes them, either: there, small
// functions of the library are inlined, and what they point to may move to the
// heap.
func TestGuardedChecksDoNotAllocate(t *testing.T) {
	trunks := offices()
	acls, err := sipacl.NewACLs(context.Background(), sipacl.ACLConf{FS: fstest.MapFS{"acl.conf": {Data: []byte("[lan]\ndeny=0.0.0.0/0,::/0\npermit=203.0.113.0/24\n")}}})
	require.NoError(t, err)
	list, err := acls.Follow("lan")
	require.NoError(t, err)
	perm, err := sipacl.Open(context.Background(), sipacl.Config{})
	require.NoError(t, err)
	heard := 0
	checks := map[string]sipacl.Check{
		"sources": trunks.Sources(200, 250), "any source": trunks.AnySource(), "source group": trunks.SourceGroup,
		"source address": func(r sipacl.Request) sipacl.Decision { return trunks.CheckSourceAddress(r, 200, "x") },
		"acl":            list.Check,
		"own":            func(sipacl.Request) sipacl.Decision { return sipacl.Allowed("own") },
		"all of":         sipacl.AllOf(trunks.AnySource(), list.Check, trunks.Sources(1, 200)), "any of": sipacl.AnyOf(trunks.Sources(1), trunks.AnySource()),
		"by method": sipacl.ByMethod(map[sip.RequestMethod]sipacl.Check{sip.OPTIONS: trunks.AnySource()}),
	}
	for _, from := range []string{"203.0.113.9:5060", "[::ffff:203.0.113.9]:5060", "[2001:db8::1]:5060", "198.51.100.9:5060"} {
		req := received(from).Request
		info := sip.TransportReadProps{Transport: "UDP", RemoteAddr: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from)), LocalAddr: &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 5060}}
		for name, check := range checks {
			guard := sipacl.NewGuard(sipacl.GuardConfig{
				Check: check, Peers: check, Reject: sipacl.Drop(), Permissions: perm, Observe: func(sipacl.Event) { heard++ },
			})
			wrapped := guard.Wrap(func(*sip.Request, sip.ServerTransaction) {})
			handled := guard.Handle(func(sipacl.Request, sip.ServerTransaction, sipacl.Decision) {})
			filter := guard.Filter()
			for gate, ask := range map[string]func(){
				"Wrap":   func() { wrapped(req, nil) },
				"Handle": func() { handled(req, nil) },
				"Decide": func() { guard.Decide(sipacl.RequestOf(req, nil)) },
				"Filter": func() { _, _ = filter(info, nil) },
			} {
				require.Zero(t, testing.AllocsPerRun(20, ask), "%s %s from %s", gate, name, from)
			}
		}
	}
	require.NotZero(t, heard)
}
