package sipacl_test

import (
	"context"
	"log"
	"testing/fstest"

	"github.com/sipacl/sipacl"
)

// partitionOf is a partition of rows in memory.
func partitionOf(rows ...sipacl.AddressRow) sipacl.Partition {
	p, err := sipacl.NewPartition(context.Background(), sipacl.Rows(rows...))
	if err != nil {
		log.Fatal(err)
	}
	return p
}

// rulesOf are the rules of an allow and a deny file.
func rulesOf(allow, deny string) sipacl.Rules {
	r, err := sipacl.NewRules(context.Background(), sipacl.RulesConfig{FS: fstest.MapFS{
		"permissions.allow": {Data: []byte(allow)}, "permissions.deny": {Data: []byte(deny)},
	}})
	if err != nil {
		log.Fatal(err)
	}
	return r
}
