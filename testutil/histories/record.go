package histories

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oncebus/once/claim"
)

// Client is one of several that use a store at the same time.
type Client struct {
	// Store is what the client calls, by a connection of its own where it can.
	Store claim.Store
	// Run does the client's work on store, which records what it is asked to do
	// and hands it to Store. It returns when the work is done.
	Run func(store claim.Store)

	// Resends is how many times the client's library may send an operation again
	// without saying so. Defaults to 0: never.
	Resends int
	// Sends, when set, counts what was sent so far, for a client that does one
	// thing at a time: an operation during which one request was sent was not sent
	// again.
	Sends func() int

	// EarlyClock says that the store reads its clock at some moment of a call
	// before the call takes effect: that a lease is counted from then on, although
	// others see it only later. It is so for stores that commit. Defaults to
	// false: the clock is read at the moment of the effect.
	EarlyClock bool
}

// Record runs all clients at the same time and returns what they did once all
// have returned.
func Record(clients ...Client) *History {
	r := NewRecorder()
	r.Run(nil, clients...)
	return r.History()
}

// Recorder records in several parts, each with clients of its own. It is safe
// for concurrent use.
type Recorder struct {
	start time.Time

	mu    sync.Mutex
	logs  []*log // one for each client; guarded by mu
	notes []Note // guarded by mu
}

// NewRecorder returns a Recorder whose time begins now.
func NewRecorder() *Recorder { return &Recorder{start: time.Now()} }

// Run runs all clients at the same time and returns once all have returned.
// Meanwhile it calls beside, unless that is nil, in the caller's goroutine, so
// that it may use the caller's test; its context ends when the clients are done.
func (r *Recorder) Run(beside func(ctx context.Context), clients ...Client) {
	ctx, done := context.WithCancel(context.Background())
	defer done()
	var wg sync.WaitGroup
	for _, c := range clients {
		store := r.Store(c)
		wg.Go(func() { c.Run(store) })
	}
	if beside == nil {
		wg.Wait()
		return
	}
	go func() {
		wg.Wait()
		done()
	}()
	beside(ctx)
	<-ctx.Done()
}

// Store returns a store that records what client asks of its Store, for code
// that does not run under Run. What has no answer yet when History is called is
// unknown.
func (r *Recorder) Store(client Client) claim.Store {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := &log{recorder: r, number: len(r.logs), client: client}
	l.Singles = claim.SinglesBy(l.one)
	r.logs = append(r.logs, l)
	return l
}

// Note records that something happened beside the clients.
func (r *Recorder) Note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, Note{r.now(), fmt.Sprintf(format, args...)})
}

// History returns what was recorded so far.
func (r *Recorder) History() *History {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := &History{Notes: append([]Note(nil), r.notes...)}
	for _, l := range r.logs {
		l.mu.Lock()
		h.Operations = append(h.Operations, l.operations...)
		l.mu.Unlock()
	}
	h.sort()
	return h
}

// now is the time of the recording, by the monotonic clock.
func (r *Recorder) now() time.Duration { return time.Since(r.start) }

// log is one client's store and what it did.
type log struct {
	claim.Singles

	recorder *Recorder
	number   int
	client   Client

	mu         sync.Mutex
	operations []Operation // guarded by mu
}

// do records ops around carry, which sets their answers.
func (l *log) do(ops []*claim.Op, carry func()) {
	l.mu.Lock()
	first := len(l.operations)
	sent := l.client.sent()
	call := l.recorder.now()
	for _, op := range ops {
		l.operations = append(l.operations, Operation{Client: l.number, Op: keep(op), Call: call, Return: Never,
			Copies: l.client.Resends, EarlyClock: l.client.EarlyClock})
	}
	l.mu.Unlock()
	carry()
	end := l.recorder.now()
	copies := l.client.Resends
	if l.client.Sends != nil {
		copies = min(copies, max(0, l.client.sent()-sent-1))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, op := range ops {
		o := &l.operations[first+i]
		o.Op = keep(op)
		o.Copies = copies
		if !errors.Is(op.Err, claim.ErrUnknown) {
			o.Return = end
		}
	}
}

func (c *Client) sent() int {
	if c.Sends == nil {
		return 0
	}
	return c.Sends()
}

// keep returns a copy of op that its caller cannot change.
func keep(op *claim.Op) claim.Op {
	kept := *op
	kept.Completion.Result = bytes.Clone(op.Completion.Result)
	kept.Verdict.Result = bytes.Clone(op.Verdict.Result)
	return kept
}
