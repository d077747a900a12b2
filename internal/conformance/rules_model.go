package conformance

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
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
	"rule-canonical", "rule-control", "rule-crlf", "rule-except", "rule-firstbranch", "rule-header", "rule-length",
	"rule-long", "rule-message", "rule-pair", "rule-path", "rule-raw-left", "rule-raw-right", "rule-star", "rule-uri",
}

// ruleModel answers as the originals do, from the description of what they
// were seen to do; on switches single decisions to what this package does.
// It shares nothing with the package.
type ruleModel struct {
	verdicts map[string]bool // recorded: does regcomp accept the expression?
	compiled map[string]*naiveERE
	files    map[string][]modelRule
}

// modelPair is a pair of texts, each in the spellings that are asked.
type modelPair struct{ left, right []string }

func (p modelPair) matches(rules []modelRule) bool {
	return slices.ContainsFunc(rules, func(r modelRule) bool {
		return slices.ContainsFunc(p.left, r.left.matches) && slices.ContainsFunc(p.right, r.right.matches)
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
		return a.fits(*q.left) && a.fits(q.uri) && a.pair(*q.left, q.uri)
	}
	left, ok := a.leftText(*q.left)
	if !ok {
		return false
	}
	switch q.fn {
	case "uri":
		return a.fits(left) && a.fits(q.uri) && a.pair(left, q.uri)
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

// pair decides a pair of texts.
func (a modelAsk) pair(left, right string) bool {
	sure, either := modelPair{[]string{left}, []string{right}}, modelPair{[]string{left}, []string{right}}
	if a.on["rule-canonical"] {
		l, r := modelCanonical(left, false), modelCanonical(right, a.keepPort)
		sure = modelPair{[]string{l}, []string{r}}
		either = modelPair{[]string{left, l}, []string{right, r}}
	}
	return sure.matches(a.allow) || !either.matches(a.deny)
}

func (a modelAsk) routing(left string, q ruleQuestion) bool {
	r, ok := a.rightText(q.requestURI, requestURI)
	if !ok || !a.fits(left) || !a.fits(r) || !a.pair(left, r) {
		return false
	}
	for _, b := range q.branches {
		if !q.allBranches {
			break
		}
		if r, ok := a.rightText(b, branchURI); !ok || !a.fits(r) || !a.pair(left, r) {
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
	if !ok || !a.fits(right) {
		return false
	}
	if allBranches || a.on["rule-firstbranch"] {
		return a.pair(left, right)
	}
	return !modelPair{[]string{left}, []string{right}}.matches(a.deny)
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
