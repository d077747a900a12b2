// Trace and Explain: why a check answered as it did.

package sipacl

import (
	"fmt"
	"strings"
)

// Trace is the account of one question: every row or rule that was looked at,
// in order, and what each said. The check itself makes it, with the code that
// decides. It allocates; it is for a person who asks why.
type Trace struct {
	Decision Decision
	Steps    []Step
}

// Step is one line of a [Trace].
type Step struct {
	Check   string // the part that was asked, as "address:default"; "" for values
	Origin  Origin
	Subject string // what was compared
	Text    string // the row or rule, as written
	Matched bool
	Note    string // what kept it from matching, or made it
}

// Explain asks check about r, and records every row and rule that is looked at
// on the way, through [AllOf], [AnyOf], [ByMethod] and [Guard.Decide] too. The
// guard's observer does not hear of it: nobody asked but you.
func Explain(check Check, r Request) (t Trace) {
	r.trace = &t
	t.Decision = r.ask(check)
	return t
}

// ask is the answer of a check, nil too. A check that leaves no step of its
// own, as one of the application's, is given one.
func (r *Request) ask(check Check) (d Decision) {
	if d.Source = r.Source; check == nil {
		return d
	}
	before := 0
	if r.trace != nil {
		before = len(r.trace.Steps)
	}
	if d = check(*r); !d.Source.Addr.IsValid() {
		d.Source = r.Source
	}
	if r.trace != nil && len(r.trace.Steps) == before {
		r.trace.Steps = append(r.trace.Steps, Step{Text: d.Cause.String(), Matched: d.Allowed, Note: printable(d.Info)})
	}
	return d
}

// String gives the decision, then a line a step: "+" for a row or rule that
// matched, whatever it says then, and "-" for one that did not.
func (t Trace) String() string {
	var b strings.Builder
	b.WriteString(t.Decision.String())
	for _, s := range t.Steps {
		mark := "-"
		if s.Matched {
			mark = "+"
		}
		b.WriteString("\n  " + mark)
		for _, word := range []string{s.Check, s.Origin.String(), s.Text} {
			if word != "" {
				b.WriteString(" " + printable(word))
			}
		}
		if s.Subject != "" {
			fmt.Fprintf(&b, " ~ %q", s.Subject)
		}
		if s.Note != "" {
			b.WriteString(": " + s.Note)
		}
	}
	return b.String()
}

// tracer is where a generation notes what it looks at. Most generations have
// none: one that traces is a copy, made for one question.
type tracer struct {
	into  *Trace
	check string
	rules compiler // of rule sets: expressions that were compiled for it
}

// step adds a step.
func (t *tracer) step(s Step) {
	s.Check = t.check
	t.into.Steps = append(t.into.Steps, s)
}

// traces is a generation that can be copied to trace.
type traces[T any] interface {
	*T
	tracing(t *tracer) *T
}

// asked returns the generation of a part that a request is answered from, one
// that traces if the request does.
func asked[T any, G traces[T]](part Part[T], at *Snapshot, into *Trace) *T {
	t := in(part, at)
	if into == nil {
		return t
	}
	return G(t).tracing(&tracer{into: into, check: part.Name()})
}
