package main

import (
	"embed"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"

	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
)

//go:embed rules
var ownRules embed.FS

// ruleSets names the rule sets in a directory: where requests may go, and where
// a REFER may lead. They do not know the names of this proxy (Own): the Route
// that led here is gone before they are asked, and every other one and every
// maddr is refused as soon as there is a rule.
func ruleSets(dir string) ([]sipacl.RulesConfig, error) {
	files, err := fs.Sub(ownRules, "rules")
	if dir != "" {
		files = os.DirFS(dir)
	}
	return []sipacl.RulesConfig{{FS: files, Optional: true}, {Name: "refer", FS: files, Optional: true}}, err
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
// rules see the Request-URI and all its targets at once.
func (s *server) mayGo(r sipacl.Request, targets []sip.Uri) bool {
	d := s.routing.AllowRouting(r, targets...)
	if !d.Allowed {
		s.observe(sipacl.Event{Request: r, Decision: d})
	}
	return d.Allowed
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
