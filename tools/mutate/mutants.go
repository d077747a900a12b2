package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strconv"
	"strings"
)

// edit replaces a part of a file. Offsets are in bytes.
type edit struct {
	start, end int
	text       string
}

// mutant is one small change of one function, and what became of it.
type mutant struct {
	edit
	id       int // from 1, in the order of the sample
	file     *source
	fn       *ast.FuncDecl
	function string // with its receiver: "Guard.peer"
	kind     string
	line     int
	before   string // the lines that change, as one line
	after    string

	result result
	killer string // what noticed it
}

// apply gives the text of the file from start to end with m in it.
func (m *mutant) apply(start, end int) string {
	return m.file.text[start:m.start] + m.text + m.file.text[m.end:end]
}

func (m *mutant) place() string { return fmt.Sprintf("%s:%d", m.file.name, m.line) }

// walker finds the mutants of one function.
type walker struct {
	*program
	file  *source
	fn    *ast.FuncDecl
	above []ast.Node // from the body down to the node that is visited
	seen  map[edit]bool
	found []*mutant
}

func (w *walker) visit(n ast.Node) bool {
	if n == nil {
		w.above = w.above[:len(w.above)-1]
		return true
	}
	switch n := n.(type) {
	case *ast.BinaryExpr:
		w.binary(n)
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			w.replace("drop !", n, w.text(n.X))
		}
	case *ast.IfStmt:
		w.condition(n.Cond)
	case *ast.ReturnStmt:
		w.results(n)
	case *ast.CompositeLit:
		w.literal(n)
	case *ast.Ident:
		w.cause(n)
	case *ast.AssignStmt:
		w.assignment(n)
	case *ast.IncDecStmt:
		w.statement("delete assignment", n)
	case *ast.ExprStmt:
		w.statement("delete call", n)
	case *ast.CaseClause:
		w.clause(n)
	}
	w.above = append(w.above, n)
	return true
}

func (w *walker) parent() ast.Node {
	if len(w.above) == 0 {
		return nil
	}
	return w.above[len(w.above)-1]
}

func (w *walker) offset(p token.Pos) int { return w.fset.Position(p).Offset }

func (w *walker) text(n ast.Node) string {
	return w.file.text[w.offset(n.Pos()):w.offset(n.End())]
}

// replace adds the mutant that has text instead of n.
func (w *walker) replace(kind string, n ast.Node, text string) {
	w.add(kind, n.Pos(), n.End(), text)
}

func (w *walker) add(kind string, from, to token.Pos, text string) {
	e := edit{w.offset(from), w.offset(to), text}
	if w.seen[e] {
		return
	}
	w.seen[e] = true
	m := &mutant{edit: e, file: w.file, fn: w.fn, function: functionName(w.fn), kind: kind, line: w.fset.Position(from).Line}
	m.before, m.after = m.lines()
	w.found = append(w.found, m)
}

// lines gives the lines that m changes, before and after, each as one line.
func (m *mutant) lines() (before, after string) {
	src := m.file.text
	from := strings.LastIndexByte(src[:m.start], '\n') + 1
	to := len(src)
	if i := strings.IndexByte(src[m.end:], '\n'); i >= 0 {
		to = m.end + i
	}
	before, after = oneLine(src[from:to]), oneLine(m.apply(from, to))
	if after == "" {
		first, _, _ := strings.Cut(src[m.start:to], "\n")
		return oneLine(first), "deleted: " + oneLine(first)
	}
	return before, after
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func functionName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if generic, ok := t.(*ast.IndexExpr); ok {
		t = generic.X
	}
	return fmt.Sprint(t, ".", fn.Name.Name)
}

var opposite = map[token.Token]token.Token{
	token.EQL: token.NEQ, token.NEQ: token.EQL,
	token.LSS: token.LEQ, token.LEQ: token.LSS,
	token.GTR: token.GEQ, token.GEQ: token.GTR,
	token.LAND: token.LOR, token.LOR: token.LAND,
}

// binary flips a comparison, and swaps && and ||.
func (w *walker) binary(n *ast.BinaryExpr) {
	op, ok := opposite[n.Op]
	switch {
	case !ok:
	case n.Op == token.LAND || n.Op == token.LOR:
		w.swap(n, op)
	default:
		w.add("flip comparison", n.OpPos, n.OpPos+token.Pos(len(n.Op.String())), op.String())
		w.offByOne(n)
	}
}

// swap puts op in place of && or ||, in parentheses where it would bind
// differently than the original.
func (w *walker) swap(n *ast.BinaryExpr, op token.Token) {
	if _, ok := w.parent().(*ast.BinaryExpr); !ok {
		w.add("swap && and ||", n.OpPos, n.OpPos+2, op.String())
		return
	}
	left, right := w.file.text[w.offset(n.Pos()):w.offset(n.OpPos)], w.file.text[w.offset(n.OpPos)+2:w.offset(n.End())]
	w.replace("swap && and ||", n, "("+left+op.String()+right+")")
}

// offByOne changes an integer constant of a comparison. Where flipping the
// comparison does the same it leaves that out.
func (w *walker) offByOne(n *ast.BinaryExpr) {
	for _, side := range []ast.Expr{n.X, n.Y} {
		value, ok := w.integer(side)
		if !ok {
			continue
		}
		for _, d := range steps(n.Op, side == n.X, value) {
			w.replace("off by one", side, shifted(side, w.text(side), value, d))
		}
	}
}

