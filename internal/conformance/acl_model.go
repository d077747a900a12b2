package conformance

import (
	"cmp"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path"
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

	set   map[string][]origRule // nil: unavailable
	order []string

	// of the load in progress
	bad   map[string]bool // "file:line" of what keeps the file from loading
	vague bool            // a line of bad may be another
	secs  []*origSection
	leaks int
}

type origRule struct {
	permit, six bool
	net, mask   [16]byte // IPv4 in the first 4
}

type origSection struct {
	name, at string
	tmpl     bool
	vars     []origVar
}

type origVar struct {
	name, value, at string
	extended        bool
}

// is tells whether a decision that the input has met is switched on.
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

// load reads acl.conf. What was in service stays if it is refused.
func (m *aclOriginal) load() {
	m.bad, m.secs, m.leaks = map[string]bool{}, nil, 0
	if !m.file("acl.conf", nil, 0, nil) {
		m.bad["acl.conf:0"] = true
	}
	set, order := map[string][]origRule{}, []string(nil)
	for _, s := range m.secs {
		if s.tmpl {
			continue
		}
		if strings.EqualFold(s.name, "general") {
			m.wrong("section:" + s.name)
			m.vague = true
		}
		if controlByte.MatchString(s.name) {
			m.strict(aclSyntax, s.at)
		}
		if _, ok := set[s.name]; !ok {
			set[s.name], order = nil, append(order, s.name)
		}
		for _, v := range s.vars {
			permit := strings.EqualFold(v.name, "permit")
			if !permit && !strings.EqualFold(v.name, "deny") {
				m.wrong(v.at)
				continue
			}
			rules, ok := m.value(permit, v.value)
			if !ok {
				m.wrong(v.at)
				m.vague = m.vague || v.extended
			}
			set[s.name] = append(set[s.name], rules...)
		}
	}
	if m.table {
		m.checkRows()
	}
	if len(m.bad) == 0 {
		m.set, m.order = set, order
	}
}

// file parses one file. It returns false where the original gives it up.
func (m *aclOriginal) file(name string, cur *origSection, level int, stack []string) bool {
	text, ok := m.files[name]
	if !ok {
		return false
	}
	stack = append(stack, name)
	text = strings.TrimPrefix(text, "\ufeff")
	depth, opened := 0, ""
	for n, line := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, n+1)
		if len(line) > 8190 && !m.is(aclLong) {
			continue
		}
		if len(strings.TrimSuffix(line, "\r")) > 65536 {
			m.wrong(at)
			continue
		}
		if i := strings.IndexByte(line, 0); i >= 0 {
			m.strict(aclSyntax, at)
			line = line[:i]
		}
		was := depth
		live, stray := uncommented(line, &depth)
		if was == 0 && depth > 0 {
			opened = at
		}
		if stray {
			if !m.strict(aclSyntax, at) {
				return true // the rest is not read
			}
			continue
		}
		live = strip33(live)
		if controlByte.MatchString(strings.ReplaceAll(live, "\t", "")) && m.strict(aclSyntax, at) {
			continue
		}
		switch {
		case live == "":
			continue
		case live[0] == '[':
			cur, ok = m.header(live, at)
		case live[0] == '#':
			ok = m.directive(live, at, cur, level, stack)
		default:
			ok = m.option(live, at, cur)
		}
		if !ok {
			m.wrong(at)
			if m.on&aclSyntax == 0 {
				if level == 0 {
					return true // refused, by wrong
				}
				delete(m.bad, at)
				m.touched |= aclSyntax
				m.leaks++
				return true
			}
			m.touched |= aclSyntax
		}
	}
	if depth > 0 {
		m.strict(aclSyntax, opened)
	}
	return true
}

var controlByte = regexp.MustCompile(`[\x00-\x1f\x7f]`)

func strip33(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r < 33 })
}

// uncommented takes the comments out of a line.
func uncommented(s string, depth *int) (live string, stray bool) {
	var out []byte
	dashes := 0 // dashes directly before, that may close
	for i := 0; i < len(s); i++ {
		c := s[i]
		opens := strings.HasPrefix(s[i:], ";--") && (i+3 == len(s) || s[i+3] != '-')
		switch {
		case *depth == 0 && c == '\\' && i+1 < len(s) && s[i+1] == ';':
			out = append(out, ';')
			i++
			dashes = 0
			continue
		case c == ';' && opens:
			*depth++
			i += 2
			dashes = 0
			continue
		case c == ';' && dashes >= 2:
			if *depth == 0 {
				return string(out), true
			}
			*depth--
			dashes = 0
			continue
		case c == ';' && *depth == 0:
			return string(out), false
		case c == '-':
			dashes++
		default:
			dashes = 0
		}
		if *depth == 0 {
			out = append(out, c)
		}
	}
	return string(out), false
}

