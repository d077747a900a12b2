package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sipacl/sipacl"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// The columns of ps_endpoints that have to do with addresses, and the table
// of named ACLs, as Asterisk has them.
var seed = []string{
	`CREATE TABLE ps_endpoints (
		id VARCHAR(255) PRIMARY KEY,
		acl VARCHAR(40), deny VARCHAR(95), permit VARCHAR(95),
		contact_acl VARCHAR(40), contact_deny VARCHAR(95), contact_permit VARCHAR(95)
	)`,
	`CREATE TABLE acltable (
		id INTEGER PRIMARY KEY,
		name VARCHAR(80), rule_order INTEGER, sense VARCHAR(6), rule VARCHAR(95)
	)`,
	`INSERT INTO acltable (name, rule_order, sense, rule) VALUES
		('roaming', 10, 'permit', '127.0.0.0/8,!127.0.0.3'),
		('roaming', 1, 'deny', '0.0.0.0/0,::/0')`,
	`INSERT INTO ps_endpoints (id, acl, deny, permit, contact_acl) VALUES
		('alice', 'office', NULL, NULL, 'office'),
		('bob', 'roaming', NULL, NULL, NULL),
		('carol', 'roaming,banned', '0.0.0.0/0,::/0', '127.0.0.2', NULL),
		('dave', NULL, NULL, NULL, NULL)`,
}

const seedConf = `; Named ACLs. An address must pass every ACL that an endpoint names.
[nobody](!)
deny=0.0.0.0/0,::/0

[office](nobody)
permit=127.0.0.1

[banned]
deny=127.0.0.66
`

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
	var tables int
	err = tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema WHERE name IN ('ps_endpoints', 'acltable')").Scan(&tables)
	if err != nil || tables > 0 {
		return err
	}
	for _, statement := range seed {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// seedFile makes acl.conf if it is not there.
func seedFile(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "acl.conf"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(seedConf)
	return errors.Join(err, f.Close())
}

// endpoint is a row of ps_endpoints, ready to be asked.
type endpoint struct {
	source   *sipacl.ACLList // where its requests may come from
	contacts *sipacl.ACLList // where it may have its calls sent; nil: anywhere
}

// loadEndpoints reads ps_endpoints. It returns every endpoint or every error.
func loadEndpoints(ctx context.Context, db *sql.DB, acls sipacl.ACLs) (map[string]endpoint, error) {
	rows, err := db.QueryContext(ctx, `SELECT id,
		coalesce(acl, ''), coalesce(deny, ''), coalesce(permit, ''),
		coalesce(contact_acl, ''), coalesce(contact_deny, ''), coalesce(contact_permit, '')
		FROM ps_endpoints`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	endpoints := map[string]endpoint{}
	var errs []error
	for rows.Next() {
		var id string
		var source, contact columns
		err := rows.Scan(&id, &source.acl, &source.deny, &source.permit, &contact.acl, &contact.deny, &contact.permit)
		if err != nil {
			return nil, err
		}
		e, err := newEndpoint(acls, source, contact)
		if err != nil {
			errs = append(errs, fmt.Errorf("endpoint %s: %w", id, err))
		}
		endpoints[id] = e
	}
	errs = append(errs, rows.Err())
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return endpoints, nil
}

func newEndpoint(acls sipacl.ACLs, source, contact columns) (e endpoint, err error) {
	// A list of nothing refuses everybody: an endpoint that may come from
	// anywhere says permit=0.0.0.0/0,::/0.
	if e.source, err = source.follow(acls); err != nil {
		return e, err
	}
	if contact != (columns{}) {
		e.contacts, err = contact.follow(acls)
	}
	return e, err
}

// columns are acl, deny and permit of an endpoint; "" is none.
type columns struct{ acl, deny, permit string }

// follow makes the list of these columns, which takes every reload.
func (c columns) follow(acls sipacl.ACLs) (*sipacl.ACLList, error) {
	var lines []string
	if c.deny != "" {
		lines = append(lines, "deny="+c.deny)
	}
	if c.permit != "" {
		lines = append(lines, "permit="+c.permit)
	}
	rules, err := sipacl.ParseACLRules(lines...)
	if err != nil {
		return nil, err
	}
	return acls.Follow(c.acl, rules...)
}
