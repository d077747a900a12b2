package dial

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	sipURI  = regexp.MustCompile(`(?is)^sips?:([^@:]*)(?::[^@]*)?@[^;?]*(;[^?]*)?`)
	telURI  = regexp.MustCompile(`(?is)^tel:(.*)`)
	around  = regexp.MustCompile(`(?is)^(?:(sips?:)[^@]*(@.*)|(tel:).*)$`)
	refused = regexp.MustCompile(`%[01][0-9a-fA-F]|%20|%7[fF]|[^!-~]`)
	unfit   = regexp.MustCompile(`[^!-~]`)
	escape  = regexp.MustCompile(`(?s)%[0-9a-fA-F]{2}|.`)
	low     = regexp.MustCompile(`%[2-7][0-9a-fA-F]`)
	high    = regexp.MustCompile(`%[89a-fA-F][0-9a-fA-F]`)
	other   = regexp.MustCompile(`[^+0-9]`)
	pure    = regexp.MustCompile(`^[-0-9*#+.()]*[0-9*#][-0-9*#+.()]*$`)
	named   = regexp.MustCompile(`[A-Za-z_*#]|%[89a-fA-F]`)
	unhexed = strings.NewReplacer("0", "\x00", "1", "\x01", "2", "\x02", "3", "\x03", "4", "\x04", "5", "\x05", "6", "\x06", "7", "\x07",
		"8", "\x08", "9", "\x09", "a", "\x0a", "b", "\x0b", "c", "\x0c", "d", "\x0d", "e", "\x0e", "f", "\x0f")
)

// slow does what Find does, one step after the other, as the package comment
// tells them. It is the meaning of Find; when the two differ, Find is wrong.
func slow(plain, canonical, lost string) (texts []string, odd, refuse bool) {
	var user, params string
	if m := sipURI.FindStringSubmatch(plain); m != nil {
		user, params = m[1], m[2]
	} else if m := telURI.FindStringSubmatch(plain); m != nil {
		user = m[1]
	} else {
		return nil, false, false
	}
	if len(plain)+len(lost) > 1024 {
		return nil, false, true
	}
	at := refused.FindStringIndex(user)
	odd = at != nil
	decoded := slowDecode(user + ";" + params + ";" + lost)
	if _, list, _ := strings.Cut(decoded, ";"); strings.Count(list, ";") > 32 {
		refuse = slowParams(list, "rn") != nil || slowParams(list, "phone-context") != nil
	}
	users := slowUsers(decoded)
	if odd && !strings.ContainsAny(slowDecode(user[:at[0]]), ";") {
		users = append(slowUsers(slowDecode(user[:at[0]])+";"), users...)
	}
	if !strings.HasPrefix(strings.ToLower(plain), "tel:") {
		users = append(users, slowDecode(user))
	}
	for _, user := range users {
		m := around.FindStringSubmatch(canonical)
		text := m[1] + m[3] + user + m[2]
		if user != "" && text != m[1]+m[3]+plain[strings.IndexByte(plain, ':')+1:] && text != canonical && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if refuse || len(texts) > Max || unfit.MatchString(strings.Join(texts, "")) {
		return nil, odd, true
	}
	return texts, odd, false
}

func slowUsers(decoded string) (users []string) {
	name, list, _ := strings.Cut(decoded, ";")
	users = []string{name} // 1
	if pure.MatchString(name) {
		users = append(users, regexp.MustCompile(`[-.()]`).ReplaceAllString(name, "")) // 2
	}
	for _, number := range []string{slowDigits(high.ReplaceAllString(name, "")), slowDigits(name)} { // 3, 4
		digits := strings.TrimPrefix(number, "+")
		if len(digits) >= 3 && (digits != number || !named.MatchString(low.ReplaceAllString(name, ""))) {
			users = append(users, number)
		}
	}
	users = append(users, slowContext(slowDigits(high.ReplaceAllString(name, "")), list, "phone-context")...) // 5
	for _, rn := range slowParams(list, "rn") {                                                               // 6
		if strings.ContainsAny(rn, "0123456789") {
			users = append(users, rn)
		}
		users = append(users, slowContext(rn, list, "rn-context")...)
	}
	return users
}

// slowDigits drops all but the digits and the "+" before them.
func slowDigits(s string) string {
	s = other.ReplaceAllString(low.ReplaceAllString(s, ""), "")
	digits := strings.ReplaceAll(s, "+", "")
	if strings.HasPrefix(s, "+") {
		return "+" + digits
	}
	return digits
}

func slowContext(number, list, context string) (users []string) {
	if number == "" || strings.HasPrefix(number, "+") {
		return nil
	}
	for _, c := range slowParams(list, context) {
		if strings.HasPrefix(c, "+") {
			users = append(users, c+number)
		}
	}
	return users
}

// slowParams gives the numbers in the values of the parameters of a name.
func slowParams(list, name string) (numbers []string) {
	for _, p := range strings.Split(list, ";") {
		if key, value, _ := strings.Cut(p, "="); strings.ToLower(key) == name {
			numbers = append(numbers, slowDigits(high.ReplaceAllString(value, "")))
		}
	}
	return numbers
}

func slowDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		token := s[i : i+1]
		if m := escape.FindStringIndex(s[i:]); s[i] == '%' && m[1] == 3 {
			token = s[i : i+3]
		}
		i += len(token)
		if len(token) == 3 {
			hex := unhexed.Replace(strings.ToLower(token[1:]))
			switch c := hex[0]<<4 | hex[1]; {
			case c >= 0x80, strings.IndexByte("%:@", c) >= 0:
			case c <= ' ' || c == 0x7f:
				continue
			default:
				token = string(rune(c))
			}
		} else if c := token[0]; c <= ' ' || c >= 0x7f || c == '%' {
			continue
		}
		b.WriteString(token)
	}
	return b.String()
}

