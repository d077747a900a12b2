package admin

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl"
)

func event(gate sipacl.Gate, method string, d sipacl.Decision) sipacl.Event {
	e := sipacl.Event{Gate: gate, Decision: d}
	if method != "" {
		e.Request.Request = sip.NewRequest(sip.RequestMethod(method), sip.Uri{Host: "example.com"})
	}
	return e
}

func scrape(t testing.TB, c *Counters, method string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	c.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, "/metrics", nil))
	return w
}

const countersHead = "# HELP sipacl_decisions_total Decisions of the guards.\n# TYPE sipacl_decisions_total counter\n"

func TestCountersOutput(t *testing.T) {
	var c Counters
	w := scrape(t, &c, http.MethodGet)
	require.Equal(t, countersHead, w.Body.String())
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", w.Header().Get("Content-Type"))

	allowed := sipacl.Decision{Allowed: true, Cause: sipacl.CauseAddress}
	for range 3 {
		c.Observe(event(sipacl.GateHandler, "INVITE", allowed))
	}
	c.Observe(event(sipacl.GateHandler, "INVITE", sipacl.Decision{Cause: sipacl.CauseDenyRule}))
	c.Observe(event(sipacl.GateHandler, "INVITE", sipacl.Refused("own")))
	c.Observe(event(sipacl.GateHandler, "INVITE", sipacl.Allowed("own")))
	c.Observe(event(sipacl.GateHandler, "UPDATE", sipacl.Decision{}))
	c.Observe(event(sipacl.GateConn, "", sipacl.Decision{Cause: sipacl.CauseNoAddress}))
	c.Observe(event(sipacl.GateBytes, "", allowed))
	require.Equal(t, countersHead+
		`sipacl_decisions_total{gate="handler",method="INVITE",cause="own check",outcome="refused"} 1
sipacl_decisions_total{gate="handler",method="INVITE",cause="own check",outcome="allowed"} 1
sipacl_decisions_total{gate="handler",method="INVITE",cause="address matches",outcome="allowed"} 3
sipacl_decisions_total{gate="handler",method="INVITE",cause="deny rule",outcome="refused"} 1
sipacl_decisions_total{gate="handler",method="UPDATE",cause="nothing allows it",outcome="refused"} 1
sipacl_decisions_total{gate="bytes",method="none",cause="address matches",outcome="allowed"} 1
sipacl_decisions_total{gate="conn",method="none",cause="no address matches",outcome="refused"} 1
`, scrape(t, &c, http.MethodGet).Body.String())
}

func TestCountersAnswerGetAndHead(t *testing.T) {
	var c Counters
	require.Equal(t, http.StatusOK, scrape(t, &c, http.MethodHead).Code)
	w := scrape(t, &c, http.MethodPost)
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
}

// A sender cannot make series of its own, whatever it calls its method.
func TestCountersLabelsAreBounded(t *testing.T) {
	var c Counters
	for _, method := range []string{"none", "other", "invite", "HACK\"} 1\n", strings.Repeat("X", 1000)} {
		c.Observe(event(sipacl.GateHandler, method, sipacl.Decision{}))
	}
	c.Observe(event(250, "INVITE", sipacl.Decision{Cause: 250}))
	require.Equal(t, countersHead+
		`sipacl_decisions_total{gate="handler",method="other",cause="nothing allows it",outcome="refused"} 5
sipacl_decisions_total{gate="other",method="INVITE",cause="other",outcome="refused"} 1
`, scrape(t, &c, http.MethodGet).Body.String())
}

// Every gate and cause of the root has a place of its own and a text that needs
// no escape. When this fails, the arrays are too small.
func TestCountersHoldWhatTheRootHas(t *testing.T) {
	for g := range sipacl.Gate(255) {
		if !strings.HasPrefix(g.String(), "gate ") {
			require.Less(t, int(g), gates-1, g)
			require.Regexp(t, plainText, g.String())
		}
	}
	for cause := range sipacl.Cause(255) {
		if !strings.HasPrefix(cause.String(), "cause ") {
			require.Less(t, int(cause), causes-1, cause)
			require.Regexp(t, plainText, cause.String())
		}
	}
	require.EqualValues(t, 64<<10, unsafe.Sizeof(Counters{})) // as its documentation says
}

var plainText = regexp.MustCompile(`^[A-Za-z*,: ]+$`)

func TestObserveDoesNotAllocate(t *testing.T) {
	var c Counters
	for _, method := range []string{"", "INVITE", "HACK"} {
		e := event(sipacl.GateHandler, method, sipacl.Decision{Cause: sipacl.CauseNoAddress})
		require.Zero(t, testing.AllocsPerRun(100, func() { c.Observe(e) }), method)
	}
}

func TestCountersCountFromEverywhereAtOnce(t *testing.T) {
	const each, all = 1000, 8
	var c Counters
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: sipacl.AllOf(), Observe: c.Observe})
	var wg sync.WaitGroup
	for range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				guard.Decide(sipacl.Request{})
			}
			scrape(t, &c, http.MethodGet)
		}()
	}
	wg.Wait()
	require.Equal(t, countersHead+
		"sipacl_decisions_total{gate=\"handler\",method=\"none\",cause=\"nothing allows it\",outcome=\"refused\"} 8000\n",
		scrape(t, &c, http.MethodGet).Body.String())
}

func BenchmarkObserve(b *testing.B) {
	var c Counters
	e := event(sipacl.GateHandler, "UPDATE", sipacl.Decision{Cause: sipacl.CauseNoAddress})
	b.ReportAllocs()
	for b.Loop() {
		c.Observe(e)
	}
}
