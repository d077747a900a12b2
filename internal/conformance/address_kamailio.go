package conformance

import (
	"cmp"
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

type kamailioRow struct {
	Grp, Mask, Port, Tag any
	IPAddr               any `json:"ip_addr"`
}

type kamailioTable struct {
	Kind, ID, Backend string
	Rows              []kamailioRow
	BaseRows          []kamailioRow `json:"base_rows"`
	Text              *string
	BaseText          *string `json:"base_text"`
	Reload            map[string]string
	Params            struct {
		MaxSubnets int `json:"max_subnets"`
	}
}

type kamailioQuery struct {
	Table, Func string
	Group, Port json.Number
	Addr        *string
	Src         string
	Sport       json.Number
	Obs         map[string]struct {
		RC    *int
		Tags  []string
		Reply *string
	}
}

// kamailioBuild is a table as one build of Kamailio has it in service.
type kamailioBuild struct {
	*tableInService
	of original
}

func askKamailioAddress(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	tables := map[string]map[string]kamailioBuild{}
	for line := range lines {
		var table kamailioTable
		vectors.Decode(t, line, &table)
		if table.Kind == "table" {
			tables[table.ID] = table.load(t, r)
			continue
		}
		var q kamailioQuery
		vectors.Decode(t, line, &q)
		for _, build := range slices.Sorted(maps.Keys(q.Obs)) {
			if b, ok := tables[q.Table][build]; ok {
				b.compare(b.of, q.model(build+" "+string(line)), q.recorded(build))
			} else {
				r.unexplained("%s: no table for build %s", q.Table, build)
			}
		}
	}
}

// load puts the table in service for each build. Those that refused it keep
// what they had.
func (k kamailioTable) load(t *testing.T, r *report) map[string]kamailioBuild {
	rt := k.recorded(t)
	builds, loads := map[string]kamailioBuild{}, map[bool]*tableInService{}
	for name, said := range k.Reload {
		of := rt.of
		of.longest, of.subnets = name == "master-lpm", cmp.Or(k.Params.MaxSubnets, 512)
		fails := said != "Reload OK"
		if m := loadModel(of, 0, rt.next(0)); (m.failed || rt.gone) != fails {
			r.complain("%s: the model's load fails: %v, recorded %s: %s", rt.name, m.failed, name, said)
		}
		if loads[fails] == nil {
			loads[fails] = rt.load(t, r, fails)
		}
		builds[name] = kamailioBuild{loads[fails], of}
	}
	return builds
}

var kamailioColumns = []string{"id", "grp", "ip_addr", "mask", "port", "tag"}

func (k kamailioTable) recorded(t *testing.T) recordedTable {
	if k.Rows == nil {
		return k.recordedFile()
	}
	db := fakedb.Open(t)
	read := func(from []kamailioRow) (cells []modelCells, rows [][]any) {
		for i, w := range from {
			cells = append(cells, modelCells{n: i + 1, group: w.Grp, ip: w.IPAddr, mask: w.Mask, port: w.Port, info: w.Tag})
			rows = append(rows, append([]any{int64(i + 1)}, driverRow(w.Grp, w.IPAddr, w.Mask, w.Port, w.Tag)...))
		}
		return cells, rows
	}
	next, nextRows := read(k.Rows)
	base, baseRows := read(k.BaseRows)
	return recordedTable{
		name: k.ID,
		of:   original{kamailio: true},
		next: func(decisions) []modelCells { return next },
		base: func(decisions) []modelCells { return base },
		put: func(base bool) {
			if db.Set("address", kamailioColumns, nextRows...); base {
				db.Set("address", kamailioColumns, baseRows...)
			}
		},
		source: func(skipBad bool) sipacl.AddressSource {
			s := sipacl.KamailioAddresses(db.SQL())
			s.Names = true
			return skipBadIf(skipBad, s)
		},
	}
}

func (k kamailioTable) recordedFile() recordedTable {
	const name = "address.list"
	dir := fstest.MapFS{}
	read := func(text *string) func(decisions) []modelCells {
		if text == nil {
			text = new(string)
		}
		return func(on decisions) []modelCells {
			if on.has(addrFile) {
				return wholeColumns(*text)
			}
			return cutColumns(*text)
		}
	}
	return recordedTable{
		name: k.ID,
		of:   original{kamailio: true, file: true},
		next: read(k.Text),
		base: read(k.BaseText),
		gone: k.Text == nil,
		put: func(base bool) {
			text := k.Text
			if base && k.BaseText != nil {
				text = k.BaseText
			} else if base {
				text = new(string)
			}
			if delete(dir, name); text != nil {
				dir[name] = &fstest.MapFile{Data: []byte(*text)}
			}
		},
		source: func(skipBad bool) sipacl.AddressSource {
			return skipBadIf(skipBad, sipacl.AddressFile{FS: dir, Name: name, Names: true})
		},
	}
}

// wholeColumns reads a file as decision addr-file has it.
func wholeColumns(text string) (cells []modelCells) {
	for i, line := range strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n") {
		line, _, _ = strings.Cut(line, "#")
		f := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' || c == '\r' })
		if len(f) == 0 {
			continue
		}
		c := modelCells{n: i + 1, refused: len(f) < 2 || len(f) > 5}
		if !c.refused {
			f = append(f, "0", "0")
			c.group, c.ip, c.mask, c.port = f[0], f[1], f[2], f[3]
			if len(f) == 7 {
				c.info = f[4]
			}
		}
		cells = append(cells, c)
	}
	return cells
}

