package databases

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// createACLs makes Asterisk's realtime table, whose columns are those of its
// documentation.
func createACLs(t *testing.T, s server) {
	s.exec(t, `CREATE TABLE acltable (
		name VARCHAR(80) NOT NULL,
		rule_order INTEGER NOT NULL,
		sense VARCHAR(6) NOT NULL,
		rule VARCHAR(95) NOT NULL,
		systemname VARCHAR(80),
		PRIMARY KEY (name, rule_order, rule, sense)
	)`, `INSERT INTO acltable VALUES
		('lan', 2, 'permit', '192.0.2.0/255.255.255.0,!192.0.2.66', 'pbx1'),
		('lan', 1, 'deny', '0.0.0.0/0,::/0', 'pbx1'),
		('lan', 3, 'permit', '198.51.100.0/24', 'pbx2')`)
}

// acltable loads the table in rule_order and filtered by systemname.
func acltable(t *testing.T, s server) {
	createACLs(t, s)
	acls, err := sipacl.NewACLs(t.Context(), sipacl.SQLACLs{SQL: s.sql(""), SystemName: "pbx1"})
	require.NoError(t, err)
	list, err := acls.Follow("lan")
	require.NoError(t, err)
	check := func(addr string) sipacl.Decision {
		return list.CheckSource(sipacl.Source{Addr: netip.MustParseAddr(addr)})
	}
	for addr, want := range map[string]bool{"192.0.2.1": true, "192.0.2.66": false, "198.51.100.1": false, "203.0.113.1": false, "2001:db8::1": false} {
		require.Equal(t, want, check(addr).Allowed, addr)
	}
	s.exec(t, "UPDATE acltable SET sense = 'allow' WHERE rule_order = 1")
	_, err = acls.Reload(t.Context())
	require.ErrorContains(t, err, `sense "allow"`)
	require.True(t, check("192.0.2.1").Allowed, "the last good generation answers")
	s.exec(t, "DELETE FROM acltable")
	_, err = acls.Reload(t.Context())
	require.NoError(t, err)
	d := check("192.0.2.1")
	require.False(t, d.Allowed)
	require.Equal(t, sipacl.CauseUnknownACL, d.Cause)
}

func TestPostgresACLTable(t *testing.T) { acltable(t, postgres(t)) }
func TestMariaDBACLTable(t *testing.T)  { acltable(t, mariadb(t)) }
func TestSQLiteACLTable(t *testing.T)   { acltable(t, sqlite(t)) }
