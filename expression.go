// Regular expressions on their way into a rule engine.

package sipacl

import (
	"github.com/sipacl/sipacl/internal/ere"
	"github.com/sipacl/sipacl/internal/ruleengine"
)

// engineBuilder gives the expressions of one syntax to a rule engine, each
// distinct one once. It refuses what CompileExpression does, in its words, but
// keeps no compiled expression.
type engineBuilder struct {
	*ruleengine.Builder
	syntax  ere.Syntax
	numbers map[string]uint32
}

func newEngineBuilder(syntax ere.Syntax) *engineBuilder {
	return &engineBuilder{ruleengine.NewBuilder(), syntax, map[string]uint32{}}
}

// expression returns the number of an expression. An error is an
// [*ere.Error].
func (b *engineBuilder) expression(text string) (uint32, error) {
	if x, ok := b.numbers[text]; ok {
		return x, nil
	}
	re, bad := ere.ParseExpression(text, b.syntax)
	if bad != nil {
		return 0, bad
	}
	x, err := b.Expression(re)
	if err != nil {
		return 0, &ere.Error{Col: 1, Msg: err.Error()}
	}
	b.numbers[text] = x
	return x, nil
}
