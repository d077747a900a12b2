package main

import (
	"context"
	"database/sql"
	"fmt"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// The groups of the seeded table.
const (
	office     = 200
	testServer = 250
)

// schema is OpenSIPS's address table, once for the default partition and once
// for partition trunks.
const schema = `
CREATE TABLE %[1]s (
	id INTEGER PRIMARY KEY,
	grp SMALLINT NOT NULL DEFAULT 0,
	ip CHAR(50) NOT NULL,
	mask SMALLINT NOT NULL DEFAULT 32,
	port SMALLINT NOT NULL DEFAULT 0,
	proto CHAR(4) NOT NULL DEFAULT 'any',
	pattern CHAR(64),
	context_info CHAR(32)
)`

var seed = []string{
	fmt.Sprintf(schema, "address"),
	fmt.Sprintf(schema, "trunks"),
	`INSERT INTO address (grp, ip, mask, port, context_info) VALUES
		(250, '198.51.100.7', 32, 5060, 'TestServer'),
		(200, '203.0.113.0', 24, 0, 'OfficeSubnet'),
		(200, '127.0.0.1', 32, 0, 'ThisMachine')`,
	`INSERT INTO trunks (grp, ip, mask, port, proto, context_info) VALUES
		(1, '192.0.2.0', 24, 5060, 'udp', 'ExampleCarrier')`,
}

// openStore opens the SQLite file and seeds it if it has no tables.
func openStore(ctx context.Context, file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", "file:"+file+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return nil, err
	}
	if err := seedStore(ctx, db); err != nil {
		db.Close()
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return db, nil
}

func seedStore(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	for _, set := range []struct {
		table      string
		statements []string
	}{{"address", seed}, {"grp", groupSeed}} {
		if err := seedTables(ctx, tx, set.table, set.statements); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// seedTables runs the statements unless there is a table of that name.
func seedTables(ctx context.Context, tx *sql.Tx, table string, statements []string) error {
	var tables int
	err := tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name = ?", table).Scan(&tables)
	if err != nil || tables > 0 {
		return err
	}
	for _, statement := range statements {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
