// Where a row or rule was read, and what is wrong with it.

package sipacl

import (
	"fmt"
	"strconv"
	"strings"
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

// printable is shorten for texts that others write and people read: one that
// would do something to a terminal is quoted.
func printable(s string) string {
	s = shorten(s)
	if strings.ContainsFunc(s, func(r rune) bool { return !strconv.IsPrint(r) || r == '\ufffd' }) {
		return strconv.Quote(s)
	}
	return s
}
