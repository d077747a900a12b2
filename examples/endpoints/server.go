package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/admin"
	"github.com/sipacl/sipacl/examples/internal/socket"
)

type config struct {
	listen string    // host:port; port 0 takes a free one
	db     string    // SQLite file
	dir    string    // folder of acl.conf
	log    io.Writer // a line a decision
}

// server is a SIP server that runs.
type server struct {
	config
	log       *slog.Logger
	store     *sql.DB
	perm      *sipacl.Permissions
	endpoints atomic.Pointer[map[string]endpoint] // in service, by From user
	srv       *sipgo.Server
	addr      netip.AddrPort // what it listens on
	failed    chan error     // a listener that ended
	stop      []func() error
}

// start loads everything and listens. Nothing listens if any of it fails.
func start(ctx context.Context, cfg config) (*server, error) {
	s := &server{
		config: cfg,
		log:    slog.New(slog.NewTextHandler(cfg.log, nil)),
		failed: make(chan error, 2),
	}
	if err := s.start(ctx); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *server) start(ctx context.Context) error {
	if err := s.load(ctx); err != nil {
		return err
	}
	udp, tcp, err := s.listen()
	if err != nil {
		return err
	}
	if err := s.handlers(); err != nil {
		return err
	}
	go func() { s.failed <- s.srv.ServeUDP(udp) }()
	go func() { s.failed <- s.srv.ServeTCP(tcp) }()
	return nil
}

func (s *server) load(ctx context.Context) (err error) {
	if err := seedFile(s.dir); err != nil {
		return err
	}
	if s.store, err = openStore(ctx, s.db); err != nil {
		return err
	}
	s.stop = append(s.stop, s.store.Close)
	s.perm, err = sipacl.Open(ctx, sipacl.Config{
		ACLs: []sipacl.ACLSource{
			sipacl.ACLConf{FS: os.DirFS(s.dir)},
			sipacl.SQLACLs{SQL: sipacl.SQL{DB: s.store, Dialect: sipacl.SQLite, IDCol: "id"}},
		},
		Logger: s.log,
	})
	if err != nil {
		return err
	}
	endpoints, err := loadEndpoints(ctx, s.store, s.perm.ACLs())
	if err != nil {
		return err
	}
	s.endpoints.Store(&endpoints)
	return nil
}

// reload reads the ACLs and the endpoints again. Where something is wrong,
// what is in service stays.
func (s *server) reload(ctx context.Context) error {
	if _, err := s.perm.Reload(ctx); err != nil {
		return err // has been logged
	}
	endpoints, err := loadEndpoints(ctx, s.store, s.perm.ACLs())
	if err != nil {
		s.log.Error("endpoints not loaded, those in service stay", "err", err)
		return err
	}
	s.endpoints.Store(&endpoints)
	s.log.Info("endpoints loaded", "count", len(endpoints))
	return nil
}

// listen takes one port for UDP and TCP.
func (s *server) listen() (udp net.PacketConn, tcp net.Listener, err error) {
	if udp, tcp, s.addr, err = socket.Both(s.config.listen); err != nil {
		return nil, nil, err
	}
	s.stop = append(s.stop, udp.Close, tcp.Close)
	return udp, tcp, nil
}

// handlers puts the guard in front of every request there is.
func (s *server) handlers() error {
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("sipacl-endpoints"))
	if err != nil {
		return err
	}
	s.stop = append(s.stop, ua.Close)
	if s.srv, err = sipgo.NewServer(ua); err != nil {
		return err
	}
	guard := sipacl.NewGuard(sipacl.GuardConfig{
		// An unknown endpoint has no list, so it is refused with the same
		// answer as one from a wrong address: nobody learns which exist.
		Check:       sipacl.AllOf(s.contacts, sipacl.ACLFor(s.source)),
		Observe:     func(e sipacl.Event) { s.log.Info(e.Request.Method.String(), "decision", e.Decision.String()) },
		Permissions: s.perm,
	})
	for _, method := range []sip.RequestMethod{
		sip.INVITE, sip.CANCEL, sip.BYE, sip.REGISTER, sip.OPTIONS, sip.SUBSCRIBE, sip.NOTIFY,
		sip.REFER, sip.INFO, sip.MESSAGE, sip.PRACK, sip.UPDATE, sip.PUBLISH,
	} {
		s.srv.OnRequest(method, guard.Wrap(s.answer))
	}
	s.srv.OnAck(guard.Wrap(func(*sip.Request, sip.ServerTransaction) {}))
	s.srv.OnNoRoute(guard.Wrap(s.answer))
	return nil
}

// endpoint finds the endpoint that r says it is from.
func (s *server) endpoint(r sipacl.Request) endpoint {
	from, err := sipacl.FromUser(r.Request)
	if err != nil {
		return endpoint{}
	}
	return (*s.endpoints.Load())[from.User().Name]
}

// source is the list that the socket of r must pass.
func (s *server) source(r sipacl.Request) *sipacl.ACLList { return s.endpoint(r).source }

// contacts checks where a registration leads.
func (s *server) contacts(r sipacl.Request) sipacl.Decision {
	list := s.endpoint(r).contacts
	if list == nil || r.Method != sip.REGISTER {
		return sipacl.Allowed("no contact_acl")
	}
	return list.Contacts(sipacl.ContactConfig{})(r)
}

// answer takes registrations and questions, and no calls.
func (s *server) answer(req *sip.Request, tx sip.ServerTransaction) {
	code, reason := sip.StatusOK, "OK"
	switch {
	case req.IsInvite():
		code, reason = sip.StatusTemporarilyUnavailable, "Temporarily Unavailable"
	case req.IsCancel(): // one that meets its INVITE never gets here
		code, reason = sip.StatusCallTransactionDoesNotExists, "Call/Transaction Does Not Exist"
	}
	res := sip.NewResponseFromRequest(req, code, reason, nil)
	if req.Method == sip.REGISTER {
		for _, c := range req.GetHeaders("Contact") {
			res.AppendHeader(sip.HeaderClone(c))
		}
	}
	if err := tx.Respond(res); err != nil {
		s.log.Warn("not answered", "method", req.Method, "err", err)
	}
}

func (s *server) close() {
	for _, f := range slices.Backward(s.stop) {
		if err := f(); err != nil && !errors.Is(err, net.ErrClosed) {
			s.log.Warn("close", "err", err)
		}
	}
}

// greeting tells what listens, and who may come from where.
func (s *server) greeting(pid int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listening on %s, UDP and TCP, as process %d\n", s.addr, pid)
	b.WriteString(admin.ShowACLs(s.perm.ACLs().Current()))
	endpoints := *s.endpoints.Load()
	for _, id := range slices.Sorted(maps.Keys(endpoints)) {
		fmt.Fprintf(&b, "\nendpoint %s\n%s", id, admin.ShowList(endpoints[id].source))
	}
	fmt.Fprintf(&b, "\nAfter a change: kill -HUP %d\n\n", pid)
	return b.String()
}
