package conformance

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

type modelRule struct{ left, right modelSide }

type modelSide struct {
	all         bool
	any, except []*naiveERE
}

func (m *ruleModel) compile(text string) *naiveERE {
	if e, ok := m.compiled[text]; ok {
		return e
	}
	var e *naiveERE
	if ok, known := m.verdicts[text]; ok || !known {
		if x, err := parseNaive(text); err == nil {
			e = &x
		}
	}
	m.compiled[text] = e
	return e
}

// file reads a file as the originals do: what is broken is dropped.
func (m *ruleModel) file(text *string, on ruleSwitches) (rules []modelRule) {
	if text == nil {
		return nil
	}
	key := fmt.Sprint(on["rule-crlf"], on["rule-except"], on["rule-long"], " ", *text)
	if rules, ok := m.files[key]; ok {
		return rules
	}
	src := *text
	if on["rule-crlf"] {
		src = strings.TrimPrefix(src, "\ufeff")
	}
	for src != "" {
		var line string
		line, src = cutRuleLine(src, on["rule-long"])
		if on["rule-crlf"] {
			line = strings.TrimSuffix(line, "\r")
		}
		if r, ok := m.line(line, on); ok {
			rules = append(rules, r)
		}
	}
	m.files[key] = rules
	return rules
}

// cutRuleLine takes the next line. The original takes 499 bytes of a long one.
func cutRuleLine(src string, long bool) (line, rest string) {
	n := strings.IndexByte(src, '\n') + 1
	if n == 0 {
		n = len(src)
	}
	if n > 499 && !long {
		n = 499
	}
	return strings.TrimSuffix(src[:n], "\n"), src[n:]
}

func (m *ruleModel) line(line string, on ruleSwitches) (r modelRule, ok bool) {
	quoted, colon, end := false, -1, len(line)
scan:
	for i := range len(line) {
		switch c := line[i]; {
		case c == 0 || c == '#' && !quoted:
			end = i
			break scan
		case c == '"':
			quoted = !quoted
		case c == ':' && !quoted:
			colon = i
		}
	}
	if colon <= 0 || colon+1 >= end {
		return r, false
	}
	left, lok := m.side(line[:colon], on)
	right, rok := m.side(line[colon+1:end], on)
	return modelRule{left, right}, lok && rok
}

func (m *ruleModel) side(s string, on ruleSwitches) (side modelSide, ok bool) {
	head := s
	if i := exceptAt(s, on["rule-except"]); i >= 0 {
		head = s[:i]
		if side.except, ok = m.list(s[i+len(" EXCEPT "):], on["rule-long"]); !ok {
			return side, false
		}
	}
	head = strings.Trim(head, " \t\n\v\f\r")
	if head == "ALL" {
		side.all = true
		return side, true
	}
	side.any, ok = m.list(head, on["rule-long"])
	return side, ok
}

var lintExcept = regexp.MustCompile(`^[ \t]EXCEPT[ \t]`)

// exceptAt finds " EXCEPT ": anywhere, or as a word outside quotes.
func exceptAt(s string, word bool) int {
	if !word {
		return strings.Index(s, " EXCEPT ")
	}
	quoted := false
	for i := range len(s) {
		if s[i] == '"' {
			quoted = !quoted
		}
		if !quoted && lintExcept.MatchString(s[i:]) {
			return i
		}
	}
	return -1
}

// list reads expressions. The original takes none that is long.
func (m *ruleModel) list(s string, long bool) (list []*naiveERE, ok bool) {
	quoted, start := false, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] == '"' {
			quoted = !quoted
		}
		if i < len(s) && (quoted || s[i] != ',') {
			continue
		}
		e := strings.TrimPrefix(strings.TrimLeft(s[start:i], " \t"), `"`)
		e = strings.TrimSuffix(strings.TrimRight(e, " \t"), `"`)
		start = i + 1
		if e == "" || len(e) > 255 && !long {
			return nil, false
		}
		x := m.compile(e)
		if x == nil {
			return nil, false
		}
		list = append(list, x)
	}
	return list, true
}

