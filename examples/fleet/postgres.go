package main

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/sipacl/sipacl"
)

// postgresFleet is woken by NOTIFY: once a statement, from a trigger.
func postgresFleet(dsn string) fleet {
	return fleet{
		driver: "pgx", dsn: dsn,
		setup: []string{
			`CREATE TABLE sipacl_fleet (
				id SERIAL PRIMARY KEY,
				grp SMALLINT DEFAULT 0 NOT NULL,
				ip VARCHAR(50) NOT NULL,
				mask SMALLINT DEFAULT 32 NOT NULL,
				port SMALLINT DEFAULT 0 NOT NULL,
				proto VARCHAR(4) DEFAULT 'any' NOT NULL,
				pattern VARCHAR(64),
				context_info VARCHAR(32)
			)`,
			`CREATE FUNCTION sipacl_fleet_changed() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN PERFORM pg_notify('sipacl_fleet', ''); RETURN NULL; END $$`,
			`CREATE TRIGGER changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON sipacl_fleet
				FOR EACH STATEMENT EXECUTE FUNCTION sipacl_fleet_changed()`,
		},
		remove: []string{
			"DROP TABLE IF EXISTS sipacl_fleet",
			"DROP FUNCTION IF EXISTS sipacl_fleet_changed()",
		},
		source: postgresSource(),
		run:    sipacl.RunConfig{Interval: 10 * time.Second}, // for what a lost connection missed
		listen: func(ctx context.Context, wake chan<- struct{}) error { return listen(ctx, dsn, wake) },
	}
}

func postgresSource() sipacl.SQLAddresses {
	src := sipacl.OpenSIPSAddresses(nil)
	src.Dialect = sipacl.PostgreSQL
	return src
}

// listen wakes Run at each notification, and once when it listens, for what
// changed before.
func listen(ctx context.Context, dsn string, wake chan<- struct{}) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN sipacl_fleet"); err != nil {
		return err
	}
	for {
		select {
		case wake <- struct{}{}:
		default: // it will look anyway
		}
		if _, err := conn.WaitForNotification(ctx); err != nil {
			return err
		}
	}
}
