// Command endpoints is a SIP server whose endpoints may come from certain
// addresses only: each names ACLs, or has rules of its own, in a table like
// Asterisk's ps_endpoints. The ACLs stand in an acl.conf and in a realtime
// table.
//
//	go run ./examples/endpoints
//
// It listens on 127.0.0.1:5070, UDP and TCP, and keeps its tables in an SQLite
// file that it creates and seeds on first start, as it does with acl.conf.
// SIGHUP reads files and tables again, without a pause in service.
//
// Who an endpoint is, the From header says here, and anybody can write one: a
// real server asks for a password too. What it then knows of the caller's
// address, it knows as here.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	var cfg config
	flag.StringVar(&cfg.listen, "listen", "127.0.0.1:5070", "`address` to listen on, UDP and TCP")
	flag.StringVar(&cfg.db, "db", "endpoints.db", "SQLite `file` with the endpoints and ACLs, made if it is not there")
	flag.StringVar(&cfg.dir, "dir", ".", "`folder` of acl.conf, which is made if it is not there")
	flag.Parse()
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "endpoints:", err)
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
			s.reload(ctx) // says itself what went wrong
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}
