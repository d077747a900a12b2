// What address tables are asked with: groups, protocols, sources, queries, rows.

package sipacl

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// GroupID numbers a group of addresses. Group 0 is a group like any other;
// to ask for any group, see [AnyGroup].
type GroupID uint32

// Proto is a transport protocol as the address table spells it.
type Proto uint8

// The protocols that carry SIP; [ParseProto] knows ten more. In a row ProtoAny
// matches every protocol and ProtoNone none. In a query ProtoAny matches only
// rows for any protocol, unless [AnyProto] is set, and ProtoNone matches
// nothing.
const (
	ProtoAny Proto = iota
	ProtoNone
	ProtoUDP
	ProtoTCP
	ProtoTLS
	ProtoSCTP
	ProtoWS
	ProtoWSS
)

// protoNames are those of the constants, and of ten that OpenSIPS knows beside
// them: they load and match like any other, and no SIP socket has them.
var protoNames = [...]string{
	"any", "none", "udp", "tcp", "tls", "sctp", "ws", "wss", "ipsec", "bin",
	"bins", "hep_udp", "hep_tcp", "hep_tls", "smpp", "msrp", "msrps", "bond",
}

// ParseProto reads a protocol name in any letter case: any, none, and the
// sixteen that OpenSIPS knows. The empty name is an error; in a row it is any.
func ParseProto(s string) (Proto, error) {
	switch s { // what sipgo says, on every request
	case "UDP":
		return ProtoUDP, nil
	case "TCP":
		return ProtoTCP, nil
	case "TLS":
		return ProtoTLS, nil
	}
	for i, name := range protoNames {
		if len(s) == len(name) && strings.EqualFold(s, name) { // of one length: no letter but ASCII folds
			return Proto(i), nil
		}
	}
	return ProtoNone, fmt.Errorf("unknown protocol %q", shorten(s))
}

// String gives the name in lower case.
func (p Proto) String() string {
	if int(p) < len(protoNames) {
		return protoNames[p]
	}
	return "proto " + strconv.Itoa(int(p))
}

// MarshalText gives the name.
func (p Proto) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is [ParseProto].
func (p *Proto) UnmarshalText(text []byte) (err error) {
	*p, err = ParseProto(string(text))
	return err
}

// Source is the far end of the socket a request arrived on. The zero Source
// matches nothing.
//
// It identifies and does not authenticate: the source of a UDP datagram can
// be forged by anybody on a network that lets such datagrams out.
type Source struct {
	Addr  netip.Addr // not IPv4-mapped, without zone
	Port  uint16
	Proto Proto
}

// String gives "203.0.113.9:5060 udp", and the address alone if neither port
// nor protocol is known.
func (s Source) String() string {
	if s.Port == 0 && s.Proto == ProtoAny {
		return s.Addr.String()
	}
	b := netip.AddrPortFrom(s.Addr, s.Port).AppendTo(make([]byte, 0, 64))
	return string(append(append(b, ' '), s.Proto.String()...))
}

// SourceOf returns where req came from: the socket, never Via, Contact or
// From. A request that was not read from a socket gives [ErrNoSource]; the
// Source method of sipgo would answer from its Via then, which the sender
// writes. So does its Clone of a request without a socket, which writes that
// answer down: do not give clones of hand-made requests to a check.
func SourceOf(req *sip.Request) (Source, error) {
	if req == nil {
		return Source{}, ErrNoSource
	}
	addr, transport := req.MessageData.Source(), req.MessageData.Transport()
	if addr == "" || transport == "" {
		return Source{}, ErrNoSource
	}
	ap, err := parseAddrPort(addr)
	if err != nil {
		return Source{}, fmt.Errorf("%w: %w", ErrNoSource, err)
	}
	return source(ap, transport)
}

// parseAddrPort is netip.ParseAddrPort, with a short way for what most
// requests come from: four numbers and a port, as a socket writes them.
func parseAddrPort(s string) (netip.AddrPort, error) {
	var addr [4]byte
	rest := s
	for i, end := range [...]byte{'.', '.', '.', ':'} {
		n, after, ok := cutNumber(rest, 255)
		if !ok || after == "" || after[0] != end {
			return netip.ParseAddrPort(s)
		}
		addr[i], rest = byte(n), after[1:]
	}
	port, after, ok := cutNumber(rest, 65535)
	if !ok || after != "" {
		return netip.ParseAddrPort(s)
	}
	return netip.AddrPortFrom(netip.AddrFrom4(addr), uint16(port)), nil
}

