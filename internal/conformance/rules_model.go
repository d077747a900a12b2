package conformance

import (
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// ruleQuestion is one recorded question to the rule files.
type ruleQuestion struct {
	fn          string // routing, register, registerport, uri, test
	allow, deny *string
	allBranches bool    // check_all_branches
	left        *string // raw value of From or To; for test the text; nil: no such header
	requestURI  string
	branches    []string
	contacts    []string // raw values
	uri         string
	optional    bool // neither file may exist

	unloaded             bool    // the original has not loaded this pair
	quirk                string  // the decision by which the original used these files instead:
	quirkAllow, quirkDen *string // see rule-pair and rule-path
}

// String gives the question for a message.
func (q ruleQuestion) String() string {
	text := func(p *string) string {
		if p == nil {
			return "none"
		}
		return fmt.Sprintf("%.200q", *p)
	}
	return fmt.Sprintf("%s all=%v allow=%s deny=%s left=%s ruri=%.200q branches=%.200q contacts=%.200q uri=%.200q",
		q.fn, q.allBranches, text(q.allow), text(q.deny), text(q.left), q.requestURI, q.branches, q.contacts, q.uri)
}

// uriRole says where a destination stands: the originals make different texts.
type uriRole uint8

const (
	branchURI  uriRole = iota // a branch or Contact
	requestURI                // the Request-URI
	portURI                   // a Contact, with its port
)

// ruleSwitches is a set of ids of behaviour decisions.
type ruleSwitches map[string]bool

// ruleDecisions are those that one switch each turns on in the model, beside
// those that make a file a load error.
var ruleDecisions = []string{
	"rule-canonical", "rule-control", "rule-crlf", "rule-except", "rule-firstbranch", "rule-header", "rule-length",
	"rule-long", "rule-message", "rule-pair", "rule-path", "rule-raw-left", "rule-raw-right", "rule-star", "rule-uri",
}

// ruleModel answers as the originals do, from the description of what they
// were seen to do; on switches single decisions to what this package does.
// It shares nothing with the package.
type ruleModel struct {
	verdicts map[string]bool // recorded: does regcomp accept the expression?
	compiled map[string]*naiveERE
	files    map[string][]modelRule
}

type modelRule struct{ left, right modelSide }

type modelSide struct {
	all         bool
	any, except []*naiveERE
}

func (m *ruleModel) compile(text string) *naiveERE {
	if e, ok := m.compiled[text]; ok {
		return e
	}
	var e *naiveERE
	if ok, known := m.verdicts[text]; ok || !known {
		if x, err := parseNaive(text); err == nil {
			e = &x
		}
	}
	m.compiled[text] = e
	return e
}

// file reads a file as the originals do: what is broken is dropped.
func (m *ruleModel) file(text *string, on ruleSwitches) []modelRule {
	if text == nil {
		return nil
	}
	key := strconv.FormatBool(on["rule-crlf"]) + strconv.FormatBool(on["rule-except"]) + strconv.FormatBool(on["rule-long"]) + *text
	if rules, ok := m.files[key]; ok {
		return rules
	}
	var rules []modelRule
	src := *text
	if on["rule-crlf"] {
		src = strings.TrimPrefix(src, "\ufeff")
	}
	for src != "" {
		n := strings.IndexByte(src, '\n') + 1
		if n == 0 {
			n = len(src)
		}
		if n > 499 && !on["rule-long"] {
			n = 499
		}
		line := strings.TrimSuffix(src[:n], "\n")
		src = src[n:]
		if on["rule-crlf"] {
			line = strings.TrimSuffix(line, "\r")
		}
		if r, ok := m.line(line, on); ok {
			rules = append(rules, r)
		}
	}
	m.files[key] = rules
	return rules
}

func (m *ruleModel) line(line string, on ruleSwitches) (r modelRule, ok bool) {
	quoted, colon, end := false, -1, len(line)
scan:
	for i := range len(line) {
		switch c := line[i]; {
		case c == 0 || c == '#' && !quoted:
			end = i
			break scan
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			colon = i
		}
	}
	if colon <= 0 || colon+1 >= end {
		return r, false
	}
	left, lok := m.side(line[:colon], on)
	right, rok := m.side(line[colon+1:end], on)
	return modelRule{left, right}, lok && rok
}

func (m *ruleModel) side(s string, on ruleSwitches) (side modelSide, ok bool) {
	head := s
	if i := exceptAt(s, on["rule-except"]); i >= 0 {
		head = s[:i]
		if side.except, ok = m.list(s[i+len(" EXCEPT "):], on["rule-long"]); !ok {
			return side, false
		}
	}
	head = strings.Trim(head, " \t\n\v\f\r")
	if head == "ALL" {
		side.all = true
		return side, true
	}
	side.any, ok = m.list(head, on["rule-long"])
	return side, ok
}

// exceptAt finds " EXCEPT ": anywhere, or as a word outside quotes.
func exceptAt(s string, word bool) int {
	if !word {
		return strings.Index(s, " EXCEPT ")
	}
	quoted := false
	for i := range len(s) {
		if s[i] == '"' {
			quoted = !quoted
		}
		if !quoted && regexp.MustCompile(`^[ \t]EXCEPT[ \t]`).MatchString(s[i:]) {
			return i
		}
	}
	return -1
}

func (m *ruleModel) list(s string, long ...bool) (list []*naiveERE, ok bool) {
	quoted, start := false, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '"' {
			quoted = !quoted
		}
		if i < len(s) && (quoted || s[i] != ',') {
			continue
		}
		e := strings.TrimPrefix(strings.TrimLeft(s[start:i], " \t"), `"`)
		e = strings.TrimSuffix(strings.TrimRight(e, " \t"), `"`)
		start = i + 1
		if e == "" || len(e) > 255 && !slices.Contains(long, true) {
			return nil, false
		}
		x := m.compile(e)
		if x == nil {
			return nil, false
		}
		list = append(list, x)
	}
	return list, true
}

