package databases

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// onEach runs a test on every kind of database.
func onEach(t *testing.T, test func(t *testing.T, s server)) {
	t.Run("SQLite", func(t *testing.T) { test(t, sqlite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, postgres(t)) })
	t.Run("MariaDB", func(t *testing.T) { test(t, mariadb(t)) })
}

// A table of another shape: a query, prefixes in one column, one group for all.
func TestQueryOfCarriers(t *testing.T) { onEach(t, carriers) }

func carriers(t *testing.T, s server) {
	s.exec(t, "CREATE TABLE carriers (name VARCHAR(32) NOT NULL, cidr VARCHAR(50) NOT NULL)", `INSERT INTO carriers VALUES
		('Alpha', '192.0.2.0/24'), ('Beta', '198.51.100.7'), ('Gamma', '2001:db8::/32'), ('Delta', '192.0.2.128/25')`)
	src := sipacl.SQLAddresses{SQL: sipacl.SQL{DB: s.DB, Query: "SELECT name, cidr FROM carriers"}, IPCol: "cidr", InfoCol: "name", Group: 7}
	p, err := sipacl.NewPartition(t.Context(), src)
	require.NoError(t, err)
	for addr, name := range map[string]string{
		"192.0.2.1": "Alpha", "192.0.2.200": "Delta", "198.51.100.7": "Beta", "2001:db8:1::1": "Gamma", "198.51.100.8": "", "2001:db9::": "",
	} {
		d := p.SourceGroup(sipacl.Request{Source: sipacl.Source{Addr: netip.MustParseAddr(addr), Port: 5060, Proto: sipacl.ProtoTLS}})
		require.Equal(t, name, d.Info, addr)
		require.Equal(t, name != "", d.Allowed, addr)
		if d.Allowed {
			require.Equal(t, sipacl.GroupID(7), d.Group)
		}
	}

	s.exec(t, "INSERT INTO carriers VALUES ('Typo', '192.0.2.0/33'), ('Everyone', '192.0.2.0/0'), ('Name', 'gw.example.com')")
	_, err = p.Reload(t.Context())
	for _, want := range []string{
		`query:row 5: cidr "192.0.2.0/33": want 0 to 32`, `query:row 6: cidr "192.0.2.0/0": /0 on 192.0.2.0`, `query:row 7: cidr "gw.example.com": want`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.Equal(t, 4, p.Status().Entries, "the generation in service stays")

	src.GroupCol = "name"
	_, err = sipacl.NewPartition(t.Context(), src)
	require.ErrorContains(t, err, "not both")
}

// PostgreSQL has types of its own for addresses.
func TestPostgresCIDRAndINET(t *testing.T) {
	s := postgres(t)
	s.exec(t, "CREATE TABLE nets (id SERIAL, net cidr, host inet)", `INSERT INTO nets (net, host) VALUES
		('192.0.2.0/24', '198.51.100.7'), ('203.0.113.9', '198.51.100.8/32'), ('2001:db8::/32', '2001:db8::7'), ('0.0.0.0/0', '10.0.0.5/24')`)
	for column, want := range map[string][]string{
		"net":  {"192.0.2.0/24", "203.0.113.9/32", "2001:db8::/32", "0.0.0.0/0"},
		"host": {"198.51.100.7/32", "198.51.100.8/32", "2001:db8::7/128", "10.0.0.0/24"}, // an inet's host bits do not count
	} {
		for _, src := range []sipacl.SQLAddresses{
			{SQL: sipacl.SQL{DB: s.DB, Query: "SELECT id, net, host FROM nets ORDER BY id", IDCol: "id"}, IPCol: column},
			{SQL: sipacl.SQL{DB: s.DB, Dialect: sipacl.PostgreSQL, Table: "nets", IDCol: "id"}, IPCol: column, GroupCol: sipacl.NoColumn,
				MaskCol: sipacl.NoColumn, PortCol: sipacl.NoColumn, ProtoCol: sipacl.NoColumn, PatternCol: sipacl.NoColumn, InfoCol: sipacl.NoColumn},
		} {
			p, err := sipacl.NewPartition(t.Context(), src)
			require.NoError(t, err)
			var got []string
			for r := range p.Current().Rows() {
				got = append(got, r.Prefix.String())
			}
			require.Equal(t, want, got)
		}
	}
	s.exec(t, "INSERT INTO nets (net) VALUES (NULL)")
	_, err := sipacl.NewPartition(t.Context(), sipacl.SQLAddresses{SQL: sipacl.SQL{DB: s.DB, Query: "SELECT net FROM nets ORDER BY id"}, IPCol: "net"})
	require.ErrorContains(t, err, "query:row 5: net")
}

// createAll makes one table of each kind, and returns what reads them.
func createAll(t *testing.T, s server) []any {
	s.exec(t, s.opensips, "INSERT INTO address (grp, ip, mask, context_info) VALUES (1, '192.0.2.0', 24, 'a'), (2, '198.51.100.7', 32, 'b')")
	createGroups(t, s)
	createACLs(t, s)
	createTrusted(t, s)
	return []any{
		s.addresses(),
		sipacl.SQLMembers{SQL: s.sql("id")},
		sipacl.SQLClasses{SQL: s.sql("id")},
		sipacl.SQLACLs{SQL: s.sql(""), SystemName: "pbx1"},
		sipacl.SQLTrusted{SQL: s.sql("id")},
	}
}

// status loads a source by itself and tells what is in service.
func status(ctx context.Context, src any) (sipacl.Status, error) {
	switch src := src.(type) {
	case sipacl.SQLAddresses:
		p, err := sipacl.NewPartition(ctx, src)
		return p.Status(), err
	case sipacl.SQLMembers:
		g, err := sipacl.NewGroups(ctx, sipacl.GroupConfig{Members: []sipacl.MemberSource{src}})
		return g.Status(), err
	case sipacl.SQLClasses:
		g, err := sipacl.NewGroups(ctx, sipacl.GroupConfig{Classes: []sipacl.ClassSource{src}})
		return g.Status(), err
	case sipacl.SQLACLs:
		a, err := sipacl.NewACLs(ctx, src)
		return a.Status(), err
	case sipacl.SQLTrusted:
		tr, err := sipacl.NewTrusted(ctx, src)
		return tr.Status(), err
	}
	panic(fmt.Sprintf("no list of %T", src))
}

// with returns a copy of src with a field set.
func with(src any, field string, value any) any {
	v := reflect.New(reflect.TypeOf(src)).Elem()
	v.Set(reflect.ValueOf(src))
	v.FieldByName(field).Set(reflect.ValueOf(value))
	return v.Interface()
}

// columnFields are the fields of src that name a column.
func columnFields(src any) (fields []string) {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(src)) {
		if strings.HasSuffix(f.Name, "Col") {
			fields = append(fields, f.Name)
		}
	}
	return fields
}

