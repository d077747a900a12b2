package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/examples/internal/siptest"
)

func TestMain(m *testing.M) {
	siptest.Quiet()
	m.Run()
}

func startServer(t *testing.T) (*server, *siptest.Log) {
	log, dir := new(siptest.Log), t.TempDir()
	s, err := start(t.Context(), config{listen: "127.0.0.1:0", db: filepath.Join(dir, "endpoints.db"), dir: dir, log: log})
	require.NoError(t, err)
	t.Cleanup(s.close)
	return s, log
}

// caller is a SIP client that sends from one address.
type caller struct {
	t *testing.T
	s *server
	*sipgo.Client
}

func newCaller(t *testing.T, s *server, from string) caller {
	return caller{t, s, siptest.Client(t, from)}
}

// send returns the status of the answer to a request of an endpoint, 0 if
// there is none.
func (c caller) send(endpoint string, method sip.RequestMethod, transport, contact string) int {
	to := sip.Uri{Scheme: "sip", User: endpoint, Host: "127.0.0.1", Port: int(c.s.addr.Port())}
	req := sip.NewRequest(method, to)
	from := &sip.FromHeader{Address: sip.Uri{Scheme: "sip", User: endpoint, Host: "example.com"}, Params: sip.NewParams()}
	from.Params.Add("tag", "1")
	req.AppendHeader(from)
	if contact != "" {
		req.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", User: endpoint, Host: contact}})
	}
	req.SetTransport(transport)
	req.SetDestination(c.s.addr.String())
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	res, err := c.Do(ctx, req)
	if err != nil {
		return 0
	}
	return res.StatusCode
}

func (s *server) exec(t *testing.T, query string) {
	_, err := s.store.Exec(query)
	require.NoError(t, err)
}

func (s *server) write(t *testing.T, conf string) {
	require.NoError(t, os.WriteFile(filepath.Join(s.dir, "acl.conf"), []byte(conf), 0o644))
}

func TestEndpointsComeFromTheirAddresses(t *testing.T) {
	s, log := startServer(t)
	callers := map[string]caller{}
	for _, ip := range []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"} {
		callers[ip] = newCaller(t, s, ip)
	}
	// ask sends OPTIONS as endpoint from each address; want are the addresses
	// that get an answer.
	ask := func(endpoint, want string) {
		t.Helper()
		for ip, c := range callers {
			status := 403
			if strings.Contains(want, ip) {
				status = 200
			}
			for _, transport := range []string{"UDP", "TCP"} {
				require.Equal(t, status, c.send(endpoint, sip.OPTIONS, transport, ""), "%s from %s, %s", endpoint, ip, transport)
			}
		}
	}
	ask("alice", "127.0.0.1")         // acl.conf
	ask("bob", "127.0.0.1 127.0.0.2") // the table
	ask("carol", "127.0.0.2")         // both, and rules of its own
	ask("dave", "")                   // nothing is listed
	ask("nobody", "")                 // does not exist
	require.Contains(t, log.String(), `acl.conf:6:8) \"office\"`)
	require.Contains(t, log.String(), `acltable:id 1) \"roaming\"`)

	one := callers["127.0.0.1"]
	require.Equal(t, 200, one.send("alice", sip.REGISTER, "UDP", "127.0.0.1"))
	require.Equal(t, 403, one.send("alice", sip.REGISTER, "UDP", "192.0.2.1"))
	require.Equal(t, 403, one.send("alice", sip.REGISTER, "UDP", "phone.example.com"))
	require.Equal(t, 200, one.send("bob", sip.REGISTER, "UDP", "192.0.2.1")) // has no contact_acl
	require.Equal(t, 480, one.send("alice", sip.INVITE, "UDP", ""))
	require.Equal(t, 403, callers["127.0.0.2"].send("alice", sip.INVITE, "UDP", ""))

	// Files and tables change.
	s.write(t, strings.Replace(seedConf, "permit=127.0.0.1", "permit=127.0.0.3", 1))
	s.exec(t, "UPDATE acltable SET rule = '127.0.0.0/8,!127.0.0.1' WHERE sense = 'permit'")
	s.exec(t, "UPDATE ps_endpoints SET permit = '127.0.0.0/8' WHERE id = 'carol'")
	s.exec(t, "UPDATE ps_endpoints SET acl = 'office,roaming' WHERE id = 'dave'")
	ask("alice", "127.0.0.1") // until the reload
	require.NoError(t, s.reload(t.Context()))
	ask("alice", "127.0.0.3")
	ask("bob", "127.0.0.2 127.0.0.3")
	ask("carol", "127.0.0.2 127.0.0.3")
	ask("dave", "127.0.0.3")

	// What has mistakes stays out of service.
	s.write(t, "[office]\ndeny 0.0.0.0/0\npermit=127.0.0.1/33\n")
	require.ErrorContains(t, s.reload(t.Context()), "acl.conf:2:1: want \"=\" after the option's name")
	require.Contains(t, log.String(), "acl.conf:3:8")
	s.write(t, seedConf)
	s.exec(t, "UPDATE ps_endpoints SET permit = '127.0.0.1.' WHERE id = 'dave'")
	require.ErrorContains(t, s.reload(t.Context()), "endpoint dave")
	ask("dave", "") // the endpoints stay, but their ACLs are the new ones: office and roaming exclude each other

	// An ACL that goes takes its endpoints out of service.
	s.exec(t, "UPDATE ps_endpoints SET permit = NULL WHERE id = 'dave'")
	s.exec(t, "DELETE FROM acltable")
	require.ErrorContains(t, s.reload(t.Context()), "ACL roaming: unknown name")
	ask("bob", "")
	ask("alice", "127.0.0.1")
}

func TestReloadsDoNotInterruptService(t *testing.T) {
	s, _ := startServer(t)
	friend, stranger := newCaller(t, s, "127.0.0.1"), newCaller(t, s, "127.0.0.2")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ctx.Err() == nil; i++ {
			s.write(t, seedConf+strings.Repeat("; grows\n", i%7))
			s.exec(t, "UPDATE acltable SET rule_order = rule_order + 1 WHERE id = 1")
			if err := s.reload(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 50 {
		require.Equal(t, 200, friend.send("alice", sip.OPTIONS, "UDP", ""))
		require.Equal(t, 403, stranger.send("alice", sip.OPTIONS, "UDP", ""))
	}
	cancel()
	wg.Wait()
}

func TestGreeting(t *testing.T) {
	s, _ := startServer(t)
	require.Contains(t, s.greeting(1), "\nacl\n---\n")
	require.Contains(t, s.greeting(1), "endpoint bob\nACL: roaming (realtime)\n---------------------------------------------\n  0:  deny - 0.0.0.0/0.0.0.0\n")
}

func TestStartFailsOnMistakes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "acl.conf"), []byte("[office]\ndeny=10/8\n"), 0o644))
	_, err := start(t.Context(), config{listen: "127.0.0.1:0", db: filepath.Join(dir, "e.db"), dir: dir, log: new(siptest.Log)})
	require.ErrorContains(t, err, `acl.conf:2:6: "10" is no IPv4 or IPv6 address`)
}
