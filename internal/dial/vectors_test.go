package dial

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// spelling is a recorded Request-URI that dials a number on some stack, and
// what the library makes of it.
type spelling struct {
	Spelling string
	Level    *int // the least that must be done to it; nil dials another number
	Sipacl   struct {
		Texts string // "plain" or "plain (canonical canonical)"
		Valid bool   // false is refused without Find
	}

	plain, canonical, lost string
}

// recorded reads the spellings that dial +1900.
func recorded(t testing.TB) (list []spelling) {
	f, err := os.Open("../../testdata/vectors/dial.jsonl.gz")
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		var s spelling
		require.NoError(t, json.Unmarshal(lines.Bytes(), &s))
		s.plain, s.canonical, _ = strings.Cut(strings.TrimSuffix(s.Sipacl.Texts, ")"), " (canonical ")
		if s.canonical == "" {
			s.plain, s.canonical = s.Sipacl.Texts, s.Sipacl.Texts
		}
		s.lost = s.lostParams()
		list = append(list, s)
	}
	require.NoError(t, lines.Err())
	require.NotEmpty(t, list)
	return list
}

// lostParams gives the parameters that the plain text has lost.
func (s *spelling) lostParams() string {
	tail := s.Spelling
	if at := strings.IndexByte(tail, '@'); at >= 0 {
		tail = tail[at:]
	}
	if i := strings.IndexByte(tail, ';'); i >= 0 {
		return tail[i:]
	}
	return ""
}

// A deny rule for +1900 bites on every spelling that dials it.
func TestRecorded(t *testing.T) {
	deny := regexp.MustCompile(`^sip:\+1900`)
	var total, before, bitten, refused, invalid, missed [9]int
	for _, s := range recorded(t) {
		level := 8
		if s.Level != nil {
			level = *s.Level
		}
		total[level]++
		known := deny.MatchString(s.plain) || deny.MatchString(s.canonical)
		var texts Texts
		texts.Find(s.plain, s.canonical, s.lost)
		requireSound(t, s.plain, s.canonical, s.lost, &texts)
		switch {
		case !s.Sipacl.Valid:
			invalid[level]++
		case known:
			before[level]++
		case texts.Refuse, texts.Odd:
			refused[level]++
		case slices.ContainsFunc(texts.All(), deny.MatchString):
			bitten[level]++
		default:
			missed[level]++
			require.GreaterOrEqual(t, level, 7, "level %d: %q has %q", level, s.Spelling, texts.All())
		}
	}
	for level := range 8 {
		t.Logf("level %d: total=%d plain=%d further=%d refused=%d no-uri=%d missed=%d",
			level, total[level], before[level], bitten[level], refused[level], invalid[level], missed[level])
	}
	t.Logf("other numbers: total=%d matched=%d refused=%d no-uri=%d", total[8], before[8]+bitten[8], refused[8], invalid[8])
	require.Zero(t, before[8]+bitten[8], "a URI that dials another number is taken for this one")
}
