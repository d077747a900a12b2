// Package docs tests that the pages beside it name only what there is, and that
// their Go code compiles.
package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var pages = []string{"migration.md", "differences.md"}

// names are the exported identifiers of this module: "Guard", "Guard.Wrap",
// "Wrap", and in packages besides the root "admin.Dump".
type names map[string]bool

func exported(t *testing.T) names {
	all := names{}
	err := fs.WalkDir(os.DirFS(".."), ".", func(dir string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		switch path.Base(dir) {
		case "internal", "examples", "testdata", "cmd", "docs", ".git":
			return fs.SkipDir
		}
		return all.parse(dir)
	})
	require.NoError(t, err)
	return all
}

// parse adds the names of the package in dir.
func (all names) parse(dir string) error {
	files, err := filepath.Glob(filepath.Join("..", dir, "*.go"))
	if err != nil {
		return err
	}
	qualifier := ""
	if dir != "." && len(files) > 0 {
		qualifier = path.Base(dir) + "."
		all[qualifier] = true
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if test, ok := d.(*ast.FuncDecl); !strings.HasSuffix(name, "_test.go") || ok && strings.HasPrefix(test.Name.Name, "Test") {
				all.declare(qualifier, d)
			}
		}
	}
	return nil
}

func (all names) declare(qualifier string, d ast.Decl) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil {
			all[qualifier+d.Name.Name] = true
		} else {
			all.member(qualifier, baseName(d.Recv.List[0].Type), d.Name.Name)
		}
	case *ast.GenDecl:
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.ValueSpec:
				for _, n := range s.Names {
					all[qualifier+n.Name] = true
				}
			case *ast.TypeSpec:
				all[qualifier+s.Name.Name] = true
				all.fields(qualifier, s)
			}
		}
	}
}

// fields adds the fields of a struct and the methods of an interface.
func (all names) fields(qualifier string, s *ast.TypeSpec) {
	var list *ast.FieldList
	switch t := s.Type.(type) {
	case *ast.StructType:
		list = t.Fields
	case *ast.InterfaceType:
		list = t.Methods
	default:
		return
	}
	for _, f := range list.List {
		for _, n := range f.Names {
			all.member(qualifier, s.Name.Name, n.Name)
		}
		if len(f.Names) == 0 {
			all[qualifier+s.Name.Name+"~"+baseName(f.Type)] = true // embedded
		}
	}
}

func (all names) member(qualifier, of, name string) {
	all[qualifier+of+"."+name], all[name] = true, true
}

// baseName is the name of a type without pointer, package and parameters.
func baseName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return baseName(e.X)
	case *ast.IndexExpr:
		return baseName(e.X)
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// has tells whether there is such a name. A member may be one of an embedded
// type.
func (all names) has(name string) bool {
	of, member, ok := strings.Cut(name, ".")
	if all[name] || !ok {
		return all[name]
	}
	for n := range all {
		if outer, embedded, _ := strings.Cut(n, "~"); outer == of && embedded != "" && all.has(embedded+"."+member) {
			return true
		}
	}
	return false
}

// foreign tells whether a name is one of another module's package, or of a
// variable.
func (all names) foreign(name string) bool {
	qualifier := name[:strings.Index(name, ".")+1]
	return qualifier != "" && qualifier != "sipacl." && !ast.IsExported(qualifier) && !all[qualifier]
}

var (
	span   = regexp.MustCompile("`[^`\n]+`")
	quoted = regexp.MustCompile(`"[^"]*"|\[[^]]*\]`) // and classes of expressions
	word   = regexp.MustCompile(`\b(?:[a-z]+\.)?[A-Z]\w*(?:\.[A-Z]\w*)*`)
	shout  = regexp.MustCompile(`^[A-Z]+$`) // a word of SQL, or of rule files
	block  = regexp.MustCompile("(?s)```go\n(.*?)```")
)

// TestNames looks at what stands between backticks: in a table, in its last
// column, which is about this library.
func TestNames(t *testing.T) {
	all := exported(t)
	require.True(t, all.has("Partition.Reload"), "a method of an embedded type")
	require.False(t, all.has("Partition.Wrap"))
	require.False(t, all.has("OpenSERGroups"))
	for _, page := range pages {
		for n, line := range lines(t, page) {
			if cells := strings.Split(line, " | "); strings.HasPrefix(line, "|") {
				line = cells[len(cells)-1]
			}
			for _, code := range span.FindAllString(line, -1) {
				for _, name := range word.FindAllString(quoted.ReplaceAllString(code, ""), -1) {
					if !shout.MatchString(name) && !all.foreign(name) {
						require.True(t, all.has(strings.TrimPrefix(name, "sipacl.")), "%s:%d: there is no %s", page, n+1, name)
					}
				}
			}
		}
	}
}

// lines are the lines of a page, those of code blocks left empty.
func lines(t *testing.T, page string) []string {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	all, inside := strings.Split(string(text), "\n"), false
	for i, line := range all {
		if strings.HasPrefix(line, "```") {
			inside = !inside
		}
		if inside {
			all[i] = ""
		}
	}
	return all
}

// TestSnippets compiles the Go code of the pages.
func TestSnippets(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the go command")
	}
	var b strings.Builder
	b.WriteString("package main\n\nimport (\n\t\"context\"\n\t\"database/sql\"\n\t\"expvar\"\n\t\"os\"\n\n\t\"github.com/sipacl/sipacl\"\n)\n\n")
	b.WriteString("var (\n\tctx context.Context\n\tdb *sql.DB\n\tperm *sipacl.Permissions\n)\n\nfunc use(...any) {}\n\nfunc main() { use(ctx, db, perm, os.Args, expvar.Get) }\n\n")
	assigned := regexp.MustCompile(`(?m)^(\w+(?:, \w+)*) :=`)
	for _, page := range pages {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for i, m := range block.FindAllStringSubmatch(string(text), -1) {
			fmt.Fprintf(&b, "func %s%d() {\n%s", strings.TrimSuffix(page, ".md"), i, m[1])
			for _, a := range assigned.FindAllStringSubmatch(m[1], -1) {
				fmt.Fprintf(&b, "use(%s)\n", a[1])
			}
			b.WriteString("}\n\n")
		}
	}
	file := filepath.Join(t.TempDir(), "main.go")
	require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o644))
	out, err := exec.Command("go", "build", "-o", os.DevNull, file).CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, b.String())
}