// cutColumns reads a file as Kamailio does: in pieces of 1,023 bytes, numbers
// up to the first byte that is no digit, and the rest of a line ignored.
func cutColumns(text string) (cells []modelCells) {
	for i, line := range strings.SplitAfter(text, "\n") {
		for line != "" {
			piece := line[:min(1023, len(line))]
			line = line[len(piece):]
			piece, _, _ = strings.Cut(piece, "#")
			if c, ok := cutPiece(piece); ok {
				c.n = i + 1
				cells = append(cells, c)
			}
		}
	}
	return cells
}

func cutPiece(rest string) (c modelCells, ok bool) {
	const blanks = " \t\r\n"
	take := func(end func(rune) bool) string {
		rest = strings.TrimLeft(rest, blanks)
		n := strings.IndexFunc(rest, end)
		if n < 0 {
			n = len(rest)
		}
		word := rest[:n]
		rest = rest[n:]
		return word
	}
	number := func() string {
		if n := take(func(c rune) bool { return c < '0' || c > '9' }); n != "" {
			return n
		}
		return "0"
	}
	word := func() any {
		if w := take(func(c rune) bool { return strings.ContainsRune(blanks, c) }); w != "" {
			return w
		}
		return nil
	}
	if strings.Trim(rest, blanks) == "" {
		return c, false
	}
	c.group, c.ip = number(), word()
	c.mask, c.port, c.info = number(), number(), word()
	return c, true
}

func (q kamailioQuery) model(text string) modelQuery {
	m := modelQuery{text: text, ip: q.Src, anyGroup: strings.HasSuffix(q.Func, "_group")}
	m.group, _ = q.Group.Int64()
	m.port, _ = q.Sport.Int64()
	if q.Addr != nil {
		m.ip = *q.Addr
		m.port, _ = q.Port.Int64()
	} else if q.Group == "" {
		m.group = 1 // the default of allow_source_address
	}
	m.socket = q.Addr == nil
	return m
}

func (q kamailioQuery) recorded(build string) recordedAnswer {
	o := q.Obs[build]
	if o.RC == nil { // returning group 0 stopped the script before it could look
		return recordedAnswer{sawGroup: true}
	}
	a := recordedAnswer{rc: *o.RC, sawInfo: true}
	if len(o.Tags) > 0 {
		a.info = &o.Tags[0]
	}
	return a
}
