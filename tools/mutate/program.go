package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// program is the package under test, parsed and type-checked.
type program struct {
	fset     *token.FileSet
	files    []*source
	importer types.Importer
	info     types.Info
	decision types.Type // Decision, nil if the package has none
	causes   []string   // the constants of type Cause, by value
}

// source is one file.
type source struct {
	name string
	text string
	tree *ast.File
}

// load reads the package in dir, without its tests.
func load(dir string) (*program, error) {
	names, err := output(dir, "go", "list", "-f", `{{join .GoFiles "\n"}}`, ".")
	if err != nil {
		return nil, err
	}
	exports, err := output(dir, "go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".")
	if err != nil {
		return nil, err
	}
	p := &program{fset: token.NewFileSet()}
	p.importer = importer.ForCompiler(p.fset, "gc", lookup(exports))
	for _, name := range strings.Fields(names) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if err := p.add(name, string(text)); err != nil {
			return nil, err
		}
	}
	return p, p.check()
}

// lookup finds the export data that go list named.
func lookup(exports string) importer.Lookup {
	at := map[string]string{}
	for line := range strings.Lines(exports) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		at[path] = file
	}
	return func(path string) (io.ReadCloser, error) { return os.Open(at[path]) }
}

// output runs a command and gives what it prints.
func output(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return string(out), nil
}

func (p *program) add(name, text string) error {
	tree, err := parser.ParseFile(p.fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	p.files = append(p.files, &source{name, text, tree})
	return nil
}

// check fills in what the type checker knows.
func (p *program) check() error {
	p.info = types.Info{Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}}
	conf := types.Config{Importer: p.importer}
	pkg, err := conf.Check("sipacl", p.fset, p.trees(nil, nil), &p.info)
	if err != nil {
		return err
	}
	if d := pkg.Scope().Lookup("Decision"); d != nil {
		p.decision = d.Type()
	}
	p.causes = constantsOf(pkg, "Cause")
	return nil
}

// constantsOf lists the constants of a type, by value.
func constantsOf(pkg *types.Package, typ string) []string {
	var found []*types.Const
	for _, name := range pkg.Scope().Names() {
		c, ok := pkg.Scope().Lookup(name).(*types.Const)
		if !ok {
			continue
		}
		if n, ok := c.Type().(*types.Named); ok && n.Obj().Name() == typ {
			found = append(found, c)
		}
	}
	slices.SortFunc(found, func(a, b *types.Const) int {
		if constant.Compare(a.Val(), token.LSS, b.Val()) {
			return -1
		}
		return 1
	})
	names := make([]string, len(found))
	for i, c := range found {
		names[i] = c.Name()
	}
	return names
}

// trees gives the parsed files, with one in place of that of f.
func (p *program) trees(f *source, instead *ast.File) []*ast.File {
	var trees []*ast.File
	for _, g := range p.files {
		if g == f {
			trees = append(trees, instead)
			continue
		}
		trees = append(trees, g.tree)
	}
	return trees
}

// compiles reports whether the package does with m in it. An import that m
// leaves unused does not count: the original stays beside m in the binary.
func (p *program) compiles(m *mutant) bool {
	tree, err := parser.ParseFile(p.fset, m.file.name, m.apply(0, len(m.file.text)), parser.SkipObjectResolution)
	if err != nil {
		return false
	}
	ok := true
	conf := types.Config{Importer: p.importer, Error: func(err error) {
		if !strings.Contains(err.Error(), "imported and not used") {
			ok = false
		}
	}}
	_, _ = conf.Check("sipacl", p.fset, p.trees(m.file, tree), nil) // errors go to Error
	return ok
}

func (p *program) file(name string) *source {
	i := slices.IndexFunc(p.files, func(f *source) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return p.files[i]
}

// mutants finds the mutants of a file, in the order of the text.
func (p *program) mutants(f *source) []*mutant {
	var all []*mutant
	for _, d := range f.tree.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Body == nil {
			continue
		}
		w := &walker{program: p, file: f, fn: fn, seen: map[edit]bool{}}
		ast.Inspect(fn.Body, w.visit)
		all = append(all, w.found...)
	}
	return all
}
