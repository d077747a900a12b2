package sipacl

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// The stacks in which nothing may be smuggled past the checks, and those that
// are reported; docs/wire.md has the reason for each message of the latter.
var (
	sureStacks  = []string{"kamailio", "opensips", "sofia", "pjsip"}
	otherStacks = []string{"re", "osip", "bellesip"}
)

// TestWire asks what the next hop reads. It reads the vectors wire and dial, as
// TestConformance does the others:
//
//	go test -run TestWire . -v -args -vectors DIR
func TestWire(t *testing.T) {
	for _, file := range wireFiles(t) {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".gz"), ".jsonl")
		switch strings.TrimSuffix(name, "-extra") {
		case "wire":
			t.Run(name, func(t *testing.T) { wire(t, name, file) })
		case "dial":
			t.Run(name, func(t *testing.T) { dialled(t, name, file) })
		}
	}
}

func wireFiles(t *testing.T) []string {
	dir := filepath.Join("testdata", "vectors")
	if f := flag.Lookup("vectors"); f != nil && f.Value.String() != "" {
		dir = f.Value.String()
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl*"))
	require.NoError(t, err)
	require.NotEmpty(t, files, dir)
	return files
}

// wireLines yields the lines of a file of vectors.
func wireLines(t *testing.T, file string) (lines [][]byte) {
	f, err := os.Open(file)
	require.NoError(t, err)
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		r, err = gzip.NewReader(f)
		require.NoError(t, err)
	}
	text, err := io.ReadAll(r)
	require.NoError(t, err)
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines
}

// wireMessage is a recorded message.
type wireMessage struct {
	ID, Class, Transport string
	Raw                  string
	ReadsMore            map[string][]string        `json:"reads_more"`
	ForwardedRead        map[string]json.RawMessage `json:"forwarded_read"`
	readings             map[string]json.RawMessage // by stack, of raw
}

// wirePlace is a URI as a stack read it.
type wirePlace struct{ URI, User, Host, Port string }

// wireReading is what a stack read.
type wireReading struct {
	RURI, From              wirePlace
	Contacts, Routes, Paths []wirePlace
}

// reading is what a stack reads in what sipgo forwards.
func (m *wireMessage) reading(t *testing.T, stack string) (r wireReading) {
	fields := map[string]json.RawMessage{}
	require.NoError(t, json.Unmarshal(m.readings[stack], &fields))
	if changed, ok := m.ForwardedRead[stack]; ok {
		require.NoError(t, json.Unmarshal(changed, &fields))
	}
	for name, into := range map[string]any{"ruri": &r.RURI, "from": &r.From, "contacts": &r.Contacts, "routes": &r.Routes, "paths": &r.Paths} {
		if raw, ok := fields[name]; ok {
			_ = json.Unmarshal(raw, into) // a port may be a number, a star no place: such fields do not matter
		}
	}
	return r
}

// refusedByOriginals reports whether Kamailio's and OpenSIPS's own permissions
// modules refuse a registration, with deny files that do not concern it: the
// refusal is theirs, too.
func (m *wireMessage) refusedByOriginals(t *testing.T, req *sip.Request) bool {
	for _, stack := range []string{"kamailio", "opensips"} {
		var said struct {
			Number *bool `json:"allow_register_1900"`
			Host   *bool `json:"allow_register_77"`
		}
		require.NoError(t, json.Unmarshal(m.readings[stack], &said))
		if req.Method != sip.REGISTER || said.Number == nil || said.Host == nil || *said.Number || *said.Host {
			return false
		}
	}
	t.Logf("%s %s: refused here as there", m.ID, m.Class)
	return true
}

// wireChecks are the checks of a proxy and registrar in front of the stacks.
func wireChecks(t *testing.T) *Guard {
	rules := must(NewRules(t.Context(), RulesConfig{FS: memFS{"permissions.deny": `"zzz-nobody" : ALL`}, Own: wireOwn}))
	protector := must(NewProtector(ProtectConfig{Prefixes: []netip.Prefix{prefix("127.0.0.77/32")}, AllowSpecial: []netip.Prefix{prefix("127.0.0.0/8")}, HostNames: PassHostNames}))
	return NewGuard(GuardConfig{Peers: func(Request) Decision { return Allowed("") }, Check: func(r Request) Decision {
		if r.Method == sip.REGISTER {
			return AllOf(rules.AllowRegister, protector.CheckRegister)(r)
		}
		return rules.AllowRouting(r)
	}})
}

// wireOwn is where the recorded proxies listened.
var wireOwn = []string{"127.0.0.1"}

