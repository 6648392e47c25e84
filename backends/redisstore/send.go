package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// maxCallBytes closes a script call that has grown large before MaxBatch is
// reached: the server does nothing else while it runs.
const maxCallBytes = 1 << 20

// apply carries out ops by way of f and sets the answer of each. It reports
// whether f has landed and may be used again.
func (s *Store) apply(ctx context.Context, f *flight, ops []*claim.Op) (landed bool) {
	for _, op := range ops {
		op.Verdict, op.Recovered, op.Err = claim.Verdict{}, false, nil
		if err := op.Validate(); err != nil {
			op.Fail(err)
			continue
		}
		f.add(s.names, op)
	}
	if len(f.ops) == 0 {
		return true
	}
	if err := ctx.Err(); err != nil {
		failAll(f.ops, claim.Unavailable(err))
		return true
	}
	s.book(ctx, f, stateScript, s.hope.any(), s.lean)
	landed = s.fly(ctx, f)
	left := f.fresh.land()
	if len(left.anew) > 0 {
		s.hope.lose()
	} else {
		s.hope.note(f.met())
	}
	s.finish(ctx, &left)
	return landed
}

// applyByScript has the script carry out what went out before, as fresh claims.
func (s *Store) applyByScript(ctx context.Context, ops []*claim.Op, again again) {
	if len(ops) == 0 {
		return
	}
	f := newFlight()
	f.again = again
	for _, op := range ops {
		f.add(s.names, op)
		op.Verdict, op.Err = claim.Verdict{}, nil
	}
	s.book(ctx, f, stateScript, false, false)
	if s.fly(ctx, f) {
		f.free()
	}
}

// fly sends what is booked, and sets the answers of what the script carried out.
func (s *Store) fly(ctx context.Context, f *flight) (landed bool) {
	sent := s.clocks.now()
	if landed = s.send(ctx, f); landed {
		s.watchClock(ctx, f, sent)
	}
	var left unsettled
	for _, c := range f.calls {
		c.land(&left)
	}
	if len(left.full) > 0 {
		s.settleWithoutMemory(ctx, left.full)
	}
	s.applyByScript(ctx, left.asked, left.doubt)
	return landed
}

// settleWithoutMemory carries out once more the operations that a full server
// refused, with leave to write. What ends a claim shrinks the record or keeps
// its size, and the claims that are alive bound it; without it, work that was
// done would be done again as soon as there is memory. What starts a claim
// stays refused.
func (s *Store) settleWithoutMemory(ctx context.Context, full []*claim.Op) {
	f := newFlight()
	for _, op := range full {
		f.add(s.names, op)
	}
	s.book(ctx, f, settleScript, false, false)
	landed := s.send(ctx, f)
	for _, c := range f.calls {
		// A server that cannot run it has now refused the operations twice.
		if isReply(c.err) && c.stamp.sends.Load() == 1 {
			continue
		}
		for _, op := range c.ops {
			op.Err = nil
		}
		c.land(new(unsettled))
	}
	if landed {
		f.free()
	}
}

// book divides the operations of f into calls of script, and with hope into claims
// that may need none. With lean some of the calls are doneScript's.
func (s *Store) book(ctx context.Context, f *flight, script *script, hope, lean bool) {
	now := s.clocks.now()
	var low, high claim.Instant
	if hope {
		low, high, hope = s.serverTime(now)
	}
	f.seal(hope, lean)
	most := s.maxBatch
	if !s.together {
		most = 1
	}
	for first := 0; first < len(f.ops); {
		end, size := first, 0
		for end < len(f.ops) && end-first < most && size < maxCallBytes {
			size += f.size(end)
			end++
		}
		c := f.book(ctx, first, end, s.nonce(), s.routed, s.packing)
		if lean && f.bare(first, end) {
			c.use(doneScript, false)
		} else {
			c.use(script, false)
		}
		f.cmds = append(f.cmds, c.cmd)
		first = end
	}
	if len(f.fresh.claims) > 0 {
		f.cmds = f.fresh.book(f.cmds, s.nonce(), low, high)
	}
}

