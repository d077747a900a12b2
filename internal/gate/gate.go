// Package gate refuses SIP messages that other stacks read otherwise than
// sipgo does.
//
// A check is worth what the next hop reads. Where a message breaks the grammar
// of RFC 3261, each stack reads something else in it: sipgo takes "\nREGISTER"
// for a method of its own, Kamailio takes it for REGISTER. Such a message must
// be refused before any check looks at it.
//
// Two doors apply the same rules. [Bytes] takes a message as it came from the
// socket. [Request] takes the request that sipgo made of it, when the bytes are
// gone. It also refuses a request that sipgo would change by forwarding it.
//
// The rules come from comparing eight stacks over 10,691 messages. Ordinary
// messages pass, and so do the valid ones of RFC 4475. Stacks also differ over
// well-formed messages: some decode escapes in a user part. Those differences
// are left to the checks behind the gate.
package gate

// Rule names the rule that a message breaks. The zero Rule refuses nothing.
// Its text is written for operators.
type Rule uint8

// The rules, in the order of the parts of a message.
const (
	WellFormed       Rule = iota
	NoEnd                 // the bytes end before the header does
	BareLF                // LF without CR before it
	BareCR                // CR without LF behind it
	ControlByte           // any but HTAB, unless a backslash between quotes escapes it
	StartLine             // not METHOD SP URI SP SIP/2.0, or for a response not SIP/2.0 SP CODE SP REASON
	Method                // not a token; a blank before it counts too
	RequestURI            // not by the grammar
	FieldName             // not a token, or a line without a colon
	EmptyFold             // a continuation line of blanks
	TwoFrom               // here and below, long and compact form count together
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
	CSeqMethod            // another method than in the start line; case does not count, as sipgo writes methods in upper case
	MaxForwards           // not 0 to 255
	ContentLength         // not a number of at most nine digits
	BodyLength            // sipgo's body is longer or shorter than Content-Length says
	Expires               // not a number of at most ten digits
	Address               // its quotes, brackets, commas or parameters are not by the grammar
	AddressURI            // not by the grammar
	NumericHost           // stacks read 192.0.2.010 as different addresses
	Port                  // 0 or above 65535
	TwoParams             // stacks differ in which of two URI parameters counts
	ManyParams            // more parameters than maxParams
	Star                  // "Contact: *" beside another, with parameters, or not in a REGISTER
	Misread               // well formed, but sipgo takes another "[" for the host or another comma for the end of an address
	Rewritten             // well formed, but sipgo writes another text than it read
	rules                 // their number
)

var ruleText = [rules]string{
	WellFormed:       "well formed",
	NoEnd:            "no empty line behind the header",
	BareLF:           "bare LF in the header",
	BareCR:           "bare CR in the header",
	ControlByte:      "control byte in the header",
	StartLine:        "start line malformed",
	Method:           "method is not a token",
	RequestURI:       "Request-URI malformed",
	FieldName:        "field name is not a token",
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
	Misread:          "sipgo reads another address in it",
	Rewritten:        "sipgo would forward another text",
}

// String returns what was found, as a log line or the label of a counter has it.
func (r Rule) String() string {
	if r < rules {
		return ruleText[r]
	}
	return "unknown rule"
}
