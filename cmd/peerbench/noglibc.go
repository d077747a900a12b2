//go:build !cgo || !linux || noglibc

package main

import "github.com/sipacl/sipacl/internal/tests/workload"

// withoutC is what the report says of peers written in C that are not there.
const withoutC = " (not measured: built without cgo or the GNU C library)"

func cFnmatch([]string, []string) func(answers []int32) { return nil }

func cRules([]workload.Rule, []workload.Pair) (func(answers []int32), error) { return nil, nil }