func (m *aclOriginal) find(name string, tmpl bool) *origSection {
	for _, s := range m.secs {
		if asciiFold(s.name) == asciiFold(name) && (tmpl || !s.tmpl) {
			return s
		}
	}
	return nil
}

func asciiFold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] += 32
		}
	}
	return string(b)
}

func (m *aclOriginal) header(line, at string) (*origSection, bool) {
	end := strings.IndexByte(line, ']')
	if end < 0 {
		s := &origSection{name: "\x00broken", tmpl: true}
		return s, false
	}
	s := &origSection{name: line[1:end], at: at}
	if t := strings.Trim(s.name, " \t"); t != s.name && m.is(aclBlanks) {
		s.name = t
	}
	if s.name == "" {
		m.strict(aclSyntax, at)
	}
	if len(s.name) > 79 {
		if !m.is(aclLong) {
			s.name = s.name[:79]
		} else if len(s.name) > 255 {
			m.wrong(at)
		}
	}
	rest := line[end+1:]
	if rest == "" || rest[0] != '(' {
		if rest != "" {
			m.strict(aclSyntax, at)
		}
		m.secs = append(m.secs, s)
		return s, true
	}
	paren := strings.IndexByte(rest, ')')
	if paren < 0 {
		m.secs = append(m.secs, s)
		return s, false
	}
	if paren != len(rest)-1 {
		m.strict(aclSyntax, at)
	}
	into, added, ok := s, false, true
	for _, tok := range strings.Split(rest[1:paren], ",") {
		if t := strings.Trim(tok, " \t"); t != tok && m.is(aclBlanks) {
			tok = t
		}
		switch {
		case tok == "!":
			into.tmpl = true
		case tok == "+":
			old := m.find(s.name, false)
			if old == nil {
				ok = false
				continue
			}
			if old != into {
				old.vars = append(old.vars, into.vars...)
				old.tmpl = old.tmpl || into.tmpl
			}
			into, added = old, true
		case tok != "" && tok[0] == '+':
			if !m.strict(aclSyntax, at) {
				m.beyond |= aclSyntax
			}
		case tok == "":
			if m.strict(aclSyntax, at) {
				continue
			}
			if len(m.secs) == 0 {
				return s, false
			}
			into.vars = append(into.vars, m.secs[0].vars...)
		default:
			base := m.find(tok, true)
			if base == nil {
				ok = false
				if m.on&aclSyntax == 0 {
					return s, false
				}
				continue
			}
			into.vars = append(into.vars, base.vars...)
		}
	}
	if !added {
		m.secs = append(m.secs, s)
	}
	return into, ok
}

var quotedName = regexp.MustCompile(`^(?:"([^"]+)"|<([^>]+)>)$`)

