package conformance

import (
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// The files of every question have these names with us.
const (
	allowFile = "permissions.allow"
	denyFile  = "permissions.deny"
)

// ruleConformance asks questions about rule files and explains the answers.
type ruleConformance struct {
	t      *testing.T
	model  *ruleModel
	loaded map[string]ruleLoad
}

// ruleLoad is what came of loading the files of a question.
type ruleLoad struct {
	rules  sipacl.Rules
	asSent sipacl.Rules
	lines  map[string]map[int]bool // file -> the lines refused
	whole  bool                    // refused for no line: neither file exists
	err    error
}

func newRuleConformance(t *testing.T, r *report) *ruleConformance {
	return &ruleConformance{t: t, model: newRuleModel(t, r.patterns), loaded: map[string]ruleLoad{}}
}

// newRuleModel reads the recorded verdicts of regcomp in these folders.
func newRuleModel(t *testing.T, dirs []string) *ruleModel {
	m := &ruleModel{verdicts: map[string]bool{}, compiled: map[string]*naiveERE{}, files: map[string][]modelRule{}}
	for _, dir := range dirs {
		recorded, err := filepath.Glob(filepath.Join(dir, "rule-patterns*.jsonl*"))
		require.NoError(t, err)
		for _, file := range recorded {
			for line := range vectors.Lines(t, file) {
				var v recordedPattern
				vectors.Decode(t, line, &v)
				m.verdicts[v.text(t)] = v.Regcomp
			}
		}
	}
	return m
}

// fromBase64 is a recorded text, which may have been coded.
func fromBase64(t *testing.T, text, coded *string) *string {
	if coded == nil {
		return text
	}
	b, err := base64.StdEncoding.DecodeString(*coded)
	require.NoError(t, err)
	s := string(b)
	return &s
}

// files holds texts as files.
func files(texts map[string]string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, text := range texts {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
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
	got, err := c.answer(q, load.rules)
	if err == nil {
		err = c.checkAsSent(q, got)
	}
	if err != nil {
		return nil, err
	}
	return c.explainAnswer(q, got, want)
}

// explainAnswer names the decisions by which got is the answer, and not want.
func (c *ruleConformance) explainAnswer(q ruleQuestion, got, want string) (ids []string, err error) {
	switch {
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

// checkAsSent asks again with AsSent set: every decision but notAsSent.
func (c *ruleConformance) checkAsSent(q ruleQuestion, canonical string) error {
	if canonical == "dropped" || q.unloaded {
		return nil
	}
	on := ruleSwitches{}
	for _, id := range ruleDecisions {
		on[id] = !slices.Contains(notAsSent, id)
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
		return c.explainMissing(q, load, want)
	}
	bad := c.lint(q)
	ids, err := load.refuses(bad)
	if err != nil {
		return nil, err
	}
	q.allow, q.deny = withoutLines(q.allow, bad[allowFile]), withoutLines(q.deny, bad[denyFile])
	q.quirkAllow, q.quirkDen = withoutLines(q.quirkAllow, bad[allowFile]), withoutLines(q.quirkDen, bad[denyFile])
	if want != "dropped" {
		want = c.model.answer(q, nil)
	}
	if _, err := c.explain(q, want); err != nil {
		return nil, fmt.Errorf("without the bad lines: %w", err)
	}
	return ids, nil
}

// explainMissing asks again with Optional set: neither file exists.
func (c *ruleConformance) explainMissing(q ruleQuestion, load ruleLoad, want string) ([]string, error) {
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

// refuses checks that exactly the bad lines were refused, and gives the
// decisions that refuse them.
func (l ruleLoad) refuses(bad map[string]map[int]string) ([]string, error) {
	ids := map[string]bool{}
	for _, file := range []string{allowFile, denyFile} {
		if len(l.lines[file]) != len(bad[file]) {
			return nil, fmt.Errorf("refused lines %v of %s, must refuse %v: %w", l.lines[file], file, bad[file], l.err)
		}
		for n, id := range bad[file] {
			if !l.lines[file][n] {
				return nil, fmt.Errorf("line %s:%d loads, want an error by %s", file, n, id)
			}
			ids[id] = true
		}
	}
	return slices.Sorted(maps.Keys(ids)), nil
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
		bad[allowFile] = lines
	}
	if lines := c.model.lint(q.deny); len(lines) > 0 {
		bad[denyFile] = lines
	}
	return bad
}

// load loads the files of a question, each pair of files once.
func (c *ruleConformance) load(q ruleQuestion) ruleLoad {
	texts := map[string]string{}
	for name, text := range map[string]*string{allowFile: q.allow, denyFile: q.deny} {
		if text != nil {
			texts[name] = *text
		}
	}
	key := fmt.Sprintf("%q %v %v", texts, q.allBranches, q.optional)
	if l, ok := c.loaded[key]; ok {
		return l
	}
	var l ruleLoad
	cfg := sipacl.RulesConfig{FS: files(texts), FirstBranchOnly: !q.allBranches, Optional: q.optional}
	l.rules, l.err = sipacl.NewRules(c.t.Context(), cfg)
	cfg.AsSent = true
	l.asSent, _ = sipacl.NewRules(c.t.Context(), cfg) // with the same errors
	l.readErrors(c.t)
	c.loaded[key] = l
	return l
}

// readErrors notes which lines the errors are about.
func (l *ruleLoad) readErrors(t *testing.T) {
	l.lines = map[string]map[int]bool{allowFile: {}, denyFile: {}}
	errs := loadErrors(l.err)
	require.Equal(t, l.err == nil, len(errs) == 0, "%v", l.err)
	for _, e := range errs {
		if e.Origin.Line == 0 {
			l.whole = true
			continue
		}
		require.Positive(t, e.Origin.Col)
		l.lines[e.Origin.Name][e.Origin.Line] = true
	}
}

// answer asks us, through a message that sipgo parses, and checks that an
// explained answer is the same.
func (c *ruleConformance) answer(q ruleQuestion, rules sipacl.Rules) (string, error) {
	if q.unloaded {
		rules = sipacl.Rules{}
	}
	d, explained, err := q.put(rules)
	switch {
	case err != nil:
		return "dropped", nil
	case d != explained:
		return "", fmt.Errorf("says %v, explained is %v", d, explained)
	}
	return allowOrDeny(d), nil
}

// put asks the question twice. An error says that sipgo drops the message.
func (q ruleQuestion) put(rules sipacl.Rules) (d, explained sipacl.Decision, err error) {
	if q.fn == "test" {
		var tr sipacl.Trace
		d = rules.Current().Test(*q.left, q.uri)
		rules.Current().Tracing(&tr).Test(*q.left, q.uri)
		return d, tr.Decision, nil
	}
	req, err := q.message()
	if err != nil {
		return d, explained, err
	}
	r, check := sipacl.RequestOf(req, nil), q.check(rules)
	return check(r), sipacl.Explain(check, r).Decision, nil
}

// check is the question to a handle.
func (q ruleQuestion) check(rules sipacl.Rules) sipacl.Check {
	switch q.fn {
	case "routing":
		return func(r sipacl.Request) sipacl.Decision { return rules.AllowRouting(r, parsedURIs(q.branches)...) }
	case "register":
		return rules.AllowRegister
	case "registerport":
		return rules.AllowRegisterWithPort
	}
	return func(r sipacl.Request) sipacl.Decision { return rules.AllowURI(r, q.uri) }
}

// parsedURIs gives the zero URI, which is refused, for a text that is no URI.
func parsedURIs(texts []string) (uris []sip.Uri) {
	for _, text := range texts {
		var u sip.Uri
		if err := sip.ParseUri(text, &u); err != nil {
			u = sip.Uri{}
		}
		uris = append(uris, u)
	}
	return uris
}

// message builds the message that a question was asked with.
func (q ruleQuestion) message() (*sip.Request, error) {
	m, err := sip.ParseMessage([]byte(q.messageText()))
	if err != nil {
		return nil, err
	}
	req, ok := m.(*sip.Request)
	if !ok {
		return nil, errors.New("no request")
	}
	return req, nil
}

func (q ruleQuestion) messageText() string {
	method, target, from, to := "INVITE", "sip:x@example.net", "<sip:caller@example.net>;tag=1", "<sip:callee@example.net>"
	fields := []*string{&from, &to}
	mine := 0
	switch q.fn {
	case "register", "registerport":
		method, target, mine = "REGISTER", "sip:example.net", 1
	case "routing":
		target = q.requestURI
	}
	fields[mine] = q.left
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
	return b.String()
}

func askOpenSIPSRules(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	c := newRuleConformance(t, r)
	for line := range lines {
		var v openSIPSRule
		vectors.Decode(t, line, &v)
		v.given = map[string]any{}
		vectors.Decode(t, line, &v.given)
		q, unaskable := v.question(t)
		if unaskable != "" {
			r.unaskable(unaskable)
			continue
		}
		c.ask(r, v.ID, q, strings.TrimPrefix(v.Decision, "message-"))
	}
}

type openSIPSRule struct {
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
func (v *openSIPSRule) question(t *testing.T) (q ruleQuestion, unaskable string) {
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
		q.unloaded = v.Special && v.forkedBefore()
		if v.Special && !q.unloaded && !commandArgument(*v.URI, *v.Contact) {
			return q, "the management command checks its arguments"
		}
	default:
		t.Fatalf("%s: function %s", v.ID, v.Fn)
	}
	return q, ""
}

// forkedBefore reports whether the management process forked before the files
// were loaded: it knows the default pair only.
func (v *openSIPSRule) forkedBefore() bool {
	return strings.Contains(v.Modparam, "default_") || v.Basename != nil && *v.Basename != "permissions"
}

// commandArgument reports whether the management command takes these texts.
func commandArgument(texts ...string) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return s == "" || len(s) > 1024 })
}

var modparamLine = regexp.MustCompile(`"permissions","(\w+)","([^"]*)"`)

// resolve finds the files by their names, as the configuration gave them.
func (v *openSIPSRule) resolve(q *ruleQuestion) {
	param := map[string]string{
		"default_allow_file": allowFile, "default_deny_file": denyFile,
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

// kamailioRules are the files of a set, or a question to one and the answers
// of several builds.
type kamailioRules struct {
	Kind, ID, Ruleset, Func      string
	Allow, Deny                  *string
	From, To, Ruri, URI, Contact *string
	Branches, Contacts           []string
	Obs                          map[string]string
}

func askKamailioRules(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	c := newRuleConformance(t, r)
	sets := map[string]kamailioRules{}
	for line := range lines {
		var v kamailioRules
		vectors.Decode(t, line, &v)
		if v.Kind == "ruleset" {
			sets[v.ID] = v
			continue
		}
		set, ok := sets[v.Ruleset]
		require.True(t, ok, "%s", line)
		q := v.question(t, set)
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

func (v kamailioRules) question(t *testing.T, set kamailioRules) ruleQuestion {
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
	return q
}
