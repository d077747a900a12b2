package conformance

import (
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// askKamailioQuirks asks what concerns rule files: which files a call uses,
// and the command testUri. The records about reloads, dumps and start-up have
// no question for a library.
func askKamailioQuirks(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	for line := range lines {
		var v quirk
		vectors.Decode(t, line, &v)
		switch v.Kind {
		case "file-index":
			v.askFiles(t, r)
		case "rpc":
			v.askTestURI(t, r)
		}
	}
}

type quirk struct {
	Kind, Note string
	Params     any
	Files      map[string]string
	Obs        any
}

// askFiles puts the calls of one configuration, each with files of its own.
func (v quirk) askFiles(t *testing.T, r *report) {
	calls, _ := v.Obs.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(calls)) {
		c, ok := v.call(key)
		if !ok {
			r.unaskable("no call of a rule function")
			continue
		}
		switch got := c.ask(t); {
		case got == calls[key]:
			r.agree()
		case v.sharesFile(calls, c):
			r.differ("rule-pair")
		default:
			r.unexplained("%s: %s: says %s, recorded is %v", v.Note, key, got, calls[key])
		}
	}
}

// sharesFile reports whether another call uses one file of c, and another
// beside it: decision rule-pair.
func (v quirk) sharesFile(calls map[string]any, c quirkCall) bool {
	for key := range calls {
		d, ok := v.call(key)
		if ok && (d.cfg.AllowFile == c.cfg.AllowFile) != (d.cfg.DenyFile == c.cfg.DenyFile) {
			return true
		}
	}
	return false
}

// quirkCall is a call of a rule function in a script, by a caller.
type quirkCall struct {
	fn, caller string
	cfg        sipacl.RulesConfig
}

var quirkText = regexp.MustCompile(`^allow_(routing|register|uri)\((.*)\) from=(\w+)$`)

func (v quirk) call(text string) (c quirkCall, ok bool) {
	m := quirkText.FindStringSubmatch(text)
	if m == nil {
		return c, false
	}
	suffix := map[string]string{"allow_suffix": ".allow", "deny_suffix": ".deny"}
	params, _ := v.Params.(string)
	for _, p := range modparamLine.FindAllStringSubmatch(params, -1) {
		suffix[p[1]] = p[2]
	}
	var names []string
	for name := range strings.SplitSeq(m[2], ",") {
		names = append(names, strings.Trim(name, `" `))
	}
	base := names[0]
	if base == "" {
		base = "permissions"
	}
	c = quirkCall{m[1], m[3], sipacl.RulesConfig{
		FS: files(v.Files), Optional: true, AllowFile: base + suffix["allow_suffix"], DenyFile: base + suffix["deny_suffix"],
	}}
	if len(names) == 2 && c.fn != "uri" {
		c.cfg.AllowFile, c.cfg.DenyFile = names[0], names[1]
	}
	return c, true
}

func (c quirkCall) ask(t *testing.T) string {
	rules, err := sipacl.NewRules(t.Context(), c.cfg)
	require.NoError(t, err)
	rs, from, to := rules.Current(), "sip:"+c.caller+"@example.com", "sip:1@example.org"
	switch c.fn {
	case "routing":
		return allowOrDeny(rs.AllowRouting(from, to))
	case "register":
		return allowOrDeny(rs.AllowRegister(from, to))
	}
	return allowOrDeny(rs.AllowURI(from, to))
}

func allowOrDeny(d sipacl.Decision) string {
	if d.Allowed {
		return "allow"
	}
	return "deny"
}

// askTestURI puts a question of the management command. What is a complaint
// about its arguments is no question to rules.
func (v quirk) askTestURI(t *testing.T, r *report) {
	obs, _ := v.Obs.(map[string]any)
	want := map[any]string{"Allowed": "allow", "Denied": "deny"}[obs["result"]]
	params, ok := threeTexts(v.Params)
	if !ok || want == "" {
		return
	}
	if got := allowOrDeny(testURIRules(t, params[0]).Test(params[1], params[2])); got == want {
		r.agree()
	} else {
		r.unexplained("testUri %v: says %s, recorded is %s", params, got, want)
	}
}

func threeTexts(v any) (texts []string, ok bool) {
	list, _ := v.([]any)
	for _, p := range list {
		if s, ok := p.(string); ok {
			texts = append(texts, s)
		}
	}
	return texts, len(list) == 3 && len(texts) == 3
}

// testURIRules are the rules of a basename. b.deny was loaded, and permissions
// without files.
func testURIRules(t *testing.T, basename string) *sipacl.RuleSet {
	deny := map[string]string{"b": "bob : ALL\n", "permissions": ""}
	text, ok := deny[basename]
	if !ok {
		return nil
	}
	rules, err := sipacl.NewRules(t.Context(), sipacl.RulesConfig{FS: files(map[string]string{"permissions.deny": text})})
	require.NoError(t, err)
	return rules.Current()
}