func (s modelSide) matches(text string) bool {
	in := func(list []*naiveERE) bool {
		return slices.ContainsFunc(list, func(e *naiveERE) bool { return e.MatchString(text) })
	}
	return (s.all || in(s.any)) && !in(s.except)
}

// modelPair is a pair of texts, each in the spellings that are asked.
type modelPair struct{ left, right []string }

func (p modelPair) matches(rules []modelRule) bool {
	return slices.ContainsFunc(rules, func(r modelRule) bool {
		return slices.ContainsFunc(p.left, r.left.matches) && slices.ContainsFunc(p.right, r.right.matches)
	})
}

// modelAsk is one question while it is answered.
type modelAsk struct {
	*ruleModel
	on          ruleSwitches
	allow, deny []modelRule
	limit       int
	keepPort    bool
}

// answer gives "allow" or "deny".
func (m *ruleModel) answer(q ruleQuestion, on ruleSwitches) string {
	if q.unloaded {
		return "deny"
	}
	allow, deny := q.allow, q.deny
	if q.quirk != "" && !on[q.quirk] {
		allow, deny = q.quirkAllow, q.quirkDen
	}
	a := modelAsk{ruleModel: m, on: on, allow: m.file(allow, on), deny: m.file(deny, on), limit: 256}
	a.keepPort = q.fn == "registerport"
	if on["rule-length"] || q.fn == "test" {
		a.limit = 1024
	}
	if len(a.allow) == 0 && len(a.deny) == 0 || a.decide(q) {
		return "allow"
	}
	return "deny"
}

func (a modelAsk) decide(q ruleQuestion) bool {
	if q.left == nil {
		return false
	}
	if q.fn == "test" {
		return a.fits(*q.left) && a.fits(q.uri) && a.pair(*q.left, q.uri)
	}
	left, ok := a.leftText(*q.left)
	if !ok {
		return false
	}
	switch q.fn {
	case "uri":
		return a.fits(left) && a.fits(q.uri) && a.pair(left, q.uri)
	case "routing":
		return a.routing(left, q)
	}
	return a.register(left, q)
}

