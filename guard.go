// Guard: one policy at every gate. The door to sipgo servers.

package sipacl

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/gate"
)

// Check decides one request. Every function and method of this package with
// this shape can be given to [AllOf], [AnyOf], [ByMethod] and [Guard].
type Check = func(r Request) Decision

// AllOf allows what every check allows. It gives the first refusal, or else
// the last decision with the address row (Group, Prefix, Info) that the last
// address check found: the handler learns who was let in.
// Without checks, and where one is nil, it refuses.
func AllOf(checks ...Check) Check {
	checks = slices.Clone(checks)
	return func(r Request) (d Decision) {
		var row addressMatch
		for i, c := range checks {
			if i > 0 {
				row.keep(&d)
			}
			if r.trace == nil && c != nil {
				d = c(r)
			} else {
				d = r.ask(c)
			}
			if !d.Allowed {
				break
			}
		}
		row.give(&d)
		if !d.Source.Addr.IsValid() {
			d.Source = r.Source
		}
		return d
	}
}

// addressMatch is the address row of a decision.
type addressMatch struct {
	found  bool
	group  GroupID
	prefix netip.Prefix
	info   string
}

func (m *addressMatch) keep(d *Decision) {
	if d.Cause == CauseAddress {
		*m = addressMatch{true, d.Group, d.Prefix, d.Info}
	}
}

// give has a decision name the row: handlers bill by it.
func (m *addressMatch) give(d *Decision) {
	if m.found && d.Allowed && d.Cause != CauseAddress {
		d.Group, d.Prefix, d.Info = m.group, m.prefix, m.info
	}
}

// AnyOf allows what some check allows. It gives the first decision that does,
// or else the last refusal that names a row or rule, or else the last one.
// Without checks it refuses; a nil check refuses.
func AnyOf(checks ...Check) Check {
	checks = slices.Clone(checks)
	return func(r Request) Decision {
		useful := Decision{Source: r.Source}
		for _, c := range checks {
			if c == nil {
				continue
			}
			d := r.ask(c)
			if d.Allowed {
				return d
			}
			if d.Origin != (Origin{}) || useful.Origin == (Origin{}) {
				useful = d
			}
		}
		return useful
	}
}

// ByMethod asks the check of the request's method. A method that is not
// listed, and what is no SIP request yet, is refused.
func ByMethod(checks map[sip.RequestMethod]Check) Check {
	checks = maps.Clone(checks)
	return func(r Request) Decision {
		if c := checks[r.method()]; c != nil && r.Request != nil {
			return r.ask(c)
		}
		return Decision{Source: r.Source, Info: "the method is not listed"}
	}
}

// GuardConfig says what a [Guard] lets through and what becomes of the rest.
// The zero GuardConfig refuses everything, with 403.
type GuardConfig struct {
	// Check decides requests, at handlers; nil refuses.
	Check Check

	// Peers decides before the parser, at Filter, Listener and PacketConn,
	// from Source and Local alone; nil refuses. Handlers do not ask it.
	// Responses come through these gates too: the peers that this server
	// calls must pass as well.
	Peers Check

	// Reject answers a request that is refused; nil is
	// RespondOnce(403, "Forbidden").
	Reject Reject

	// Observe hears of every decision, at every gate, before it takes effect.
	// It may be nil.
	Observe func(Event)

	// Permissions, if set, has all checks about one request read one snapshot.
	Permissions *Permissions

	// AcceptMalformed lets through messages that other SIP stacks read
	// otherwise than sipgo, or that sipgo would not forward as it read them.
	// What checks decide about such a message may not be what the next hop
	// does. Handlers, Filter and PacketConn refuse them by default, with
	// CauseWire, before any check.
	AcceptMalformed bool

	// CloseRemoved has Listener close the open connections whose source Peers
	// no longer allows, after each reload of Permissions, on the goroutine
	// that reloaded. It needs Permissions.
	CloseRemoved bool
}

// Event is one decision of a [Guard]. Fields may be added.
type Event struct {
	Gate     Gate
	Request  Request // without a message at GateBytes and GateConn
	Decision Decision
}

// Gate says where a [Guard] decided.
type Gate uint8

// The gates.
const (
	GateHandler Gate = iota // Wrap, Handle and Decide
	GateBytes               // Filter and PacketConn: nothing is parsed
	GateConn                // Listener: no byte is read
)

