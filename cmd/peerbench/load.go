package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"

	"github.com/sipacl/sipacl"
	"github.com/sipacl/sipacl/internal/tests/workload"
)

// The load test sends over the loopback interface only, for a bounded time.
const (
	window     = 16                    // requests that a client has in flight
	patience   = 50 * time.Millisecond // after that a request counts as lost
	floodRate  = 40_000                // datagrams a second, all workers together
	flooders   = 64                    // sources of the flood, each with an address of its own
	floodBurst = time.Millisecond
)

// load measures a sipgo server that answers OPTIONS, one UDP socket with one
// client a core.
func (l *lab) load() error {
	sip.SetDefaultLogger(slog.New(slog.NewTextHandler(io.Discard, nil)))
	t1, t2, t4 := sip.T1, sip.T2, sip.T4
	sip.SetTimers(10*time.Millisecond, 80*time.Millisecond, 100*time.Millisecond)
	defer sip.SetTimers(t1, t2, t4)

	friend := netip.MustParseAddr("127.0.0.1")
	rows := workload.Table(l.sizes.subnets, 1)
	rows = append(rows, workload.Row{Group: guardedGroup, Prefix: netip.PrefixFrom(friend, 32)})
	p, err := sipacl.NewPartition(context.Background(), addressRows(withoutLoopback(rows, friend)))
	if err != nil {
		return err
	}
	workers := runtime.NumCPU()
	l.heading("Load over loopback")
	l.para("A sipgo server answers OPTIONS: %d UDP sockets, each with a client that keeps %d requests in flight. Clients, flood and server "+
		"share the %d cores. The table has %s rows and holds the clients' address. The flood is OPTIONS too, %s a second from %d other "+
		"loopback addresses; Guard answers it 403, its Filter drops it unread. Each is run %d times for %v, in turns. "+
		"(sipgo's T1 is 10 ms here, so that ended transactions are forgotten within a second.)",
		workers, window, runtime.NumCPU(), size(l.sizes.subnets), thousands(floodRate), flooders, l.rounds, l.sizes.loadTime)
	modes := []loadMode{
		{name: "no guard"},
		{name: "Guard", guard: true},
		{name: "Filter", filter: true},
		{name: "no guard, flood", flood: true},
		{name: "Guard, flood", guard: true, flood: true},
		{name: "Filter, flood", filter: true, flood: true},
	}
	answered, refused, lost := make([][]float64, len(modes)), make([][]float64, len(modes)), make([][]float64, len(modes))
	for round := range l.rounds {
		for turn := range modes {
			i := (round + turn) % len(modes)
			c, err := modes[i].run(p, workers, l.sizes.loadTime)
			if err != nil {
				return err
			}
			seconds := l.sizes.loadTime.Seconds()
			answered[i] = append(answered[i], float64(c.answered.Load())/seconds)
			refused[i] = append(refused[i], float64(c.refused.Load())/seconds)
			lost[i] = append(lost[i], float64(c.lost.Load())/seconds)
			runtime.GC()
		}
		l.log.Printf("load: round %d", round+1)
	}
	var lines [][]string
	for i, m := range modes {
		ratios := make([]float64, l.rounds)
		for round := range ratios {
			ratios[round] = answered[i][round] / answered[0][round]
		}
		lines = append(lines, []string{
			m.name, amount(median(answered[i])), amount(100*median(ratios)) + " %", amount(median(lost[i])), amount(median(refused[i])),
		})
	}
	l.table([]string{"", "answered a second", "of no guard", "lost a second", "refused a second"}, lines)
	return nil
}

// withoutLoopback leaves out the rows that would hold the flood's addresses.
func withoutLoopback(rows []workload.Row, friend netip.Addr) (kept []workload.Row) {
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	for _, r := range rows {
		if !r.Prefix.Overlaps(loopback) || r.Prefix.Addr() == friend {
			kept = append(kept, r)
		}
	}
	return kept
}

// loadMode is what stands before the handler, and what comes in.
type loadMode struct {
	name                 string
	guard, filter, flood bool
}

// counts are what happened while a mode ran.
type counts struct{ answered, refused, lost atomic.Int64 }

// run serves, asks and floods for a while.
func (m loadMode) run(p sipacl.Partition, workers int, d time.Duration) (*counts, error) {
	c := &counts{}
	s, err := m.serve(p, workers, c)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var sockets []io.Closer
	defer func() {
		for _, s := range sockets {
			_ = s.Close()
		}
	}()
	end := time.Now().Add(d)
	var running sync.WaitGroup
	for w, to := range s.addrs {
		client, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, to)
		if err != nil {
			return nil, err
		}
		sockets = append(sockets, client)
		running.Go(func() { newClient(client, w, c).ask(end) })
		if !m.flood {
			continue
		}
		flood, err := floodSockets(w, len(s.addrs), to)
		for _, f := range flood {
			sockets = append(sockets, f)
		}
		if err != nil {
			return nil, err
		}
		running.Go(func() { sendFlood(flood, w, floodRate/len(s.addrs), end) })
	}
	running.Wait()
	return c, nil
}

// server is a sipgo server on some sockets.
type server struct {
	ua      *sipgo.UserAgent
	conns   []net.PacketConn
	addrs   []*net.UDPAddr
	serving sync.WaitGroup
}