func (s modelSide) matches(text string) bool {
	in := func(list []*naiveERE) bool {
		return slices.ContainsFunc(list, func(e *naiveERE) bool { return e.MatchString(text) })
	}
	return (s.all || in(s.any)) && !in(s.except)
}

// lint gives the lines of a file that the library must refuse, each with the
// decision that refuses it. It reads lines by one pattern, not by a grammar.
func (m *ruleModel) lint(text *string) map[int]string {
	bad := map[int]string{}
	if text == nil {
		return bad
	}
	src := strings.TrimPrefix(*text, "\ufeff")
	n := 0
	for line := range strings.Lines(src) {
		n++
		if id := m.lintLine(strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")); id != "" {
			bad[n] = id
		}
	}
	return bad
}

const (
	lintExpr = `("[^"]+"|[^" \t,:#]+)`
	lintList = lintExpr + `([ \t]*,[ \t]*` + lintExpr + `)*`
	lintSide = `[ \t]*` + lintList + `([ \t]+EXCEPT[ \t]+` + lintList + `)?[ \t]*`
)

var (
	lintLine    = regexp.MustCompile(`^` + lintSide + `:` + lintSide + `$`)
	lintWord    = regexp.MustCompile(`"[^"]*"?|[^" \t,:]+|[,:]`)
	lintComment = regexp.MustCompile(`^((?:[^"#]|"[^"]*"|"[^"]*$)*)`)
)

var (
	lintControl = regexp.MustCompile(`[\x00-\x08\x0a-\x1f\x7f]`)
	lintEmpty   = regexp.MustCompile(`,[ \t]*(,|:|$)|(^|:)[ \t]*(,|:|$)`)
	lintQuoted  = regexp.MustCompile(`"[^"]*"`)
)

func (m *ruleModel) lintLine(line string) string {
	if len(line) > 65536 {
		return "rule-long"
	}
	line = strings.TrimRight(lintComment.FindString(line), " \t")
	words := lintWord.FindAllString(line, -1)
	switch {
	case strings.Trim(line, " \t") == "":
		return ""
	case lintControl.MatchString(line):
		return "rule-crlf"
	case strings.Count(line, `"`)%2 == 1:
		return "rule-quote"
	}
	colon := slices.Index(words, ":")
	switch {
	case colon < 0:
		return "rule-badline"
	case slices.Contains(words[colon+1:], ":"):
		return "rule-colon"
	}
	if id := cmp.Or(lintWords(words[:colon]), lintWords(words[colon+1:])); id != "" {
		return id
	}
	if !lintLine.MatchString(line) {
		if slices.ContainsFunc(words, func(w string) bool { return strings.Trim(w, `"`) == "" }) || lintEmpty.MatchString(lintMask(line)) {
			return "rule-badline"
		}
		return "rule-quote"
	}
	return m.lintExpressions(words)
}

// lintWords looks at EXCEPT and ALL on one side of a rule.
func lintWords(side []string) string {
	i := slices.Index(side, "EXCEPT")
	if i == 0 || i > 0 && (i == len(side)-1 || slices.Contains(side[i+1:], "EXCEPT") || side[i-1] == "," || side[i+1] == ",") {
		return "rule-except"
	}
	for j, w := range side {
		first, last := j == 0, j == len(side)-1 || side[j+1] == "EXCEPT"
		if strings.EqualFold(w, "ALL") && !(w == "ALL" && first && last) {
			return "rule-all"
		}
	}
	return ""
}

func (m *ruleModel) lintExpressions(words []string) string {
	for _, w := range words {
		e := strings.Trim(w, `"`)
		switch {
		case w == "," || w == ":" || w == "ALL" || w == "EXCEPT":
		case len(e) > 4096:
			return "rule-long"
		case m.compile(e) == nil:
			return "rule-badline"
		case ereRefused(e, false):
			return "rule-ere"
		}
	}
	return ""
}

// lintMask hides what is quoted.
func lintMask(line string) string {
	return lintQuoted.ReplaceAllStringFunc(line, func(q string) string { return strings.Repeat("Q", len(q)) })
}