// String gives "handler", "bytes" or "conn".
func (g Gate) String() string {
	switch g {
	case GateHandler:
		return "handler"
	case GateBytes:
		return "bytes"
	case GateConn:
		return "conn"
	}
	return "gate " + strconv.Itoa(int(g))
}

// Guard stands at every gate of one server: handlers, bytes, connections. All
// of them share its policy, its observer and its snapshots. It is immutable and
// safe for concurrent use; a nil Guard refuses everything.
//
// A CANCEL that meets its INVITE transaction, a message that does not parse
// and a copy of a request never reach a handler; only Filter, Listener and
// PacketConn see those.
type Guard struct{ cfg GuardConfig }

// NewGuard returns the guard of cfg.
func NewGuard(cfg GuardConfig) *Guard {
	if cfg.Reject == nil {
		cfg.Reject = RespondOnce(sip.StatusForbidden, "Forbidden")
	}
	return &Guard{cfg}
}

// With returns a guard that asks another check of requests and is like g
// otherwise.
func (g *Guard) With(check Check) *Guard {
	if g == nil {
		return nil
	}
	next := *g
	next.cfg.Check = check
	return &next
}

// Decide asks Check and observes, and enforces nothing: for other SIP stacks,
// and as a part of another policy. It is a [Check].
func (g *Guard) Decide(r Request) Decision {
	if g == nil {
		return Decision{Source: r.Source}
	}
	g.pin(&r)
	var d Decision
	if g.wellFormed(&r, &d) {
		d = r.ask(g.cfg.Check)
	}
	g.observe(GateHandler, &r, &d)
	return d
}

// wellFormed reports whether every stack reads the same in the message of r,
// and what sipgo forwards is what it read. If not, d is the refusal.
func (g *Guard) wellFormed(r *Request, d *Decision) bool {
	if g.cfg.AcceptMalformed || r.Request == nil {
		return true
	}
	return passes(gate.Request(r.Request), r, d)
}

func passes(rule gate.Rule, r *Request, d *Decision) bool {
	if rule == gate.WellFormed {
		return true
	}
	d.Source, d.Cause, d.Info = r.Source, CauseWire, rule.String()
	return false
}

// pin notes which snapshot the checks about r read.
func (g *Guard) pin(r *Request) {
	if r.at == nil && g.cfg.Permissions != nil {
		r.at = g.cfg.Permissions.Snapshot()
	}
}

func (g *Guard) observe(gate Gate, r *Request, d *Decision) {
	if g.cfg.Observe != nil && r.trace == nil { // an Explain is no traffic
		g.cfg.Observe(Event{gate, *r, *d})
	}
}

// Wrap calls next only for requests that are allowed. Wrap every handler, those
// of OnAck and OnNoRoute too: sipgo has no hook for the whole server. g.Wrap
// is a middleware of sipgo and diago.
func (g *Guard) Wrap(next sipgo.RequestHandler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		if g.admits(req, tx) {
			next(req, tx)
		}
	}
}

// admits decides about a request and answers it if it is refused. It has
// returned before the handler runs, so that its frame takes no stack from it.
//
//go:noinline
func (g *Guard) admits(req *sip.Request, tx sip.ServerTransaction) bool {
	var r Request
	var d Decision
	g.decide(req, tx, &r, &d)
	return d.Allowed
}

// decide makes r and d, which are zero, the request and what becomes of it. A
// Request and a Decision are big: they are copied where a check is called, and
// nowhere else.
func (g *Guard) decide(req *sip.Request, tx sip.ServerTransaction, r *Request, d *Decision) {
	if g == nil {
		return
	}
	r.join(req, tx)
	g.pin(r)
	if d.Source = r.Source; g.wellFormed(r, d) && g.cfg.Check != nil {
		if *d = g.cfg.Check(*r); !d.Source.Addr.IsValid() {
			d.Source = r.Source
		}
	}
	g.observe(GateHandler, r, d)
	if !d.Allowed && r.method() != sip.ACK {
		g.cfg.Reject(*r, tx, *d)
	}
}

// Handler is a request handler that learns what was decided, and why: which
// row let the caller in is in d.Group and d.Info.
type Handler func(r Request, tx sip.ServerTransaction, d Decision)

