package sipacl

import (
	"fmt"
	"iter"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/tests/fakedb"
)

func init() {
	conformance["kamailio-trusted"] = conformTrusted
	conformance["kamailio-quirks"] = conformQuirks
}

type trustedRecord struct {
	Kind, ID, Table, Func           string
	Rows                            []trustedModelRow
	Src, IP, Proto, Transport, From string
	Ruri, Furi                      string
	Obs                             map[string]struct {
		Rc   int
		Tags []string
	}
}

type trustedModelRow struct {
	Src      string  `json:"src_ip"`
	Proto    string  `json:"proto"`
	From     *string `json:"from_pattern"`
	Ruri     *string `json:"ruri_pattern"`
	Tag      *string `json:"tag"`
	Priority int     `json:"priority"`
}

func conformTrusted(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	tables := map[string][]trustedModelRow{}
	for line := range lines {
		var v trustedRecord
		decode(t, line, &v)
		if v.Kind == "table" {
			tables[v.ID] = v.Rows
			continue
		}
		rows, ok := tables[v.Table]
		if !ok && len(v.Obs) == 0 {
			continue // no question
		}
		require.True(t, ok, "%s", line)
		for build, obs := range v.Obs {
			q := v.question()
			q.live, q.all = strings.Contains(build, "db_mode=0"), strings.Contains(build, "peer_tag_mode=1")
			explainTrusted(t, r, v.Table+" "+build+" "+v.Func, rows, q, obs.Rc > 0, obs.Rc, obs.Tags)
		}
	}
}

// trustedQuestion is one question to the trusted table.
type trustedQuestion struct {
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

// trustedModel answers as Kamailio does, single decisions switched on: the
// tags of the rows that match, in the order in which they are pushed.
func trustedModel(rows []trustedModelRow, q trustedQuestion, on ruleSwitches) (matched int, tags []string) {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b trustedModelRow) int {
		if q.live && !on["trusted-order"] {
			return a.Priority - b.Priority
		}
		return b.Priority - a.Priority
	})
	if !q.live && !on["addr-proto"] && slices.ContainsFunc(rows, func(r trustedModelRow) bool { return !trustedProto.MatchString(r.protocol()) }) {
		return 0, nil // the load has failed
	}
	for _, row := range rows {
		src := row.Src
		if on["trusted-source"] {
			a, ok := trustedAddr(src)
			b, err := netip.ParseAddr(q.src)
			if !ok || err != nil || a.Unmap() != b.WithZone("").Unmap() {
				continue
			}
		} else if src != q.src {
			continue
		}
		proto := row.protocol()
		if proto == "" && on["addr-proto"] {
			proto = "any"
		}
		if proto == "none" && (!q.live || on["trusted-none"]) {
			continue // not among the cached rows
		}
		asked := strings.ToLower(q.proto)
		if asked == "none" || !trustedProto.MatchString(asked) || asked != "any" && proto != "any" && proto != asked {
			continue
		}
		if row.From != nil && !trustedPattern(*row.From, q.from) || row.Ruri != nil && !trustedPattern(*row.Ruri, q.target) {
			continue
		}
		matched++
		if row.Tag != nil {
			tags = append(tags, *row.Tag)
		}
		if !q.all {
			break
		}
	}
	return matched, tags
}

var trustedProto = regexp.MustCompile(`^(any|udp|tcp|tls|sctp|ws|wss|none)$`)

// trustedPattern matches a POSIX basic expression, case-sensitive.
func trustedPattern(pattern, text string) bool {
	e, err := parseNaiveBasic(pattern)
	return err == nil && e.MatchString(text)
}

