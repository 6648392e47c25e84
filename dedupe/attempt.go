package dedupe

import (
	"context"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// attempt is one delivery, or one call of Do, on its way through the steps. It
// belongs to one goroutine; the fields of the flight and of the lease are
// guarded by those. It is used again for other messages: what a handler may keep
// stands in its run.
type attempt struct {
	begun time.Duration // by Deduper.now, as all moments here
	key   claim.Key
	fp    claim.Fingerprint
	msg   *bus.Message // nil in Do

	// What to run: a message handler or a function.
	handler bus.Handler
	fn      func(context.Context) ([]byte, error)

	// op is the operation that is out for this attempt: first the claim, then
	// what ends it. ops points to it, so that a single attempt needs no slice.
	op  claim.Op
	ops [1]*claim.Op

	ctx    *runContext   // of the handler; nil in a batch, and until there is a use for it
	run    *run          // in ctx, or in the context of the batch
	sent   time.Duration // start of the first send of the claim
	grant  claim.Grant
	lease  lease
	plan   plan
	ending time.Duration // start of the first send of the ending
	member *member       // in a batch
	// awaited is set when a ended while its lease was on its way to be extended:
	// the keeper still looks at it.
	awaited bool

	landed chan struct{} // guarded by the flight's shard; made by the first who waits
}

var attempts = sync.Pool{New: func() any { return new(attempt) }}

func newAttempt() *attempt { return attempts.Get().(*attempt) }

// free gives a back. Nothing of it may be used any more.
func (a *attempt) free() {
	if !a.awaited {
		*a = attempt{}
		attempts.Put(a)
	}
}

// plan is how an attempt whose handler has returned is to end.
type plan struct {
	kind  claim.OpKind // MarkDone, MarkDead or Release; zero: nothing is sent
	err   error        // the handler's, nil for MarkDone
	delay time.Duration
}

// Result is how a call of Do, or a message that was a duplicate, ended.
type Result struct {
	// Bytes is what the function returned, now or when it ran; nil when it was
	// nothing or is Omitted. It must not be changed.
	Bytes []byte
	// Omitted is set for a duplicate whose result was too large to keep.
	Omitted bool
	// Duplicate is set when the function did not run now, because it had run.
	Duplicate bool
	// Attempt and Fence are those of the run; zero for a duplicate.
	Attempt int
	Fence   uint64
}

// call runs the handler or the function.
func (a *attempt) call(ctx context.Context) error {
	if a.handler != nil {
		return a.handler(ctx, a.msg)
	}
	result, err := a.fn(ctx)
	if result != nil {
		a.run.result = result
	}
	return err
}

// context returns the context for a's handler, under ctx. It is made once.
func (a *attempt) context(ctx context.Context) *runContext {
	if a.ctx == nil {
		a.ctx = &runContext{lazyContext: lazyContext{parent: ctx}}
		a.run = &a.ctx.run
	}
	return a.ctx
}

// introduce tells the run whose it is.
func (a *attempt) introduce() {
	a.run.identity, a.run.fence, a.run.attempt = a.key.Digest(), a.grant.Fence, a.grant.Attempt
	if a.key.IsZero() {
		a.run.unnamed = a.msg
	}
}

func (a *attempt) single() []*claim.Op {
	a.ops[0] = &a.op
	return a.ops[:]
}

func (a *attempt) request(o *Options) claim.Request {
	req := claim.Request{
		Token:       claim.NewToken(),
		TTL:         o.Lease,
		Retention:   o.UnfinishedRetention,
		Fingerprint: a.fp,
		Takeover:    o.Takeover,
		MaxAttempts: o.MaxAttempts,
	}
	if o.ObserveOnly {
		req.MaxAttempts, req.Takeover = 0, claim.Rerun
	}
	return req
}

// completion returns what is recorded when the attempt has succeeded.
func (a *attempt) completion(o *Options) claim.Completion {
	c := claim.Completion{Retention: o.Retention, Result: a.run.result, Omitted: a.run.omitted, Fingerprint: a.fp}
	if len(c.Result) > max(o.MaxResult, 0) {
		c.Result, c.Omitted = nil, true
	}
	return c
}
