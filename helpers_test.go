package sipacl

import (
	"context"
	"errors"
	"io/fs"
)

// What tests make in one line. A mistake in a test panics.

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func mustPartition(rows ...AddressRow) Partition {
	return must(NewPartition(context.Background(), Rows(rows...)))
}

func mustRules(allow, deny string) Rules {
	return must(NewRules(context.Background(), RulesConfig{FS: memFS{"permissions.allow": allow, "permissions.deny": deny}}))
}

func mustACL(name string, lines ...string) *ACL {
	return must(NewACL(name, must(ParseACLRules(lines...))...))
}

// newTable builds a table that is in service nowhere.
func newTable(sources ...AddressSource) (*Table, error) {
	l, err := loadTable(context.Background(), nil, sources, nil)
	if err != nil {
		return nil, err
	}
	return l.gen.(*Table), nil
}

// loadRulesOf loads a rule set that is in service nowhere.
func loadRulesOf(cfg RulesConfig) (*RuleSet, error) {
	rs, errs := loadRuleSet(cfg.withDefaults(), nil)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return rs, nil
}

// memFS holds files in memory.
type memFS map[string]string

func (m memFS) ReadFile(name string) ([]byte, error) {
	text, ok := m[name]
	if !ok {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fs.ErrNotExist}
	}
	return []byte(text), nil
}

func (m memFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: errors.ErrUnsupported}
}

// newPartition loads one partition that stands alone.
func newPartition(ctx context.Context, cfg PartitionConfig) (Partition, error) {
	perm, err := Open(ctx, Config{Partitions: []PartitionConfig{cfg}})
	if err != nil {
		return Partition{}, err
	}
	return perm.partitions[0], nil
}

// newACLSet builds a set that is in service nowhere.
func newACLSet(sources ...ACLSource) (*ACLSet, error) {
	l, err := loadACLSet(context.Background(), nil, sources)
	if err != nil {
		return nil, err
	}
	return l.gen.(*ACLSet), nil
}

// traced is the trace of a question.
func traced(ask func(*Trace)) (t Trace) {
	ask(&t)
	return t
}

// loadErrors are the LoadErrors among the errors joined in err.
func loadErrors(err error) (found []*LoadError) {
	switch e := err.(type) {
	case *LoadError:
		return []*LoadError{e}
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			found = append(found, loadErrors(e)...)
		}
	case interface{ Unwrap() error }:
		return loadErrors(e.Unwrap())
	}
	return found
}
