package sipacl

import (
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

const ownName = "own.example"

// ownRules are rules of a server that knows its names.
func ownRules(t *testing.T, deny string, own ...string) *RuleSet {
	t.Helper()
	rs, errs := loadRulesOf(RulesConfig{FS: memFS{"permissions.deny": deny}, Own: own})
	require.Empty(t, errs)
	return rs
}

func TestDecisionRuleNexthop(t *testing.T) {
	const gateway = `ALL : "@gw\.example$"`
	for what, c := range map[string]struct {
		ask       func(*RuleSet) Decision
		know, not Cause // with Own and without
	}{
		"no Route":            {sent("INVITE", ""), CauseDefault, CauseDefault},
		"own Route":           {sent("INVITE", "Route: <sip:own.example;lr>"), CauseDefault, CauseMalformed},
		"own Route, any port": {sent("INVITE", "Route: <sip:OWN.example.:5070;lr>"), CauseDefault, CauseMalformed},
		"foreign Route":       {sent("INVITE", "Route: <sip:p.example;lr>"), CauseDefault, CauseMalformed},
		"denied Route":        {sent("INVITE", "Route: <sip:gw.example;lr>"), CauseDenyRule, CauseMalformed},
		"denied second Route": {sent("INVITE", "Route: <sip:own.example;lr>\nRoute: <sip:p.example>, <sip:gw.example>"), CauseDenyRule, CauseMalformed},
		"Route that is none":  {sent("INVITE", "Route: <sip:own example;lr>"), CauseMalformed, CauseMalformed},
		"maddr of a Route":    {sent("INVITE", "Route: <sip:own.example;lr;maddr=gw.example>"), CauseDenyRule, CauseMalformed},

		"maddr":                 {routing("sip:a@b", "sip:1@h;maddr=gw.example"), CauseDenyRule, CauseMalformed},
		"maddr escaped":         {routing("sip:a@b", "sip:1@h;M%61ddr=%67w.example"), CauseDenyRule, CauseMalformed},
		"maddr that is own":     {routing("sip:a@b", "sip:1@h;maddr=own.example"), CauseDefault, CauseMalformed},
		"maddr that is allowed": {routing("sip:a@b", "sip:1@h;maddr=p.example"), CauseDefault, CauseMalformed},
		"maddr that is none":    {routing("sip:a@b", "sip:1@h;maddr=gw%20.example"), CauseMalformed, CauseMalformed},
		"empty maddr":           {routing("sip:a@b", "sip:1@h;maddr"), CauseMalformed, CauseMalformed},
		"another parameter":     {routing("sip:a@b", "sip:1@h;xmaddr=gw.example"), CauseDefault, CauseDefault},
		"maddr of a branch":     {routing("sip:a@b", "sip:1@h", "sip:1@h;maddr=gw.example"), CauseDenyRule, CauseMalformed},
		"IPv6 maddr":            {routing("sip:a@b", "sip:1@h;maddr=2001:db8::1"), CauseDefault, CauseMalformed},
		"header Route":          {routing("sip:a@b", "sip:1@h?Route=%3Csip:gw.example%3E"), CauseDenyRule, CauseMalformed},
		"header of another":     {routing("sip:a@b", "sip:1@h?Subject=%3Csip:gw.example%3E"), CauseDefault, CauseDefault},
		"maddr of AllowURI":     {func(rs *RuleSet) Decision { return rs.AllowURI("sip:a@b", "sip:1@h;maddr=gw.example") }, CauseDenyRule, CauseMalformed},

		"maddr of a Contact":         {registering("sip:a@b", "sip:1@h;maddr=gw.example"), CauseDenyRule, CauseDenyRule},
		"allowed maddr of a Contact": {registering("sip:a@b", "sip:1@h;maddr=p.example"), CauseDefault, CauseDefault},
		"header Route of a Contact":  {registering("sip:a@b", "sip:1@h?Route=%3Csip:p.example%3E"), CauseDefault, CauseMalformed},

		"a pair is asked for no maddr": {func(rs *RuleSet) Decision { return rs.Test("sip:a@b", "sip:1@h;maddr=gw.example") }, CauseDefault, CauseDefault},
	} {
		require.Equal(t, c.know.String(), c.ask(ownRules(t, gateway, ownName)).Cause.String(), what)
		require.Equal(t, c.not.String(), c.ask(ownRules(t, gateway)).Cause.String(), what)
		off, errs := loadRulesOf(RulesConfig{FS: memFS{}, Optional: true})
		require.Empty(t, errs)
		require.Equal(t, CauseNoRules, c.ask(off).Cause, what)
	}
}

// A Route that was put into the request, not parsed, counts too.
func TestRouteOfNoParser(t *testing.T) {
	rs := ownRules(t, `"zzz" : ALL`, ownName)
	req := mustRequest("INVITE", "")
	req.AppendHeader((*sip.RouteHeader)(nil))
	require.Equal(t, CauseMalformed, rs.checkRouting(req, nil).Cause)
}

func TestOwn(t *testing.T) {
	all := ownRules(t, `ALL : ALL`, ownName, "192.0.2.1:5070", "[2001:db8:0:0::1]:5061")
	for route, own := range map[string]bool{
		"sip:own.example":           true,
		"sip:own.example:1":         true,
		"sip:x.own.example":         false,
		"sip:192.0.2.1:5070":        true,
		"sip:192.0.2.1":             false,
		"sips:[2001:db8::1]":        true,
		"sip:[2001:db8::1]":         false,
		"sip:[2001:DB8::1]:5061;lr": true,
	} {
		var u sip.Uri
		require.NoError(t, sip.ParseUri(route, &u))
		require.Equal(t, own, all.own.has(u.Scheme, u.Host, u.Port), route)
	}
	for _, bad := range []string{"", "a b", "sip:x@own.example", "own.example;lr", "2001:db8::1", "own.example:0x1", "010.0.0.1"} {
		_, err := NewRules(t.Context(), RulesConfig{FS: memFS{"permissions.deny": ""}, Own: []string{bad}})
		require.ErrorContains(t, err, "own host", bad)
	}
}

func TestDecisionRuleDialled(t *testing.T) {
	const denyAll = "ALL : ALL\n"
	for _, c := range []ruleCase{
		{"escaped plus evades", "", `ALL : "^sip:\+1900"`, routing("sip:a@b", "sip:%2B1900@h"), CauseDenyRule},
		{"separators evade", "", `ALL : "^sip:\+1900"`, routing("sip:a@b", "sip:+1-9.00@h"), CauseDenyRule},
		{"parameter of the user evades", "", `ALL : "^sip:\+1900@"`, routing("sip:a@b", "sip:+1900;ext=1@h"), CauseDenyRule},
		{"phone-context evades", "", `ALL : "^sip:\+1900@"`, routing("sip:a@b", "tel:900;phone-context=+1"), CauseDenyRule},
		{"routing number evades", "", `ALL : "^sip:\+1900@"`, routing("sip:a@b", "sip:+1555@h;rn=+1900"), CauseDenyRule},
		{"junk evades", "", `ALL : "^sip:\+1900"`, routing("sip:a@b", "sip:w+1~900@h"), CauseDenyRule},
		{"a name stays a name", "", `ALL : "^sip:1900"`, routing("sip:a@b", "sip:x1900@h"), CauseDefault},
		{"all must be allowed", `ALL : "^sip:\+44"`, denyAll, routing("sip:a@b", "sip:+44%31900;rn=+1900@h"), CauseDenyRule},
		{"and all are", `ALL : "^sip:\+44"`, denyAll, routing("sip:a@b", "sip:+44-1900@h"), CauseAllowRule},
		{"a caller hides", "", `"^sip:\+1900@" : ALL`, routing("sip:+1-900@b", "sip:b@h"), CauseDenyRule},
		{"a caller forges", `"^sip:alice@b" : ALL`, denyAll, routing("sip:alice%3Bx@b", "sip:b@h"), CauseDenyRule},
		{"an odd byte is refused", "", `ALL : "zzz"`, routing("sip:a@b", "sip:1%00@h"), CauseMalformed},
		{"not of a Contact", "", `ALL : "zzz"`, registering("sip:a@b", "sip:1%20@h"), CauseDefault},
		{"too many numbers", "", `ALL : "zzz"`, func(rs *RuleSet) Decision {
			return rs.Test("sip:a@b", "sip:1@h;rn=2;rn=3;rn=4;rn=5;rn=6;rn=7;rn=8;rn=9;rn=10;rn=11;rn=12;rn=13")
		}, CauseMalformed},
	} {
		rs, errs := loadRulesOf(RulesConfig{FS: memFS{"permissions.allow": c.allow, "permissions.deny": c.deny}})
		require.Empty(t, errs)
		require.Equal(t, c.want.String(), c.ask(rs).Cause.String(), c.id)
	}
}

// An own host with a port is own on that port only.
func TestOwnPortOfARoute(t *testing.T) {
	rs := ownRules(t, `ALL : "@192\.0\.2\.1$"`, "192.0.2.1:5070")
	for route, want := range map[string]Cause{
		"<sip:192.0.2.1:5070;lr>": CauseDefault, "<sip:192.0.2.1:5071;lr>": CauseDenyRule, "<sip:192.0.2.1;lr>": CauseDenyRule,
	} {
		require.Equal(t, want.String(), rs.checkRouting(mustRequest("INVITE", "Route: "+route), nil).Cause.String(), route)
	}
}
