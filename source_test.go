package sipacl

import (
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/sipacl/sipacl/internal/lines"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write what is into testdata; decide whether it should be")

// golden compares text with a file.
func golden(t *testing.T, file, text string) {
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

func load(t testing.TB, s AddressSource) (*Table, error) { return newTable(s) }

// dbAddress gives a database with OpenSIPS's table.
func dbAddress(t testing.TB, rows ...[]any) *fakedb.DB {
	db := fakedb.Open(t)
	db.Set("address", []string{"id", "grp", "ip", "mask", "port", "proto", "pattern", "context_info"}, rows...)
	return db
}

func TestOpenSIPSTableAsDriversGiveIt(t *testing.T) {
	db := dbAddress(t,
		[]any{int64(3), uint64(4294967295), []byte("203.0.113.0"), []byte("24"), 0.0, []byte("ANY     "), nil, nil},
		[]any{int64(1), "200", "127.0.0.1   ", "32", "5060", "udp ", "alice  ", "This Machine   "},
		[]any{uint64(2), int32(0), "[2001:DB8::1]", 128.0, 0, "", "", ""},
		[]any{int64(4), 7, "0.0.0.0", 0, 0, "any", "", int64(42)},
	)
	table, err := load(t, OpenSIPSAddresses(db.SQL()))
	require.NoError(t, err)
	at := func(id int) Origin { return Origin{Name: "address", Line: id, Unit: UnitID} }
	require.Equal(t, []AddressRow{
		{Group: 200, Prefix: prefix("127.0.0.1/32"), Port: 5060, Proto: ProtoUDP, Pattern: "alice", Info: "This Machine", Origin: at(1)},
		{Group: 0, Prefix: prefix("2001:db8::1/128"), Origin: at(2)},
		{Group: 4294967295, Prefix: prefix("203.0.113.0/24"), Origin: at(3)},
		{Group: 7, Prefix: prefix("0.0.0.0/0"), Info: "42", Origin: at(4)},
	}, collect(table.Rows()), "ordered by id")
}

func TestEveryBadCellIsNamed(t *testing.T) {
	row := func(id any, change int, v any) []any {
		r := []any{id, 1, "192.0.2.1", 32, 5060, "udp", "alice", "info"}
		r[change] = v
		return r
	}
	var rows [][]any
	id := int64(0)
	for _, c := range []struct {
		column int
		values []any
	}{
		{1, []any{nil, -1, int64(4294967296), "4294967297", "1x", 1.5, "", true}},
		{2, []any{nil, "", "10.0.0.300", "10.0.0.0/8", "010.0.0.1", "fe80::1%eth0", "example.com", "[192.0.2.1]", int64(7), true, "x\r\n\x1b[31m"}},
		{3, []any{nil, -1, 33, "abc", "0x8", "", 0}},
		{4, []any{nil, -1, 65536, "5060;", "sip"}},
		{5, []any{nil, "upd", "udp,tcp", "*", "0", true}},
		{6, []any{true, 1.5}},
		{7, []any{true}},
	} {
		for _, v := range c.values {
			id++
			rows = append(rows, row(id, c.column, v))
		}
	}
	rows = append(rows,
		[]any{id + 1, -1, "junk", 99, 99999, "upd", "x", "all of a row at once"},
		[]any{id + 2, 1, "::ffff:192.0.2.1", 96, 0, "any", "", ""},
		[]any{id + 3, 1, "::ffff:0.0.0.0", 0, 0, "any", "", ""},
		[]any{id + 4, 1, "2001:db8::1", 129, 0, "any", "", ""},
		[]any{id + 5, 1, "192.0.2.1", 32, 0, "any", "", "good"},
		[]any{"no number", "x", "192.0.2.1", 32, 0, "any", "", "named by its place"})
	db := dbAddress(t, rows...)
	table, err := load(t, OpenSIPSAddresses(db.SQL()))
	require.Nil(t, table, "nothing is loaded")
	golden(t, "testdata/errors/opensips-table", err.Error()+"\n")
	var first *LoadError
	require.True(t, errors.As(err, &first))
	require.Equal(t, "grp", first.Column)

	table, err = load(t, SkipBad[AddressRow](OpenSIPSAddresses(db.SQL())))
	require.NoError(t, err)
	require.Equal(t, 1, table.size())
}

// A pattern is the table's business, but SkipBad is the source's.
func TestSkipBadLeavesOutBadPatterns(t *testing.T) {
	long := strings.Repeat("x*", 1<<16)
	db := dbAddress(t, []any{1, 1, "192.0.2.1", 32, 0, "any", long, ""}, []any{2, 1, "192.0.2.2", 32, 0, "any", long, ""},
		[]any{3, 1, "192.0.2.3", 32, 0, "any", "", ""})
	s := OpenSIPSAddresses(db.SQL())
	_, err := load(t, s)
	require.ErrorContains(t, err, `address:id 1: pattern "x*x*`)
	require.ErrorContains(t, err, `address:id 2: pattern "x*x*`)
	table, err := load(t, SkipBad[AddressRow](s))
	require.NoError(t, err)
	require.Equal(t, 1, table.size())
}

func TestMask0MustBeExplained(t *testing.T) {
	for _, test := range []struct {
		zero ZeroMask
		ip   string
		want string // prefix or error
	}{
		{ZeroMaskUnset, "0.0.0.0", "the source must say which"},
		{ZeroMaskHost, "192.0.2.1", "192.0.2.1/32"},
		{ZeroMaskHost, "0.0.0.0", "0.0.0.0/32"},
		{ZeroMaskHost, "2001:db8::1", "2001:db8::1/128"},
		{ZeroMaskHost, "::ffff:192.0.2.1", "192.0.2.1/32"},
		{ZeroMaskEveryone, "0.0.0.0", "0.0.0.0/0"},
		{ZeroMaskEveryone, "::", "::/0"},
		{ZeroMaskEveryone, "192.0.2.1", "would be everyone: want 32 for the host"},
		{ZeroMaskEveryone, "2001:db8::1", "would be everyone: want 128 for the host"},
	} {
		db := dbAddress(t, []any{1, 1, test.ip, 0, 0, "any", "", ""})
		table, err := load(t, SQLAddresses{SQL: SQL{DB: db.SQL()}, ZeroMask: test.zero})
		if err != nil {
			require.ErrorContains(t, err, test.want)
			continue
		}
		require.Equal(t, test.want, collect(table.Rows())[0].Prefix.String())
	}
}

func TestKamailioTableAndNames(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("address", []string{"id", "grp", "ip_addr", "mask", "port", "tag"},
		[]any{1, 1, "192.0.2.1", 0, 0, nil}, []any{2, 1, "GW.example.com.", "junk", 5060, "gw"}, []any{3, 1, "10.0.0.300", 32, 0, nil})
	s := KamailioAddresses(db.SQL())
	_, err := load(t, s)
	require.ErrorContains(t, err, `address:id 2: ip_addr "GW.example.com.": want an IPv4 or IPv6 address; for host names set Names`)
	s.Names = true
	_, err = load(t, s)
	require.EqualError(t, err, `address:id 3: ip_addr "10.0.0.300": want an IPv4 or IPv6 address`, "a mistyped address is no name")
	table, err := load(t, SkipBad[AddressRow](s))
	require.NoError(t, err)
	d := table.CheckAddress(Query{Group: 1, Host: "gw.EXAMPLE.com", Port: 5060})
	require.True(t, d.Allowed)
	require.Equal(t, "gw", d.Info)
}

func TestEveryNameCanBeChangedAndNoneInjects(t *testing.T) {
	db := fakedb.Open(t)
	db.Set("acl.peers", []string{"no", "g", "a", "m", "p", "t", "w", "c"}, []any{9, 1, "192.0.2.0", 24, 0, "tcp", "", "x"})
	s := SQLAddresses{SQL: SQL{DB: db.SQL(), Table: "acl.peers", IDCol: "no"}, GroupCol: "g", IPCol: "a", MaskCol: "m", PortCol: "p", ProtoCol: "t", PatternCol: "w", InfoCol: "c"}
	for _, d := range []Dialect{PlainSQL, PostgreSQL, MySQL, SQLite} {
		s.Dialect = d
		table, err := load(t, s)
		require.NoError(t, err)
		require.Equal(t, "group 1 192.0.2.0/24 port any proto tcp", collect(table.Rows())[0].String())
	}
	least := SQLAddresses{SQL: SQL{DB: db.SQL(), Table: "acl.peers"}, GroupCol: "g", IPCol: "a", MaskCol: NoColumn, PortCol: NoColumn, ProtoCol: NoColumn, PatternCol: NoColumn, InfoCol: NoColumn}
	table, err := load(t, least)
	require.NoError(t, err)
	require.Equal(t, AddressRow{Group: 1, Prefix: prefix("192.0.2.0/32"), Origin: Origin{Name: "acl.peers", Line: 1, Unit: UnitRow}}, collect(table.Rows())[0])

	queries := db.Queries()
	evil := "address; DROP TABLE address --"
	for _, set := range []func(*SQLAddresses){
		func(s *SQLAddresses) { s.Table = evil }, func(s *SQLAddresses) { s.IDCol = evil }, func(s *SQLAddresses) { s.GroupCol = evil },
		func(s *SQLAddresses) { s.IPCol = evil }, func(s *SQLAddresses) { s.MaskCol = evil }, func(s *SQLAddresses) { s.PortCol = evil },
		func(s *SQLAddresses) { s.ProtoCol = evil }, func(s *SQLAddresses) { s.PatternCol = evil }, func(s *SQLAddresses) { s.InfoCol = evil },
		func(s *SQLAddresses) { s.Group = 1 }, func(s *SQLAddresses) { s.IPCol = NoColumn }, func(s *SQLAddresses) { s.DB = nil },
	} {
		bad := s
		set(&bad)
		_, err := load(t, bad)
		require.Error(t, err)
	}
	require.Equal(t, queries, db.Queries(), "nothing was sent")
}

func TestAddressFileSyntax(t *testing.T) {
	text := "\ufeff# a file from Windows\r\n\r\n" +
		"200 192.0.2.0 24 5060 office # with a comment\r\n" +
		"\t201\t\t192.0.2.1\r\n" +
		"202 [2001:db8::1] 0#tight\r\n" +
		"203 192.0.2.2 32 0 tag" // no end of line
	table, err := load(t, AddressFile{FS: fstest.MapFS{"address.txt": {Data: []byte(text)}}, Name: "address.txt"})
	require.NoError(t, err)
	at := func(line int) Origin { return Origin{Name: "address.txt", Line: line} }
	require.Equal(t, []AddressRow{
		{Group: 200, Prefix: prefix("192.0.2.0/24"), Port: 5060, Info: "office", Origin: at(3)},
		{Group: 201, Prefix: prefix("192.0.2.1/32"), Origin: at(4)},
		{Group: 202, Prefix: prefix("2001:db8::1/128"), Origin: at(5)},
		{Group: 203, Prefix: prefix("192.0.2.2/32"), Info: "tag", Origin: at(6)},
	}, collect(table.Rows()))
}

// Each testdata/errors/*.address is a file that must not load, beside it what
// is said.
func TestAddressFileErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.address")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			_, err := load(t, AddressFile{FS: os.DirFS("testdata/errors"), Name: filepath.Base(file), Names: strings.Contains(file, "names")})
			require.Error(t, err)
			golden(t, strings.TrimSuffix(file, ".address")+".want", err.Error()+"\n")
		})
	}
}

