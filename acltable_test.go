package sipacl

import (
	"database/sql"
	"encoding/json"
	"strings"
	"testing"

	"github.com/sipacl/sipacl/internal/tests/fakedb"
)

// fakeACLs is a database with tables "acls" and "acltable" of these rows.
// Columns that a row lacks are NULL, and letter case does not matter.
func fakeACLs(t *testing.T, columns []string, rows []map[string]any) *sql.DB {
	db := fakedb.Open(t)
	var lower []string
	for _, c := range columns {
		lower = append(lower, strings.ToLower(c))
	}
	var cells [][]any
	for _, row := range rows {
		values := make([]any, len(columns))
		for name, v := range row {
			for i, c := range lower {
				if strings.EqualFold(name, c) {
					values[i] = aclCell(v)
				}
			}
		}
		cells = append(cells, values)
	}
	db.Set("acls", lower, cells...)
	db.Set("acltable", lower, cells...)
	return db.SQL()
}

// aclCell is a recorded value as a driver gives it.
func aclCell(v any) any {
	n, ok := v.(json.Number)
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	return n.String()
}
