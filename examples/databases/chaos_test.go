package databases

import (
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// chaos is a TCP proxy in front of a database that tests break.
type chaos struct {
	net.Listener
	server string
	cutAt  atomic.Int64 // bytes of answers until a connection dies; 0 never
	mu     sync.Mutex
	conns  []net.Conn
	gate   sync.RWMutex // held for writing while nothing passes
}

func newChaos(t *testing.T, server string) *chaos {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &chaos{Listener: l, server: server}
	go c.serve()
	t.Cleanup(func() {
		l.Close()
		c.cut()
	})
	return c
}

func (c *chaos) serve() {
	for {
		client, err := c.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.server)
		if err != nil {
			client.Close()
			continue
		}
		c.mu.Lock()
		c.conns = append(c.conns, client, server)
		c.mu.Unlock()
		go c.pass(server, client, false)
		go c.pass(client, server, true)
	}
}

func (c *chaos) pass(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 512)
	for passed := int64(0); ; {
		n, err := from.Read(buf)
		c.wait()
		passed += int64(n)
		if at := c.cutAt.Load(); answers && at > 0 && passed > at {
			return
		}
		if _, werr := to.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// wait returns when nothing is stalled.
func (c *chaos) wait() {
	c.gate.RLock()
	defer c.gate.RUnlock()
}

// cut ends every connection, as a server that dies does.
func (c *chaos) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// stall lets nothing pass until the returned function is called.
func (c *chaos) stall() (resume func()) {
	c.gate.Lock()
	return c.gate.Unlock
}

// behind gives the DSN of a PostgreSQL server with c in front.
func behind(t *testing.T, dsn string) (*chaos, string) {
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	c := newChaos(t, u.Host)
	u.Host = c.Addr().String()
	return c, u.String()
}
