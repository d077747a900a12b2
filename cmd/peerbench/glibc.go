//go:build cgo && linux && !noglibc

package main

/*
#define _GNU_SOURCE
#include <fnmatch.h>
#include <regex.h>
#include <stdint.h>
#include <stdlib.h>

// A side of a rule: it matches a text if one of any does, or if there is none
// of any, and none of except does.
typedef struct {
	regex_t *any, *except;
	int n_any, n_except;
} side;

typedef struct { side left, right; } rule;

static int one_of(const regex_t *e, int n, const char *text) {
	for (int i = 0; i < n; i++)
		if (regexec(&e[i], text, 0, NULL, 0) == 0)
			return 1;
	return 0;
}

static int side_matches(const side *s, const char *text) {
	return (s->n_any == 0 || one_of(s->any, s->n_any, text)) && !one_of(s->except, s->n_except, text);
}

// find gives for each question the first rule that matches, -1 if none does.
static void find(const rule *rules, int n_rules, char **left, char **right, int32_t *answers, int n) {
	for (int i = 0; i < n; i++) {
		answers[i] = -1;
		for (int r = 0; r < n_rules; r++)
			if (side_matches(&rules[r].left, left[i]) && side_matches(&rules[r].right, right[i])) {
				answers[i] = r;
				break;
			}
	}
}

static regex_t *expressions(int n) { return calloc(n ? n : 1, sizeof(regex_t)); }

static int compile(regex_t *into, int i, const char *text) {
	return regcomp(&into[i], text, REG_EXTENDED | REG_ICASE | REG_NOSUB);
}

// match asks pattern i, in turns, for a subject that changes with each turn.
static void match(char **patterns, int n_patterns, char **subjects, int n_subjects, int32_t *answers, int n) {
	for (int i = 0; i < n; i++)
		answers[i] = fnmatch(patterns[i % n_patterns], subjects[i / n_patterns % n_subjects], FNM_PERIOD) == 0 ? 1 : -1;
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	"github.com/sipacl/sipacl/internal/tests/workload"
)

// withoutC is what the report says of peers written in C that are not there.
const withoutC = ""

// cStrings are texts in the memory of C. They are never freed: there are few,
// and the process ends.
func cStrings(texts []string) **C.char {
	p := (**C.char)(C.malloc(C.size_t(max(1, len(texts))) * C.size_t(unsafe.Sizeof((*C.char)(nil)))))
	for i, s := range texts {
		unsafe.Slice(p, len(texts))[i] = C.CString(s)
	}
	return p
}

// cFnmatch asks fnmatch(3): question i is of pattern i, in turns, and of a
// subject that changes with each turn.
func cFnmatch(patterns, subjects []string) func(answers []int32) {
	p, s := cStrings(patterns), cStrings(subjects)
	return func(answers []int32) {
		C.match(p, C.int(len(patterns)), s, C.int(len(subjects)), (*C.int32_t)(&answers[0]), C.int(len(answers)))
	}
}

// cRules asks regexec(3), one expression after the other, for the first rule
// that matches.
func cRules(rules []workload.Rule, pairs []workload.Pair) (func(answers []int32), error) {
	all := (*C.rule)(C.calloc(C.size_t(max(1, len(rules))), C.sizeof_rule))
	for i, r := range rules {
		c := &unsafe.Slice(all, len(rules))[i]
		for _, x := range []struct {
			texts []string
			into  **C.regex_t
			n     *C.int
		}{
			{r.Left, &c.left.any, &c.left.n_any}, {r.LeftExcept, &c.left.except, &c.left.n_except},
			{r.Right, &c.right.any, &c.right.n_any}, {r.RightExcept, &c.right.except, &c.right.n_except},
		} {
			var err error
			if *x.into, err = cCompile(x.texts); err != nil {
				return nil, err
			}
			*x.n = C.int(len(x.texts))
		}
	}
	left, right := make([]string, len(pairs)), make([]string, len(pairs))
	for i, p := range pairs {
		left[i], right[i] = p.From, p.To
	}
	l, r := cStrings(left), cStrings(right)
	return func(answers []int32) {
		C.find(all, C.int(len(rules)), l, r, (*C.int32_t)(&answers[0]), C.int(len(answers)))
	}, nil
}

func cCompile(texts []string) (*C.regex_t, error) {
	into := C.expressions(C.int(len(texts)))
	for i, s := range texts {
		text := C.CString(s)
		code := C.compile(into, C.int(i), text)
		C.free(unsafe.Pointer(text))
		if code != 0 {
			return nil, fmt.Errorf("regcomp %q: error %d", s, code)
		}
	}
	return into, nil
}
