// Command names counts the exported names of a package: types, functions,
// methods, constants and variables. Fields and the methods of interfaces are
// left out; the methods of an embedded type count once, where they are
// declared. It fails if there are more than -most, or if one has no comment.
//
//	go run ./tools/names -most 305 .
package main

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	most := flag.Int("most", 0, "fail above this many names; 0 is any number")
	list := flag.Bool("list", false, "print every name")
	flag.Parse()
	dir := "."
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	c, err := count(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if *list {
		fmt.Println(strings.Join(c.names, "\n"))
	}
	fmt.Printf("%d names: %d types, %d funcs, %d methods, %d consts and vars\n", len(c.names), c.types, c.funcs, c.methods, c.values)
	for _, n := range c.silent {
		fmt.Println("no comment:", n)
	}
	if *most > 0 && len(c.names) > *most || len(c.silent) > 0 {
		fmt.Printf("want at most %d names, each with a comment\n", *most)
		os.Exit(1)
	}
}

// counted is what a package exports.
type counted struct {
	types, funcs, methods, values int
	names                         []string
	silent                        []string // without a comment
}

func count(dir string) (*counted, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	c := &counted{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			c.decl(d)
		}
	}
	slices.Sort(c.names)
	return c, nil
}

// add counts one name in n, if it is exported.
func (c *counted) add(n *int, name string, commented bool) {
	for part := range strings.SplitSeq(name, ".") {
		if !ast.IsExported(part) {
			return
		}
	}
	*n++
	c.names = append(c.names, name)
	if !commented {
		c.silent = append(c.silent, name)
	}
}

func (c *counted) decl(d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			c.add(&c.funcs, d.Name.Name, d.Doc != nil)
			return
		}
		c.add(&c.methods, receiver(d.Recv.List[0].Type)+"."+d.Name.Name, d.Doc != nil)
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				c.add(&c.types, s.Name.Name, d.Doc != nil || s.Doc != nil || s.Comment != nil)
			case *ast.ValueSpec:
				for _, n := range s.Names {
					c.add(&c.values, n.Name, d.Doc != nil || s.Doc != nil || s.Comment != nil)
				}
			}
		}
	}
}

// receiver is the name of a receiver's type.
func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}
