package main

import (
	"fmt"
	"net/netip"

	"github.com/emiago/sipgo/sip"
)

// answer is the built-in user agent: it takes every request, and every call
// without media.
func (s *server) answer(req *sip.Request, tx sip.ServerTransaction) {
	if req.IsCancel() { // one that meets its INVITE never gets here
		respond(tx, req, sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist")
		return
	}
	var body []byte
	if req.IsInvite() {
		body = noMedia(s.addr.Addr())
	}
	res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", body)
	if req.IsInvite() {
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		res.AppendHeader(&sip.ContactHeader{Address: sip.Uri{Scheme: "sip", Host: s.host(), Port: int(s.addr.Port())}})
	}
	if err := tx.Respond(res); err != nil {
		s.log.Warn("not answered", "method", req.Method, "err", err)
	}
}

// noMedia is an SDP answer that refuses the one stream of most offers.
func noMedia(addr netip.Addr) []byte {
	ip := "IP4"
	if addr.Is6() {
		ip = "IP6"
	}
	return fmt.Appendf(nil, "v=0\r\no=- 1 1 IN %[1]s %[2]s\r\ns=-\r\nc=IN %[1]s %[2]s\r\nt=0 0\r\nm=audio 0 RTP/AVP 0\r\n", ip, addr)
}
