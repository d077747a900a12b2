// Where members and classes come from: grp, re_grp, text files, live questions.

package sipacl

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/sqlrows"
)

// LiveMembers answers questions about strict groups at the moment they are
// asked. The context carries the timeout. An error refuses.
type LiveMembers interface {
	// IsMember reports whether u is in group, by the name alone if
	// ignoreDomain is set, and which row says so.
	IsMember(ctx context.Context, u User, ignoreDomain bool, group string) (Origin, bool, error)

	// GroupsOf lists the groups of u.
	GroupsOf(ctx context.Context, u User, ignoreDomain bool) ([]string, error)
}

// SQLMembers reads the table of strict groups (grp): all of it as a
// [MemberSource], or a question at a time as [LiveMembers]. Every name can be
// changed.
//
// Read as a whole, texts lose the blanks that pad them on the right, NULL is
// an error, and texts are compared byte by byte. Asked live, the database
// compares: MariaDB's usual collations take alice, ALICE and álice for one.
type SQLMembers struct {
	SQL

	UserCol   string // "username"
	DomainCol string // "domain"; [NoColumn] if the table lacks it: the domain is ""
	GroupCol  string // "grp"
}

// The cells of a row.
const (
	memberUser = iota
	memberGroup
	memberDomain
)

func (s SQLMembers) table() *sqlTable {
	return s.reads("grp",
		sqlColumn{name: s.UserCol, byDefault: "username", needed: true},
		sqlColumn{name: s.GroupCol, byDefault: "grp", needed: true},
		sqlColumn{name: s.DomainCol, byDefault: "domain"})
}

// Rows implements [MemberSource].
func (s SQLMembers) Rows(ctx context.Context) iter.Seq2[Member, error] {
	return readTable(ctx, s.table(), func(r *record) Member {
		return Member{User: User{r.needed(memberUser), r.needed(memberDomain)}, Group: r.needed(memberGroup), Origin: r.origin}
	})
}

// IsMember implements [LiveMembers]: one query.
func (s SQLMembers) IsMember(ctx context.Context, u User, ignoreDomain bool, group string) (o Origin, ok bool, err error) {
	t, ok := s.about(u, ignoreDomain)
	if !ok {
		return Origin{}, false, t.err
	}
	t.only(t.cells[memberGroup], group)
	for r, err := range t.rows(ctx) {
		if err != nil {
			return Origin{}, false, err
		}
		return t.origin(r), true, nil
	}
	return Origin{}, false, nil
}

