// Package siptest has what the examples' tests share: clients that send from
// an address of their choice, and a log to read from.
package siptest

import (
	"bytes"
	"log/slog"
	"sync"
	"testing"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/stretchr/testify/require"
)

// Quiet keeps sipgo from logging.
func Quiet() { sip.SetDefaultLogger(slog.New(slog.DiscardHandler)) }

// Log is a log that can be read while it is written.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Client returns a SIP client that sends from an address of this machine
// until the test ends.
func Client(t *testing.T, from string) *sipgo.Client {
	ua, err := sipgo.NewUA()
	require.NoError(t, err)
	t.Cleanup(func() { ua.Close() })
	client, err := sipgo.NewClient(ua, sipgo.WithClientHostname(from), sipgo.WithClientConnectionAddr(from+":0"))
	require.NoError(t, err)
	return client
}
