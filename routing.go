// Rule files: an allow and a deny file, and allow_routing.

package sipacl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/ruleengine"
	"github.com/sipacl/sipacl/internal/rulefile"
)

// defaultRules is the name of a rule set without one.
const defaultRules = "permissions"

// RulesConfig names one rule set, an allow and a deny file, and says how its
// questions are answered.
//
// A line is a rule, "left : right"; "#" starts a comment. A side is ALL or a
// list of POSIX extended expressions, with commas between them and quotes
// around each that holds blanks, commas or colons, and EXCEPT before further ones
// that do not match. The left one is asked about the caller's URI, the right one
// about the destination, "sip:user@host":
//
//	# permissions.deny: nobody calls premium numbers, but those of the test line
//	ALL : "^sip:\+1900" EXCEPT "^sip:\+19005550100@"
type RulesConfig struct {
	Name string // the basename; "" is "permissions"
	FS   fs.FS  // where the files are

	AllowSuffix string // ".allow"; behind Name it gives the allow file
	DenySuffix  string // ".deny"
	AllowFile   string // the files themselves, instead of Name and suffixes:
	DenyFile    string // both or neither

	// Optional loads a set of which neither file exists: no rules, control
	// is off. Without it that is an error. One file alone may always be
	// missing and counts as empty, but not one that was there before.
	Optional bool

	// FirstBranchOnly makes AllowRouting decide the Request-URI alone, as
	// check_all_branches=0 does.
	FirstBranchOnly bool

	// Own are the names and addresses of this server, as URIs name it:
	// "sip.example.com", "192.0.2.1:5060", "[2001:db8::1]"; without a port all
	// of them. A Route or maddr of a request that is not own is a further
	// destination and needs to be allowed like the Request-URI. Without Own
	// every Route and maddr is refused as soon as there is a rule.
	Own []string

	// AsSent compares texts only as the originals do, ports, parameters and
	// escapes included where they include them. Rules that end in "$" can be
	// evaded and forged then, and Route and maddr are not looked at; see
	// decisions rule-canonical and rule-nexthop.
	AsSent bool
}

func (c RulesConfig) withDefaults() RulesConfig {
	c.Name = orDefault(c.Name, defaultRules)
	if c.AllowFile == "" && c.DenyFile == "" {
		c.AllowFile = c.Name + orDefault(c.AllowSuffix, ".allow")
		c.DenyFile = c.Name + orDefault(c.DenySuffix, ".deny")
	}
	return c
}

// RuleSet is one immutable generation of an allow and a deny file. It is safe
// for concurrent use and stays valid for as long as it is held. A nil RuleSet
// and the zero one refuse everything.
//
// A pair of texts is allowed if a rule of the allow file matches it, else
// refused if a rule of the deny file does, else allowed. The order of rules
// has no effect. With no rule in either file control is off: everything is
// allowed before anything is read.
type RuleSet struct {
	allow, deny     ruleFile
	loaded          bool
	asSent          bool
	own             ownHosts
	firstBranchOnly bool
	gen             uint64
	trace           *tracer // of a copy that was made to trace
}

// ruleFile is one file of a RuleSet.
type ruleFile struct {
	name   string
	exists bool
	source string // its text
	rules  []rule
	search searcher
}

// searcher finds a rule for a pair. Each side comes in one or two spellings;
// a rule matches if its left side matches a spelling of left and its right
// side one of right.
type searcher interface {
	// find gives the first rule that matches and the spellings that did.
	find(left, right texts) (r *rule, l, m string)
}

// rule is one line, compiled.
type rule struct {
	line, col   int
	text        string
	left, right ruleSide
}

type ruleSide struct {
	all         bool
	any, except []string // expressions
}

// indexed finds a rule by all expressions at once.
type indexed struct {
	rules  []rule
	engine *ruleengine.Engine
}

