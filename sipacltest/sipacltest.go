package sipacltest

import (
	"context"
	"testing"
	"testing/fstest"

	"github.com/sipacl/sipacl"
)

// Partition returns an address table of these rows. A bad row fails the test at
// once.
func Partition(t testing.TB, rows ...sipacl.AddressRow) sipacl.Partition {
	t.Helper()
	p, err := sipacl.NewPartition(context.Background(), sipacl.Rows(rows...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Rules returns the rules of an allow and a deny file with these texts; "" is a
// file without rules. A line that does not load fails the test at once.
func Rules(t testing.TB, allow, deny string) sipacl.Rules {
	t.Helper()
	rules, err := sipacl.NewRules(context.Background(), sipacl.RulesConfig{FS: fstest.MapFS{
		"permissions.allow": {Data: []byte(allow)},
		"permissions.deny":  {Data: []byte(deny)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// ACL returns the list of one consumer, of lines as they stand in acl.conf:
// "deny=0.0.0.0/0,::/0", "permit=192.0.2.0/24". Without lines it refuses
// everything. A line that does not load fails the test at once.
func ACL(t testing.TB, lines ...string) *sipacl.ACLList {
	t.Helper()
	rules, err := sipacl.ParseACLRules(lines...)
	if err != nil {
		t.Fatal(err)
	}
	list, err := (*sipacl.ACLSet)(nil).Bind("", rules...)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Allowed fails the test if check refuses m, and prints every row and rule that
// was looked at. The check is asked once.
func Allowed(t testing.TB, check sipacl.Check, m Message) {
	t.Helper()
	r := m.Request(t)
	if trace := sipacl.Explain(check, r); !trace.Decision.Allowed {
		t.Errorf("%s %s: want it allowed\n%s", r.Method, r.Recipient.String(), trace)
	}
}

// Refused fails the test if check allows m or refuses it for another cause, and
// prints every row and rule that was looked at. The check is asked once.
func Refused(t testing.TB, check sipacl.Check, m Message, cause sipacl.Cause) {
	t.Helper()
	r := m.Request(t)
	if trace := sipacl.Explain(check, r); trace.Decision.Allowed || trace.Decision.Cause != cause {
		t.Errorf("%s %s: want it refused: %s\n%s", r.Method, r.Recipient.String(), cause, trace)
	}
}
