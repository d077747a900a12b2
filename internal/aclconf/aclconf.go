// Package aclconf reads acl.conf, the file of named permit and deny lists, and
// the files it includes.
//
//	file     = { line } .
//	line     = [ section | directive | option ] [ comment ] .
//	section  = "[" name "]" [ "(" token { "," token } ")" ] .
//	token    = "!" | "+" | name .                      template, addition, heir of
//	directive= "#" ( "include" | "tryinclude" ) path . path may be quoted, and a glob
//	option   = [ "\" ] name [ "+" ] "=" [ ">" ] value .
//	comment  = ";" rest of line | ";--" { text | comment block } "--;" .
//
// "\;" is a semicolon. What the text means, addresses above all, is not known
// here: options are handed out as texts that know where each byte was written.
package aclconf

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Limits, all of them errors when passed.
const (
	maxName     = 255  // bytes of a section's name
	maxDepth    = 10   // files included in each other
	maxComments = 128  // block comments in each other
	maxFiles    = 4096 // included files, together
	maxBytes    = 256 << 20
	maxOptions  = 1 << 20 // options, those of templates counted in each heir
)

// Pos is a place in a file.
type Pos struct {
	File      string
	Line, Col int // from 1, in bytes; 0 is the file as a whole
}

// Error is one mistake in one place.
type Error struct {
	Pos Pos
	Err error // what was found, and what was wanted
}

// Error gives "acl.conf:3:7: want =".
func (e *Error) Error() string {
	if e.Pos.Line == 0 {
		return e.Pos.File + ": " + e.Err.Error()
	}
	return fmt.Sprintf("%s:%d:%d: %v", e.Pos.File, e.Pos.Line, e.Pos.Col, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Text is live text, comments and escapes removed, that remembers where it
// was written. Its pieces each stand in one line.
type Text []Piece

// Piece is a run of bytes as they stand in a file, from Pos on.
type Piece struct {
	Text string
	Pos  Pos
}

// String joins the pieces.
func (t Text) String() string {
	if len(t) == 1 {
		return t[0].Text
	}
	var b strings.Builder
	for _, p := range t {
		b.WriteString(p.Text)
	}
	return b.String()
}

// At returns where the byte at off was written, the end of the text for an
// off beyond it.
func (t Text) At(off int) Pos {
	var end Pos
	for _, p := range t {
		end = p.Pos
		if off < len(p.Text) {
			end.Col += off
			return end
		}
		off -= len(p.Text)
		end.Col += len(p.Text)
	}
	return end
}

// slice is t.String()[lo:hi] with its places.
func (t Text) slice(lo, hi int) (cut Text) {
	at := t.At(lo)
	for _, p := range t {
		from, to := max(lo, 0), min(hi, len(p.Text))
		if from < to {
			pos := p.Pos
			pos.Col += from
			cut = append(cut, Piece{p.Text[from:to], pos})
		}
		lo, hi = lo-len(p.Text), hi-len(p.Text)
	}
	if cut == nil { // nothing left but the place
		cut = Text{{Pos: at}}
	}
	return cut
}

// Option is a name with a value, such as "permit=192.0.2.0/24".
type Option struct {
	Name  string
	Pos   Pos  // of the name
	Value Text // may have blanks at its ends
}

// Section is what stands under one header. A header with "+" opens the
// section it adds to again.
type Section struct {
	Name     string
	Pos      Pos // of the name in the header
	Template bool
	Options  []Option // inherited ones first, in the order of the bases
}

// Source says where files are.
type Source struct {
	FS fs.FS
	// Name is the file to read. Relative includes are relative to its folder.
	Name string
	// Root is the folder of FS below which absolute includes are looked up;
	// "" makes them errors.
	Root string
}

// Read reads the file and all that it includes. The sections are those of
// all headers in order, two of one name when it occurs twice. When there are
// errors, the sections are what could be made of the rest.
func Read(src Source) ([]*Section, []*Error) {
	p := &parser{src: src, dir: path.Dir(src.Name), byName: map[string][]*Section{}}
	p.file(src.Name, nil, Pos{File: src.Name}, false)
	return p.sections, p.errs
}
