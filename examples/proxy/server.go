package main

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/examples/internal/socket"
)

type config struct {
	listen string    // host:port; port 0 takes a free one
	db     string    // SQLite file
	target string    // host:port; "" is the built-in user agent
	also   string    // more of the kind, tried one after the other
	rules  string    // directory of rule files; "" is none
	drop   bool      // refused requests get no answer
	log    io.Writer // a line a decision
}

// server is a proxy that runs.
type server struct {
	config
	log     *slog.Logger
	store   *sql.DB
	perm    *sipacl.Permissions
	routing sipacl.Rules // From against Request-URI and every branch
	guard   *sipacl.Guard
	ua      *sipgo.UserAgent
	srv     *sipgo.Server
	client  *sipgo.Client
	addr    netip.AddrPort // what it listens on
	failed  chan error     // a listener that ended
	stop    []func() error
}

// start opens the tables and listens. Nothing listens if any of it fails.
func start(ctx context.Context, cfg config) (_ *server, err error) {
	s := &server{
		config: cfg,
		log:    slog.New(slog.NewTextHandler(cfg.log, &slog.HandlerOptions{ReplaceAttr: noTime})),
		failed: make(chan error, 2),
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.store, err = openStore(ctx, cfg.db); err != nil {
		return nil, err
	}
	s.stop = append(s.stop, s.store.Close)
	if s.perm, err = openPermissions(ctx, s.store, cfg.rules, s.log); err != nil {
		return nil, err
	}
	udp, tcp, err := s.listen()
	if err != nil {
		return nil, err
	}
	if err := s.handlers(); err != nil {
		return nil, err
	}
	go func() { s.failed <- s.srv.ServeUDP(udp) }()
	go func() { s.failed <- s.srv.ServeTCP(tcp) }()
	return s, nil
}

func openPermissions(ctx context.Context, db *sql.DB, rules string, log *slog.Logger) (*sipacl.Permissions, error) {
	addresses := sipacl.OpenSIPSAddresses(db)
	addresses.Dialect = sipacl.SQLite
	trunks := addresses
	trunks.Table = "trunks"
	sets, err := ruleSets(rules)
	if err != nil {
		return nil, err
	}
	return sipacl.Open(ctx, sipacl.Config{
		Partitions: []sipacl.PartitionConfig{
			{Sources: []sipacl.AddressSource{addresses}},
			{Name: "trunks", Sources: []sipacl.AddressSource{trunks}},
		},
		Groups: groupTables(db),
		Rules:  sets,
		Logger: log,
	})
}

// listen takes one port for UDP and TCP.
func (s *server) listen() (net.PacketConn, net.Listener, error) {
	udp, tcp, addr, err := socket.Both(s.config.listen)
	if err != nil {
		return nil, nil, err
	}
	s.stop = append(s.stop, udp.Close, tcp.Close)
	if s.addr = addr; addr.Addr().IsUnspecified() {
		return nil, nil, errors.New("want one address to listen on: it goes into Via and Record-Route")
	}
	return udp, tcp, nil
}

// handlers puts the guard in front of every request there is.
func (s *server) handlers() (err error) {
	if s.ua, err = sipgo.NewUA(sipgo.WithUserAgent("sipacl-proxy")); err != nil {
		return err
	}
	s.stop = append(s.stop, s.ua.Close)
	if s.srv, err = sipgo.NewServer(s.ua); err != nil {
		return err
	}
	if s.client, err = sipgo.NewClient(s.ua, sipgo.WithClientAddr(s.addr.String())); err != nil {
		return err
	}
	addresses, err := s.perm.Partition("")
	if err != nil {
		return err
	}
	trunks, err := s.perm.Partition("trunks")
	if err != nil {
		return err
	}
	if s.routing, err = s.perm.Rules(""); err != nil {
		return err
	}
	refer, err := s.perm.Rules("refer") // From against Refer-To
	if err != nil {
		return err
	}
	known := sipacl.AnyOf(addresses.Sources(office, testServer), trunks.AnySource())
	cfg := sipacl.GuardConfig{Check: known, Observe: s.observe, Permissions: s.perm}
	if s.drop {
		cfg.Reject = sipacl.Drop()
	}
	s.guard = sipacl.NewGuard(cfg)
	handle := s.guard.Handle(s.handle)
	for _, method := range []sip.RequestMethod{
		sip.CANCEL, sip.BYE, sip.REGISTER, sip.OPTIONS, sip.SUBSCRIBE, sip.NOTIFY,
		sip.INFO, sip.MESSAGE, sip.PRACK, sip.UPDATE, sip.PUBLISH,
	} {
		s.srv.OnRequest(method, handle)
	}
	s.srv.OnInvite(s.guard.Handle(s.longDistance(s.handle)))
	s.srv.OnRefer(s.guard.With(sipacl.AllOf(known, refer.AllowReferTo)).Handle(s.handle))
	s.srv.OnAck(s.guard.Handle(s.handleAck))
	s.srv.OnNoRoute(handle)
	return nil
}

// observe writes one line a decision. What the sender wrote is quoted by the
// log handler.
func (s *server) observe(e sipacl.Event) {
	s.log.Info(e.Decision.String(), "method", e.Request.Method, "uri", e.Request.Recipient.String())
}

// reload reads the tables again. If that fails, those in service stay.
func (s *server) reload(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	// The library logs what was loaded and what failed.
	_, _ = s.perm.Reload(ctx)
}

func (s *server) close() {
	for i := len(s.stop) - 1; i >= 0; i-- {
		if err := s.stop[i](); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("close", "err", err)
		}
	}
	s.stop = nil
}

func noTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// isSelf reports whether a URI leads to this proxy.
func (s *server) isSelf(uri sip.Uri) bool {
	port := uri.Port
	if port == 0 {
		port = sip.DefaultPort("udp")
	}
	if port != int(s.addr.Port()) {
		return false
	}
	addr, err := netip.ParseAddr(unbracket(uri.Host))
	return err == nil && addr.Unmap() == s.addr.Addr() || strings.EqualFold(uri.Host, "localhost") && s.addr.Addr().IsLoopback()
}

func unbracket(host string) string {
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}
