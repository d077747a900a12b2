// Package databases tests the loaders against real servers, with the schemas
// that Kamailio and OpenSIPS create.
package databases

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/examples/internal/testdb"
)

// server is a database to test against.
type server struct {
	*sql.DB
	dialect sipacl.Dialect
	dsn     string
	// opensips and kamailio are the original create scripts' address tables.
	opensips, kamailio string
}

func postgres(t *testing.T) server {
	db, dsn := testdb.PostgreSQL(t)
	return server{db, sipacl.PostgreSQL, dsn, `
CREATE TABLE address (
	id SERIAL PRIMARY KEY NOT NULL,
	grp SMALLINT DEFAULT 0 NOT NULL,
	ip VARCHAR(50) NOT NULL,
	mask SMALLINT DEFAULT 32 NOT NULL,
	port SMALLINT DEFAULT 0 NOT NULL,
	proto CHAR(4) DEFAULT 'any' NOT NULL,
	pattern CHAR(64) DEFAULT NULL,
	context_info CHAR(32) DEFAULT NULL
)`, `
CREATE TABLE address (
	id SERIAL PRIMARY KEY NOT NULL,
	grp INTEGER DEFAULT 1 NOT NULL,
	ip_addr VARCHAR(50) NOT NULL,
	mask INTEGER DEFAULT 32 NOT NULL,
	port SMALLINT DEFAULT 0 NOT NULL,
	tag VARCHAR(64)
)`}
}

func mariadb(t *testing.T) server {
	db, dsn := testdb.MariaDB(t)
	return server{db, sipacl.MySQL, dsn, `
CREATE TABLE address (
	id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
	grp SMALLINT(5) UNSIGNED DEFAULT 0 NOT NULL,
	ip CHAR(50) NOT NULL,
	mask TINYINT DEFAULT 32 NOT NULL,
	port SMALLINT(5) UNSIGNED DEFAULT 0 NOT NULL,
	proto CHAR(4) DEFAULT 'any' NOT NULL,
	pattern CHAR(64) DEFAULT NULL,
	context_info CHAR(32) DEFAULT NULL
) ENGINE=InnoDB`, `
CREATE TABLE address (
	id INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
	grp INT(11) UNSIGNED DEFAULT 1 NOT NULL,
	ip_addr VARCHAR(50) NOT NULL,
	mask INT DEFAULT 32 NOT NULL,
	port SMALLINT(5) UNSIGNED DEFAULT 0 NOT NULL,
	tag VARCHAR(64)
)`}
}

func sqlite(t *testing.T) server {
	db, dsn := testdb.SQLite(t)
	return server{db, sipacl.SQLite, dsn, `
CREATE TABLE address (
	id INTEGER PRIMARY KEY NOT NULL,
	grp SMALLINT DEFAULT 0 NOT NULL,
	ip CHAR(50) NOT NULL,
	mask SMALLINT DEFAULT 32 NOT NULL,
	port SMALLINT DEFAULT 0 NOT NULL,
	proto CHAR(4) DEFAULT 'any' NOT NULL,
	pattern CHAR(64) DEFAULT NULL,
	context_info CHAR(32) DEFAULT NULL
)`, `
CREATE TABLE address (
	id INTEGER PRIMARY KEY NOT NULL,
	grp INTEGER DEFAULT 1 NOT NULL,
	ip_addr VARCHAR(50) NOT NULL,
	mask INTEGER DEFAULT 32 NOT NULL,
	port SMALLINT DEFAULT 0 NOT NULL,
	tag VARCHAR(64)
)`}
}

// sql reads tables whose rows this column numbers; "" is none.
func (s server) sql(id string) sipacl.SQL {
	return sipacl.SQL{DB: s.DB, Dialect: s.dialect, IDCol: id}
}

// addresses reads OpenSIPS's table.
func (s server) addresses() sipacl.AddressSource {
	src := sipacl.OpenSIPSAddresses(s.DB)
	src.Dialect = s.dialect
	return src
}

func (s server) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, q := range statements {
		_, err := s.Exec(q)
		require.NoError(t, err, q)
	}
}

