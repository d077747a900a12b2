package sipacl

import (
	"net/netip"
	"testing"
	"testing/fstest"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// everyCheck is a check of each kind, and what it answers about the request of
// everyRequest.
func everyCheck(t *testing.T) map[string]Check {
	trunks := mustPartition(
		AddressRow{Group: 1, Prefix: prefix("192.0.2.0/24"), Port: 5061},
		AddressRow{Group: 2, Prefix: prefix("192.0.2.0/24")},
		AddressRow{Group: 3, Prefix: prefix("192.0.0.0/16"), Pattern: "x"},
	)
	rules := mustRules("", `ALL : "^sip:900"`+"\n"+`"^sip:eve@" : ALL`)
	groups := mustGroups(t, GroupConfig{Members: members(Member{User: aliceUser, Group: "ld"}), Classes: []ClassSource{someClasses}})
	trusted := must(NewTrusted(t.Context(), Rows(TrustedRow{Source: addr("192.0.2.1"), Proto: ProtoTCP}, TrustedRow{Source: addr("192.0.2.1"), From: "alice"})))
	acls := must(NewACLs(t.Context(), ACLConf{FS: fstest.MapFS{"acl.conf": {Data: []byte("[lan]\ndeny=0.0.0.0/0,::/0\npermit=192.0.2.0/24\n")}}}))
	list := must(acls.Follow("lan", must(ParseACLRules("deny=198.51.100.0/24"))...))
	protector := must(NewProtector(ProtectConfig{Partition: trunks, Groups: []GroupID{1}}))
	return map[string]Check{
		"sources": trunks.Sources(1, 2), "none of the groups": trunks.Sources(3, 9), "any source": trunks.AnySource(), "source group": trunks.SourceGroup,
		"routing": rules.Routing(), "register": rules.AllowRegister, "with port": rules.AllowRegisterWithPort, "refer": rules.AllowReferTo,
		"uri":    func(r Request) Decision { return rules.AllowURI(r, "sip:900@example.com") },
		"member": groups.Members(verifiedAlice, "ld"), "no member": groups.Members(verifiedAlice, "x"), "class": groups.InClass(verifiedAlice, 3), "unverified": groups.Members(nil),
		"trusted": trusted.AllowTrusted, "acl": list.Check, "contacts": list.Contacts(ContactConfig{}), "protector": protector.CheckRegister,
		"own": func(Request) Decision { return Refused("own") }, "nil": nil, "no list": (*ACLList)(nil).Check,
		"zero": Partition{}.AnySource(), "zero rules": Rules{}.Routing(), "zero groups": Groups{}.Members(verifiedAlice, "ld"),
		"zero trusted": Trusted{}.AllowTrusted, "zero acls": new(ACLList).Check,
	}
}

// Explain says what the check says, for every check and for combined ones, and
// there is always something to read.
func TestExplainSaysWhatEveryCheckSays(t *testing.T) {
	checks := everyCheck(t)
	r := RequestOf(mustRequest("REGISTER", "Contact: <sip:a@192.0.2.7>\nRefer-To: <sip:900@example.com>"), nil)
	r.Source = Source{addr("192.0.2.1"), 5060, ProtoUDP}
	var all []Check
	for name, check := range checks {
		want := r.ask(check)
		tr := Explain(check, r)
		require.Equal(t, want, tr.Decision, name)
		if check != nil && want.Cause != CauseNotLoaded {
			require.NotEmpty(t, tr.Steps, name)
		}
		all = append(all, check)
	}
	for _, r := range []Request{r, {}, {Source: r.Source}, RequestOf(new(sip.Request), nil)} {
		for _, combined := range []Check{
			AllOf(all...), AnyOf(all...), AnyOf(AllOf(all[:3]...), all[4]), ByMethod(map[sip.RequestMethod]Check{sip.REGISTER: AnyOf(all...)}),
			NewGuard(GuardConfig{Check: AnyOf(all...)}).Decide,
		} {
			require.Equal(t, combined(r), Explain(combined, r).Decision)
		}
	}
}

func TestExplainNamesThePartAndTheNearestMiss(t *testing.T) {
	checks := everyCheck(t)
	r := RequestOf(mustRequest("INVITE", ""), nil)
	r.Source = Source{addr("192.0.2.1"), 5060, ProtoUDP}
	tr := Explain(AllOf(checks["any source"], checks["own"]), r)
	require.Equal(t, `192.0.2.1:5060 udp refused: own check "own"
  - address:default group 1 192.0.2.0/24 port 5061 proto any: port is 5060
  + address:default group 2 192.0.2.0/24 port any proto any
  + address:default group 3 192.0.0.0/16 port any proto any pattern "x"
  - own check: own`, tr.String())
	tr = Explain(checks["none of the groups"], r)
	require.Equal(t, "group 2 is not listed", tr.Steps[1].Note)
}

// A trace reads the snapshot of its request, like the check.
func TestExplainReadsTheSnapshotOfTheRequest(t *testing.T) {
	var src adjustable
	src.holds(one)
	perm := opened(t, Config{Partitions: []PartitionConfig{src.called("")}})
	part, old := part1(t, perm, ""), perm.Snapshot()
	src.holds(two)
	_, err := part.Reload(t.Context())
	require.NoError(t, err)
	r := RequestOf(requestFrom("192.0.2.1:5060", "UDP"), nil)
	require.False(t, Explain(part.Sources(1), r).Decision.Allowed)
	require.True(t, Explain(part.Sources(1), r.At(old)).Decision.Allowed)
}

// Tracing is a copy: what is in service does not trace.
func TestTracingLeavesTheGenerationAlone(t *testing.T) {
	table := sample().Current()
	var tr Trace
	q := Query{Group: 1, Addr: addr("192.0.2.7"), Any: AnyPort | AnyProto}
	require.Equal(t, table.CheckAddress(q), table.Tracing(&tr).CheckAddress(q))
	n := len(tr.Steps)
	require.NotZero(t, n)
	table.CheckAddress(q)
	require.Len(t, tr.Steps, n)
	for _, zero := range []func(){
		func() { (*Table)(nil).Tracing(&tr).CheckAddress(q) },
		func() { (*RuleSet)(nil).Tracing(&tr).Test("a", "b") },
		func() { (*GroupTable)(nil).Tracing(&tr).IsUserIn(t.Context(), aliceUser, "x") },
		func() { (*GroupTable)(nil).Tracing(&tr).IsUserInClass(aliceUser, 1) },
		func() { (*TrustedTable)(nil).Tracing(&tr).AllowTrusted(TrustedQuery{}) },
		func() { (*ACLList)(nil).Tracing(&tr).CheckSource(Source{}) },
	} {
		tr = Trace{}
		zero()
		require.Contains(t, []Cause{CauseNotLoaded, CauseEmptyACL}, tr.Decision.Cause)
	}
}

// What the sender or a configuration wrote does nothing to a terminal.
func TestTracesArePrintable(t *testing.T) {
	list := &ACLList{names: []string{"\x1b[31m"}, acls: []*ACL{nil}}
	r := Request{Source: Source{addr("192.0.2.1"), 5060, ProtoUDP}}
	text := Explain(list.Check, r).String()
	require.NotContains(t, text, "\x1b")
	require.Contains(t, text, `\x1b[31m`)
	text = Explain(func(Request) Decision { return Refused("a\nb\x1b") }, r).String()
	require.NotContains(t, text, "\x1b")
	_, err := NewACLs(t.Context(), Rows(ACLRow{Name: "a\x1b[31m", Empty: true}))
	require.ErrorContains(t, err, "control byte in the name of an ACL")
}

// An Explain is no traffic.
func TestExplainIsNotObserved(t *testing.T) {
	heard := 0
	guard := NewGuard(GuardConfig{Check: func(Request) Decision { return Allowed("") }, Observe: func(Event) { heard++ }})
	r := RequestOf(mustRequest("INVITE", ""), nil)
	r.Source.Addr = netip.MustParseAddr("192.0.2.1")
	Explain(guard.Decide, r)
	require.Zero(t, heard)
	guard.Decide(r)
	require.Equal(t, 1, heard)
}

// The rule that RulesConfig shows says what it says.
func TestTheRuleOfTheDocs(t *testing.T) {
	rs := mustRules("", `ALL : "^sip:\+1900" EXCEPT "^sip:\+19005550100@"`).Current()
	require.False(t, rs.AllowRouting("sip:a@b", "sip:+19001@h").Allowed)
	require.True(t, rs.AllowRouting("sip:a@b", "sip:+19005550100@h").Allowed)
	require.True(t, rs.AllowRouting("sip:a@b", "sip:+1800@h").Allowed)
}
