// Package dialtwin is the slow twin of package dial, made of regular
// expressions. It shares nothing with it.
package dialtwin

import (
	"regexp"
	"slices"
	"strings"
)

var (
	sipURI  = regexp.MustCompile(`(?is)^sips?:([^@:]*)(?::[^@]*)?@[^;?]*(;[^?]*)?`)
	telURI  = regexp.MustCompile(`(?is)^tel:(.*)`)
	around  = regexp.MustCompile(`(?is)^(?:(sips?:)[^@]*(@.*)|(tel:).*)$`)
	refused = regexp.MustCompile(`%[01][0-9a-fA-F]|%20|%7[fF]|[^!-~]`)
	unfit   = regexp.MustCompile(`[^!-~]`)
	escape  = regexp.MustCompile(`(?s)%[0-9a-fA-F]{2}|.`)
	low     = regexp.MustCompile(`%[2-7][0-9a-fA-F]`)
	high    = regexp.MustCompile(`%[89a-fA-F][0-9a-fA-F]`)
	other   = regexp.MustCompile(`[^+0-9]`)
	pure    = regexp.MustCompile(`^[-0-9*#+.()]*[0-9*#][-0-9*#+.()]*$`)
	named   = regexp.MustCompile(`[A-Za-z_*#]|%[89a-fA-F]`)
	unhexed = strings.NewReplacer("0", "\x00", "1", "\x01", "2", "\x02", "3", "\x03", "4", "\x04", "5", "\x05", "6", "\x06", "7", "\x07",
		"8", "\x08", "9", "\x09", "a", "\x0a", "b", "\x0b", "c", "\x0c", "d", "\x0d", "e", "\x0e", "f", "\x0f")
)

// Max is how many texts a URI may have.
const Max = 11

// Find gives the further texts of a URI, and whether it is odd or refused, one
// step after the other, as package dial describes them. It is the meaning of
// that package's Find; when the two differ, that one is wrong.
func Find(plain, canonical, lost string) (texts []string, odd, refuse bool) {
	var user, params string
	if m := sipURI.FindStringSubmatch(plain); m != nil {
		user, params = m[1], m[2]
	} else if m := telURI.FindStringSubmatch(plain); m != nil {
		user = m[1]
	} else {
		return nil, false, false
	}
	if len(plain)+len(lost) > 1024 {
		return nil, false, true
	}
	at := refused.FindStringIndex(user)
	odd = at != nil
	decoded := slowDecode(user + ";" + params + ";" + lost)
	if _, list, _ := strings.Cut(decoded, ";"); strings.Count(list, ";") > 32 {
		refuse = slowParams(list, "rn") != nil || slowParams(list, "phone-context") != nil
	}
	users := slowUsers(decoded)
	if odd && !strings.ContainsAny(slowDecode(user[:at[0]]), ";") {
		users = append(slowUsers(slowDecode(user[:at[0]])+";"), users...)
	}
	if !strings.HasPrefix(strings.ToLower(plain), "tel:") {
		users = append(users, slowDecode(user))
	}
	for _, user := range users {
		m := around.FindStringSubmatch(canonical)
		text := m[1] + m[3] + user + m[2]
		if user != "" && text != m[1]+m[3]+plain[strings.IndexByte(plain, ':')+1:] && text != canonical && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	if refuse || len(texts) > Max || unfit.MatchString(strings.Join(texts, "")) {
		return nil, odd, true
	}
	return texts, odd, false
}

func slowUsers(decoded string) (users []string) {
	name, list, _ := strings.Cut(decoded, ";")
	users = []string{name} // 1
	if pure.MatchString(name) {
		users = append(users, regexp.MustCompile(`[-.()]`).ReplaceAllString(name, "")) // 2
	}
	for _, number := range []string{slowDigits(high.ReplaceAllString(name, "")), slowDigits(name)} { // 3, 4
		digits := strings.TrimPrefix(number, "+")
		if len(digits) >= 3 && (digits != number || !named.MatchString(low.ReplaceAllString(name, ""))) {
			users = append(users, number)
		}
	}
	users = append(users, slowContext(slowDigits(high.ReplaceAllString(name, "")), list, "phone-context")...) // 5
	for _, rn := range slowParams(list, "rn") {                                                               // 6
		if strings.ContainsAny(rn, "0123456789") {
			users = append(users, rn)
		}
		users = append(users, slowContext(rn, list, "rn-context")...)
	}
	return users
}

// slowDigits drops all but the digits and the "+" before them.
func slowDigits(s string) string {
	s = other.ReplaceAllString(low.ReplaceAllString(s, ""), "")
	digits := strings.ReplaceAll(s, "+", "")
	if strings.HasPrefix(s, "+") {
		return "+" + digits
	}
	return digits
}

func slowContext(number, list, context string) (users []string) {
	if number == "" || strings.HasPrefix(number, "+") {
		return nil
	}
	for _, c := range slowParams(list, context) {
		if strings.HasPrefix(c, "+") {
			users = append(users, c+number)
		}
	}
	return users
}

// slowParams gives the numbers in the values of the parameters of a name.
func slowParams(list, name string) (numbers []string) {
	for _, p := range strings.Split(list, ";") {
		if key, value, _ := strings.Cut(p, "="); strings.ToLower(key) == name {
			numbers = append(numbers, slowDigits(high.ReplaceAllString(value, "")))
		}
	}
	return numbers
}

func slowDecode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		token := s[i : i+1]
		if m := escape.FindStringIndex(s[i:]); s[i] == '%' && m[1] == 3 {
			token = s[i : i+3]
		}
		i += len(token)
		if len(token) == 3 {
			hex := unhexed.Replace(strings.ToLower(token[1:]))
			switch c := hex[0]<<4 | hex[1]; {
			case c >= 0x80, strings.IndexByte("%:@", c) >= 0:
			case c <= ' ' || c == 0x7f:
				continue
			default:
				token = string(rune(c))
			}
		} else if c := token[0]; c <= ' ' || c >= 0x7f || c == '%' {
			continue
		}
		b.WriteString(token)
	}
	return b.String()
}
