package gate

import (
	"bytes"
	"encoding/binary"
)

// Bytes names the first rule that a message breaks. It takes the message as it
// came from the socket: one datagram, or one frame of a WebSocket. Keep-alives,
// STUN and empty packets pass. Bytes does not allocate.
//
// A read from another stream may end in the middle of a message and is refused
// for that. Use [Request] there.
//
// Bytes does not compare Content-Length with the body; sipgo does.
func Bytes(msg []byte) Rule {
	if len(msg) == 0 || msg[0] < ' ' && (keepAlive(msg) || stun(msg)) {
		return WellFormed
	}
	for bytes.HasPrefix(msg, crlf) { // RFC 3261 section 7.5
		msg = msg[len(crlf):]
	}
	end, odd, rule := line(msg, 0)
	if rule != WellFormed {
		return rule
	}
	if odd {
		if rule := oddBytes(msg[:end]); rule != WellFormed {
			return rule
		}
		return ControlByte // nothing is quoted in a start line
	}
	m := message[[]byte]{}
	if m.method, rule = startLine(msg[:end]); rule != WellFormed {
		return rule
	}
	return m.header(msg[end+len(crlf):])
}

var (
	crlf    = []byte("\r\n")
	version = []byte(" SIP/2.0")
	status  = []byte("SIP/2.0 ")
)

// keepAlive accepts the empty lines of RFC 5626 section 4.4.1, and the zeros
// that sipgo ignores.
func keepAlive(msg []byte) bool { return len(bytes.Trim(msg, "\r\n\x00")) == 0 }

// stun recognises STUN by its length and its magic cookie (RFC 8489 section 5).
func stun(msg []byte) bool {
	return len(msg) >= 20 && msg[0] < 4 && binary.BigEndian.Uint32(msg[4:]) == 0x2112a442 &&
		int(binary.BigEndian.Uint16(msg[2:])) == len(msg)-20
}

// startLine returns the method of a start line, which is empty in a response,
// and the rule that the line breaks.
func startLine(s []byte) (method []byte, rule Rule) {
	if code, ok := bytes.CutPrefix(s, status); ok {
		end := span(code, 0, digit)
		return nil, unless(end == 3 && len(code) > end && code[end] == ' ', StartLine)
	}
	target := span(s, 0, token)
	if target == 0 || target < len(s) && s[target] != ' ' {
		return nil, Method
	}
	if target == len(s) {
		return nil, StartLine
	}
	end, rule := uri(s, target+1)
	switch {
	case bytes.Equal(s[end:], version):
		return s[:target], requestURI(rule)
	case !bytes.HasSuffix(s, version), bytes.Count(s, []byte(" ")) != 2:
		return nil, StartLine
	}
	return nil, RequestURI
}

// requestURI says that a malformed URI is not one of an address.
func requestURI(rule Rule) Rule {
	if rule == AddressURI {
		return RequestURI
	}
	return rule
}

// header names the rule that the lines behind the start line break.
func (m *message[T]) header(b T) Rule {
	for len(b) < 2 || b[0] != '\r' || b[1] != '\n' {
		end, rule := m.field(b)
		if rule != WellFormed {
			return rule
		}
		b = b[end+2:]
	}
	return m.end()
}

// field reads the header field that b begins with, and returns where it ends.
//
//	field = token *( SP / HTAB ) ":" value CRLF .
func (m *message[T]) field(b T) (end int, rule Rule) {
	name := span(b, 0, token)
	value, ok := colon(b, name)
	end = nextControl(b, value)
	if !ok || !oneLine(b, end) {
		if end, rule = fieldEnd(b); rule != WellFormed {
			return end, rule
		}
	}
	if !ok {
		return end, FieldName
	}
	return end, m.named(fieldOf(b[:name]), b[value:end])
}

// colon reads the colon behind a name.
func colon[T text](b T, name int) (end int, ok bool) {
	end = name
	for end < len(b) && white(b[end]) {
		end++
	}
	if name == 0 || end == len(b) || b[end] != ':' {
		return end, false
	}
	return end + 1, true
}

// oneLine reports whether CRLF stands at end and no continuation line follows,
// as with most header fields.
func oneLine[T text](b T, end int) bool {
	return end+2 < len(b) && b[end] == '\r' && b[end+1] == '\n' && !white(b[end+2])
}

// fieldEnd returns where the header field that b begins with ends, continuation
// lines included.
func fieldEnd[T text](b T) (end int, rule Rule) {
	end, odd, rule := line(b, 0)
	if rule != WellFormed {
		return end, rule
	}
	for next := end + 2; next < len(b) && white(b[next]); next = end + 2 {
		var oddMore bool
		if end, oddMore, rule = line(b, next); rule != WellFormed {
			return end, rule
		}
		if len(trim(b[next:end])) == 0 {
			return end, EmptyFold
		}
		odd = odd || oddMore
	}
	if odd {
		rule = oddBytes(b[:end])
	}
	return end, rule
}

// line returns where the line that begins at off ends. odd is true if control
// bytes are in it.
func line[T text](b T, off int) (end int, odd bool, rule Rule) {
	end = nextControl(b, off)
	for end < len(b) && b[end] != '\r' {
		odd = true
		end = nextControl(b, end+1)
	}
	switch {
	case end == len(b) && has(b[off:], '\n'):
		return end, odd, BareLF
	case end+1 >= len(b):
		return end, odd, NoEnd
	case b[end+1] != '\n':
		return end, odd, BareCR
	}
	return end, odd, WellFormed
}

// oddBytes names the rule that control bytes in a header field break. Folds are
// fine, and so is a control byte between quotes behind a backslash.
func oddBytes[T text](s T) Rule {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted && i+1 < len(s) && escapable(s[i+1]):
			i++
		case c == '\r' && i+2 < len(s) && s[i+1] == '\n' && white(s[i+2]):
			i += 2
		case c == '\r':
			return BareCR
		case c == '\n':
			return BareLF
		case in(c, control):
			return ControlByte
		}
	}
	return WellFormed
}
