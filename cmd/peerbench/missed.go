package main

import "strings"

// reasons tell why a target is missed, by a part of its name. They are printed
// for what was missed and for nothing else.
var reasons = []struct{ target, why string }{
	{"miss, 10M rows: bart.Fast", "A third of these questions do hit, and most of the others are covered by a prefix of another group: " +
		"what both engines wait for is memory, one row after the other, and the filters in front end few of them."},
	{"hot, 1k rows: bart.Fast", "The whole table is in the processor's first cache: both engines wait for nothing, and what they share, " +
		"the row chain, is much of the time."},
	{"map, text made before", "The map is asked with one text that was joined beforehand. A server has name, domain and group apart, " +
		"and to join them takes longer than the whole question to the set (the line below). The set hashes three texts where the map hashes one."},
	{"rows/s", "Memory that is touched for the first time is dear on a virtual machine, and a build touches more than the table keeps."},
	{"parse / Guard allowing", "A fiftieth of the time of parsing is less than what is asked for in nanoseconds beside it. sipgo hands over " +
		"the source as text, which has to be read again, and a Decision that names the row is more than a yes."},
}

// why gives the reason for a missed target, "" if none is known.
func why(target string) string {
	for _, r := range reasons {
		if strings.Contains(target, r.target) {
			return r.why
		}
	}
	return ""
}
