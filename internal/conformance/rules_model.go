package conformance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sipacl/sipacl/internal/tests/dialtwin"
)

// ruleQuestion is one recorded question to the rule files.
type ruleQuestion struct {
	fn          string // routing, register, registerport, uri, test
	allow, deny *string
	allBranches bool    // check_all_branches
	left        *string // raw value of From or To; for test the text; nil: no such header
	requestURI  string
	branches    []string
	contacts    []string // raw values
	uri         string
	optional    bool // neither file may exist

	unloaded             bool    // the original has not loaded this pair
	quirk                string  // the decision by which the original used these files instead:
	quirkAllow, quirkDen *string // see rule-pair and rule-path
}

// String gives the question for a message.
func (q ruleQuestion) String() string {
	text := func(p *string) string {
		if p == nil {
			return "none"
		}
		return fmt.Sprintf("%.200q", *p)
	}
	return fmt.Sprintf("%s all=%v allow=%s deny=%s left=%s ruri=%.200q branches=%.200q contacts=%.200q uri=%.200q",
		q.fn, q.allBranches, text(q.allow), text(q.deny), text(q.left), q.requestURI, q.branches, q.contacts, q.uri)
}

// uriRole says where a destination stands: the originals make different texts.
type uriRole uint8

const (
	branchURI  uriRole = iota // a branch or Contact
	requestURI                // the Request-URI
	portURI                   // a Contact, with its port
)

// ruleSwitches is a set of ids of behaviour decisions.
type ruleSwitches map[string]bool

// ruleDecisions are those that one switch each turns on in the model, beside
// those that make a file a load error.
var ruleDecisions = []string{
	"rule-canonical", "rule-control", "rule-crlf", "rule-dialled", "rule-except", "rule-firstbranch", "rule-header",
	"rule-length", "rule-long", "rule-message", "rule-nexthop", "rule-pair", "rule-path", "rule-raw-left",
	"rule-raw-right", "rule-star", "rule-uri",
}

// notAsSent are the decisions that AsSent turns off.
var notAsSent = []string{"rule-canonical", "rule-dialled", "rule-nexthop"}

// ruleModel answers as the originals do, from the description of what they
// were seen to do; on switches single decisions to what the library does.
type ruleModel struct {
	verdicts map[string]bool // recorded: does regcomp accept the expression?
	compiled map[string]*naiveERE
	files    map[string][]modelRule
}

// modelTexts are one side of a pair: the spellings of which a deny rule may match
// any, and those that an allow rule must match all.
type modelTexts struct{ any, all []string }

func matchOne(rules []modelRule, left, right []string) bool {
	return slices.ContainsFunc(rules, func(r modelRule) bool {
		return slices.ContainsFunc(left, r.left.matches) && slices.ContainsFunc(right, r.right.matches)
	})
}

// modelAsk is one question while it is answered.
type modelAsk struct {
	*ruleModel
	on          ruleSwitches
	allow, deny []modelRule
	limit       int
	keepPort    bool
}

// answer gives "allow" or "deny".
func (m *ruleModel) answer(q ruleQuestion, on ruleSwitches) string {
	if q.unloaded {
		return "deny"
	}
	allow, deny := q.allow, q.deny
	if q.quirk != "" && !on[q.quirk] {
		allow, deny = q.quirkAllow, q.quirkDen
	}
	a := modelAsk{ruleModel: m, on: on, allow: m.file(allow, on), deny: m.file(deny, on), limit: 256}
	a.keepPort = q.fn == "registerport"
	if on["rule-length"] || q.fn == "test" {
		a.limit = 1024
	}
	if len(a.allow) == 0 && len(a.deny) == 0 || a.decide(q) {
		return "allow"
	}
	return "deny"
}

func (a modelAsk) decide(q ruleQuestion) bool {
	if q.left == nil {
		return false
	}
	if q.fn == "test" {
		return a.fits(*q.left) && a.fits(q.uri) && a.pair(*q.left, modelTarget{text: q.uri})
	}
	left, ok := a.leftText(*q.left)
	if !ok {
		return false
	}
	switch q.fn {
	case "uri":
		if a.on["rule-uri"] && modelBadURI(q.uri) {
			return false
		}
		return a.fits(left) && a.target(left, modelTarget{text: q.uri, uri: q.uri})
	case "routing":
		return a.routing(left, q)
	}
	return a.register(left, q)
}

var modelUnprintable = regexp.MustCompile(`[^ -~]`)

