package sipacl

import (
	"errors"
	"hash/maphash"
	"net"
	"slices"
	"strconv"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

// Check decides one request. The method values and results of this package
// that have this type can be given to [Guard].
type Check = func(req *sip.Request) Decision

// Middleware wraps a request handler. It is an alias of the function type that
// sipgo applications use and that diago's server option takes.
type Middleware = func(next sipgo.RequestHandler) sipgo.RequestHandler

// AllOf allows what every check allows, and gives the first refusal or the
// last decision. Without checks it refuses.
func AllOf(checks ...Check) Check {
	checks = slices.Clone(checks)
	return func(req *sip.Request) (d Decision) {
		for _, c := range checks {
			if c == nil {
				return Decision{}
			}
			if d = c(req); !d.Allowed {
				return d
			}
		}
		return d
	}
}

// AnyOf allows what some check allows, and gives the first decision that does
// or the last refusal. Without checks it refuses.
func AnyOf(checks ...Check) Check {
	checks = slices.Clone(checks)
	return func(req *sip.Request) (d Decision) {
		for _, c := range checks {
			if c == nil {
				continue
			}
			if d = c(req); d.Allowed {
				return d
			}
		}
		return d
	}
}

// Reject answers, or does not answer, a request that was refused. It is never
// called for an ACK, to which nothing may be sent (RFC 3261 section 17).
type Reject func(req *sip.Request, tx sip.ServerTransaction, d Decision)

// Respond answers through the transaction, as sipgo's handlers do. Over UDP
// the response to an INVITE is repeated until its ACK comes: eleven datagrams
// in 32 seconds, towards an address that may be forged. In front of the open
// Internet prefer [RespondOnce] or [Drop].
func Respond(code int, reason string) Reject {
	return func(req *sip.Request, tx sip.ServerTransaction, _ Decision) {
		// What cannot be sent is lost as on the network; the peer repeats.
		_ = tx.Respond(sip.NewResponseFromRequest(req, code, reason, nil))
	}
}

// ResponseWriter is the stateless side of *sipgo.Server.
type ResponseWriter interface {
	WriteResponse(r *sip.Response) error
}

// RespondOnce answers each copy of a request with one response and keeps no
// transaction: sl_send_reply. The To tag is made from the request, so that
// copies get the same answer (RFC 3261 section 8.2.7), and from a secret, so
// that nobody else can make it. Guard OnAck too, or sipgo answers the ACK
// with 405; see [AbsorbAck]. w must not be nil.
func RespondOnce(w ResponseWriter, code int, reason string) Reject {
	seed := maphash.MakeSeed()
	return func(req *sip.Request, _ sip.ServerTransaction, _ Decision) {
		res := sip.NewResponseFromRequest(req, code, reason, nil)
		if to := res.To(); to != nil && !hasTag(req) {
			to.Params.Add("tag", stableTag(seed, req))
		}
		_ = w.WriteResponse(res)
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
func Drop() Reject { return func(*sip.Request, sip.ServerTransaction, Decision) {} }

// GuardConfig says what a [Guard] lets through and what becomes of the rest.
// The zero GuardConfig refuses everything, with 403.
type GuardConfig struct {
	Check   Check                              // nil refuses
	Reject  Reject                             // nil: Respond(403, "Forbidden")
	Observe func(req *sip.Request, d Decision) // told of every decision before it takes effect; may be nil
}

// Guard calls the next handler only for requests that cfg.Check allows. Wrap
// every handler with it, those of OnAck and OnNoRoute too: sipgo has no hook
// for the whole server.
//
// A CANCEL that meets its INVITE transaction, a message that does not parse
// and a copy of a request never reach a handler; only [ReadFilter],
// [NewListener] and [NewPacketConn] see those.
func Guard(cfg GuardConfig) Middleware {
	if cfg.Check == nil {
		cfg.Check = AllOf()
	}
	if cfg.Reject == nil {
		cfg.Reject = Respond(sip.StatusForbidden, "Forbidden")
	}
	return func(next sipgo.RequestHandler) sipgo.RequestHandler {
		return func(req *sip.Request, tx sip.ServerTransaction) {
			d := cfg.Check(req)
			if cfg.Observe != nil {
				cfg.Observe(req, d)
			}
			switch {
			case d.Allowed:
				next(req, tx)
			case !req.IsAck():
				cfg.Reject(req, tx, d)
			}
		}
	}
}

// Chain composes middlewares; the first is the outermost.
func Chain(middlewares ...Middleware) Middleware {
	return func(next sipgo.RequestHandler) sipgo.RequestHandler {
		for i := len(middlewares) - 1; i >= 0; i-- {
			next = middlewares[i](next)
		}
		return next
	}
}

// AbsorbAck is a handler that does nothing. Register it with OnAck where no
// ACK is expected, so that sipgo's own does not answer it with 405.
func AbsorbAck(*sip.Request, sip.ServerTransaction) {}

var errRefused = errors.New("sipacl: source refused")

// ReadFilter returns a filter for sip.WithTransportLayerReadFilter that drops
// what comes from refused sources before it is parsed: see [Partition.Allow].
// A nil allow refuses everything. Responses are messages too: the peers that
// this server calls must be in the table as well.
//
// On a datagram transport the bytes vanish; the filter never returns an error
// there, because sipgo ends the listener on one. On a stream transport it
// does, which closes that connection.
func ReadFilter(allow func(Source) bool) sip.TransportReadFilter {
	return func(info sip.TransportReadProps, data []byte) ([]byte, error) {
		s, err := SourceFromAddr(info.RemoteAddr, info.Transport)
		if err == nil && allow != nil && allow(s) {
			return data, nil
		}
		switch p, _ := ParseProto(info.Transport); p {
		case ProtoTCP, ProtoTLS, ProtoWS, ProtoWSS:
			return nil, errRefused
		}
		return nil, nil
	}
}

// NewListener returns a listener that closes connections from refused sources
// as they are accepted, before any TLS or WebSocket handshake: wrap the TCP
// listener, inside tls.NewListener. It works with every SIP stack. transport
// is the protocol that rows are compared with: tcp, tls, ws or wss. A nil
// allow refuses everything.
func NewListener(l net.Listener, transport string, allow func(Source) bool) net.Listener {
	return &listener{l, transport, allow}
}

type listener struct {
	net.Listener
	transport string
	allow     func(Source) bool
}

// Accept returns the next connection from a source that is allowed.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if s, err := SourceFromAddr(c.RemoteAddr(), l.transport); err == nil && l.allow != nil && l.allow(s) {
			return c, nil
		}
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a scanner leaves no TIME_WAIT behind
		}
		_ = c.Close()
	}
}

// NewPacketConn returns a packet connection that skips datagrams from refused
// sources. It works with every SIP stack. A nil allow refuses everything.
func NewPacketConn(c net.PacketConn, allow func(Source) bool) net.PacketConn {
	return &packetConn{c, allow}
}

type packetConn struct {
	net.PacketConn
	allow func(Source) bool
}

// ReadFrom reads the next datagram from a source that is allowed.
func (c *packetConn) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, addr, err := c.PacketConn.ReadFrom(p)
		if err != nil {
			return n, addr, err
		}
		if s, err := SourceFromAddr(addr, "udp"); err == nil && c.allow != nil && c.allow(s) {
			return n, addr, nil
		}
	}
}
