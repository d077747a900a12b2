// Package gate refuses SIP messages that other stacks read otherwise than
// sipgo does.
//
// A check is worth what the next hop reads. Where a message breaks the grammar
// of RFC 3261, each stack reads something else in it: sipgo takes "\nREGISTER"
// for a method of its own, Kamailio takes it for REGISTER. Such a message must
// be refused before any check looks at it.
//
// There are two doors with the same rules. [Bytes] takes a message as it came
// from the socket. [Request] takes what sipgo made of it, when the bytes are
// gone, and refuses also what sipgo would write otherwise than it read it.
//
// The rules come from comparing eight stacks over 10,691 messages. They let
// ordinary messages pass, the valid ones of RFC 4475 among them. What a stack
// makes of a well-formed message, such as decoding escapes in a user part, is
// left to the checks behind the gate.
package gate

// Rule names the rule that a message breaks. The zero Rule is no refusal.
// Its text is for operators.
type Rule uint8

// The rules, in the order of the parts of a message.
const (
	WellFormed       Rule = iota
	NoEnd                 // the bytes end before the header does
	BareLF                // in the head, outside the CRLF that ends a line
	BareCR                //
	ControlByte           // but HTAB, and but one in a quoted pair of a quoted string
	StartLine             // not METHOD SP URI SP SIP/2.0, or for a response not SIP/2.0 SP CODE SP REASON
	Method                // not a token: blanks or other bytes before or behind it included
	RequestURI            // not by the grammar
	FieldName             // not a token, or a line without a colon
	EmptyFold             // a continuation line of blanks
	TwoFrom               // long and compact form count together, here and below
	TwoTo                 //
	TwoCallID             //
	TwoCSeq               //
	TwoMaxForwards        //
	TwoContentLength      //
	TwoExpires            //
	TwoReferTo            //
	NoFrom                //
	NoTo                  //
	NoCallID              //
	NoCSeq                //
	NoVia                 //
	Via                   // empty, or without a host that sipgo can read
	CSeq                  // not a number below 2^31 and a method
	CSeqMethod            // not the method of the start line; case does not count, as sipgo writes methods in upper case
	MaxForwards           // not 0 to 255
	ContentLength         // not a number of at most nine digits
	BodyLength            // sipgo's body is longer or shorter than Content-Length says
	Expires               // not a number of at most ten digits
	Address               // quotes, brackets, commas or parameters of an address are not by the grammar
	AddressURI            // the URI in an address is not by the grammar
	NumericHost           // a host of numbers that is not an IPv4 address: stacks differ in what it means
	Port                  // 0 or above 65535
	TwoParams             // a URI parameter stands twice: stacks differ in which one counts
	ManyParams            // more parameters than maxParams
	Star                  // "Contact: *" with anything beside it, or not in a REGISTER
	Misread               // sipgo takes another "[" for the host, or another comma for the end of an address
	Rewritten             // what sipgo writes is not what it read
	rules                 // how many there are
)

var ruleText = [rules]string{
	WellFormed:       "well formed",
	NoEnd:            "no empty line behind the header fields",
	BareLF:           "bare LF",
	BareCR:           "bare CR",
	ControlByte:      "control byte",
	StartLine:        "start line malformed",
	Method:           "method is not a token",
	RequestURI:       "Request-URI malformed",
	FieldName:        "name of a header field is not a token",
	EmptyFold:        "folded line without text",
	TwoFrom:          "two From fields",
	TwoTo:            "two To fields",
	TwoCallID:        "two Call-ID fields",
	TwoCSeq:          "two CSeq fields",
	TwoMaxForwards:   "two Max-Forwards fields",
	TwoContentLength: "two Content-Length fields",
	TwoExpires:       "two Expires fields",
	TwoReferTo:       "two Refer-To fields",
	NoFrom:           "no From field",
	NoTo:             "no To field",
	NoCallID:         "no Call-ID field",
	NoCSeq:           "no CSeq field",
	NoVia:            "no Via field",
	Via:              "Via malformed",
	CSeq:             "CSeq malformed",
	CSeqMethod:       "CSeq names another method than the start line",
	MaxForwards:      "Max-Forwards is not 0 to 255",
	ContentLength:    "Content-Length is not a number",
	BodyLength:       "Content-Length is not the length of the body",
	Expires:          "Expires is not a number",
	Address:          "address malformed",
	AddressURI:       "URI of an address malformed",
	NumericHost:      "numeric host is not an IPv4 address",
	Port:             "port is not 1 to 65535",
	TwoParams:        "URI parameter stands twice",
	ManyParams:       "more than 128 parameters",
	Star:             "Contact * is not alone in a REGISTER",
	Misread:          "sipgo reads other addresses than the grammar",
	Rewritten:        "sipgo would forward another text",
}

// String says what was found, for a log line or a counter's label.
func (r Rule) String() string {
	if r < rules {
		return ruleText[r]
	}
	return "unknown rule"
}
