package databases

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

// migrationQueries are the queries of docs/migration.md that find rows which
// do not load: of OpenSIPS's table, and of Kamailio's.
func migrationQueries(t *testing.T) []string {
	text, err := os.ReadFile("../../docs/migration.md")
	require.NoError(t, err)
	var queries []string
	for _, m := range regexp.MustCompile("(?s)```sql\n(SELECT.*?)```").FindAllStringSubmatch(string(text), -1) {
		queries = append(queries, m[1])
	}
	require.Len(t, queries, 2)
	return queries
}

// ids are the rows that a query finds.
func (s server) ids(t *testing.T, query string) (ids []int) {
	rows, err := s.Query(strings.TrimSuffix(strings.TrimSpace(query), ";"))
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		into := make([]any, len(columns))
		for i := range into {
			into[i] = new(any)
		}
		id := 0
		into[0] = &id
		require.NoError(t, rows.Scan(into...))
		ids = append(ids, id)
	}
	require.NoError(t, rows.Err())
	slices.Sort(ids)
	return ids
}

// refused are the rows that a load names, each once.
func refused(t *testing.T, src sipacl.AddressSource) (ids []int) {
	for _, err := range src.Rows(t.Context()) {
		bad := (*sipacl.LoadError)(nil)
		if err == nil {
			continue
		}
		require.ErrorAs(t, err, &bad)
		require.Equal(t, sipacl.UnitID, bad.Origin.Unit)
		ids = append(ids, bad.Origin.Line)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// insert inserts rows, and leaves out those that the types of the columns
// refuse. It returns how many it inserted.
func (s server) insert(into string, rows ...string) (n int) {
	for _, r := range rows {
		if _, err := s.Exec("INSERT INTO " + into + " VALUES " + r); err == nil {
			n++
		}
	}
	return n
}

// The queries find what the loader names, and nothing else.
func TestMigrationQueries(t *testing.T) { onEach(t, migration) }

func migration(t *testing.T, s server) {
	queries := migrationQueries(t)
	s.exec(t, s.opensips)
	n := s.insert("address (id, grp, ip, mask, port, proto)",
		"(1, 0, '203.0.113.9', 32, 5060, 'udp')", "(2, 1, '203.0.113.0', 24, 0, 'any')", "(3, 1, '2001:db8::', 64, 32767, 'TLS')",
		"(4, 1, '0.0.0.0', 0, 0, '')", "(5, 1, '::', 0, 0, 'none')", "(6, 1, '::ffff:192.0.2.0', 120, 0, 'wss')", "(7, 1, ' 192.0.2.7 ', 32, 0, 'BINS')")
	require.Equal(t, 7, n)
	require.Empty(t, s.ids(t, queries[0]))
	require.Empty(t, refused(t, s.addresses()))
	n = s.insert("address (id, grp, ip, mask, port, proto)",
		"(11, -1, '203.0.113.9', 32, 0, 'any')", "(12, 1, '203.0.113.9', -1, 0, 'any')", "(13, 1, '203.0.113.9', 33, 0, 'any')",
		"(14, 1, '2001:db8::', 129, 0, 'any')", "(15, 1, '203.0.113.9', 0, 0, 'any')", "(16, 1, '2001:db8::', 0, 0, 'any')",
		"(17, 1, '203.0.113.9', 32, -1, 'any')", "(18, 1, '203.0.113.9', 32, 65536, 'any')", "(19, 1, '::FFFF:192.0.2.0', 96, 0, 'any')",
		"(20, 1, '203.0.113', 32, 0, 'any')", "(21, 1, '203.0.113.9.9', 32, 0, 'any')", "(22, 1, 'gw.example.com', 32, 0, 'any')",
		"(23, 1, 'gw.a.example.com', 32, 0, 'any')", "(24, 1, '', 32, 0, 'any')", "(25, 1, '203.0.113.9/32', 32, 0, 'any')", "(26, 1, '203.0.113.9', 32, 0, 'foo')",
		"(27, 1, '203.0.113.9', 'x', 0, 'any')", "(28, 'x', '203.0.113.9', 32, 0, 'any')", "(29, 1, '203.0.113.9', 32, 'x', 'any')")
	found := s.ids(t, queries[0])
	require.Len(t, found, n)
	require.Equal(t, refused(t, s.addresses()), found)

	s.exec(t, "DROP TABLE address", s.kamailio)
	n = s.insert("address (id, grp, ip_addr, mask, port)",
		"(1, 0, '203.0.113.9', 32, 5060)", "(2, 1, '203.0.113.0', 24, 0)", "(3, 1, '2001:db8::', 64, 32767)", "(4, 1, '0.0.0.0', 0, 0)",
		"(5, 1, '2001:db8::1', 0, 0)", "(6, 1, '::ffff:192.0.2.1', 0, 0)", "(7, 1, '::ffff:192.0.2.0', 120, 0)")
	require.Equal(t, 7, n)
	src := sipacl.KamailioAddresses(s.DB)
	src.Dialect = s.dialect
	require.Empty(t, s.ids(t, queries[1]))
	require.Empty(t, refused(t, src))
	n = s.insert("address (id, grp, ip_addr, mask, port)",
		"(11, -1, '203.0.113.9', 32, 0)", "(12, 1, '203.0.113.9', -1, 0)", "(13, 1, '203.0.113.9', 33, 0)", "(14, 1, '2001:db8::', 129, 0)",
		"(15, 1, '203.0.113.9', 32, -1)", "(16, 1, '203.0.113.9', 32, 65536)", "(17, 1, '::FFFF:192.0.2.0', 96, 0)", "(18, 1, '203.0.113', 32, 0)",
		"(19, 1, 'gw.example.com', 32, 0)", "(20, 1, 'gw.a.example.com', 32, 0)", "(21, 1, '203.0.113.9;transport=tcp', 32, 0)")
	found = s.ids(t, queries[1])
	require.Len(t, found, n)
	require.Equal(t, refused(t, src), found)
}

// What the queries do not see, as the page says, the load does.
func TestMigrationLoadSeesMore(t *testing.T) { onEach(t, seesMore) }

func seesMore(t *testing.T, s server) {
	s.exec(t, s.opensips, `INSERT INTO address (id, grp, ip, mask) VALUES
		(1, 1, '203.0.113.300', 32), (2, 1, '203.0.113.09', 32), (3, 1, '2001:db8::g', 64)`)
	require.Empty(t, s.ids(t, migrationQueries(t)[0]))
	require.Equal(t, []int{1, 2, 3}, refused(t, s.addresses()))
	p, err := sipacl.NewPartition(t.Context(), sipacl.SkipBad(s.addresses()))
	require.NoError(t, err)
	require.Equal(t, 3, p.Status().Skipped)
}

// The columns that the original scripts make too narrow, made wider as the
// page says.
func TestMigrationWiderColumns(t *testing.T) {
	for _, c := range []struct {
		s          server
		alter, row string
	}{
		{postgres(t), "ALTER TABLE address ALTER port TYPE INTEGER", "(1, '2001:db8::1', 128, 50000)"},
		{mariadb(t), "ALTER TABLE address MODIFY mask TINYINT UNSIGNED DEFAULT 32 NOT NULL", "(1, '2001:db8::1', 128, 50000)"},
	} {
		text, err := os.ReadFile("../../docs/migration.md")
		require.NoError(t, err)
		require.Contains(t, string(text), c.alter)
		c.s.exec(t, c.s.opensips)
		require.Zero(t, c.s.insert("address (grp, ip, mask, port)", c.row))
		c.s.exec(t, c.alter)
		require.Equal(t, 1, c.s.insert("address (grp, ip, mask, port)", c.row))
		p, err := sipacl.NewPartition(t.Context(), c.s.addresses())
		require.NoError(t, err)
		require.Equal(t, 1, p.Status().Entries)
	}
}