func (x indexed) find(left, right texts) (*rule, string, string) {
	i, l, m := x.engine.Find(left.spellings(), right.spellings())
	if i < 0 {
		return nil, "", ""
	}
	return &x.rules[i], l, m
}

func (t texts) spellings() ruleengine.Text {
	return ruleengine.Text{Plain: t.plain, Canonical: t.canonical}
}

// linear tries one rule after the other. It is the meaning of indexed, and
// what explains an answer. It compiles the expressions that it comes to.
type linear struct {
	rules       []rule
	expressions compiler
}

func (x linear) find(left, right texts) (*rule, string, string) {
	for i := range x.rules {
		r := &x.rules[i]
		l, ok := x.expressions.match(&r.left, left)
		if !ok {
			continue
		}
		if m, ok := x.expressions.match(&r.right, right); ok {
			return r, l, m
		}
	}
	return nil, "", ""
}

// compiler compiles each distinct expression of rules once.
type compiler map[string]ere.Expression

// match gives the first spelling that s matches.
func (c compiler) match(s *ruleSide, t texts) (string, bool) {
	if c.matches(s, t.plain) {
		return t.plain, true
	}
	if t.canonical != t.plain && c.matches(s, t.canonical) {
		return t.canonical, true
	}
	return "", false
}

func (c compiler) matches(s *ruleSide, text string) bool {
	return c.listed(s, text) && !c.matchesAny(s.except, text)
}

// listed is matches without the exceptions.
func (c compiler) listed(s *ruleSide, text string) bool {
	return s.all || c.matchesAny(s.any, text)
}

func (c compiler) matchesAny(list []string, text string) bool {
	return slices.ContainsFunc(list, func(e string) bool { return c.expression(e).MatchString(text) })
}

func (c compiler) expression(text string) ere.Expression {
	e, ok := c[text]
	if !ok {
		e, _ = ere.CompileExpression(text, ere.RuleSyntax) // the load refused what has an error
		c[text] = e
	}
	return e
}

// loadRuleSet reads the generation that follows old.
func loadRuleSet(cfg RulesConfig, old *RuleSet) (*RuleSet, []error) {
	if cfg.FS == nil {
		return nil, []error{&LoadError{Origin: Origin{Name: cfg.Name}, Err: errors.New("want a file system")}}
	}
	if cfg.AllowFile == "" || cfg.DenyFile == "" {
		return nil, []error{&LoadError{Origin: Origin{Name: cfg.Name}, Err: errors.New("want both AllowFile and DenyFile, or neither")}}
	}
	if old == nil {
		old = &RuleSet{}
	}
	rs := &RuleSet{loaded: true, asSent: cfg.AsSent, firstBranchOnly: cfg.FirstBranchOnly}
	var errs, more []error
	own, err := readOwn(cfg.Own)
	if err != nil {
		return nil, []error{err}
	}
	rs.own = own
	rs.allow, errs = loadRuleFile(cfg.FS, cfg.AllowFile, old.allow.exists)
	rs.deny, more = loadRuleFile(cfg.FS, cfg.DenyFile, old.deny.exists)
	errs = append(errs, more...)
	if len(errs) == 0 && !rs.allow.exists && !rs.deny.exists && !cfg.Optional {
		errs = append(errs, &LoadError{
			Origin: Origin{Name: cfg.AllowFile},
			Err:    fmt.Errorf("neither it nor %s exists: everything would be allowed (Optional)", cfg.DenyFile),
		})
	}
	return rs, errs
}

