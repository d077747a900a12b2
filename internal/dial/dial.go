// Package dial tells which numbers a URI may dial besides the one it shows.
//
// Stacks and gateways disagree about what "+1-900", "%2B1900" and
// "900;phone-context=+1" dial. A deny rule must bite whichever of them stands
// downstream. So it is asked about further texts, [Texts], beside the plain
// and the canonical one. Their users are, in this order:
//
//  1. The name: the user part with escapes of printable ASCII decoded once, up
//     to the first ";". Escapes of "%", ":", "@" and of bytes above 0x7e stay,
//     for decoded they would make another URI. A "%" without two hexadecimal
//     digits is dropped.
//  2. The name without the visual separators "-", ".", "(" and ")", if it holds
//     nothing else but digits, "+", "*" and "#".
//  3. The digits of the name, and the "+" before them.
//  4. The same where the digits in escapes above 0x7e count, as in "+1%900".
//  5. A phone-context of "+" and digits, followed by the digits of a name
//     without "+".
//  6. The number in rn, alone and behind its rn-context.
//  7. The user part decoded as the name is, its parameters too, for stacks that
//     do not cut them off.
//
// Of a user with a byte that no two stacks read alike (see [Texts]) the texts 1
// to 4 are also made of what stands before it.
//
// Texts 3 and 4 are what is left when a gateway drops whatever is no digit. RFC
// 3966 calls no such name a number, so there is a rule for which names have
// them, made from recordings and from users that are common:
//
//   - There must be three digits. 112 has as many, gw+gw1 has fewer.
//   - With a "+" before the first digit, everything else may be in the name.
//     "w+1900", "+1x900" and "bob%3A+1900" all led to +1900, and few users look
//     like that: alice+1234 is the price.
//   - Without that "+", a name with a letter, "_", or a byte above 0x7e stays a
//     name, and one with "*" or "#" a code. This spares bob2, line1-2, 12_1001,
//     *67, and the UUIDs and random texts that phones register.
//
// The letters A to F are digits of RFC 4967, but they are letters here: they
// are in UUIDs too. Prefixes of dial plans (00, 011, *67) and the number
// without its "+" need rules of their own: the URI does not say what they mean.
package dial

import (
	"bytes"
	"strings"

	"github.com/sipacl/sipacl/internal/escape"
)

// Max is how many further texts a URI may have. An honest one reaches five.
const Max = 11

const (
	maxURI    = 1024 // the longest URI that is read, in bytes, parameters included
	maxParams = 32   // semicolons: each rn is put behind each rn-context
)

// Texts are the further texts of one URI. The zero Texts holds none.
type Texts struct {
	// Odd says that the user part holds a byte up to 0x20 or 0x7f, raw or
	// escaped, or a raw one above. Some stacks end the number there, some skip
	// the byte, some take the whole user for empty: no text tells for sure what
	// the URI dials. The texts are those of the first two kinds.
	Odd bool

	// Refuse says that the texts cannot be had; All is empty then. It is a URI
	// of more than 1024 bytes or Max texts, one that hides a phone-context or rn
	// among more than 30 parameters, or one with texts whose host holds an odd
	// byte.
	Refuse bool

	n    int
	list [Max]string
}

// All returns the texts: printable ASCII without blanks, each once, none of
// them the plain or the canonical text. It is valid until the next Find.
func (t *Texts) All() []string { return t.list[:t.n] }

// Find makes t the further texts of a SIP or tel URI; other texts and URIs
// without a user have none. plain and canonical are what rules see of it now.
// lost is a list of the parameters that plain has lost, as ";rn=+1900;npdi",
// and may be empty; those that do not matter may be left out (see [Matters]).
//
// A text is canonical with another user. It is longer than plain and lost
// together by a few bytes at most, and its own texts are among those of the URI.
// Find makes one allocation if there are texts, else none.
func (t *Texts) Find(plain, canonical, lost string) {
	t.Odd, t.Refuse, t.n = false, false, 0
	rest, tel, ok := cutScheme(plain)
	if !ok {
		return
	}
	user, seen := cutUser(rest, tel)
	params, ok := cutHost(rest[len(user):])
	if !ok && !tel || ordinary(user, seen) && idle(params) && idle(lost) && len(plain)+len(lost) <= maxURI {
		return
	}
	t.Refuse = len(plain)+len(lost) > maxURI || !t.find(user, params, lost, plain, canonical)
}

// cutScheme gives what follows the scheme of a SIP or tel URI.
func cutScheme(uri string) (rest string, tel, ok bool) {
	if strings.HasPrefix(uri, "sip:") { // nearly all
		return uri[len("sip:"):], false, true
	}
	scheme, rest, ok := strings.Cut(uri, ":")
	tel = isName(scheme, "tel")
	return rest, tel, ok && (tel || isName(scheme, "sip") || isName(scheme, "sips"))
}

// cutUser gives the user, its parameters and its password included, and the
// classes of its bytes but a "+" at the beginning. All of a tel URI is its user.
func cutUser(rest string, tel bool) (user string, seen class) {
	i := 0
	if rest != "" && rest[0] == '+' {
		i++
	}
	for ; i < len(rest) && (rest[i] != '@' || tel); i++ {
		seen |= classes[rest[i]]
	}
	return rest[:i], seen
}

