package main

import (
	"time"

	"github.com/sipacl/sipacl"
)

// mariadbFleet asks a version ten times a second: one row, counted up by
// triggers on the table. TRUNCATE fires no triggers in MariaDB: empty the table
// with DELETE, or update the version by hand.
func mariadbFleet(dsn string) fleet {
	src := sipacl.OpenSIPSAddresses(nil)
	src.Dialect = sipacl.MySQL
	src.VersionQuery = "SELECT version FROM sipacl_fleet_version"
	f := fleet{
		driver: "mysql", dsn: dsn,
		setup: []string{
			`CREATE TABLE sipacl_fleet (
				id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
				grp SMALLINT UNSIGNED DEFAULT 0 NOT NULL,
				ip CHAR(50) NOT NULL,
				mask TINYINT DEFAULT 32 NOT NULL,
				port SMALLINT UNSIGNED DEFAULT 0 NOT NULL,
				proto CHAR(4) DEFAULT 'any' NOT NULL,
				pattern CHAR(64),
				context_info CHAR(32)
			)`,
			"CREATE TABLE sipacl_fleet_version (version BIGINT UNSIGNED NOT NULL)",
			"INSERT INTO sipacl_fleet_version VALUES (0)",
		},
		remove: []string{
			"DROP TABLE IF EXISTS sipacl_fleet",
			"DROP TABLE IF EXISTS sipacl_fleet_version",
		},
		source: src,
		run:    sipacl.RunConfig{Interval: 100 * time.Millisecond, Settle: 50 * time.Millisecond, MaxPause: 5 * time.Second},
	}
	for _, event := range []string{"INSERT", "UPDATE", "DELETE"} {
		f.setup = append(f.setup, "CREATE TRIGGER sipacl_fleet_"+event+" AFTER "+event+
			" ON sipacl_fleet FOR EACH ROW UPDATE sipacl_fleet_version SET version = version + 1")
	}
	return f
}
