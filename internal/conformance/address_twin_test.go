package conformance

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/lines"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
)

// FuzzAddressRow reads one row as a row of OpenSIPS, of Kamailio and of a
// file, and requires that the library and the model refuse the same rows and
// make the same of the others.
func FuzzAddressRow(f *testing.F) {
	for _, ip := range twinAddresses {
		f.Add("1", ip, "32", "0", "any")
	}
	for _, n := range twinNumbers {
		f.Add(n, "10.0.0.1", n, n, "UDP ")
		f.Add("0", "2001:db8::1", n, "5060", "")
	}
	f.Fuzz(func(t *testing.T, grp, ip, mask, port, proto string) {
		db := fakedb.Open(t)
		db.Set("address", openSIPSColumns, []any{int64(1), grp, ip, mask, port, proto, nil, nil})
		same(t, sipacl.OpenSIPSAddresses(db.SQL()), original{},
			modelCells{n: 1, group: grp, ip: ip, mask: mask, port: port, proto: proto})

		db.Set("address", kamailioColumns, []any{int64(1), grp, ip, mask, port, nil})
		source := sipacl.KamailioAddresses(db.SQL())
		source.Names = true
		same(t, source, original{kamailio: true}, modelCells{n: 1, group: grp, ip: ip, mask: mask, port: port})

		line := strings.Join([]string{grp, ip, mask, port}, " ")
		if strings.ContainsAny(line, "\n\ufeff") || len(line) > lines.Max {
			return
		}
		file := fileSource(line)
		file.Names = true
		same(t, file, original{kamailio: true, file: true}, wholeColumns(line)...)
	})
}

// same requires that source and cells, at most one row, load alike.
func same(t *testing.T, source sipacl.AddressSource, of original, cells ...modelCells) {
	t.Helper()
	want := loadModel(of, allDecisions, cells)
	p, err := sipacl.NewPartition(t.Context(), source)
	require.Equal(t, len(want.dropped) > 0, err != nil, "%+v: %v", cells, err)
	if err != nil {
		return
	}
	for r := range p.Current().Rows() {
		if r.Proto == sipacl.ProtoNone {
			require.Empty(t, want.rows)
			continue
		}
		require.Len(t, want.rows, 1)
		w := want.rows[0]
		require.Equal(t, w.prefix, r.Prefix)
		require.Equal(t, w.name, r.Host)
		require.Equal(t, fmt.Sprint(w.group, w.port), fmt.Sprint(uint32(r.Group), r.Port))
		require.Equal(t, w.proto, strings.TrimPrefix(r.Proto.String(), "any"))
	}
}

var twinAddresses = []string{
	"10.0.0.1", "10.0.0.", "10.0.0.0", "010.0.0.1", " 10.0.0.1 ", "10.0.0.0/8", "0.0.0.0", "...", "300.1.1.1",
	"::", "::1", "2001:db8::1", "[2001:db8::1]", "2001:db8::", "12001:db8::1", "::ffff:10.0.0.1", "::ffff:a00:1",
	"[::ffff:a00:2]", "::ffff:0:0", "fe80::1%eth0", "2001:db8::d:", "gw.example.com", "GW.example.com.", "gw..a", "5.5.5", "",
}

var twinNumbers = []string{
	"0", "1", "24", "32", "33", "64", "96", "97", "120", "128", "129", "-1", "-0", "+1", "00032", "1x", "x", "", " 32 ",
	"65535", "65536", "2147483648", "4294967295", "4294967296", "4294967328", "99999999999999999999", "1.0", "1e1",
}

// TestTwinOfTheModel asks random tables random questions.
func TestTwinOfTheModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(s []string) string { return s[rnd.IntN(len(s))] }
	small := func() string { return strconv.Itoa(rnd.IntN(4)) }
	for i := range 200 {
		of := original{kamailio: i%2 == 1}
		db := fakedb.Open(t)
		var cells []modelCells
		var rows [][]any
		for n := 1; n < 2+rnd.IntN(20); n++ {
			c := modelCells{n: n, group: small(), ip: pick(twinAddresses), mask: pick(twinNumbers[2:9]), port: small(),
				proto: pick([]string{"any", "udp", "TCP", "none"}), info: strconv.Itoa(n)}
			if rnd.IntN(3) == 0 {
				c.pattern = pick([]string{"a*", "*b", "?", "[ab]*", ".*", ""})
			}
			cells = append(cells, c)
			rows = append(rows, []any{int64(n), c.group, c.ip, c.mask, c.port, c.proto, c.pattern, c.info})
		}
		source := sipacl.OpenSIPSAddresses(db.SQL())
		columns := openSIPSColumns
		if of.kamailio {
			source = sipacl.KamailioAddresses(db.SQL())
			source.Names = true
			columns = []string{"id", "grp", "ip_addr", "mask", "port", "proto", "pattern", "tag"}
			for i := range cells {
				cells[i].proto, cells[i].pattern = nil, nil
			}
		}
		db.Set("address", columns, rows...)
		p, model := serves(t, sipacl.SkipBad[sipacl.AddressRow](source)), loadModel(of, allDecisions, cells)
		for range 40 {
			q := modelQuery{group: int64(rnd.IntN(4)), port: int64(rnd.IntN(4)), ip: pick(twinAddresses), anyGroup: rnd.IntN(4) == 0}
			if !of.kamailio {
				q.proto = pick([]string{"", "any", "udp", "tcp"})
			}
			if q.anyGroup { // as of a socket: it has a port and a protocol
				q.port++
				if !of.kamailio {
					q.proto = "udp"
				}
			}
			if s := pick([]string{"", "a", "ab", ".b"}); rnd.IntN(2) == 0 && !of.kamailio {
				q.subject = &s
			}
			want, got := model.ask(q), askTable(p.Current(), of, q)
			require.Equal(t, want.row, got.Origin.Line, "table %d: %+v of %+v", i, q, cells)
			require.Equal(t, want.row != 0, got.Allowed)
		}
	}
}
