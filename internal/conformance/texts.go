package conformance

import (
	"iter"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/vectors"
)

// recordedText is a header value or a URI, and the text that OpenSIPS made of
// it for its rules; null if it refused.
type recordedText struct {
	ID, Fn, Side, Input string
	Matched             *string `json:"matched_string"`
}

// askOpenSIPSStrings compares the texts themselves: the one that the original
// matched and our plain one. Refusing to make one is an answer too.
func askOpenSIPSStrings(t *testing.T, r *report, lines iter.Seq[[]byte]) {
	rules, err := sipacl.NewRules(t.Context(), sipacl.RulesConfig{
		FS: files(map[string]string{denyFile: `"^nobody$" : ALL`}), AsSent: true,
	})
	require.NoError(t, err)
	for line := range lines {
		var v recordedText
		vectors.Decode(t, line, &v)
		want := "refused"
		if v.Matched != nil {
			want = "text " + *v.Matched
		}
		switch got, parsed := v.ours(t, rules); {
		case got == want:
			r.agree()
		case !parsed:
			r.differ("rule-message")
		case v.explain(want, got) != "":
			r.differ(v.explain(want, got))
		default:
			r.unexplained("%s: %s %s %q: %s, recorded is %s", v.ID, v.Fn, v.Side, v.Input, got, want)
		}
	}
}

// ours is the text that our rules see; parsed is false if sipgo drops it.
func (v recordedText) ours(t *testing.T, rules sipacl.Rules) (text string, parsed bool) {
	if v.Fn == "allow_routing/branch" {
		u := parsedURIs([]string{v.Input})[0]
		return textOrRefused(sipacl.PlainURI(&u)), u.Scheme != ""
	}
	q := v.question(t)
	req, err := q.message()
	if err != nil {
		return "refused", false
	}
	if v.Side == "right" && q.fn == "register" {
		return contactText(req), true
	}
	d := q.check(rules)(sipacl.RequestOf(req, nil))
	if text = d.Right; v.Side == "left" {
		text = d.Left
	}
	return textOrRefused(text, d.Cause != sipacl.CauseMalformed), true
}

// question is one in which the text is compared.
func (v recordedText) question(t *testing.T) ruleQuestion {
	other := "<sip:a@b>"
	switch v.Side + " " + v.Fn {
	case "left allow_register":
		return ruleQuestion{fn: "register", left: &v.Input}
	case "left allow_routing", "left allow_uri":
		return ruleQuestion{fn: "uri", left: &v.Input, uri: "sip:x@example.org"}
	case "right allow_uri":
		return ruleQuestion{fn: "uri", left: &other, uri: v.Input}
	case "right allow_routing":
		return ruleQuestion{fn: "routing", left: &other, requestURI: v.Input}
	case "right allow_register":
		return ruleQuestion{fn: "register", left: &other, contacts: []string{"<" + v.Input + ">"}}
	}
	t.Fatalf("%s: function %s", v.ID, v.Fn)
	return ruleQuestion{}
}

func contactText(req *sip.Request) string {
	uris, _, err := sipacl.Contacts(req)
	if err != nil || len(uris) != 1 {
		return "refused"
	}
	return textOrRefused(sipacl.PlainURI(&uris[0]))
}

func textOrRefused(text string, ok bool) string {
	if !ok {
		return "refused"
	}
	return "text " + text
}

// explain gives the decisions by which the model turns one text into the
// other.
func (v recordedText) explain(from, to string) string {
	if v.modelled() != from {
		return ""
	}
	for _, ids := range [][]string{
		{"rule-raw-left"}, {"rule-raw-right"}, {"rule-uri"}, {"rule-header"}, {"rule-message"},
		{"rule-raw-left", "rule-uri"}, {"rule-raw-right", "rule-uri"}, {"rule-length"}, {"rule-control"},
	} {
		if v.modelled(ids...) == to {
			return strings.Join(ids, "+")
		}
	}
	return ""
}

// modelled is the text that the original makes under some decisions.
func (v recordedText) modelled(ids ...string) string {
	a := modelAsk{on: ruleSwitches{}, limit: 256}
	for _, id := range ids {
		a.on[id] = true
	}
	if a.on["rule-length"] {
		a.limit = 1024
	}
	text, ok := v.Input, true
	switch {
	case v.Side == "left":
		text, ok = a.leftText(v.Input)
	case v.Fn == "allow_routing":
		text, ok = a.rightText(v.Input, requestURI)
	case v.Fn != "allow_uri":
		text, ok = a.rightText(v.Input, branchURI)
	default:
		ok = !a.on["rule-uri"] || !modelBadURI(v.Input)
	}
	return textOrRefused(text, ok && a.fits(text))
}