// cutHost gives the parameters behind "@" and a host.
func cutHost(host string) (params string, ok bool) {
	i := strings.IndexByte(host, ';')
	if i < 0 {
		return "", host != ""
	}
	host, _, _ = strings.Cut(host, "?") // headers follow
	return host[min(i, len(host)):], true
}

// isName is strings.EqualFold, quicker, for a name in lower-case ASCII letters
// and hyphens.
func isName[T string | []byte](s T, name string) bool {
	if len(s) != len(name) {
		return false
	}
	for i := range len(name) {
		if s[i] != name[i] && (s[i]|0x20 != name[i] || name[i] == '-') {
			return false
		}
	}
	return true
}

// idle reports whether a list of parameters gives no number.
func idle(params string) bool {
	for params != "" {
		var p string
		p, params, _ = strings.Cut(params, ";")
		if name, value, _ := strings.Cut(p, "="); Matters(name, value) {
			return false
		}
	}
	return true
}

// Matters reports whether a parameter may give a number: its name says so, or
// an escape may hide another.
func Matters(name, value string) bool {
	for i := range len(name) {
		if classes[name[i]] == syntax {
			return true
		}
	}
	return strings.IndexByte(value, '%') >= 0 ||
		isName(name, "phone-context") || isName(name, "rn") || isName(name, "rn-context")
}

// class is a set of kinds of bytes in a user part.
type class uint8

const (
	digit     class = 1 << iota
	code            // "*" and "#"
	plus            // "+"
	separator       // "-", ".", "(" and ")"
	letter          // what makes a name: letters, "_", escapes above 0x7e
	junk            // further printable ASCII
	syntax          // "%", ";", ":" and what a user part must not hold
)

var classes = func() (table [256]class) {
	for i := range table {
		switch c := byte(i); {
		case c <= ' ', c >= 0x7f, c == '%', c == ';', c == ':':
			table[i] = syntax
		case '0' <= c && c <= '9':
			table[i] = digit
		case 'a' <= c|0x20 && c|0x20 <= 'z', c == '_':
			table[i] = letter
		default:
			table[i] = junk
		}
	}
	table['*'], table['#'], table['+'] = code, code, plus
	table['-'], table['.'], table['('], table[')'] = separator, separator, separator, separator
	return table
}()

// ordinary reports whether a user part is a plain number, code or name, which
// have no further texts. seen is what cutUser saw.
func ordinary(user string, seen class) bool {
	switch {
	case seen&(syntax|plus) != 0:
		return false
	case user != "" && user[0] == '+':
		return seen&^digit == 0
	}
	return seen&^(digit|code) == 0 || seen&letter != 0
}

// find is Find for a URI that is not ordinary. It reports false for one to
// refuse.
func (t *Texts) find(user, params, lost, plain, canonical string) (ok bool) {
	var b builder
	if !b.frame(plain, canonical) {
		return false
	}
	if !b.tel {
		user, _, _ = strings.Cut(user, ":") // a password follows
	}
	var buf [maxURI + 8]byte
	decoded, odd := appendDecoded(buf[:0], user)
	whole := decoded
	for _, more := range [...]string{params, lost} {
		decoded, _ = appendDecoded(append(decoded, ';'), more)
	}
	name, list, _ := bytes.Cut(decoded, []byte(";"))
	if t.Odd = odd >= 0; t.Odd && odd <= len(name) {
		b.name(name[:odd])
	}
	b.name(name)
	b.params(name, list)
	if !b.tel { // its parameters are no part of a user
		b.add(whole)
	}
	return b.finish(t)
}

// appendDecoded decodes the escapes of printable ASCII, except "%", ":" and
// "@". Any "%" that it appends begins an escape. It drops odd bytes, and says
// where in b the first of them was; -1 is none.
func appendDecoded(b []byte, s string) (decoded []byte, odd int) {
	odd = -1
	for i := 0; i < len(s); i++ {
		c, escaped := s[i], false
		if c == '%' {
			if c, escaped = escape.Octet(s[i:]); !escaped {
				continue
			}
			i += len("%41") - 1
		}
		switch {
		case c <= ' ', c == 0x7f, c > 0x7f && !escaped:
			if odd < 0 {
				odd = len(b)
			}
		case escaped && (c > 0x7f || c == '%' || c == ':' || c == '@'):
			b = append(b, s[i-2:i+1]...)
		default:
			b = append(b, c)
		}
	}
	return b, odd
}

// look tells the classes of a decoded name. An escape that stayed is a letter
// if its byte is above 0x7e, else junk.
func look(name []byte) (seen class) {
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c != '%':
			seen |= classes[c]
		case name[i+1] < '8':
			seen |= junk
			i += 2
		default:
			seen |= letter
			i += 2
		}
	}
	return seen
}

