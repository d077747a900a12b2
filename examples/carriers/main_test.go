package main

import (
	"net"
	"testing"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/examples/internal/siptest"
)

func TestMain(m *testing.M) {
	siptest.Quiet()
	m.Run()
}

func newServer(t *testing.T) *sipgo.Server {
	ua, err := sipgo.NewUA()
	require.NoError(t, err)
	t.Cleanup(func() { ua.Close() })
	srv, err := sipgo.NewServer(ua)
	require.NoError(t, err)
	return srv
}

func TestOnlyCarriersAreAnswered(t *testing.T) {
	db, err := openCarriers(t.Context())
	require.NoError(t, err)
	defer db.Close()
	srv := newServer(t)
	require.NoError(t, guardCalls(t.Context(), db, srv))
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	go srv.ServeUDP(conn)

	var uri sip.Uri
	require.NoError(t, sip.ParseUri("sip:bob@"+conn.LocalAddr().String(), &uri))
	for from, want := range map[string]int{"127.0.0.1": 200, "127.0.0.2": 403} {
		for _, method := range []sip.RequestMethod{sip.INVITE, sip.OPTIONS, sip.REGISTER, "FOO"} {
			res, err := siptest.Client(t, from).Do(t.Context(), sip.NewRequest(method, uri))
			require.NoError(t, err)
			require.Equal(t, want, res.StatusCode, "%s from %s", method, from)
		}
	}
}

func TestABadRowKeepsTheServerFromStarting(t *testing.T) {
	db, err := openCarriers(t.Context())
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("INSERT INTO carriers VALUES ('Typo', '192.0.2.0/33')")
	require.NoError(t, err)
	require.ErrorContains(t, guardCalls(t.Context(), db, newServer(t)), `row 3: cidr "192.0.2.0/33"`)
}
