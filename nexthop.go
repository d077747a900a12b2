// Where a request really goes: own names, Route, maddr, headers of a URI.

package sipacl

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl/internal/hosts"
)

// ownHosts are the names and addresses of this server, as URIs name it: hosts,
// in the form of canonical texts, and "host:port" for those with one.
type ownHosts map[string]bool

// readOwn reads RulesConfig.Own.
func readOwn(own []string) (ownHosts, error) {
	hosts := ownHosts{}
	for _, text := range own {
		var u sip.Uri
		if err := sip.ParseUri("sip:"+text, &u); err != nil || u.User != "" || !strictURI(&u) || len(u.UriParams)+len(u.Headers) > 0 {
			return nil, fmt.Errorf("own host %q: want a host name or an address, IPv6 in brackets, and a port if others serve the rest", shorten(text))
		}
		hosts[ownKey(u.Host, u.Port)] = true
	}
	return hosts, nil
}

func ownKey(host string, port int) string {
	key := string(appendHost(nil, strings.TrimSuffix(host, ".")))
	if port > 0 {
		key += ":" + strconv.Itoa(port)
	}
	return key
}

// has reports whether a URI leads to this server.
func (o ownHosts) has(scheme, host string, port int) bool {
	if len(o) == 0 {
		return false
	}
	if port == 0 {
		if port = 5060; scheme == "sips" {
			port = 5061
		}
	}
	return o[ownKey(host, 0)] || o[ownKey(host, port)]
}

// The methods below join their decisions to d, and report whether all are
// allowed so far.

// hop decides about another place that a request may be sent to, a Route or a
// maddr. One of our own is no other place. One that is foreign is a destination
// like the Request-URI; a rule set that was not told what is its own cannot
// tell, and refuses. That of a Contact is where whoever calls the user goes.
func (rs *RuleSet) hop(d *Decision, what string, left texts, uri *sip.Uri, role uriRole) bool {
	switch {
	case role.contact():
	case rs.own.has(uri.Scheme, uri.Host, uri.Port):
		return true
	case len(rs.own) == 0:
		return d.and(Decision{
			Cause: CauseMalformed, Left: shorten(left.plain), Right: shorten(uri.String()),
			Info: what + " leads elsewhere: RulesConfig.Own is empty, so nothing is this server's own",
		})
	}
	plain, ok := plainURI(uri, role)
	if !ok {
		return d.and(wrongURI(what, left.plain, uri.String()))
	}
	return d.and(rs.pair(left, rs.texts(plain, lostParams(uri), role)))
}

// routes decides about every Route of a request.
func (rs *RuleSet) routes(d *Decision, left texts, req *sip.Request) bool {
	for _, h := range req.Headers() {
		if !strings.EqualFold(headerName(h), "route") {
			continue
		}
		if r, ok := h.(*sip.RouteHeader); ok && r == nil {
			return d.and(wrongURI("Route", left.plain, ""))
		}
		if !rs.routeList(d, left, h.Value()) {
			return false
		}
	}
	return true
}

// routeList decides about a list of routes.
func (rs *RuleSet) routeList(d *Decision, left texts, list string) bool {
	for text := range splitAddresses(list) {
		var u sip.Uri
		if _, err := sip.ParseAddressValue(text, &u, nil); err != nil || !strictURI(&u) {
			return d.and(wrongURI("Route", left.plain, text))
		}
		if !rs.hop(d, "Route", left, &u, requestURI) || !rs.detour(d, "Route", left, &u, requestURI) {
			return false
		}
	}
	return true
}

// detour decides about what else in a URI leads somewhere: its maddr, and the
// Route that its headers ask for. The originals look at neither.
func (rs *RuleSet) detour(d *Decision, what string, left texts, uri *sip.Uri, role uriRole) bool {
	if rs.asSent {
		return true
	}
	for _, p := range uri.UriParams {
		if paramIs(p.K, "maddr") && !rs.maddr(d, what+" maddr", left, uri, role, hosts.Unescape(p.V)) {
			return false
		}
	}
	for _, h := range uri.Headers {
		if paramIs(h.K, "route") && !rs.routeList(d, left, hosts.Unescape(h.V)) {
			return false
		}
	}
	return true
}

// maddr decides about a URI as one that leads to this host.
func (rs *RuleSet) maddr(d *Decision, what string, left texts, uri *sip.Uri, role uriRole, host string) bool {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	there := *uri
	there.Host, there.UriParams, there.Headers = host, nil, nil
	if !strictURI(&there) {
		return d.and(wrongURI(what, left.plain, host))
	}
	if role.contact() {
		role = contactURI // without the port
	} else {
		role = requestURI
	}
	return rs.hop(d, what, left, &there, role)
}

// paramIs compares the name of a parameter or header in a URI, however it is
// escaped.
func paramIs(name, want string) bool {
	return strings.EqualFold(strings.Trim(hosts.Unescape(name), " \t"), want)
}
