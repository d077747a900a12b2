package conformance

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/sipacl/sipacl/internal/tests/dialtwin"
)

// trustedModelRow is a row of Kamailio's trusted table as it was recorded.
type trustedModelRow struct {
	Src      string  `json:"src_ip"`
	Proto    string  `json:"proto"`
	From     *string `json:"from_pattern"`
	Ruri     *string `json:"ruri_pattern"`
	Tag      *string `json:"tag"`
	Priority int     `json:"priority"`
}

func (r trustedModelRow) protocol() string { return strings.ToLower(r.Proto) }

var trustedProto = regexp.MustCompile(`^(any|udp|tcp|tls|sctp|ws|wss|none)$`)

// trustedModel answers as Kamailio does, single decisions switched on.
func trustedModel(rows []trustedModelRow, q trustedQuestion, on ruleSwitches) trustedAnswer {
	if !q.live && !on["addr-proto"] && slices.ContainsFunc(rows, func(r trustedModelRow) bool { return !trustedProto.MatchString(r.protocol()) }) {
		return trustedAnswer{} // the load has failed
	}
	matched := 0
	var tags []string
	for _, row := range q.inOrder(rows, on) {
		if !q.matches(row, on) {
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
	return q.answer(matched, tags)
}

// inOrder gives the rows as they are asked.
func (q trustedQuestion) inOrder(rows []trustedModelRow, on ruleSwitches) []trustedModelRow {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b trustedModelRow) int {
		if q.live && !on["trusted-order"] {
			return a.Priority - b.Priority
		}
		return b.Priority - a.Priority
	})
	return rows
}

func (q trustedQuestion) matches(row trustedModelRow, on ruleSwitches) bool {
	return q.fromSource(row, on) && q.overProto(row, on) &&
		(row.From == nil || trustedPattern(*row.From, q.from, on)) && (row.Ruri == nil || trustedPattern(*row.Ruri, q.target, on))
}

func (q trustedQuestion) fromSource(row trustedModelRow, on ruleSwitches) bool {
	if !on["trusted-source"] {
		return row.Src == q.src
	}
	a, ok := trustedAddr(row.Src)
	b, err := netip.ParseAddr(q.src)
	return ok && err == nil && a.Unmap() == b.WithZone("").Unmap()
}

func (q trustedQuestion) overProto(row trustedModelRow, on ruleSwitches) bool {
	proto, asked := row.protocol(), strings.ToLower(q.proto)
	if proto == "" && on["addr-proto"] {
		proto = "any"
	}
	if proto == "none" && (!q.live || on["trusted-none"]) {
		return false // not among the cached rows
	}
	return asked != "none" && trustedProto.MatchString(asked) && (asked == "any" || proto == "any" || proto == asked)
}

// trustedPattern matches a POSIX basic expression, case-sensitive. By decision
// trusted-canonical it must match every text that an allow rule must.
func trustedPattern(pattern, text string, on ruleSwitches) bool {
	e, err := parseNaiveBasic(pattern)
	if err != nil {
		return false
	}
	if !on["trusted-canonical"] {
		return e.MatchString(text)
	}
	canonical := modelCanonical(text, false)
	further, odd, refuse := dialtwin.Find(text, canonical, "")
	return !odd && !refuse && !slices.ContainsFunc(append(further, canonical), func(t string) bool { return !e.MatchString(t) })
}

// trustedLint gives the rows that must be refused, each with the decision that
// refuses it.
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

// trustedBadPattern reports whether a pattern is a load error: regcomp refuses
// it, RE2 cannot run it, or it cannot match.
func trustedBadPattern(p string) bool {
	_, err := parseNaiveBasic(p)
	return err != nil || ereRefused(p, true) || doubleRepeat.MatchString(p)
}

var doubleRepeat = regexp.MustCompile(`[^\\(|^]\*(\*|\\\{)|\\\}(\*|\\\{)`)
