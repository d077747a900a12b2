package sipacl

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var dumpFormats = map[string]DumpFormat{
	"complete": DumpComplete, "opensips-addresses": DumpOpenSIPSAddresses, "opensips-subnets": DumpOpenSIPSSubnets,
	"kamailio-addresses": DumpKamailioAddresses, "kamailio-subnets": DumpKamailioSubnets, "kamailio-domains": DumpKamailioDomains,
}

func dumpRows() []AddressRow {
	at := func(n int) Origin { return Origin{Name: "address", Line: n, Unit: UnitID} }
	prefix := netip.MustParsePrefix
	return []AddressRow{
		{Group: 7, Prefix: prefix("192.0.2.7/32"), Port: 5060, Proto: ProtoTLS, Info: "trunk", Origin: at(1)},
		{Group: 2, Prefix: prefix("198.51.100.9/24"), Pattern: `^sip:*@"example".com`, Info: "", Origin: at(2)},
		{Group: 7, Prefix: prefix("2001:db8::/32"), Info: "six", Origin: at(3)},
		{Group: 2, Prefix: prefix("2001:db8::a:1/128"), Origin: at(4)},
		{Group: 4294967295, Host: "GW.example.com.", Port: 65535, Info: "gw", Origin: at(5)},
		{Group: 2, Prefix: prefix("0.0.0.0/0"), Proto: ProtoNone, Origin: at(6)},
		{Group: 0, Prefix: prefix("192.0.2.7/32"), Origin: at(7)},
		{Group: 3, Host: "gw.example.com", Origin: at(8)},
	}
}

// The files of testdata/dump hold what each format makes of dumpRows: a line
// for the partition, then one for Dump.
func TestDumpFormats(t *testing.T) {
	p := mustPartition(dumpRows()...)
	for name, format := range dumpFormats {
		var got bytes.Buffer
		require.NoError(t, p.Dump(&got, format))
		got.WriteByte('\n')
		require.NoError(t, Dump(&got, format, p))
		got.WriteByte('\n')
		want, err := os.ReadFile(filepath.Join("testdata", "dump", name+".json"))
		require.NoError(t, err)
		require.Equal(t, string(want), got.String(), name)
	}
}

func TestDumpOfPartitions(t *testing.T) {
	perm, err := Open(t.Context(), Config{Partitions: []PartitionConfig{
		{Name: "b", Sources: []AddressSource{Rows[AddressRow]()}},
		{Name: `"a"`, Sources: []AddressSource{Rows(dumpRows()[:1]...)}},
	}})
	require.NoError(t, err)
	var got strings.Builder
	require.NoError(t, Dump(&got, DumpOpenSIPSAddresses, slices.Collect(perm.Partitions())...))
	require.Equal(t, `{"Partitions":[{"name":"b","Destinations":[]},{"name":"\"a\"","Destinations":[`+
		`{"grp":7,"ip":"192.0.2.7","mask":"32","port":5060,"proto":"tls","pattern":"","context_info":"trunk"}]}]}`, got.String())

	got.Reset()
	require.NoError(t, Dump(&got, DumpOpenSIPSSubnets))
	require.Equal(t, `{"Partitions":[]}`, got.String())
}

func TestDumpRefuses(t *testing.T) {
	p := mustPartition()
	require.Error(t, p.Dump(io.Discard, DumpKamailioDomains+1))
	require.Error(t, Dump(io.Discard, DumpKamailioSubnets))
	require.Error(t, Dump(io.Discard, DumpKamailioSubnets, p, p))
	require.Error(t, Dump(io.Discard, DumpComplete, p, Partition{}))
	require.Error(t, Partition{}.Dump(io.Discard, DumpComplete))
}

