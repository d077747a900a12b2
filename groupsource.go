package sipacl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"strconv"
	"strings"

	"github.com/sipacl/sipacl/internal/sqlrows"
)

// MemberSource yields the rows of strict groups. A row that cannot be read is
// yielded as a [*LoadError], and the sequence goes on so that all of them are
// named; any other error ends it.
type MemberSource interface {
	Members(ctx context.Context) iter.Seq2[Member, error]
}

// LiveMembers answers questions about strict groups at the moment they are
// asked. The context carries the timeout. An error refuses.
type LiveMembers interface {
	// IsMember reports whether u is in group, by the name alone if
	// ignoreDomain is set, and which row says so.
	IsMember(ctx context.Context, u User, ignoreDomain bool, group string) (Origin, bool, error)

	// GroupsOf lists the groups of u.
	GroupsOf(ctx context.Context, u User, ignoreDomain bool) ([]string, error)
}

// ClassSource yields the rows of regular-expression groups in their order, and
// errors as a [MemberSource] does.
type ClassSource interface {
	Classes(ctx context.Context) iter.Seq2[ClassRow, error]
}

// MemberRows is a [MemberSource] of rows in memory.
type MemberRows []Member

// Members implements [MemberSource].
func (rows MemberRows) Members(context.Context) iter.Seq2[Member, error] { return withoutErrors(rows) }

// ClassRows is a [ClassSource] of rows in memory.
type ClassRows []ClassRow

// Classes implements [ClassSource].
func (rows ClassRows) Classes(context.Context) iter.Seq2[ClassRow, error] {
	return withoutErrors(rows)
}

func withoutErrors[R any](rows []R) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// MemberFunc is a [MemberSource] made of a function.
type MemberFunc func(ctx context.Context) iter.Seq2[Member, error]

// Members implements [MemberSource].
func (f MemberFunc) Members(ctx context.Context) iter.Seq2[Member, error] { return f(ctx) }

// ClassFunc is a [ClassSource] made of a function.
type ClassFunc func(ctx context.Context) iter.Seq2[ClassRow, error]

// Classes implements [ClassSource].
func (f ClassFunc) Classes(ctx context.Context) iter.Seq2[ClassRow, error] { return f(ctx) }

// SQLMembers reads the table of strict groups (grp) through database/sql: all
// of it as a [MemberSource], or a question at a time as [LiveMembers]. Every
// name can be changed; "" means the default given here.
//
// Read as a whole, texts lose the blanks that pad them on the right, NULL is
// an error, and texts are compared byte by byte. Asked live, the database
// compares: MariaDB's usual collations take alice, ALICE and álice for one.
type SQLMembers struct {
	DB      Queryer
	Dialect Dialect

	Table     string // "grp"
	IDCol     string // none; orders the rows and names them in decisions and errors
	UserCol   string // "username"
	DomainCol string // "domain"; [NoColumn] if the table lacks it: the domain is ""
	GroupCol  string // "grp"

	// VersionQuery is a query whose result changes whenever the table does:
	// Run asks it instead of reading the table. None by default.
	VersionQuery string
}

// OpenSIPSMembers reads OpenSIPS's table grp, version 3.
func OpenSIPSMembers(db Queryer) SQLMembers { return SQLMembers{DB: db, IDCol: "id"} }

// KamailioMembers reads Kamailio's table grp, version 2.
func KamailioMembers(db Queryer) SQLMembers { return SQLMembers{DB: db, IDCol: "id"} }

// SQLClasses reads the table of regular-expression groups (re_grp) through
// database/sql. Every name can be changed; "" means the default given here.
type SQLClasses struct {
	DB      Queryer
	Dialect Dialect

	Table         string // "re_grp"
	IDCol         string // none; orders the rows and names them in decisions and errors
	ExpressionCol string // "reg_exp"
	ClassCol      string // "group_id"

	// VersionQuery is as in [SQLMembers].
	VersionQuery string
}

// OpenSIPSClasses reads OpenSIPS's table re_grp, version 2.
func OpenSIPSClasses(db Queryer) SQLClasses { return SQLClasses{DB: db, IDCol: "id"} }

// KamailioClasses reads Kamailio's table re_grp, version 1.
func KamailioClasses(db Queryer) SQLClasses { return SQLClasses{DB: db, IDCol: "id"} }

// OpenSERGroups is the configuration that OpenSER's group module has without
// parameters: tables grp and re_grp, the domain ignored, every class.
func OpenSERGroups(db Queryer, dialect Dialect) GroupConfig {
	members, classes := KamailioMembers(db), KamailioClasses(db)
	members.Dialect, classes.Dialect = dialect, dialect
	return GroupConfig{Members: []MemberSource{members}, Classes: []ClassSource{classes}, IgnoreDomain: true}
}