func TestAddressFileThatCannotBeRead(t *testing.T) {
	_, err := load(t, AddressFile{FS: fstest.MapFS{}, Name: "address.txt"})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = load(t, AddressFile{FS: os.DirFS("testdata"), Name: "../address.go"})
	require.ErrorIs(t, err, fs.ErrInvalid)
	_, err = load(t, AddressFile{Name: "address.txt"})
	require.ErrorContains(t, err, "want a file system")
}

func TestAddressFileLongLines(t *testing.T) {
	load := func(text string) error {
		_, err := load(t, AddressFile{FS: fstest.MapFS{"f": {Data: []byte(text)}}, Name: "f"})
		return err
	}
	line := "1 192.0.2.1 32 0 "
	require.NoError(t, load(line+strings.Repeat("x", lines.Max-len(line))+"\r\n"+line))
	require.EqualError(t, load(line+strings.Repeat("x", lines.Max-len(line)+1)+"\n"), "f:1:65537: want at most 65536 bytes in a line")
	require.NoError(t, load(strings.Repeat("1 192.0.2.1\n", 10000)))
}

func TestAddressFileEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	f := AddressFile{FS: fstest.MapFS{"f": {Data: []byte(strings.Repeat("1 192.0.2.1\n", 5000))}}, Name: "f"}
	_, err := loadTable(ctx, nil, []AddressSource{f}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func FuzzAddressFile(f *testing.F) {
	for _, s := range []string{
		"", "\ufeff200 192.0.2.0 24 5060 office # x\r\n", "1", "1 2 3 4 5 6", "# only", "1 example.com\n", "1 ::ffff:192.0.2.1 0\n1 [::1] 129", "1 192.0.2.1 \x00",
	} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, text string, names bool) {
		source := AddressFile{FS: fstest.MapFS{"f": {Data: []byte(text)}}, Name: "f", Names: names}
		table, err := load(t, source)
		lenient, skipErr := load(t, SkipBad[AddressRow](source))
		require.NoError(t, skipErr, "SkipBad leaves out whatever is wrong in a file")
		require.LessOrEqual(t, lenient.size(), strings.Count(text, "\n")+1)
		if err != nil {
			require.Contains(t, err.Error(), "f:", "an error says where")
			return
		}
		require.Equal(t, collect(table.Rows()), collect(lenient.Rows()))
		for r := range table.Rows() {
			q := Query{Group: r.Group, Addr: r.Prefix.Addr(), Host: r.Host, Port: r.Port}
			require.True(t, table.CheckAddress(q).Allowed, "a row matches its own address: %v", r)
		}
	})
}