func (a modelAsk) fits(text string) bool {
	if a.on["rule-control"] && regexp.MustCompile(`[^ -~]`).MatchString(text) {
		return false
	}
	return len(text) <= a.limit
}

// pair decides a pair of texts.
func (a modelAsk) pair(left, right string) bool {
	sure, either := modelPair{[]string{left}, []string{right}}, modelPair{[]string{left}, []string{right}}
	if a.on["rule-canonical"] {
		l, r := modelCanonical(left, false), modelCanonical(right, a.keepPort)
		sure = modelPair{[]string{l}, []string{r}}
		either = modelPair{[]string{left, l}, []string{right, r}}
	}
	return sure.matches(a.allow) || !either.matches(a.deny)
}

func (a modelAsk) routing(left string, q ruleQuestion) bool {
	r, ok := a.rightText(q.requestURI, requestURI)
	if !ok || !a.fits(left) || !a.fits(r) || !a.pair(left, r) {
		return false
	}
	for _, b := range q.branches {
		if !q.allBranches {
			break
		}
		if r, ok := a.rightText(b, branchURI); !ok || !a.fits(r) || !a.pair(left, r) {
			return false
		}
	}
	return true
}

func (a modelAsk) register(left string, q ruleQuestion) bool {
	role := branchURI
	if a.keepPort {
		role = portURI
	}
	if a.on["rule-star"] {
		items, stars := 0, 0
		for _, field := range q.contacts {
			for item := range strings.SplitSeq(field, ",") {
				item, _, _ = strings.Cut(item, ";")
				items++
				if strings.Trim(item, " \t<>") == "*" {
					stars++
				}
			}
		}
		if stars > 0 {
			return items == 1 && !strings.Contains(q.contacts[0], ";") && a.fits(left)
		}
	}
	if a.on["rule-control"] && !a.fits(left) {
		return false
	}
	for i, field := range q.contacts {
		uris, star, ok := a.contacts(field)
		if star {
			return true
		}
		if i == 0 && (!ok || !a.fits(left)) {
			return false
		}
		for _, u := range uris {
			r, ok := a.rightText(u, role)
			if !ok || !a.fits(r) {
				return false
			}
			if q.allBranches || a.on["rule-firstbranch"] {
				if !a.pair(left, r) {
					return false
				}
			} else if (modelPair{[]string{left}, []string{r}}).matches(a.deny) {
				return false
			}
		}
		if !ok {
			return false
		}
	}
	return true
}

// leftText is what the originals compare of a From or To: its raw URI.
func (a modelAsk) leftText(header string) (string, bool) {
	if a.on["rule-header"] && modelBadHeader(header) {
		return "", false
	}
	text, ok := modelAddress(header)
	if a.on["rule-message"] || a.on["rule-raw-left"] {
		u, parsed := sipgoAddress(header)
		switch {
		case !parsed:
			return "", false
		case a.on["rule-raw-left"]:
			text, ok = u.String(), true
		}
	}
	if ok && a.on["rule-uri"] && modelBadURI(text) {
		return "", false
	}
	return text, ok
}

// modelAddress takes the URI out of an address, as it was written.
func modelAddress(h string) (string, bool) {
	h = strings.Trim(h, " \t")
	quoted, open := false, -1
scan:
	for i := 0; i < len(h); i++ {
		switch {
		case h[i] == '\\' && quoted:
			i++
		case h[i] == '"':
			quoted = !quoted
		case h[i] == '<' && !quoted:
			open = i
			break scan
		case h[i] == ';' && !quoted:
			break scan
		}
	}
	if quoted {
		return "", false
	}
	if open < 0 {
		u, params, _ := strings.Cut(h, ";")
		u = strings.TrimRight(u, " \t")
		return u, u != "" && !strings.ContainsAny(u, ", \t") && modelParams(params)
	}
	length := strings.IndexByte(h[open:], '>')
	if length < 0 {
		return "", false
	}
	u := strings.Trim(h[open+1:open+length], " \t")
	rest := strings.Trim(h[open+length+1:], " \t")
	if u == "" || strings.ContainsAny(u, " \t") || rest != "" && rest[0] != ';' {
		return "", false
	}
	return u, rest == "" || modelParams(rest[1:])
}

