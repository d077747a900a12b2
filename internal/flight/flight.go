// Package flight brings concurrent loads of one thing together.
package flight

import (
	"context"
	"sync"
)

// Flight shares loads among concurrent callers. A caller gets the result of a
// load that began after its call, so what was committed before the call is in
// it; callers that arrive while a load runs share the next one. A hundred
// calls at once cost at most two loads.
//
// Loads run on the goroutine of one of the callers, its leader. When the
// leader's context ends, another caller leads: a cancelled leader does not
// fail its followers.
type Flight[T any] struct {
	turn chan struct{} // holds a token while a load runs

	mu      sync.Mutex
	pending *call[T] // not yet begun, may be joined
}

type call[T any] struct {
	joined int // callers; guarded by Flight.mu
	done   chan struct{}
	value  T
	err    error
}

// New returns a Flight without calls.
func New[T any]() *Flight[T] {
	return &Flight[T]{turn: make(chan struct{}, 1)}
}

// Do returns what load returns, called by this caller or by one that shares
// its call. led tells whether it was this caller. While it waits, Do returns
// ctx.Err() as soon as ctx ends.
func (f *Flight[T]) Do(ctx context.Context, load func(context.Context) (T, error)) (value T, err error, led bool) {
	c := f.join()
	select {
	case <-c.done:
		return c.value, c.err, false
	case <-ctx.Done():
		return value, ctx.Err(), false
	case f.turn <- struct{}{}:
	}
	defer func() { <-f.turn }()

	select {
	case <-c.done: // the leader before us finished it
		return c.value, c.err, false
	default:
	}
	if err := ctx.Err(); err != nil {
		return value, err, false
	}
	f.begin(c)
	value, err = load(ctx)
	if err == nil || ctx.Err() == nil {
		c.value, c.err = value, err
		close(c.done)
	} // else the next caller of c takes its turn and loads
	return value, err, true
}

// Alone returns what f returns, called while no load runs. Its result is not
// shared: callers of Do that wait meanwhile load after it.
func (f *Flight[T]) Alone(ctx context.Context, do func(context.Context) error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case f.turn <- struct{}{}:
	}
	defer func() { <-f.turn }()
	return do(ctx)
}

// join returns the call that has not begun.
func (f *Flight[T]) join() *call[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending == nil {
		f.pending = &call[T]{done: make(chan struct{})}
	}
	f.pending.joined++
	return f.pending
}

// Joined counts the callers that share the next call, which has not begun.
func (f *Flight[T]) Joined() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending == nil {
		return 0
	}
	return f.pending.joined
}

// begin lets nobody join c from now on.
func (f *Flight[T]) begin(c *call[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending == c {
		f.pending = nil
	}
}
