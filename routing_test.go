package sipacl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/txtar"
)

var updateErrors = flag.Bool("update-errors", false, "write testdata/errors anew")

// loadText loads an allow and a deny file and gives the errors, a line each.
func loadText(allow, deny string) (*RuleSet, string) {
	rs, err := loadRulesOf(RulesConfig{FS: memFS{"permissions.allow": allow, "permissions.deny": deny}})
	if err != nil {
		return nil, err.Error()
	}
	return rs, ""
}

func TestErrorsOfRuleFilesAsWritten(t *testing.T) {
	cases, err := filepath.Glob("testdata/errors/rules-*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, file := range cases {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			comment, files := txtar.Parse(string(text))
			unquote := strings.NewReplacer(`<CR>`, "\r", `<NUL>`, "\x00", `<LONG>`, strings.Repeat("x", 5000), `<HUGE>`, strings.Repeat("x", 70000))
			_, got := loadText(unquote.Replace(files["permissions.allow"]), unquote.Replace(files["permissions.deny"]))
			if got != "" {
				got += "\n"
			}
			if *updateErrors {
				files["want"] = got
				require.NoError(t, os.WriteFile(file, []byte(txtar.Write(comment, files, "permissions.allow", "permissions.deny", "want")), 0o644))
			}
			require.Equal(t, files["want"], got)
		})
	}
}

// ruleCase is a question with the answer that a decision prescribes, or one
// just outside it.
type ruleCase struct {
	id          string
	allow, deny string
	ask         func(rs *RuleSet) Decision
	want        Cause
}

func routing(from, target string, branches ...string) func(*RuleSet) Decision {
	return func(rs *RuleSet) Decision { return rs.AllowRouting(from, target, branches...) }
}

func registering(to string, contacts ...string) func(*RuleSet) Decision {
	return func(rs *RuleSet) Decision { return rs.AllowRegister(to, contacts...) }
}

func sent(method, fields string) func(*RuleSet) Decision {
	return func(rs *RuleSet) Decision {
		req := mustRequest(method, fields)
		if method == "REGISTER" {
			return rs.checkRegister(req, contactURI)
		}
		return rs.checkRouting(req, nil)
	}
}

// mustRequest parses a request with the given header fields, From and To
// unless they have them.
func mustRequest(method, fields string) *sip.Request {
	text := method + " sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nCall-ID: 1\r\nCSeq: 1 " + method + "\r\n"
	for _, f := range []string{"From: <sip:alice@example.com>;tag=1", "To: <sip:bob@example.org>"} {
		if name, _, _ := strings.Cut(f, ":"); !strings.Contains("\n"+fields, "\n"+name+":") {
			text += f + "\r\n"
		}
	}
	for line := range strings.Lines(fields) {
		text += strings.TrimSuffix(line, "\n") + "\r\n"
	}
	m, err := sip.ParseMessage([]byte(text + "\r\n"))
	if err != nil {
		panic(err)
	}
	return m.(*sip.Request)
}