var (
	unreservedEscape = regexp.MustCompile(`%(2[dDeE1aA789]|5[fF]|7[eE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])`)
	separators       = regexp.MustCompile(`[-.()]`)
)

// canonical does what the library's canonical text is. It lower-cases a host,
// but knows no IPv6.
func canonical(plain string) string {
	unescape := func(s string) string {
		return unreservedEscape.ReplaceAllStringFunc(s, func(e string) string { return slowDecode(e) })
	}
	scheme, rest, ok := strings.Cut(plain, ":")
	switch scheme = strings.ToLower(scheme); {
	case !ok, scheme != "sip" && scheme != "sips" && scheme != "tel":
		return plain
	case scheme == "tel":
		number, _, _ := strings.Cut(rest, ";")
		return scheme + ":" + separators.ReplaceAllString(unescape(number), "")
	}
	user, host, at := strings.Cut(rest, "@")
	if !at {
		user, host = "", rest
	}
	user, _, _ = strings.Cut(user, ":")
	user = unescape(user)
	if at && host == "" {
		user = separators.ReplaceAllString(user, "")
	}
	if i := strings.IndexAny(host, ":;?"); i >= 0 {
		host = host[:i]
	}
	host = strings.ToLower(host)
	if !at {
		return scheme + ":" + host
	}
	return scheme + ":" + user + "@" + host
}

// Find agrees with its twin about URIs made of the pieces that matter.
func TestFindAndTwin(t *testing.T) {
	user := strings.Fields("+ + 1 90 0 - . ( * # x Ab _ ~ ! % %% %2 %2B %2b %31 %2D %3B %3b %25 %3A %40 %C2 %90 %fF %zz %33 ; ;rn= ;RN=+ ;phone-context=+ ;phone-context=1 ;rn-context=+4 ; = %3D")
	tail := strings.Fields("@h @H:5060 @h;rn=+1 @ @h;x?y @[::1];Phone-Context=+49;rn=7 @h?a;rn=9 :pw@h;r%6E=8")
	lost := []string{"", "", ";phone-context=+7", ";x;rn=1-2;rn-context=+%35;rn-context=b", "npdi"}
	scheme := []string{"sip:", "sip:", "SIPS:", "tel:"}
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(list []string) string { return list[rnd.IntN(len(list))] }
	rounds := 30_000
	if testing.Short() {
		rounds = 3_000
	}
	for range rounds {
		plain := pick(scheme)
		for range 1 + rnd.IntN(9) {
			plain += pick(user)
		}
		requireTwin(t, plain+pick(tail), pick(lost))
	}
}

func requireTwin(t *testing.T, plain, lost string) {
	canonical := canonical(plain)
	want, odd, refuse := slow(plain, canonical, lost)
	var got Texts
	got.Find(plain, canonical, lost)
	require.Equal(t, refuse, got.Refuse, "%q %q", plain, lost)
	require.Equal(t, odd, got.Odd, "%q %q", plain, lost)
	require.Equal(t, want, append([]string(nil), got.All()...), "%q %q", plain, lost)
	requireSound(t, plain, canonical, lost, &got)
}

func FuzzFind(f *testing.F) {
	for _, c := range cases {
		f.Add(c.uri, c.lost)
	}
	for _, uri := range ordinaryURIs {
		f.Add(uri, "")
	}
	for _, r := range recorded(f) {
		f.Add(r.plain, r.lost)
	}
	f.Add("sip:%%331%zz%2%25%3a+1%9000@h:5060;rn=%2b1;x?y", ";rn-context=+4;phone-context=+5%")
	f.Fuzz(requireTwin)
}

// requireSound requires what Find and All promise.
func requireSound(t *testing.T, plain, canonical, lost string, texts *Texts) {
	known := append([]string{plain, canonical}, texts.All()...)
	for i, text := range texts.All() {
		require.NotContains(t, known[:2+i], text)
		require.Regexp(t, `^[!-~]+$`, text)
		require.LessOrEqual(t, len(text), len(plain)+len(lost)+1)
		var again Texts
		again.Find(text, text, "")
		require.False(t, again.Refuse, "%q", text)
		require.Subset(t, known, again.All(), "%q of %q", text, plain)
	}
}
