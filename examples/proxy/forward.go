package main

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
)

// handle answers a request that was let in, or sends it on.
func (s *server) handle(r sipacl.Request, tx sip.ServerTransaction, _ sipacl.Decision) {
	req := r.Request
	consumeCredentials(req)
	s.dropOwnRoute(req)
	targets := s.targets(req)
	switch {
	case !s.mayGo(r, targets):
		respond(tx, req, sip.StatusForbidden, "Forbidden")
	case req.MaxForwards() != nil && req.MaxForwards().Val() == 0:
		respond(tx, req, 483, "Too Many Hops")
	case s.isSelf(req.Recipient) && s.target == "":
		s.answer(req, tx)
	case req.Recipient.Scheme != "sip" || req.Recipient.Host == "":
		respond(tx, req, 416, "Unsupported URI Scheme")
	case len(targets) == 0:
		respond(tx, req, sip.StatusBadGateway, "Bad Gateway")
	default:
		for i, t := range targets {
			if s.forward(req, tx, t, i == len(targets)-1) {
				return
			}
		}
	}
}

// handleAck sends on the ACK of a 2xx; one for the built-in user agent ends
// here, and so does what handle would refuse. An ACK is never answered.
func (s *server) handleAck(r sipacl.Request, _ sip.ServerTransaction, _ sipacl.Decision) {
	req := r.Request
	consumeCredentials(req)
	s.dropOwnRoute(req)
	targets := s.targets(req)
	switch {
	case !s.mayGo(r, targets), len(targets) == 0,
		req.MaxForwards() != nil && req.MaxForwards().Val() == 0,
		s.isSelf(req.Recipient) && s.target == "",
		req.Recipient.Scheme != "sip" || req.Recipient.Host == "":
		return
	}
	out, err := s.next(req, targets[0])
	if err == nil {
		err = s.client.WriteRequest(out, sipgo.ClientRequestAddVia)
	}
	if err != nil {
		s.log.Warn("ACK not forwarded", "err", err)
	}
}

// dropOwnRoute removes the Route that brought the request here (RFC 3261
// section 16.4).
func (s *server) dropOwnRoute(req *sip.Request) {
	if r := req.Route(); r != nil && s.isSelf(r.Address) {
		req.RemoveHeader("Route")
	}
}

var errLoop = errors.New("the next hop is this proxy")

// next makes the request that goes to the next hop: a copy with one hop less.
func (s *server) next(req *sip.Request, target sip.Uri) (*sip.Request, error) {
	dest := hostPort(target)
	if ap, err := netip.ParseAddrPort(dest); err == nil && ap == s.addr {
		return nil, errLoop
	}
	out := req.Clone()
	out.SetDestination(dest)
	out.SetTransport(s.transport(req))
	if out.Transport() == "UDP" { // leave from the port that we listen on
		out.Laddr = sip.Addr{IP: s.addr.Addr().AsSlice(), Port: int(s.addr.Port())}
	}
	if mf := out.MaxForwards(); mf != nil {
		mf.Dec()
	} else {
		hops := sip.MaxForwardsHeader(70)
		out.AppendHeader(&hops)
	}
	return out, nil
}

// transport is what the Request-URI asks for, else what the request came by.
func (s *server) transport(req *sip.Request) string {
	if !s.isSelf(req.Recipient) {
		if t, ok := req.Recipient.UriParams.Get("transport"); ok {
			return strings.ToUpper(t)
		}
	}
	return req.Transport()
}

// forward sends the request to a target and its responses back, until the
// final one. It reports whether the request is done: it is not if the target
// failed and is not the last one.
func (s *server) forward(req *sip.Request, tx sip.ServerTransaction, target sip.Uri, last bool) (done bool) {
	out, err := s.next(req, target)
	if err != nil {
		respond(tx, req, 482, "Loop Detected")
		return true
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cancelled := make(chan struct{}, 1)
	tx.OnCancel(func(*sip.Request) {
		select {
		case cancelled <- struct{}{}:
		default:
		}
	})
	down, err := s.client.TransactionRequest(ctx, out, sipgo.ClientRequestAddVia, s.recordRoute)
	if err != nil {
		s.log.Warn("not forwarded", "to", out.Destination(), "err", err)
		if last {
			respond(tx, req, sip.StatusBadGateway, "Bad Gateway")
		}
		return last
	}
	defer down.Terminate()
	for {
		select {
		case res := <-down.Responses():
			if !last && failed(res) {
				return false
			}
			if s.relay(req, tx, res); !res.IsProvisional() {
				return true
			}
		case <-cancelled: // the caller has its 487 from the transaction
			s.cancel(out)
			s.awaitFinal(down)
			return true
		case <-down.Done():
			if last {
				respond(tx, req, sip.StatusRequestTimeout, "Request Timeout")
			}
			return last
		}
	}
}

// relay sends a response back the way the request came.
func (s *server) relay(req *sip.Request, tx sip.ServerTransaction, res *sip.Response) {
	if res.StatusCode == sip.StatusTrying {
		return // hop by hop
	}
	res.RemoveHeader("Via")
	res.SetDestination(req.Source())
	if err := tx.Respond(res); err != nil {
		s.log.Warn("response not relayed", "err", err)
	}
}

// cancel ends the INVITE that was sent on (RFC 3261 section 9.1).
func (s *server) cancel(invite *sip.Request) {
	c := sip.NewRequest(sip.CANCEL, *invite.Recipient.Clone())
	via := invite.Via().Clone()
	c.AppendHeader(via)
	for _, name := range []string{"Route", "From", "To", "Call-ID"} {
		sip.CopyHeaders(name, invite, c)
	}
	if cseq := invite.CSeq(); cseq != nil {
		c.AppendHeader(&sip.CSeqHeader{SeqNo: cseq.SeqNo, MethodName: sip.CANCEL})
	}
	hops := sip.MaxForwardsHeader(70)
	c.AppendHeader(&hops)
	c.SetTransport(invite.Transport())
	c.SetDestination(invite.Destination())
	c.Laddr = invite.Laddr
	c.SetBody(nil)
	if err := s.client.WriteRequest(c, asIs); err != nil {
		s.log.Warn("CANCEL not sent", "err", err)
	}
}

// awaitFinal lets the transaction acknowledge the response to what was
// cancelled.
func (s *server) awaitFinal(down sip.ClientTransaction) {
	for {
		select {
		case res := <-down.Responses():
			if !res.IsProvisional() {
				return
			}
		case <-down.Done():
			return
		}
	}
}

// asIs keeps sipgo from adding headers.
func asIs(*sipgo.Client, *sip.Request) error { return nil }

// recordRoute keeps this proxy on the way of the requests that follow.
func (s *server) recordRoute(_ *sipgo.Client, req *sip.Request) error {
	uri := sip.Uri{Scheme: "sip", Host: s.host(), Port: int(s.addr.Port())}
	uri.UriParams.Add("transport", strings.ToLower(req.Transport()))
	uri.UriParams.Add("lr", "")
	req.PrependHeader(&sip.RecordRouteHeader{Address: uri})
	return nil
}

func (s *server) host() string {
	if a := s.addr.Addr(); a.Is6() {
		return "[" + a.String() + "]"
	}
	return s.addr.Addr().String()
}

func respond(tx sip.ServerTransaction, req *sip.Request, code int, reason string) {
	// What cannot be sent is lost as on the network; the peer repeats.
	_ = tx.Respond(sip.NewResponseFromRequest(req, code, reason, nil))
}