func loadRuleFile(fsys fs.FS, name string, existed bool) (f ruleFile, errs []error) {
	f.name = name
	text, err := fs.ReadFile(fsys, name)
	switch {
	case err == nil:
		f.exists = true
	case !errors.Is(err, fs.ErrNotExist):
		return f, []error{&LoadError{Origin: Origin{Name: name}, Err: err}}
	case existed:
		return f, []error{&LoadError{Origin: Origin{Name: name}, Err: errors.New("the file was there and is gone: to take its rules out of service, leave it empty")}}
	}
	f.source = string(text)
	parsed, bad := rulefile.Parse(f.source)
	for _, e := range bad {
		errs = append(errs, &LoadError{Origin: Origin{Name: name, Line: e.Line, Col: e.Col}, Value: e.Found, Err: errors.New(e.Message())})
	}
	c := ruleCompiler{file: name, engine: newEngineBuilder(ere.RuleSyntax)}
	f.rules = make([]rule, 0, len(parsed))
	for _, r := range parsed {
		f.rules = append(f.rules, c.rule(r))
	}
	f.search = indexed{f.rules, c.engine.Engine()}
	errs = append(errs, c.errs...)
	slices.SortStableFunc(errs, func(a, b error) int { return cmp.Compare(lineOf(a), lineOf(b)) })
	return f, errs
}

func lineOf(err error) int {
	var e *LoadError
	errors.As(err, &e)
	return e.Origin.Line
}

// ruleCompiler checks the expressions of a file and gives its rules to an
// engine.
type ruleCompiler struct {
	file   string
	line   int
	engine *engineBuilder
	errs   []error
}

func (c *ruleCompiler) rule(r rulefile.Rule) rule {
	c.line = r.Line
	left, l := c.side(r.Left)
	right, m := c.side(r.Right)
	c.engine.Rule(ruleengine.Rule{Left: l, Right: m})
	return rule{r.Line, r.Col, r.Text, left, right}
}

func (c *ruleCompiler) side(s rulefile.Side) (ruleSide, ruleengine.Side) {
	side, numbers := ruleSide{all: s.All}, ruleengine.Side{All: s.All}
	side.any, numbers.Any = c.list(s.Any)
	side.except, numbers.Except = c.list(s.Except)
	return side, numbers
}

func (c *ruleCompiler) list(list []rulefile.Expression) (texts []string, numbers []uint32) {
	for _, e := range list {
		x, err := c.engine.expression(e.Text)
		if err != nil {
			c.bad(e, err)
		}
		texts, numbers = append(texts, e.Text), append(numbers, x)
	}
	return texts, numbers
}

// bad notes that an expression has an error.
func (c *ruleCompiler) bad(e rulefile.Expression, err error) {
	at := Origin{Name: c.file, Line: c.line, Col: e.Col}
	if bad := (*ere.Error)(nil); errors.As(err, &bad) {
		at.Col += max(bad.Col-1, 0)
		err = errors.New(shorten(fmt.Sprintf("expression %q: %s", e.Text, bad.Msg)))
		if bad.Hint != "" {
			err = fmt.Errorf("%w; %s", err, bad.Hint)
		}
	}
	c.errs = append(c.errs, &LoadError{Origin: at, Value: e.Text, Err: err})
}

// size is the number of rules.
func (rs *RuleSet) size() int {
	if rs == nil {
		return 0
	}
	return len(rs.allow.rules) + len(rs.deny.rules)
}

// Generation counts the loads of the rule set, from 1.
func (rs *RuleSet) Generation() uint64 {
	if rs == nil {
		return 0
	}
	return rs.gen
}

func (rs *RuleSet) number(n uint64) { rs.gen = n }

// idle answers what needs no look at the texts: nothing is loaded, or no rule
// is.
func (rs *RuleSet) idle() (Decision, bool) {
	switch {
	case rs == nil:
		return Decision{Cause: CauseNotLoaded}, true
	case !rs.loaded:
		return rs.answer(Decision{Cause: CauseNotLoaded}), true
	case rs.size() == 0:
		return rs.answer(Decision{Allowed: true, Cause: CauseNoRules}), true
	}
	return Decision{}, false
}

// texts gives the forms of a plain text. lost are the parameters that it has
// lost; see [lostParams].
func (rs *RuleSet) texts(plain, lost string, role uriRole) texts {
	if rs.asSent {
		return texts{plain: plain, canonical: plain}
	}
	return allTexts(plain, lost, role == portURI)
}

