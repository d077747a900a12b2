package main

import (
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// locations knows where users are, until their bindings expire. Its methods
// are safe for concurrent use.
type locations struct {
	now func() time.Time

	mu    sync.Mutex
	until map[string]map[string]time.Time // user -> contact -> end
}

func newLocations(now func() time.Time) *locations {
	return &locations{now: now, until: map[string]map[string]time.Time{}}
}

// bind adds or renews a binding; a lifetime of 0 removes it.
func (l *locations) bind(user string, contact sip.Uri, lifetime time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lifetime <= 0 {
		delete(l.until[user], contact.String())
		return
	}
	if l.until[user] == nil {
		l.until[user] = map[string]time.Time{}
	}
	l.until[user][contact.String()] = l.now().Add(lifetime)
}

func (l *locations) removeAll(user string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.until, user)
}

// of gives the bindings of a user and how long they last.
func (l *locations) of(user string) map[string]time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := map[string]time.Duration{}
	for contact, end := range l.until[user] {
		if d := end.Sub(l.now()); d > 0 {
			left[contact] = d
		} else {
			delete(l.until[user], contact)
		}
	}
	return left
}