// GroupsOf implements [LiveMembers]: one query.
func (s SQLMembers) GroupsOf(ctx context.Context, u User, ignoreDomain bool) (groups []string, err error) {
	t, ok := s.about(u, ignoreDomain)
	if !ok {
		return nil, t.err
	}
	for r, err := range t.rows(ctx) {
		if err != nil {
			return nil, err
		}
		g, _, err := sqlrows.Text(r.Values[t.at[memberGroup]])
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// about selects the rows of u. ok is false if there can be none, or no query.
func (s SQLMembers) about(u User, ignoreDomain bool) (t *sqlTable, ok bool) {
	t = s.table()
	if s.Query != "" {
		t.err = errors.Join(t.err, errors.New("a Query cannot be asked live: want a table"))
	}
	if t.err != nil {
		return t, false
	}
	t.only(t.cells[memberUser], u.Name)
	switch {
	case ignoreDomain:
	case t.has(memberDomain):
		t.only(t.cells[memberDomain], u.Domain)
	default: // a table without domains holds users without one
		return t, u.Domain == ""
	}
	return t, true
}

// SQLClasses reads the table of regular-expression groups (re_grp). Every name
// can be changed.
type SQLClasses struct {
	SQL

	ExpressionCol string // "reg_exp"
	ClassCol      string // "group_id"
}

// Rows implements [ClassSource].
func (s SQLClasses) Rows(ctx context.Context) iter.Seq2[ClassRow, error] {
	t := s.reads("re_grp",
		sqlColumn{name: s.ExpressionCol, byDefault: "reg_exp", needed: true},
		sqlColumn{name: s.ClassCol, byDefault: "group_id", needed: true})
	return readTable(ctx, t, func(r *record) ClassRow {
		row := ClassRow{Expression: r.needed(0), Class: ClassID(r.integer(1, math.MinInt32, math.MaxInt32)), Origin: r.origin}
		if _, err := ere.CompileExpression(row.Expression, ere.GroupSyntax); err != nil {
			r.bad(0, err)
		}
		return row
	})
}

// MemberFile reads strict groups from a text file: a user a line, then the
// groups the user is in, separated by blanks. "#" begins a comment.
//
//	alice@example.com  ld int
//	+15551234          ld
type MemberFile struct {
	FS   fs.FS
	Name string // a path of FS
}

// Rows implements [MemberSource].
func (f MemberFile) Rows(ctx context.Context) iter.Seq2[Member, error] {
	return readLines(ctx, f.FS, f.Name, textLine.members)
}

// Version implements [Versioned] by a hash of the file.
func (f MemberFile) Version(context.Context) (string, error) { return fileVersion(f.FS, f.Name) }

// ClassFile reads regular-expression groups from a text file: a class a line,
// then the expression, which goes to the end of the line. A line that begins
// with "#" is a comment.
//
//	10  ^sip:1[0-9]*@
//	-1  ^sip:[^@]*@example\.org$
type ClassFile struct {
	FS   fs.FS
	Name string // a path of FS
}

// Rows implements [ClassSource].
func (f ClassFile) Rows(ctx context.Context) iter.Seq2[ClassRow, error] {
	return readLines(ctx, f.FS, f.Name, func(l textLine, yield func(ClassRow, error) bool) bool {
		if text := strings.TrimSpace(l.text); text == "" || text[0] == '#' {
			return true
		}
		return yield(l.class())
	})
}

// Version implements [Versioned] by a hash of the file.
func (f ClassFile) Version(context.Context) (string, error) { return fileVersion(f.FS, f.Name) }

// members = [ user group { group } ] .
func (l textLine) members(yield func(Member, error) bool) bool {
	l.text = withoutComment(l.text)
	fields, cols := columns(l.text)
	if len(fields) == 0 {
		return true
	}
	u := User{Name: fields[0]}
	if i := strings.LastIndexByte(u.Name, '@'); i >= 0 {
		u = User{u.Name[:i], u.Name[i+1:]}
	}
	if err := u.check(); err != nil {
		return yield(Member{}, l.errorf(cols[0], "%w", err))
	}
	if len(fields) == 1 {
		return yield(Member{}, l.errorf(len(l.text)+1, "found end of line, want a group"))
	}
	for _, g := range fields[1:] {
		if !yield(Member{u, g, l.origin}, nil) {
			return false
		}
	}
	return true
}

// class = number expression .
func (l textLine) class() (ClassRow, error) {
	fields, cols := columns(l.text)
	id, err := strconv.ParseInt(fields[0], 10, 32)
	if err != nil {
		return ClassRow{}, l.errorf(cols[0], "found %q, want a whole number, %d to %d", shorten(fields[0]), math.MinInt32, math.MaxInt32)
	}
	if len(fields) == 1 {
		return ClassRow{}, l.errorf(len(l.text)+1, "found end of line, want an expression")
	}
	text := strings.TrimRight(l.text[cols[1]-1:], " \t")
	var bad *ere.Error
	if _, err := ere.CompileExpression(text, ere.GroupSyntax); errors.As(err, &bad) {
		return ClassRow{}, l.errorf(cols[1]+bad.Col-1, "%s", strings.TrimSuffix(bad.Msg+"; "+bad.Hint, "; "))
	}
	l.origin.Col = cols[1]
	return ClassRow{text, ClassID(id), l.origin}, nil
}
