package admin

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// This file compares what people are shown with what the originals showed,
// where both hold the same rows. TestConformance of the root is about the rest.

// records yields the records of a file in ../testdata/vectors.
func records[R any](t *testing.T, name string) iter.Seq[R] {
	return func(yield func(R) bool) {
		for line := range vectors.Lines(t, "../testdata/vectors/"+name+".jsonl.gz") {
			var r R
			if vectors.Decode(t, line, &r); !yield(r) {
				return
			}
		}
	}
}

// cell is a recorded value as a driver gives it.
func cell(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	return n.String()
}

// plain reports whether a table that holds ip shows it as the servers did.
func plain(ip any) bool {
	text, _ := ip.(string)
	a, err := netip.ParseAddr(text)
	return err == nil && !a.Is4In6() || plainName.MatchString(text)
}

var plainName = regexp.MustCompile(`^[a-z0-9.]+[a-z]$`)

// Kamailio's dumps are in the same order, in both versions.
func TestKamailioDumpsAsRecorded(t *testing.T) {
	type record struct {
		Kind, ID string
		Rows     []struct {
			Grp, Mask, Port, Tag any
			IPAddr               any `json:"ip_addr"`
		}
		Reload map[string]string
		Dump   map[string]struct{ Address, Subnet, Domain []json.RawMessage }
	}
	tables := 0
	for r := range records[record](t, "kamailio-address") {
		if r.Kind != "table" || r.Rows == nil || r.Reload["master"] != "Reload OK" {
			continue
		}
		var rows [][]any
		same := true
		for i, w := range r.Rows {
			same = same && plain(w.IPAddr)
			rows = append(rows, []any{int64(i + 1), cell(w.Grp), w.IPAddr, cell(w.Mask), cell(w.Port), w.Tag})
		}
		db := fakedb.Open(t)
		db.Set("address", []string{"id", "grp", "ip_addr", "mask", "port", "tag"}, rows...)
		source := sipacl.KamailioAddresses(db.SQL())
		source.Names = true
		p, err := sipacl.NewPartition(t.Context(), source)
		if err != nil || !same {
			continue
		}
		tables++
		for version, format := range map[string]DumpFormat{"master": KamailioAddresses, "5.6.3": Kamailio56Addresses} {
			d := r.Dump[version]
			require.Equal(t, compactAll(t, d.Address), destinations(t, p, format), "%s in %s", r.ID, version)
			require.Equal(t, compactAll(t, withoutHostBits(t, d.Subnet)), destinations(t, p, KamailioSubnets), "%s in %s", r.ID, version)
			require.Equal(t, compactAll(t, d.Domain), destinations(t, p, KamailioDomains), "%s in %s", r.ID, version)
		}
	}
	require.GreaterOrEqual(t, tables, 27)
}

