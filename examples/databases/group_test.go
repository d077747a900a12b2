package databases

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// createGroups makes the tables grp and re_grp as the original scripts do:
// those of OpenSIPS in MariaDB, with CHAR, and of Kamailio in the others.
func createGroups(t *testing.T, s server) {
	id, text := "INTEGER PRIMARY KEY NOT NULL", "VARCHAR(64)"
	switch s.dialect {
	case sipacl.PostgreSQL:
		id = "SERIAL PRIMARY KEY NOT NULL"
	case sipacl.MySQL:
		id, text = "INT(10) UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL", "CHAR(64)"
	}
	text += " DEFAULT '' NOT NULL"
	s.exec(t,
		"CREATE TABLE grp (id "+id+", username "+text+", domain "+text+", grp "+text+
			", last_modified TIMESTAMP DEFAULT '2000-01-01 00:00:01' NOT NULL)",
		"CREATE TABLE re_grp (id "+id+", reg_exp VARCHAR(128) DEFAULT '' NOT NULL, group_id INTEGER DEFAULT 0 NOT NULL)",
		`INSERT INTO grp (username, domain, grp) VALUES ('alice', 'example.com', 'ld'), ('alice', 'example.com', 'int'),
			('alice', 'example.org', 'local'), ('bob  ', 'example.com', 'ld')`,
		`INSERT INTO re_grp (reg_exp, group_id) VALUES ('^sip:1[0-9]{2}@', 10), ('@EXAMPLE[.]com$', -1), ('', 3)`)
}

// groups asks cached groups and live ones the same.
//
// What a database takes for equal shows in live mode only; cached groups
// compare bytes, whatever the database. With the tables that the originals
// create, one query a check means:
//
//	             case       accents    blanks at the end
//	SQLite       differ     differ     differ
//	PostgreSQL   differ     differ     differ (in CHAR columns they do not)
//	MariaDB      the same   the same   the same
//
// So MariaDB finds ALICE and álice in the groups of alice. Columns with
// COLLATE utf8mb4_bin, or cached groups, do not.
func groups(t *testing.T, s server, loose bool) {
	createGroups(t, s)
	members, classes := sipacl.SQLMembers{SQL: s.sql("id")}, sipacl.SQLClasses{SQL: s.sql("id")}
	open := func(cfg sipacl.GroupConfig) sipacl.Groups {
		g, err := sipacl.NewGroups(t.Context(), cfg)
		require.NoError(t, err)
		return g
	}
	in := func(g sipacl.Groups, u sipacl.User, group string) sipacl.Decision {
		return g.Current().IsUserIn(t.Context(), u, group)
	}
	cached := open(sipacl.GroupConfig{Members: []sipacl.MemberSource{members}, Classes: []sipacl.ClassSource{classes}})
	live := open(sipacl.GroupConfig{Live: members})
	byName := open(sipacl.GroupConfig{Live: members, IgnoreDomain: true})

	for _, c := range []struct {
		name, domain, group string
		cached, live        bool
	}{
		{"alice", "example.com", "ld", true, true},
		{"alice", "example.com", "local", false, false},
		{"alice", "example.org", "local", true, true},
		{"carol", "example.com", "ld", false, false},
		{"' OR '1' = '1", "example.com", "ld", false, false},
		{"%", "example.com", "ld", false, false},
		{"ALICE", "example.com", "ld", false, loose},
		{"alice", "EXAMPLE.com", "ld", false, loose},
		{"alice", "example.com", "LD", false, loose},
		{"álice", "example.com", "ld", false, loose},
		{"alice ", "example.com", "ld", false, loose},
		{"bob", "example.com", "ld", true, loose}, // reading the table drops the blanks at the end
	} {
		u := sipacl.User{Name: c.name, Domain: c.domain}
		require.Equal(t, c.cached, in(cached, u, c.group).Allowed, "cached: %v", c)
		d := in(live, u, c.group)
		require.Equal(t, c.live, d.Allowed, "live: %v: %s", c, d)
		require.NotEqual(t, sipacl.CauseError, d.Cause, "%v: %s", c, d)
	}

	alice := sipacl.User{Name: "alice", Domain: "example.com"}
	require.True(t, in(byName, alice, "local").Allowed)
	for g, want := range map[sipacl.Groups][]string{cached: {"ld", "int"}, live: {"ld", "int"}, byName: {"ld", "int", "local"}} {
		got, err := g.Current().GroupsOf(t.Context(), alice)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	require.Equal(t, "grp:id 2", in(cached, alice, "int").Origin.String())
	require.Equal(t, "grp:id 2", in(live, alice, "int").Origin.String())
	require.Equal(t, []sipacl.ClassID{-1, 3}, slices.Collect(cached.Current().Classes(alice)))

	s.exec(t, "DELETE FROM grp WHERE grp = 'int'", "UPDATE re_grp SET reg_exp = 'a(' WHERE group_id = 10")
	require.False(t, in(live, alice, "int").Allowed, "no reload is needed")
	_, err := cached.Reload(t.Context())
	require.ErrorContains(t, err, `re_grp:id 1: reg_exp "a(": col 2: found (, want a ) after it`)
	require.True(t, in(cached, alice, "int").Allowed, "the generation in service stays")

	s.exec(t, "DROP TABLE grp")
	d := in(live, alice, "ld")
	require.False(t, d.Allowed)
	require.Equal(t, sipacl.CauseError, d.Cause)
	_, err = sipacl.NewGroups(t.Context(), sipacl.GroupConfig{Live: members})
	require.Error(t, err, "a table that is not there shows at the start")
}

func TestSQLiteGroups(t *testing.T)   { groups(t, sqlite(t), false) }
func TestPostgresGroups(t *testing.T) { groups(t, postgres(t), false) }
func TestMariaDBGroups(t *testing.T)  { groups(t, mariadb(t), true) }
