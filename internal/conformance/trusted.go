package conformance

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// trustedRecord is a recorded table, or a question to one and the answers of
// several builds.
type trustedRecord struct {
	Kind, ID, Table, Func           string
	Rows                            []trustedModelRow
	Src, IP, Proto, Transport, From string
	Ruri, Furi                      string
	Obs                             map[string]struct {
		RC   int
		Tags []string // the newest first
	}
}

func askKamailioTrusted(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	tables := map[string][]trustedModelRow{}
	for line := range lines {
		var v trustedRecord
		vectors.Decode(t, line, &v)
		if v.Kind == "table" {
			tables[v.ID] = v.Rows
			continue
		}
		rows, ok := tables[v.Table]
		require.True(t, ok || len(v.Obs) == 0, "%s", line)
		for build, obs := range v.Obs {
			q := v.question()
			q.live, q.all = strings.Contains(build, "db_mode=0"), strings.Contains(build, "peer_tag_mode=1")
			q.name = v.Table + " " + build + " " + v.Func
			slices.Reverse(obs.Tags)
			q.compare(t, r, rows, q.answer(max(obs.RC, 0), obs.Tags))
		}
	}
}

// trustedQuestion is one question to the trusted table.
type trustedQuestion struct {
	name                     string
	src, proto, from, target string
	live, all                bool // db_mode=0, peer_tag_mode=1
}

func (v trustedRecord) question() trustedQuestion {
	q := trustedQuestion{src: v.Src, proto: v.Transport, target: v.Ruri}
	if v.IP != "" {
		q.src, q.proto = v.IP, v.Proto
	}
	if q.from = v.Furi; v.Furi == "" {
		var ok bool
		if q.from, ok = modelAddress(v.From); !ok {
			q.from = "\x00" // no pattern matches it
		}
	}
	return q
}

// trustedAnswer is what a script sees: how many rows matched, one at most
// without peer_tag_mode=1, and their tags in the order in which they are
// pushed.
type trustedAnswer struct {
	rows int
	tags []string
}

func (q trustedQuestion) answer(rows int, tags []string) trustedAnswer {
	switch {
	case rows == 0:
		return trustedAnswer{}
	case !q.all:
		rows = 1
	}
	return trustedAnswer{rows, tags}
}

// shown is the answer as the recorder shows it: with the last three tags.
func (a trustedAnswer) shown() string {
	return trustedAnswer{a.rows, a.tags[max(len(a.tags)-3, 0):]}.String()
}

func (a trustedAnswer) String() string {
	if a.rows == 0 {
		return "no"
	}
	return fmt.Sprintf("%d %q", a.rows, a.tags)
}

// compare asks us, and explains an answer that differs.
func (q trustedQuestion) compare(t *testing.T, r *report, rows []trustedModelRow, want trustedAnswer) {
	if was := trustedModel(rows, q, nil); was.shown() != want.shown() {
		r.unexplained("%+v: the model says %s, recorded is %s", q, was, want)
		return
	}
	table, err := loadTrusted(t, rows)
	if bad := trustedLint(rows); err != nil || len(bad) > 0 {
		q.compareRefused(t, r, rows, bad, err)
		return
	}
	got := q.ours(t, table, rows)
	if got.shown() == want.shown() {
		r.agree()
		return
	}
	ids := q.explain(rows, got)
	if ids == nil {
		r.unexplained("%+v: says %s, recorded is %s", q, got, want)
		return
	}
	r.differ(strings.Join(ids, "+"))
}

// explain returns the fewest decisions by which the model gives this answer.
func (q trustedQuestion) explain(rows []trustedModelRow, answer trustedAnswer) []string {
	for _, ids := range subsets("addr-proto", "trusted-canonical", "trusted-none", "trusted-order", "trusted-source") {
		on := ruleSwitches{}
		for _, id := range ids {
			on[id] = true
		}
		if trustedModel(rows, q, on).String() == answer.String() {
			return ids
		}
	}
	return nil
}

// subsets gives every choice of ids but the empty one, the small ones first.
func subsets(ids ...string) (all [][]string) {
	for bits := range 1 << len(ids) {
		var s []string
		for i, id := range ids {
			if bits>>i&1 == 1 {
				s = append(s, id)
			}
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b []string) int { return len(a) - len(b) })
	return all[1:]
}

// compareRefused checks that exactly the bad rows were refused. Without them
// all else must be as prescribed.
func (q trustedQuestion) compareRefused(t *testing.T, r *report, rows []trustedModelRow, bad map[int]string, err error) {
	var good []trustedModelRow
	ids := map[string]bool{}
	for i, row := range rows {
		named := err != nil && strings.Contains(err.Error(), fmt.Sprintf("trusted:id %d:", i+1))
		if named != (bad[i] != "") {
			r.unexplained("%s: row %d: lint %q, load %v", q.name, i+1, bad[i], err)
			return
		}
		if bad[i] == "" {
			good = append(good, row)
		} else {
			ids[bad[i]] = true
		}
	}
	scratch := newReport(q.name)
	q.compare(t, scratch, good, trustedModel(good, q, nil))
	if scratch.wrong > 0 {
		r.unexplained("%s: without the bad rows: %s", q.name, scratch.complaints)
		return
	}
	r.differ(strings.Join(slices.Sorted(maps.Keys(ids)), "+"))
}

// loadTrusted loads the rows through a database. A row's id is its number.
func loadTrusted(t *testing.T, rows []trustedModelRow) (*sipacl.TrustedTable, error) {
	db := fakedb.Open(t)
	value := func(p *string) any {
		if p == nil {
			return nil
		}
		return *p
	}
	var values [][]any
	for i, r := range rows {
		values = append(values, []any{int64(i + 1), r.Src, r.Proto, value(r.From), value(r.Ruri), value(r.Tag), int64(r.Priority)})
	}
	db.Set("trusted", []string{"id", "src_ip", "proto", "from_pattern", "ruri_pattern", "tag", "priority"}, values...)
	trusted, err := sipacl.NewTrusted(t.Context(), sipacl.SQLTrusted{SQL: sipacl.SQL{DB: db.SQL()}})
	return trusted.Current(), err
}

// ours is what the table answers. The steps of the trace that matched are the
// rows; whether the winner has a tag, its row says.
func (q trustedQuestion) ours(t *testing.T, table *sipacl.TrustedTable, rows []trustedModelRow) trustedAnswer {
	ask, err := q.query()
	if err != nil {
		return trustedAnswer{}
	}
	var tr sipacl.Trace
	d := table.Tracing(&tr).AllowTrusted(ask)
	require.Equal(t, table.AllowTrusted(ask), d)
	switch {
	case !d.Allowed:
		return trustedAnswer{}
	case q.all:
		matched := slices.DeleteFunc(tr.Steps, func(s sipacl.Step) bool { return !s.Matched })
		return q.answer(len(matched), slices.Collect(table.Tags(ask)))
	case rows[d.Origin.Line-1].Tag == nil:
		return q.answer(1, nil)
	}
	return q.answer(1, []string{d.Info})
}

func (q trustedQuestion) query() (ask sipacl.TrustedQuery, err error) {
	ask = sipacl.TrustedQuery{From: q.from, Target: q.target}
	ask.Addr, _ = netip.ParseAddr(q.src) // without one nothing matches
	if ask.AnyProto = strings.EqualFold(q.proto, "any"); !ask.AnyProto {
		ask.Proto, err = sipacl.ParseProto(q.proto)
	}
	return ask, err
}
