package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// switchFile declares the number of the mutant that is on; 0 is none.
const switchFile = `package sipacl

import (
	"os"
	"strconv"
)

var mutantOn, _ = strconv.Atoi(os.Getenv("SIPACL_MUTANT"))
`

// weave gives the text of f with mutants of it. Each function that has some
// begins with a switch to its mutants. A mutant is a copy of the body in a
// function literal with the same parameters, so that its names mean the same.
func weave(f *source, mutants []*mutant) string {
	byFunction := map[*ast.FuncDecl][]*mutant{}
	for _, m := range mutants {
		byFunction[m.fn] = append(byFunction[m.fn], m)
	}
	var b strings.Builder
	done := 0
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || len(byFunction[fn]) == 0 {
			continue
		}
		body := f.offset(fn.Body.Lbrace) + 1
		b.WriteString(f.text[done:body])
		b.WriteString("\nswitch mutantOn {\n")
		for _, m := range byFunction[fn] {
			fmt.Fprintf(&b, "case %d:\n%s", m.id, m.woven())
		}
		b.WriteString("}\n")
		done = body
	}
	return b.String() + f.text[done:]
}

// offset is where p is in the file.
func (f *source) offset(p token.Pos) int { return int(p - f.tree.FileStart) }

func (f *source) textOf(n ast.Node) string { return f.text[f.offset(n.Pos()):f.offset(n.End())] }

// woven calls the mutated body and returns what it does.
func (m *mutant) woven() string {
	f, fn := m.file, m.fn
	params, args := m.parameters()
	body := m.apply(f.offset(fn.Body.Lbrace), f.offset(fn.Body.End()))
	if fn.Type.Results == nil {
		return fmt.Sprintf("func(%s) %s(%s)\nreturn\n", params, body, args)
	}
	return fmt.Sprintf("return func(%s) %s %s(%s)\n", params, f.textOf(fn.Type.Results), body, args)
}

// parameters gives the receiver and the parameters that have a name, as those
// of a function literal, and the arguments for them.
func (m *mutant) parameters() (params, args string) {
	fields := slices.Clone(m.fn.Type.Params.List)
	if m.fn.Recv != nil {
		fields = append(fields, m.fn.Recv.List...)
	}
	var ps, as []string
	for _, field := range fields {
		typ := m.file.textOf(field.Type)
		if rest, ok := strings.CutPrefix(typ, "..."); ok {
			typ = "[]" + rest
		}
		for _, name := range field.Names {
			if name.Name != "_" {
				ps, as = append(ps, name.Name+" "+typ), append(as, name.Name)
			}
		}
	}
	return strings.Join(ps, ", "), strings.Join(as, ", ")
}
