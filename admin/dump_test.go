package admin

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

	"github.com/sipacl/sipacl"
)

var dumpFormats = map[string]DumpFormat{
	"complete": Complete, "opensips-addresses": OpenSIPSAddresses, "opensips-subnets": OpenSIPSSubnets,
	"kamailio-addresses": KamailioAddresses, "kamailio-5.6-addresses": Kamailio56Addresses,
	"kamailio-subnets": KamailioSubnets, "kamailio-domains": KamailioDomains,
}

func TestEveryFormatIsTested(t *testing.T) {
	for f := range KamailioDomains + 1 {
		found := false
		for _, g := range dumpFormats {
			found = found || f == g
		}
		require.True(t, found, f)
	}
}

func partitionOf(t testing.TB, rows ...sipacl.AddressRow) sipacl.Partition {
	p, err := sipacl.NewPartition(t.Context(), sipacl.Rows(rows...))
	require.NoError(t, err)
	return p
}

func dumpRows() []sipacl.AddressRow {
	at := func(n int) sipacl.Origin { return sipacl.Origin{Name: "address", Line: n, Unit: sipacl.UnitID} }
	prefix := netip.MustParsePrefix
	return []sipacl.AddressRow{
		{Group: 7, Prefix: prefix("192.0.2.7/32"), Port: 5060, Proto: sipacl.ProtoTLS, Info: "trunk", Origin: at(1)},
		{Group: 2, Prefix: prefix("198.51.100.9/24"), Pattern: `^sip:*@"example".com`, Info: "", Origin: at(2)},
		{Group: 7, Prefix: prefix("2001:db8::/32"), Info: "six", Origin: at(3)},
		{Group: 2, Prefix: prefix("2001:db8::a:1/128"), Origin: at(4)},
		{Group: 4294967295, Host: "GW.example.com.", Port: 65535, Info: "gw", Origin: at(5)},
		{Group: 2, Prefix: prefix("0.0.0.0/0"), Proto: sipacl.ProtoNone, Origin: at(6)},
		{Group: 0, Prefix: prefix("192.0.2.7/32"), Origin: at(7)},
		{Group: 3, Host: "gw.example.com", Origin: at(8)},
	}
}

// The files of testdata/dump hold what each format makes of dumpRows: a line
// for DumpPartition, then one for Dump.
func TestDumpFormats(t *testing.T) {
	p := partitionOf(t, dumpRows()...)
	for name, format := range dumpFormats {
		var got bytes.Buffer
		require.NoError(t, DumpPartition(&got, format, nil, p))
		got.WriteByte('\n')
		require.NoError(t, Dump(&got, format, nil, p))
		got.WriteByte('\n')
		want, err := os.ReadFile(filepath.Join("testdata", "dump", name+".json"))
		require.NoError(t, err)
		require.Equal(t, string(want), got.String(), name)
	}
}

func TestDumpOfPartitions(t *testing.T) {
	perm, err := sipacl.Open(t.Context(), sipacl.Config{Partitions: []sipacl.PartitionConfig{
		{Name: "b", Sources: []sipacl.AddressSource{sipacl.Rows[sipacl.AddressRow]()}},
		{Name: `"a"`, Sources: []sipacl.AddressSource{sipacl.Rows(dumpRows()[:1]...)}},
	}})
	require.NoError(t, err)
	var got strings.Builder
	require.NoError(t, Dump(&got, OpenSIPSAddresses, perm.Snapshot(), slices.Collect(perm.Partitions())...))
	require.Equal(t, `{"Partitions":[{"name":"b","Destinations":[]},{"name":"\"a\"","Destinations":[`+
		`{"grp":7,"ip":"192.0.2.7","mask":"32","port":5060,"proto":"tls","pattern":"","context_info":"trunk"}]}]}`, got.String())

	got.Reset()
	require.NoError(t, Dump(&got, OpenSIPSSubnets, nil))
	require.Equal(t, `{"Partitions":[]}`, got.String())
}