func explainTrusted(t *testing.T, r *report, name string, rows []trustedModelRow, q trustedQuestion, allowed bool, rc int, tags []string) {
	shape := func(n int, tags []string, q trustedQuestion) string {
		if n == 0 {
			return "no"
		}
		if !q.all {
			n = 1
		}
		return fmt.Sprintf("%d %q", n, tags)
	}
	// peer_tag_mode=1: the recording shows the tags newest first.
	newest := slices.Clone(tags)
	slices.Reverse(newest)
	want := shape(max(rc, 0), newest, q)
	if n, tags := trustedModel(rows, q, nil); shape(n, tags, q) != want {
		// The recorder kept at most the last three tags of a peer_tag_mode=1 call.
		if len(tags) > len(newest) && len(newest) == 3 {
			tags = tags[len(tags)-3:]
		}
		if shape(n, tags, q) != want {
			r.unexplained("%s %+v: the model says %s, recorded is %s", name, q, shape(n, tags, q), want)
			return
		}
	}
	table, err := trustedTable(t, rows)
	bad := trustedLint(rows)
	if err != nil || len(bad) > 0 {
		for i := range rows {
			named := err != nil && strings.Contains(err.Error(), fmt.Sprintf("trusted:id %d:", i+1))
			if named != (bad[i] != "") {
				r.unexplained("%s: row %d: lint %q, load %v", name, i+1, bad[i], err)
				return
			}
		}
		// Without the bad rows all else must be as prescribed.
		var good []trustedModelRow
		ids := map[string]bool{}
		for i, row := range rows {
			if bad[i] == "" {
				good = append(good, row)
			} else {
				ids[bad[i]] = true
			}
		}
		n, tags := trustedModel(good, q, nil)
		scratch := newReport(name, "")
		slices.Reverse(tags)
		explainTrusted(t, scratch, name, good, q, n > 0, n, tags)
		if scratch.wrong > 0 {
			r.unexplained("%s: without the bad rows: %s", name, scratch.complaints)
			return
		}
		r.differ(strings.Join(sortedKeys(ids), "+"))
		return
	}
	got := trustedAnswer(table, q)
	if got == want || n3(got, want, q) {
		r.agree()
		return
	}
	for _, ids := range subsets("addr-proto", "trusted-none", "trusted-order", "trusted-source") {
		on := ruleSwitches{}
		for _, id := range ids {
			on[id] = true
		}
		if n, tags := trustedModel(rows, q, on); shape(n, tags, q) == got {
			r.differ(strings.Join(ids, "+"))
			return
		}
	}
	r.unexplained("%s %+v: says %s, recorded is %s", name, q, got, want)
}

// subsets gives every choice of ids, the small ones first.
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

// n3 reports whether got is want but for the tags that the recorder cut off.
func n3(got, want string, q trustedQuestion) bool {
	g, w := strings.SplitN(got, " ", 2), strings.SplitN(want, " ", 2)
	if !q.all || len(g) != 2 || len(w) != 2 || g[0] != w[0] {
		return false
	}
	return strings.Count(w[1], `"`) == 6 && strings.HasSuffix(g[1], strings.TrimPrefix(w[1], "["))
}

func sortedKeys(m map[string]bool) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (r trustedModelRow) protocol() string { return strings.ToLower(r.Proto) }

// trustedOurs has the protocols that a row may have here, "" included.
var trustedOurs = regexp.MustCompile(`^(|any|none|udp|tcp|tls|sctp|wss?|ipsec|bins?|hep_(udp|tcp|tls)|smpp|msrps?|bond)$`)

// trustedAddr reads the address of a row: with blanks around it, and IPv6 in
// brackets too.
func trustedAddr(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	inner, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		inner, bracketed = strings.CutSuffix(inner, "]")
		a, err := netip.ParseAddr(inner)
		return a, bracketed && err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(s)
	return a, err == nil && a.Zone() == ""
}

// trustedLint tells which rows must be refused, and by which decision.
func trustedLint(rows []trustedModelRow) map[int]string {
	bad := map[int]string{}
	for i, row := range rows {
		if !trustedOurs.MatchString(row.protocol()) {
			bad[i] = "addr-proto"
		}
		if _, ok := trustedAddr(row.Src); !ok {
			bad[i] = "trusted-source"
		}
		for _, p := range []*string{row.From, row.Ruri} {
			if p != nil && trustedBadPattern(*p) {
				bad[i] = "trusted-regex"
			}
		}
	}
	return bad
}

// trustedBadPattern tells what is a load error: what regcomp refuses, what RE2
// cannot run, and what cannot match.
func trustedBadPattern(p string) bool {
	_, err := parseNaiveBasic(p)
	return err != nil || ereRefused(p, true) || doubleRepeat.MatchString(p)
}

var doubleRepeat = regexp.MustCompile(`[^\\(|^]\*(\*|\\\{)|\\\}(\*|\\\{)`)

// TestTrustedModelReadsBasicExpressions compares the model of a pattern with
// the recorded verdicts of regcomp(3) and regexec(3).
func TestTrustedModelReadsBasicExpressions(t *testing.T) {
	n := 0
	for line := range jsonLines(t, "testdata/vectors/posix-regex.jsonl.gz") {
		var q struct{ Kind, Pattern, Subject, Trusted string }
		decode(t, line, &q)
		if q.Kind == "header" {
			continue
		}
		e, err := parseNaiveBasic(q.Pattern)
		got := recorded(err == nil, err == nil && e.MatchString(q.Subject))
		if want := q.Trusted; strings.HasPrefix(want, "err") {
			require.Equal(t, "error", got, "%s", line)
		} else {
			require.Equal(t, want, got, "%s", line)
		}
		_, err = ere.CompileExpression(q.Pattern, ere.TrustedSyntax)
		require.Equal(t, err != nil, trustedBadPattern(q.Pattern), "%s: %v", line, err)
		n++
	}
	require.Positive(t, n)
}

// trustedTable loads the rows through a database.
func trustedTable(t *testing.T, rows []trustedModelRow) (*TrustedTable, error) {
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
	trusted, err := NewTrusted(t.Context(), SQLTrusted{SQL: SQL{DB: db.SQL()}})
	return trusted.Current(), err
}