// Members implements [MemberSource].
func (s SQLMembers) Members(ctx context.Context) iter.Seq2[Member, error] {
	t := s.table()
	return readRows(ctx, t, s.DB, func(row sqlRow) Member {
		m := Member{User: User{Name: row.text(0)}, Group: row.text(1), Origin: row.origin}
		if s.domainCol() != NoColumn {
			m.User.Domain = row.text(2)
		}
		return m
	})
}

// IsMember implements [LiveMembers]: one query.
func (s SQLMembers) IsMember(ctx context.Context, u User, ignoreDomain bool, group string) (o Origin, ok bool, err error) {
	if s.foreign(u, ignoreDomain) {
		return Origin{}, false, nil
	}
	t := s.table()
	where, args := s.where(u, ignoreDomain)
	for r, err := range t.ask(ctx, s.DB, append(where, t.columns[1]), append(args, group)...) {
		if err != nil {
			return Origin{}, false, err
		}
		return t.origin(r), true, nil
	}
	return Origin{}, false, nil
}

// GroupsOf implements [LiveMembers]: one query.
func (s SQLMembers) GroupsOf(ctx context.Context, u User, ignoreDomain bool) (groups []string, err error) {
	if s.foreign(u, ignoreDomain) {
		return nil, nil
	}
	t := s.table()
	where, args := s.where(u, ignoreDomain)
	for r, err := range t.ask(ctx, s.DB, where, args...) {
		if err != nil {
			return nil, err
		}
		g, _, err := sqlrows.Text(r.Values[1])
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// foreign reports that u cannot be in a table without domains.
func (s SQLMembers) foreign(u User, ignoreDomain bool) bool {
	return s.domainCol() == NoColumn && !ignoreDomain && u.Domain != ""
}

// where gives the columns and values that say who is asked about.
func (s SQLMembers) where(u User, ignoreDomain bool) (columns []string, args []any) {
	columns, args = []string{orDefault(s.UserCol, "username")}, []any{u.Name}
	if d := s.domainCol(); !ignoreDomain && d != NoColumn {
		columns, args = append(columns, d), append(args, u.Domain)
	}
	return columns, args
}

func (s SQLMembers) domainCol() string { return orDefault(s.DomainCol, "domain") }

// Version implements [Versioned] by the VersionQuery.
func (s SQLMembers) Version(ctx context.Context) (string, error) {
	return sqlrows.Version(ctx, s.DB, s.VersionQuery)
}

func (s SQLMembers) table() sqlTable {
	t := sqlTable{name: orDefault(s.Table, "grp"), dialect: s.Dialect, id: -1}
	t.columns = []string{orDefault(s.UserCol, "username"), orDefault(s.GroupCol, "grp")}
	if d := s.domainCol(); d != NoColumn {
		t.columns = append(t.columns, d)
	}
	return t.withID(s.IDCol)
}

// Classes implements [ClassSource].
func (s SQLClasses) Classes(ctx context.Context) iter.Seq2[ClassRow, error] {
	t := sqlTable{name: orDefault(s.Table, "re_grp"), dialect: s.Dialect, id: -1}
	t.columns = []string{orDefault(s.ExpressionCol, "reg_exp"), orDefault(s.ClassCol, "group_id")}
	return readRows(ctx, t.withID(s.IDCol), s.DB, func(row sqlRow) ClassRow {
		r := ClassRow{Expression: row.text(0), Class: ClassID(row.integer(1, math.MinInt32, math.MaxInt32)), Origin: row.origin}
		if _, err := CompileExpression(r.Expression, GroupSyntax); err != nil {
			row.bad(0, err)
		}
		return r
	})
}

// Version implements [Versioned] by the VersionQuery.
func (s SQLClasses) Version(ctx context.Context) (string, error) {
	return sqlrows.Version(ctx, s.DB, s.VersionQuery)
}

// sqlTable is a table and what is read of it.
type sqlTable struct {
	name    string
	dialect Dialect
	columns []string
	id      int // which column is the id; -1 none
}

func (t sqlTable) withID(col string) sqlTable {
	if col != "" && col != NoColumn {
		t.id = len(t.columns)
		t.columns = append(t.columns, col)
	}
	return t
}

func (t sqlTable) origin(r sqlrows.Row) Origin {
	return rowOrigin(t.name, r, t.id)
}

// ask yields the rows where the columns have the values of args.
func (t sqlTable) ask(ctx context.Context, db Queryer, where []string, args ...any) iter.Seq2[sqlrows.Row, error] {
	query, err := t.query(db, where)
	if err != nil {
		return func(yield func(sqlrows.Row, error) bool) { yield(sqlrows.Row{}, err) }
	}
	return sqlrows.Read(ctx, db, query, args...)
}

// query gives the SELECT of the table, of the rows where the columns have
// certain values. What can be wrong with it is in the configuration.
func (t sqlTable) query(db Queryer, where []string) (string, error) {
	if db == nil {
		return "", &LoadError{Origin: Origin{Name: t.name}, Err: errors.New("want a database")}
	}
	order := ""
	if t.id >= 0 {
		order = t.columns[t.id]
	}
	query, err := t.dialect.SelectWhere(t.name, t.columns, where, order)
	if err != nil {
		return "", &LoadError{Origin: Origin{Name: t.name}, Err: err}
	}
	return query, nil
}

// sqlRow is a row as it is read, and what is wrong with it.
type sqlRow struct {
	table  sqlTable
	values []any
	origin Origin
	errs   *[]*LoadError
}

func (r sqlRow) bad(col int, err error) {
	*r.errs = append(*r.errs, &LoadError{
		Origin: r.origin, Column: r.table.columns[col], Value: sqlrows.Show(r.values[col]), Err: err,
	})
}

func (r sqlRow) text(col int) string {
	s, ok, err := sqlrows.Text(r.values[col])
	if err == nil && !ok {
		err = sqlrows.ErrNull
	}
	if err != nil {
		r.bad(col, err)
	}
	return s
}

func (r sqlRow) integer(col int, lo, hi int64) int64 {
	n, err := sqlrows.Integer(r.values[col], lo, hi)
	if err != nil {
		r.bad(col, err)
	}
	return n
}

// readRows yields what read makes of each row of the table, or every error it
// has found.
func readRows[R any](ctx context.Context, t sqlTable, db Queryer, read func(sqlRow) R) iter.Seq2[R, error] {
	return func(yield func(R, error) bool) {
		var none R
		for r, err := range t.ask(ctx, db, nil) {
			if err != nil {
				if _, ok := err.(*LoadError); !ok {
					err = fmt.Errorf("%s: %w", t.name, err)
				}
				yield(none, err)
				return
			}
			var errs []*LoadError
			row := read(sqlRow{t, r.Values, t.origin(r), &errs})
			if len(errs) == 0 && !yield(row, nil) {
				return
			}
			for _, e := range errs {
				if !yield(none, e) {
					return
				}
			}
		}
	}
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

// Members implements [MemberSource].
func (f MemberFile) Members(ctx context.Context) iter.Seq2[Member, error] {
	return func(yield func(Member, error) bool) {
		for l, err := range textLines(ctx, f.FS, f.Name) {
			if err != nil {
				if !yield(Member{}, err) {
					return
				}
				continue
			}
			l.text, _, _ = strings.Cut(l.text, "#")
			if !l.members(yield) {
				return
			}
		}
	}
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

// Classes implements [ClassSource].
func (f ClassFile) Classes(ctx context.Context) iter.Seq2[ClassRow, error] {
	return func(yield func(ClassRow, error) bool) {
		for l, err := range textLines(ctx, f.FS, f.Name) {
			var r ClassRow
			if err == nil {
				if text := strings.TrimSpace(l.text); text == "" || text[0] == '#' {
					continue
				}
				r, err = l.class()
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// Version implements [Versioned] by a hash of the file.
func (f ClassFile) Version(context.Context) (string, error) { return fileVersion(f.FS, f.Name) }

// textLine is one line of a text file, without its end.
type textLine struct {
	origin Origin
	text   string
}

func (l textLine) errorf(col int, format string, args ...any) *LoadError {
	l.origin.Col = col
	return &LoadError{Origin: l.origin, Err: fmt.Errorf(format, args...)}
}

// textLines yields the lines of a file. A line that is too long is a
// [*LoadError] after which others follow.
func textLines(ctx context.Context, fsys fs.FS, name string) iter.Seq2[textLine, error] {
	return func(yield func(textLine, error) bool) {
		if fsys == nil {
			yield(textLine{}, &LoadError{Origin: Origin{Name: name}, Err: errors.New("want a file system")})
			return
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			yield(textLine{}, err)
			return
		}
		n := 0
		for line := range bytes.Lines(bytes.TrimPrefix(text, []byte("\ufeff"))) {
			n++
			l := textLine{Origin{Name: name, Line: n}, string(bytes.TrimRight(line, "\r\n"))}
			var err error
			if len(l.text) > maxLine {
				err = l.errorf(maxLine+1, "want at most %d bytes in a line", maxLine)
			} else if n%4096 == 0 {
				err = ctx.Err()
			}
			if !yield(l, err) {
				return
			}
		}
	}
}

// members = [ user group { group } ] .
func (l textLine) members(yield func(Member, error) bool) bool {
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
	var bad *ExpressionError
	if _, err := CompileExpression(text, GroupSyntax); errors.As(err, &bad) {
		return ClassRow{}, l.errorf(cols[1]+bad.Col-1, "%s", strings.TrimSuffix(bad.Msg+"; "+bad.Hint, "; "))
	}
	l.origin.Col = cols[1]
	return ClassRow{text, ClassID(id), l.origin}, nil
}
