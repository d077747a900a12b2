package gate

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// recorded is a message of wire.jsonl.gz.
type recorded struct {
	ID, Class, Transport string
	Raw                  []byte
	ReadsMore            map[string][]string `json:"reads_more"` // by stack, in the text that sipgo forwards
}

// wire returns the recorded messages.
func wire(t testing.TB) []recorded {
	messages, err := readWire()
	require.NoError(t, err)
	return messages
}

var readWire = sync.OnceValues(func() (messages []recorded, err error) {
	f, err := os.Open("../../testdata/vectors/wire.jsonl.gz")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	for d := json.NewDecoder(z); ; {
		var m recorded
		switch err := d.Decode(&m); err {
		case nil:
			messages = append(messages, m)
		case io.EOF:
			return messages, nil
		default:
			return nil, err
		}
	}
})

// taken returns the request that sipgo hands to a program: nil if it cannot
// read it, or cannot make a transaction of it.
func taken(msg []byte, transport string) *sip.Request {
	m, _, err := sip.NewParser().Parse(msg, transport == "tcp")
	req, ok := m.(*sip.Request)
	if err != nil || !ok {
		return nil
	}
	if _, err := sip.ServerTxKeyMake(req); err != nil {
		return nil
	}
	return req
}

// refused names the rule of the first door that refuses.
func refused(m recorded) (door string, r Rule) {
	if r := Bytes(m.Raw); r != WellFormed {
		return "bytes", r
	}
	if req := taken(m.Raw, m.Transport); req != nil {
		return "request", Request(req)
	}
	return "", WellFormed
}

// judgedLater accepts readings of well-formed URIs that the checks behind the
// gate have to ask about. Kamailio cuts the parameters off a user if the URI has
// ";user=phone"; sofia decodes escapes.
func judgedLater(stack string, msg []byte) bool {
	switch stack {
	case "kamailio":
		return bytes.Contains(msg, []byte(";user=phone"))
	case "sofia":
		return bytes.ContainsRune(msg, '%')
	}
	return false
}

// Kamailio, OpenSIPS, sofia and pjsip read no more than sipgo in a message that
// passes, except for readings that are judged later. Of the ordinary messages,
// one is refused.
func TestWire(t *testing.T) {
	var total, forwarded, ordinary int
	var lost []string
	byRule, left := map[string]int{}, map[string]int{}
	for _, m := range wire(t) {
		total++
		door, rule := refused(m)
		if strings.HasPrefix(m.Class, "ok/") {
			ordinary++
			if rule != WellFormed {
				lost = append(lost, fmt.Sprint(m.ID, " ", m.Class, ": ", rule))
			}
		}
		if taken(m.Raw, m.Transport) == nil {
			continue
		}
		if rule != WellFormed {
			class, _, _ := strings.Cut(m.Class, "/")
			byRule[door+": "+rule.String()]++
			byRule[door+": "+rule.String()+": "+class]++
			continue
		}
		forwarded++
		for stack, fields := range m.ReadsMore {
			for _, field := range fields {
				left[stack+" "+field+" "+m.Class]++
			}
			if slices.Contains([]string{"kamailio", "opensips", "sofia", "pjsip"}, stack) {
				require.True(t, judgedLater(stack, m.Raw), "%s %s: %s reads more in %v", m.ID, m.Class, stack, fields)
			}
		}
	}
	for _, what := range []map[string]int{byRule, left} {
		for _, k := range slices.Sorted(maps.Keys(what)) {
			t.Logf("%6d %s", what[k], k)
		}
	}
	t.Logf("total=%d forwarded=%d ordinary=%d refused=%q", total, forwarded, ordinary, lost)
	require.LessOrEqual(t, len(lost), 1)
}