// A dump of a snapshot shows that snapshot; without one, what is in service.
func TestDumpOfASnapshot(t *testing.T) {
	rows := dumpRows()[:1]
	perm, err := sipacl.Open(t.Context(), sipacl.Config{Partitions: []sipacl.PartitionConfig{{Sources: []sipacl.AddressSource{
		sipacl.RowFunc[sipacl.AddressRow](sipacl.Rows(rows...).Rows),
	}}}})
	require.NoError(t, err)
	p, err := perm.Partition("")
	require.NoError(t, err)
	before := perm.Snapshot()
	_, err = p.Reload(t.Context())
	require.NoError(t, err)
	generation := func(s *sipacl.Snapshot) uint64 {
		var b bytes.Buffer
		require.NoError(t, DumpPartition(&b, Complete, s, p))
		var d struct{ Generation uint64 }
		require.NoError(t, json.Unmarshal(b.Bytes(), &d))
		return d.Generation
	}
	require.EqualValues(t, 1, generation(before))
	require.EqualValues(t, 2, generation(nil))
	require.EqualValues(t, 2, generation(perm.Snapshot()))

	err = Dump(io.Discard, Complete, before, partitionOf(t))
	require.EqualError(t, err, "admin: dump: address:default is not in the snapshot")
}

func TestDumpRefuses(t *testing.T) {
	p := partitionOf(t)
	require.Error(t, DumpPartition(io.Discard, KamailioDomains+1, nil, p))
	require.Error(t, Dump(io.Discard, KamailioSubnets, nil))
	require.Error(t, Dump(io.Discard, KamailioSubnets, nil, p, p))
	require.Error(t, Dump(io.Discard, Complete, nil, p, sipacl.Partition{}))
	require.Error(t, DumpPartition(io.Discard, Complete, nil, sipacl.Partition{}))
	require.Error(t, DumpPartition(io.Discard, Complete, new(sipacl.Snapshot), sipacl.Partition{}))
}

// Whatever a text holds, a dump is valid JSON, and reads back as the text.
func TestDumpIsJSON(t *testing.T) {
	for _, text := range []string{
		`"`, `\`, "a\nb\tc\x00\x1f\x7f", "</script>&", "\u2028é😀", "\u009b31m\u202e\U000e0001", "\xff\xfe", strings.Repeat(`"`, 10000),
	} {
		p := partitionOf(t, sipacl.AddressRow{Prefix: netip.MustParsePrefix("192.0.2.1/32"), Info: text})
		for name, format := range dumpFormats {
			var b bytes.Buffer
			require.NoError(t, DumpPartition(&b, format, nil, p))
			require.True(t, json.Valid(b.Bytes()), "%s: %s", name, &b)
			requirePrintable(t, b.String())
		}
		var b bytes.Buffer
		require.NoError(t, DumpPartition(&b, Complete, nil, p))
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
	p := partitionOf(t, manyRows(200)...)
	for name, format := range dumpFormats {
		for _, left := range []int{0, 1, 4096, 8192} {
			if err := DumpPartition(&limitedWriter{left: left}, format, nil, p); format != KamailioDomains && left < 8192 {
				require.ErrorIs(t, err, errFull, "%s after %d", name, left)
			}
		}
		require.ErrorIs(t, Dump(&limitedWriter{}, format, nil, p), errFull, name)
	}
}

// A dump is written as it is made: no write holds more than a few rows.
func TestDumpStreams(t *testing.T) {
	w := &limitedWriter{left: 1 << 30}
	require.NoError(t, DumpPartition(w, Complete, nil, partitionOf(t, manyRows(20000)...)))
	require.Less(t, 1<<30-w.left, 1<<30-1000000)
	require.LessOrEqual(t, w.most, 4096)
}

func manyRows(n int) []sipacl.AddressRow {
	rows := make([]sipacl.AddressRow, n)
	for i := range rows {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0})
		rows[i] = sipacl.AddressRow{Group: sipacl.GroupID(i % 7), Prefix: netip.PrefixFrom(a, 24+8*(i%2)), Info: "text of a row"}
	}
	return rows
}

// The documentation of Kamailio56Addresses says so, and the servers did.
func TestKamailio56HasOtherBuckets(t *testing.T) {
	p := partitionOf(t, sipacl.AddressRow{Group: 1, Prefix: netip.MustParsePrefix("2001:db8::1/128"), Info: "v6"})
	for format, bucket := range map[DumpFormat]int{KamailioAddresses: 5, Kamailio56Addresses: 37} {
		var b strings.Builder
		require.NoError(t, Dump(&b, format, nil, p))
		require.Equal(t, fmt.Sprintf(`[{"table":%d,"group":1,"item":{"ip":"2001:db8::1","port":0,"tag":"v6"}}]`, bucket), b.String())
	}
}
