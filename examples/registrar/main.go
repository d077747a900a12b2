// Command registrar is a SIP registrar that nobody can register a gateway's
// address with.
//
//	go run ./examples/registrar -protect 192.0.2.0/24
//
// It listens on 127.0.0.1:5060, UDP and TCP, and keeps bindings in memory. A
// REGISTER passes two checks: its Contacts lead to no protected address in any
// spelling, and register.allow and register.deny in -rules allow them. SIGHUP
// reads the rule files again.
//
// It asks for no password. A registrar that faces others must check digest
// credentials before it believes what To says.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	var cfg config
	prefixes(&cfg.protect, "protect", "192.0.2.0/24", "comma-separated `prefixes` that nobody registers")
	prefixes(&cfg.special, "special", "", "comma-separated `prefixes` that may register though loopback or link-local, as 127.0.0.0/8")
	flag.StringVar(&cfg.listen, "listen", "127.0.0.1:5060", "`address` to listen on, UDP and TCP")
	flag.StringVar(&cfg.rules, "rules", ".", "`directory` with register.allow and register.deny; they may be missing")
	flag.Parse()
	cfg.log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "registrar:", err)
		os.Exit(1)
	}
}

// prefixes defines a flag that is a list of prefixes.
func prefixes(into *[]netip.Prefix, name, list, usage string) {
	read := func(list string) error {
		*into = nil
		for text := range strings.FieldsFuncSeq(list, func(c rune) bool { return c == ',' || c == ' ' }) {
			prefix, err := netip.ParsePrefix(text)
			if err != nil {
				return err
			}
			*into = append(*into, prefix)
		}
		return nil
	}
	flag.Func(name, usage+" (default \""+list+"\")", read)
	_ = read(list) // a default is right
}

func run(cfg config) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := start(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.close()
	fmt.Printf("listening on %s, UDP and TCP; protected are %v\n", r.addr, cfg.protect)

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	for {
		select {
		case <-hangup:
			_, _ = r.rules.Reload(ctx) // logged by the library; on error the rules in service stay
		case err := <-r.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
