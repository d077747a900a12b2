// The answer to a check, and its causes.

package sipacl

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"strconv"
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

// Cause says why a [Decision] came out as it did. The zero Cause is that of
// no decision at all, which refuses.
type Cause uint8

// The causes. The comment says which answer it comes with.
const (
	CauseNone      Cause = iota // refused: nothing was asked, or nobody was listed
	CauseCustom                 // either: a check of the application's own; Info says why
	CauseNotLoaded              // refused: no generation was ever loaded
	CauseMalformed              // refused: what is needed to decide is absent or not valid
	CauseNoSource               // refused: the request did not come from a socket
	CauseWire                   // refused: another SIP stack would read another message; Info names the rule that it breaks

	CauseAddress   // allowed: a row of an address table matches
	CauseNoAddress // refused: no row matches

	CauseNoRules      // allowed: neither file holds a rule, so control is off
	CauseAllowRule    // allowed: a rule of the allow file matches (every pair)
	CauseDenyRule     // refused: a rule of the deny file matches a pair
	CauseDefault      // allowed: no rule matches
	CauseNoContact    // allowed: a REGISTER without Contact only asks
	CauseStar         // allowed: a REGISTER with "Contact: *" removes its own bindings
	CauseProtected    // refused: a Contact leads to a protected address
	CauseNotProtected // allowed: no Contact leads to a protected address

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
	CauseNone:         "nothing allows it",
	CauseCustom:       "own check",
	CauseNotLoaded:    "never loaded",
	CauseMalformed:    "malformed",
	CauseNoSource:     "no network source",
	CauseWire:         "message not well formed",
	CauseAddress:      "address matches",
	CauseNoAddress:    "no address matches",
	CauseNoRules:      "no rules: control is off",
	CauseAllowRule:    "allow rule",
	CauseDenyRule:     "deny rule",
	CauseDefault:      "no rule matches",
	CauseNoContact:    "no Contact",
	CauseStar:         "Contact is *",
	CauseProtected:    "protected address",
	CauseNotProtected: "no protected address",
	CauseTrusted:      "trusted",
	CauseNoTrusted:    "not trusted",
	CausePermit:       "ACL permits",
	CauseDeny:         "ACL denies",
	CauseUnknownACL:   "unknown ACL",
	CauseEmptyACL:     "empty ACL list",
	CauseFamily:       "ACL denies the other address family only",
	CauseMember:       "member",
	CauseNotMember:    "not a member",
	CauseError:        "no answer",
}

// allows reports whether a decision with this cause lets somebody in. That of
// CauseCustom may do either.
func (c Cause) allows() bool {
	switch c {
	case CauseAddress, CauseNoRules, CauseAllowRule, CauseDefault, CauseNoContact, CauseStar, CauseNotProtected,
		CauseTrusted, CausePermit, CauseMember:
		return true
	}
	return false
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

// MarshalJSON gives what LogValue does: texts, and only the fields that are
// set.
func (d Decision) MarshalJSON() ([]byte, error) {
	fields := map[string]any{}
	for _, a := range d.LogValue().Group() {
		fields[a.Key] = a.Value.Any()
	}
	return json.Marshal(fields)
}

// Allowed is the answer yes of a check of the application's own.
func Allowed(why string) Decision { return Decision{Allowed: true, Cause: CauseCustom, Info: why} }

// Refused is the answer no of a check of the application's own.
func Refused(why string) Decision { return Decision{Cause: CauseCustom, Info: why} }

// Err is nil for an allowed decision, and else an error that wraps
// [ErrDenied]; [DecisionOf] gives the decision back.
func (d Decision) Err() error {
	if d.Allowed {
		return nil
	}
	return &deniedError{d}
}

// DecisionOf returns the decision that [Decision.Err] made err of.
func DecisionOf(err error) (d Decision, ok bool) {
	var denied *deniedError
	if errors.As(err, &denied) {
		return denied.decision, true
	}
	return Decision{}, false
}

type deniedError struct{ decision Decision }

// Error gives the decision as one line.
func (e *deniedError) Error() string { return "sipacl: " + e.decision.String() }

// Unwrap returns [ErrDenied].
func (e *deniedError) Unwrap() error { return ErrDenied }

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
	if d.Cause != CauseCustom && d.Cause.allows() != d.Allowed {
		b = append(b, "against its cause, "...) // made by hand
	}
	b = append(b, d.Cause.String()...)
	if d.Prefix.IsValid() {
		if d.Allowed && d.Cause != CauseAddress && d.Cause != CausePermit {
			b = append(b, ", let in by"...) // AllOf kept the row
		}
		b = append(b, ' ')
		b = d.Prefix.AppendTo(b)
	}
	if d.Cause == CauseAddress || d.Group != 0 {
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
	if d.Cause == CauseAddress || d.Group != 0 {
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
