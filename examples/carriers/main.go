// Command carriers is a SIP server that answers the addresses in the table
// carriers(name, cidr) and refuses all others.
//
//	go run ./examples/carriers
//
// It listens on 127.0.0.1:5060, UDP, and prints two commands to try it. The
// table is an SQLite database in memory.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/emiago/sipgo"
	"github.com/emiago/sipgo/sip"
	"github.com/sipacl/sipacl"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

const listen = "127.0.0.1:5060"

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal("carriers: ", err)
	}
}

func run(ctx context.Context) error {
	db, err := openCarriers(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	ua, err := sipgo.NewUA()
	if err != nil {
		return err
	}
	defer ua.Close()
	srv, err := sipgo.NewServer(ua)
	if err != nil {
		return err
	}
	if err := guardCalls(ctx, db, srv); err != nil {
		return err
	}
	fmt.Printf("listening on %s. The first of these is answered 200, the second 403:\n\n", listen)
	for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
		fmt.Printf("  go run ./examples/ping -from %s %s\n", from, listen)
	}
	return srv.ListenAndServe(ctx, "udp", listen)
}

// openCarriers makes the table. All of it lives in one connection.
func openCarriers(ctx context.Context) (*sql.DB, error) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	_, err = db.ExecContext(ctx, `
		CREATE TABLE carriers (name TEXT NOT NULL, cidr TEXT NOT NULL);
		INSERT INTO carriers VALUES ('This machine', '127.0.0.1'), ('Example Carrier', '192.0.2.0/24')`)
	if err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

// guardCalls has srv answer the carriers in the table.
func guardCalls(ctx context.Context, db *sql.DB, srv *sipgo.Server) error {
	carriers, err := sipacl.NewPartition(ctx, sipacl.SQLAddresses{
		SQL:   sipacl.SQL{DB: db, Query: "SELECT name, cidr FROM carriers"},
		IPCol: "cidr", InfoCol: "name",
	})
	if err != nil {
		return err // every bad row, by number, column and value
	}
	guard := sipacl.NewGuard(sipacl.GuardConfig{Check: carriers.AnySource()})
	answer := guard.Handle(func(r sipacl.Request, tx sip.ServerTransaction, d sipacl.Decision) {
		log.Printf("%s from %s", r.Method, d.Info) // the name of the carrier
		_ = tx.Respond(sip.NewResponseFromRequest(r.Request, sip.StatusOK, "OK", nil))
	})
	srv.OnInvite(answer)
	srv.OnNoRoute(answer)                                               // every other method
	srv.OnAck(guard.Wrap(func(*sip.Request, sip.ServerTransaction) {})) // an ACK is not answered
	go carriers.Run(ctx, sipacl.RunConfig{})                            // a changed table is in service within 30 s
	return nil
}
