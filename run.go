// Run: looks at sources, and takes what changed and stands.

package sipacl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"
)

// Versioned is a source that can tell, cheaper than by reading all of it,
// whether it changed: as long as Version returns the same text, its content is
// the same. [Permissions.Run] asks it before it reads.
type Versioned interface {
	Version(ctx context.Context) (string, error)
}

// RunConfig says how [Permissions.Run] keeps what is in service fresh. The
// zero RunConfig looks at everything every 30 seconds.
type RunConfig struct {
	// Parts are the names of the parts to watch; none means all. Each Run
	// looks at its parts one after the other, so a database that hangs
	// delays those beside it by Timeout; give it a Run of its own.
	Parts []string

	Interval time.Duration // between two looks at a part; 0 is 30 s. A tenth more or less, by chance
	Timeout  time.Duration // of one look; 0 is 10 s
	MaxPause time.Duration // between two looks after errors, each doubling the pause; 0 is ten Intervals

	// Settle is how long a change must stand: it is taken when two reads this
	// far apart agree, because scripts in the field empty a table and fill it
	// row by row. 0 is 100 ms.
	Settle time.Duration

	// Trigger, when it receives, has every part looked at without waiting
	// for its interval: for LISTEN/NOTIFY, SIGHUP and the like. May be nil.
	// Send without blocking to a channel with a buffer of one.
	Trigger <-chan struct{}

	// MaxShrink refuses a generation that has lost more than this share of
	// the entries in service; 0 is half of them, for lists of 20 entries or
	// more. Whatever it is, a source that had entries is not taken without
	// any: a deny file, a table, an ACL, an included file that is gone. Only
	// the number counts: a list that has others instead has not shrunk. The
	// addresses of host names do not count, their rows do. The refusal shows
	// in Status; a call of Reload, by somebody who means it, takes everything.
	// So does [AnyShrink].
	MaxShrink float64
}

// AnyShrink as MaxShrink takes every generation, an empty one too.
const AnyShrink float64 = 1

// few is the size below which a list may lose any share but all of it.
const few = 20

// The errors of a look that finds something it does not take; see [Status].
var (
	// ErrUnsettled reports content that changed again while it was read.
	ErrUnsettled = errors.New("still changing")
	// ErrShrunk reports a generation refused by MaxShrink.
	ErrShrunk = errors.New("lost too many entries")
)

// Run watches the sources of the parts and puts in service what changed, on
// the goroutine of its caller, until ctx ends; it returns ctx.Err(), or an
// error at once if cfg makes no sense. What did not change is not exchanged,
// and nobody is told. What cannot be read, has mistakes, keeps changing or
// has shrunk leaves the generation in service, and shows in [Status]. Each part
// is exchanged by itself, unlike those of one Reload.
//
// After an error the pauses grow, up to MaxPause, ten Intervals unless set. What
// was repaired is taken then, or at once by Trigger or Reload.
func (p *Permissions) Run(ctx context.Context, cfg RunConfig) error {
	watched, err := p.watched(&cfg)
	if err != nil {
		return err
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		now := time.Now()
		next := now.Add(cfg.MaxPause)
		for _, w := range watched {
			if !w.due.After(now) {
				w.look(ctx, p, cfg)
			}
			if w.due.Before(next) {
				next = w.due
			}
		}
		timer.Reset(time.Until(next))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case _, open := <-cfg.Trigger:
			if !open {
				cfg.Trigger = nil
			}
			for _, w := range watched {
				w.due, w.pause = time.Time{}, 0
			}
		}
	}
}

// watched fills in the defaults of cfg and returns its parts.
func (p *Permissions) watched(cfg *RunConfig) ([]*watch, error) {
	if p == nil {
		return nil, errNotOpened
	}
	for _, d := range []*time.Duration{&cfg.Interval, &cfg.Timeout, &cfg.MaxPause, &cfg.Settle} {
		if *d < 0 {
			return nil, errors.New("sipacl: run: want no negative duration")
		}
	}
	if !(cfg.MaxShrink >= 0 && cfg.MaxShrink <= AnyShrink) {
		return nil, errors.New("sipacl: run: want MaxShrink from 0 to 1")
	}
	orElse := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	orElse(&cfg.Interval, 30*time.Second)
	orElse(&cfg.Timeout, 10*time.Second)
	orElse(&cfg.MaxPause, 10*cfg.Interval)
	orElse(&cfg.Settle, 100*time.Millisecond)
	if cfg.Settle >= cfg.Timeout {
		return nil, errors.New("sipacl: run: want a Settle shorter than the Timeout, or no change is ever taken")
	}
	parts, err := p.named(cfg.Parts)
	if err != nil {
		return nil, err
	}
	var watched []*watch
	for _, q := range parts {
		watched = append(watched, &watch{part: q})
	}
	return watched, nil
}

