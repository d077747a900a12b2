// Command ping sends one SIP request and prints the answer.
//
//	go run ./examples/ping -from 127.0.0.2 127.0.0.1:5060
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
)

func main() {
	from := flag.String("from", "127.0.0.1", "`address` of this machine to send from")
	method := flag.String("method", "OPTIONS", "SIP `method`")
	transport := flag.String("transport", "udp", "udp or tcp")
	wait := flag.Duration("wait", 3*time.Second, "how long to wait for the answer")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: ping [flags] host:port")
		os.Exit(2)
	}
	sip.SetDefaultLogger(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(context.Background(), *wait)
	defer cancel()
	if err := ping(ctx, os.Stdout, *from, *method, *transport, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "ping:", err)
		os.Exit(1)
	}
}

// ping sends the request to a server and writes the first line of its answer.
func ping(ctx context.Context, w io.Writer, from, method, transport, server string) error {
	var uri sip.Uri
	if err := sip.ParseUri("sip:ping@"+server, &uri); err != nil {
		return err
	}
	ua, err := sipgo.NewUA(sipgo.WithUserAgent("ping"))
	if err != nil {
		return err
	}
	defer ua.Close()
	client, err := sipgo.NewClient(ua, sipgo.WithClientHostname(from), sipgo.WithClientConnectionAddr(from+":0"))
	if err != nil {
		return err
	}
	req := sip.NewRequest(sip.RequestMethod(strings.ToUpper(method)), uri)
	req.SetTransport(strings.ToUpper(transport))
	req.SetDestination(server)
	res, err := client.Do(ctx, req)
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", server, err)
	}
	_, err = fmt.Fprintf(w, "%s -> %s: %d %s\n", from, server, res.StatusCode, res.Reason)
	return err
}
