package sipacl

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Show gives the text of Asterisk's "acl show": the names that files define,
// in the order in which it lists them. Names from tables are not shown there;
// [ACLSet.All] has them.
func (s *ACLSet) Show() string {
	const head = "\nacl\n---\n"
	if s == nil {
		return head + "ACL configuration isn't available.\n"
	}
	var names []string
	for a := range s.All() {
		if !a.realtime {
			names = append(names, a.name)
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return aclBucket(a) - aclBucket(b) })
	var b strings.Builder
	b.WriteString(head)
	for _, name := range names {
		b.WriteString(name + "\n")
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
// netmasks.
func (s *ACLSet) ShowACL(name string) string {
	if s == nil {
		return ""
	}
	a, ok := s.Lookup(name)
	if !ok {
		return "\nCould not find ACL named '" + name + "'\n"
	}
	return "\n" + a.Show()
}

// Show gives the ACL as "acl show NAME" does, without the empty line above.
func (a *ACL) Show() string {
	name := a.Name()
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
		if r.Sense == Permit {
			sense = "allow"
		}
		fmt.Fprintf(&b, "%3d: %5s - %s/%s\n", i, sense, ntop(r.Prefix.Addr()), ntop(netmask(r.Prefix)))
		i++
	}
	return b.String()
}

// Show gives every ACL of the list, its own rules first, as Asterisk shows
// those of a consumer; a name that is not defined any longer says so.
func (l *ACLList) Show() string {
	if l == nil {
		return ""
	}
	var b strings.Builder
	if l.base != nil {
		b.WriteString(l.base.Show())
	}
	set := l.set(nil)
	for i, name := range l.names {
		if a := l.named(set, i); a != nil {
			b.WriteString(a.Show())
		} else {
			b.WriteString("ACL: " + name + " (not defined, refuses everything)\n")
		}
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

// MarshalJSON gives the ACL with its rules in order and where each was read.
func (a *ACL) MarshalJSON() ([]byte, error) {
	type rule struct {
		Sense  string       `json:"sense"`
		Prefix netip.Prefix `json:"prefix"`
		Origin string       `json:"origin,omitempty"`
	}
	rules := []rule{}
	for r := range a.Rules() {
		rules = append(rules, rule{r.Sense.String(), r.Prefix, r.Origin.String()})
	}
	return json.Marshal(struct {
		Name     string `json:"name"`
		Realtime bool   `json:"realtime"`
		Origin   string `json:"origin,omitempty"`
		Rules    []rule `json:"rules"`
	}{a.Name(), a.Realtime(), a.Origin().String(), rules})
}

// MarshalJSON gives the ACLs in the order in which they are defined.
func (s *ACLSet) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Generation uint64 `json:"generation"`
		ACLs       []*ACL `json:"acls"`
	}{s.Generation(), append([]*ACL{}, slices.Collect(s.All())...)})
}