func modelParams(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		if strings.TrimSpace(p) == "tag" {
			return false
		}
	}
	return true
}

func sipgoAddress(header string) (u sip.Uri, ok bool) {
	_, err := sip.ParseAddressValue(strings.TrimSpace(header), &u, nil)
	return u, err == nil && !u.Wildcard
}

// modelBadHeader is decision rule-header, on what sipgo made of the header.
func modelBadHeader(header string) bool {
	var u sip.Uri
	var params sip.HeaderParams
	if _, err := sip.ParseAddressValue(strings.TrimSpace(header), &u, &params); err != nil {
		return false
	}
	for i, p := range params {
		switch {
		case regexp.MustCompile(`^[ \t]*$`).MatchString(p.K) && p.V == "":
		case !regexp.MustCompile(`^[ \t]*[^<>,"@ \t]+[ \t]*$`).MatchString(p.K):
			return true
		case regexp.MustCompile(`(?i)^[ \t]*tag[ \t]*$`).MatchString(p.K) && p.V == "":
			return true
		case i == 0 && p.V == "" && regexp.MustCompile(`^[ \t]`).MatchString(p.K):
			return true
		}
	}
	return false
}

// contacts splits a Contact header field.
func (a modelAsk) contacts(h string) (uris []string, star, ok bool) {
	h = strings.TrimLeft(h, " \t")
	if h == "*" {
		return nil, true, true
	}
	h = strings.TrimPrefix(strings.TrimRight(h, " \t"), ",")
	quoted, bracket, start := false, false, 0
	for i := 0; i <= len(h); i++ {
		if i < len(h) {
			switch c := h[i]; {
			case c == '"':
				quoted = !quoted
			case c == '<' && !quoted:
				bracket = true
			case c == '>' && !quoted:
				bracket = false
			}
			if quoted || bracket || h[i] != ',' {
				continue
			}
		}
		item := h[start:i]
		u, ok := modelAddress(item)
		if !ok || u == "*" || a.on["rule-header"] && modelBadHeader(item) {
			return uris, false, false
		}
		uris = append(uris, u)
		start = i + 1
	}
	return uris, false, !quoted && !bracket
}

// rightText is what the originals compare of a destination.
func (a modelAsk) rightText(u string, role uriRole) (string, bool) {
	if a.on["rule-raw-right"] {
		u = regexp.MustCompile(`^(?i)(sips?:)@`).ReplaceAllString(u, "$1")
	}
	var parsed sip.Uri
	if err := sip.ParseUri(u, &parsed); a.on["rule-message"] && err != nil {
		return "", false
	}
	if a.on["rule-uri"] && modelBadURI(u) {
		return "", false
	}
	scheme, rest, ok := strings.Cut(u, ":")
	if !ok {
		return "", false
	}
	at := func(user, host string) string {
		if user == "" && role != requestURI {
			return "sip:" + host
		}
		return "sip:" + user + "@" + host
	}
	switch strings.ToLower(scheme) {
	case "sip", "sips":
	case "tel":
		number, _, _ := strings.Cut(rest, ";")
		return "sip:" + number + "@", number != ""
	case "urn":
		service, ok := strings.CutPrefix(rest, "service:")
		return at("", service), ok
	default:
		return "", false
	}
	user, host, hasUser := strings.Cut(rest, "@")
	if !hasUser {
		user, host = "", rest
	}
	user, _, _ = strings.Cut(user, ":")
	if hasUser && user == "" || host == "" || strings.Contains(host, "@") {
		return "", false
	}
	port := ""
	if host[0] == '[' {
		i := strings.IndexByte(host, ']')
		if i < 0 {
			return "", false
		}
		host, port = host[:i+1], host[i+1:]
	} else {
		if i := strings.IndexAny(host, ":;?"); i >= 0 {
			host, port = host[:i], host[i:]
		}
		if strings.ContainsAny(host, "[]") {
			return "", false
		}
	}
	text := at(user, host)
	if number, ok := strings.CutPrefix(port, ":"); ok {
		if i := strings.IndexAny(number, ";?"); i >= 0 {
			number = number[:i]
		}
		n, err := strconv.Atoi(number)
		if err != nil || n > 65535 || !regexp.MustCompile(`^[0-9]+$`).MatchString(number) {
			return "", false
		}
		if role == portURI {
			text += ":" + number
		}
	}
	return text, host != ""
}