// Whatever a text holds, a dump is valid JSON, and reads back as the text.
func TestDumpIsJSON(t *testing.T) {
	for _, text := range []string{`"`, `\`, "a\nb\tc\x00\x1f\x7f", "</script>&", "\u2028é😀", "\xff\xfe", strings.Repeat(`"`, 10000)} {
		p := mustPartition(AddressRow{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Info: text})
		for name, format := range dumpFormats {
			var b bytes.Buffer
			require.NoError(t, p.Dump(&b, format))
			require.True(t, json.Valid(b.Bytes()), "%s: %s", name, &b)
		}
		var b bytes.Buffer
		require.NoError(t, p.Dump(&b, DumpComplete))
		var d struct{ Rows []struct{ Info string } }
		require.NoError(t, json.Unmarshal(b.Bytes(), &d))
		require.Equal(t, strings.ToValidUTF8(strings.ReplaceAll(text, "\xff\xfe", "\ufffd\ufffd"), "\ufffd"), d.Rows[0].Info)
	}
}

// limitedWriter fails after some bytes.
type limitedWriter struct {
	left, most int
}

var errFull = errors.New("full")

func (w *limitedWriter) Write(b []byte) (int, error) {
	w.most = max(w.most, len(b))
	if w.left -= len(b); w.left < 0 {
		return 0, errFull
	}
	return len(b), nil
}

func TestDumpReturnsErrorsOfTheWriter(t *testing.T) {
	p := mustPartition(manyRows(200)...)
	for name, format := range dumpFormats {
		for _, left := range []int{0, 1, 4096, 8192} {
			if err := p.Dump(&limitedWriter{left: left}, format); format != DumpKamailioDomains && left < 8192 {
				require.ErrorIs(t, err, errFull, "%s after %d", name, left)
			}
		}
		require.ErrorIs(t, Dump(&limitedWriter{}, format, p), errFull, name)
	}
}

// A dump is written as it is made: no write holds more than a few rows.
func TestDumpStreams(t *testing.T) {
	w := &limitedWriter{left: 1 << 30}
	require.NoError(t, mustPartition(manyRows(20000)...).Dump(w, DumpComplete))
	require.Less(t, 1<<30-w.left, 1<<30-1000000)
	require.LessOrEqual(t, w.most, 4096)
}

func manyRows(n int) []AddressRow {
	rows := make([]AddressRow, n)
	for i := range rows {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		rows[i] = AddressRow{Group: GroupID(i % 7), Prefix: netip.PrefixFrom(a, 24+8*(i%2)), Info: "text of a row"}
	}
	return rows
}

func ExampleDump() {
	p := mustPartition(
		AddressRow{Group: 1, Prefix: netip.MustParsePrefix("192.0.2.10/32"), Port: 5060, Proto: ProtoUDP, Info: "TestServer"},
		AddressRow{Group: 2, Prefix: netip.MustParsePrefix("2001:db8::/48")},
	)
	var out strings.Builder
	for _, format := range []DumpFormat{DumpOpenSIPSAddresses, DumpOpenSIPSSubnets} {
		if err := Dump(&out, format, p); err != nil {
			fmt.Println(err)
			return
		}
		out.WriteByte('\n')
	}
	fmt.Print(out.String())
	// Output:
	// {"Partitions":[{"name":"default","Destinations":[{"grp":1,"ip":"192.0.2.10","mask":"32","port":5060,"proto":"udp","pattern":"","context_info":"TestServer"}]}]}
	// {"Partitions":[{"name":"default","Destinations":[{"grp":2,"ip":"2001:DB8:0:0:0:0:0:0","mask":"FFFF:FFFF:FFFF:0:0:0:0:0","port":0,"proto":"any","pattern":"","context_info":""}]}]}
}

func ExamplePartition_Dump() {
	p := mustPartition(
		AddressRow{Group: 200, Prefix: netip.MustParsePrefix("198.51.100.0/24"), Port: 5060, Info: "OfficeSubnet",
			Origin: Origin{Name: "address", Line: 3, Unit: UnitID}},
	)
	for _, format := range []DumpFormat{DumpKamailioSubnets, DumpComplete} {
		if err := p.Dump(os.Stdout, format); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println()
	}
	// Output:
	// [{"id":0,"group":200,"item":{"ip":"198.51.100.0","mask":24,"port":5060,"tag":"OfficeSubnet"}}]
	// {"part":"default","generation":1,"rows":[{"group":200,"prefix":"198.51.100.0/24","host":"","port":5060,"proto":"any","pattern":"","info":"OfficeSubnet","origin":"address:id 3"}]}
}