// cutNumber reads a number up to most, without leading zeros.
func cutNumber(s string, most uint) (n uint, after string, ok bool) {
	i := 0
	for ; i < len(s) && s[i]-'0' < 10; i++ {
		if n = n*10 + uint(s[i]-'0'); n > most {
			return 0, "", false
		}
	}
	return n, s[i:], i == 1 || i > 1 && s[0] != '0'
}

// SourceFromAddr is [SourceOf] for callers that already have the remote address
// of a socket, such as a listener or a transport read filter.
func SourceFromAddr(addr net.Addr, transport string) (Source, error) {
	ap := addrPortOf(addr)
	if !ap.IsValid() {
		return Source{}, ErrNoSource
	}
	return source(ap, transport)
}

func source(ap netip.AddrPort, transport string) (Source, error) {
	p, err := ParseProto(transport)
	if err != nil || p == ProtoAny || p == ProtoNone {
		return Source{}, fmt.Errorf("%w: transport %q", ErrNoSource, shorten(transport))
	}
	if !ap.Addr().IsValid() {
		return Source{}, ErrNoSource
	}
	return Source{plainAddr(ap.Addr()), ap.Port(), p}, nil
}

// plainAddr is the one form of an address that is compared.
func plainAddr(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	if a.Zone() != "" {
		a = a.WithZone("")
	}
	return a.Unmap()
}

// Any is a set of the parts of a [Query] that match every row.
type Any uint8

// The parts. OpenSIPS's group 0, port 0, protocol "any" and missing pattern
// argument are these flags; Kamailio has none.
const (
	AnyGroup Any = 1 << iota
	AnyPort
	AnyProto
	AnySubject
)

// Query is a question to an address table. Every field is compared as it
// stands: group 0 is group 0, and port 0 matches only rows for any port.
// "Any" is written out, in the field of that name.
//
// The zero Query has no address and matches nothing.
type Query struct {
	Group GroupID
	Addr  netip.Addr // a mapped address is unmapped, a zone dropped
	Host  string     // a name, asked instead of Addr; matches rows that hold it
	Port  uint16     // source port
	Proto Proto
	// Subject is compared with the pattern of rows that have one. Which text
	// it is, the caller chooses, often the From URI.
	Subject string
	Any     Any
}

// query asks whether s is in group. A pattern is compared with the empty text
// until the caller sets Subject.
func (s Source) query(group GroupID) Query {
	return Query{Group: group, Addr: s.Addr, Port: s.Port, Proto: s.Proto}
}

// AddressRow is one row of an address table.
type AddressRow struct {
	Group   GroupID
	Prefix  netip.Prefix // ip and mask; host bits do not count
	Host    string       // a host name, instead of Prefix
	Port    uint16       // source port; 0 matches every port
	Proto   Proto        // the zero value, ProtoAny, matches every protocol
	Pattern string       // shell wildcard, see [Pattern]; "" matches every subject
	Info    string       // context_info, or Kamailio's tag
	Origin  Origin

	resolved bool // brought by a host name, not by a source
}

// String gives the row as one reads it: "group 200 203.0.113.0/24 port any proto any".
func (r AddressRow) String() string {
	b := append(make([]byte, 0, 96), "group "...)
	b = strconv.AppendUint(b, uint64(r.Group), 10)
	b = append(b, ' ')
	if r.Host != "" {
		b = append(b, r.Host...)
	} else {
		b = r.Prefix.AppendTo(b)
	}
	b = append(b, " port "...)
	if r.Port == 0 {
		b = append(b, "any"...)
	} else {
		b = strconv.AppendUint(b, uint64(r.Port), 10)
	}
	b = append(append(b, " proto "...), r.Proto.String()...)
	if r.Pattern != "" {
		b = strconv.AppendQuote(append(b, " pattern "...), r.Pattern)
	}
	return string(b)
}

// parseAddress reads an IPv4 or IPv6 literal as rows hold it: with blanks
// around it, IPv6 also in brackets. Nothing more lenient is an address
// ("10.1", "010.0.0.1", a zone), see decision addr-literal.
// The address is returned as written: an IPv4-mapped one stays mapped.
func parseAddress(s string) (netip.Addr, error) {
	t := strings.Trim(s, " \t")
	if len(t) > 2 && t[0] == '[' && t[len(t)-1] == ']' && strings.Contains(t, ":") {
		t = t[1 : len(t)-1]
	}
	a, err := netip.ParseAddr(t)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%q is no IPv4 or IPv6 address", shorten(s))
	}
	if a.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("%q has a zone", shorten(s))
	}
	return a, nil
}