var (
	modelHost    = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	modelNumeric = regexp.MustCompile(`^(0[xX][0-9a-fA-F]*|[0-9]*)(\.(0[xX][0-9a-fA-F]*|[0-9]*))*$`)
	modelIPv4    = regexp.MustCompile(`^` + modelOctet + `(\.` + modelOctet + `){3}$`)
	modelTel     = regexp.MustCompile(`^[^;@: \t<>"]+(;[^@]*)?$`)
	modelService = regexp.MustCompile(`^service:[A-Za-z0-9._-]+$`)
)

const modelOctet = `([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])`

// modelBadURI is decision rule-uri, on what sipgo made of the URI.
func modelBadURI(text string) bool {
	var u sip.Uri
	if err := sip.ParseUri(text, &u); err != nil {
		return true
	}
	switch u.Scheme {
	case "tel":
		return !modelTel.MatchString(u.Raw())
	case "urn":
		return !modelService.MatchString(u.Raw())
	case "sip", "sips":
	default:
		return true
	}
	if inner, ok := strings.CutPrefix(u.Host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if ip := net.ParseIP(inner); !ok || ip == nil || !strings.Contains(inner, ":") {
			return true
		}
	} else if !modelHost.MatchString(u.Host) || modelNumeric.MatchString(u.Host) && !modelIPv4.MatchString(u.Host) {
		return true
	}
	for _, p := range u.UriParams {
		if strings.Contains(p.K+p.V, "@") {
			return true
		}
	}
	return u.HierarhicalSlashes || u.Wildcard || strings.ContainsAny(u.User, ": \t<>\"") || u.Port < 0 || u.Port > 65535
}

var (
	modelSIP    = regexp.MustCompile(`^(?is)(sips?):(?:([^@]*)@)?(\[[^\];?]*\]|[^:;?]*)(:[^;?]*)?(.*)$`)
	modelEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

	modelSeparators = regexp.MustCompile(`[-.()]`)
)

// modelCanonical is decision rule-canonical.
func modelCanonical(text string, keepPort bool) string {
	decode := func(s string) string {
		return modelEscape.ReplaceAllStringFunc(s, func(e string) string {
			n, _ := strconv.ParseUint(e[1:], 16, 8)
			if regexp.MustCompile(`^[A-Za-z0-9_.!~*'()-]$`).MatchString(string(rune(n))) {
				return string(rune(n))
			}
			return e
		})
	}
	if scheme, rest, ok := strings.Cut(text, ":"); ok && strings.EqualFold(scheme, "tel") {
		number, _, _ := strings.Cut(rest, ";")
		return "tel:" + modelSeparators.ReplaceAllString(decode(number), "")
	}
	p := modelSIP.FindStringSubmatch(text)
	if p == nil {
		return text
	}
	out := strings.ToLower(p[1]) + ":"
	if strings.Contains(text, "@") {
		user, _, _ := strings.Cut(p[2], ":")
		if user = decode(user); strings.HasSuffix(text, "@") {
			user = modelSeparators.ReplaceAllString(user, "")
		}
		out += user + "@"
	}
	host := strings.ToLower(strings.TrimSuffix(p[3], "."))
	if inner := strings.Trim(host, "[]"); "["+inner+"]" == host && strings.Contains(inner, ":") {
		if ip := net.ParseIP(inner); ip != nil {
			host = "[" + ip.String() + "]"
			if ip.To4() != nil {
				host = ip.String()
			}
		}
	}
	out += host
	if keepPort {
		out += p[4]
	}
	return out
}

