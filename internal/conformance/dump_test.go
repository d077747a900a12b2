package conformance

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// Where we hold the rows that the original held, the dumps show the same:
// Kamailio's in the same order, OpenSIPS's, whose order hangs on the size of
// its tables, as sets.
func TestDumpAsRecorded(t *testing.T) {
	t.Run("opensips", func(t *testing.T) {
		tables := 0
		for line := range vectors.Lines(t, recordings(t, "opensips-address")) {
			var rec struct {
				AddressDump []json.RawMessage `json:"address_dump"`
				SubnetDump  []json.RawMessage `json:"subnet_dump"`
			}
			var table openSIPSTable
			vectors.Decode(t, line, &rec)
			vectors.Decode(t, line, &table)
			p := holdsTheSame(t, table.recorded(t), original{})
			if p == (sipacl.Partition{}) {
				continue
			}
			tables++
			for format, want := range map[sipacl.DumpFormat][]json.RawMessage{sipacl.DumpOpenSIPSAddresses: rec.AddressDump, sipacl.DumpOpenSIPSSubnets: rec.SubnetDump} {
				require.ElementsMatch(t, compactAll(t, want), destinations(t, p, format), table.ID)
			}
		}
		require.Greater(t, tables, 20)
	})
	t.Run("kamailio", func(t *testing.T) {
		tables := 0
		for line := range vectors.Lines(t, recordings(t, "kamailio-address")) {
			var rec struct {
				Dump map[string]struct{ Address, Subnet, Domain []json.RawMessage }
			}
			var table kamailioTable
			if vectors.Decode(t, line, &table); table.Kind != "table" || table.Reload["master"] != "Reload OK" {
				continue
			}
			vectors.Decode(t, line, &rec)
			p := holdsTheSame(t, table.recorded(t), original{kamailio: true})
			if p == (sipacl.Partition{}) {
				continue
			}
			tables++
			d := rec.Dump["master"]
			for format, want := range map[sipacl.DumpFormat][]json.RawMessage{
				sipacl.DumpKamailioAddresses: d.Address, sipacl.DumpKamailioSubnets: withoutHostBits(t, d.Subnet), sipacl.DumpKamailioDomains: d.Domain,
			} {
				require.Equal(t, compactAll(t, want), destinations(t, p, format), table.ID)
			}
		}
		require.Greater(t, tables, 20)
	})
}

// holdsTheSame loads a recorded table, unless a decision changes its rows.
func holdsTheSame(t *testing.T, rt recordedTable, of original) sipacl.Partition {
	rt.put(false)
	p, err := sipacl.NewPartition(t.Context(), rt.source(false))
	was, is := loadModel(of, 0, rt.next(0)), loadModel(of, allDecisions, rt.next(allDecisions))
	if err != nil || !reflect.DeepEqual(was.rows, is.rows) {
		return sipacl.Partition{}
	}
	return p
}

func compactAll(t *testing.T, all []json.RawMessage) []string {
	texts := []string{}
	for _, v := range all {
		var b bytes.Buffer
		require.NoError(t, json.Compact(&b, v))
		texts = append(texts, b.String())
	}
	return texts
}

func destinations(t *testing.T, p sipacl.Partition, format sipacl.DumpFormat) []string {
	var b bytes.Buffer
	require.NoError(t, p.Dump(&b, format))
	var d struct{ Destinations []json.RawMessage }
	if format >= sipacl.DumpKamailioAddresses {
		require.NoError(t, json.Unmarshal(b.Bytes(), &d.Destinations))
	} else {
		require.NoError(t, json.Unmarshal(b.Bytes(), &d))
	}
	return compactAll(t, d.Destinations)
}

// withoutHostBits masks the addresses of Kamailio's subnets, which it shows
// as they were written.
func withoutHostBits(t *testing.T, all []json.RawMessage) []json.RawMessage {
	out := []json.RawMessage{}
	for _, v := range all {
		var e struct {
			Item struct {
				IP   netip.Addr
				Mask int
			}
		}
		require.NoError(t, json.Unmarshal(v, &e))
		masked := netip.PrefixFrom(e.Item.IP, e.Item.Mask).Masked().Addr()
		out = append(out, bytes.Replace(v, []byte(`"`+e.Item.IP.String()+`"`), []byte(`"`+masked.String()+`"`), 1))
	}
	return out
}
