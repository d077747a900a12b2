package dial

import (
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/internal/tests/dialtwin"
)

var (
	unreservedEscape = regexp.MustCompile(`%(2[dDeE1aA789]|5[fF]|7[eE]|3[0-9]|[46][1-9a-fA-F]|[57][0-9aA])`)
	separators       = regexp.MustCompile(`[-.()]`)
)

// canonical does what the library's canonical text is. It lower-cases a host,
// but knows no IPv6.
func canonical(plain string) string {
	unescape := func(s string) string {
		return unreservedEscape.ReplaceAllStringFunc(s, func(e string) string {
			n, _ := strconv.ParseUint(e[1:], 16, 8)
			return string(rune(n))
		})
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
	want, odd, refuse := dialtwin.Find(plain, canonical, lost)
	require.Equal(t, Max, dialtwin.Max)
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
