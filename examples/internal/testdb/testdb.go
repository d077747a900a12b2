// Package testdb gives tests an empty database of each kind: a schema, a
// database or a file of their own that goes away with the test.
package testdb

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/sipacl/sipacl/examples/internal/need"
)

// PostgreSQL opens an empty schema of the server in SIPACL_POSTGRES, by
// default the local one. It also returns the DSN, for a connection besides.
func PostgreSQL(t *testing.T) (*sql.DB, string) {
	dsn := fromEnv("SIPACL_POSTGRES", "postgres://postgres@127.0.0.1:5432/postgres?sslmode=disable")
	name := unique()
	admin := open(t, "pgx", dsn, "PostgreSQL")
	exec(t, admin, "CREATE SCHEMA "+name)
	t.Cleanup(func() { exec(t, admin, "DROP SCHEMA "+name+" CASCADE") })
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", name)
	u.RawQuery = q.Encode()
	return open(t, "pgx", u.String(), "PostgreSQL"), u.String()
}

// MariaDB opens an empty database of the server in SIPACL_MARIADB, by default
// the local one.
func MariaDB(t *testing.T) (*sql.DB, string) {
	dsn := fromEnv("SIPACL_MARIADB", "root@tcp(127.0.0.1:3306)/")
	name := unique()
	admin := open(t, "mysql", dsn, "MariaDB")
	exec(t, admin, "CREATE DATABASE "+name)
	t.Cleanup(func() { exec(t, admin, "DROP DATABASE "+name) })
	return open(t, "mysql", dsn+name, "MariaDB"), dsn + name
}

// SQLite opens a file of its own.
func SQLite(t *testing.T) (*sql.DB, string) {
	dsn := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_pragma=busy_timeout(5000)"
	return open(t, "sqlite", dsn, "SQLite"), dsn
}

func fromEnv(name, def string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return def
}

func unique() string { return fmt.Sprintf("sipacl_test_%x", rand.Uint64()) }

// open skips t where no server answers.
func open(t *testing.T, driver, dsn, product string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		need.Missing(t, "no %s: %v", product, err)
	}
	return db
}

func exec(t *testing.T, db *sql.DB, statement string) {
	t.Helper()
	_, err := db.Exec(statement)
	require.NoError(t, err, statement)
}
