// Command proxy is a stateful SIP proxy that lets in whom an address table
// lists, and says why for every answer.
//
//	go run ./examples/proxy
//
// It listens on 127.0.0.1:5060, UDP and TCP, and keeps its tables in an
// SQLite file that it creates and seeds on first start. Requests for itself
// are answered by a built-in user agent, or go to -target; requests for
// others are forwarded to their Request-URI. SIGHUP reads the tables again.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	var cfg config
	flag.StringVar(&cfg.listen, "listen", "127.0.0.1:5060", "`address` to listen on, UDP and TCP")
	flag.StringVar(&cfg.db, "db", "proxy.db", "SQLite `file` with the address tables, made if it is not there")
	flag.StringVar(&cfg.target, "target", "", "`host:port` that gets the requests for this proxy, instead of the built-in user agent")
	flag.StringVar(&cfg.rules, "rules", "", "`directory` with permissions.allow and .deny, and refer.allow and .deny for Refer-To; they may be missing; without the flag it does not dial +1900")
	flag.StringVar(&cfg.also, "also", "", "comma-separated `host:port`s that are tried for the requests for this proxy, in order, when -target refuses them")
	flag.BoolVar(&cfg.drop, "drop", false, "do not answer refused requests")
	flag.Parse()
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

func run(cfg config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg.log = os.Stdout
	s, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	defer s.close()
	fmt.Print(s.greeting(os.Getpid()))

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	for {
		select {
		case <-hangup:
			s.reload(ctx)
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// greeting tells what listens, who is in which group, and how to try it.
func (s *server) greeting(pid int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "listening on %s, UDP and TCP, as process %d\n", s.addr, pid)
	for p := range s.perm.Partitions() {
		fmt.Fprintf(&b, "%s:\n", p.Name())
		for r := range p.Current().Rows() {
			fmt.Fprintf(&b, "  %-60s %q\n", r, r.Info)
		}
	}
	fmt.Fprintf(&b, "\nlet in are groups %d and %d, and whoever is in partition trunks. Try it:\n\n", office, testServer)
	for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
		fmt.Fprintf(&b, "  %s\n", s.command(from))
	}
	b.WriteString("\nThe first is answered 200 OK, the second 403 Forbidden.\n\n")
	fmt.Fprintf(&b, "calls to numbers with 0 need credentials of realm %s and group %s: alice, wonderland;\n", realm, ld)
	fmt.Fprintf(&b, "with 00 or + class %d as well: carol, christmas\n\n", international)
	return b.String()
}

// command is a line for a shell, at the root of the repository, that sends a
// request from an address.
func (s *server) command(from string) string {
	return fmt.Sprintf("go run ./examples/ping -from %s %s", from, s.addr)
}
