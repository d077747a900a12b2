package conformance

import (
	"cmp"
	"encoding/json"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// decisions is a set of switches.
type decisions uint32

const (
	addrWinner decisions = 1 << iota
	addrNoGroup
	addrMapped
	addrZone
	addrLiteral
	addrNumber
	addrV632
	addrGroup0Row
	addrSrcGroup
	addrZeroMask
	addrNames
	addrFile
	addrLimit
	addrBadRow             // last, so that a set that says what is wrong with a row comes before it
	allDecisions decisions = 1<<iota - 1
)

var decisionIDs = [...]string{
	"addr-winner", "addr-nogroup", "addr-mapped", "addr-zone", "addr-literal", "addr-number",
	"addr-v6-32", "addr-group0-row", "addr-srcgroup", "addr-zeromask", "addr-names", "addr-file", "addr-limit",
	"addr-badrow",
}

// String joins the ids by "+".
func (d decisions) String() string {
	var ids []string
	for i, id := range decisionIDs {
		if d&(1<<i) != 0 {
			ids = append(ids, id)
		}
	}
	return strings.Join(ids, "+")
}

func (d decisions) has(one decisions) bool { return d&one != 0 }

// decisionSets holds every set of decisions, smaller ones first.
var decisionSets = func() []decisions {
	sets := make([]decisions, allDecisions+1)
	for i := range sets {
		sets[i] = decisions(i)
	}
	slices.SortStableFunc(sets, func(a, b decisions) int {
		return cmp.Compare(bits.OnesCount32(uint32(a)), bits.OnesCount32(uint32(b)))
	})
	return sets
}()

// original is one of the servers whose answers were recorded.
type original struct {
	kamailio bool
	file     bool // Kamailio's address_file
	pre2025  bool // OpenSIPS before 3.6
	longest  bool // Kamailio's subnet_match_mode=1
	subnets  int  // how many subnet rows are kept; 0: all
}

// modelCells is a row as it was recorded: nil, string or json.Number.
type modelCells struct {
	n                                           int // id, or line of the file
	group, ip, mask, port, proto, pattern, info any
	refused                                     bool // by the syntax of the file
}

type modelRow struct {
	n       int
	group   uint32
	prefix  netip.Prefix
	domain  bool   // the row has a name, perhaps an empty one, instead of a prefix
	name    string // of a domain
	port    uint32
	proto   string // "" is any
	pattern string // "" without one
	info    *string
}

func (r modelRow) host() bool { return !r.domain && r.prefix.IsSingleIP() }

// modelQuery is a question as it was recorded.
type modelQuery struct {
	text     string // the recorded line, for messages
	group    int64
	port     int64
	ip       string
	proto    string
	subject  *string
	socket   bool // about the source of a request
	anyGroup bool // ask for the group
}

// modelAnswer is what a script sees: a return code and, if a row matched,
// its group and context info or tag; nil sets nothing.
type modelAnswer struct {
	rc    int
	row   int // which row it was; 0: no row matched
	group uint32
	info  *string
}

// modelTable is a naive model of an original's address table, written from the
// description of what it does. Each decision that concerns address tables is a
// switch: with none on it answers as the original did, with all on as the
// library must. It shares no code with the library.
type modelTable struct {
	of      original
	on      decisions
	rows    []modelRow
	dropped []int // rows that were left out
	failed  bool  // the original refuses the whole load
}

func loadModel(of original, on decisions, cells []modelCells) *modelTable {
	t := &modelTable{of: of, on: on}
	subnets := 0
	for _, c := range cells {
		r, fate := t.read(c)
		switch fate {
		case rowFails:
			t.failed = true
			return t
		case rowIgnored:
			continue
		case rowDropped:
			t.dropped = append(t.dropped, c.n)
			continue
		}
		if !r.domain && !r.host() && !on.has(addrLimit) && of.subnets > 0 {
			if subnets++; subnets > of.subnets {
				continue
			}
		}
		t.rows = append(t.rows, r)
	}
	return t
}

// rowFate is what becomes of a row.
type rowFate int

const (
	rowLoads   rowFate = iota
	rowIgnored         // never matches, without a word
	rowDropped         // refused
	rowFails           // and the load with it
)

// read is the original's validation of a row, and ours as far as t.on says.
func (t *modelTable) read(c modelCells) (modelRow, rowFate) {
	bad := rowDropped
	if t.of.kamailio && !t.on.has(addrBadRow) {
		bad = rowFails
	}
	if c.refused {
		return modelRow{}, rowDropped
	}
	ip, ok := modelText(c.ip)
	if !ok {
		return modelRow{}, bad
	}
	r, fate := t.readNumbers(c, bad)
	if fate != rowLoads {
		return r, fate
	}
	if r.info, ok = t.padded(c.info); !ok {
		r.info = nil
	}
	if !t.of.kamailio && !t.readOpenSIPS(&r, c) {
		return modelRow{}, bad
	}
	switch addr, ok := t.literal(ip, true); {
	case ok:
		return t.readMask(r, addr, c.mask, bad)
	case t.of.kamailio:
		return t.readName(r, ip, c.mask, bad)
	}
	return modelRow{}, bad
}

// readNumbers reads group and port.
func (t *modelTable) readNumbers(c modelCells, bad rowFate) (r modelRow, fate rowFate) {
	group, fate := t.number(c.group, 1<<32-1, bad)
	if fate != rowLoads {
		return r, fate
	}
	if !t.on.has(addrNumber) && !t.of.file && (t.of.kamailio && group == 0 || group > 1<<31-1) {
		return r, bad
	}
	port, fate := t.number(c.port, 65535, bad)
	return modelRow{n: c.n, group: group, port: port}, fate
}

// readOpenSIPS reads protocol and pattern.
func (t *modelTable) readOpenSIPS(r *modelRow, c modelCells) (ok bool) {
	proto, ok := t.padded(c.proto)
	if !ok {
		return false
	}
	if r.proto = strings.ToLower(*proto); r.proto == "any" {
		r.proto = ""
	}
	if p, ok := t.padded(c.pattern); ok {
		r.pattern = *p
	}
	if r.info == nil {
		r.info = new(string)
	}
	return r.proto == "" || r.proto == "none" || slices.Contains(modelProtos, r.proto)
}

func (t *modelTable) readName(r modelRow, ip string, mask any, bad rowFate) (modelRow, rowFate) {
	r.domain, r.name = true, ip
	if t.on.has(addrNames) {
		if r.name = modelName(strings.Trim(ip, " \t")); r.name == "" {
			return modelRow{}, rowDropped
		}
		return r, rowLoads
	}
	if mask == nil {
		return modelRow{}, bad
	}
	return r, rowLoads
}

func (t *modelTable) readMask(r modelRow, addr netip.Addr, mask any, bad rowFate) (modelRow, rowFate) {
	n, fate := t.number(mask, int64(addr.BitLen()), bad)
	if fate != rowLoads {
		return modelRow{}, fate
	}
	if int64(n) > int64(addr.BitLen()) {
		return modelRow{}, bad
	}
	bits := int(n)
	if bits == 0 {
		switch {
		case t.of.kamailio:
			bits = addr.BitLen()
		case t.on.has(addrZeroMask) && !addr.IsUnspecified():
			return modelRow{}, rowDropped
		}
	}
	if addr.Is4In6() && t.on.has(addrMapped) {
		if bits <= 96 {
			return modelRow{}, rowDropped
		}
		addr, bits = addr.Unmap(), bits-96
	}
	r.prefix = netip.PrefixFrom(addr, bits).Masked()
	if r.proto == "none" {
		return r, rowIgnored
	}
	return r, rowLoads
}

var modelProtos = strings.Fields("udp tcp tls sctp ws wss ipsec bin bins hep_udp hep_tcp hep_tls smpp msrp msrps bond")

// number reads a number column: a signed integer of 32 bits taken from what
// SQLite makes of the value, or one from 0 to most exactly as written.
func (t *modelTable) number(v any, most int64, bad rowFate) (uint32, rowFate) {
	s, ok := modelText(v)
	if !ok {
		return 0, bad
	}
	exact := strings.Trim(s, " \t")
	digits := strings.TrimPrefix(exact, "-")
	whole := digits != "" && strings.Trim(digits, "0123456789") == ""
	if t.of.file && t.on.has(addrFile) && !whole {
		return 0, rowDropped
	}
	n, err := strconv.ParseInt(exact, 10, 64)
	if t.on.has(addrNumber) && (!whole || err != nil || n < 0 || n > most) {
		return 0, rowDropped
	}
	if t.of.file {
		return wrapDigits(s), rowLoads
	}
	if err != nil {
		f, err := strconv.ParseFloat(exact, 64) // "1e2" is a number to SQLite
		if err != nil {
			f, _ = strconv.ParseFloat(leadingNumber(exact), 64)
		}
		n = int64(f)
	}
	return uint32(n), rowLoads
}

func leadingNumber(s string) string {
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.' || i == 0 && s[i] == '-') {
		i++
	}
	return s[:i]
}

