package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// miscStep is one step of a recorded process: statements for its database, a
// management command, and questions after it.
type miscStep struct {
	ID, Kind, Step, Proto, MI string
	SQL                       []string
	Params                    struct{ Partition *string }
	Reply                     json.RawMessage
	RC                        int
	Probes                    []miscProbe
}

type miscProbe struct {
	IP        string
	Group     sipacl.GroupID
	Partition *string
	RC        int
	Info      *string
}

// askOpenSIPSMisc plays the recorded reloads and asks after each step: what a
// reload puts in service, and what stays when it fails. The records about
// start-up are about the syntax of module parameters, which we have none of;
// and those from the step "blob" on show a column cache of db_sqlite.
func askOpenSIPSMisc(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	m := openMisc(t)
	for line := range lines {
		var s miscStep
		vectors.Decode(t, line, &s)
		switch {
		case s.Kind == "proto-arg":
			m.askProto(r, s)
		case s.Kind == "reload" && !m.blob:
			m.play(t, r, s)
		}
	}
}

// misc is the process that the steps are played in.
type misc struct {
	tables map[string][]sipacl.AddressRow
	perm   *sipacl.Permissions
	blob   bool // the steps cannot be played any more
}

// openMisc starts with what the recorded process had.
func openMisc(t *testing.T) *misc {
	row := func(info string) []sipacl.AddressRow {
		return []sipacl.AddressRow{{Group: 1, Prefix: netip.MustParsePrefix("10.0.0.1/32"), Info: info}}
	}
	m := &misc{tables: map[string][]sipacl.AddressRow{"address": row("def"), "t1": row("t1row")}}
	var err error
	m.perm, err = sipacl.Open(t.Context(), sipacl.Config{Partitions: []sipacl.PartitionConfig{
		{Sources: []sipacl.AddressSource{m.source("address")}},
		{Name: "p1", Sources: []sipacl.AddressSource{m.source("t1")}},
	}})
	require.NoError(t, err)
	return m
}

func (m *misc) source(table string) sipacl.AddressSource {
	return sipacl.RowFunc[sipacl.AddressRow](func(ctx context.Context) iter.Seq2[sipacl.AddressRow, error] {
		if rows, ok := m.tables[table]; ok {
			return sipacl.Rows(rows...).Rows(ctx)
		}
		return func(yield func(sipacl.AddressRow, error) bool) {
			yield(sipacl.AddressRow{}, errors.New("no such table"))
		}
	})
}

// askProto asks with the protocol as an argument of check_address.
func (m *misc) askProto(r *report, s miscStep) {
	proto, err := sipacl.ParseProto(s.Proto)
	q := sipacl.Query{Group: 1, Addr: netip.MustParseAddr("10.0.0.1"), Proto: proto}
	switch got := err == nil && m.check("p1", q).Allowed; {
	case got == (s.RC > 0):
		r.agree()
	case s.Proto == "":
		r.differ("addr-proto") // empty is an error in ParseProto
	default:
		r.unexplained("%s: protocol %q: %v, recorded is %d", s.ID, s.Proto, got, s.RC)
	}
}

func (m *misc) play(t *testing.T, r *report, s miscStep) {
	if m.blob = strings.HasPrefix(s.Step, "blob"); m.blob {
		return
	}
	for _, sql := range s.SQL {
		m.blob = !m.exec(sql) || m.blob
	}
	if s.MI == "address_reload" {
		m.reload(t, r, s)
	}
	for _, p := range s.Probes {
		m.probe(r, s, p)
	}
}

var (
	miscInsert = regexp.MustCompile(`(?i)^insert into (\w+) ?\(grp, ?ip, ?mask, ?port, ?proto, ?context_info\) values ?\((\d+), ?'([^']*)', ?(\d+), ?(\d+), ?'(\w+)', ?'([^']*)'\);?$`)
	miscDelete = regexp.MustCompile(`(?i)^delete from (\w+)(?: where (grp|ip|context_info) ?= ?'?([^']*?)'?)?;?$`)
	miscRename = regexp.MustCompile(`^alter table (\w+) rename to (\w+)$`)
)

// exec plays a statement. ok is false for one that cannot be played.
func (m *misc) exec(sql string) (ok bool) {
	if f := miscInsert.FindStringSubmatch(sql); f != nil {
		return m.insert(f[1], f[2:])
	}
	if f := miscDelete.FindStringSubmatch(sql); f != nil {
		m.remove(f[1], strings.ToLower(f[2]), f[3])
		return true
	}
	if f := miscRename.FindStringSubmatch(sql); f != nil {
		m.tables[f[2]] = m.tables[f[1]]
		delete(m.tables, f[1])
		return true
	}
	return false
}

// insert adds a row of group, address, mask, port, protocol and info.
func (m *misc) insert(table string, v []string) (ok bool) {
	group, err1 := strconv.ParseUint(v[0], 10, 32)
	prefix, err2 := netip.ParsePrefix(v[1] + "/" + v[2])
	port, err3 := strconv.ParseUint(v[3], 10, 16)
	proto, err4 := sipacl.ParseProto(v[4])
	if errors.Join(err1, err2, err3, err4) != nil {
		return false
	}
	m.tables[table] = append(m.tables[table], sipacl.AddressRow{
		Group: sipacl.GroupID(group), Prefix: prefix, Port: uint16(port), Proto: proto, Info: v[5],
	})
	return true
}

// remove takes out the rows with this value in the column; without a column,
// all.
func (m *misc) remove(table, column, value string) {
	m.tables[table] = slices.DeleteFunc(slices.Clone(m.tables[table]), func(r sipacl.AddressRow) bool {
		is := map[string]string{"": value, "grp": strconv.Itoa(int(r.Group)), "ip": r.Prefix.Addr().String(), "context_info": r.Info}
		return is[column] == value
	})
}

func (m *misc) reload(t *testing.T, r *report, s miscStep) {
	var parts []string
	if s.Params.Partition != nil {
		parts = []string{"address:" + *s.Params.Partition}
	}
	_, err := m.perm.Reload(t.Context(), parts...)
	if ok := string(s.Reply) == `"OK"`; ok == (err == nil) {
		r.agree()
	} else {
		r.unexplained("%s: %s: %v, recorded is %s", s.ID, s.Step, err, s.Reply)
	}
}

func (m *misc) probe(r *report, s miscStep, p miscProbe) {
	name := "default"
	if p.Partition != nil {
		name = *p.Partition
	}
	addr, _ := netip.ParseAddr(p.IP) // without one nothing matches
	d := m.check(name, sipacl.Query{Group: p.Group, Addr: addr, Any: sipacl.AnyPort | sipacl.AnyProto})
	if d.Allowed == (p.RC > 0) && (p.Info == nil || d.Info == *p.Info) {
		r.agree()
	} else {
		r.unexplained("%s: %s: %s in %s: %s, recorded is %d", s.ID, s.Step, p.IP, name, d, p.RC)
	}
}

// check asks a partition; one that there is not refuses.
func (m *misc) check(partition string, q sipacl.Query) sipacl.Decision {
	p, err := m.perm.Partition(partition)
	if err != nil {
		return sipacl.Decision{}
	}
	return p.Current().CheckAddress(q)
}
