package gate

// maxParams limits the parameters of a URI, an address or a Via, and the headers
// of a URI. sipgo compares each with all before it, and takes half a second for
// a datagram full of them.
const maxParams = 128

// crowded reports whether s has more than maxParams separators. A restart begins
// the count again.
func crowded[T text](s T, separator, restart byte) bool {
	if len(s) <= maxParams {
		return false
	}
	count := 0
	for i := range len(s) {
		switch s[i] {
		case separator:
			count++
		case restart:
			count = 0
		}
		if count > maxParams {
			return true
		}
	}
	return false
}

// wholeURI names the rule that s breaks as a URI.
func wholeURI[T text](s T) Rule {
	end, rule := uri(s, 0)
	return complete(rule, end, s)
}

// complete refuses s if reading it ended before its end.
func complete[T text](rule Rule, end int, s T) Rule {
	if rule == WellFormed && end < len(s) {
		return AddressURI
	}
	return rule
}

// uri reads the URI that begins at off. It returns where the URI ends and the
// rule that it breaks. AddressURI is any fault of grammar.
//
//	uri = ( "sip:" / "sips:" ) sip / "tel:" tel / scheme ":" 1*opaque .
func uri[T text](s T, off int) (end int, rule Rule) {
	if t := s[off:]; len(t) > 4 && t[0] == 's' && t[1] == 'i' && t[2] == 'p' && t[3] == ':' {
		return sipURI(s, off+4) // nearly all
	}
	colon := span(s, off, scheme)
	if colon == len(s) || s[colon] != ':' {
		return off, AddressURI
	}
	return schemeURI(s[off:colon], s, colon+1)
}

// schemeURI reads what follows the scheme of a URI.
func schemeURI[T text](name, s T, off int) (end int, rule Rule) {
	switch {
	case same(name, "sip"), same(name, "sips"):
		return sipURI(s, off)
	case same(name, "tel"):
		return telURI(s, off)
	}
	end = span(s, off, opaque)
	return end, unless(only(name, scheme) && end > off, AddressURI)
}

// sip = [ user [ ":" password ] "@" ] hostport params [ "?" *headers ] .
//
// Without a user sipgo takes the first "[" for the beginning of the host, also
// in "sip:a.example;maddr=[2001:db8::1]".
func sipURI[T text](s T, off int) (end int, rule Rule) {
	begin := off
	off, ok := userinfo(s, off)
	if !ok {
		return off, AddressURI
	}
	hostBegin := off
	if off, rule = hostPort(s, off); rule != WellFormed {
		return off, rule
	}
	end, rule = params(s, off)
	if rule == WellFormed && end < len(s) && s[end] == '?' {
		first := end + 1
		end = span(s, first, headers)
		rule = unless(!crowded(s[first:end], '&', '&'), ManyParams)
	}
	if hostBegin == begin && s[begin] != '[' && rule == WellFormed && has(s[off:end], '[') {
		return end, Misread
	}
	return end, rule
}

// tel = [ "+" ] 1*phone params .
func telURI[T text](s T, off int) (end int, rule Rule) {
	if off < len(s) && s[off] == '+' {
		off++
	}
	if end = span(s, off, phone); end == off {
		return end, AddressURI
	}
	return params(s, end)
}

// userinfo reads the part before the host, if there is one.
func userinfo[T text](s T, off int) (end int, ok bool) {
	userEnd := escaped(s, off, user)
	end = userEnd
	if end < len(s) && s[end] == ':' {
		end = escaped(s, end+1, password)
	}
	if end == len(s) || s[end] != '@' {
		return off, true
	}
	return end + 1, userEnd > off && !slashes(s[off:userEnd])
}

// slashes finds "//" in front of a user. sipgo cuts it off, other stacks keep it.
func slashes[T text](s T) bool { return len(s) > 1 && s[0] == '/' && s[1] == '/' }