func trustedAnswer(table *TrustedTable, q trustedQuestion) string {
	ask := TrustedQuery{From: q.from, Target: q.target}
	ask.Addr, _ = netip.ParseAddr(q.src)
	var err error
	if ask.AnyProto = strings.EqualFold(q.proto, "any"); !ask.AnyProto {
		if ask.Proto, err = ParseProto(q.proto); err != nil {
			return "no"
		}
	}
	d := table.AllowTrusted(ask)
	if !d.Allowed {
		return "no"
	}
	n := 1
	var tags []string
	if q.all {
		n = 0
		for range table.match(ask) {
			n++
		}
		tags = slices.Collect(table.Tags(ask))
	} else {
		for r := range table.match(ask) {
			if !r.NoTag {
				tags = []string{d.Info}
			}
			break
		}
	}
	return fmt.Sprintf("%d %q", n, tags)
}

var quirkCall = regexp.MustCompile(`^allow_(routing|register|uri)\((.*)\) from=(\w+)$`)

// conformQuirks asks what concerns rule files: which files a call uses, and
// the command testUri. The records about reloads, dumps and start-up have no
// question for a library.
func conformQuirks(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var v struct {
			Kind, Oracle, Note, Method string
			Params                     any
			Files                      map[string]string
			Obs                        any
		}
		decode(t, line, &v)
		switch v.Kind {
		case "file-index":
			suffix := map[string]string{"allow_suffix": ".allow", "deny_suffix": ".deny"}
			params, _ := v.Params.(string)
			for _, m := range modparamLine.FindAllStringSubmatch(params, -1) {
				suffix[m[1]] = m[2]
			}
			calls, _ := v.Obs.(map[string]any)
			var pairs []RulesConfig
			for key := range calls {
				if m := quirkCall.FindStringSubmatch(key); m != nil {
					pairs = append(pairs, quirkConfig(m, v.Files, suffix))
				}
			}
			for _, key := range sortedAny(calls) {
				m := quirkCall.FindStringSubmatch(key)
				if m == nil {
					r.unaskable("no call of a rule function")
					continue
				}
				cfg := quirkConfig(m, v.Files, suffix)
				rs, err := loadRulesOf(cfg)
				require.NoError(t, err)
				from, to := "sip:"+m[3]+"@example.com", "sip:1@example.org"
				ask := map[string]func() Decision{
					"routing":  func() Decision { return rs.AllowRouting(from, to) },
					"register": func() Decision { return rs.AllowRegister(from, to) },
					"uri":      func() Decision { return rs.AllowURI(from, to) },
				}
				got := map[bool]string{true: "allow", false: "deny"}[ask[m[1]]().Allowed]
				switch {
				case got == calls[key]:
					r.agree()
				case slices.ContainsFunc(pairs, func(p RulesConfig) bool { return (p.AllowFile == cfg.AllowFile) != (p.DenyFile == cfg.DenyFile) }):
					r.differ("rule-pair")
				default:
					r.unexplained("%s: %s: says %s, recorded is %v", v.Note, key, got, calls[key])
				}
			}
		case "rpc":
			params, _ := v.Params.([]any)
			obs, _ := v.Obs.(map[string]any)
			result, _ := obs["result"].(string)
			var texts []string
			for _, p := range params {
				if s, ok := p.(string); ok {
					texts = append(texts, s)
				}
			}
			if len(params) != 3 || len(texts) != 3 || result != "Allowed" && result != "Denied" {
				continue // a complaint about the arguments, or no question to rules
			}
			// b.deny was loaded, and permissions without files.
			rs := (*RuleSet)(nil)
			switch params[0] {
			case "b":
				rs = mustRules("", "bob : ALL\n").Current()
			case "permissions":
				rs = mustRules("", "").Current()
			}
			got := map[bool]string{true: "Allowed", false: "Denied"}[rs.Test(texts[1], texts[2]).Allowed]
			if got == result {
				r.agree()
			} else {
				r.unexplained("testUri %v: says %s, recorded is %s", params, got, result)
			}
		}
	}
}

// quirkConfig names the files of a call.
func quirkConfig(call []string, files, suffix map[string]string) RulesConfig {
	cfg := RulesConfig{FS: memFS(files), Optional: true, AllowSuffix: suffix["allow_suffix"], DenySuffix: suffix["deny_suffix"]}
	var names []string
	for name := range strings.SplitSeq(call[2], ",") {
		names = append(names, strings.Trim(name, `" `))
	}
	if cfg.Name = names[0]; len(names) == 2 && call[1] != "uri" {
		cfg.AllowFile, cfg.DenyFile = names[0], names[1]
	}
	return cfg.withDefaults()
}

func sortedAny(m map[string]any) (keys []string) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
