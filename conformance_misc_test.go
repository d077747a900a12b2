package sipacl

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
)

func init() { conformance["opensips-misc"] = conformOpenSIPSMisc }

var (
	miscInsert = regexp.MustCompile(`(?i)^insert into (\w+) ?\(grp, ?ip, ?mask, ?port, ?proto, ?context_info\) values ?\((\d+), ?'([^']*)', ?(\d+), ?(\d+), ?'(\w+)', ?'([^']*)'\);?$`)
	miscDelete = regexp.MustCompile(`(?i)^delete from (\w+)(?: where (grp|ip|context_info) ?= ?'?([^']*?)'?)?;?$`)
	miscRename = regexp.MustCompile(`^alter table (\w+) rename to (\w+)$`)
)

// conformOpenSIPSMisc plays the recorded reloads and asks after each step: what
// a reload puts in service, and what stays when it fails. The records about
// start-up are about the syntax of module parameters, which we have none of;
// and those from the step "blob" on show a column cache of db_sqlite.
func conformOpenSIPSMisc(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	tables := map[string][]AddressRow{}
	row := func(group GroupID, ip, mask, info string) AddressRow {
		return AddressRow{Group: group, Prefix: netip.MustParsePrefix(ip + "/" + mask), Info: info}
	}
	tables["address"] = []AddressRow{row(1, "10.0.0.1", "32", "def")}
	tables["t1"] = []AddressRow{row(1, "10.0.0.1", "32", "t1row")}
	source := func(table string) []AddressSource {
		return []AddressSource{RowFunc[AddressRow](func(context.Context) iter.Seq2[AddressRow, error] {
			rows, ok := tables[table]
			if !ok {
				return func(yield func(AddressRow, error) bool) { yield(AddressRow{}, errors.New("no such table")) }
			}
			return Rows(rows...).Rows(context.Background())
		})}
	}
	perm, err := Open(t.Context(), Config{Partitions: []PartitionConfig{{Sources: source("address")}, {Name: "p1", Sources: source("t1")}}})
	require.NoError(t, err)

	blob := false
	for line := range lines {
		var v struct {
			ID, Kind, Step, Proto, MI string
			SQL                       []string
			Params                    struct{ Partition *string }
			Reply                     json.RawMessage
			Rc                        int
			Probes                    []struct {
				IP        string
				Group     GroupID
				Partition *string
				Rc        int
				Info      *string
			}
		}
		decode(t, line, &v)
		switch {
		case v.Kind == "proto-arg":
			proto, err := ParseProto(v.Proto)
			got := err == nil && checkMisc(perm, "p1", Query{Group: 1, Addr: netip.MustParseAddr("10.0.0.1"), Proto: proto}).Allowed
			switch {
			case got == (v.Rc > 0):
				r.agree()
			case v.Proto == "":
				r.differ("addr-proto") // empty is an error in ParseProto
			default:
				r.unexplained("%s: protocol %q: %v, recorded is %d", v.ID, v.Proto, got, v.Rc)
			}
			continue
		case v.Kind != "reload" || blob:
			continue
		case strings.HasPrefix(v.Step, "blob"):
			blob = true
			continue
		}
		for _, sql := range v.SQL {
			if m := miscInsert.FindStringSubmatch(sql); m != nil {
				if r, ok := miscRow(m[2:]); ok {
					tables[m[1]] = append(tables[m[1]], r)
				} else {
					blob = true
				}
			} else if m := miscDelete.FindStringSubmatch(sql); m != nil {
				tables[m[1]] = slices.DeleteFunc(slices.Clone(tables[m[1]]), func(r AddressRow) bool {
					is := map[string]string{"": m[3], "grp": strconv.Itoa(int(r.Group)), "ip": r.Prefix.Addr().String(), "context_info": r.Info}
					return is[strings.ToLower(m[2])] == m[3]
				})
			} else if m := miscRename.FindStringSubmatch(sql); m != nil {
				tables[m[2]] = tables[m[1]]
				delete(tables, m[1])
			} else {
				blob = true // a table that we cannot play
			}
		}
		if v.MI == "address_reload" {
			var err error
			if v.Params.Partition == nil {
				_, err = perm.Reload(t.Context())
			} else {
				_, err = perm.Reload(t.Context(), "address:"+*v.Params.Partition)
			}
			if ok := string(v.Reply) == `"OK"`; ok == (err == nil) {
				r.agree()
			} else {
				r.unexplained("%s: %s: %v, recorded is %s", v.ID, v.Step, err, v.Reply)
			}
		}
		for _, p := range v.Probes {
			name := defaultPartition
			if p.Partition != nil {
				name = *p.Partition
			}
			addr, _ := netip.ParseAddr(p.IP) // without one nothing matches
			d := checkMisc(perm, name, Query{Group: p.Group, Addr: addr, Any: AnyPort | AnyProto})
			if d.Allowed == (p.Rc > 0) && (p.Info == nil || d.Info == *p.Info) {
				r.agree()
			} else {
				r.unexplained("%s: %s: %s in %s: %s, recorded is %d", v.ID, v.Step, p.IP, name, d, p.Rc)
			}
		}
	}
}

// miscRow reads group, address, mask, port, protocol and info.
func miscRow(v []string) (r AddressRow, ok bool) {
	group, gerr := strconv.ParseUint(v[0], 10, 32)
	prefix, perr := netip.ParsePrefix(v[1] + "/" + v[2])
	port, err := strconv.ParseUint(v[3], 10, 16)
	proto, err2 := ParseProto(v[4])
	return AddressRow{Group: GroupID(group), Prefix: prefix, Port: uint16(port), Proto: proto, Info: v[5]},
		gerr == nil && perr == nil && err == nil && err2 == nil
}

func checkMisc(perm *Permissions, partition string, q Query) Decision {
	p, err := perm.Partition(partition)
	if err != nil {
		return Decision{}
	}
	return p.Current().CheckAddress(q)
}
