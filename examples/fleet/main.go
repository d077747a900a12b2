// Command fleet shows servers that share one database and learn of a change
// within a second.
//
//	go run ./examples/fleet -postgres postgres://postgres@127.0.0.1:5432/postgres
//	go run ./examples/fleet -mariadb 'root@tcp(127.0.0.1:3306)/test'
//
// It makes a table sipacl_fleet, starts three servers on it, adds and removes
// an address a few times, and prints how long each server took to know. With
// PostgreSQL a trigger on the table wakes the servers (NOTIFY); with MariaDB
// they ask a version query, kept by triggers, ten times a second.
package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/sipacl/sipacl"
)

func main() {
	postgres := flag.String("postgres", "", "`DSN` of a PostgreSQL database")
	mariadb := flag.String("mariadb", "", "`DSN` of a MariaDB database")
	rounds := flag.Int("rounds", 5, "changes to make")
	flag.Parse()
	err := fmt.Errorf("want -postgres or -mariadb")
	switch {
	case *postgres != "":
		err = demonstrate(context.Background(), os.Stdout, postgresFleet(*postgres), *rounds)
	case *mariadb != "":
		err = demonstrate(context.Background(), os.Stdout, mariadbFleet(*mariadb), *rounds)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// fleet is how servers on one kind of database share it.
type fleet struct {
	driver, dsn string
	setup       []string // makes the table, and what tells of its changes
	remove      []string
	source      sipacl.SQLAddresses // without its DB
	run         sipacl.RunConfig
	listen      func(ctx context.Context, wake chan<- struct{}) error // nil: the servers poll
}

// demonstrate runs three servers and writes how long changes took.
func demonstrate(ctx context.Context, w io.Writer, f fleet, rounds int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	db, err := sql.Open(f.driver, f.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	if err := execAll(ctx, db, append(f.remove, f.setup...)); err != nil {
		return err
	}
	// A row that stays: Run does not take a table that has lost all of them.
	if _, err := db.ExecContext(ctx, "INSERT INTO sipacl_fleet (grp, ip) VALUES (1, '198.51.100.7')"); err != nil {
		return err
	}
	defer execAll(context.WithoutCancel(ctx), db, f.remove)

	var servers []*server
	for range 3 {
		s, err := f.start(ctx)
		if err != nil {
			return err
		}
		defer s.close()
		servers = append(servers, s)
	}
	for i := range rounds {
		statement, want := "INSERT INTO sipacl_fleet (grp, ip) VALUES (1, '192.0.2.1')", true
		if i%2 == 1 {
			statement, want = "DELETE FROM sipacl_fleet WHERE ip = '192.0.2.1'", false
		}
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
		took, err := await(ctx, servers, want)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "change %d is in force after %v\n", i+1, took)
	}
	return nil
}

func execAll(ctx context.Context, db *sql.DB, statements []string) error {
	for _, q := range statements {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return fmt.Errorf("%w in %s", err, q)
		}
	}
	return nil
}

// await returns how long each server took to answer as wanted.
func await(ctx context.Context, servers []*server, want bool) (took []time.Duration, err error) {
	began := time.Now()
	took = make([]time.Duration, len(servers))
	for left := len(servers); left > 0; time.Sleep(time.Millisecond) {
		for i, s := range servers {
			if took[i] == 0 && s.allows("192.0.2.1") == want {
				took[i] = time.Since(began).Round(time.Millisecond)
				left--
			}
		}
		if time.Since(began) > 10*time.Second {
			return nil, fmt.Errorf("after ten seconds only some servers know: %v", took)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return took, nil
}

// server stands for a SIP server: it has a pool of its own and watches.
type server struct {
	db   *sql.DB
	part sipacl.Partition
	stop func()
}

func (f fleet) start(ctx context.Context) (*server, error) {
	db, err := sql.Open(f.driver, f.dsn)
	if err != nil {
		return nil, err
	}
	src := f.source
	src.DB, src.Table = db, "sipacl_fleet"
	part, err := sipacl.NewPartition(ctx, src)
	if err != nil {
		db.Close()
		return nil, err
	}
	return &server{db, part, f.watch(ctx, part)}, nil
}

// watch keeps part fresh until the returned function is called.
func (f fleet) watch(ctx context.Context, part sipacl.Partition) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{}, 2)
	wake := make(chan struct{}, 1)
	run := f.run
	run.Trigger = wake
	work := []func(){func() { _ = part.Run(ctx, run) }}
	if f.listen != nil {
		work = append(work, func() { listenForever(ctx, f.listen, wake) })
	}
	for _, do := range work {
		go func() {
			do()
			ended <- struct{}{}
		}()
	}
	return func() {
		cancel()
		for range work {
			<-ended
		}
	}
}

// listenForever listens again when the connection is lost. The poll of Run
// finds what was missed meanwhile.
func listenForever(ctx context.Context, listen func(context.Context, chan<- struct{}) error, wake chan<- struct{}) {
	for ctx.Err() == nil {
		if err := listen(ctx, wake); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "fleet: listen:", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second):
			}
		}
	}
}

func (s *server) allows(addr string) bool {
	return s.part.Current().CheckAddress(sipacl.Query{Group: 1, Addr: netip.MustParseAddr(addr)}).Allowed
}

func (s *server) close() {
	s.stop()
	s.db.Close()
}
