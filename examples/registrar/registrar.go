package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/examples/internal/socket"
)

type config struct {
	listen  string // host:port; port 0 takes a free one
	rules   string // directory
	protect []netip.Prefix
	special []netip.Prefix // loopback and the like that may register
	log     *slog.Logger
}

// registrar is a registrar that runs.
type registrar struct {
	log    *slog.Logger
	rules  sipacl.Rules
	places *locations
	srv    *sipgo.Server
	addr   string
	failed chan error // a listener that ended
	stop   []func() error
}

// start loads the rules and listens. Nothing listens if any of it fails.
func start(ctx context.Context, cfg config) (r *registrar, err error) {
	r = &registrar{log: cfg.log, places: newLocations(time.Now), failed: make(chan error, 2)}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	perm, err := sipacl.Open(ctx, sipacl.Config{
		Rules:  []sipacl.RulesConfig{{Name: "register", FS: os.DirFS(cfg.rules), Optional: true}},
		Logger: cfg.log,
	})
	if err != nil {
		return nil, err
	}
	if r.rules, err = perm.Rules("register"); err != nil {
		return nil, err
	}
	protector, err := sipacl.NewProtector(sipacl.ProtectConfig{Prefixes: cfg.protect, AllowSpecial: cfg.special})
	if err != nil {
		return nil, err
	}
	if err := r.handlers(protector); err != nil {
		return nil, err
	}
	return r, r.serve(cfg.listen)
}

// handlers puts the checks in front of REGISTER, and answers nothing else.
func (r *registrar) handlers(protector *sipacl.Protector) error {
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("sipacl-registrar"))
	if err != nil {
		return err
	}
	r.stop = append(r.stop, ua.Close)
	if r.srv, err = sipgo.NewServer(ua); err != nil {
		return err
	}
	guard := sipacl.NewGuard(sipacl.GuardConfig{
		Check:   sipacl.AllOf(protector.CheckRegister, r.rules.AllowRegister),
		Observe: func(e sipacl.Event) { r.log.Info(e.Decision.String()) },
	})
	r.srv.OnRegister(guard.Wrap(r.register))
	r.srv.OnAck(func(*sip.Request, sip.ServerTransaction) {}) // an ACK is not answered
	r.srv.OnNoRoute(func(req *sip.Request, tx sip.ServerTransaction) {
		respond(tx, req, sip.StatusMethodNotAllowed, "Method Not Allowed")
	})
	return nil
}

// serve takes one port for UDP and TCP.
func (r *registrar) serve(listen string) error {
	udp, tcp, addr, err := socket.Both(listen)
	if err != nil {
		return err
	}
	r.stop = append(r.stop, udp.Close, tcp.Close)
	r.addr = addr.String()
	go func() { r.failed <- r.srv.ServeUDP(udp) }()
	go func() { r.failed <- r.srv.ServeTCP(tcp) }()
	return nil
}

// register changes the bindings of the user in To and tells all of them (RFC
// 3261 section 10.3). The checks have passed.
func (r *registrar) register(req *sip.Request, tx sip.ServerTransaction) {
	to := req.To()
	if to == nil || to.Address.User == "" {
		respond(tx, req, sip.StatusBadRequest, "Bad Request")
		return
	}
	contacts, star, err := sipacl.Contacts(req)
	if err != nil {
		respond(tx, req, sip.StatusBadRequest, "Bad Request")
		return
	}
	user := to.Address.User + "@" + strings.ToLower(to.Address.Host)
	if star {
		r.places.removeAll(user)
	}
	for i, c := range contacts {
		r.places.bind(user, c, lifetime(req, i))
	}
	res := sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil)
	for uri, left := range r.places.of(user) {
		var u sip.Uri
		if err := sip.ParseUri(uri, &u); err != nil {
			continue
		}
		h := &sip.ContactHeader{Address: u}
		h.Params.Add("expires", strconv.Itoa(int(left.Seconds())))
		res.AppendHeader(h)
	}
	if err := tx.Respond(res); err != nil {
		r.log.Warn("not answered", "err", err)
	}
}

// lifetime is how long the i-th Contact is bound: its expires parameter, else
// the Expires header field, else an hour.
func lifetime(req *sip.Request, i int) time.Duration {
	const most = 3600
	text := ""
	if h := req.GetHeader("Expires"); h != nil {
		text = h.Value()
	}
	if c, ok := req.GetHeaders("Contact")[i].(*sip.ContactHeader); ok {
		text = c.Params.GetOr("expires", text)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 32)
	if err != nil || n > most {
		n = most
	}
	return time.Duration(n) * time.Second
}

func (r *registrar) close() {
	for i := len(r.stop) - 1; i >= 0; i-- {
		if err := r.stop[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			r.log.Warn("close", "err", err)
		}
	}
	r.stop = nil
}

func respond(tx sip.ServerTransaction, req *sip.Request, code int, reason string) {
	// What cannot be sent is lost as on the network; the peer repeats.
	_ = tx.Respond(sip.NewResponseFromRequest(req, code, reason, nil))
}
