package main

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

func writeRules(t *testing.T, files map[string]string) (dir string) {
	dir = t.TempDir()
	for name, text := range files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	return dir
}

func TestRulesDecideWhereARequestGoes(t *testing.T) {
	behind, _ := startProxy(t, config{})
	s, log := startProxy(t, config{rules: writeRules(t, map[string]string{"permissions.deny": `ALL : "^sip:900"` + "\n"})})
	c := newCaller(t, "127.0.0.1")
	for _, transport := range transports {
		for uri, want := range map[string]int{
			"sip:100@" + behind.addr.String():                     200,
			"sip:900100@" + behind.addr.String():                  403,
			"sip:%39%30%30100@" + behind.addr.String():            403,
			"sip:100@" + behind.addr.String() + ";maddr=10.0.0.1": 403,
			"sip:100@" + s.addr.String():                          200,
			"sip:900@" + s.addr.String():                          403,
		} {
			for _, method := range []sip.RequestMethod{sip.INVITE, sip.OPTIONS, sip.BYE, sip.INFO} {
				require.Equal(t, want, c.send(method, transport, uri, s.addr.String()), "%s %s %s", transport, method, uri)
			}
		}
	}
	require.Contains(t, log.String(), "permissions.deny:1:1")
}

// startTarget answers every request with a status, and tells where it listens.
func startTarget(t *testing.T, status int) string {
	ua, err := sipgo.NewUA()
	require.NoError(t, err)
	srv, err := sipgo.NewServer(ua)
	require.NoError(t, err)
	srv.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) { respond(tx, req, status, "As Told") })
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	go srv.ServeUDP(conn)
	t.Cleanup(func() {
		conn.Close()
		ua.Close()
	})
	return conn.LocalAddr().String()
}

func TestEveryBranchOfAForkIsAskedAbout(t *testing.T) {
	cfg := config{target: startTarget(t, 480), also: startTarget(t, 200)}
	s, _ := startProxy(t, cfg)
	c := newCaller(t, "127.0.0.1")
	require.Equal(t, 200, c.send(sip.OPTIONS, "UDP", "sip:100@"+s.addr.String(), s.addr.String())) // the second takes it

	cfg.also = "localhost:" + cfg.also[len("127.0.0.1:"):]
	cfg.rules = writeRules(t, map[string]string{"permissions.deny": `ALL : "@localhost$"` + "\n"})
	s, _ = startProxy(t, cfg)
	require.Equal(t, 403, c.send(sip.OPTIONS, "UDP", "sip:100@"+s.addr.String(), s.addr.String()))
	cfg.also = ""
	s, _ = startProxy(t, cfg)
	require.Equal(t, 480, c.send(sip.OPTIONS, "UDP", "sip:100@"+s.addr.String(), s.addr.String())) // the rule is about a branch that is no more
}

func TestReferIsAskedAboutItsReferTo(t *testing.T) {
	s, log := startProxy(t, config{rules: writeRules(t, map[string]string{"refer.deny": `ALL : "^sip:900"` + "\n"})})
	c := newCaller(t, "127.0.0.1")
	refer := func(name, value string) int {
		var u sip.Uri
		require.NoError(t, sip.ParseUri("sip:bob@"+s.addr.String(), &u))
		req := sip.NewRequest(sip.REFER, u)
		if name != "" {
			req.AppendHeader(sip.NewHeader(name, value))
		}
		req.SetDestination(s.addr.String())
		res, err := c.Do(t.Context(), req, sipgo.ClientRequestBuild)
		require.NoError(t, err)
		return res.StatusCode
	}
	require.Equal(t, 200, refer("Refer-To", "<sip:100@example.com>"))
	require.Equal(t, 403, refer("Refer-To", "<sip:900100@example.com>"))
	require.Equal(t, 403, refer("r", "<sips:900100@example.com;x>"))
	require.Equal(t, 403, refer("Refer-To", "<sip:100@example.com>, <sip:900@example.com>"))
	require.Equal(t, 403, refer("", ""))
	require.Contains(t, log.String(), "refer.deny:1:1")
}

func TestAForeignRouteIsRefused(t *testing.T) {
	s, log := startProxy(t, config{})
	c := newCaller(t, "127.0.0.1")
	var u sip.Uri
	require.NoError(t, sip.ParseUri("sip:bob@"+s.addr.String(), &u))
	for route, want := range map[string]int{"<sip:" + s.addr.String() + ";lr>": 200, "<sip:127.0.0.1:9;lr>": 403} {
		req := sip.NewRequest(sip.OPTIONS, u)
		req.AppendHeader(sip.NewHeader("Route", route))
		req.SetDestination(s.addr.String())
		res, err := c.Do(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, want, res.StatusCode, route)
	}
	require.Contains(t, log.String(), "Route leads elsewhere")
}
