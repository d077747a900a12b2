package main

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/examples/internal/siptest"
)

func TestMain(m *testing.M) {
	siptest.Quiet()
	os.Exit(m.Run())
}

func startRegistrar(t *testing.T, rules string) (*registrar, *siptest.Log) {
	log := new(siptest.Log)
	r, err := start(t.Context(), config{
		listen: "127.0.0.1:0", rules: rules, log: slog.New(slog.NewTextHandler(log, nil)),
		protect: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::1/128")},
	})
	require.NoError(t, err)
	t.Cleanup(r.close)
	return r, log
}

// send sends a REGISTER of alice over a real socket and gives the status
// of the answer and its Contacts.
func (r *registrar) send(t *testing.T, transport string, fields ...string) (status int, contacts []string) {
	ua, err := sipgo.NewUA()
	require.NoError(t, err)
	defer ua.Close()
	client, err := sipgo.NewClient(ua, sipgo.WithClientHostname("127.0.0.1"))
	require.NoError(t, err)
	req := sip.NewRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: "example.com"})
	alice := sip.Uri{Scheme: "sip", User: "alice", Host: "example.com"}
	req.AppendHeader(&sip.FromHeader{Address: alice, Params: sip.HeaderParams{{K: "tag", V: "1"}}})
	req.AppendHeader(&sip.ToHeader{Address: alice})
	for i := 0; i+1 < len(fields); i += 2 {
		req.AppendHeader(sip.NewHeader(fields[i], fields[i+1]))
	}
	req.SetTransport(transport)
	req.SetDestination(r.addr)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	res, err := client.Do(ctx, req)
	require.NoError(t, err)
	for _, h := range res.GetHeaders("Contact") {
		contacts = append(contacts, h.(*sip.ContactHeader).Address.String())
	}
	return res.StatusCode, contacts
}

func TestAGatewayIsNotRegisteredInAnySpelling(t *testing.T) {
	r, log := startRegistrar(t, t.TempDir())
	for _, transport := range []string{"UDP", "TCP"} {
		for _, contact := range []string{
			"<sip:alice@192.0.2.1>", "<sip:alice@192.0.2.1:5070;transport=tcp>", "<sip:alice@192.0.2.01>", "<sip:alice@0300.0.2.1>",
			"<sip:alice@192.0.2.1.>", "<sip:alice@0xc0000201>", "<sip:alice@3221225985>", "<sip:alice@192.513>",
			"<sip:alice@[::ffff:192.0.2.1]>", "<sip:alice@[::ffff:c000:201]>", "<sip:alice@[2001:DB8:0:0::1]:5060>", "<sip:alice@[64:ff9b::192.0.2.1]>",
			"<sip:alice@198.51.100.7;maddr=192.0.2.1>", "<sip:alice@198.51.100.7;received=sip:192.0.2.1>", "<sip:alice@198.51.100.7;alias=192.0.2.1~5060~1>",
			"<sip:alice@gateway.example>", "<sip:alice@198.51.100.7>, <sip:alice@192.0.2.1>", "\"x\" <sips:alice@192.0.2.1>;q=0.1",
		} {
			status, _ := r.send(t, transport, "Contact", contact)
			require.Equal(t, 403, status, contact)
			status, _ = r.send(t, transport, "m", contact)
			require.Equal(t, 403, status, contact)
		}
		status, _ := r.send(t, transport, "Contact", "<sip:alice@198.51.100.7>", "Path", "<sip:192.0.2.1;lr>")
		require.Equal(t, 403, status)
	}
	require.Empty(t, r.places.of("alice@example.com"))
	require.Contains(t, log.String(), "refused: protected address")
}

func TestBindingsComeAndGo(t *testing.T) {
	r, _ := startRegistrar(t, t.TempDir())
	status, contacts := r.send(t, "UDP", "Contact", "<sip:alice@198.51.100.7:5070>;expires=60")
	require.Equal(t, 200, status)
	require.Equal(t, []string{"sip:alice@198.51.100.7:5070"}, contacts)

	_, contacts = r.send(t, "TCP", "m", "<sip:alice@198.51.100.8>")
	require.Len(t, contacts, 2)
	_, contacts = r.send(t, "UDP")
	require.Len(t, contacts, 2)
	_, contacts = r.send(t, "UDP", "Contact", "<sip:alice@198.51.100.8>;expires=0")
	require.Len(t, contacts, 1)

	status, _ = r.send(t, "UDP", "Contact", "<sip:alice@198.51.100.7:5070>", "Expires", "0")
	require.Equal(t, 200, status)
	require.Empty(t, r.places.of("alice@example.com"))
}

func TestRulesDecideToo(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	write("register.deny", `ALL : "@198\.51\.100\."`+"\n")
	r, log := startRegistrar(t, dir)
	status, _ := r.send(t, "UDP", "Contact", "<sip:alice@198.51.100.7>")
	require.Equal(t, 403, status)
	require.Contains(t, log.String(), "register.deny:1:1")
	status, _ = r.send(t, "UDP", "Contact", "<sip:alice@203.0.113.7>")
	require.Equal(t, 200, status)
	status, _ = r.send(t, "UDP", "Contact", "*")
	require.Equal(t, 403, status) // without Expires: 0
	status, contacts := r.send(t, "UDP", "Contact", "*", "Expires", "0")
	require.Equal(t, 200, status)
	require.Empty(t, contacts)

	write("register.allow", `"^sip:alice@" : ALL`+"\n")
	write("register.deny", "All : ALL\n")
	_, err := r.rules.Reload(t.Context())
	require.ErrorContains(t, err, "register.deny:1:1: found All")
	status, _ = r.send(t, "UDP", "Contact", "<sip:alice@198.51.100.7>")
	require.Equal(t, 403, status) // the good generation stays
	write("register.deny", "ALL : ALL\n")
	_, err = r.rules.Reload(t.Context())
	require.NoError(t, err)
	status, _ = r.send(t, "UDP", "Contact", "<sip:alice@198.51.100.7>")
	require.Equal(t, 200, status)
}

func TestBindingsExpire(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLocations(func() time.Time { return now })
	l.bind("a", sip.Uri{Scheme: "sip", Host: "h"}, time.Minute)
	require.Equal(t, map[string]time.Duration{"sip:h": time.Minute}, l.of("a"))
	now = now.Add(time.Minute)
	require.Empty(t, l.of("a"))
}
