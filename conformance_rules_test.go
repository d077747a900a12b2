package sipacl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

func init() {
	conformance["opensips-rules"] = conformOpenSIPSRules
	conformance["opensips-strings"] = conformOpenSIPSStrings
	conformance["kamailio-rules"] = conformKamailioRules
}

// ruleConformance asks questions about rule files and explains the answers.
type ruleConformance struct {
	t      *testing.T
	model  *ruleModel
	loaded map[string]ruleLoad
}

type ruleLoad struct {
	set    *RuleSet
	asSent *RuleSet
	lines  map[string]map[int]bool // file -> the lines refused
	whole  bool                    // refused for no line: neither file exists
	err    error
}

func newRuleConformance(t *testing.T, r *report) *ruleConformance {
	return &ruleConformance{t: t, model: newRuleModel(t, r.dir), loaded: map[string]ruleLoad{}}
}

// newRuleModel reads the recorded verdicts of regcomp: those beside the
// recordings, and those of this repository.
func newRuleModel(t *testing.T, dir string) *ruleModel {
	m := &ruleModel{verdicts: map[string]bool{}, compiled: map[string]*naiveERE{}, files: map[string][]modelRule{}}
	for _, d := range []string{"testdata/vectors", dir} {
		files, err := filepath.Glob(filepath.Join(d, "rule-patterns*.jsonl*"))
		require.NoError(t, err)
		for _, file := range files {
			for line := range jsonLines(t, file) {
				var v struct {
					Pattern *string
					Coded   *string `json:"pattern_b64"`
					Regcomp bool
				}
				decode(t, line, &v)
				m.verdicts[*fromBase64(t, v.Pattern, v.Coded)] = v.Regcomp
			}
		}
	}
	return m
}

// ask counts one question.
func (c *ruleConformance) ask(r *report, name string, q ruleQuestion, want string) {
	ids, err := c.explain(q, want)
	switch {
	case err != nil:
		r.unexplained("%s: %v: %s", name, err, q)
	case len(ids) == 0:
		r.agree()
	default:
		r.differ(strings.Join(ids, "+"))
	}
}

func (q ruleQuestion) String() string {
	text := func(p *string) string {
		if p == nil {
			return "none"
		}
		return fmt.Sprintf("%q", shorten(*p))
	}
	return fmt.Sprintf("%s all=%v allow=%s deny=%s left=%s ruri=%q branches=%.200q contacts=%.200q uri=%.200q",
		q.fn, q.allBranches, text(q.allow), text(q.deny), text(q.left), shorten(q.requestURI), q.branches, q.contacts, q.uri)
}

// explain compares our answer with the recorded one. The ids are those of the
// decisions that make them differ, none if they agree.
func (c *ruleConformance) explain(q ruleQuestion, want string) (ids []string, err error) {
	if want != "dropped" {
		if got := c.model.answer(q, nil); got != want {
			return nil, fmt.Errorf("the model says %s, recorded is %s", got, want)
		}
	}
	load := c.load(q)
	if load.err != nil && !q.unloaded {
		return c.explainLoad(q, load, want)
	}
	if bad := c.lint(q); len(bad) > 0 && !q.unloaded {
		return nil, fmt.Errorf("loads, want errors %v", bad)
	}
	got, err := c.answer(q, load.set)
	if err == nil {
		err = c.checkAsSent(q, got)
	}
	switch {
	case err != nil:
		return nil, err
	case got == want:
		return nil, nil
	case got == "dropped":
		return []string{"rule-message"}, nil
	}
	ids, ok := c.model.smallest(q, got)
	if !ok {
		return nil, fmt.Errorf("says %s, recorded is %s, and no decision prescribes it", got, want)
	}
	if want == "dropped" {
		ids = append([]string{"rule-message"}, ids...)
	}
	return ids, nil
}

// checkAsSent asks again with AsSent set: every decision but rule-canonical.
func (c *ruleConformance) checkAsSent(q ruleQuestion, canonical string) error {
	if canonical == "dropped" || q.unloaded {
		return nil
	}
	on := ruleSwitches{}
	for _, id := range ruleDecisions {
		on[id] = id != "rule-canonical"
	}
	got, err := c.answer(q, c.load(q).asSent)
	if want := c.model.answer(q, on); err == nil && got != want {
		err = fmt.Errorf("AsSent says %s, the model %s", got, want)
	}
	return err
}