var dialects = []sipacl.Dialect{sipacl.PlainSQL, sipacl.PostgreSQL, sipacl.MySQL, sipacl.SQLite}

// To SQLite a name in double quotes that is no column is a text, which would
// put everybody in the group "mistyped".
func TestMistypedColumnIsAnError(t *testing.T) { onEach(t, mistyped) }

func mistyped(t *testing.T, s server) {
	for _, src := range createAll(t, s) {
		for _, field := range columnFields(src) {
			_, err := status(t.Context(), with(src, field, "mistyped"))
			require.ErrorContains(t, err, "mistyped", "%T.%s", src, field)
			for _, dialect := range dialects {
				_, err := status(t.Context(), with(with(src, field, "mistyped"), "Dialect", dialect))
				require.Error(t, err, "%T.%s, dialect %d", src, field, dialect)
			}
		}
	}
	for _, field := range columnFields(sipacl.SQLMembers{}) {
		for _, dialect := range dialects {
			src := with(sipacl.SQLMembers{SQL: s.sql("id")}, field, "mistyped").(sipacl.SQLMembers)
			src.Dialect = dialect
			_, err := sipacl.NewGroups(t.Context(), sipacl.GroupConfig{Live: src})
			require.Error(t, err, "%s, dialect %d", field, dialect)
			for _, u := range []sipacl.User{{Name: "alice", Domain: "example.com"}, {Name: "mistyped", Domain: "example.com"}, {Name: "alice", Domain: "mistyped"}} {
				_, in, err := src.IsMember(t.Context(), u, false, "mistyped")
				require.Error(t, err, "%s, dialect %d", field, dialect)
				require.False(t, in)
			}
		}
	}
	_, err := sipacl.NewPartition(t.Context(), sipacl.SQLAddresses{
		SQL: sipacl.SQL{DB: s.DB, Query: "SELECT ip, grp FROM address"}, IPCol: "ip", GroupCol: "mistyped",
	})
	require.ErrorContains(t, err, `no column "mistyped" among ip, grp`)
	_, err = sipacl.NewPartition(t.Context(), sipacl.SQLAddresses{
		SQL: sipacl.SQL{DB: s.DB, Query: "SELECT ip FROM address", IDCol: "mistyped"}, IPCol: "ip",
	})
	require.ErrorContains(t, err, `no column "mistyped" among ip`)
}

// The wrong dialect gives an error or the right rows, never others.
func TestWrongDialect(t *testing.T) { onEach(t, wrongDialect) }

func wrongDialect(t *testing.T, s server) {
	alice := sipacl.User{Name: "alice", Domain: "example.com"}
	for _, src := range createAll(t, s) {
		right, err := status(t.Context(), src)
		require.NoError(t, err)
		require.NotZero(t, right.Entries)
		for _, dialect := range dialects {
			got, err := status(t.Context(), with(src, "Dialect", dialect))
			if err == nil {
				require.Equal(t, right.Digest, got.Digest, "%T, dialect %d", src, dialect)
			}
		}
	}
	for _, dialect := range dialects {
		src := sipacl.SQLMembers{SQL: s.sql("id")}
		src.Dialect = dialect
		for group, want := range map[string]bool{"ld": true, "local": false, "grp": false, "username": false} {
			_, in, err := src.IsMember(t.Context(), alice, false, group)
			if err == nil {
				require.Equal(t, want, in, "dialect %d: %s", dialect, group)
			}
		}
	}
}