// The order of OpenSIPS's dumps depends on the size of its tables, so they are
// compared as sets.
func TestOpenSIPSDumpsAsRecorded(t *testing.T) {
	type record struct {
		ID, Reload string
		Rows       []struct {
			ID, Grp, IP, Mask, Port, Proto, Pattern any
			ContextInfo                             any `json:"context_info"`
		}
		AddressDump []json.RawMessage `json:"address_dump"`
		SubnetDump  []json.RawMessage `json:"subnet_dump"`
	}
	tables := 0
	for r := range records[record](t, "opensips-address") {
		var rows [][]any
		same := r.Reload == "OK"
		for _, w := range r.Rows {
			same = same && plain(w.IP)
			rows = append(rows, []any{cell(w.ID), cell(w.Grp), w.IP, cell(w.Mask), cell(w.Port), w.Proto, w.Pattern, w.ContextInfo})
		}
		db := fakedb.Open(t)
		db.Set("address", []string{"id", "grp", "ip", "mask", "port", "proto", "pattern", "context_info"}, rows...)
		p, err := sipacl.NewPartition(t.Context(), sipacl.OpenSIPSAddresses(db.SQL()))
		if err != nil || !same {
			continue
		}
		tables++
		require.ElementsMatch(t, compactAll(t, r.AddressDump), destinations(t, p, OpenSIPSAddresses), r.ID)
		require.ElementsMatch(t, compactAll(t, r.SubnetDump), destinations(t, p, OpenSIPSSubnets), r.ID)
	}
	require.GreaterOrEqual(t, tables, 29)
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

func destinations(t *testing.T, p sipacl.Partition, format DumpFormat) []string {
	var b bytes.Buffer
	require.NoError(t, DumpPartition(&b, format, nil, p))
	var d struct{ Destinations []json.RawMessage }
	if format.kamailio() {
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

// aclRecord is one recorded Asterisk process.
type aclRecord struct {
	ID       string
	Conf     *string `json:"acl_conf"`
	Files    map[string]string
	Options  struct{ Systemname string }
	Realtime *struct {
		Schema string
		Rows   []map[string]any
	}
	Phases []struct {
		Write  *struct{ File, Text string }
		Unlink string
		Show   map[string]string `json:"acl_show"`
		Log    []string          `json:"load_log"`
	}
}

// What loads here and there without a complaint is shown alike. Names in
// brackets with blanks and long ones are read otherwise (acl-blanks, acl-long).
func TestShowAsRecorded(t *testing.T) {
	shown := 0
	for r := range records[aclRecord](t, "asterisk-acl") {
		files, sources := r.sources(t)
		for i, p := range r.Phases {
			if p.Write != nil {
				files[p.Write.File] = &fstest.MapFile{Data: []byte(p.Write.Text)}
			}
			delete(files, p.Unlink)
			acls, err := sipacl.NewACLs(t.Context(), sources...)
			if err != nil || len(p.Log) > 0 || oddName.Match(files["acl.conf"].Data) {
				continue
			}
			for command, want := range p.Show {
				shown++
				got := ShowACLs(acls.Current())
				if name, ok := strings.CutPrefix(command, "acl show "); ok {
					got = ShowACL(acls.Current(), name)
				}
				require.Equal(t, want, got, "%s phase %d: %s", r.ID, i, command)
			}
		}
	}
	require.GreaterOrEqual(t, shown, 206)
}

var oddName = regexp.MustCompile(`\[( |[^]]{80,})`)

// sources are what the process began with; the files can be changed.
func (r aclRecord) sources(t *testing.T) (fstest.MapFS, []sipacl.ACLSource) {
	files := fstest.MapFS{}
	for name, text := range r.Files {
		files[name] = &fstest.MapFile{Data: []byte(text)}
	}
	if r.Conf != nil {
		files["acl.conf"] = &fstest.MapFile{Data: []byte(*r.Conf)}
	}
	sources := []sipacl.ACLSource{sipacl.ACLConf{FS: files}}
	if r.Realtime != nil {
		sources = append(sources, realtime(t, r.Realtime.Schema, r.Realtime.Rows, r.Options.Systemname))
	}
	return files, sources
}

var schemaColumns = regexp.MustCompile(`(?i)(\w+) (?:TEXT|INTEGER|VARCHAR|CHAR|INT|REAL)`)

// realtime is the recorded table; columns that a row lacks are NULL, and letter
// case does not matter.
func realtime(t *testing.T, schema string, rows []map[string]any, systemName string) sipacl.ACLSource {
	var columns []string
	for _, m := range schemaColumns.FindAllStringSubmatch(schema, -1) {
		columns = append(columns, strings.ToLower(m[1]))
	}
	var cells [][]any
	for _, row := range rows {
		values := make([]any, len(columns))
		for name, v := range row {
			if i := slices.Index(columns, strings.ToLower(name)); i >= 0 {
				values[i] = cell(v)
			}
		}
		cells = append(cells, values)
	}
	db := fakedb.Open(t)
	db.Set("acltable", columns, cells...)
	s := sipacl.SQLACLs{SQL: sipacl.SQL{DB: db.SQL()}, SystemName: systemName}
	if !slices.Contains(columns, "rule_order") {
		s.OrderCol = sipacl.NoColumn
	}
	return s
}
