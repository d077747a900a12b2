package sipacl

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
)

// Errors to test for with errors.Is. The types below carry the detail.
var (
	// ErrDenied is wrapped by the error of every refusal; see [Decision.Err].
	ErrDenied = errors.New("denied")
	// ErrUnknown reports a name that the configuration does not define: a
	// partition, rule set or ACL. It comes up when a handle is fetched, at
	// start-up, and never in the middle of a request.
	ErrUnknown = errors.New("unknown name")
	// ErrNoSource reports a request that was not read from a socket.
	ErrNoSource = errors.New("no network source")
)

// Unit says what the Line of an [Origin] counts.
type Unit uint8

// The units.
const (
	UnitLine Unit = iota // lines of a file
	UnitRow              // rows of a table, as they came
	UnitID               // the table's own row numbers
)

// Origin says where a rule or a row was read, so that a person can go there.
// The zero Origin is that of something made by the program.
type Origin struct {
	Name string // file name or table name
	Line int    // from 1; 0 is unknown
	Col  int    // byte column in a file, from 1; 0 is unknown, or a table
	Unit Unit   // what Line counts
}

// String gives "permissions.deny:12:7", "address:row 218" or "address:id 17",
// and "" for the zero Origin.
func (o Origin) String() string {
	var b []byte
	b = append(b, o.Name...)
	if o.Line > 0 {
		b = append(b, ':')
		switch o.Unit {
		case UnitRow:
			b = append(b, "row "...)
		case UnitID:
			b = append(b, "id "...)
		}
		b = strconv.AppendInt(b, int64(o.Line), 10)
	}
	if o.Col > 0 {
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(o.Col), 10)
	}
	return string(b)
}

// LoadError is one mistake in one file or table. A load reports all of them,
// joined; errors.As finds the first.
type LoadError struct {
	Origin  Origin
	Column  string // the column of a table; "" in files
	Value   string // what was found there
	Err     error  // what was wanted
	Skipped bool   // the row was left out and the load went on (SkipBad)
}

// Error gives "address:id 17: mask "33": want 0 to 32".
func (e *LoadError) Error() string {
	var b strings.Builder
	if o := e.Origin.String(); o != "" {
		b.WriteString(o + ": ")
	}
	if e.Column != "" {
		fmt.Fprintf(&b, "%s %q: ", e.Column, shorten(e.Value))
	}
	b.WriteString(e.Err.Error())
	return b.String()
}

// Unwrap returns the cause.
func (e *LoadError) Unwrap() error { return e.Err }

// shorten keeps error messages and traces readable when a value is hostile.
func shorten(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return s[:most] + "..."
}