// opensips loads OpenSIPS's table: the blanks of CHAR columns, NULLs, the
// mask of a /64 in a TINYINT, and the row that a name leads to.
func opensips(t *testing.T, s server) {
	s.exec(t, s.opensips, `INSERT INTO address (grp, ip, mask, port, proto, pattern, context_info) VALUES
		(200, '203.0.113.0', 24, 0, 'any', NULL, 'OfficeSubnet'),
		(250, '198.51.100.7', 32, 5060, 'udp', 'sip:*@example.com', 'TestServer'),
		(0, '2001:db8::', 64, 0, 'TLS', '', NULL)`)
	p, err := sipacl.NewPartition(t.Context(), s.addresses())
	require.NoError(t, err)
	var rows []string
	for r := range p.Current().Rows() {
		rows = append(rows, fmt.Sprintf("%s %q %s", r, r.Info, r.Origin))
	}
	require.Equal(t, []string{
		`group 200 203.0.113.0/24 port any proto any "OfficeSubnet" address:id 1`,
		`group 250 198.51.100.7/32 port 5060 proto udp pattern "sip:*@example.com" "TestServer" address:id 2`,
		`group 0 2001:db8::/64 port any proto tls "" address:id 3`,
	}, rows)
	from := sipacl.Source{Addr: netip.MustParseAddr("198.51.100.7"), Port: 5060, Proto: sipacl.ProtoUDP}
	require.True(t, p.Current().CheckSource(from, 250, "sip:bob@example.com").Allowed)
	require.False(t, p.Current().CheckSource(from, 250, "sip:bob@example.org").Allowed)

	s.exec(t, "UPDATE address SET ip = '10.0.0.300' WHERE id = 1", "UPDATE address SET proto = 'foo' WHERE id = 3")
	_, err = p.Reload(t.Context())
	require.ErrorContains(t, err, `address:id 1: ip "10.0.0.300"`)
	require.ErrorContains(t, err, `address:id 3: proto "foo`)
	require.True(t, p.Current().CheckSource(from, 250, "sip:bob@example.com").Allowed)
}

// kamailio loads Kamailio's table, and the same through a view whose numbers
// are wider and text.
func kamailio(t *testing.T, s server) {
	s.exec(t, s.kamailio, `INSERT INTO address (grp, ip_addr, mask, port, tag) VALUES
		(1, '203.0.113.9', 0, 0, NULL),
		(2, '198.51.100.0', 24, 5060, 'OfficeSubnet'),
		(3, 'gw.example.com', 32, 0, 'name')`)
	text := "VARCHAR(20)"
	if s.dialect == sipacl.MySQL {
		text = "CHAR(20)"
	}
	s.exec(t, strings.NewReplacer("TEXT", text).Replace(
		"CREATE VIEW wide AS SELECT id, grp + 0 AS grp, ip_addr, CAST(mask AS TEXT) AS mask, port * 1 AS port, tag FROM address"))
	for _, table := range []string{"address", "wide"} {
		src := sipacl.KamailioAddresses(s.DB)
		src.Dialect, src.Table, src.Names = s.dialect, table, true
		p, err := sipacl.NewPartition(t.Context(), src)
		require.NoError(t, err, table)
		require.Equal(t, 3, p.Status().Entries)
		rows := p.Current()
		require.True(t, rows.CheckAddress(sipacl.Query{Group: 1, Addr: netip.MustParseAddr("203.0.113.9"), Port: 5070}).Allowed)
		require.False(t, rows.CheckAddress(sipacl.Query{Group: 1, Addr: netip.MustParseAddr("203.0.113.8")}).Allowed, "mask 0 is a host")
		require.True(t, rows.CheckAddress(sipacl.Query{Group: 2, Addr: netip.MustParseAddr("198.51.100.77"), Port: 5060}).Allowed)
		require.True(t, rows.CheckAddress(sipacl.Query{Group: 3, Host: "GW.example.com."}).Allowed)
	}
	src := sipacl.KamailioAddresses(s.DB)
	src.Dialect = s.dialect
	_, err := sipacl.NewPartition(t.Context(), src)
	require.ErrorContains(t, err, "for host names set Names")
}

// broken shows that a table that cannot be read leaves the one in service.
func broken(t *testing.T, s server) {
	s.exec(t, s.opensips, "INSERT INTO address (grp, ip) VALUES (1, '203.0.113.9')")
	p, err := sipacl.NewPartition(t.Context(), s.addresses())
	require.NoError(t, err)
	ask := func() bool {
		return p.Current().CheckAddress(sipacl.Query{Group: 1, Addr: netip.MustParseAddr("203.0.113.9")}).Allowed
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = p.Reload(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, ask())
	s.exec(t, "DROP TABLE address")
	_, err = p.Reload(t.Context())
	require.Error(t, err)
	require.True(t, ask())
	require.Error(t, p.Status().LastError)
	s.exec(t, s.opensips)
	_, err = p.Reload(t.Context())
	require.NoError(t, err)
	require.False(t, ask(), "an empty table is data")
	require.NoError(t, p.Status().LastError)
}

func TestPostgresOpenSIPSAddresses(t *testing.T) { opensips(t, postgres(t)) }
func TestPostgresKamailioAddresses(t *testing.T) { kamailio(t, postgres(t)) }
func TestPostgresBrokenTable(t *testing.T)       { broken(t, postgres(t)) }
func TestMariaDBOpenSIPSAddresses(t *testing.T)  { opensips(t, mariadb(t)) }
func TestMariaDBKamailioAddresses(t *testing.T)  { kamailio(t, mariadb(t)) }
func TestMariaDBBrokenTable(t *testing.T)        { broken(t, mariadb(t)) }
func TestSQLiteOpenSIPSAddresses(t *testing.T)   { opensips(t, sqlite(t)) }
func TestSQLiteKamailioAddresses(t *testing.T)   { kamailio(t, sqlite(t)) }
func TestSQLiteBrokenTable(t *testing.T)         { broken(t, sqlite(t)) }
