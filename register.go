// allow_register: may this user register these contacts?

package sipacl

import "github.com/emiago/sipgo/sip"

// AllowRegister decides whether the user of the To URI may register the
// contacts: every pair must be allowed. The arguments are URIs, without
// brackets and display name; one that is not valid is refused. No contact asks
// for the bindings and is allowed. So is the contact "*" alone, which removes
// them; the caller has to see to its Expires: 0.
func (rs *RuleSet) AllowRegister(to string, contacts ...string) Decision {
	return rs.registerTexts(to, contacts, contactURI)
}

// AllowRegisterWithPort is AllowRegister with the port of a contact, if it has
// one, kept in the text that rules see.
func (rs *RuleSet) AllowRegisterWithPort(to string, contacts ...string) Decision {
	return rs.registerTexts(to, contacts, portURI)
}

func (rs *RuleSet) registerTexts(to string, contacts []string, role uriRole) Decision {
	if d, ok := rs.idle(); ok {
		return d
	}
	toURI := parseURI(to)
	left, ok := rs.source(&toURI)
	if !ok {
		return rs.answer(wrongURI("To", to, ""))
	}
	if len(contacts) == 1 && contacts[0] == "*" {
		return rs.answer(rs.alone(left, CauseStar))
	}
	uris := make([]sip.Uri, 0, len(contacts))
	for _, c := range contacts {
		uris = append(uris, parseURI(c))
	}
	return rs.answer(rs.register(left, uris, role))
}

// alone allows what has no pair to decide, if its To may be asked about.
func (rs *RuleSet) alone(left texts, cause Cause) Decision {
	if !left.valid() {
		return wrongURI("To", left.plain, "")
	}
	return Decision{Allowed: true, Cause: cause, Left: left.plain}
}

// register decides the pairs of one To and all its contacts.
func (rs *RuleSet) register(left texts, contacts []sip.Uri, role uriRole) (d Decision) {
	if len(contacts) == 0 {
		return rs.alone(left, CauseNoContact)
	}
	for i := range contacts {
		if !d.and(rs.target("Contact", left, &contacts[i], role)) {
			return d
		}
	}
	return d
}

func (rs *RuleSet) checkRegister(req *sip.Request, role uriRole) Decision {
	if d, ok := rs.idle(); ok {
		return d
	}
	_, to, ok := fromTo(req)
	if !ok || !strictParams(to.Params) {
		return Decision{Cause: CauseMalformed, Info: "To: no valid header field"}
	}
	left, ok := rs.source(&to.Address)
	if !ok {
		return wrongURI("To", to.Address.String(), "")
	}
	contacts, star, err := Contacts(req)
	switch {
	case err != nil:
		return Decision{Cause: CauseMalformed, Left: shorten(left.plain), Info: err.Error()}
	case star && !expiresNow(req):
		return Decision{Cause: CauseMalformed, Left: shorten(left.plain), Right: "*", Info: "Contact: * without Expires: 0"}
	case star:
		return rs.alone(left, CauseStar)
	}
	return rs.register(left, contacts, role)
}

// AllowRegister answers allow_register: may the user in To register the
// Contacts of r? All Contact header fields count, in long and compact form.
// "Contact: *" is allowed alone and with Expires: 0 only. It is a [Check].
func (r Rules) AllowRegister(req Request) Decision { return r.register(&req, contactURI) }

// AllowRegisterWithPort answers allow_register_include_port; see
// [RuleSet.AllowRegisterWithPort]. It is a [Check].
func (r Rules) AllowRegisterWithPort(req Request) Decision { return r.register(&req, portURI) }

func (r Rules) register(req *Request, role uriRole) Decision {
	d := asked(r.Part, req.at, req.trace).checkRegister(req.Request, role)
	d.Source = req.Source
	return d
}