// lint tells which lines of a file this package must refuse, and by which
// decision. It reads lines by one pattern, not by a grammar.
func (m *ruleModel) lint(text *string) map[int]string {
	bad := map[int]string{}
	if text == nil {
		return bad
	}
	src := strings.TrimPrefix(*text, "\ufeff")
	n := 0
	for line := range strings.Lines(src) {
		n++
		if id := m.lintLine(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")); id != "" {
			bad[n] = id
		}
	}
	return bad
}

const (
	lintExpr = `("[^"]+"|[^" \t,:#]+)`
	lintList = lintExpr + `([ \t]*,[ \t]*` + lintExpr + `)*`
	lintSide = `[ \t]*` + lintList + `([ \t]+EXCEPT[ \t]+` + lintList + `)?[ \t]*`
)

var (
	lintLine    = regexp.MustCompile(`^` + lintSide + `:` + lintSide + `$`)
	lintWord    = regexp.MustCompile(`"[^"]*"?|[^" \t,:]+|[,:]`)
	lintComment = regexp.MustCompile(`^((?:[^"#]|"[^"]*"|"[^"]*$)*)`)
)

func (m *ruleModel) lintLine(line string) string {
	if len(line) > 65536 {
		return "rule-long"
	}
	line = strings.TrimRight(lintComment.FindString(line), " \t")
	if strings.Trim(line, " \t") == "" {
		return ""
	}
	if regexp.MustCompile(`[\x00-\x08\x0a-\x1f\x7f]`).MatchString(line) {
		return "rule-crlf"
	}
	if strings.Count(line, `"`)%2 == 1 {
		return "rule-quote"
	}
	words := lintWord.FindAllString(line, -1)
	count := func(w string) (n int) {
		for _, x := range words {
			if x == w {
				n++
			}
		}
		return n
	}
	switch count(":") {
	case 0:
		return "rule-badline"
	case 1:
	default:
		return "rule-colon"
	}
	colon := slices.Index(words, ":")
	for _, side := range [][]string{words[:colon], words[colon+1:]} {
		i := slices.Index(side, "EXCEPT")
		switch {
		case i < 0:
		case i == 0 || i == len(side)-1 || slices.Contains(side[i+1:], "EXCEPT") || side[i-1] == "," || side[i+1] == ",":
			return "rule-except"
		}
		for j, w := range side {
			first, last := j == 0, j == len(side)-1 || side[j+1] == "EXCEPT"
			if strings.EqualFold(w, "ALL") && !(w == "ALL" && first && last) {
				return "rule-all"
			}
		}
	}
	if !lintLine.MatchString(line) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Trim(w, `"`) == "" }) || regexp.MustCompile(`,[ \t]*(,|:|$)|(^|:)[ \t]*(,|:|$)`).MatchString(lintMask(line)) {
			return "rule-badline"
		}
		return "rule-quote"
	}
	for _, w := range words {
		e := strings.Trim(w, `"`)
		if w == "," || w == ":" || w == "ALL" || w == "EXCEPT" {
			continue
		}
		switch {
		case len(e) > 4096:
			return "rule-long"
		case m.compile(e) == nil:
			return "rule-badline"
		case ereRefused(e, false):
			return "rule-ere"
		}
	}
	return ""
}

// lintMask hides what is quoted.
func lintMask(line string) string {
	return regexp.MustCompile(`"[^"]*"`).ReplaceAllStringFunc(line, func(q string) string { return strings.Repeat("Q", len(q)) })
}

// smallest gives the fewest decisions that make the model give want.
func (m *ruleModel) smallest(q ruleQuestion, want string) (ids []string, ok bool) {
	all := ruleSwitches{}
	var useful []string
	for _, id := range ruleDecisions {
		all[id] = true
		useful = append(useful, id)
	}
	if m.answer(q, all) != want {
		return nil, false
	}
	// Leave out one after the other, as long as the answer stays.
	for _, id := range useful {
		less := maps.Clone(all)
		delete(less, id)
		if m.answer(q, less) == want {
			all = less
		}
	}
	return slices.Sorted(maps.Keys(all)), true
}