// printable is shorten with control bytes and what is no UTF-8 escaped, for
// texts that others write and people read.
func printable(s string) string {
	q := strconv.Quote(shorten(s))
	return strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`)
}

// Cause says why a [Decision] came out as it did. The zero Cause is that of
// no decision at all, which refuses.
type Cause uint8

// The causes. The comment says which answer it comes with.
const (
	CauseNone      Cause = iota // refused: nothing was asked, or nobody was listed
	CauseNotLoaded              // refused: no generation was ever loaded
	CauseMalformed              // refused: what is needed to decide is absent or not valid
	CauseNoSource               // refused: the request did not come from a socket

	CauseAddress   // allowed: a row of an address table matches
	CauseNoAddress // refused: no row matches

	CauseNoRules   // allowed: neither file holds a rule, so control is off
	CauseAllowRule // allowed: a rule of the allow file matches (every pair)
	CauseDenyRule  // refused: a rule of the deny file matches a pair
	CauseDefault   // allowed: no rule matches
	CauseNoContact // allowed: a REGISTER without Contact only asks
	CauseStar      // allowed: a REGISTER with "Contact: *" removes its own bindings
	CauseProtected // refused: a Contact leads to a protected address

	CauseTrusted   // allowed: a row of the trusted table matches
	CauseNoTrusted // refused: no row of the trusted table matches

	CausePermit     // allowed: every ACL of the list permits
	CauseDeny       // refused: a rule of an ACL denies
	CauseUnknownACL // refused: a name of the list is not defined (any longer)
	CauseEmptyACL   // refused: the list names no ACL and holds no rule
	CauseFamily     // refused: the ACL denies all of the other address family only

	CauseMember    // allowed: the user is in the group
	CauseNotMember // refused: the user is not in the group
	CauseError     // refused: the answer could not be had in time
)

var causeTexts = [...]string{
	CauseNone:       "nothing allows it",
	CauseNotLoaded:  "never loaded",
	CauseMalformed:  "malformed",
	CauseNoSource:   "no network source",
	CauseAddress:    "address matches",
	CauseNoAddress:  "no address matches",
	CauseNoRules:    "no rules: control is off",
	CauseAllowRule:  "allow rule",
	CauseDenyRule:   "deny rule",
	CauseDefault:    "no rule matches",
	CauseNoContact:  "no Contact",
	CauseStar:       "Contact is *",
	CauseProtected:  "protected address",
	CauseTrusted:    "trusted",
	CauseNoTrusted:  "not trusted",
	CausePermit:     "ACL permits",
	CauseDeny:       "ACL denies",
	CauseUnknownACL: "unknown ACL",
	CauseEmptyACL:   "empty ACL list",
	CauseFamily:     "ACL denies the other address family only",
	CauseMember:     "member",
	CauseNotMember:  "not a member",
	CauseError:      "no answer",
}

// String gives the cause in a few words.
func (c Cause) String() string {
	if int(c) < len(causeTexts) {
		return causeTexts[c]
	}
	return "cause " + strconv.Itoa(int(c))
}

// Decision is the answer to a check, and why. The zero Decision refuses.
type Decision struct {
	Allowed bool
	Cause   Cause
	Origin  Origin       // the row or rule that decided; zero if none did
	Group   GroupID      // of the row that matched
	Prefix  netip.Prefix // of the row or ACL rule that matched
	Info    string       // context_info or tag of the row that matched; detail of a refusal
	Source  Source       // the address that was asked about
	Left    string       // the pair that decided, as it was compared: From or To
	Right   string       // and destination or Contact
}

// Err is nil for an allowed decision and a [*DeniedError] otherwise.
func (d Decision) Err() error {
	if d.Allowed {
		return nil
	}
	return &DeniedError{d}
}

// String gives one line for a log, the address first, then the answer, the
// cause and where to find what decided:
//
//	127.0.0.2:5070 udp refused: no address matches
//	203.0.113.9:5060 udp allowed: address matches 203.0.113.0/24 group 200 (address:id 3) "OfficeSubnet"
func (d Decision) String() string {
	b := make([]byte, 0, 128)
	if d.Source.Addr.IsValid() {
		b = append(b, d.Source.String()...)
		b = append(b, ' ')
	}
	if d.Allowed {
		b = append(b, "allowed: "...)
	} else {
		b = append(b, "refused: "...)
	}
	b = append(b, d.Cause.String()...)
	if d.Prefix.IsValid() {
		b = append(b, ' ')
		b = d.Prefix.AppendTo(b)
	}
	if d.Cause == CauseAddress {
		b = append(b, " group "...)
		b = strconv.AppendUint(b, uint64(d.Group), 10)
	}
	if d.Origin != (Origin{}) {
		b = append(b, " ("...)
		b = append(b, d.Origin.String()...)
		b = append(b, ')')
	}
	if d.Left != "" || d.Right != "" {
		b = append(b, ' ')
		b = strconv.AppendQuote(b, d.Left)
		b = append(b, " -> "...)
		b = strconv.AppendQuote(b, d.Right)
	}
	if d.Info != "" {
		b = append(b, ' ')
		b = strconv.AppendQuote(b, d.Info)
	}
	return string(b)
}

// LogValue implements [slog.LogValuer]: a group with the fields that are set.
func (d Decision) LogValue() slog.Value {
	attrs := make([]slog.Attr, 0, 9)
	attrs = append(attrs, slog.Bool("allowed", d.Allowed), slog.String("cause", d.Cause.String()))
	text := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	if d.Source.Addr.IsValid() {
		text("source", d.Source.String())
	}
	if d.Cause == CauseAddress {
		attrs = append(attrs, slog.Uint64("group", uint64(d.Group)))
	}
	if d.Prefix.IsValid() {
		text("prefix", d.Prefix.String())
	}
	text("origin", d.Origin.String())
	text("left", d.Left)
	text("right", d.Right)
	text("info", d.Info)
	return slog.GroupValue(attrs...)
}

// DeniedError is what [Decision.Err] returns for a refusal.
// errors.Is(err, [ErrDenied]) holds for it.
type DeniedError struct{ Decision Decision }

// Error gives the decision as one line.
func (e *DeniedError) Error() string { return "sipacl: " + e.Decision.String() }

// Unwrap returns [ErrDenied].
func (e *DeniedError) Unwrap() error { return ErrDenied }

// Trace is the account of one check: every row or rule it looked at, in
// order, and what each said. The Explain methods make it with the code of the
// check itself. It allocates; it is for a person who asks why.
type Trace struct {
	Decision Decision
	Steps    []Step
}

// Step is one line of a [Trace].
type Step struct {
	Origin  Origin
	Subject string // what was compared
	Text    string // the row or rule, as written
	Matched bool
	Note    string // what kept it from matching, or made it
}

// String gives the decision, then a line a step.
func (t Trace) String() string {
	var b strings.Builder
	b.WriteString(t.Decision.String())
	for _, s := range t.Steps {
		mark := "-"
		if s.Matched {
			mark = "+"
		}
		b.WriteString("\n  " + mark)
		for _, word := range []string{s.Origin.String(), s.Text} {
			if word != "" {
				b.WriteString(" " + word)
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
