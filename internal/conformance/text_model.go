package conformance

import (
	"net"
	"regexp"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"
)

// leftText is what the originals compare of a From or To: its raw URI.
func (a modelAsk) leftText(header string) (string, bool) {
	if a.on["rule-header"] && modelBadHeader(header) {
		return "", false
	}
	text, ok := modelAddress(header)
	if a.on["rule-message"] || a.on["rule-raw-left"] {
		u, parsed := sipgoAddress(header)
		switch {
		case !parsed:
			return "", false
		case a.on["rule-raw-left"]:
			text, ok = u.String(), true
		}
	}
	if ok && a.on["rule-uri"] && modelBadURI(text) {
		return "", false
	}
	return text, ok
}

// modelAddress takes the URI out of an address, as it was written.
func modelAddress(h string) (string, bool) {
	h = strings.Trim(h, " \t")
	quoted, open := false, -1
scan:
	for i := 0; i < len(h); i++ {
		switch {
		case h[i] == '\\' && quoted:
			i++
		case h[i] == '"':
			quoted = !quoted
		case h[i] == '<' && !quoted:
			open = i
			break scan
		case h[i] == ';' && !quoted:
			break scan
		}
	}
	if quoted {
		return "", false
	}
	if open < 0 {
		u, params, _ := strings.Cut(h, ";")
		u = strings.TrimRight(u, " \t")
		return u, u != "" && !strings.ContainsAny(u, ", \t") && modelParams(params)
	}
	length := strings.IndexByte(h[open:], '>')
	if length < 0 {
		return "", false
	}
	u := strings.Trim(h[open+1:open+length], " \t")
	rest := strings.Trim(h[open+length+1:], " \t")
	if u == "" || strings.ContainsAny(u, " \t") || rest != "" && rest[0] != ';' {
		return "", false
	}
	return u, rest == "" || modelParams(rest[1:])
}

func modelParams(params string) bool {
	for p := range strings.SplitSeq(params, ";") {
		if strings.TrimSpace(p) == "tag" {
			return false
		}
	}
	return true
}

func sipgoAddress(header string) (u sip.Uri, ok bool) {
	_, err := sip.ParseAddressValue(strings.TrimSpace(header), &u, nil)
	return u, err == nil && !u.Wildcard
}

var modelParamName = regexp.MustCompile(`^[^<>,"@ \t]+$`)

// modelBadHeader is decision rule-header, on what sipgo made of the header.
func modelBadHeader(header string) bool {
	var u sip.Uri
	var params sip.HeaderParams
	if _, err := sip.ParseAddressValue(strings.TrimSpace(header), &u, &params); err != nil {
		return false
	}
	for i, p := range params {
		switch name := strings.Trim(p.K, " \t"); {
		case name == "" && p.V == "":
		case !modelParamName.MatchString(name):
			return true
		case strings.EqualFold(name, "tag") && p.V == "":
			return true
		case i == 0 && p.V == "" && strings.TrimLeft(p.K, " \t") != p.K:
			return true
		}
	}
	return false
}

// contacts splits a Contact header field.
func (a modelAsk) contacts(h string) (uris []string, star, ok bool) {
	h = strings.TrimLeft(h, " \t")
	if h == "*" {
		return nil, true, true
	}
	h = strings.TrimPrefix(strings.TrimRight(h, " \t"), ",")
	quoted, bracket, start := false, false, 0
	for i := 0; i <= len(h); i++ {
		if i < len(h) {
			switch c := h[i]; {
			case c == '"':
				quoted = !quoted
			case c == '<' && !quoted:
				bracket = true
			case c == '>' && !quoted:
				bracket = false
			}
			if quoted || bracket || h[i] != ',' {
				continue
			}
		}
		item := h[start:i]
		u, ok := modelAddress(item)
		if !ok || u == "*" || a.on["rule-header"] && modelBadHeader(item) {
			return uris, false, false
		}
		uris = append(uris, u)
		start = i + 1
	}
	return uris, false, !quoted && !bracket
}

// rightText is what the originals compare of a destination.
func (a modelAsk) rightText(u string, role uriRole) (string, bool) {
	if a.on["rule-raw-right"] {
		u = modelUserless.ReplaceAllString(u, "$1")
	}
	var parsed sip.Uri
	if err := sip.ParseUri(u, &parsed); a.on["rule-message"] && err != nil {
		return "", false
	}
	if a.on["rule-uri"] && modelBadURI(u) {
		return "", false
	}
	scheme, rest, _ := strings.Cut(u, ":")
	switch strings.ToLower(scheme) {
	case "sip", "sips":
		return modelSIPText(rest, role)
	case "tel":
		number, _, _ := strings.Cut(rest, ";")
		return "sip:" + number + "@", number != ""
	case "urn":
		service, ok := strings.CutPrefix(rest, "service:")
		return modelPlain("", service, role), ok
	}
	return "", false
}

var modelUserless = regexp.MustCompile(`^(?i)(sips?:)@`)

func modelPlain(user, host string, role uriRole) string {
	if user == "" && role != requestURI {
		return "sip:" + host
	}
	return "sip:" + user + "@" + host
}

