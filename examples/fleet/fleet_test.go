package main

import (
	"bytes"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sipacl/sipacl/examples/internal/testdb"
)

// withinASecond runs a fleet and wants every change in force in time.
func withinASecond(t *testing.T, f fleet) {
	var out bytes.Buffer
	require.NoError(t, demonstrate(t.Context(), &out, f, 6))
	t.Log("\n" + out.String())
	took := regexp.MustCompile(`\d[\d.]*m?s\b`).FindAllString(out.String(), -1)
	require.Len(t, took, 18, "six changes in three servers:\n%s", &out)
	for _, s := range took {
		d, err := time.ParseDuration(s)
		require.NoError(t, err)
		require.Less(t, d, time.Second)
	}
}

func TestPostgresFleetLearnsWithinASecond(t *testing.T) {
	_, dsn := testdb.PostgreSQL(t)
	withinASecond(t, postgresFleet(dsn))
}

func TestMariaDBFleetLearnsWithinASecond(t *testing.T) {
	_, dsn := testdb.MariaDB(t)
	withinASecond(t, mariadbFleet(dsn))
}