// wrapDigits reads the digits at the head of s modulo 2^32.
func wrapDigits(s string) (n uint32) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			break
		}
		n = n*10 + uint32(c-'0')
	}
	return n
}

// padded is a text, without the blanks on its right if literals are ours.
func (t *modelTable) padded(v any) (*string, bool) {
	s, ok := modelText(v)
	if t.on.has(addrLiteral) {
		s = strings.TrimRight(s, " ")
	}
	return &s, ok
}

func modelText(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

// ask answers as the original does, or as we do.
func (t *modelTable) ask(q modelQuery) modelAnswer {
	if t.on.has(addrNumber) && (q.port < 0 || q.port > 65535 || q.group < 0 || q.group > 1<<32-1) {
		return modelAnswer{rc: -1}
	}
	q.group, q.port = int64(uint32(int32(q.group))), int64(uint32(int32(q.port)))
	if !t.of.kamailio && strings.EqualFold(q.proto, "any") {
		q.proto = ""
	}
	q.proto = strings.ToLower(q.proto)
	if q.proto != "" && !slices.Contains(modelProtos, q.proto) {
		return modelAnswer{rc: -1}
	}
	addr, isAddr := t.literal(q.ip, false)
	if !isAddr && !t.of.kamailio {
		return modelAnswer{rc: -1}
	}
	candidates := t.candidates(q, addr)
	if len(candidates) == 0 {
		return modelAnswer{rc: t.none(q)}
	}
	winner := t.first(candidates, addr)
	if winner == nil {
		return modelAnswer{rc: t.none(q)}
	}
	a := modelAnswer{rc: 1, row: winner.n, group: winner.group, info: winner.info}
	if q.anyGroup && t.of.kamailio {
		a.rc = int(int32(winner.group))
		if winner.domain {
			a.info = nil // allow_address_group sets no tag for a name
		}
	}
	return a
}

// none is the code for no match: -2 for a group without rows, but not for any
// group, even of a table without rows.
func (t *modelTable) none(q modelQuery) int {
	if t.of.kamailio || t.on.has(addrNoGroup) || q.anyGroup || q.group == 0 {
		return -1
	}
	if slices.ContainsFunc(t.rows, func(r modelRow) bool { return int64(r.group) == q.group }) {
		return -1
	}
	return -2
}

// candidates are the rows that match q, in the order of the source.
func (t *modelTable) candidates(q modelQuery, addr netip.Addr) (found []modelRow) {
	for _, r := range t.rows {
		if t.groupMatches(r, q) && t.addressMatches(r, q, addr) && t.restMatches(r, q) {
			found = append(found, r)
		}
	}
	return found
}

func (t *modelTable) groupMatches(r modelRow, q modelQuery) bool {
	switch {
	case q.anyGroup, int64(r.group) == q.group, !t.of.kamailio && q.group == 0:
		return true
	case t.of.pre2025 && r.group == 0 && !t.on.has(addrGroup0Row):
		// a wildcard, where the group asked about has rows at all
		return slices.ContainsFunc(t.rows, func(s modelRow) bool {
			return int64(s.group) == q.group && s.host() == r.host()
		})
	}
	return false
}

func (t *modelTable) addressMatches(r modelRow, q modelQuery, addr netip.Addr) bool {
	if !addr.IsValid() {
		if t.on.has(addrNames) {
			name := modelName(q.ip)
			return r.domain && strings.EqualFold(strings.TrimSuffix(r.name, "."), name)
		}
		return r.domain && r.name == q.ip
	}
	return !r.domain && r.prefix.Contains(addr)
}

func (t *modelTable) restMatches(r modelRow, q modelQuery) bool {
	if r.port != 0 && int64(r.port) != q.port && (t.of.kamailio || q.port != 0) {
		return false
	}
	if q.anyGroup && !t.on.has(addrSrcGroup) {
		return true
	}
	if r.proto != "" && q.proto != "" && r.proto != q.proto {
		return false
	}
	return q.anyGroup || r.pattern == "" || q.subject == nil || modelGlob(r.pattern, *q.subject, true)
}

// first is the row that wins; nil if none of the candidates is found.
func (t *modelTable) first(candidates []modelRow, addr netip.Addr) *modelRow {
	switch {
	case t.of.kamailio || t.of.pre2025:
		candidates = t.hostsFirst(candidates)
	default:
		candidates = t.searchGroups(candidates, addr)
	}
	if t.on.has(addrWinner) {
		slices.SortStableFunc(candidates, func(a, b modelRow) int {
			return cmp.Or(moreSpecific(a, b), cmp.Compare(t.place(a.n), t.place(b.n)))
		})
	}
	if len(candidates) == 0 {
		return nil
	}
	return &candidates[0]
}

func moreSpecific(a, b modelRow) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) }

