package gate

// cursor reads the value of a header field.
type cursor[T text] struct {
	s       T
	off     int
	escapes bool // quoted text with a backslash was read
}

// at reports whether b is next.
func (c *cursor[T]) at(b byte) bool { return c.off < len(c.s) && c.s[c.off] == b }

// skip moves over the bytes of a class.
func (c *cursor[T]) skip(set class) { c.off = span(c.s, c.off, set) }

// address names the rule that s breaks as the value of From.
func address[T text](s T) Rule {
	c := cursor[T]{s: s}
	rule := c.address()
	if rule == WellFormed && c.off < len(s) {
		return Address
	}
	return rule
}

// addresses names the rule that s breaks as the value of Route.
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

// cutAlike reports whether sipgo cuts a list of addresses where the grammar
// does. To sipgo an escaped quote is a quote like any other.
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

// listState is what decides whether a comma ends an address.
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
// If text follows where only parameters may, the fault is not the URI's.
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
// A parameter may be empty, as sipgo writes "<sip:a@b> ;tag=1" as
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
	begin := c.off + 1
	c.off = quotedText(c.s, begin)
	if !c.at('"') {
		return false
	}
	c.escapes = c.escapes || has(c.s[begin:c.off], '\\')
	c.off++
	return true
}

// quotedText returns where the text between quotes ends that begins at off.
//
//	quotedText = *( any but control, <"> and "\\" / "\\" ( escapable / fold ) ) .
func quotedText[T text](s T, off int) int {
	for ; off < len(s); off++ {
		switch c := s[off]; {
		case c == '\\' && off+1 < len(s) && (escapable(s[off+1]) || s[off+1] == '\r'):
			off++
		case c == '\\', c == '"', in(c, control) && !in(c, blank):
			return off
		}
	}
	return off
}

func escapable(c byte) bool { return c < 0x80 && c != '\r' && c != '\n' }
