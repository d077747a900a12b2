package workload

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Groups is how many groups the rows of a table have, numbered from 1.
const Groups = 64

// Proto is the protocol of a row or of a question; 0 is any.
type Proto uint8

// The protocols of the workload.
const (
	UDP Proto = iota + 1
	TCP
	TLS
)

// Row is one row of an address table. Port 0 and Proto 0 are any; an empty
// Pattern is none.
type Row struct {
	Group   uint32
	Prefix  netip.Prefix
	Port    uint16
	Proto   Proto
	Pattern string
	Info    string
}

// Query is one question to it. Group 0 asks for any group; an empty Subject
// matches every pattern.
type Query struct {
	Addr    netip.Addr
	Group   uint32
	Port    uint16
	Proto   Proto
	Subject string
}

// Table makes n rows: 66 % IPv4 hosts, one in ten of them inside an earlier
// subnet; 20 % IPv4 /24 to /30, 3 % /12 to /23; 7 % IPv6 hosts, 3 % /64, 1 %
// /48 and /56; and 3 % of all repeat the prefix of an earlier row.
func Table(n int, seed uint64) []Row {
	g := newTableGen(n, seed)
	rows := make([]Row, 0, n)
	for len(rows) < n {
		row := Row{Prefix: g.prefix(rows)}
		row.Group = uint32(1 + g.Busy(Groups))
		row.Port, row.Proto = g.port(), g.proto()
		if g.Percent(5) {
			row.Pattern = g.pattern()
		}
		if g.Percent(30) {
			row.Info = fmt.Sprintf("carrier-%d", g.N(500))
		}
		if row.Prefix.Addr().Is4() && row.Prefix.Bits() < 32 {
			g.subnets = append(g.subnets, len(rows))
		}
		rows = append(rows, row)
	}
	return rows
}

type tableGen struct {
	*Rand
	blocks4 []uint32 // the carriers' /16, busiest first
	blocks6 []uint64 // and their IPv6 /32
	subnets []int    // rows so far that are IPv4 subnets
}

func newTableGen(n int, seed uint64) *tableGen {
	g := &tableGen{Rand: NewRand(seed)}
	carriers := min(n/200+16, 12000)
	g.blocks4, g.blocks6 = make([]uint32, carriers), make([]uint64, carriers)
	for i := range g.blocks4 {
		g.blocks4[i] = uint32(1+g.N(222))<<24 | uint32(g.N(256))<<16
	}
	for i := range g.blocks6 {
		g.blocks6[i] = 0x2000_0000_0000_0000 | uint64(g.N(1<<28))<<32
	}
	return g
}

func (g *tableGen) prefix(rows []Row) netip.Prefix {
	kind := g.N(100)
	if len(rows) > 100 && g.Percent(3) {
		return rows[g.N(len(rows))].Prefix
	}
	carriers := len(g.blocks4)
	switch {
	case kind < 66:
		a := g.blocks4[g.Busy(carriers)] | uint32(g.N(1<<16))
		if len(g.subnets) > 0 && g.Percent(10) {
			a = inside4(g.Rand, rows[g.subnets[g.N(len(g.subnets))]].Prefix)
		}
		return netip.PrefixFrom(addr4(a), 32)
	case kind < 86:
		a := addr4(g.blocks4[g.Busy(carriers)] | uint32(g.N(1<<16)))
		return netip.PrefixFrom(a, 24+g.N(7)).Masked()
	case kind < 89:
		bits := 23 - g.Busy(12)
		return netip.PrefixFrom(addr4(g.blocks4[g.N(carriers)]|uint32(g.N(1<<16))), bits).Masked()
	case kind < 96:
		hi := g.blocks6[g.Busy(carriers)] | uint64(g.N(1<<16))<<16 | uint64(g.N(16))
		return netip.PrefixFrom(addr6(hi, uint64(g.N(1<<12))), 128)
	case kind < 99:
		return netip.PrefixFrom(addr6(g.blocks6[g.Busy(carriers)]|g.Uint64()&0xffffffff, 0), 64)
	}
	hi := g.blocks6[g.Busy(carriers)] | g.Uint64()&0xffffffff
	return netip.PrefixFrom(addr6(hi, 0), 48+8*g.N(2)).Masked()
}

// port gives any in 70 %, 5060 in 25 %.
func (g *tableGen) port() uint16 {
	switch k := g.N(100); {
	case k < 70:
		return 0
	case k < 95:
		return 5060
	}
	return uint16(1024 + g.N(60000))
}

// proto gives any in 60 %, UDP in 30 %.
func (g *tableGen) proto() Proto {
	switch k := g.N(100); {
	case k < 60:
		return 0
	case k < 90:
		return UDP
	case k < 95:
		return TCP
	}
	return TLS
}

func (g *tableGen) pattern() string {
	switch g.N(4) {
	case 0:
		return fmt.Sprintf("sip:*@carrier%d.example.com", g.N(500))
	case 1:
		return fmt.Sprintf("sip:+%d*", 1+g.N(99))
	case 2:
		return "*"
	}
	return fmt.Sprintf("sip:trunk-[0-9]?@c%d.*", g.N(500))
}

