package claimtest

import (
	"bytes"
	"errors"
	"time"

	"github.com/oncebus/once/claim"
)

// tryClaim claims and fails the case on an error.
func (e *env) tryClaim(key claim.Key, req claim.Request) claim.Verdict {
	e.Helper()
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	e.do(&op)
	if op.Err != nil {
		e.Fatalf("TryClaim: %v", op.Err)
	}
	return op.Verdict
}

// answers claims and fails the case unless the outcome is want.
func (e *env) answers(want claim.Outcome, key claim.Key, req claim.Request) claim.Verdict {
	e.Helper()
	v := e.tryClaim(key, req)
	if v.Outcome != want {
		e.Fatalf("TryClaim: %v, want %v; the answer is %+v", v.Outcome, want, v)
	}
	return v
}

// claim claims a key that must be claimable.
func (e *env) claim(key claim.Key, req claim.Request) claim.Grant {
	e.Helper()
	return e.answers(claim.Claimed, key, req).Grant
}

// claimAttempt claims a key whose next attempt must be n.
func (e *env) claimAttempt(n int, key claim.Key, req claim.Request) claim.Grant {
	e.Helper()
	g := e.claim(key, req)
	if g.Attempt != n {
		e.Fatalf("TryClaim: attempt %d, want %d", g.Attempt, n)
	}
	return g
}

// parks asks, without changing anything, whether the key is pending with its
// lease over.
func (e *env) parks(key claim.Key) claim.Verdict {
	e.Helper()
	req := e.request()
	req.Takeover = claim.Park
	return e.answers(claim.Parked, key, req)
}

func (e *env) extend(key claim.Key, g claim.Grant, ttl time.Duration) error {
	e.Helper()
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}
	e.do(&op)
	return op.Err
}

func (e *env) complete(key claim.Key, g claim.Grant, c claim.Completion) (bool, error) {
	e.Helper()
	if c.Retention == 0 {
		c.Retention = e.units(forever)
	}
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: c}
	e.do(&op)
	return op.Recovered, op.Err
}

// done completes and must succeed without a recovery.
func (e *env) done(key claim.Key, g claim.Grant, c claim.Completion) {
	e.Helper()
	recovered, err := e.complete(key, g, c)
	e.fine(err)
	if recovered {
		e.Fatalf("MarkDone: recovered, although the store had the claim")
	}
}

func (e *env) dead(key claim.Key, g claim.Grant, reason string) error {
	e.Helper()
	op := claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: g, Reason: reason}
	e.do(&op)
	return op.Err
}

func (e *env) release(key claim.Key, g claim.Grant, delay time.Duration) error {
	e.Helper()
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: g, TTL: delay}
	e.do(&op)
	return op.Err
}

// forget removes the record as it is.
func (e *env) forget(key claim.Key) error {
	e.Helper()
	return e.forgetSeen(key, e.seen(key))
}

// revive revives the record as it is.
func (e *env) revive(key claim.Key) error {
	e.Helper()
	return e.reviveSeen(key, e.seen(key))
}

func (e *env) forgetSeen(key claim.Key, seen claim.Record) error {
	e.Helper()
	op := claim.Op{Kind: claim.OpForget, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	e.do(&op)
	return op.Err
}

func (e *env) reviveSeen(key claim.Key, seen claim.Record) error {
	e.Helper()
	op := claim.Op{Kind: claim.OpRevive, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	e.do(&op)
	return op.Err
}

// seen returns the record as an operator sees it.
func (e *env) seen(key claim.Key) claim.Record {
	e.Helper()
	entry, _ := e.get(key)
	return entry.Record
}

// fine fails the case on an error.
func (e *env) fine(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("%v", err)
	}
}

// lost fails the case unless err is ErrLost.
func (e *env) lost(err error) {
	e.Helper()
	if !errors.Is(err, claim.ErrLost) {
		e.Fatalf("got error %v, want ErrLost", err)
	}
}

// sameResult fails the case unless the verdict carries want; an empty result
// and none are not told apart.
func (e *env) sameResult(v claim.Verdict, want []byte) {
	e.Helper()
	if v.Omitted || !bytes.Equal(v.Result, want) {
		e.Fatalf("TryClaim: done with a result of %d bytes, omitted %v, want the %d bytes that were given", len(v.Result), v.Omitted, len(want))
	}
}

// within fails the case unless 0 < d <= limit.
func (e *env) within(what string, d, limit time.Duration) {
	e.Helper()
	if d <= 0 || d > limit+e.grace() {
		e.Fatalf("%s: %v, want more than 0 and at most %v", what, d, limit+e.grace())
	}
}

// grace is how much longer than its TTL a lease may hold. A clock that stands still is
// known exactly.
func (e *env) grace() time.Duration {
	if e.fakeClock() {
		return 0
	}
	return claim.MaxGrace
}

// foreign returns g with a token that is not the owner's.
func (e *env) foreign(g claim.Grant) claim.Grant {
	g.Token = e.token()
	return g
}

// get returns what the store's Inspector sees, and false if it has none.
func (e *env) get(key claim.Key) (claim.Entry, bool) {
	e.Helper()
	i, ok := e.Store.(claim.Inspector)
	if !ok {
		return claim.Entry{}, false
	}
	entry, err := i.Get(e.ctx, key)
	if err != nil {
		e.Fatalf("Get: %v", err)
	}
	return entry, true
}

// unchanged runs fn and fails the case if the record of key differs after it.
// Without an Inspector it cannot tell; the cases look by other means too.
func (e *env) unchanged(key claim.Key, fn func()) {
	e.Helper()
	before, ok := e.get(key)
	fn()
	if !ok {
		return
	}
	after, _ := e.get(key)
	// A store may work out when a record ends from what its server says is left.
	moved := max(after.Expires.Sub(before.Expires), before.Expires.Sub(after.Expires))
	kept := max(after.Retention-before.Retention, before.Retention-after.Retention)
	b, a := before.Record, after.Record
	if moved > e.Unit || kept > e.Unit || a.State != b.State || a.Key != b.Key || a.Token != b.Token ||
		a.Fence != b.Fence || a.Attempt != b.Attempt || a.Deadline != b.Deadline || a.Fingerprint != b.Fingerprint ||
		a.Omitted != b.Omitted || a.Recovered != b.Recovered || a.Reason != b.Reason || !bytes.Equal(a.Result, b.Result) {
		e.Fatalf("the record changed:\nfrom %+v\nto   %+v", b, a)
	}
}