// send flies f until every call has its fate: once, and again with the text of
// the script for calls whose server did not know it. It reports false when ctx
// ended first and go-redis still holds f.
func (s *Store) send(ctx context.Context, f *flight) (landed bool) {
	for pass := 1; ; pass++ {
		if !s.trip(ctx, f) {
			for _, c := range f.calls {
				if !c.landed {
					c.fate = failure(ctx.Err(), c.stamp.abandon())
				}
			}
			f.fresh.abandon(ctx.Err())
			return false
		}
		f.note()
		const passes = 3
		if pass == passes || !s.rebook(ctx, f, pass+1 == passes) {
			return true
		}
	}
}

// trip sends the commands of f. A client that heeds the deadline of ctx is
// called right here. Any other is left behind when ctx ends: its goroutine
// lives on until the client gives up by its own timeouts, and can send nothing
// more, since the stamps are abandoned.
func (s *Store) trip(ctx context.Context, f *flight) (landed bool) {
	if !s.mustLeave(ctx) {
		s.exec(ctx, f)
		return true
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.exec(ctx, f)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// mustLeave reports whether a call may have to be left behind to return in
// time.
func (s *Store) mustLeave(ctx context.Context) bool {
	if ctx.Done() == nil {
		return false
	}
	_, limited := ctx.Deadline()
	return !limited || !s.punctual
}

// inTime returns what run returns, or claim.ErrUnavailable when ctx ends first:
// run only reads.
func inTime[T any](ctx context.Context, s *Store, run func() (T, error)) (T, error) {
	if !s.mustLeave(ctx) {
		return run()
	}
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := run()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, claim.Unavailable(ctx.Err())
	}
}

// exec sends the commands of f.
func (s *Store) exec(ctx context.Context, f *flight) {
	switch {
	case s.waitReplicas > 0:
		f.err = s.execAndWait(ctx, f)
	case len(f.cmds) == 1:
		f.err = s.client.Process(ctx, f.cmds[0])
	default:
		f.err = pipelined(ctx, s.client, f.cmds)
	}
}

// pipelined sends cmds in one pipeline.
func pipelined(ctx context.Context, client redis.UniversalClient, cmds []redis.Cmder) error {
	pipe := client.Pipeline()
	_ = pipe.BatchProcess(ctx, cmds...)
	_, err := pipe.Exec(ctx)
	return err
}

// rebook takes the calls along once more whose server had no script: after a
// restart, SCRIPT FLUSH or a failover, and on a new shard. The first call to
// each server carries the text, which leaves the script there for the others;
// or every call does. It reports whether there is anything to send.
func (s *Store) rebook(ctx context.Context, f *flight, text bool) bool {
	clear(f.cmds)
	f.cmds = f.cmds[:0]
	if !f.unknownScript() {
		return false
	}
	type lesson struct {
		node *redis.Client
		run  *script
	}
	var taught map[lesson]bool
	for _, c := range f.calls {
		if c.landed {
			continue
		}
		node := s.nodeOf(ctx, c.key)
		l := lesson{node, c.run}
		c.use(c.run, text || node == nil || !taught[l])
		if node != nil && taught == nil {
			taught = make(map[lesson]bool)
		}
		if node != nil {
			taught[l] = true
		}
		f.cmds = append(f.cmds, c.cmd)
	}
	return len(f.cmds) > 0
}

// nodeOf returns the client of the server that has the key, or nil where that is
// not known.
func (s *Store) nodeOf(ctx context.Context, key string) *redis.Client {
	switch client := s.client.(type) {
	case *redis.Client:
		return client
	case *redis.ClusterClient:
		if node, err := client.MasterForKey(ctx, key); err == nil {
			return node
		}
	case *redis.Ring:
		if node, err := client.GetShardClientForKey(key); err == nil {
			return node
		}
	}
	return nil
}