// appendDigits appends the digits of a decoded text, and the "+" before them.
// With high it takes the digits in escapes above 0x7e for digits.
func appendDigits(b, text []byte, high bool) []byte {
	head := len(b)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '%' && !(high && text[i+1] >= '8'):
			i += 2
		case classes[c] == digit, c == '+' && len(b) == head:
			b = append(b, c)
		}
	}
	return b
}

func appendUnseparated(b, name []byte) []byte {
	for _, c := range name {
		if classes[c] != separator {
			b = append(b, c)
		}
	}
	return b
}

// builder collects texts, one behind the other. It holds arrays and no slices
// of its own, so that it need not be allocated.
type builder struct {
	canonical     string
	before, after string // what stands around the user in canonical
	plain         string // without the scheme, which canonical has in lower case
	tel           bool

	texts [Max * (maxURI + 8)]byte
	ends  [Max]int // where each text ends
	n     int
	full  bool // a text was left out

	number [maxURI + 8]byte // of the text in the making
}

// frame reads what surrounds the user. It reports false if canonical is no URI
// with a user.
func (b *builder) frame(plain, canonical string) bool {
	_, b.plain, _ = strings.Cut(plain, ":")
	scheme, rest, ok := strings.Cut(canonical, ":")
	b.canonical, b.before = canonical, strings.TrimSuffix(canonical, rest)
	if b.tel = isName(scheme, "tel"); b.tel {
		return ok
	}
	at := strings.IndexByte(rest, '@')
	b.after = rest[max(at, 0):]
	return at >= 0
}

// name adds the texts of a decoded name.
func (b *builder) name(name []byte) {
	b.add(name)
	seen := look(name)
	if seen&^(digit|code|plus|separator) == 0 && seen&(digit|code) != 0 {
		b.add(appendUnseparated(b.number[:0], name))
	}
	for _, high := range [...]bool{false, true} {
		number := appendDigits(b.number[:0], name, high)
		switch global := hasPlus(number); {
		case global && len(number) >= len("+112"):
			b.add(number)
		case !global && len(number) >= len("112") && seen&(letter|code) == 0:
			b.add(number)
		}
	}
}

// params adds the texts of the numbers that a decoded list of parameters gives.
func (b *builder) params(name, list []byte) {
	_, _, context := cutParam(list, "phone-context")
	_, _, routed := cutParam(list, "rn")
	if (context || routed) && bytes.Count(list, []byte(";")) > maxParams {
		b.full = true
		return
	}
	b.inContext(name, list, "phone-context")
	for rn, rest, ok := cutParam(list, "rn"); ok; rn, rest, ok = cutParam(rest, "rn") {
		if number := appendDigits(b.number[:0], rn, false); hasDigit(number) {
			b.add(number)
		}
		b.inContext(rn, list, "rn-context")
	}
}

// inContext adds local behind each global context in list, unless it is a
// global number itself.
func (b *builder) inContext(local, list []byte, context string) {
	for c, rest, ok := cutParam(list, context); ok; c, rest, ok = cutParam(rest, context) {
		number := appendDigits(b.number[:0], c, false)
		head := len(number)
		number = appendDigits(number, local, false)
		if hasPlus(number[:head]) && head < len(number) && !hasPlus(number[head:]) {
			b.add(number)
		}
	}
}

func hasPlus(number []byte) bool  { return len(number) > 0 && number[0] == '+' }
func hasDigit(number []byte) bool { return len(number) > 1 || len(number) == 1 && number[0] != '+' }

// cutParam gives the value of the first parameter of a name, and what follows.
func cutParam(list []byte, name string) (value, rest []byte, ok bool) {
	for len(list) > 0 {
		var p []byte
		p, list, _ = bytes.Cut(list, []byte(";"))
		if key, value, _ := bytes.Cut(p, []byte("=")); isName(key, name) {
			return value, list, true
		}
	}
	return nil, nil, false
}

// add adds the text with this user, unless it is there already.
func (b *builder) add(user []byte) {
	from := b.end(b.n)
	text := b.texts[from:from]
	switch text = append(append(append(text, b.before...), user...), b.after...); {
	case len(user) == 0 || b.known(text):
	case b.n == Max, from+len(text) > len(b.texts), !printable(text):
		b.full = true
	default:
		b.ends[b.n] = from + len(text)
		b.n++
	}
}

// end gives the end of the first n texts.
func (b *builder) end(n int) int {
	if n == 0 {
		return 0
	}
	return b.ends[n-1]
}

func (b *builder) known(text []byte) bool {
	for i := range b.n {
		if bytes.Equal(b.texts[b.end(i):b.end(i+1)], text) {
			return true
		}
	}
	return string(text[len(b.before):]) == b.plain || string(text) == b.canonical
}

func printable(text []byte) bool {
	for _, c := range text {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// finish hands the texts over, all in one string. It reports false if it
// cannot hand over all.
func (b *builder) finish(t *Texts) bool {
	if b.full || b.n == 0 {
		return !b.full
	}
	all := string(b.texts[:b.end(b.n)])
	for i := range b.n {
		t.list[i] = all[b.end(i):b.end(i+1)]
	}
	t.n = b.n
	return true
}