// hostsFirst orders candidates as Kamailio and the older OpenSIPS find them:
// hosts and domains, the last one first, then the subnets by group.
func (t *modelTable) hostsFirst(candidates []modelRow) []modelRow {
	var hosts, subnets []modelRow
	for _, r := range candidates {
		if r.host() || r.domain {
			hosts = append(hosts, r)
		} else {
			subnets = append(subnets, r)
		}
	}
	slices.Reverse(hosts)
	slices.SortStableFunc(subnets, func(a, b modelRow) int { return cmp.Compare(a.group, b.group) })
	if t.of.longest {
		slices.SortStableFunc(subnets, moreSpecific)
	}
	return append(hosts, subnets...)
}

func (t *modelTable) place(n int) int {
	return slices.IndexFunc(t.rows, func(r modelRow) bool { return r.n == n })
}

// searchGroups orders candidates as OpenSIPS 3.6 finds them: the groups in
// ascending order; in each the bucket of the address, in its order, then the
// trie, shortest prefix first and the last row of a prefix first. A row with
// mask 32 or 128 of either family is not in the trie.
func (t *modelTable) searchGroups(candidates []modelRow, addr netip.Addr) (found []modelRow) {
	is := func(n int) func(modelRow) bool { return func(r modelRow) bool { return r.n == n } }
	for _, g := range t.groups() {
		for _, n := range t.bucket(g, addr) {
			if i := slices.IndexFunc(candidates, is(n)); i >= 0 {
				found = append(found, candidates[i])
			}
		}
		var trie []modelRow
		for _, r := range slices.Backward(candidates) {
			outside := r.prefix.Bits() == 32 && !t.on.has(addrV632) || r.host()
			if r.group == g && !outside && !slices.ContainsFunc(found, is(r.n)) {
				trie = append(trie, r)
			}
		}
		slices.SortStableFunc(trie, func(a, b modelRow) int { return cmp.Compare(a.prefix.Bits(), b.prefix.Bits()) })
		found = append(found, trie...)
	}
	return found
}

