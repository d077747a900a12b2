package sipacltest

import (
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Transaction is a [sip.ServerTransaction] that keeps what is answered instead
// of sending it. It has no peer: there is never an ACK or a CANCEL, and it lasts
// until Terminate is called. The zero Transaction is ready.
//
// A [sipacl.Guard] may answer through it with [sipacl.RespondOnce] and with
// [sipacl.Respond].
type Transaction struct {
	// Responses is what was answered, in order. Read it when the handler has
	// returned and nothing answers any more.
	Responses []*sip.Response

	ending
	mu sync.Mutex
}

var _ sip.ServerTransaction = (*Transaction)(nil)

// Respond keeps res. After Terminate it is an error.
func (tx *Transaction) Respond(res *sip.Response) error {
	if err := tx.Err(); err != nil {
		return err
	}
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.Responses = append(tx.Responses, res)
	return nil
}

// ending is the life of a transaction without a peer.
type ending struct {
	mu    sync.Mutex
	done  chan struct{} // made when it is first asked for
	ended bool
	hooks []sip.FnTxTerminate
}

// Done is closed by Terminate.
func (e *ending) Done() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.channel()
}

func (e *ending) channel() chan struct{} {
	if e.done == nil {
		e.done = make(chan struct{})
	}
	return e.done
}

// Terminate ends the transaction; the test may call it for the peer.
func (e *ending) Terminate() {
	for _, f := range e.end() {
		f("", sip.ErrTransactionTerminated)
	}
}

// end returns the hooks to call, once.
func (e *ending) end() []sip.FnTxTerminate {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return nil
	}
	e.ended = true
	close(e.channel())
	return e.hooks
}

// OnTerminate has f called by Terminate; false if that was already.
func (e *ending) OnTerminate(f sip.FnTxTerminate) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.ended {
		e.hooks = append(e.hooks, f)
	}
	return !e.ended
}

// Err is sip.ErrTransactionTerminated after Terminate.
func (e *ending) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ended {
		return sip.ErrTransactionTerminated
	}
	return nil
}

// Acks gives no ACK.
func (e *ending) Acks() <-chan *sip.Request { return nil }

// OnCancel never calls f; false after Terminate.
func (e *ending) OnCancel(sip.FnTxCancel) bool { return e.Err() == nil }