// pair decides one pair.
func (rs *RuleSet) pair(left, right texts) Decision {
	if !left.valid() || !right.valid() {
		return Decision{
			Cause: CauseMalformed, Left: shorten(left.plain), Right: shorten(right.plain),
			Info: "a text is longer than 1024 bytes or not printable ASCII",
		}
	}
	if left.unread || right.unread {
		return Decision{
			Cause: CauseMalformed, Left: shorten(left.plain), Right: shorten(right.plain),
			Info: "a text hides the number that it dials",
		}
	}
	if d := rs.allowed(left, right); d.Allowed {
		return d
	}
	for l := range left.each() {
		for r := range right.each() {
			if rule, l, m := rs.deny.find(l, r, rs.trace); rule != nil {
				return Decision{Cause: CauseDenyRule, Origin: rs.deny.origin(rule), Left: l, Right: m}
			}
		}
	}
	return Decision{Allowed: true, Cause: CauseDefault, Left: left.plain, Right: right.plain}
}

// allowed is the decision of the allow file: every text must match a rule,
// whatever the next hop reads. The rule of the canonical texts is named.
func (rs *RuleSet) allowed(left, right texts) (d Decision) {
	if len(rs.allow.rules) == 0 {
		return d
	}
	for l := range left.each() {
		for r := range right.each() {
			rule, l, m := rs.allow.find(l.sure(), r.sure(), rs.trace)
			if rule == nil {
				return Decision{}
			}
			if !d.Allowed {
				d = Decision{Allowed: true, Cause: CauseAllowRule, Origin: rs.allow.origin(rule), Left: l, Right: m}
			}
		}
	}
	return d
}

func (f *ruleFile) origin(r *rule) Origin { return Origin{Name: f.name, Line: r.line, Col: r.col} }

// find searches the file. For a trace it tries the rules one by one and
// records what each says.
func (f *ruleFile) find(left, right texts, tr *tracer) (*rule, string, string) {
	if tr == nil {
		return f.search.find(left, right)
	}
	for i := range f.rules {
		one := linear{f.rules[i : i+1], tr.rules}
		r, l, m := one.find(left, right)
		tr.step(f.step(tr.rules, &f.rules[i], left, right, r != nil))
		if r != nil {
			return &f.rules[i], l, m
		}
	}
	return nil, "", ""
}

func (f *ruleFile) step(c compiler, r *rule, left, right texts, matched bool) Step {
	s := Step{Origin: f.origin(r), Subject: left.String() + " -> " + right.String(), Text: r.text, Matched: matched}
	if !matched {
		s.Note = c.why("left", &r.left, left)
		if s.Note == "" {
			s.Note = c.why("right", &r.right, right)
		}
	}
	return s
}

// why tells what keeps a side from matching, "" if nothing does.
func (c compiler) why(side string, s *ruleSide, t texts) string {
	if _, ok := c.match(s, t); ok {
		return ""
	}
	for _, text := range []string{t.plain, t.canonical} {
		for _, e := range s.except {
			if c.listed(s, text) && c.expression(e).MatchString(text) {
				return fmt.Sprintf("%s side: exception %q matches", side, e)
			}
		}
	}
	return side + " side does not match"
}

// String gives both texts if they differ.
func (t texts) String() string {
	if t.plain == t.canonical {
		return t.plain
	}
	return t.plain + " (canonical " + t.canonical + ")"
}

// Test decides one pair of texts as they are: the management command
// allow_uri, or testUri. It does not allocate, unless a text has a canonical
// form that differs from it, or the rules have not met such texts since they
// were loaded: what they find out they keep, up to 30 MiB a file.
func (rs *RuleSet) Test(left, right string) Decision {
	if d, ok := rs.idle(); ok {
		return d
	}
	return rs.answer(rs.pair(rs.texts(left, "", branchURI), rs.texts(right, "", branchURI)))
}

