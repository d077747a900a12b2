package admin

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/sipacl/sipacl"
)

// ShowACLs gives the text of Asterisk's "acl show": the names that files
// define, in the order in which it lists them. Names from tables are not shown
// there; [DumpACLs] has them. A nil set is one that could not be loaded.
func ShowACLs(s *sipacl.ACLSet) string {
	const head = "\nacl\n---\n"
	if s == nil {
		return head + "ACL configuration isn't available.\n"
	}
	var names []string
	for a := range s.All() {
		if !a.Realtime() {
			names = append(names, a.Name())
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return aclBucket(a) - aclBucket(b) })
	var b strings.Builder
	b.WriteString(head)
	for _, name := range names {
		b.WriteString(printable(name) + "\n")
	}
	return b.String()
}

// aclBucket is where Asterisk's hash table, which it lists in order, keeps a
// name.
func aclBucket(name string) int {
	h := uint32(5381)
	for _, c := range []byte(name) {
		h = h*33 ^ uint32(c)
	}
	return int(h & 0x7fffffff % 37)
}

// ShowACL gives the text of "acl show NAME": the rules in order, with
// netmasks, or that there is no such ACL. For a nil set it is "".
func ShowACL(s *sipacl.ACLSet, name string) string {
	if s == nil {
		return ""
	}
	a, ok := s.Lookup(name)
	if !ok {
		return "\nCould not find ACL named '" + printable(name) + "'\n"
	}
	return "\n" + showACL(a)
}

// ShowList gives every ACL of a consumer's list as "acl show NAME" does, its
// own rules first. A list that follows reloads shows what is in service; a name
// that is not defined any longer says so. A nil list and one without rules and
// names refuse everything, and say that.
func ShowList(l *sipacl.ACLList) string {
	var b strings.Builder
	for name, a := range l.ACLs() {
		if a == nil {
			b.WriteString("ACL: " + printable(name) + " (not defined, refuses everything)\n")
			continue
		}
		b.WriteString(showACL(a))
	}
	if b.Len() == 0 {
		return "ACL: (empty list, refuses everything)\n"
	}
	return b.String()
}

func showACL(a *sipacl.ACL) string {
	name := printable(a.Name())
	if name == "" {
		name = "(unnamed)"
	}
	if a.Realtime() {
		name += " (realtime)"
	}
	var b strings.Builder
	b.WriteString("ACL: " + name + "\n" + strings.Repeat("-", 45) + "\n")
	i := 0
	for r := range a.Rules() {
		sense := "deny"
		if r.Sense == sipacl.Permit {
			sense = "allow"
		}
		fmt.Fprintf(&b, "%3d: %5s - %s/%s\n", i, sense, ntop(r.Prefix.Addr()), ntop(netmask(r.Prefix)))
		i++
	}
	return b.String()
}

// ntop writes an address as inet_ntop does: IPv4-compatible ones end in a
// dotted quad.
func ntop(a netip.Addr) string {
	if a.Is6() {
		b := a.As16()
		if [12]byte(b[:12]) == [12]byte{} && (b[12] != 0 || b[13] != 0) {
			return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
		}
	}
	return a.String()
}

// DumpACLs writes the ACLs of s, those from tables too, in the order in which
// they are defined, as JSON on one line without a line end:
//
//	{"generation":1,"acls":[{"name":"lan","realtime":false,"origin":"acl.conf:1:2",
//	"rules":[{"sense":"deny","prefix":"0.0.0.0/0","origin":"acl.conf:2:6"}]}]}
//
// What a program made has no origin. A nil s has no ACLs. DumpACLs returns the
// first error of w.
func DumpACLs(w io.Writer, s *sipacl.ACLSet) error {
	out := bufio.NewWriter(w)
	b := strconv.AppendUint([]byte(`{"generation":`), s.Generation(), 10)
	b = append(b, `,"acls":[`...)
	first := true
	for a := range s.All() {
		if !first {
			b = append(b, ',')
		}
		first = false
		if _, err := out.Write(appendACL(b, a)); err != nil {
			return err
		}
		b = b[:0]
	}
	_, _ = out.Write(append(b, "]}"...)) // Flush reports the error
	return out.Flush()
}

// appendACL appends one ACL as a JSON object.
func appendACL(b []byte, a *sipacl.ACL) []byte {
	b = appendJSON(append(b, `{"name":`...), a.Name())
	b = strconv.AppendBool(append(b, `,"realtime":`...), a.Realtime())
	b = append(appendOrigin(b, a.Origin()), `,"rules":[`...)
	first := true
	for r := range a.Rules() {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendJSON(append(b, `{"sense":`...), r.Sense.String())
		b = appendJSON(append(b, `,"prefix":`...), r.Prefix.String())
		b = append(appendOrigin(b, r.Origin), '}')
	}
	return append(b, "]}"...)
}

// appendOrigin appends where something was read, if it was.
func appendOrigin(b []byte, o sipacl.Origin) []byte {
	if text := o.String(); text != "" {
		return appendJSON(append(b, `,"origin":`...), text)
	}
	return b
}
