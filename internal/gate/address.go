package gate

// cursor reads the value of a header field.
type cursor[T text] struct {
	s       T
	off     int
	escapes bool // a backslash was read between quotes
}

// at reports whether b is next.
func (c *cursor[T]) at(b byte) bool { return c.off < len(c.s) && c.s[c.off] == b }

// skip moves over the bytes of a class.
func (c *cursor[T]) skip(set class) { c.off = span(c.s, c.off, set) }

// address names the rule that s breaks as the one address of a field.
func address[T text](s T) Rule {
	c := cursor[T]{s: s}
	rule := c.address()
	if rule == WellFormed && c.off < len(s) {
		return Address
	}
	return rule
}

// addresses names the rule that s breaks as a list of addresses.
//
//	addresses = address *( "," address ) .
func addresses[T text](s T) Rule {
	c := cursor[T]{s: s}
	for {
		if rule := c.address(); rule != WellFormed {
			return rule
		}
		switch {
		case c.off == len(s):
			return unless(!c.escapes || cutAlike(s), Misread)
		case !c.at(','):
			return Address
		}
		c.off++
	}
}

// cutAlike reports whether sipgo cuts a list where the grammar does. When it
// looks for commas, sipgo takes an escaped quote for the end of the quotes.
func cutAlike[T text](s T) bool {
	var grammar, sipgo listState
	for i := 0; i < len(s); i++ {
		if grammar.cuts(s[i]) != sipgo.cuts(s[i]) {
			return false
		}
		sipgo.next(s[i])
		if grammar.quoted && s[i] == '\\' {
			i++
			sipgo.next(s[i])
			continue
		}
		grammar.next(s[i])
	}
	return true
}

// listState decides whether a comma ends an address.
type listState struct{ quoted, bracketed bool }

func (l *listState) cuts(c byte) bool { return c == ',' && !l.quoted && !l.bracketed }

func (l *listState) next(c byte) {
	switch {
	case c == '"':
		l.quoted = !l.quoted
	case !l.quoted && c == '<':
		l.bracketed = true
	case !l.quoted && c == '>':
		l.bracketed = false
	}
}

// address = [ display ] "<" uri ">" params / uri params .
func (c *cursor[T]) address() Rule {
	c.skip(blank)
	rule := Address
	switch begin := c.off; {
	case c.at('<'):
		rule = c.bracketed()
	case c.at('"'):
		if c.quoted() {
			c.skip(blank)
			rule = c.bracketed()
		}
	default:
		c.skip(display)
		if c.at('<') {
			rule = c.bracketed()
			break
		}
		c.off = begin
		rule = c.bareURI()
	}
	if rule != WellFormed {
		return rule
	}
	return c.params()
}

// bareURI = uri .
//
// If other text than parameters follows, the whole address is malformed.
func (c *cursor[T]) bareURI() Rule {
	begin := c.off
	c.skip(bare)
	rule := wholeURI(c.s[begin:c.off])
	c.skip(blank)
	if rule == AddressURI && c.off < len(c.s) && !c.at(';') && !c.at(',') {
		return Address
	}
	return rule
}

// bracketed = "<" uri ">" .
func (c *cursor[T]) bracketed() Rule {
	if !c.at('<') {
		return Address
	}
	end, rule := uri(c.s, c.off+1)
	switch {
	case rule != WellFormed:
		return rule
	case end == len(c.s):
		return Address
	case c.s[end] != '>':
		return AddressURI
	}
	c.off = end + 1
	return WellFormed
}

// params = *( ";" [ token [ "=" value ] ] ) .
//
// A parameter may be empty: sipgo writes "<sip:a@b> ;tag=1" as
// "<sip:a@b>; ;tag=1".
func (c *cursor[T]) params() Rule {
	for count := 0; ; count++ {
		c.skip(blank)
		switch {
		case !c.at(';'):
			return WellFormed
		case count == maxParams:
			return ManyParams
		}
		c.off++
		c.skip(blank)
		name := c.off
		c.skip(token)
		if c.off == name {
			continue
		}
		c.skip(blank)
		if c.at('=') && !c.value() {
			return Address
		}
	}
}

// value = "=" ( quoted / ( token / "[" 1*ipv6 "]" ) [ ":" 1*digit ] ) .
func (c *cursor[T]) value() bool {
	c.off++
	c.skip(blank)
	begin := c.off
	switch {
	case c.at('"'):
		return c.quoted()
	case c.at('['):
		end, rule := host(c.s, begin)
		if rule != WellFormed {
			return false
		}
		c.off = end
	default:
		c.skip(token)
	}
	if c.off == begin {
		return false
	}
	if c.at(':') {
		port := c.off + 1
		c.off = span(c.s, port, digit)
		return c.off > port
	}
	return true
}

// quoted = <"> quotedText <"> .
func (c *cursor[T]) quoted() bool {
	end, escapes := quotedText(c.s, c.off+1)
	c.off, c.escapes = end, c.escapes || escapes
	if !c.at('"') {
		return false
	}
	c.off++
	return true
}

// quotedText returns where the text between quotes that begins at off ends, and
// whether it holds escapes.
//
//	quotedText = *( quotable / "\" ( escapable / fold ) ) .
func quotedText[T text](s T, off int) (end int, escapes bool) {
	for {
		off = span(s, off, quotable)
		if len(s)-off < 2 || s[off] != '\\' || !escapable(s[off+1]) && s[off+1] != '\r' {
			return off, escapes
		}
		off, escapes = off+2, true
	}
}

func escapable(c byte) bool { return c < 0x80 && c != '\r' && c != '\n' }
