package aclconf

import "strings"

// comments is where a file stands in its block comments.
type comments struct {
	depth  int
	opened Pos // of the outermost open one
}

// strip returns the live text of a line: line comments cut, block comments
// taken out, "\;" a semicolon. A "--;" that closes nothing is an error, as is
// a comment nested too deep.
//
//	line  = { byte | "\;" | block } [ ";" rest ] .
//	block = ";--" { byte | block } "--;" .          no "-" follows ";--"
func (c *comments) strip(line string, at Pos) (live Text, err *Error) {
	from, mark := 0, 0 // live text not yet kept; where the dashes of "--;" may begin
	pos := func(i int) Pos { return Pos{at.File, at.Line, at.Col + i} }
	keep := func(to int) {
		if c.depth == 0 && from < to {
			live = append(live, Piece{line[from:to], pos(from)})
		}
	}
	for i := 0; i < len(line); i++ {
		if line[i] != ';' {
			continue
		}
		switch {
		case c.depth == 0 && i > from && line[i-1] == '\\':
			keep(i - 1)
			from, mark = i, i+1
		case opens(line[i:]):
			keep(i)
			if c.depth == 0 {
				c.opened = pos(i)
			}
			if c.depth++; c.depth > maxComments {
				return nil, &Error{pos(i), errNested}
			}
			i += 2
			mark = i + 1
		case strings.HasSuffix(line[mark:i], "--"):
			if c.depth == 0 {
				return nil, &Error{pos(i - 2), errStray}
			}
			c.depth--
			from, mark = i+1, i+1
		case c.depth == 0:
			keep(i)
			return live, nil
		}
	}
	keep(len(line))
	return live, nil
}

// opens tells whether s begins with the start of a block comment. ";---"
// begins a line comment.
func opens(s string) bool {
	return strings.HasPrefix(s, ";--") && !strings.HasPrefix(s, ";---")
}
