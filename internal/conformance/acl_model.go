package conformance

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// aclSwitch is a set of behaviour decisions.
type aclSwitch uint16

const (
	aclUnavailable aclSwitch = 1 << iota
	aclBadline
	aclLiteral
	aclBlanks
	aclSyntax
	aclLong
	aclDuplicate
	aclEmptyname
	aclEmpty
	aclFamily
	aclSense
	aclSourceID
	aclSwitches = 12
	aclAll      = 1<<aclSwitches - 1
)

func (s aclSwitch) String() string {
	names := [aclSwitches]string{
		"acl-unavailable", "acl-badline", "acl-literal", "acl-blanks", "acl-syntax", "acl-long",
		"acl-duplicate", "acl-emptyname", "acl-empty", "acl-family", "acl-sense", "acl-source",
	}
	var on []string
	for i, n := range names {
		if s&(1<<i) != 0 {
			on = append(on, n)
		}
	}
	return strings.Join(on, "+")
}

// aclOriginal is a naive model of what Asterisk does with named ACLs, line by
// line and rule by rule, with one switch for each of our decisions. With all
// switches off it must answer as was recorded, with all on as we do. It uses
// none of our parsers.
type aclOriginal struct {
	on      aclSwitch
	touched aclSwitch // decisions that the input met
	beyond  aclSwitch // decisions whose original side is not modelled

	files      map[string]string
	exec       bool
	table      bool // the realtime table is there
	columns    []string
	rows       []map[string]any
	systemname string

	set map[string][]origRule // nil: unavailable

	// of the load in progress
	bad   map[string]bool // "file:line" of what keeps the file from loading
	vague bool            // a line of bad may be another
	secs  []*origSection
	leaks int
}

// is reports whether a decision that the input has met is switched on.
func (m *aclOriginal) is(s aclSwitch) bool {
	m.touched |= s
	return m.on&s != 0
}

// wrong notes what refuses the whole file.
func (m *aclOriginal) wrong(at string) { m.bad[at] = true }

// strict notes what refuses the whole file with s on, and nothing else.
func (m *aclOriginal) strict(s aclSwitch, at string) bool {
	if m.is(s) {
		m.wrong(at)
		return true
	}
	return false
}

// unmodelled notes what the model cannot answer about with s off.
func (m *aclOriginal) unmodelled(s aclSwitch, at string) {
	if !m.strict(s, at) {
		m.beyond |= s
	}
}

// load reads acl.conf. What was in service stays if it is refused.
func (m *aclOriginal) load() {
	m.bad, m.secs, m.leaks = map[string]bool{}, nil, 0
	if !m.file("acl.conf", nil, 0, nil) {
		m.bad["acl.conf:0"] = true
	}
	set := map[string][]origRule{}
	for _, s := range m.secs {
		if !s.tmpl {
			set[s.name] = append(set[s.name], m.section(s)...)
		}
	}
	if m.table {
		m.checkRows()
	}
	if len(m.bad) == 0 {
		m.set = set
	}
}

// section gives the rules of a section.
func (m *aclOriginal) section(s *origSection) (rules []origRule) {
	if strings.EqualFold(s.name, "general") {
		m.wrong("section:" + s.name)
		m.vague = true
	}
	if controlByte.MatchString(s.name) {
		m.strict(aclSyntax, s.at)
	}
	for _, v := range s.vars {
		permit := strings.EqualFold(v.name, "permit")
		if !permit && !strings.EqualFold(v.name, "deny") {
			m.wrong(v.at)
			continue
		}
		more, ok := m.value(permit, v.value)
		if !ok {
			m.wrong(v.at)
			m.vague = m.vague || v.extended
		}
		rules = append(rules, more...)
	}
	return rules
}

func text(row map[string]any, column string) (string, bool) {
	for k, v := range row {
		if strings.EqualFold(k, column) && v != nil {
			return fmt.Sprint(v), true
		}
	}
	return "", false
}

func (m *aclOriginal) column(name string) bool {
	return slices.ContainsFunc(m.columns, func(c string) bool { return strings.EqualFold(c, name) })
}

// selected yields the rows that a query without a name would give.
func (m *aclOriginal) selected() (rows []map[string]any, ok bool) {
	if m.systemname == "" {
		return m.rows, true
	}
	if !m.column("systemname") {
		return nil, false
	}
	for _, r := range m.rows {
		if s, ok := text(r, "systemname"); ok && s == m.systemname {
			rows = append(rows, r)
		}
	}
	return rows, true
}

var wholeNumber = regexp.MustCompile(`^-?\d+$`)

// checkRows notes the rows that refuse the load where decisions say so.
func (m *aclOriginal) checkRows() {
	rows, ok := m.selected()
	if !ok || !m.column("name") || !m.column("sense") || !m.column("rule") {
		m.strict(aclBadline, "acls:0")
		m.vague = true // the query fails, whatever the rows
		return
	}
	for i, r := range rows {
		at := fmt.Sprintf("acls:%d", i+1)
		m.checkName(r, at)
		order, _ := text(r, "rule_order")
		if m.column("rule_order") && !wholeNumber.MatchString(strings.Trim(order, " \t")) {
			m.strict(aclSense, at)
		}
		sense, _ := text(r, "sense")
		if !regexp.MustCompile(`(?i)^(permit|deny) *$`).MatchString(sense) {
			m.strict(aclSense, at)
		}
		rule, _ := text(r, "rule")
		if _, ok := m.value(true, rule); !ok {
			m.strict(aclBadline, at)
		}
	}
}

