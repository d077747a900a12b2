package conformance

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// modelLost gives the parameters that rules do not see of a destination.
func modelLost(uri string) string {
	var u sip.Uri
	if err := sip.ParseUri(uri, &u); err != nil {
		return ""
	}
	if u.Scheme == "tel" {
		_, params, _ := strings.Cut(u.Raw(), ";")
		return params
	}
	var b strings.Builder
	for _, p := range u.UriParams {
		name := strings.ToLower(p.K)
		number := name == "rn" || name == "rn-context" || name == "phone-context"
		if number || modelOddName.MatchString(p.K) || strings.Contains(p.V, "%") {
			b.WriteString(";" + p.K + "=" + p.V)
		}
	}
	return b.String()
}

var (
	modelOddName   = regexp.MustCompile(`[^-+*#.()A-Za-z0-9_!$&\x27,/=?~]`)
	modelAnyEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
)

// modelUnescaped decodes every escape.
func modelUnescaped(s string) string {
	return modelAnyEscape.ReplaceAllStringFunc(s, func(e string) string {
		c, _ := url.PathUnescape(e)
		return c
	})
}

// nexthop is decision rule-nexthop, for a rule set without Own: a Contact may
// name another host in its maddr, which is one more destination; everything
// else that leads elsewhere is refused.
func (a modelAsk) nexthop(left string, to modelTarget) bool {
	var u sip.Uri
	if err := sip.ParseUri(to.uri, &u); err != nil {
		return true // what is none leads nowhere
	}
	for _, p := range u.UriParams {
		if strings.EqualFold(strings.Trim(modelUnescaped(p.K), " \t"), "maddr") && !(to.contact && a.maddr(left, u, modelUnescaped(p.V))) {
			return false
		}
	}
	for _, h := range u.Headers {
		if strings.EqualFold(strings.Trim(modelUnescaped(h.K), " \t"), "route") {
			return false
		}
	}
	return true
}

// maddr decides the pair of a URI whose host is another one.
func (a modelAsk) maddr(left string, u sip.Uri, host string) bool {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		host = "[" + host + "]"
	}
	u.Host, u.UriParams, u.Headers = host, nil, nil
	if modelBadParsed(&u) {
		return false
	}
	a.keepPort = false
	text := modelPlain(u.User, host, branchURI)
	return a.fits(text) && a.pair(left, modelTarget{text: text})
}