// Tracing returns rs with every rule that a question looks at recorded in
// into: for one question. It tries one rule after the other and compiles the
// expressions that it comes to.
func (rs *RuleSet) Tracing(into *Trace) *RuleSet { return rs.tracing(&tracer{into: into}) }

func (rs *RuleSet) tracing(tr *tracer) *RuleSet {
	next := RuleSet{}
	if rs != nil {
		next = *rs
	}
	tr.rules = compiler{}
	next.trace = tr
	return &next
}

// answer is d, noted if rs traces.
func (rs *RuleSet) answer(d Decision) Decision {
	if rs.trace != nil {
		rs.trace.into.Decision = d
	}
	return d
}

// AllowRouting decides whether a request from the From URI may be forwarded
// to its Request-URI and to the further branches of a fork: every pair must
// be allowed. The arguments are URIs, without brackets and display name; one
// that is not valid is refused.
func (rs *RuleSet) AllowRouting(from, requestURI string, branches ...string) Decision {
	if d, ok := rs.idle(); ok {
		return d
	}
	fromURI, target := parseURI(from), parseURI(requestURI)
	left, ok := rs.source(&fromURI)
	if !ok {
		return rs.answer(wrongURI("From", from, requestURI))
	}
	var further []sip.Uri
	for _, b := range branches {
		further = append(further, parseURI(b))
	}
	return rs.answer(rs.routing(left, &target, further))
}

// parseURI gives the zero URI, which is refused, for what is none.
func parseURI(s string) (u sip.Uri) {
	if err := sip.ParseUri(s, &u); err != nil {
		return sip.Uri{}
	}
	return u
}

func (rs *RuleSet) source(uri *sip.Uri) (texts, bool) {
	plain, ok := sourceText(uri)
	if !ok {
		return texts{}, false
	}
	return rs.texts(plain, "", branchURI), true
}

func wrongURI(what, left, right string) Decision {
	return Decision{Cause: CauseMalformed, Left: shorten(left), Right: shorten(right), Info: what + ": no valid URI"}
}

// routing decides the pairs of one source and all its targets.
func (rs *RuleSet) routing(left texts, target *sip.Uri, branches []sip.Uri) (d Decision) {
	if !d.and(rs.target("Request-URI", left, target, requestURI)) || rs.firstBranchOnly {
		return d
	}
	for i := range branches {
		if !d.and(rs.target("branch", left, &branches[i], branchURI)) {
			return d
		}
	}
	return d
}

// target decides the pair of left and one destination, and the pairs of where
// else its URI leads.
func (rs *RuleSet) target(what string, left texts, uri *sip.Uri, role uriRole) Decision {
	plain, ok := plainURI(uri, role)
	if !ok {
		return wrongURI(what, left.plain, uri.String())
	}
	return rs.destination(what, left, rs.texts(plain, lostParams(uri), role), uri, role)
}

// destination is target once the texts of the URI are known.
func (rs *RuleSet) destination(what string, left, right texts, uri *sip.Uri, role uriRole) Decision {
	if right.odd && !role.contact() {
		return Decision{
			Cause: CauseMalformed, Left: shorten(left.plain), Right: shorten(right.plain),
			Info: what + ": no two stacks read the same number",
		}
	}
	d := rs.pair(left, right)
	if d.Allowed {
		rs.detour(&d, what, left, uri, role)
	}
	return d
}

// and joins the decision on one more pair and reports whether all are allowed
// so far. What is told is the refusal, else the first pair that no rule
// matched, else the first pair.
func (d *Decision) and(next Decision) bool {
	if d.Cause == CauseNone || !next.Allowed || d.Cause == CauseAllowRule && next.Cause == CauseDefault {
		*d = next
	}
	return next.Allowed
}