func (m loadMode) serve(p sipacl.Partition, sockets int, c *counts) (*server, error) {
	check := p.Sources(guardedGroup)
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: check, Peers: check, Observe: func(e sipacl.Event) {
		if !e.Decision.Allowed {
			c.refused.Add(1)
		}
	}})
	var options []sip.TransportLayerOption
	if m.filter {
		options = append(options, sip.WithTransportLayerReadFilter(guard.Filter()))
	}
	ua, err := sipgo.NewUA(sipgo.WithUserAgentTransportLayerOptions(options...))
	if err != nil {
		return nil, err
	}
	srv, err := sipgo.NewServer(ua)
	if err != nil {
		return nil, err
	}
	handle := func(req *sip.Request, tx sip.ServerTransaction) {
		_ = tx.Respond(sip.NewResponseFromRequest(req, sip.StatusOK, "OK", nil))
	}
	if m.guard {
		handle = guard.Wrap(handle)
	}
	srv.OnOptions(handle)
	s := &server{ua: ua}
	for range sockets {
		conn, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			s.close()
			return nil, err
		}
		s.conns = append(s.conns, conn)
		s.addrs = append(s.addrs, conn.LocalAddr().(*net.UDPAddr))
		s.serving.Go(func() { _ = srv.ServeUDP(conn) }) // ends when the socket is closed
	}
	return s, nil
}

func (s *server) close() {
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.serving.Wait()
	_ = s.ua.Close()
}

// message is an OPTIONS request whose transaction can be changed in place.
type message struct {
	text []byte
	at   [2]int // where the digits of branch and Call-ID stand
}

const digits = 16

func newMessage(from string) *message {
	const mark = "0000000000000000"
	m := &message{text: []byte(crlf(fmt.Sprintf(`OPTIONS sip:127.0.0.1 SIP/2.0
Via: SIP/2.0/UDP %s;branch=z9hG4bK%s;rport
Max-Forwards: 70
From: <sip:load@%s>;tag=1
To: <sip:127.0.0.1>
Call-ID: %s
CSeq: 1 OPTIONS
Content-Length: 0

`, from, mark, from, mark)))}
	m.at[0] = bytes.Index(m.text, []byte(mark))
	m.at[1] = bytes.LastIndex(m.text, []byte(mark))
	return m
}

// number makes the message that of another transaction.
func (m *message) number(n uint64) []byte {
	for i := digits - 1; i >= 0; i-- {
		m.text[m.at[0]+i] = '0' + byte(n%10)
		m.text[m.at[1]+i] = '0' + byte(n%10)
		n /= 10
	}
	return m.text
}

// client keeps a window of requests in flight.
type client struct {
	conn    *net.UDPConn
	message *message
	next    uint64
	flying  [window]flight // by number modulo window
	counts  *counts
}

type flight struct {
	number uint64
	sent   time.Time
}

func newClient(conn *net.UDPConn, worker int, c *counts) *client {
	return &client{conn: conn, message: newMessage(conn.LocalAddr().String()), next: uint64(worker+1) << 40, counts: c}
}

func (c *client) ask(end time.Time) {
	for slot := range uint64(window) {
		c.send(slot)
	}
	buf := make([]byte, 2048)
	swept := time.Now()
	for now := swept; now.Before(end); now = time.Now() {
		_ = c.conn.SetReadDeadline(now.Add(patience / 4))
		n, err := c.conn.Read(buf)
		if number, ok := callID(buf[:n]); err == nil && ok && c.flying[number%window].number == number {
			c.counts.answered.Add(1)
			c.send(number % window)
		}
		if now.Sub(swept) > patience/4 {
			c.sweep(now)
			swept = now
		}
	}
}

// send sends the next request of a slot.
func (c *client) send(slot uint64) {
	c.next += window
	number := c.next/window*window + slot
	c.flying[slot] = flight{number, time.Now()}
	_, _ = c.conn.Write(c.message.number(number)) // what is not sent is not answered
}

// sweep gives up requests that were not answered and sends others.
func (c *client) sweep(now time.Time) {
	for slot := range c.flying {
		if now.Sub(c.flying[slot].sent) > patience {
			c.counts.lost.Add(1)
			c.send(uint64(slot))
		}
	}
}

// callID reads the number of the transaction from a 200 response.
func callID(response []byte) (number uint64, ok bool) {
	if !bytes.HasPrefix(response, []byte("SIP/2.0 200 ")) {
		return 0, false
	}
	_, rest, ok := bytes.Cut(response, []byte("\r\nCall-ID: "))
	if !ok || len(rest) < digits {
		return 0, false
	}
	for _, d := range rest[:digits] {
		number = number*10 + uint64(d-'0')
	}
	return number, true
}

// floodSockets opens the sockets of one worker's flooders, each on a loopback
// address of its own.
func floodSockets(worker, workers int, to *net.UDPAddr) (all []*net.UDPConn, err error) {
	r := workload.NewRand(uint64(worker))
	for range flooders / workers {
		from := net.IPv4(127, byte(1+r.N(250)), byte(r.N(256)), byte(1+r.N(250)))
		conn, err := net.DialUDP("udp", &net.UDPAddr{IP: from}, to)
		if err != nil {
			return all, err
		}
		all = append(all, conn)
	}
	return all, nil
}

// sendFlood sends at an even rate, in small bursts, and reads no answer.
func sendFlood(from []*net.UDPConn, worker, rate int, end time.Time) {
	messages := make([]*message, len(from))
	for i, c := range from {
		messages[i] = newMessage(c.LocalAddr().String())
	}
	number := uint64(worker+1) << 50
	start, sent := time.Now(), 0
	for now := start; now.Before(end); now = time.Now() {
		due := int(now.Sub(start).Seconds() * float64(rate))
		for ; sent < due; sent++ {
			i := sent % len(from)
			_, _ = from[i].Write(messages[i].number(number)) // the kernel may refuse: nobody waits for it
			number++
		}
		time.Sleep(floodBurst)
	}
}