// Handle is Wrap for a [Handler]. With GuardConfig.Permissions, further
// questions about r are answered from the snapshot that the decision was made
// from.
func (g *Guard) Handle(next Handler) sipgo.RequestHandler {
	return func(req *sip.Request, tx sip.ServerTransaction) {
		var r Request
		var d Decision
		if g.decide(req, tx, &r, &d); d.Allowed {
			next(r, tx, d)
		}
	}
}

var errRefused = errors.New("sipacl: source refused")

// Filter drops what Peers refuses, and messages that are not well formed,
// before they are parsed. Give it to sip.WithTransportLayerReadFilter. Bytes of
// TCP and TLS may be half a message: there handlers look at what came of them.
//
// On a datagram transport the bytes vanish; the filter never returns an error
// there, because sipgo ends the listener on one. On a stream transport it
// does, which closes that connection.
func (g *Guard) Filter() sip.TransportReadFilter {
	return func(info sip.TransportReadProps, data []byte) ([]byte, error) {
		p, _ := ParseProto(info.Transport)
		stream := p == ProtoTCP || p == ProtoTLS
		message := data
		if stream {
			message = nil // or a part of one
		}
		switch {
		case g.peer(GateBytes, info.RemoteAddr, info.LocalAddr, info.Transport, message):
			return data, nil
		case stream, p == ProtoWS, p == ProtoWSS:
			return nil, errRefused
		}
		return nil, nil
	}
}

// peer decides about the far end of a socket, and about the bytes of a message
// from it, if there are any.
func (g *Guard) peer(at Gate, remote, local net.Addr, transport string, message []byte) bool {
	if g == nil {
		return false
	}
	var r Request
	var d Decision
	source, err := SourceFromAddr(remote, transport)
	switch {
	case err != nil:
		d.Cause = CauseNoSource
	case g.cfg.Peers == nil:
		r.Source, d.Source = source, source
	default:
		r.Source, r.Local = source, addrPortOf(local)
		g.pin(&r)
		d = g.cfg.Peers(r)
	}
	if d.Allowed && !g.cfg.AcceptMalformed {
		if rule := gate.Bytes(message); rule != gate.WellFormed {
			d = Decision{}
			passes(rule, &r, &d)
		}
	}
	g.observe(at, &r, &d)
	return d.Allowed
}

// Listener returns a listener that closes connections that Peers refuses as
// they are accepted, before any TLS or WebSocket handshake: wrap the TCP
// listener, inside tls.NewListener. It works with every SIP stack. transport
// is the protocol that rows are compared with: tcp, tls, ws or wss. Any other
// panics: it would refuse every connection without a word.
func (g *Guard) Listener(l net.Listener, transport string) net.Listener {
	switch p, _ := ParseProto(transport); p {
	case ProtoTCP, ProtoTLS, ProtoWS, ProtoWSS:
		return newListener(l, g, transport)
	}
	panic(fmt.Sprintf("sipacl: listener of transport %q: want tcp, tls, ws or wss", transport))
}

type listener struct {
	net.Listener
	guard     *Guard
	transport string

	// For CloseRemoved.
	mu     sync.Mutex
	open   map[*openConn]struct{} // nil without CloseRemoved
	closed bool
	stop   func() // ends the calls of closeRemoved
}

// openConn is a connection that a listener may close.
type openConn struct {
	net.Conn
	from *listener
}

func newListener(l net.Listener, g *Guard, transport string) *listener {
	n := &listener{Listener: l, guard: g, transport: transport}
	if g != nil && g.cfg.CloseRemoved {
		if g.cfg.Permissions == nil {
			panic("sipacl: listener with CloseRemoved: want Permissions, or it would never close a connection")
		}
		n.open = map[*openConn]struct{}{}
		n.stop = g.cfg.Permissions.OnReload(func(ReloadReport) { n.closeRemoved() })
	}
	return n
}

// Accept returns the next connection from a source that is allowed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.admits(c) {
			return l.kept(c), nil
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a scanner leaves no TIME_WAIT behind
		}
		_ = c.Close()
	}
}

func (l *listener) admits(c net.Conn) bool {
	return l.guard.peer(GateConn, c.RemoteAddr(), c.LocalAddr(), l.transport, nil)
}

