package main

import (
	"context"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
	"github.com/icholy/digest"

	"github.com/sipacl/sipacl"
)

// Who may call far: members of group ld numbers with a leading 0, and of them
// those of class international numbers with 00 or +.
const (
	realm         = "example.com"
	ld            = "ld"
	international = sipacl.ClassID(2)
)

// groupSeed is the tables of the original group modules, and a subscriber
// table with the MD5 of user, realm and password.
var groupSeed = []string{
	`CREATE TABLE grp (id INTEGER PRIMARY KEY, username CHAR(64) NOT NULL, domain CHAR(64) NOT NULL, grp CHAR(64) NOT NULL)`,
	`CREATE TABLE re_grp (id INTEGER PRIMARY KEY, reg_exp CHAR(128) NOT NULL, group_id INT NOT NULL)`,
	`CREATE TABLE subscriber (username CHAR(64) NOT NULL, domain CHAR(64) NOT NULL, ha1 CHAR(64) NOT NULL, PRIMARY KEY (username, domain))`,
	`INSERT INTO grp (username, domain, grp) VALUES ('alice', 'example.com', 'ld'), ('carol', 'example.com', 'ld')`,
	`INSERT INTO re_grp (reg_exp, group_id) VALUES ('^sip:(carol|dave)@example\.com$', 2)`,
	subscriber("alice", "wonderland"), subscriber("bob", "builder"), subscriber("carol", "christmas"),
}

// subscriber gives the statement that adds one. The texts are the program's own.
func subscriber(username, password string) string {
	ha1 := md5.Sum([]byte(username + ":" + realm + ":" + password))
	return fmt.Sprintf("INSERT INTO subscriber VALUES ('%s', '%s', '%x')", username, realm, ha1)
}

// groupTables says how the groups are read.
func groupTables(db *sql.DB) sipacl.GroupConfig {
	tables := sipacl.SQL{DB: db, Dialect: sipacl.SQLite, IDCol: "id"}
	return sipacl.GroupConfig{
		Members: []sipacl.MemberSource{sipacl.SQLMembers{SQL: tables}},
		Classes: []sipacl.ClassSource{sipacl.SQLClasses{SQL: tables}},
	}
}

// longDistance gives next what calls nobody far away, and calls of users who
// may, after they have shown that they know their password.
func (s *server) longDistance(next sipacl.Handler) sipacl.Handler {
	a, groups := newAuth(s.store), s.perm.Groups()
	guard := s.guard.With(sipacl.AllOf(
		sipacl.AnyOf(near("0", "+"), groups.Members(a.user, ld)),
		sipacl.AnyOf(near("00", "+"), groups.InClass(a.user, international)),
	))
	return func(r sipacl.Request, tx sip.ServerTransaction, d sipacl.Decision) {
		if guard.Decide(r).Allowed {
			next(r, tx, d)
		} else if _, known := a.user(r); known {
			respond(tx, r.Request, sip.StatusForbidden, "Forbidden")
		} else {
			a.challenge(r.Request, tx)
		}
	}
}

// near allows calls to numbers that begin with none of the prefixes.
func near(far ...string) sipacl.Check {
	return func(r sipacl.Request) sipacl.Decision {
		for _, prefix := range far {
			if strings.HasPrefix(number(r.Recipient), prefix) {
				return sipacl.Refused("a long-distance call")
			}
		}
		return sipacl.Allowed("no long-distance call")
	}
}

// number is the called number as a gateway would take it: escapes decoded,
// without user parameters, and of the rest letters, digits, + * and #.
// Which separators are skipped differs among gateways; here all are. A local
// number with a context (RFC 3966 section 5.1.5) is as far as contexts can be.
func number(uri sip.Uri) string {
	user, params, _ := strings.Cut(unescape(uri.User), ";")
	if strings.Contains(strings.ToLower(params), "phone-context") || uri.UriParams.Has("phone-context") {
		return "+"
	}
	return strings.Map(func(r rune) rune {
		switch l := r | 0x20; {
		case r >= '0' && r <= '9', l >= 'a' && l <= 'z', r == '+', r == '*', r == '#':
			return r
		}
		return -1
	}, user)
}

// unescape decodes the escapes that are well-formed, and leaves the others:
// an odd one at the end must not hide those before it.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if c, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.WriteByte(c[0])
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// auth verifies digest credentials (RFC 7616, qop auth). Its nonces carry the
// time they were made and are good for one request.
type auth struct {
	db     *sql.DB
	secret [32]byte

	mu   sync.Mutex
	used map[string]use // by nonce
}

// use is the request that a nonce was used for.
type use struct {
	request *sip.Request
	made    time.Time
}

// lifetime is how long a nonce is good.
const lifetime = time.Minute

func newAuth(db *sql.DB) *auth {
	a := &auth{db: db, used: map[string]use{}}
	rand.Read(a.secret[:])
	return a
}