func wire(t *testing.T, name, file string) {
	guard := wireChecks(t)
	filter := guard.Filter()
	var total, taken, passed, ordinary int
	var refused []string
	smuggled := map[string]int{}
	for _, line := range wireLines(t, file) {
		var m wireMessage
		require.NoError(t, json.Unmarshal(line, &m))
		require.NoError(t, json.Unmarshal(line, &m.readings))
		total++
		raw, err := base64.StdEncoding.DecodeString(m.Raw)
		require.NoError(t, err)
		req := wireTaken(raw, m.Transport)
		if strings.HasPrefix(m.Class, "ok/") {
			ordinary++
		}
		if req == nil {
			continue
		}
		taken++
		d := wirePass(guard, filter, raw, m.Transport, req)
		if !d.Allowed {
			if strings.HasPrefix(m.Class, "ok/") && !m.refusedByOriginals(t, req) {
				refused = append(refused, fmt.Sprintf("%s %s: %s", m.ID, m.Class, d))
			}
			continue
		}
		passed++
		for stack, fields := range m.ReadsMore {
			got := m.reading(t, stack)
			for _, field := range fields {
				if what := wireSmuggled(req, field, got); what != "" {
					smuggled[stack]++
					if slices.Contains(sureStacks, stack) {
						t.Errorf("%s %s: %s reads %s %s\n%s", m.ID, m.Class, stack, field, what, raw)
					} else if testing.Verbose() {
						t.Logf("%s %s: %s reads %s %s", m.ID, m.Class, stack, field, what)
					}
					break
				}
			}
		}
	}
	count := func(stacks []string) (sum int, each string) {
		for _, s := range stacks {
			sum += smuggled[s]
			each += fmt.Sprintf(" %s=%d", s, smuggled[s])
		}
		return sum, each
	}
	sum, sure := count(sureStacks)
	_, others := count(otherStacks)
	fmt.Printf("%s: total=%d taken=%d passed=%d smuggled=%d (%s%s) ordinary=%d refused=%d\n",
		name, total, taken, passed, sum, strings.TrimSpace(sure), others, ordinary, len(refused))
	for _, r := range refused {
		t.Log(r)
	}
	if len(refused) > 1 {
		t.Errorf("%s: %d ordinary messages are refused", name, len(refused))
	}
}

// wireTaken is the request that sipgo hands to a program, nil if it does not.
func wireTaken(raw []byte, transport string) *sip.Request {
	m, _, err := sip.NewParser().Parse(raw, transport == "tcp")
	req, ok := m.(*sip.Request)
	if err != nil || !ok {
		return nil
	}
	if _, err := sip.ServerTxKeyMake(req); err != nil {
		return nil
	}
	req.SetSource("127.0.0.1:15097")
	req.SetTransport(strings.ToUpper(transport))
	return req
}

// wirePass is what the guard says at the socket and at the handler.
func wirePass(guard *Guard, filter sip.TransportReadFilter, raw []byte, transport string, req *sip.Request) Decision {
	info := sip.TransportReadProps{Transport: strings.ToUpper(transport), RemoteAddr: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 15097}}
	if rest, err := filter(info, raw); err != nil || rest == nil {
		return Refused("filter")
	}
	return guard.Decide(RequestOf(req, nil))
}

// wireSmuggled says what a stack reads in a field that the checks did not see.
func wireSmuggled(req *sip.Request, field string, got wireReading) string {
	switch field {
	case "ruri":
		return wireUnseen(textsOf(&req.Recipient), got.RURI)
	case "from":
		return wireUnseen(textsOf(&req.From().Address), got.From)
	case "contacts":
		contacts, _, _ := Contacts(req)
		return wireUnseen(textsOf(pointers(contacts)...), got.Contacts...)
	case "routes":
		return wireUnseen(textsOf(headerURIs(req, "route")...), got.Routes...)
	case "paths":
		return wireUnseen(textsOf(headerURIs(req, "path")...), got.Paths...)
	}
	return "at all" // another method, a second request
}

func wireUnseen(seen map[string]bool, places ...wirePlace) string {
	for _, p := range places {
		text := "sip:"
		if p.User != "" {
			text += p.User + "@"
		}
		if text += strings.ToLower(p.Host); p.Host == "" && p.User == "" {
			continue // the stack did not read it as a place
		}
		if !seen[text] {
			return strconv.Quote(text) + " beside " + fmt.Sprint(slices.Sorted(maps.Keys(seen)))
		}
	}
	return ""
}

// textsOf are the texts that checks see of URIs.
func textsOf(uris ...*sip.Uri) map[string]bool {
	seen := map[string]bool{}
	for _, u := range uris {
		plain, ok := plainURI(u, branchURI)
		if !ok {
			continue
		}
		all := allTexts(plain, lostParams(u), false)
		for t := range all.each() {
			seen[t.plain], seen[t.canonical] = true, true
		}
		seen["sip:"+u.User+"@"+strings.ToLower(u.Host)] = true
	}
	return seen
}

func pointers(uris []sip.Uri) (all []*sip.Uri) {
	for i := range uris {
		all = append(all, &uris[i])
	}
	return all
}

// headerURIs are the URIs in the fields of a name.
func headerURIs(req *sip.Request, name string) (uris []*sip.Uri) {
	for _, h := range req.Headers() {
		if !strings.EqualFold(h.Name(), name) {
			continue
		}
		for text := range splitAddresses(h.Value()) {
			var u sip.Uri
			if _, err := sip.ParseAddressValue(text, &u, nil); err == nil {
				uris = append(uris, &u)
			}
		}
	}
	return uris
}

// dialled asks whether a deny rule on a number bites on every spelling that
// dials it.
func dialled(t *testing.T, name, file string) {
	rules := mustRules("", `ALL : "^sip:\+1900"`)
	var total, missed, known, over int
	for _, line := range wireLines(t, file) {
		var s struct {
			Spelling string
			Level    *int
		}
		require.NoError(t, json.Unmarshal(line, &s))
		total++
		if s.Level == nil {
			continue
		}
		refused := !rules.Current().AllowRouting("sip:mallory@example.com", latin1Bytes(s.Spelling)).Allowed
		switch {
		case *s.Level >= 7 && refused:
			over++
		case *s.Level >= 7:
		default:
			if known++; !refused {
				missed++
				t.Errorf("level %d: %s", *s.Level, line)
			}
		}
	}
	fmt.Printf("%s: total=%d levels=0-6 missed=%d level7=%d\n", name, total, missed, over)
	require.NotZero(t, known)
}

// latin1Bytes gives the bytes that a recorder wrote as code points.
func latin1Bytes(s string) string {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		b = append(b, byte(r))
	}
	return string(b)
}