func (a modelAsk) fits(text string) bool {
	if a.on["rule-control"] && modelUnprintable.MatchString(text) {
		return false
	}
	return len(text) <= a.limit
}

// modelTarget is a destination: the text that is compared, and the URI that it
// was made of.
type modelTarget struct {
	text, uri string
	contact   bool
}

// target decides a pair, and the pairs of where else the URI leads.
func (a modelAsk) target(left string, to modelTarget) bool {
	if _, odd, _ := dialtwin.Find(to.text, to.text, ""); a.on["rule-dialled"] && odd && !to.contact {
		return false
	}
	return a.fits(to.text) && a.pair(left, to) && (!a.on["rule-nexthop"] || a.nexthop(left, to))
}

// pair decides a pair of texts.
func (a modelAsk) pair(left string, to modelTarget) bool {
	l, ok := a.side(left, "", false)
	r, ok2 := a.side(to.text, modelLost(to.uri), a.keepPort)
	if !ok || !ok2 {
		return false
	}
	unmatched := func(x, y string) bool { return !matchOne(a.allow, []string{x}, []string{y}) }
	allowed := !slices.ContainsFunc(l.all, func(x string) bool {
		return slices.ContainsFunc(r.all, func(y string) bool { return unmatched(x, y) })
	})
	return allowed || !matchOne(a.deny, l.any, r.any)
}

// side gives the spellings of a text; ok is false for one that hides them.
func (a modelAsk) side(text, lost string, keepPort bool) (s modelTexts, ok bool) {
	canonical := text
	if a.on["rule-canonical"] {
		canonical = modelCanonical(text, keepPort)
	}
	s = modelTexts{any: []string{text, canonical}, all: []string{canonical}}
	if a.on["rule-dialled"] {
		further, _, refuse := dialtwin.Find(text, canonical, lost)
		if refuse {
			return s, false
		}
		s.any, s.all = append(s.any, further...), append(s.all, further...)
	}
	return s, true
}

func (a modelAsk) routing(left string, q ruleQuestion) bool {
	r, ok := a.rightText(q.requestURI, requestURI)
	if !ok || !a.fits(left) || !a.target(left, modelTarget{text: r, uri: q.requestURI}) {
		return false
	}
	for _, b := range q.branches {
		if !q.allBranches {
			break
		}
		if r, ok := a.rightText(b, branchURI); !ok || !a.target(left, modelTarget{text: r, uri: b}) {
			return false
		}
	}
	return true
}

func (a modelAsk) register(left string, q ruleQuestion) bool {
	if items, stars := contactItems(q.contacts); a.on["rule-star"] && stars > 0 {
		return items == 1 && !strings.Contains(q.contacts[0], ";") && a.fits(left)
	}
	if a.on["rule-control"] && !a.fits(left) {
		return false
	}
	for i, field := range q.contacts {
		uris, star, ok := a.contacts(field)
		if star {
			return true
		}
		if i == 0 && (!ok || !a.fits(left)) {
			return false
		}
		if slices.ContainsFunc(uris, func(u string) bool { return !a.contact(left, u, q.allBranches) }) || !ok {
			return false
		}
	}
	return true
}

// contactItems counts the items of Contact header fields, and the stars.
func contactItems(fields []string) (items, stars int) {
	for _, field := range fields {
		for item := range strings.SplitSeq(field, ",") {
			item, _, _ = strings.Cut(item, ";")
			items++
			if strings.Trim(item, " \t<>") == "*" {
				stars++
			}
		}
	}
	return items, stars
}

// contact decides one Contact. Without check_all_branches the allow file does
// not count.
func (a modelAsk) contact(left, uri string, allBranches bool) bool {
	role := branchURI
	if a.keepPort {
		role = portURI
	}
	right, ok := a.rightText(uri, role)
	if !ok {
		return false
	}
	if allBranches || a.on["rule-firstbranch"] {
		return a.target(left, modelTarget{right, uri, true})
	}
	a.allow = nil
	return a.target(left, modelTarget{right, uri, true})
}

// smallest gives the fewest decisions that make the model give want.
func (m *ruleModel) smallest(q ruleQuestion, want string) (ids []string, ok bool) {
	all := ruleSwitches{}
	for _, id := range ruleDecisions {
		all[id] = true
	}
	if m.answer(q, all) != want {
		return nil, false
	}
	// Leave out one after the other, as long as the answer stays.
	for _, id := range ruleDecisions {
		less := maps.Clone(all)
		delete(less, id)
		if m.answer(q, less) == want {
			all = less
		}
	}
	return slices.Sorted(maps.Keys(all)), true
}