func (t *modelTable) groups() (groups []uint32) {
	for _, r := range t.rows {
		groups = append(groups, r.group)
	}
	slices.Sort(groups)
	return slices.Compact(groups)
}

// bucket gives the rows of a group in the bucket of addr, first the one that
// is found first. Rows go to the head; when there are as many rows as buckets
// the buckets are doubled, their rows going to the head one by one.
func (t *modelTable) bucket(group uint32, addr netip.Addr) []int {
	type entry struct {
		n    int
		hash uint32
	}
	buckets := make([][]entry, 16)
	put := func(e entry) {
		i := e.hash % uint32(len(buckets))
		buckets[i] = append([]entry{e}, buckets[i]...)
	}
	rows := 0
	for _, r := range t.rows {
		if r.group != group {
			continue
		}
		if rows >= len(buckets) {
			old := buckets
			buckets = make([][]entry, 2*len(old))
			for _, b := range old {
				for _, e := range b {
					put(e)
				}
			}
		}
		put(entry{r.n, modelHash(r.prefix.Addr().AsSlice(), true)})
		rows++
	}
	var ns []int
	for _, e := range buckets[modelHash(addr.AsSlice(), true)%uint32(len(buckets))] {
		ns = append(ns, e.n)
	}
	return ns
}

// modelHash is the hash of both originals' core, over words of 32 bits, the
// last one shorter and added even if it is empty.
func modelHash(b []byte, signed bool) uint32 {
	var h uint32
	for i := 0; ; i += 4 {
		var v uint32
		for _, c := range b[i:min(i+4, len(b))] {
			v = v<<8 + uint32(c)
			if signed && c >= 128 {
				v -= 256
			}
		}
		h += v ^ v>>3
		if i+4 > len(b) {
			return h + h>>11 + (h>>13 + h>>23)
		}
	}
}