// hostport = host [ ":" port ] .
func hostPort[T text](s T, off int) (end int, rule Rule) {
	end, rule = host(s, off)
	if rule != WellFormed || end == len(s) || s[end] != ':' {
		return end, rule
	}
	off = end + 1
	end = span(s, off, digit)
	port, ok := number(s[off:end], 5)
	switch {
	case !ok:
		return end, AddressURI
	case port < 1 || port > 65535:
		return end, Port
	}
	return end, WellFormed
}

// host = label *( "." label ) [ "." ] / "[" 1*ipv6 "]" .
func host[T text](s T, off int) (end int, rule Rule) {
	if off < len(s) && s[off] == '[' {
		end = span(s, off+1, ipv6)
		if end == off+1 || end == len(s) || s[end] != ']' {
			return end, AddressURI
		}
		return end + 1, WellFormed
	}
	if off < len(s) && in(s[off], digit) {
		if end, ok := ipv4(s, off); ok {
			return end, WellFormed
		}
	}
	end, ok := labels(s, off)
	switch {
	case !ok:
		return end, AddressURI
	case numeric(s[off:end]):
		return end, NumericHost
	}
	return end, WellFormed
}

// ipv4 reads an IPv4 address in the one spelling that every stack reads alike:
// four decimal numbers without leading zeros.
func ipv4[T text](s T, off int) (end int, ok bool) {
	for part := 1; part <= 4; part++ {
		begin, n := off, 0
		for ; off < len(s) && in(s[off], digit) && n <= 255; off++ {
			n = 10*n + int(s[off]-'0')
		}
		zero := off > begin+1 && s[begin] == '0'
		if off == begin || zero || n > 255 || part < 4 && (off == len(s) || s[off] != '.') {
			return off, false
		}
		off++
	}
	off-- // the last number has no dot
	return off, off == len(s) || s[off] != '.' && !in(s[off], label)
}

// labels reads a host name, whose labels begin and end with a letter or a
// digit. One dot may follow.
func labels[T text](s T, off int) (end int, ok bool) {
	for {
		end = span(s, off, label)
		if end == off || !in(s[off], alnum) || !in(s[end-1], alnum) {
			return end, false
		}
		if end == len(s) || s[end] != '.' {
			return end, true
		}
		off = end + 1
		if off == len(s) || !in(s[off], label) {
			return off, off == len(s) || s[off] != '.'
		}
	}
}

// numeric reports whether a resolver may take a host name for an IPv4 address:
// all its labels are decimal, octal or hexadecimal numbers.
func numeric[T text](s T) bool {
	if !in(s[0], digit) {
		return false
	}
	for off := 0; off < len(s); off++ {
		end := span(s, off, label)
		if !numericLabel(s[off:end]) {
			return false
		}
		off = end
	}
	return true
}

func numericLabel[T text](s T) bool {
	if len(s) < 2 || s[0] != '0' || lower(s[1]) != 'x' {
		return only(s, digit)
	}
	for i := 2; i < len(s); i++ {
		if !hex(s[i]) {
			return false
		}
	}
	return true
}

// params = *( ";" 1*param [ "=" *param ] ) .
func params[T text](s T, off int) (end int, rule Rule) {
	first := off
	for count := 1; off < len(s) && s[off] == ';'; count++ {
		nameEnd, next := nextParam(s, off)
		switch {
		case nameEnd == off+1:
			return off, AddressURI
		case count > maxParams:
			return off, ManyParams
		case hasParam(s[first:off], s[off+1:nameEnd]):
			return off, TwoParams
		}
		off = next
	}
	return off, WellFormed
}

// nextParam returns where the parameter at off and its name end.
func nextParam[T text](s T, off int) (nameEnd, end int) {
	nameEnd = escaped(s, off+1, param)
	if nameEnd == len(s) || s[nameEnd] != '=' {
		return nameEnd, nameEnd
	}
	return nameEnd, escaped(s, nameEnd+1, param)
}

// hasParam reports whether one of some well-formed parameters has that name.
func hasParam[T text](s, name T) bool {
	for off := 0; off < len(s); {
		nameEnd, end := nextParam(s, off)
		if alike(s[off+1:nameEnd], name) {
			return true
		}
		off = end
	}
	return false
}