// Hits makes n questions about addresses inside rows drawn evenly, for the
// row's group or, one in five, for any. Its port and protocol fit the row;
// other rows and the pattern may still decide otherwise.
func Hits(rows []Row, n int, seed uint64) []Query {
	r := NewRand(seed)
	q := make([]Query, n)
	for i := range q {
		q[i] = about(r, &rows[r.N(len(rows))])
	}
	return q
}

func about(r *Rand, row *Row) Query {
	q := Query{Addr: Inside(r, row.Prefix), Group: row.Group, Port: row.Port, Proto: row.Proto}
	if r.Percent(20) {
		q.Group = 0
	}
	if q.Port == 0 {
		q.Port = 5060
	}
	if q.Proto == 0 {
		q.Proto = UDP
	}
	if row.Pattern != "" || r.Percent(10) {
		q.Subject = fmt.Sprintf("sip:+%d%d@carrier%d.example.com", 1+r.N(99), r.N(1e9), r.N(500))
	}
	return q
}

// Hot makes n questions as Hits does, about at most 4,096 sources, the first
// of them busiest: what a proxy between carriers sees.
func Hot(rows []Row, n int, seed uint64) []Query {
	base := Hits(rows, min(4096, len(rows)), seed)
	r := NewRand(seed + 99)
	q := make([]Query, n)
	for i := range q {
		q[i] = base[r.Busy(len(base))]
	}
	return q
}

// Misses makes n questions of a scanner: 75 % IPv4 addresses drawn evenly,
// 15 % in the /24 of some row, 10 % IPv6, half of them near a row. Some do
// hit, more in larger tables.
func Misses(rows []Row, n int, seed uint64) []Query {
	r := NewRand(seed)
	q := make([]Query, n)
	for i := range q {
		q[i] = Query{Addr: scanned(r, rows), Group: uint32(1 + r.Busy(Groups)), Port: 5060, Proto: UDP}
		if r.Percent(20) {
			q[i].Group = 0
		}
	}
	return q
}

func scanned(r *Rand, rows []Row) netip.Addr {
	kind := r.N(100)
	if kind < 75 {
		return addr4(uint32(1+r.N(222))<<24 | uint32(r.N(1<<24)))
	}
	if kind < 90 {
		for range 10_000 { // a table may have no IPv4 row
			if a := rows[r.N(len(rows))].Prefix.Addr(); a.Is4() {
				b := a.As4()
				b[3] = byte(r.Uint64())
				return netip.AddrFrom4(b)
			}
		}
	}
	even := addr6(0x2000_0000_0000_0000|uint64(r.N(1<<28))<<32|uint64(r.N(1<<30)), r.Uint64())
	if r.Percent(50) {
		for range 100 {
			if a := rows[r.N(len(rows))].Prefix.Addr(); a.Is6() {
				b := a.As16()
				b[5], b[6], b[7] = byte(r.Uint64()), byte(r.Uint64()), byte(r.Uint64())
				return netip.AddrFrom16(b)
			}
		}
	}
	return even
}

// Inside returns an address that p covers.
func Inside(r *Rand, p netip.Prefix) netip.Addr {
	if p.Addr().Is4() {
		return addr4(inside4(r, p))
	}
	b := p.Addr().As16()
	for i := p.Bits(); i < 128; i++ {
		if r.Uint64()&1 == 1 {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return netip.AddrFrom16(b)
}

func inside4(r *Rand, p netip.Prefix) uint32 {
	b := p.Addr().As4()
	a := binary.BigEndian.Uint32(b[:])
	if p.Bits() == 32 {
		return a
	}
	return a | uint32(r.Uint64())&(1<<(32-p.Bits())-1)
}

func addr4(a uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], a)
	return netip.AddrFrom4(b)
}

func addr6(hi, lo uint64) netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.AddrFrom16(b)
}

// ACE is one rule of a named ACL.
type ACE struct {
	Prefix netip.Prefix
	Permit bool
	Port   uint16 // 0 is any
}

// ACL makes n rules over the prefixes of Table, 60 % of them permit, 5 % with
// a port. The first denies all of IPv4.
func ACL(n int, seed uint64) []ACE {
	rows := Table(n, seed)
	r := NewRand(seed + 1)
	acl := make([]ACE, n)
	for i := range acl {
		acl[i] = ACE{Prefix: rows[i].Prefix, Permit: r.Percent(60)}
		if r.Percent(5) {
			acl[i].Port = 5060
		}
	}
	acl[0] = ACE{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}
	return acl
}

// Member is the i-th member of a group, 24 bytes on average.
func Member(i int) string {
	r := NewRand(uint64(i) * 7919)
	if i%3 == 0 {
		return fmt.Sprintf("user%d", i)
	}
	return fmt.Sprintf("%d@dom%d.example.com", 10000000+i, r.N(5000))
}