// watch is one part in the eyes of one Run.
type watch struct {
	part    *part
	due     time.Time
	pause   time.Duration // after looks that did not go well; 0 if the last one did
	version string        // of the content in service, "" unknown
	seen    uint64        // the generation that was in service with it
}

// look has the part looked at and says when the next look is due.
func (w *watch) look(run context.Context, p *Permissions, cfg RunConfig) {
	ctx, cancel := context.WithTimeout(run, cfg.Timeout)
	defer cancel()
	began := p.clock()
	var reports []ReloadReport
	err := w.part.flight.Alone(ctx, func(ctx context.Context) (err error) {
		began = p.clock()
		reports, err = w.renew(ctx, p, cfg, began)
		return err
	})
	if run.Err() != nil && err != nil {
		return // Run is over, and that is no fault of the source
	}
	p.attempted(w.part, began, err)
	p.announce(reports)
	switch {
	case err == nil:
		w.pause = 0
		w.due = time.Now().Add(jitter(cfg.Interval))
	case errors.Is(err, ErrUnsettled): // soon again, and less soon each time
		w.pause = min(max(2*w.pause, cfg.Settle), cfg.Interval)
		w.due = time.Now().Add(jitter(w.pause))
	default:
		w.pause = min(max(2*w.pause, cfg.Interval), cfg.MaxPause)
		w.due = time.Now().Add(jitter(w.pause))
	}
}

// jitter keeps a fleet from asking its database all at once.
func jitter(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.2*float64(d))
}

// renew reads the part twice and publishes it if it changed and both reads
// agree. There is no report if it did not change.
func (w *watch) renew(ctx context.Context, p *Permissions, cfg RunConfig, began time.Time) (reports []ReloadReport, err error) {
	q := w.part
	version, err := q.versionNow(ctx)
	if err != nil || version != "" && version == w.version && w.seen == p.status(q).Generation {
		return nil, err // of another generation, put in service by a Reload, the version is not known
	}
	first, err := q.loadSafely(ctx)
	if err != nil {
		return nil, err
	}
	if first.sum != p.sum(q) {
		second, err := w.again(ctx, cfg.Settle, first.sum)
		if err != nil {
			return nil, err
		}
		if err := p.shrunk(q, second, cfg.MaxShrink); err != nil {
			return nil, err
		}
		reports = p.publish([]*part{q}, []loaded{second}, began)
	} else {
		p.unchanged(q, first)
	}
	w.version, w.seen = version, p.status(q).Generation
	return reports, nil
}

// again reads the part once more, a moment later, and wants the same content.
func (w *watch) again(ctx context.Context, moment time.Duration, sum string) (loaded, error) {
	if err := sleep(ctx, moment); err != nil {
		return loaded{}, err
	}
	l, err := w.part.loadSafely(ctx)
	if err == nil && l.sum != sum {
		err = ErrUnsettled
	}
	return l, err
}

// sum identifies the generation in service.
func (p *Permissions) sum(q *part) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return q.sum
}

// unchanged notes what a read of what is in service says of its names.
func (p *Permissions) unchanged(q *part, l loaded) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q.status.Names = l.names
}

// shrunk is the refusal of a generation that has lost too many of the entries
// in service, or all of one place. What names lead to comes and goes by itself,
// and neither hides nor is a loss.
func (p *Permissions) shrunk(q *part, l loaded, most float64) error {
	p.mu.Lock()
	was, places := q.status.Entries-q.resolved, q.places
	p.mu.Unlock()
	if most == AnyShrink {
		return nil
	}
	for _, place := range slices.Sorted(maps.Keys(places)) {
		if places[place] > 0 && l.places[place] == 0 {
			return fmt.Errorf("%w: %s had %d and has none", ErrShrunk, cmp.Or(printable(place), q.name), places[place])
		}
	}
	if most == 0 {
		if most = 0.5; was < few {
			return nil
		}
	}
	if lost := was - (l.entries - l.resolved); float64(lost) > most*float64(was) {
		return fmt.Errorf("%w: %d of %d", ErrShrunk, lost, was)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
