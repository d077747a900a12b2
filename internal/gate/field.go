package gate

import "math/bits"

// field is a header field that has a rule of its own.
type field uint8

const (
	other field = iota
	from
	to
	callID
	cseq
	maxForwards
	contentLength
	expires
	referTo
	via
	contact
	addressField  // Referred-By
	addressesList // Route, Record-Route, Path, P-Asserted-Identity
	fieldCount
)

// fieldOf finds a field by its name, in long or compact form. The usual
// spellings come first: comparing without regard to case is slower.
func fieldOf[T text](name T) field {
	switch string(name) {
	case "Via":
		return via
	case "From":
		return from
	case "To":
		return to
	case "Call-ID":
		return callID
	case "CSeq":
		return cseq
	case "Contact":
		return contact
	case "Max-Forwards":
		return maxForwards
	case "Content-Length":
		return contentLength
	}
	if len(name) == 1 {
		return compact(lower(name[0]))
	}
	for _, f := range byLength[min(len(name), len(byLength)-1)] {
		if same(name, f.name) {
			return f.field
		}
	}
	return other
}

func compact(name byte) field {
	switch name {
	case 'f':
		return from
	case 't':
		return to
	case 'i':
		return callID
	case 'l':
		return contentLength
	case 'r':
		return referTo
	case 'v':
		return via
	case 'm':
		return contact
	case 'b':
		return addressField
	}
	return other
}

type namedField struct {
	name  string
	field field
}

// byLength lists the fields by the length of their names. Its last entry is
// empty and stands for all longer names.
var byLength = [...][]namedField{
	2:  {{"to", to}},
	3:  {{"via", via}},
	4:  {{"from", from}, {"cseq", cseq}, {"path", addressesList}},
	5:  {{"route", addressesList}},
	7:  {{"contact", contact}, {"call-id", callID}, {"expires", expires}},
	8:  {{"refer-to", referTo}},
	11: {{"referred-by", addressField}},
	12: {{"max-forwards", maxForwards}, {"record-route", addressesList}},
	14: {{"content-length", contentLength}},
	19: {{"p-asserted-identity", addressesList}},
	20: {},
}

// occurrence says how often a field may stand in a message.
var occurrence = [fieldCount]struct{ missing, two Rule }{
	from:          {NoFrom, TwoFrom},
	to:            {NoTo, TwoTo},
	callID:        {NoCallID, TwoCallID},
	cseq:          {NoCSeq, TwoCSeq},
	maxForwards:   {two: TwoMaxForwards},
	contentLength: {two: TwoContentLength},
	expires:       {two: TwoExpires},
	referTo:       {two: TwoReferTo},
	via:           {missing: NoVia},
}

// message holds what the rules remember from one field to the next.
type message[T text] struct {
	method T      // "" in a response
	seen   uint16 // a bit for each field
	star   bool
}

func (m *message[T]) counted(f field) bool { return m.seen&(1<<f) != 0 }

// count notes a field and refuses a second one where only one may be.
func (m *message[T]) count(f field) Rule {
	if m.counted(f) && occurrence[f].two != WellFormed {
		return occurrence[f].two
	}
	m.seen |= 1 << f
	return WellFormed
}

// required are the fields that every message has.
const required = 1<<from | 1<<to | 1<<callID | 1<<cseq | 1<<via

// end refuses a message without a required field.
func (m *message[T]) end() Rule {
	if missing := required &^ m.seen; missing != 0 {
		return occurrence[bits.TrailingZeros16(missing)].missing
	}
	return WellFormed
}

// named names the rule that a field breaks by its presence or its value.
func (m *message[T]) named(f field, value T) Rule {
	switch f {
	case other:
		return WellFormed
	case contact:
		return m.contacts(trim(value))
	}
	if rule := m.count(f); rule != WellFormed {
		return rule
	}
	return m.value(f, value)
}

func (m *message[T]) value(f field, value T) Rule {
	switch f {
	case from, to, referTo, addressField:
		return address(value)
	case addressesList:
		return addresses(value)
	case cseq:
		return m.cseq(trim(value))
	case via:
		if crowded(value, ';', ',') {
			return ManyParams
		}
		return unless(len(trim(value)) > 0, Via)
	case maxForwards:
		n, ok := number(trim(value), 5)
		return unless(ok && n <= 255, MaxForwards)
	case contentLength:
		_, ok := number(trim(value), 9)
		return unless(ok, ContentLength)
	case expires:
		_, ok := number(trim(value), 10)
		return unless(ok, Expires)
	}
	return WellFormed
}

// unless returns rule if ok is false.
func unless(ok bool, rule Rule) Rule {
	if ok {
		return WellFormed
	}
	return rule
}

// cseq = 1*digit 1*blank method .
func (m *message[T]) cseq(s T) Rule {
	digits := span(s, 0, digit)
	method := span(s, digits, blank)
	if n, ok := number(s[:digits], 10); !ok || n >= 1<<31 || method == digits {
		return CSeq
	}
	return m.cseqMethod(s[method:])
}

func (m *message[T]) cseqMethod(s T) Rule {
	if len(m.method) == 0 {
		return unless(only(s, token), CSeq)
	}
	return unless(alike(s, m.method), CSeqMethod)
}

// contacts = "*" / addresses .
func (m *message[T]) contacts(value T) Rule {
	star := len(value) == 1 && value[0] == '*'
	if rule := m.countContact(star); rule != WellFormed || star {
		return rule
	}
	return addresses(value)
}

func (m *message[T]) countContact(star bool) Rule {
	if m.star || star && (m.counted(contact) || !same(m.method, "register")) {
		return Star
	}
	m.star = star
	return m.count(contact)
}