// kept is c, noted if it may have to be closed.
func (l *listener) kept(c net.Conn) net.Conn {
	if l.open == nil {
		return c
	}
	k := &openConn{c, l}
	l.mu.Lock()
	l.open[k] = struct{}{}
	l.mu.Unlock()
	if !l.admits(c) { // a reload came between
		_ = k.Close()
	}
	return k
}

// closeRemoved closes the connections that Peers no longer allows.
func (l *listener) closeRemoved() {
	l.mu.Lock()
	all := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range all {
		if !l.admits(c) {
			_ = c.Close()
		}
	}
}

// Close closes the listener. Connections stay open, and are watched until the
// last of them is closed.
func (l *listener) Close() error {
	l.forget(nil)
	return l.Listener.Close()
}

// Close closes the connection.
func (c *openConn) Close() error {
	c.from.forget(c)
	return c.Conn.Close()
}

// forget drops a connection, or with nil the listener itself.
func (l *listener) forget(c *openConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, c)
	l.closed = l.closed || c == nil
	if l.closed && len(l.open) == 0 && l.stop != nil {
		l.stop()
		l.stop = nil
	}
}

// PacketConn returns a packet connection that skips datagrams that Peers
// refuses, and messages that are not well formed. It works with every SIP stack.
func (g *Guard) PacketConn(c net.PacketConn) net.PacketConn { return &packetConn{c, g} }

type packetConn struct {
	net.PacketConn
	guard *Guard
}

// ReadFrom reads the next datagram from a source that is allowed.
func (c *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, addr, err := c.PacketConn.ReadFrom(p)
		if err != nil || c.guard.peer(GateBytes, addr, c.LocalAddr(), "udp", p[:n]) {
			return n, addr, err
		}
	}
}

// Reject answers, or does not answer, a request that was refused. It is never
// called for an ACK, to which nothing may be sent (RFC 3261 section 17).
type Reject func(r Request, tx sip.ServerTransaction, d Decision)

// Respond answers through the transaction, as sipgo's handlers do. Over UDP
// the response to an INVITE is repeated until its ACK comes: eleven datagrams
// in 32 seconds, towards an address that may be forged. In front of the open
// Internet prefer [RespondOnce] or [Drop].
func Respond(code int, reason string) Reject {
	return func(r Request, tx sip.ServerTransaction, _ Decision) {
		// What cannot be sent is lost as on the network; the peer repeats.
		_ = tx.Respond(sip.NewResponseFromRequest(r.Request, code, reason, nil))
	}
}

// RespondOnce answers each copy of a request with one response and keeps no
// retransmission, as sl_send_reply does: one datagram in, one out. It is the
// default. The To tag is made from the request, so that copies get the same
// answer (RFC 3261 section 8.2.7), and from a secret, so that nobody else can
// make it. Guard OnAck too, or sipgo answers the ACK with 405.
func RespondOnce(code int, reason string) Reject {
	seed := maphash.MakeSeed()
	return func(r Request, tx sip.ServerTransaction, _ Decision) {
		res := sip.NewResponseFromRequest(r.Request, code, reason, nil)
		if to := res.To(); to != nil && !hasTag(r.Request) {
			to.Params.Add("tag", stableTag(seed, r.Request))
		}
		if server, ok := tx.(*sip.ServerTx); ok && server != nil {
			_ = server.Connection().WriteMsg(res)
		} else if tx != nil {
			_ = tx.Respond(res) // a transaction of the application's own
		}
	}
}

func hasTag(req *sip.Request) bool {
	to := req.To()
	return to != nil && to.Params.Has("tag")
}

// stableTag makes a tag from the parts that tell requests apart.
func stableTag(seed maphash.Seed, req *sip.Request) string {
	var h maphash.Hash
	h.SetSeed(seed)
	write := func(s string) {
		h.WriteString(s)
		h.WriteByte(0)
	}
	if v := req.Via(); v != nil {
		write(v.Value())
	}
	if c := req.CallID(); c != nil {
		write(c.Value())
	}
	if f := req.From(); f != nil {
		write(f.Value())
	}
	if c := req.CSeq(); c != nil {
		write(strconv.FormatUint(uint64(c.SeqNo), 10))
	}
	return strconv.FormatUint(h.Sum64(), 36)
}

// Drop answers nothing. The decision must be made within 200 ms of arrival:
// after that sipgo sends 100 Trying to an INVITE by itself.
func Drop() Reject { return func(Request, sip.ServerTransaction, Decision) {} }
