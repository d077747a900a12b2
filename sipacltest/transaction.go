package sipacltest

import (
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Transaction is a [sip.ServerTransaction] that keeps what is answered instead
// of sending it. It has no peer: no ACK and no CANCEL ever comes, and it lasts
// until Terminate is called. The zero Transaction is ready, and safe for
// concurrent use.
//
// A [sipacl.Guard] answers through it with [sipacl.RespondOnce], its default,
// and with [sipacl.Respond].
type Transaction struct {
	// Responses is what was answered, in order. Read it once nothing answers
	// any more.
	Responses []*sip.Response

	mu    sync.Mutex
	done  chan struct{} // made when it is first needed
	ended bool
	hooks []sip.FnTxTerminate
}

var _ sip.ServerTransaction = (*Transaction)(nil)

// Respond keeps res. After Terminate it is an error.
func (tx *Transaction) Respond(res *sip.Response) error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return sip.ErrTransactionTerminated
	}
	tx.Responses = append(tx.Responses, res)
	return nil
}

// Terminate ends the transaction. A test calls it where a peer would time out.
func (tx *Transaction) Terminate() {
	for _, f := range tx.end() {
		f("", sip.ErrTransactionTerminated)
	}
}

// end returns the functions to call, the first time.
func (tx *Transaction) end() []sip.FnTxTerminate {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return nil
	}
	tx.ended = true
	close(tx.channel())
	return tx.hooks
}

// Done returns a channel that Terminate closes.
func (tx *Transaction) Done() <-chan struct{} {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.channel()
}

func (tx *Transaction) channel() chan struct{} {
	if tx.done == nil {
		tx.done = make(chan struct{})
	}
	return tx.done
}

// OnTerminate has Terminate call f. After Terminate it returns false and does
// nothing.
func (tx *Transaction) OnTerminate(f sip.FnTxTerminate) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if !tx.ended {
		tx.hooks = append(tx.hooks, f)
	}
	return !tx.ended
}

// Err is nil, and sip.ErrTransactionTerminated after Terminate.
func (tx *Transaction) Err() error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.ended {
		return sip.ErrTransactionTerminated
	}
	return nil
}

// Acks returns a channel to which nothing is sent.
func (tx *Transaction) Acks() <-chan *sip.Request { return nil }

// OnCancel returns true, and false after Terminate. It never calls f.
func (tx *Transaction) OnCancel(sip.FnTxCancel) bool { return tx.Err() == nil }