func (m *aclOriginal) directive(line, at string, cur *origSection, level int, stack []string) bool {
	word, arg := line, ""
	if i := strings.IndexFunc(line, func(r rune) bool { return r < 33 }); i >= 0 {
		word, arg = line[:i], strip33(line[i:])
	}
	switch word = asciiFold(word); {
	case word == "#exec" && m.exec:
		if !m.strict(aclSyntax, at) {
			m.beyond |= aclSyntax
		}
		return true
	case word != "#include" && word != "#tryinclude", arg == "":
		m.strict(aclSyntax, at)
		return true
	}
	try := word == "#tryinclude"
	if quoted := quotedName.FindStringSubmatch(arg); quoted != nil {
		arg = quoted[1] + quoted[2]
	} else if strings.ContainsRune("\"<$", rune(arg[0])) || strings.Contains(arg, "{") || !fs.ValidPath(path.Clean(arg)) {
		if !m.strict(aclSyntax, at) { // absolute paths and those out of the folder too
			m.beyond |= aclSyntax
		}
		return true
	}
	arg = path.Clean(arg)
	var names []string
	for name := range m.files {
		if ok, _ := path.Match(arg, name); ok && (arg == name || !strings.HasPrefix(path.Base(name), ".")) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if level+m.leaks >= 10 && m.on&aclSyntax == 0 {
		m.touched |= aclSyntax
		names = nil
	}
	if len(names) == 0 {
		return try
	}
	for _, name := range names {
		if slices.Contains(stack, name) {
			if m.strict(aclSyntax, at) {
				continue
			}
		}
		m.file(name, cur, level+1, stack)
	}
	return true
}

func (m *aclOriginal) option(line, at string, cur *origSection) bool {
	if cur == nil {
		return false
	}
	line, escaped := strings.CutPrefix(line, `\`)
	if escaped && line == "" {
		return false
	}
	name, value, ok := strings.Cut(line, "=")
	if !ok {
		m.strict(aclSyntax, at)
		return true
	}
	value = strings.TrimPrefix(value, ">")
	name, more := strings.CutSuffix(name, "+")
	if name = strip33(name); name == "" {
		m.strict(aclSyntax, at)
		return true
	}
	if more {
		for i := len(cur.vars) - 1; i >= 0; i-- {
			if v := &cur.vars[i]; v.name == name {
				cur.vars = slices.Clone(cur.vars)
				v = &cur.vars[i]
				v.value, v.extended = strip33(v.value+value), true
				return true
			}
		}
	}
	cur.vars = append(cur.vars[:len(cur.vars):len(cur.vars)], origVar{name: name, value: strip33(value), at: at})
	return true
}

// value reads the value of a permit or deny line up to its first mistake.
func (m *aclOriginal) value(permit bool, value string) (rules []origRule, ok bool) {
	ok = true
	for _, item := range strings.Split(value, ",") {
		if t := strings.Trim(item, " \t"); t != item {
			_, lenientOK := lenientItem(permit, item)
			_, strictOK := strictItem(permit, t)
			if lenientOK != strictOK || m.on&aclBlanks != 0 {
				if m.is(aclBlanks) {
					item = t
				}
			}
		}
		lenient, lenientOK := lenientItem(permit, item)
		strict, strictOK := strictItem(permit, item)
		if (strict != lenient || strictOK != lenientOK) && m.is(aclLiteral) {
			lenient, lenientOK = strict, strictOK
		}
		if !lenientOK {
			return rules, false
		}
		rules = append(rules, lenient)
	}
	return rules, ok
}

// lenientItem reads an item as the original does.
func lenientItem(permit bool, item string) (r origRule, ok bool) {
	text, not := strings.CutPrefix(item, "!")
	host, mask, has := strings.Cut(text, "/")
	a, ok := lenientAddr(host)
	if !ok {
		return r, false
	}
	bits := a.BitLen()
	m := onesMask(bits, bits)
	switch {
	case !has:
	case strings.ContainsAny(mask, ".:"):
		n, ok := lenientAddr(mask)
		if !ok || n.Is4() != a.Is4() {
			return r, false
		}
		m = bytes16(n)
	default:
		n, ok := scanInt(mask)
		if !ok || n < 0 || int(n) > bits {
			return r, false
		}
		m = onesMask(int(n), bits)
	}
	return makeRule(permit != not, a, m), true
}

func makeRule(permit bool, a netip.Addr, mask [16]byte) origRule {
	r := origRule{permit: permit, six: a.Is6(), net: bytes16(a), mask: mask}
	for i := range r.net {
		r.net[i] &= mask[i]
	}
	return r
}

func bytes16(a netip.Addr) (b [16]byte) {
	copy(b[:], a.AsSlice())
	return b
}

func onesMask(n, bits int) (b [16]byte) {
	copy(b[:], net.CIDRMask(n, bits))
	return b
}

// scanInt is sscanf("%30d") into a 32 bit integer.
func scanInt(s string) (int32, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	s = s[:min(len(s), 30)]
	end := 0
	if end < len(s) && (s[end] == '-' || s[end] == '+') {
		end++
	}
	first := end
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	if end == first {
		return 0, false
	}
	n, _ := strconv.ParseInt(s[:end], 10, 64) // saturates
	return int32(n), true
}

// lenientAddr reads an address as the original does; mapped ones are IPv4.
func lenientAddr(s string) (netip.Addr, bool) {
	if strings.HasPrefix(s, "[") {
		host, rest, _ := strings.Cut(s[1:], "]")
		if strings.HasPrefix(rest, ":") {
			return netip.Addr{}, false
		}
		s = host
	} else if strings.Count(s, ":") == 1 {
		return netip.Addr{}, false
	}
	if !strings.Contains(s, ":") {
		return inetAton(s)
	}
	host, scope, scoped := strings.Cut(s, "%")
	a, err := netip.ParseAddr(host)
	if err != nil {
		return a, false
	}
	if scoped {
		_, err := strconv.ParseUint(scope, 10, 32)
		if err != nil && !(a.IsLinkLocalUnicast() && scope == "lo") {
			return a, false
		}
	}
	return a.Unmap(), true
}

func inetAton(s string) (netip.Addr, bool) {
	parts := strings.Split(s, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var v uint64
	for i, p := range parts {
		n, ok := cNumber(p)
		last := i == len(parts)-1
		most := uint64(255)
		if last {
			most = 1<<(8*(4-i)) - 1
		}
		if !ok || n > most {
			return netip.Addr{}, false
		}
		if last {
			v |= n
		} else {
			v |= n << (8 * (3 - i))
		}
	}
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)}), true
}

// cNumber reads 12, 014 and 0xc.
func cNumber(s string) (uint64, bool) {
	base := 10
	switch {
	case len(s) > 2 && (s[:2] == "0x" || s[:2] == "0X"):
		base, s = 16, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	if s == "" || s[0] == '+' || s[0] == '-' || strings.Contains(s, "_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, base, 64)
	return n, err == nil
}

var (
	dottedQuad = regexp.MustCompile(`^(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}$`)
	decimal    = regexp.MustCompile(`^(0|[1-9]\d{0,2})$`)
	bracketed6 = regexp.MustCompile(`^\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\]$`)
)

// strictItem reads what decision acl-literal admits.
func strictItem(permit bool, item string) (r origRule, ok bool) {
	text, not := strings.CutPrefix(item, "!")
	host, mask, has := strings.Cut(text, "/")
	if b := bracketed6.FindStringSubmatch(host); b != nil {
		host = b[1]
	}
	ip := net.ParseIP(host)
	if ip == nil {
		return r, false
	}
	quad := dottedQuad.MatchString(host)
	mapped := !quad && ip.To4() != nil
	bits := 128
	if quad {
		bits = 32
	}
	ones := bits
	switch mip := net.ParseIP(mask); {
	case !has:
	case decimal.MatchString(mask):
		ones, _ = strconv.Atoi(mask)
	case mip == nil:
		return r, false
	case dottedQuad.MatchString(mask):
		if bits == 128 && !mapped {
			return r, false
		}
		n, b := net.IPMask(mip.To4()).Size()
		if b == 0 {
			return r, false
		}
		ones = n
		if mapped {
			ones += 96
		}
	default: // of IPv6
		if quad || strings.Contains(mask, ".") && mip.To4() != nil {
			return r, false
		}
		n, b := net.IPMask(mip.To16()).Size()
		if b == 0 {
			return r, false
		}
		ones = n
	}
	if ones > bits || mapped && ones <= 96 {
		return r, false
	}
	if mapped {
		ones, bits = ones-96, 32
	}
	a, _ := netip.AddrFromSlice(ip.To16())
	if bits == 32 {
		a = a.Unmap()
	}
	return makeRule(permit != not, a, onesMask(ones, bits)), true
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
func (m *aclOriginal) realtime(name string) ([]origRule, bool) {
	rows, ok := m.selected()
	if !m.table || !ok {
		return nil, false
	}
	type ordered struct {
		order int64
		row   map[string]any
	}
	var mine []ordered
	for _, r := range rows {
		n, ok := text(r, "name")
		if t := strings.TrimRight(n, " "); t != n && m.is(aclBlanks) {
			n = t
		}
		if !ok || n != name {
			continue
		}
		text, _ := text(r, "rule_order")
		o := ordered{row: r}
		if n, _ := scanInt(text); n != 0 {
			o.order = int64(n)
		}
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n != o.order && m.is(aclSense) {
			o.order = n
		}
		mine = append(mine, o)
	}
	slices.SortStableFunc(mine, func(a, b ordered) int { return cmp.Compare(a.order, b.order) })
	var rules []origRule
	for _, o := range mine {
		sense, _ := text(o.row, "sense")
		rule, ok := text(o.row, "rule")
		rs, valid := m.value(sense != "" && sense[0]|32 == 'p', rule)
		if !ok || !valid {
			return nil, false
		}
		rules = append(rules, rs...)
	}
	return rules, len(mine) > 0
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

func (r origRule) matches(addr [16]byte) bool {
	for i := range addr {
		if addr[i]&r.mask[i] != r.net[i] {
			return false
		}
	}
	return true
}

// deniesFamily reports whether rules deny a family as decision acl-family has
// it: in one rule or in parts. A part that a later rule permits again, all of
// it, does not count.
func deniesFamily(rules []origRule, six bool) bool {
	var denied []origRule
	for i, r := range rules {
		if r.six == six && !r.permit && !permittedAgain(r, rules[i+1:]) {
			denied = append(denied, r)
		}
	}
	// Who walks from the first address over all that is denied comes to the end.
	var at [16]byte
	for range denied {
		for _, r := range denied {
			if r.matches(at) {
				if at = r.behind(); at == ([16]byte{}) {
					return true
				}
			}
		}
	}
	return false
}

// permittedAgain reports whether the last of the rules that cover r permits.
func permittedAgain(r origRule, later []origRule) (again bool) {
	for _, l := range later {
		if l.six == r.six && l.covers(r) {
			again = l.permit
		}
	}
	return again
}

func (r origRule) covers(o origRule) bool {
	for i := range r.mask {
		if r.mask[i]&^o.mask[i] != 0 {
			return false
		}
	}
	return r.matches(o.net)
}

// behind is the first address behind the network, zero behind the last one of
// the family.
func (r origRule) behind() (addr [16]byte) {
	n := 4
	if r.six {
		n = 16
	}
	carry := 1
	for i := n - 1; i >= 0; i-- {
		v := int(r.net[i]|^r.mask[i]) + carry
		addr[i], carry = byte(v), v>>8
	}
	return addr
}