func TestRuleDecisions(t *testing.T) {
	const denyAll = "ALL : ALL\n"
	for _, c := range []ruleCase{
		{"rule-canonical parameter forges", `"@example\.com$" : ALL`, denyAll, routing("sip:eve@example.net;x=@example.com", "sip:b@h"), CauseMalformed},
		{"rule-canonical header forges", `"@example\.com$" : ALL`, denyAll, routing("sip:eve@example.net?x=example.com", "sip:b@h"), CauseDenyRule},
		{"rule-canonical parameter evades", "", `ALL : "@gw\.example$"`, routing("sip:a@b", "sip:1@gw.example;x=y"), CauseDenyRule},
		{"rule-canonical port on the left evades", "", `"^sip:eve@example\.net$" : ALL`, routing("sip:eve@example.net:5060", "sip:b@h"), CauseDenyRule},
		{"rule-canonical IPv6 spelling evades", "", `ALL : "@\[2001:db8::1\]$"`, routing("sip:a@b", "sip:1@[2001:db8:0:0::1]"), CauseDenyRule},
		{"rule-canonical IPv4-mapped evades", "", `ALL : "@192\.0\.2\.1$"`, routing("sip:a@b", "sip:1@[::ffff:192.0.2.1]"), CauseDenyRule},
		{"rule-canonical escape evades", "", `ALL : "^sip:900"`, routing("sip:a@b", "sip:%3900@h"), CauseDenyRule},
		{"rule-canonical decoded once only", "", `ALL : "^sip:900"`, routing("sip:a@b", "sip:%253900@h"), CauseDefault},
		{"rule-canonical reserved stays", "", `ALL : "@x@"`, routing("sip:a@b", "sip:u%40x@h"), CauseDefault},
		{"rule-canonical dot evades", "", `ALL : "@gw\.example$"`, routing("sip:a@b", "sip:1@GW.example."), CauseDenyRule},
		{"rule-canonical separators of a tel URI evade", "", `ALL : "^sip:\+1900"`, routing("sip:a@b", "tel:+1-900-5550"), CauseDenyRule},
		{"rule-canonical separators of a tel URI forge", `"^tel:\+1-900" : ALL`, denyAll, routing("tel:+1-900", "sip:b@h"), CauseDenyRule},
		{"rule-canonical separators in a SIP user stay", "", `ALL : "^sip:ab@"`, routing("sip:a@b", "sip:a-b@h"), CauseDefault},
		{"rule-canonical sips stays on the left", `"^sips:" : ALL`, denyAll, routing("sips:a@b:5061", "sip:b@h"), CauseAllowRule},
		{"rule-canonical plain deny bites", "", `":5070" : ALL`, routing("sip:a@b:5070", "sip:b@h"), CauseDenyRule},
		{"rule-canonical plain does not allow", `":5070" : ALL`, denyAll, routing("sip:a@b:5070", "sip:b@h"), CauseDenyRule},

		{"rule-all quoted", "", `"ALL" : ALL`, routing("sip:a@b", "sip:c@d"), CauseDefault},
		{"rule-all quoted is text", "", `"ALL" : ALL`, routing("sip:small@b", "sip:c@d"), CauseDenyRule},
		{"rule-except inside quotes is text", "", `ALL : "^sip:(x EXCEPT y)"`, routing("sip:a@b", "sip:c@d"), CauseDefault},
		{"rule-except tabs", "", "ALL\tEXCEPT\t\"^sip:a@\" : ALL", routing("sip:a@b", "sip:c@d"), CauseDefault},
		{"rule-crlf exception lives", "", "ALL : ALL EXCEPT \"@d\"\r\n", routing("sip:a@b", "sip:c@d"), CauseDefault},
		{"rule-crlf BOM", "", "\ufeffALL : \"@d\"\r\n", routing("sip:a@b", "sip:c@d"), CauseDenyRule},
		{"rule-colon quoted", "", `"sip:a@" : "sip:c@"`, routing("sip:a@b", "sip:c@d"), CauseDenyRule},
		{"rule-long comment leaks nothing", "", "#" + strings.Repeat("x", 498) + " ALL : ALL\n\"zzz\" : ALL", routing("sip:a@b", "sip:c@d"), CauseDefault},
		{"rule-long expression", "", `ALL : "` + strings.Repeat("x?", 2000) + `@d"`, routing("sip:a@b", "sip:c@d"), CauseDenyRule},
		{"rule-ere icase", "", `ALL : "^SIP:[A-C]@[[:upper:]]$"`, routing("sip:a@b", "sip:c@d"), CauseDenyRule},

		{"rule-header two From", "", `"zzz" : ALL`, sent("INVITE", "From: <sip:a@b>;tag=1\nFrom: <sip:c@d>;tag=1"), CauseMalformed},
		{"rule-header text behind", "", `"zzz" : ALL`, sent("INVITE", "From: <sip:a@b> junk"), CauseMalformed},
		{"rule-header second address", "", `"zzz" : ALL`, sent("INVITE", "From: <sip:a@b>, <sip:c@d>;tag=1"), CauseMalformed},
		{"rule-header empty tag", "", `"zzz" : ALL`, sent("INVITE", "From: <sip:a@b>;tag="), CauseMalformed},
		{"rule-header blank before tag", "", `"zzz" : ALL`, sent("INVITE", "From: <sip:a@b> ;tag=1"), CauseDefault},
		{"rule-header no rules", "", "", sent("INVITE", "From: <sip:a@b> junk"), CauseNoRules},

		{"rule-uri no host", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@"), CauseMalformed},
		{"rule-uri colon in user", "", `"zzz" : ALL`, routing("sip:a@b", "sip:a:x:y@h"), CauseMalformed},
		{"rule-uri leading zero", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@010.0.0.1"), CauseMalformed},
		{"rule-uri canonical IPv4", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@10.0.0.1"), CauseDefault},
		{"rule-uri hexadecimal", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@0x0a000001"), CauseMalformed},
		{"rule-uri a name like a number", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@0x0a.example"), CauseDefault},
		{"rule-uri IPv6", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@[2001:db8::1]:5060"), CauseDefault},
		{"rule-uri not IPv6", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@[10.0.0.1]"), CauseMalformed},
		{"rule-uri host with at", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@x@y"), CauseMalformed},
		{"rule-uri port", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@h:65536"), CauseMalformed},
		{"rule-uri highest port", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@h:65535"), CauseDefault},
		{"rule-uri slashes", "", `"zzz" : ALL`, routing("sip:a@b", "sip://u@h"), CauseMalformed},
		{"rule-uri at in a parameter", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@h;x=a@b"), CauseMalformed},
		{"rule-uri scheme", "", `"zzz" : ALL`, routing("sip:a@b", "http://h/"), CauseMalformed},
		{"rule-uri underscore", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@my_gw.example"), CauseDefault},
		{"rule-raw-right empty user", "", `ALL : "^sip:h$"`, routing("sip:a@b", "sip:x@y", "sip:@h"), CauseDenyRule},
		{"emergency Request-URI", `ALL : "^sip:@sos"`, denyAll, routing("sip:a@b", "urn:service:sos"), CauseAllowRule},
		{"emergency branch", `ALL : "^sip:x@y$", "^sip:sos\.police$"`, denyAll, routing("sip:a@b", "sip:x@y", "urn:service:sos.police"), CauseAllowRule},
		{"other urn", "", `"zzz" : ALL`, routing("sip:a@b", "urn:isbn:1"), CauseMalformed},
		{"tel", `ALL : "^sip:\+1555@$"`, denyAll, routing("tel:+1555", "tel:+1555;phone-context=x"), CauseAllowRule},
		{"user-less Request-URI", "", `ALL : "^sip:@h$"`, routing("sip:a@b", "sip:h"), CauseDenyRule},
		{"user-less branch", "", `ALL : "^sip:h$"`, routing("sip:a@b", "sip:x@y", "sip:h"), CauseDenyRule},

		{"rule-star alone", "", denyAll, sent("REGISTER", "Contact: *\nExpires: 0"), CauseStar},
		{"rule-star compact", "", denyAll, sent("REGISTER", "m: *\nExpires: 0"), CauseStar},
		{"rule-star without Expires", "", denyAll, sent("REGISTER", "Contact: *"), CauseMalformed},
		{"rule-star with Expires", "", denyAll, sent("REGISTER", "Contact: *\nExpires: 3600"), CauseMalformed},
		{"rule-star and another", "", `"zzz" : ALL`, sent("REGISTER", "Contact: *\nContact: <sip:a@b>\nExpires: 0"), CauseMalformed},
		{"rule-star behind another", "", `"zzz" : ALL`, sent("REGISTER", "Contact: <sip:a@b>\nContact: *\nExpires: 0"), CauseMalformed},
		{"rule-star host", "", `"zzz" : ALL`, sent("REGISTER", "Contact: <sip:u@*>\nExpires: 0"), CauseMalformed},
		{"every Contact", "", `ALL : "@evil"`, sent("REGISTER", "Contact: <sip:a@b>, <sip:a@evil>\nm: <sip:a@c>"), CauseDenyRule},
		{"no Contact", "", denyAll, sent("REGISTER", "Expires: 0"), CauseNoContact},

		{"rule-length", "", `"zzz" : ALL`, registering("sip:a@b", "sip:"+strings.Repeat("u", 1024-len("sip:@h"))+"@h"), CauseDefault},
		{"rule-length over", "", `"zzz" : ALL`, registering("sip:a@b", "sip:"+strings.Repeat("u", 1025-len("sip:@h"))+"@h"), CauseMalformed},
		{"rule-control", "", `"zzz" : ALL`, registering("sip:a@b", "sip:u\x01@h"), CauseMalformed},
		{"rule-control above ASCII", "", `"zzz" : ALL`, registering("sip:\xe9@b", "sip:u@h"), CauseMalformed},
		{"rule-control tilde", "", `"zzz" : ALL`, registering("sip:a~@b", "sip:u@h"), CauseDefault},
		{"rule-message", "", `"zzz" : ALL`, routing("sip:a@b", "sip:u@h", ":"), CauseMalformed},
		{"allow beats deny", `ALL : "@h"`, denyAll, routing("sip:a@b", "sip:u@h"), CauseAllowRule},
		{"one refused branch", `ALL : "@h"`, denyAll, routing("sip:a@b", "sip:u@h", "sip:u@i"), CauseDenyRule},
		{"a pair no rule matches", `ALL : "@h"`, "", routing("sip:a@b", "sip:u@h", "sip:u@i"), CauseDefault},
	} {
		rs, err := loadText(c.allow, c.deny)
		require.Empty(t, err, c.id)
		d := c.ask(rs)
		require.Equal(t, c.want.String(), d.Cause.String(), "%s: %s", c.id, d)
		require.Equal(t, slices.Contains([]Cause{CauseNoRules, CauseAllowRule, CauseDefault, CauseNoContact, CauseStar}, d.Cause), d.Allowed, c.id)
	}
}

func TestDecisionNamesRuleAndPair(t *testing.T) {
	rs, err := loadText("ALL : \"@ok\"\n", "# nobody\n\n  \"^sip:eve@\" : ALL # eve\n")
	require.Empty(t, err)
	d := rs.AllowRouting("sip:eve@example.com", "sip:1@ok", "sip:2@bad:5060")
	require.Equal(t, Origin{Name: "permissions.deny", Line: 3, Col: 3}, d.Origin)
	require.Equal(t, `refused: deny rule (permissions.deny:3:3) "sip:eve@example.com" -> "sip:2@bad"`, d.String())
	require.ErrorIs(t, d.Err(), ErrDenied)
	require.Equal(t, Origin{Name: "permissions.allow", Line: 1, Col: 1}, rs.AllowRouting("sip:eve@example.com", "sip:1@ok").Origin)
}

func TestExplainSaysWhatTheCheckSays(t *testing.T) {
	rs, err := loadText(`"^sip:a@" EXCEPT "x" : "@ok" EXCEPT "y"`, "ALL : ALL EXCEPT \"^sip:sos\"\n\"z\" : ALL")
	require.Empty(t, err)
	for _, l := range []string{"sip:a@b", "sip:ax@b", "sip:c@b:5060", "\x00"} {
		for _, r := range []string{"sip:u@ok", "sip:y@ok", "sip:sos", "sip:z@z"} {
			tr := traced(func(tr *Trace) { rs.Tracing(tr).Test(l, r) })
			require.Equal(t, rs.Test(l, r), tr.Decision)
		}
	}
	tr := traced(func(tr *Trace) { rs.Tracing(tr).AllowRouting("sip:a@b:5060", "sip:y@ok") })
	require.Equal(t, `refused: deny rule (permissions.deny:1:1) "sip:a@b:5060" -> "sip:y@ok"
  - permissions.allow:1:1 "^sip:a@" EXCEPT "x" : "@ok" EXCEPT "y" ~ "sip:a@b -> sip:y@ok": right side: exception "y" matches
  + permissions.deny:1:1 ALL : ALL EXCEPT "^sip:sos" ~ "sip:a@b:5060 (canonical sip:a@b) -> sip:y@ok"`, tr.String())
}

func TestAsSentComparesPlainTextsOnly(t *testing.T) {
	files := memFS{"permissions.allow": `":5070$" : ALL`, "permissions.deny": "\"^sip:eve@example\\.net$\" : ALL\nALL : \"x\""}
	rs, err := loadRulesOf(RulesConfig{FS: files, AsSent: true})
	require.NoError(t, err)
	require.Equal(t, CauseAllowRule, rs.AllowRouting("sip:a@b:5070", "sip:x@h").Cause)
	require.Equal(t, CauseDefault, rs.AllowRouting("sip:eve@example.net:5060", "sip:c@h").Cause)
}

func TestFirstBranchOnlyConcernsRoutingAlone(t *testing.T) {
	files := memFS{"permissions.deny": `ALL : "@bad"`, "permissions.allow": `ALL : "^sip:ok@bad"`}
	rs, err := loadRulesOf(RulesConfig{FS: files, FirstBranchOnly: true})
	require.NoError(t, err)
	require.True(t, rs.AllowRouting("sip:a@b", "sip:x@h", "sip:x@bad").Allowed)
	require.False(t, rs.AllowRouting("sip:a@b", "sip:x@bad").Allowed)
	require.False(t, rs.AllowRegister("sip:a@b", "sip:x@h", "sip:x@bad").Allowed)
	require.Equal(t, CauseAllowRule, rs.AllowRegister("sip:a@b", "sip:ok@bad").Cause) // rule-firstbranch
}

func TestTheZeroSetAndANilHandleRefuse(t *testing.T) {
	var none Rules
	req := mustRequest("REGISTER", "Contact: <sip:a@b>")
	for _, d := range []Decision{
		new(RuleSet).Test("a", "b"), (*RuleSet)(nil).AllowRouting("sip:a@b", "sip:c@d"), none.AllowRouting(RequestOf(req, nil)), none.AllowRegister(RequestOf(req, nil)),
		none.AllowRegisterWithPort(RequestOf(req, nil)), none.AllowURI(RequestOf(req, nil), "sip:x"), none.AllowReferTo(RequestOf(req, nil)), new(Rules).Current().Test("a", "b"),
	} {
		require.Equal(t, Decision{Cause: CauseNotLoaded}, d)
	}
	require.Equal(t, CauseMalformed, mustRules("", "ALL : x").AllowRouting(Request{}).Cause)
	_, err := none.Reload(t.Context())
	require.Error(t, err)
	require.Zero(t, none.Status())
	none.OnReload(nil)()
}

func TestFilesByName(t *testing.T) {
	files := memFS{
		"permissions.allow": "", "permissions.deny": "default : ALL\n",
		"base.allow": "", "base.deny": "base : ALL\n", "base.no": "suffix : ALL\n", "sub/base.deny": "sub : ALL\n",
	}
	for _, c := range []struct {
		cfg  RulesConfig
		want string
	}{
		{RulesConfig{}, "default"},
		{RulesConfig{Name: "permissions"}, "default"},
		{RulesConfig{Name: "base"}, "base"},
		{RulesConfig{Name: "base", DenySuffix: ".no"}, "suffix"},
		{RulesConfig{Name: "sub/base"}, "sub"},
		{RulesConfig{Name: "any", AllowFile: "base.allow", DenyFile: "permissions.deny"}, "default"}, // rule-pair
	} {
		c.cfg.FS = files
		rs, err := loadRulesOf(c.cfg)
		require.NoError(t, err)
		require.False(t, rs.Test(c.want, "x").Allowed, "%+v", c.cfg)
		require.True(t, rs.Test("other", "x").Allowed, "%+v", c.cfg)
	}
	for _, c := range []struct {
		cfg  RulesConfig
		want string
	}{
		{RulesConfig{Name: "none"}, "neither it nor none.deny exists"},
		{RulesConfig{Name: "/etc/permissions", FS: os.DirFS(".")}, "invalid"},
		{RulesConfig{Name: "../permissions", FS: os.DirFS(".")}, "invalid"},
		{RulesConfig{Name: "x", AllowFile: "base.allow"}, "both AllowFile and DenyFile"},
		{RulesConfig{Name: "testdata", AllowSuffix: "/errors", FS: os.DirFS(".")}, "is a directory"},
	} {
		if c.cfg.FS == nil {
			c.cfg.FS = files
		}
		_, err := loadRulesOf(c.cfg)
		require.ErrorContains(t, err, c.want, "%+v", c.cfg)
		require.ErrorAs(t, err, new(*LoadError))
	}
	_, err := loadRulesOf(RulesConfig{})
	require.ErrorContains(t, err, "want a file system")
	rs, err := loadRulesOf(RulesConfig{Name: "none", FS: files, Optional: true})
	require.NoError(t, err)
	require.Equal(t, CauseNoRules, rs.Test("a", "b").Cause)
	_, err = Open(t.Context(), Config{Rules: []RulesConfig{{FS: files}, {FS: files, Name: "permissions"}}})
	require.ErrorContains(t, err, "defined twice")
}

func TestReloadSwapsBothFilesOrNone(t *testing.T) {
	files := fstest.MapFS{
		"permissions.allow": {Data: []byte("a : ALL\n")},
		"permissions.deny":  {Data: []byte("ALL : ALL\n")},
	}
	r, err := NewRules(t.Context(), RulesConfig{FS: files, Optional: true})
	require.NoError(t, err)
	require.Equal(t, "rules:permissions", r.Name())
	old := r.Current()

	files["permissions.allow"] = &fstest.MapFile{Data: []byte("b : ALL\n")}
	files["permissions.deny"] = &fstest.MapFile{Data: []byte("All : ALL\n")}
	_, err = r.Reload(t.Context())
	require.ErrorContains(t, err, "permissions.deny:1:1: found All")
	require.Same(t, old, r.Current())
	require.Error(t, r.Status().LastError)

	files["permissions.deny"] = &fstest.MapFile{Data: []byte("ALL : ALL\nx : ALL\n")}
	var told []ReloadReport
	defer r.OnReload(func(rep ReloadReport) { told = append(told, rep) })()
	report, err := r.Reload(t.Context())
	require.NoError(t, err)
	require.Equal(t, []ReloadReport{report}, told)
	require.Equal(t, []int{2, 1, 3}, []int{report.Added, report.Removed, report.Entries})
	require.Equal(t, uint64(2), r.Current().Generation())
	require.True(t, r.Current().Test("b", "x").Allowed)
	require.False(t, old.Test("b", "x").Allowed)

	delete(files, "permissions.deny")
	_, err = r.Reload(t.Context())
	require.ErrorContains(t, err, "was there and is gone")
	require.False(t, r.Current().Test("c", "x").Allowed)

	files["permissions.deny"] = &fstest.MapFile{}
	_, err = r.Reload(t.Context())
	require.NoError(t, err)
	require.True(t, r.Current().Test("c", "x").Allowed)
}

func TestSetWithoutRulesWarns(t *testing.T) {
	r, err := NewRules(t.Context(), RulesConfig{FS: memFS{"permissions.allow": "# nothing\n"}})
	require.NoError(t, err)
	report, err := r.Reload(t.Context())
	require.NoError(t, err)
	require.Contains(t, report.Warnings[0], "everything is allowed")
}

// brokenFS fails with an error that is not fs.ErrNotExist.
type brokenFS struct{ memFS }

func (brokenFS) ReadFile(string) ([]byte, error) { return nil, fs.ErrPermission }

func TestUnreadableFileIsNotAMissingOne(t *testing.T) {
	_, err := loadRulesOf(RulesConfig{FS: brokenFS{}, Optional: true})
	require.ErrorIs(t, err, fs.ErrPermission)
}

func TestSnapshotKeepsItsRules(t *testing.T) {
	files := fstest.MapFS{"permissions.deny": {Data: []byte("a : ALL\n")}, "other.deny": {Data: []byte("b : ALL\n")}}
	perm, err := Open(t.Context(), Config{Rules: []RulesConfig{{FS: files}, {FS: files, Name: "other"}}})
	require.NoError(t, err)
	first, err := perm.Rules("")
	require.NoError(t, err)
	other, err := perm.Rules("other")
	require.NoError(t, err)
	_, err = perm.Rules("none")
	require.ErrorIs(t, err, ErrUnknown)

	snap := perm.Snapshot()
	files["permissions.deny"] = &fstest.MapFile{Data: []byte("c : ALL\n")}
	_, err = perm.Reload(t.Context(), "rules:permissions")
	require.NoError(t, err)
	require.False(t, first.At(snap).Test("a", "x").Allowed)
	require.True(t, first.Current().Test("a", "x").Allowed)
	require.False(t, other.At(snap).Test("b", "x").Allowed)
	require.Nil(t, mustRules("", "x : ALL").At(snap))
	require.Nil(t, Rules{}.At(snap))
}

// flipFS serves one of two pairs of files, never a mix of them.
type flipFS struct {
	mu sync.Mutex
	n  int
}

func (f *flipFS) Open(name string) (fs.File, error) { return nil, errors.ErrUnsupported }

func (f *flipFS) ReadFile(name string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	// Each load reads two files: loads 0, 2, ... get one pair, 1, 3, ... the other.
	odd := (f.n-1)/2%2 == 1
	if strings.HasSuffix(name, ".deny") {
		return []byte("ALL : ALL\n"), nil
	}
	if odd {
		return []byte("odd : ALL\n"), nil
	}
	return []byte("even : ALL\n"), nil
}

func TestReadersBesideReloads(t *testing.T) {
	r, err := NewRules(t.Context(), RulesConfig{FS: &flipFS{}})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				rs := r.Current()
				even, odd := rs.Test("even", "x").Allowed, rs.Test("odd", "x").Allowed
				if even == odd {
					panic(fmt.Sprint("a mix of generations: ", even, odd))
				}
			}
		}()
	}
	for range 200 {
		_, err := r.Reload(t.Context())
		require.NoError(t, err)
	}
	cancel()
	wg.Wait()
}

func TestTestDoesNotAllocate(t *testing.T) {
	rs, err := loadText("\"^sip:a@\" : \"@ok$\"\n", "ALL : \"@bad\\.\", \"^sip:900\"\nALL : \"^sip:[0-9]+x@.*z\" EXCEPT \"[0-4]{9}\"\n")
	require.Empty(t, err)
	for _, right := range []string{"sip:1@ok", "sip:1@bad.example", "sip:1@neutral.example"} {
		rs.Test("sip:a@example.com", right)
		require.Zero(t, testing.AllocsPerRun(100, func() { rs.Test("sip:a@example.com", right) }), right)
	}
	off, err := loadText("", "")
	require.Empty(t, err)
	req := mustRequest("REGISTER", "Contact: <sip:a@b>")
	require.Zero(t, testing.AllocsPerRun(100, func() { off.checkRegister(req, contactURI); off.checkRouting(req, nil) }))
}
