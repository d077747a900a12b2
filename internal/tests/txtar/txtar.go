// Package txtar reads test cases: a comment and the files that follow it,
// each behind a line "-- NAME --".
package txtar

import "strings"

// Parse splits a case. Files keep their line ends; what stands before the
// first one is the comment.
func Parse(text string) (comment string, files map[string]string) {
	files = map[string]string{}
	name := ""
	for line := range strings.Lines(text) {
		if n, ok := header(line); ok {
			name = n
			files[name] = ""
			continue
		}
		if name == "" {
			comment += line
		} else {
			files[name] += line
		}
	}
	return comment, files
}

// Write puts a case together; order names its files.
func Write(comment string, files map[string]string, order ...string) string {
	b := strings.Builder{}
	b.WriteString(comment)
	for _, name := range order {
		b.WriteString("-- " + name + " --\n" + files[name])
	}
	return b.String()
}

func header(line string) (name string, ok bool) {
	line = strings.TrimSuffix(line, "\n")
	if !strings.HasPrefix(line, "-- ") || !strings.HasSuffix(line, " --") || len(line) < len("-- x --") {
		return "", false
	}
	return line[len("-- ") : len(line)-len(" --")], true
}