// user returns the user whose credentials the request carries, if they are
// right. Checks of one request may ask again.
func (a *auth) user(r sipacl.Request) (sipacl.VerifiedUser, bool) {
	req := r.Request
	cred := credentials(req)
	if cred == nil {
		return sipacl.VerifiedUser{}, false
	}
	ha1, err := a.ha1(cred.Username)
	if err != nil {
		return sipacl.VerifiedUser{}, false
	}
	made, fresh := a.fresh(cred.Nonce)
	if !fresh || !correct(req, cred, ha1) || !a.take(cred.Nonce, made, req) {
		return sipacl.VerifiedUser{}, false
	}
	u, err := sipacl.Verified(cred.Username, realm)
	return u, err == nil
}

// credentials returns the credentials for this proxy: exactly one set of them.
func credentials(req *sip.Request) (found *digest.Credentials) {
	for _, h := range req.GetHeaders("Proxy-Authorization") {
		cred, ours := ourCredentials(h)
		if !ours {
			continue
		}
		if found != nil {
			return nil
		}
		found = cred
	}
	return found
}

func ourCredentials(h sip.Header) (*digest.Credentials, bool) {
	cred, err := digest.ParseCredentials(h.Value())
	return cred, err == nil && cred.Realm == realm
}

// consumeCredentials keeps credentials for this proxy from whoever is next.
// An ACK repeats those of its INVITE.
func consumeCredentials(req *sip.Request) {
	all := req.GetHeaders("Proxy-Authorization")
	for _, h := range all {
		req.RemoveHeader(h.Name()) // the first that is written so
	}
	for _, h := range all {
		if _, ours := ourCredentials(h); !ours {
			req.AppendHeader(h)
		}
	}
}

// correct reports whether the response is that of somebody who knows the
// password, for this method and Request-URI.
func correct(req *sip.Request, cred *digest.Credentials, ha1 string) bool {
	var uri sip.Uri
	if sip.ParseUri(cred.URI, &uri) != nil || uri.Addr() != req.Recipient.Addr() {
		return false
	}
	if cred.QOP != "auth" || cred.Cnonce == "" || cred.Nc != 1 || cred.Userhash {
		return false
	}
	want, err := digest.Digest(
		&digest.Challenge{Realm: realm, Nonce: cred.Nonce, QOP: []string{"auth"}, Algorithm: "MD5"},
		digest.Options{Method: req.Method.String(), URI: cred.URI, Username: cred.Username, A1: ha1, Cnonce: cred.Cnonce, Count: cred.Nc},
	)
	return err == nil && subtle.ConstantTimeCompare([]byte(want.Response), []byte(cred.Response)) == 1
}

// errNoHA1 is for who has no digest of a password: digest.Digest would make
// one of the empty password, and that would be right.
var errNoHA1 = errors.New("no ha1")

func (a *auth) ha1(username string) (ha1 string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err = a.db.QueryRowContext(ctx, "SELECT ha1 FROM subscriber WHERE username = ? AND domain = ?", username, realm).Scan(&ha1)
	if err == nil && len(ha1) != 2*md5.Size {
		err = errNoHA1
	}
	return ha1, err
}

// challenge asks for credentials.
func (a *auth) challenge(req *sip.Request, tx sip.ServerTransaction) {
	c := digest.Challenge{Realm: realm, Nonce: a.nonce(time.Now()), QOP: []string{"auth"}, Algorithm: "MD5"}
	res := sip.NewResponseFromRequest(req, sip.StatusProxyAuthRequired, "Proxy Authentication Required", nil)
	res.AppendHeader(sip.NewHeader("Proxy-Authenticate", c.String()))
	_ = tx.Respond(res) // what cannot be sent is lost as on the network
}

// nonce is a time, eight random bytes, and a proof that we made it.
func (a *auth) nonce(now time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(now.UnixMilli()))
	b = append(b, make([]byte, 8)...)
	rand.Read(b[8:])
	return hex.EncodeToString(append(b, a.proof(b)...))
}

func (a *auth) proof(b []byte) []byte {
	h := hmac.New(sha256.New, a.secret[:])
	h.Write(b)
	return h.Sum(nil)[:16]
}

// fresh tells when a nonce was made, if we made it and not long ago.
func (a *auth) fresh(nonce string) (made time.Time, ok bool) {
	b, err := hex.DecodeString(nonce)
	if err != nil || len(b) != 32 || !hmac.Equal(a.proof(b[:16]), b[16:]) {
		return time.Time{}, false
	}
	made = time.UnixMilli(int64(binary.BigEndian.Uint64(b)))
	age := time.Since(made)
	return made, age >= -lifetime && age < lifetime
}

// take uses a nonce for a request; false if another one has used it. A copy of
// a request is another one: those that the network repeats end in the
// transaction of the first.
func (a *auth) take(nonce string, made time.Time, req *sip.Request) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, u := range a.used {
		if time.Since(u.made) > 2*lifetime { // no check that found it fresh is still under way
			delete(a.used, n)
		}
	}
	u, ok := a.used[nonce]
	if !ok {
		a.used[nonce] = use{req, made}
	}
	return !ok || u.request == req
}