// modelSIPText reads what follows the scheme of a SIP URI.
func modelSIPText(rest string, role uriRole) (string, bool) {
	user, host, hasUser := strings.Cut(rest, "@")
	if !hasUser {
		user, host = "", rest
	}
	user, _, _ = strings.Cut(user, ":")
	if hasUser && user == "" || strings.Contains(host, "@") {
		return "", false
	}
	host, after := modelCutHost(host)
	if host == "" {
		return "", false
	}
	port, ok := modelPort(after)
	if role != portURI {
		port = ""
	}
	return modelPlain(user, host, role) + port, ok
}

// modelCutHost splits a host, "" if it is not valid, and what follows it.
func modelCutHost(s string) (host, after string) {
	if strings.HasPrefix(s, "[") {
		i := strings.IndexByte(s, ']')
		return s[:i+1], s[i+1:]
	}
	if i := strings.IndexAny(s, ":;?"); i >= 0 {
		s, after = s[:i], s[i:]
	}
	if strings.ContainsAny(s, "[]") {
		return "", ""
	}
	return s, after
}

// modelPort gives the port with its colon.
func modelPort(after string) (port string, ok bool) {
	number, given := strings.CutPrefix(after, ":")
	if !given {
		return "", true
	}
	if i := strings.IndexAny(number, ";?"); i >= 0 {
		number = number[:i]
	}
	n, err := strconv.Atoi(number)
	return ":" + number, err == nil && n <= 65535 && strings.Trim(number, "0123456789") == ""
}

var (
	modelHost    = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	modelNumeric = regexp.MustCompile(`^(0[xX][0-9a-fA-F]*|[0-9]*)(\.(0[xX][0-9a-fA-F]*|[0-9]*))*$`)
	modelIPv4    = regexp.MustCompile(`^` + modelOctet + `(\.` + modelOctet + `){3}$`)
	modelTel     = regexp.MustCompile(`^[^;@: \t<>"]+(;[^@]*)?$`)
	modelService = regexp.MustCompile(`^service:[A-Za-z0-9._-]+$`)
)

const modelOctet = `([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])`

// modelBadURI is decision rule-uri, on what sipgo made of the URI.
func modelBadURI(text string) bool {
	var u sip.Uri
	return sip.ParseUri(text, &u) != nil || modelBadParsed(&u)
}

func modelBadParsed(u *sip.Uri) bool {
	switch u.Scheme {
	case "tel":
		return !modelTel.MatchString(u.Raw())
	case "urn":
		return !modelService.MatchString(u.Raw())
	case "sip", "sips":
	default:
		return true
	}
	if inner, ok := strings.CutPrefix(u.Host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if ip := net.ParseIP(inner); !ok || ip == nil || !strings.Contains(inner, ":") {
			return true
		}
	} else if !modelHost.MatchString(u.Host) || modelNumeric.MatchString(u.Host) && !modelIPv4.MatchString(u.Host) {
		return true
	}
	for _, p := range u.UriParams {
		if strings.Contains(p.K+p.V, "@") {
			return true
		}
	}
	return u.HierarhicalSlashes || u.Wildcard || strings.ContainsAny(u.User, ": \t<>\"") || u.Port < 0 || u.Port > 65535
}

var (
	modelSIP        = regexp.MustCompile(`^(?is)(sips?):(?:([^@]*)@)?(\[[^\];?]*\]|[^:;?]*)(:[^;?]*)?(.*)$`)
	modelEscape     = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)
	modelUnreserved = regexp.MustCompile(`^[A-Za-z0-9_.!~*'()-]$`)
	modelSeparators = regexp.MustCompile(`[-.()]`)
)

// modelCanonical is decision rule-canonical.
func modelCanonical(text string, keepPort bool) string {
	if scheme, rest, ok := strings.Cut(text, ":"); ok && strings.EqualFold(scheme, "tel") {
		number, _, _ := strings.Cut(rest, ";")
		return "tel:" + modelSeparators.ReplaceAllString(modelDecoded(number), "")
	}
	p := modelSIP.FindStringSubmatch(text)
	if p == nil {
		return text
	}
	out := strings.ToLower(p[1]) + ":"
	if strings.Contains(text, "@") {
		user, _, _ := strings.Cut(p[2], ":")
		if user = modelDecoded(user); strings.HasSuffix(text, "@") {
			user = modelSeparators.ReplaceAllString(user, "")
		}
		out += user + "@"
	}
	out += modelCanonicalHost(p[3])
	if keepPort {
		out += p[4]
	}
	return out
}

// modelDecoded decodes the escapes of unreserved characters.
func modelDecoded(s string) string {
	return modelEscape.ReplaceAllStringFunc(s, func(e string) string {
		n, _ := strconv.ParseUint(e[1:], 16, 8)
		if c := string(rune(n)); modelUnreserved.MatchString(c) {
			return c
		}
		return e
	})
}

func modelCanonicalHost(host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	inner := strings.Trim(host, "[]")
	ip := net.ParseIP(inner)
	switch {
	case "["+inner+"]" != host || !strings.Contains(inner, ":") || ip == nil:
		return host
	case ip.To4() != nil:
		return ip.String()
	}
	return "[" + ip.String() + "]"
}