func (rs *RuleSet) checkRouting(req *sip.Request, branches []sip.Uri) Decision {
	if d, ok := rs.idle(); ok {
		return d
	}
	left, ok := rs.from(req)
	if !ok {
		return Decision{Cause: CauseMalformed, Info: "From: no valid header field"}
	}
	d := rs.routing(left, &req.Recipient, branches)
	if d.Allowed && !rs.asSent {
		rs.routes(&d, left, req)
	}
	return d
}

// from gives the texts of the From header field.
func (rs *RuleSet) from(req *sip.Request) (texts, bool) {
	from, _, ok := fromTo(req)
	if !ok || !strictParams(from.Params) {
		return texts{}, false
	}
	return rs.source(&from.Address)
}

// Rules is a rule set in service: the handle that request handlers keep. The
// zero Rules refuses everything. Current, Status, Reload, Run and OnReload are
// those of [Part].
type Rules struct{ Part[RuleSet] }

// NewRules loads one rule set that stands alone. A mistake in a file is an
// error that says where, as all the others.
func NewRules(ctx context.Context, cfg RulesConfig) (Rules, error) {
	perm, err := Open(ctx, Config{Rules: []RulesConfig{cfg}})
	if err != nil {
		return Rules{}, err
	}
	return perm.rules[0], nil
}

// AllowRouting answers allow_routing: may r be forwarded to its Request-URI
// and to branches, the further targets of a fork? One refused pair refuses. A
// Route or maddr that is not own is a further target; see [RulesConfig].
// Ask it for every request, in-dialog ones too, and with the targets that the
// request is really sent to.
func (r Rules) AllowRouting(req Request, branches ...sip.Uri) Decision {
	d := asked(r.Part, req.at, req.trace).checkRouting(req.Request, branches)
	d.Source = req.Source
	return d
}

// Routing returns AllowRouting without branches as a [Check].
func (r Rules) Routing() Check {
	return func(req Request) Decision { return r.AllowRouting(req) }
}

// addRules makes the part of one rule set.
func (p *Permissions) addRules(cfg RulesConfig) error {
	cfg = cfg.withDefaults()
	if _, err := p.Rules(cfg.Name); err == nil {
		return fmt.Errorf("sipacl: %s%s: defined twice", rulesKind, printable(cfg.Name))
	}
	part := addPart(p, rulesKind+cfg.Name, func(_ context.Context, old *RuleSet) (loaded, error) {
		return loadRules(old, cfg)
	})
	part.p.version = func(context.Context) (string, error) { return fileVersion(cfg.FS, cfg.AllowFile, cfg.DenyFile) }
	p.rules = append(p.rules, Rules{part})
	return nil
}

// loadRules builds the rule set that follows old.
func loadRules(old *RuleSet, cfg RulesConfig) (l loaded, err error) {
	rs, errs := loadRuleSet(cfg, old)
	if err := errors.Join(errs...); err != nil {
		return loaded{}, err
	}
	l.gen, l.entries = rs, rs.size()
	l.places = map[string]int{rs.allow.name: len(rs.allow.rules), rs.deny.name: len(rs.deny.rules)}
	if rs.size() == 0 {
		l.warnings = append(l.warnings, "no rule in "+cfg.AllowFile+" and "+cfg.DenyFile+": everything is allowed")
	}
	for _, f := range []*ruleFile{&rs.allow, &rs.deny} {
		l.content.rows.Flag(f.exists)
		l.content.rows.Text(f.source)
	}
	l.added, l.removed = countDiff(old.bare(), rs.bare())
	return l, nil
}

// bare yields the rules as texts, each with its side of the decision.
func (rs *RuleSet) bare() iter.Seq[[2]string] {
	return func(yield func([2]string) bool) {
		if rs == nil {
			return
		}
		for side, f := range map[string]*ruleFile{"allow": &rs.allow, "deny": &rs.deny} {
			for _, r := range f.rules {
				if !yield([2]string{side, r.text}) {
					return
				}
			}
		}
	}
}
