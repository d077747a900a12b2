package admin

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/sipacl/sipacl"
)

// Counters counts the decisions of guards by gate, method, cause and outcome.
// Give its Observe to [sipacl.GuardConfig], and serve it to Prometheus:
//
//	sipacl_decisions_total{gate="handler",method="INVITE",cause="deny rule",outcome="refused"} 3
//
// The zero Counters is ready. It is safe for concurrent use, by any number of
// guards, takes 64 KiB and must not be copied.
type Counters struct {
	counts [gates][len(methods)][causes][2]atomic.Uint64
}

// The sizes, with room for what the root does not have yet. The last gate and
// the last cause stand for any beyond.
const (
	gates  = 4
	causes = 64
)

// methods are the values of the label. What a request calls itself is written
// by its sender, who must not make new series.
var methods = [...]string{
	"none", "other", "ACK", "BYE", "CANCEL", "INFO", "INVITE", "MESSAGE", "NOTIFY",
	"OPTIONS", "PRACK", "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE", "UPDATE",
}

// The outcomes.
var outcomes = [2]string{"refused", "allowed"}

// Observe counts e. It takes no lock and allocates nothing.
func (c *Counters) Observe(e sipacl.Event) {
	gate := min(int(e.Gate), gates-1)
	cause := min(int(e.Decision.Cause), causes-1)
	outcome := 0
	if e.Decision.Allowed {
		outcome = 1
	}
	c.counts[gate][methodOf(&e)][cause][outcome].Add(1)
}

// methodOf is the index of the method in methods: "none" without a message,
// "other" for one that is not listed.
func methodOf(e *sipacl.Event) int {
	if e.Request.Request == nil {
		return 0
	}
	method := string(e.Request.Method)
	for i := 2; i < len(methods); i++ {
		if methods[i] == method {
			return i
		}
	}
	return 1
}

// ServeHTTP writes the counts in the text format of Prometheus, in a fixed
// order and without those that are 0. Every label has a bounded set of values:
//
//	gate     handler, bytes, conn, other
//	method   a method of the SIP RFCs, other, or none before a message is parsed
//	cause    the text of a sipacl.Cause, or other
//	outcome  allowed, refused
//
// It answers GET and HEAD.
func (c *Counters) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "want GET", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(c.text())) // who hung up does not read
}

func (c *Counters) text() string {
	var b strings.Builder
	b.WriteString("# HELP sipacl_decisions_total Decisions of the guards.\n# TYPE sipacl_decisions_total counter\n")
	for gate := range c.counts {
		for method := range c.counts[gate] {
			c.series(&b, gate, method)
		}
	}
	return b.String()
}

// series writes the counts of a gate and method.
func (c *Counters) series(b *strings.Builder, gate, method int) {
	for cause := range causes {
		for outcome := range outcomes {
			if n := c.counts[gate][method][cause][outcome].Load(); n > 0 {
				fmt.Fprintf(b, "sipacl_decisions_total{gate=%q,method=%q,cause=%q,outcome=%q} %d\n",
					gateName(gate), methods[method], causeName(cause), outcomes[outcome], n)
			}
		}
	}
}

func gateName(i int) string {
	if i == gates-1 {
		return "other"
	}
	return sipacl.Gate(i).String()
}

func causeName(i int) string {
	if i == causes-1 {
		return "other"
	}
	return sipacl.Cause(i).String()
}