// integer gives the value of a constant of a plain integer type: a number or
// a name, and not a character.
func (w *walker) integer(e ast.Expr) (int64, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.INT {
			return 0, false
		}
	case *ast.Ident, *ast.SelectorExpr:
	default:
		return 0, false
	}
	tv := w.info.Types[e]
	if _, plain := tv.Type.(*types.Basic); !plain || tv.Value == nil || tv.Value.Kind() != constant.Int {
		return 0, false
	}
	return constant.Int64Val(tv.Value)
}

// steps says by how much to change the constant of a comparison.
func steps(op token.Token, left bool, value int64) []int64 {
	switch {
	case op == token.EQL || op == token.NEQ:
		if value > 0 {
			return []int64{-1, 1}
		}
		return []int64{1}
	case (op == token.LSS || op == token.GEQ) != left:
		return []int64{-1}
	}
	return []int64{1}
}

func shifted(e ast.Expr, text string, value, by int64) string {
	if _, literal := e.(*ast.BasicLit); literal {
		return strconv.FormatInt(value+by, 10)
	}
	return fmt.Sprintf("(%s%+d)", text, by)
}

// condition negates the condition of an if. Flipping == and dropping ! do the
// same, so those are left out.
func (w *walker) condition(cond ast.Expr) {
	switch c := cond.(type) {
	case *ast.BinaryExpr:
		if c.Op == token.EQL || c.Op == token.NEQ {
			return
		}
	case *ast.UnaryExpr:
		if c.Op == token.NOT {
			return
		}
	case *ast.Ident, *ast.CallExpr, *ast.SelectorExpr:
		w.replace("negate if", cond, "!"+w.text(cond))
		return
	}
	w.replace("negate if", cond, "!("+w.text(cond)+")")
}

// results changes what is returned.
func (w *walker) results(n *ast.ReturnStmt) {
	for _, r := range n.Results {
		w.truth("return the opposite", r)
		_, literal := r.(*ast.CompositeLit)
		if t := w.info.Types[r].Type; !literal && w.decision != nil && t != nil && types.Identical(t, w.decision) {
			w.replace("return the zero Decision", r, "Decision{}")
		}
	}
}

// truth replaces true by false and the other way.
func (w *walker) truth(kind string, e ast.Expr) {
	id, ok := e.(*ast.Ident)
	if !ok || w.info.Uses[id] == nil || w.info.Uses[id].Parent() != types.Universe {
		return
	}
	switch id.Name {
	case "true":
		w.replace(kind, e, "false")
	case "false":
		w.replace(kind, e, "true")
	}
}

// literal changes whether a Decision allows. One that does not say refuses.
func (w *walker) literal(n *ast.CompositeLit) {
	if t := w.info.Types[n].Type; w.decision == nil || t == nil || !types.Identical(t, w.decision) {
		return
	}
	for _, e := range n.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return // every field has a value, in order
		}
		if key, ok := kv.Key.(*ast.Ident); ok && key.Name == "Allowed" {
			w.allowed(kv.Value)
			return
		}
	}
	text := "Allowed: true"
	if len(n.Elts) > 0 {
		text += ", "
	}
	w.add("allow", n.Lbrace+1, n.Lbrace+1, text)
}

// allowed turns the value of an Allowed field around.
func (w *walker) allowed(value ast.Expr) {
	w.truth("allow or refuse", value)
	if w.info.Types[value].Value == nil {
		w.replace("allow or refuse", value, "!("+w.text(value)+")")
	}
}

// cause puts the next cause in place of one, unless it is compared.
func (w *walker) cause(id *ast.Ident) {
	i := slices.Index(w.causes, id.Name)
	if _, constant := w.info.Uses[id].(*types.Const); i < 0 || !constant {
		return
	}
	switch w.parent().(type) {
	case *ast.BinaryExpr, *ast.CaseClause:
		return
	}
	w.replace("another cause", id, w.causes[(i+1)%len(w.causes)])
}

// assignment deletes an assignment, and turns around one to Allowed.
func (w *walker) assignment(n *ast.AssignStmt) {
	if n.Tok == token.DEFINE {
		return
	}
	w.statement("delete assignment", n)
	for i, l := range n.Lhs {
		if field, ok := l.(*ast.SelectorExpr); ok && field.Sel.Name == "Allowed" && len(n.Lhs) == len(n.Rhs) {
			w.allowed(n.Rhs[i])
		}
	}
}

// statement deletes a statement. The last part of a for stays: what is left
// would only run for ever.
func (w *walker) statement(kind string, n ast.Stmt) {
	if loop, ok := w.parent().(*ast.ForStmt); ok && loop.Post == n {
		return
	}
	w.replace(kind, n, "")
}

// clause leaves out a case, and each of its values if it has several.
func (w *walker) clause(n *ast.CaseClause) {
	w.replace("skip case", n, "")
	if len(n.List) < 2 {
		return
	}
	for i, e := range n.List {
		if i == 0 {
			w.add("skip case value", e.Pos(), n.List[1].Pos(), "")
			continue
		}
		w.add("skip case value", n.List[i-1].End(), e.End(), "")
	}
}
