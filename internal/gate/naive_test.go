package gate

import (
	"math/rand/v2"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// The grammar of RFC 3261 section 25.1 as regular expressions. They are the
// meaning of address, addresses and uri; when they differ, those are wrong.
const (
	reToken  = "[-A-Za-z0-9.!%*_+`'~]+"
	reQuoted = `"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[\x00-\x09\x0b\x0c\x0e-\x7f])*"`
	reUn     = `A-Za-z0-9\-_.!~*'()`
	reEsc    = `%[0-9A-Fa-f]{2}`
	reUser   = `(?:[` + reUn + `&=+$,;?/]|` + reEsc + `)+`
	rePass   = `(?:[` + reUn + `&=+$,]|` + reEsc + `)*`
	reName   = `[A-Za-z0-9](?:[A-Za-z0-9_\-]*[A-Za-z0-9])?`
	reHost   = `(?:` + reName + `(?:\.` + reName + `)*\.?|\[[0-9A-Fa-f:.]+\])`
	reValue  = `(?:[` + reUn + `\[\]/:&+$]|` + reEsc + `)`
	reParams = `(?:;` + reValue + `+(?:=` + reValue + `*)?)*`
	reSIP    = `(?i:sips?):(?:(` + reUser + `)(?::` + rePass + `)?@)?(` + reHost + `)(?::([0-9]{1,5}))?(` + reParams + `)(\?[` + reUn + `\[\]/?:+$&=%]*)?`
	reTel    = `(?i:tel):\+?[0-9A-Fa-f*#\-.()]+(` + reParams + `)`
	reOther  = `([A-Za-z0-9+.\-]+):[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+`
	reParam  = `[ \t]*;[ \t]*(?:` + reToken + `(?:[ \t]*=[ \t]*(?:` + reToken + `(?::[0-9]+)?|\[[0-9A-Fa-f:.]+\](?::[0-9]+)?|` + reQuoted + `))?)?`
	reAddr   = `^[ \t]*(?:(?:(?:` + reToken + `(?:[ \t]+` + reToken + `)*|` + reQuoted + `)?[ \t]*<([^<>]*)>)|([^<>" \t,;?\x00-\x1f\x7f]+))((?:` + reParam + `)*)[ \t]*(,|$)`
)

var (
	exprSIP   = regexp.MustCompile(`^` + reSIP + `$`)
	exprTel   = regexp.MustCompile(`^` + reTel + `$`)
	exprOther = regexp.MustCompile(`^` + reOther + `$`)
	exprAddr  = regexp.MustCompile(reAddr)
	exprNum   = regexp.MustCompile(`^(?:0[xX][0-9A-Fa-f]*|[0-9]+)$`)
	exprFold  = regexp.MustCompile(`\r\n[ \t]+`)
	exprEmpty = regexp.MustCompile(`\r\n[ \t]*\r\n`)
)

// naiveURI is where a URI leads.
type naiveURI struct{ user, host string }

func naiveRead(s string) (u naiveURI, ok bool) {
	m := exprSIP.FindStringSubmatch(s)
	if m == nil {
		other, tel := exprOther.FindStringSubmatch(s), exprTel.FindStringSubmatch(s)
		switch {
		case tel != nil:
			return u, naiveParams(tel[1])
		case other == nil, strings.EqualFold(other[1], "sip"), strings.EqualFold(other[1], "sips"), strings.EqualFold(other[1], "tel"):
			return u, false
		}
		return u, true
	}
	u = naiveURI{m[1], m[2]}
	port, err := strconv.Atoi(m[3])
	misread := u.user == "" && u.host[0] != '[' && strings.Contains(m[4]+m[5], "[")
	return u, naiveHost(u.host) && naiveParams(m[4]) && !strings.HasPrefix(u.user, "//") && !misread &&
		(m[3] == "" || err == nil && 0 < port && port < 65536)
}

// naiveHost refuses a host of numbers that is not an IPv4 address.
func naiveHost(host string) bool {
	for _, l := range strings.Split(strings.TrimSuffix(host, "."), ".") {
		if !exprNum.MatchString(l) {
			return true
		}
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Is4()
}

func naiveParams(s string) bool {
	seen := map[string]bool{}
	for _, p := range strings.Split(s, ";")[1:] {
		name, _, _ := strings.Cut(strings.ToLower(p), "=")
		if seen[name] {
			return false
		}
		seen[name] = true
	}
	return len(seen) <= maxParams
}

// naiveAddresses reads a list of addresses.
func naiveAddresses(s string) (us []naiveURI, ok bool) {
	s = exprFold.ReplaceAllString(s, " ")
	for {
		m := exprAddr.FindStringSubmatch(s)
		if m == nil {
			return nil, false
		}
		u, ok := naiveRead(m[1] + m[2])
		if !ok {
			return nil, false
		}
		us = append(us, u)
		if s = s[len(m[0]):]; m[4] == "" {
			return us, true
		}
	}
}

// rounds is n, or a twentieth with -short.
func rounds(n int) int {
	if testing.Short() {
		return n / 20
	}
	return n
}

// randomText puts pieces together.
func randomText(random *rand.Rand, pieces []string, most int) string {
	var b strings.Builder
	for range 1 + random.IntN(most) {
		if random.IntN(6) == 0 {
			b.WriteByte(" \t"[random.IntN(2)])
		}
		b.WriteString(pieces[random.IntN(len(pieces))])
	}
	return b.String()
}

// addressPieces often make an address.
var addressPieces = strings.Split("<sip:alice@192.0.2.1> <sip:[2001:db8::1]:5060;lr?a=b> sip:b@c.example \"a\\\"b\" \"\" bob . ;lr ;q=0.5 ;x=\"y,;<\" ;x=h:5060 ; , , \r\n \\", " ")

func TestGrammarRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	passed := 0
	for range rounds(20000) {
		s := randomText(random, addressPieces, 5)
		if random.IntN(2) == 0 {
			s = "<sip:" + randomText(random, pieces, 9) + ">"
		}
		if !plainOrFold(s) {
			continue
		}
		us, ok := naiveAddresses(s)
		list := addresses(s)
		if ok && list == Misread {
			require.Contains(t, s, `\`, "%q", s) // sipgo cuts elsewhere: see TestSipgoReadsTheGrammar
			list = WellFormed
		}
		require.Equal(t, ok, list == WellFormed, "%q", s)
		require.Equal(t, ok && len(us) == 1, address(s) == WellFormed, "%q", s)
		if ok {
			passed++
		}
	}
	require.Greater(t, passed, rounds(500))
}

// plainOrFold holds for the values in which Bytes reads addresses.
func plainOrFold(s string) bool {
	return oddBytes(s) == WellFormed && !exprEmpty.MatchString(s)
}

// In a message that passes both doors, sipgo reads the URIs that the grammar has.
func TestSipgoReadsTheGrammar(t *testing.T) {
	for _, m := range wire(t) {
		if m.Transport == "udp" {
			checkReading(t, m.Raw)
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range rounds(1000) {
		text := randomText(random, pieces, 9)
		for _, slot := range slots {
			checkReading(t, []byte(strings.Replace(base, slot, text, 1)))
		}
		for _, name := range []string{"Route: ", "Record-Route: ", "Refer-To: ", "Referred-By: "} {
			checkReading(t, []byte(strings.Replace(base, "Subject: one", name+text, 1)))
		}
	}
}

func checkReading(t *testing.T, msg []byte) {
	req := taken(msg, "udp")
	if req == nil || Bytes(msg) != WellFormed || Request(req) != WellFormed {
		return
	}
	want, got := naiveMessage(string(msg)), map[string][]naiveURI{"": {{req.Recipient.User, req.Recipient.Host}}}
	for _, h := range req.Headers() {
		var u sip.Uri
		switch h := h.(type) {
		case *sip.FromHeader:
			u = h.Address
		case *sip.ToHeader:
			u = h.Address
		case *sip.ContactHeader:
			u = h.Address
		case *sip.RouteHeader:
			u = h.Address
		case *sip.RecordRouteHeader:
			u = h.Address
		case *sip.ReferToHeader:
			u = h.Address
		case *sip.ReferredByHeader:
			u = h.Address
		default:
			continue
		}
		name := strings.ToLower(h.Name())
		got[name] = append(got[name], naiveURI{u.User, u.Host})
	}
	require.Equal(t, want, got, "%q", msg)
}

var longNames = map[string]string{"f": "from", "t": "to", "m": "contact"}

// naiveMessage reads the URIs of a well-formed message, by field.
func naiveMessage(msg string) map[string][]naiveURI {
	head, _, _ := strings.Cut(msg, "\r\n\r\n")
	lines := strings.Split(exprFold.ReplaceAllString(head, " "), "\r\n")
	u, _ := naiveRead(strings.Split(lines[0], " ")[1])
	all := map[string][]naiveURI{"": {u}}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if long, ok := longNames[name]; ok {
			name = long
		}
		switch name {
		case "from", "to", "contact", "route", "record-route", "refer-to", "referred-by":
			us, _ := naiveAddresses(value)
			if strings.TrimSpace(value) == "*" {
				us = []naiveURI{{host: "*"}}
			}
			all[name] = append(all[name], us...)
		}
	}
	return all
}
