package dedupe

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/oncebus/once/claim"
)

// maxFinished bounds the finished work that is remembered without a record. When
// there is more, the oldest is forgotten and may be done again.
const maxFinished = 10_000

// finished remembers work whose handler succeeded here and whose completion the
// store has not confirmed, so that it is not done again in this process. It goes
// on trying to have it recorded.
type finished struct {
	d *Deduper

	unrecorded atomic.Int64 // len(works), to be read without the lock on the hot path

	mu       sync.Mutex
	works    map[claim.Digest]*work
	order    []*work // oldest first; may hold works that are settled
	retrying bool    // whether the goroutine runs
}

type work struct {
	fp      claim.Fingerprint
	op      claim.Op // MarkDone, to be copied before use
	settled bool
}

// add remembers a's work, and starts to have it recorded.
func (f *finished) add(a *attempt) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := &work{fp: a.fp, op: a.op}
	f.works[a.key.Digest()] = w
	f.unrecorded.Store(int64(len(f.works)))
	f.order = append(f.order, w)
	for len(f.works) > maxFinished || len(f.order) > 2*maxFinished {
		f.forget(f.order[0])
		f.order = f.order[1:]
	}
	if !f.retrying {
		f.retrying = true
		f.d.help(f.retry)
	}
}

// forget drops w. The lock is held.
func (f *finished) forget(w *work) {
	w.settled = true
	if digest := w.op.Key.Digest(); f.works[digest] == w {
		delete(f.works, digest)
		f.unrecorded.Store(int64(len(f.works)))
	}
}

// drop forgets the work of a key.
func (f *finished) drop(digest claim.Digest) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w := f.works[digest]; w != nil {
		f.forget(w)
	}
}

// recall answers a when its work was finished here: it commits it once more. When
// that shows that another owner has the key, a is not answered.
func (f *finished) recall(ctx context.Context, a *attempt) (result Result, ok bool, err error) {
	if f.unrecorded.Load() == 0 {
		return Result{}, false, nil
	}
	f.mu.Lock()
	w := f.works[a.key.Digest()]
	f.mu.Unlock()
	if w == nil {
		return Result{}, false, nil
	}
	d := f.d
	if w.fp.Differs(a.fp) {
		return Result{}, true, d.mismatch(ctx, a, FromMemory)
	}
	op := w.op
	tctx, cancel := context.WithTimeout(ctx, d.opts.ClaimTimeout)
	defer cancel()
	d.transmit(tctx, []*claim.Op{&op})
	f.settle(w, &op)
	switch {
	case errors.Is(op.Err, claim.ErrLost):
		return Result{}, false, nil
	case op.Err != nil:
		d.decided(ctx, a, Decision{Source: FromMemory, Err: op.Err})
		return Result{}, true, d.commitUnknown(op.Err)
	}
	d.count.memoryHits.Add(1)
	result, err = d.duplicate(ctx, a, FromMemory, claim.Verdict{Result: op.Completion.Result, Omitted: op.Completion.Omitted})
	return result, true, err
}

// settle notes the answer to a repeated commit of w.
func (f *finished) settle(w *work, op *claim.Op) {
	if op.Err != nil && !errors.Is(op.Err, claim.ErrLost) {
		return
	}
	f.mu.Lock()
	first := !w.settled
	f.forget(w)
	f.mu.Unlock()
	switch {
	case !first:
	case op.Err != nil:
		f.d.count.lostCommits.Add(1)
	default:
		f.d.count.laterCommits.Add(1)
		if op.Recovered {
			f.d.count.recoveredCommits.Add(1)
		}
		if c := &op.Completion; c.Result == nil && !c.Omitted {
			f.d.memory.add(&op.Key, w.fp, c.Retention, f.d.now())
		}
	}
}

// retry commits what is remembered, from time to time, until nothing is left or
// the Deduper is closed. It is the body of a goroutine that runs only while there
// is something.
func (f *finished) retry() {
	for sleep(f.d.abort, jitter(f.d.opts.Lease/3)) {
		f.flush(f.d.abort)
		f.mu.Lock()
		f.retrying = len(f.works) > 0
		more := f.retrying
		f.mu.Unlock()
		if !more {
			return
		}
	}
}

// flush commits once more all that is remembered.
func (f *finished) flush(ctx context.Context) {
	f.mu.Lock()
	f.compact()
	works := append([]*work(nil), f.order...)
	f.mu.Unlock()
	if len(works) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, f.d.opts.ClaimTimeout)
	defer cancel()
	copies := make([]claim.Op, len(works))
	ops := make([]*claim.Op, len(works))
	for i, w := range works {
		copies[i] = w.op
		ops[i] = &copies[i]
	}
	claim.Apply(ctx, f.d.store, ops)
	for i, w := range works {
		f.settle(w, ops[i])
	}
}

// compact drops settled works from order. The lock is held.
func (f *finished) compact() {
	kept := f.order[:0]
	for _, w := range f.order {
		if !w.settled {
			kept = append(kept, w)
		}
	}
	clear(f.order[len(kept):])
	f.order = kept
}
