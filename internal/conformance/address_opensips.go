package conformance

import (
	"encoding/json"
	"iter"
	"testing"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// openSIPSTable is a recorded table, with the questions that were put to it.
type openSIPSTable struct {
	ID, Table, Reload string
	Rows              []struct {
		ID                                  int
		Grp, IP, Mask, Port, Proto, Pattern any
		ContextInfo                         any `json:"context_info"`
	}
	Queries []json.RawMessage
}

type openSIPSQuery struct {
	Fn               string
	Grp, Port, Group json.Number
	IP, Proto        string
	SrcIP            string      `json:"src_ip"`
	SrcPort          json.Number `json:"src_port"`
	Transport        string
	Pattern          *string
	RC               int
	Match            bool
	ContextInfo      *string `json:"context_info"`
}

func askOpenSIPSAddress(of original) asker {
	return func(t *testing.T, r *report, lines iter.Seq[[]byte]) {
		for line := range lines {
			var table openSIPSTable
			vectors.Decode(t, line, &table)
			s := table.recorded(t).load(t, r, false)
			if table.Reload != "OK" {
				r.complain("%s: recorded reload %q", table.Table, table.Reload)
			}
			for _, line := range table.Queries {
				var q openSIPSQuery
				vectors.Decode(t, line, &q)
				s.compare(of, q.model(string(line)), q.recorded())
			}
		}
	}
}

var openSIPSColumns = []string{"id", "grp", "ip", "mask", "port", "proto", "pattern", "context_info"}

func (o openSIPSTable) recorded(t *testing.T) recordedTable {
	db := fakedb.Open(t)
	var cells []modelCells
	var rows [][]any
	for _, w := range o.Rows {
		cells = append(cells, modelCells{w.ID, w.Grp, w.IP, w.Mask, w.Port, w.Proto, w.Pattern, w.ContextInfo, false})
		rows = append(rows, append([]any{int64(w.ID)}, driverRow(w.Grp, w.IP, w.Mask, w.Port, w.Proto, w.Pattern, w.ContextInfo)...))
	}
	return recordedTable{
		name: o.ID + " " + o.Table,
		next: func(decisions) []modelCells { return cells },
		base: func(decisions) []modelCells { return nil },
		put: func(base bool) {
			if db.Set("address", openSIPSColumns, rows...); base {
				db.Set("address", openSIPSColumns)
			}
		},
		source: func(skipBad bool) sipacl.AddressSource {
			return skipBadIf(skipBad, sipacl.OpenSIPSAddresses(db.SQL()))
		},
	}
}

func (q openSIPSQuery) model(text string) modelQuery {
	m := modelQuery{text: text, ip: q.IP, proto: q.Proto, subject: q.Pattern}
	m.group, _ = q.Grp.Int64()
	m.port, _ = q.Port.Int64()
	if q.Fn != "check_address" {
		m.ip, m.proto, m.socket, m.anyGroup = q.SrcIP, q.Transport, true, q.Fn == "get_source_group"
		m.port, _ = q.SrcPort.Int64()
	}
	return m
}

func (q openSIPSQuery) recorded() recordedAnswer {
	a := recordedAnswer{rc: q.RC, info: q.ContextInfo}
	a.sawGroup = q.Fn == "get_source_group"
	a.sawInfo = !a.sawGroup
	n, _ := q.Group.Int64()
	a.group = uint32(n)
	return a
}
