package databases

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// createTrusted makes Kamailio's table of version 6, with NULLs.
func createTrusted(t *testing.T, s server) {
	id := "id SERIAL PRIMARY KEY NOT NULL"
	switch s.dialect {
	case sipacl.MySQL:
		id = "id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL"
	case sipacl.SQLite:
		id = "id INTEGER PRIMARY KEY NOT NULL"
	}
	s.exec(t, `CREATE TABLE trusted (`+id+`,
		src_ip VARCHAR(50) NOT NULL,
		proto VARCHAR(4) NOT NULL,
		from_pattern VARCHAR(64) DEFAULT NULL,
		ruri_pattern VARCHAR(64) DEFAULT NULL,
		tag VARCHAR(64),
		priority INT DEFAULT 0 NOT NULL
	)`, `INSERT INTO trusted (src_ip, proto, from_pattern, ruri_pattern, tag, priority) VALUES
		('192.0.2.10', 'any', '^sip:.*@example[.]com$', NULL, 'peer1', 0),
		('192.0.2.10', 'udp', NULL, '^sip:[+]1', 'peer2', 7),
		('2001:db8::10', 'tls', NULL, NULL, NULL, 5)`)
}

// trusted loads the table and asks it.
func trusted(t *testing.T, s server) {
	createTrusted(t, s)
	handle, err := sipacl.NewTrusted(t.Context(), sipacl.SQLTrusted{SQL: s.sql("")})
	require.NoError(t, err)
	q := sipacl.TrustedQuery{
		Addr: netip.MustParseAddr("192.0.2.10"), Proto: sipacl.ProtoUDP,
		From: "sip:alice@example.com", Target: "sip:+1555@example.org",
	}
	table := handle.Current()
	d := table.AllowTrusted(q)
	require.True(t, d.Allowed)
	require.Equal(t, "peer2", d.Info, "the highest priority first")
	require.Equal(t, "trusted:id 2", d.Origin.String())
	require.Equal(t, []string{"peer2", "peer1"}, slices.Collect(table.Tags(q)))
	q.From, q.Target = "sip:alice@example.org", "sip:bob@example.org"
	require.False(t, table.AllowTrusted(q).Allowed)

	s.exec(t, `UPDATE trusted SET from_pattern = '[' WHERE id = 1`, "UPDATE trusted SET proto = 'foo' WHERE id = 3")
	_, err = handle.Reload(t.Context())
	require.ErrorContains(t, err, "trusted:id 1: from")
	require.ErrorContains(t, err, "trusted:id 3: proto")
}

func TestPostgresTrusted(t *testing.T) { trusted(t, postgres(t)) }
func TestMariaDBTrusted(t *testing.T)  { trusted(t, mariadb(t)) }
func TestSQLiteTrusted(t *testing.T)   { trusted(t, sqlite(t)) }