// checkName refuses a row whose name no list can hold. The original finds the
// row with the empty name for "acl=x," and never one with NULL.
func (m *aclOriginal) checkName(row map[string]any, at string) {
	name, _ := text(row, "name")
	switch name = strings.TrimRight(name, " "); {
	case name == "", controlByte.MatchString(name):
		m.strict(aclBadline, at)
	case len(name) > 255:
		m.strict(aclLong, at)
	}
}

// realtime looks a name up in the table.
func (m *aclOriginal) realtime(name string) (rules []origRule, ok bool) {
	rows := m.rowsOf(name)
	for _, row := range rows {
		sense, _ := text(row, "sense")
		rule, given := text(row, "rule")
		more, valid := m.value(sense != "" && sense[0]|32 == 'p', rule)
		if !given || !valid {
			return nil, false
		}
		rules = append(rules, more...)
	}
	return rules, len(rows) > 0
}

// rowsOf gives the rows of a name in their order.
func (m *aclOriginal) rowsOf(name string) (mine []map[string]any) {
	rows, ok := m.selected()
	if !m.table || !ok {
		return nil
	}
	for _, r := range rows {
		n, ok := text(r, "name")
		if t := strings.TrimRight(n, " "); t != n && m.is(aclBlanks) {
			n = t
		}
		if ok && n == name {
			mine = append(mine, r)
		}
	}
	slices.SortStableFunc(mine, func(a, b map[string]any) int { return cmp.Compare(m.order(a), m.order(b)) })
	return mine
}

// order is the rule_order of a row, as atoi reads it.
func (m *aclOriginal) order(row map[string]any) int64 {
	text, _ := text(row, "rule_order")
	n, _ := scanInt(text)
	if exact, err := strconv.ParseInt(text, 10, 64); err == nil && exact != int64(n) && m.is(aclSense) {
		return exact
	}
	return int64(n)
}

type origList struct {
	name    string
	invalid bool
	rules   []origRule
}

// ask gives the answers of a consumer with these lines.
func (m *aclOriginal) ask(lines [][2]string, srcs []origSource) []bool {
	var list []*origList
	refuse := false
	for _, l := range lines {
		if strings.EqualFold(l[0], "acl") {
			for _, name := range strings.Split(l[1], ",") {
				list, refuse = m.addName(list, name, refuse)
			}
			continue
		}
		if len(list) == 0 || list[0].name != "" {
			list = append([]*origList{{}}, list...)
		}
		rules, ok := m.value(strings.EqualFold(l[0], "permit"), l[1])
		list[0].rules = append(list[0].rules, rules...)
		if !ok && m.is(aclBadline) {
			refuse = true
		}
	}
	if len(list) == 0 && !refuse {
		refuse = m.is(aclEmpty)
	}
	var answers []bool
	for _, s := range srcs {
		answers = append(answers, !refuse && m.passes(list, s))
	}
	return answers
}

func (m *aclOriginal) addName(list []*origList, name string, refuse bool) ([]*origList, bool) {
	name = strings.TrimLeftFunc(name, func(r rune) bool { return r < 33 })
	if t := strings.Trim(name, " \t"); t != name && m.is(aclBlanks) {
		name = t
	}
	if name == "" && m.is(aclEmptyname) {
		return list, true
	}
	for _, o := range list {
		if asciiFold(o.name) != asciiFold(name) {
			continue
		}
		if o.name == name || !m.is(aclDuplicate) {
			return list, refuse
		}
	}
	stored := name
	if len(name) > 79 && !m.is(aclLong) {
		stored = name[:79]
	}
	sub := &origList{name: stored}
	if m.set == nil {
		if m.is(aclUnavailable) {
			refuse = true
		}
		return append(list, sub), refuse
	}
	rules, ok := m.set[stored]
	if !ok {
		rules, ok = m.realtime(name)
	}
	sub.rules, sub.invalid = rules, !ok
	return append(list, sub), refuse
}

type origSource struct {
	text   string
	parsed bool
}

func (m *aclOriginal) passes(list []*origList, s origSource) bool {
	a, ok := lenientAddr(s.text)
	if s.parsed != ok { // the recording knows better than our model of getaddrinfo
		ok = s.parsed
	}
	if b, err := netip.ParseAddr(s.text); err != nil || !ok {
		if m.is(aclSourceID) {
			if err != nil {
				return false
			}
			a, ok = b.WithZone("").Unmap(), true
		}
	}
	if !ok {
		a = netip.Addr{}
	}
	for _, o := range list {
		if o.invalid || !m.permits(o.rules, a) {
			return false
		}
	}
	return true
}

// permits walks the rules: the last one that matches decides.
func (m *aclOriginal) permits(rules []origRule, a netip.Addr) bool {
	permit, decided, mine := true, false, false
	for _, r := range rules {
		if !a.IsValid() || r.six != a.Is6() {
			continue
		}
		mine = true
		if r.matches(bytes16(a)) {
			permit, decided = r.permit, true
		}
	}
	if a.IsValid() && !decided && !mine && deniesFamily(rules, !a.Is6()) && m.is(aclFamily) {
		return false
	}
	return permit
}