// explainLoad checks that exactly the lines were refused that must be, and
// asks again without them.
func (c *ruleConformance) explainLoad(q ruleQuestion, load ruleLoad, want string) ([]string, error) {
	if load.whole {
		if q.allow != nil || q.deny != nil {
			return nil, fmt.Errorf("load error %w", load.err)
		}
		q.optional = true
		ids, err := c.explain(q, want)
		if err != nil {
			return nil, fmt.Errorf("without files and Optional: %w", err)
		}
		return append([]string{"rule-missing"}, ids...), nil
	}
	bad := c.lint(q)
	var ids []string
	for file, lines := range map[string]map[int]bool{"permissions.allow": load.lines["permissions.allow"], "permissions.deny": load.lines["permissions.deny"]} {
		if len(lines) != len(bad[file]) {
			return nil, fmt.Errorf("refused lines %v of %s, must refuse %v: %w", lines, file, bad[file], load.err)
		}
		for n, id := range bad[file] {
			if !lines[n] {
				return nil, fmt.Errorf("line %s:%d loads, want an error by %s", file, n, id)
			}
			if !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	q.allow, q.deny = withoutLines(q.allow, bad["permissions.allow"]), withoutLines(q.deny, bad["permissions.deny"])
	q.quirkAllow, q.quirkDen = withoutLines(q.quirkAllow, bad["permissions.allow"]), withoutLines(q.quirkDen, bad["permissions.deny"])
	if want != "dropped" {
		want = c.model.answer(q, nil)
	}
	if _, err := c.explain(q, want); err != nil {
		return nil, fmt.Errorf("without the bad lines: %w", err)
	}
	return ids, nil
}

func withoutLines(text *string, bad map[int]string) *string {
	if text == nil || len(bad) == 0 {
		return text
	}
	var kept strings.Builder
	n := 0
	for line := range strings.Lines(*text) {
		if n++; bad[n] == "" {
			kept.WriteString(line)
		} else {
			kept.WriteByte('\n')
		}
	}
	s := kept.String()
	return &s
}

func (c *ruleConformance) lint(q ruleQuestion) map[string]map[int]string {
	bad := map[string]map[int]string{}
	if lines := c.model.lint(q.allow); len(lines) > 0 {
		bad["permissions.allow"] = lines
	}
	if lines := c.model.lint(q.deny); len(lines) > 0 {
		bad["permissions.deny"] = lines
	}
	return bad
}

// load loads the files of a question, each pair of files once.
func (c *ruleConformance) load(q ruleQuestion) ruleLoad {
	files := memFS{}
	for name, text := range map[string]*string{"permissions.allow": q.allow, "permissions.deny": q.deny} {
		if text != nil {
			files[name] = *text
		}
	}
	key := fmt.Sprintf("%q %v %v", files, q.allBranches, q.optional)
	if l, ok := c.loaded[key]; ok {
		return l
	}
	l := ruleLoad{lines: map[string]map[int]bool{}}
	cfg := RulesConfig{FS: files, FirstBranchOnly: !q.allBranches, Optional: q.optional}
	l.set, l.err = loadRulesOf(cfg)
	cfg.AsSent = true
	l.asSent, _ = loadRulesOf(cfg) // with the same errors
	if l.err != nil {
		for _, err := range l.err.(interface{ Unwrap() []error }).Unwrap() {
			var e *LoadError
			require.True(c.t, errors.As(err, &e), "%v", err)
			if e.Origin.Line == 0 {
				l.whole = true
				continue
			}
			require.Positive(c.t, e.Origin.Col)
			if l.lines[e.Origin.Name] == nil {
				l.lines[e.Origin.Name] = map[int]bool{}
			}
			l.lines[e.Origin.Name][e.Origin.Line] = true
		}
	}
	c.loaded[key] = l
	return l
}

// answer asks us: through a message that sipgo parses, and checks that the
// trace tells the same.
func (c *ruleConformance) answer(q ruleQuestion, set *RuleSet) (string, error) {
	var d Decision
	var tr Trace
	if q.unloaded {
		set = nil
	}
	if q.fn == "test" {
		d = set.Test(*q.left, q.uri)
		set.Tracing(&tr).Test(*q.left, q.uri)
	} else {
		req, err := q.message()
		if err != nil {
			return "dropped", nil
		}
		switch q.fn {
		case "routing":
			var branches []sip.Uri
			for _, b := range q.branches {
				branches = append(branches, parseURI(b))
			}
			d = set.checkRouting(req, branches)
			tr.Decision = set.Tracing(&tr).checkRouting(req, branches)
		case "register":
			d = set.checkRegister(req, branchURI)
			tr.Decision = set.Tracing(&tr).checkRegister(req, branchURI)
		case "registerport":
			d = set.checkRegister(req, portURI)
			tr.Decision = set.Tracing(&tr).checkRegister(req, portURI)
		case "uri":
			d = set.checkURI(req, q.uri)
			tr.Decision = set.Tracing(&tr).checkURI(req, q.uri)
		}
	}
	if d != tr.Decision {
		return "", fmt.Errorf("says %v, explained is %v", d, tr.Decision)
	}
	if d.Allowed {
		return "allow", nil
	}
	return "deny", nil
}

// message builds the message that a question was asked with.
func (q ruleQuestion) message() (*sip.Request, error) {
	method, target, from, to := "INVITE", "sip:x@example.net", "<sip:caller@example.net>;tag=1", "<sip:callee@example.net>"
	fields := []*string{&from, &to}
	mine := 0
	switch q.fn {
	case "register", "registerport":
		method, target, mine = "REGISTER", "sip:example.net", 1
	case "routing":
		target = q.requestURI
	}
	if fields[mine] = nil; q.left != nil {
		fields[mine] = q.left
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\n", method, target)
	for i, name := range []string{"From", "To"} {
		if fields[i] != nil {
			fmt.Fprintf(&b, "%s: %s\r\n", name, *fields[i])
		}
	}
	fmt.Fprintf(&b, "Call-ID: 1\r\nCSeq: 1 %s\r\n", method)
	for _, contact := range q.contacts {
		fmt.Fprintf(&b, "Contact: %s\r\n", contact)
		if strings.Contains(contact, "*") {
			b.WriteString("Expires: 0\r\n")
		}
	}
	b.WriteString("Content-Length: 0\r\n\r\n")
	m, err := sip.ParseMessage([]byte(b.String()))
	if err != nil {
		return nil, err
	}
	req, ok := m.(*sip.Request)
	if !ok {
		return nil, errors.New("no request")
	}
	return req, nil
}

func conformOpenSIPSRules(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	c := newRuleConformance(t, r)
	for line := range lines {
		var v opensipsRule
		decode(t, line, &v)
		v.given = map[string]any{}
		decode(t, line, &v.given)
		q, unaskable := v.question(t)
		if unaskable != "" {
			r.unaskable(unaskable)
			continue
		}
		want := strings.TrimPrefix(v.Decision, "message-")
		c.ask(r, v.ID, q, want)
	}
}

type opensipsRule struct {
	ID, Set, Fn                            string
	CheckAllBranches                       int `json:"check_all_branches"`
	Allow, Deny                            *string
	AllowB64                               *string `json:"allow_b64"`
	DenyB64                                *string `json:"deny_b64"`
	From, To, Ruri, URI, Contact, Basename *string
	Branches, Contacts                     []string
	Files                                  map[string]string
	Modparam, Decision                     string
	Special                                bool

	given map[string]any
}

// question gives what was asked, or why it cannot be.
func (v *opensipsRule) question(t *testing.T) (q ruleQuestion, unaskable string) {
	q = ruleQuestion{allBranches: v.CheckAllBranches != 0, branches: v.Branches, contacts: v.Contacts}
	q.allow, q.deny = fromBase64(t, v.Allow, v.AllowB64), fromBase64(t, v.Deny, v.DenyB64)
	if _, ok := v.given["allow"]; !ok && v.Special && v.AllowB64 == nil {
		v.resolve(&q)
	}
	switch v.Fn {
	case "allow_routing":
		q.fn, q.left, q.requestURI = "routing", v.From, *v.Ruri
	case "allow_register":
		q.fn, q.left = "register", v.To
	case "allow_uri":
		q.fn, q.left = "uri", v.From
		if v.URI == nil {
			return q, "the argument was null"
		}
		q.uri = *v.URI
	case "mi_allow_uri":
		q.fn, q.left, q.uri = "test", v.URI, *v.Contact
		if v.Special {
			// Only the default pair is loaded before the management process.
			q.unloaded = strings.Contains(v.Modparam, "default_") || v.Basename != nil && *v.Basename != "permissions"
			if !q.unloaded && (*v.URI == "" || *v.Contact == "" || len(*v.URI) > 1024 || len(*v.Contact) > 1024) {
				return q, "the management command checks its arguments"
			}
		}
	default:
		t.Fatalf("%s: function %s", v.ID, v.Fn)
	}
	return q, ""
}

func fromBase64(t *testing.T, text, coded *string) *string {
	if coded == nil {
		return text
	}
	b, err := base64.StdEncoding.DecodeString(*coded)
	require.NoError(t, err)
	s := string(b)
	return &s
}

var modparamLine = regexp.MustCompile(`"permissions","(\w+)","([^"]*)"`)

// resolve finds the files by their names, as the configuration gave them.
func (v *opensipsRule) resolve(q *ruleQuestion) {
	param := map[string]string{
		"default_allow_file": "permissions.allow", "default_deny_file": "permissions.deny",
		"allow_suffix": ".allow", "deny_suffix": ".deny",
	}
	for _, m := range modparamLine.FindAllStringSubmatch(v.Modparam, -1) {
		param[m[1]] = strings.TrimPrefix(m[2], "@D@/")
	}
	file := func(name string) *string {
		if text, ok := v.Files[name]; ok {
			return &text
		}
		return nil
	}
	if v.Basename == nil {
		q.allow, q.deny = file(param["default_allow_file"]), file(param["default_deny_file"])
		return
	}
	base := *v.Basename
	q.allow, q.deny = file(base+param["allow_suffix"]), file(base+param["deny_suffix"])
	sameAllow := base+param["allow_suffix"] == param["default_allow_file"]
	sameDeny := base+param["deny_suffix"] == param["default_deny_file"]
	switch {
	case sameDeny && !sameAllow: // loaded already, with these allow rules
		q.quirk, q.quirkAllow, q.quirkDen = "rule-pair", file(param["default_allow_file"]), q.deny
	case sameAllow && !sameDeny: // a new pair, and the allow file is not loaded again
		q.quirk, q.quirkDen = "rule-pair", q.deny
	case strings.HasPrefix(base, "@D@/"):
		base = strings.TrimPrefix(base, "@D@/")
		q.allow, q.deny = file(base+param["allow_suffix"]), file(base+param["deny_suffix"])
	case strings.Contains(base, "/"): // looked up from "/", where nothing is
		q.quirk = "rule-path"
	}
}

func conformKamailioRules(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	c := newRuleConformance(t, r)
	type files struct{ Allow, Deny *string }
	sets := map[string]files{}
	for line := range lines {
		var v struct {
			Kind, ID, Ruleset, Func      string
			Allow, Deny                  *string
			From, To, Ruri, URI, Contact *string
			Branches, Contacts           []string
			Obs                          map[string]string
		}
		decode(t, line, &v)
		if v.Kind == "ruleset" {
			sets[v.ID] = files{v.Allow, v.Deny}
			continue
		}
		set, ok := sets[v.Ruleset]
		require.True(t, ok, "%s", line)
		q := ruleQuestion{allow: set.Allow, deny: set.Deny, branches: v.Branches, contacts: v.Contacts}
		switch v.Func {
		case "allow_routing":
			q.fn, q.left, q.requestURI = "routing", v.From, *v.Ruri
		case "allow_register":
			q.fn, q.left = "register", v.To
		case "allow_register_include_port":
			q.fn, q.left = "registerport", v.To
		case "allow_uri":
			q.fn, q.left, q.uri = "uri", v.From, *v.URI
		case "rpc:permissions.testUri":
			q.fn, q.left, q.uri = "test", v.URI, *v.Contact
		default:
			t.Fatalf("function %s", v.Func)
		}
		for build, answer := range v.Obs {
			if answer == "n/a" {
				continue
			}
			q.allBranches = !strings.HasSuffix(build, "-cab0")
			want := map[string]string{"allow": "allow", "Allowed": "allow", "deny": "deny", "Denied": "deny"}[answer]
			c.ask(r, v.Ruleset+" "+build, q, want)
		}
	}
}

// conformOpenSIPSStrings compares the texts themselves: the one that the
// original matched and our plain one. Refusing to make one is an answer too.
func conformOpenSIPSStrings(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var v struct {
			ID, Fn, Side, Input string
			Matched             *string `json:"matched_string"`
		}
		decode(t, line, &v)
		want := "refused"
		if v.Matched != nil {
			want = "text " + *v.Matched
		}
		got, parsed := plainTextOf(t, v.Fn, v.Side, v.Input)
		if got == want {
			r.agree()
			continue
		}
		if !parsed {
			r.differ("rule-message")
			continue
		}
		ids := textDecisions(v.Fn, v.Side, v.Input, want, got)
		if ids == "" {
			r.unexplained("%s: %s %s %q: %s, recorded is %s", v.ID, v.Fn, v.Side, v.Input, got, want)
			continue
		}
		r.differ(ids)
	}
}

// plainTextOf gives the text that rules see, "text ..." or "refused".
func plainTextOf(t *testing.T, fn, side, input string) (text string, parsed bool) {
	var plain string
	var ok bool
	q := ruleQuestion{fn: "uri", left: &input, uri: "x"}
	other := "<sip:a@b>"
	switch {
	case side == "left" && fn == "allow_register":
		q.fn = "register"
	case side == "left":
	case fn == "allow_uri":
		return "text " + input, true
	case fn == "allow_routing/branch":
		u := parseURI(input)
		plain, ok = plainURI(&u, branchURI)
		return textOrRefused(plain, ok), u.Scheme != ""
	case fn == "allow_routing":
		q = ruleQuestion{fn: "routing", left: &other, requestURI: input}
	case fn == "allow_register":
		q = ruleQuestion{fn: "register", left: &other, contacts: []string{"<" + input + ">"}}
	default:
		t.Fatalf("function %s", fn)
	}
	req, err := q.message()
	if err != nil {
		return "refused", false
	}
	from, to, both := fromTo(req)
	switch {
	case side == "left" && q.fn == "register":
		plain, ok = sourceText(&to.Address)
		ok = ok && both && strictParams(to.Params)
	case side == "left":
		plain, ok = sourceText(&from.Address)
		ok = ok && both && strictParams(from.Params)
	case q.fn == "routing":
		plain, ok = plainURI(&req.Recipient, requestURI)
	default:
		uris, _, err := Contacts(req)
		if err != nil || len(uris) != 1 {
			return "refused", true
		}
		plain, ok = plainURI(&uris[0], branchURI)
	}
	return textOrRefused(plain, ok), true
}

func textOrRefused(text string, ok bool) string {
	if !ok {
		return "refused"
	}
	return "text " + text
}

// textDecisions gives the decisions by which the model turns one text into
// the other.
func textDecisions(fn, side, input, from, to string) string {
	role := branchURI
	if fn == "allow_routing" {
		role = requestURI
	}
	text := func(on ...string) string {
		a := modelAsk{on: ruleSwitches{}}
		for _, id := range on {
			a.on[id] = true
		}
		if side == "left" {
			return textOrRefused(a.leftText(input))
		}
		return textOrRefused(a.rightText(input, role))
	}
	if text() != from {
		return ""
	}
	for _, ids := range [][]string{{"rule-raw-left"}, {"rule-raw-right"}, {"rule-uri"}, {"rule-header"}, {"rule-message"}, {"rule-raw-left", "rule-uri"}, {"rule-raw-right", "rule-uri"}} {
		if text(ids...) == to {
			return strings.Join(ids, "+")
		}
	}
	return ""
}
