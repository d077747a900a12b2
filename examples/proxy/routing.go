package main

import (
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
)

// routes are the rules about where requests may go.
type routes struct {
	routing *sipacl.Rules // From against Request-URI and every branch
	refer   *sipacl.Rules // From against Refer-To
}

// ruleSets names the rule sets in a directory.
func ruleSets(dir string) []sipacl.RulesConfig {
	if dir == "" {
		return nil
	}
	files := os.DirFS(dir)
	return []sipacl.RulesConfig{{FS: files, Optional: true}, {Name: "refer", FS: files, Optional: true}}
}

// openRoutes fetches the handles; without a directory both are nil.
func openRoutes(perm *sipacl.Permissions, dir string) (r routes, err error) {
	if dir == "" {
		return r, nil
	}
	if r.routing, err = perm.Rules(""); err != nil {
		return r, err
	}
	r.refer, err = perm.Rules("refer")
	return r, err
}

// targets are where a request goes: its Request-URI, or for one to this proxy
// -target and then each of -also, until one takes it.
func (s *server) targets(req *sip.Request) []sip.Uri {
	if !s.isSelf(req.Recipient) {
		return []sip.Uri{req.Recipient}
	}
	var targets []sip.Uri
	for place := range strings.SplitSeq(s.target+","+s.also, ",") {
		host, port, err := net.SplitHostPort(strings.TrimSpace(place))
		if err != nil {
			continue
		}
		u := *req.Recipient.Clone()
		u.Host, u.UriParams = host, nil
		if strings.Contains(host, ":") {
			u.Host = "[" + host + "]"
		}
		if _, err := fmt.Sscan(port, &u.Port); err == nil {
			targets = append(targets, u)
		}
	}
	return targets
}

// mayGo decides for every request, in-dialog ones too, where it would go: the
// rules see the Request-URI and all its targets at once. A Route that is not
// this proxy's, or a maddr, would take the request somewhere else than the
// rules were asked about.
func (s *server) mayGo(req *sip.Request, targets []sip.Uri) bool {
	d := s.mayRoute(req, targets)
	if !d.Allowed {
		s.observe(req, d)
	}
	return d.Allowed
}

func (s *server) mayRoute(req *sip.Request, targets []sip.Uri) sipacl.Decision {
	if req.Route() != nil {
		return sipacl.Decision{Cause: sipacl.CauseMalformed, Info: "a Route that is not ours"}
	}
	for _, t := range append([]sip.Uri{req.Recipient}, targets...) {
		for _, p := range t.UriParams {
			if strings.EqualFold(p.K, "maddr") {
				return sipacl.Decision{Cause: sipacl.CauseMalformed, Info: "maddr"}
			}
		}
	}
	if s.routes.routing == nil {
		return sipacl.Decision{Allowed: true, Cause: sipacl.CauseNoRules}
	}
	d := s.routes.routing.AllowRouting(req, targets...)
	if d.Allowed && req.Method == sip.REFER {
		d = s.routes.refer.AllowReferTo(req)
	}
	return d
}

// failed reports whether a response makes the proxy try its next target.
func failed(res *sip.Response) bool { return 300 <= res.StatusCode && res.StatusCode < 600 }

func hostPort(uri sip.Uri) string {
	port := uri.Port
	if port == 0 {
		port = sip.DefaultPort("udp")
	}
	return net.JoinHostPort(unbracket(uri.Host), fmt.Sprint(port))
}
