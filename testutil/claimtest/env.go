package claimtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/oncebus/once/claim"
)

// mode says how operations reach the store.
type mode uint8

const (
	// single calls the methods of claim.Store and claim.Inspector.
	single mode = iota
	// batched sends each operation through Apply, between two others.
	batched
)

func (m mode) String() string {
	if m == batched {
		return "Batched"
	}
	return "Single"
}

// env is what a case works with: the harness, and calls that check what holds
// for every answer.
type env struct {
	tester
	*Harness
	mode mode
	ctx  context.Context
	keys int
	// tokens counts those that were made.
	tokens atomic.Uint32
	// waited is what the case asked the clock to move.
	waited time.Duration
}

func newEnv(t tester, h *Harness, m mode) *env {
	t.Helper()
	switch {
	case h.Store == nil || h.Advance == nil:
		t.Fatalf("claimtest: Harness.Store and Harness.Advance must be set")
	case h.Unit < claim.MinTTL || h.Unit > claim.MaxTTL/long:
		t.Fatalf("claimtest: Harness.Unit is %v, want %v to %v", h.Unit, claim.MinTTL, claim.MaxTTL/long)
	}
	return &env{tester: t, Harness: h, mode: m, ctx: context.Background()}
}

// lacks returns why the case cannot run on this store, or "".
func (e *env) lacks(c *testCase) string {
	_, inspector := e.Store.(claim.Inspector)
	_, batcher := e.Store.(claim.Batcher)
	switch {
	case c.inspector && !inspector:
		return "the store is not a claim.Inspector"
	case (c.batcher || e.mode == batched) && !batcher:
		return "the store is not a claim.Batcher"
	}
	return ""
}

// Lengths of time in units. A case in which a lease must be alive takes long,
// so that a slow machine cannot end it; one in which it must end takes 1.
const (
	long    = 1000
	forever = 5 * long
)

func (e *env) units(n int) time.Duration { return time.Duration(n) * e.Unit }

// key returns a key that no other call in this case returns.
func (e *env) key() claim.Key {
	e.Helper()
	e.keys++
	k := e.keyOf("claimtest", "consumer", fmt.Sprintf("message-%d", e.keys))
	if e.Places {
		k = k.At(claim.Place{Log: "claimtest", Sequence: uint64(e.keys)})
	}
	return k
}

func (e *env) keyOf(namespace, consumer, id string) claim.Key {
	e.Helper()
	k, err := claim.NewKey(namespace, consumer, claim.MessageID(id))
	if err != nil {
		e.Fatalf("NewKey: %v", err)
	}
	return k
}

// token returns a token that no other call in this case returns, and that has
// another stamp than the others, so that a case ends the same each time.
func (e *env) token() claim.Token {
	t := claim.Token([]byte("0000 a token \x00\n\xff"))
	binary.BigEndian.PutUint32(t[:], e.tokens.Add(1))
	return t
}

// request returns a request with a new token, a long lease and a longer
// retention.
func (e *env) request() claim.Request {
	return claim.Request{Token: e.token(), TTL: e.units(long), Retention: e.units(forever)}
}

// shortRequest returns one whose lease ends after a unit.
func (e *env) shortRequest() claim.Request {
	r := e.request()
	r.TTL = e.Unit
	return r
}

// Advance moves the store's clock.
func (e *env) Advance(d time.Duration) {
	e.waited += d
	e.Harness.Advance(d)
}

// endLease lets a lease of one unit run out.
func (e *env) endLease() { e.Advance(e.units(2)) }

// do carries out op in the mode of the case and checks what holds for every
// answer.
func (e *env) do(op *claim.Op) {
	e.Helper()
	if e.mode == batched {
		e.doBatched(op)
	} else {
		doSingle(e.ctx, e.Store, op)
	}
	e.checkAnswer(op)
}

func doSingle(ctx context.Context, s claim.Store, op *claim.Op) {
	switch op.Kind {
	case claim.OpTryClaim:
		op.Verdict, op.Err = s.TryClaim(ctx, op.Key, op.Request)
	case claim.OpExtend:
		op.Err = s.Extend(ctx, op.Key, op.Grant, op.TTL)
	case claim.OpMarkDone:
		op.Recovered, op.Err = s.MarkDone(ctx, op.Key, op.Grant, op.Completion)
	case claim.OpMarkDead:
		op.Err = s.MarkDead(ctx, op.Key, op.Grant, op.Reason)
	case claim.OpRelease:
		op.Err = s.Release(ctx, op.Key, op.Grant, op.TTL)
	case claim.OpForget:
		op.Err = s.(claim.Inspector).Forget(ctx, op.Key, claim.Record{State: op.Seen, Fence: op.Grant.Fence})
	case claim.OpRevive:
		op.Err = s.(claim.Inspector).Revive(ctx, op.Key, claim.Record{State: op.Seen, Fence: op.Grant.Fence})
	}
}

// doBatched sends op between two operations that change nothing, whose answers
// must not get mixed up with its own.
func (e *env) doBatched(op *claim.Op) {
	e.Helper()
	before, after := e.neighbour(), e.neighbour()
	// A leftover answer must be overwritten.
	op.Verdict, op.Recovered, op.Err = leftover, true, errLeftover
	e.Store.(claim.Batcher).Apply(e.ctx, []*claim.Op{before, op, after})
	if errors.Is(op.Err, errLeftover) || op.Err == nil && op.Kind != claim.OpTryClaim && op.Verdict.Outcome != 0 {
		e.Fatalf("Apply left the answer of an earlier use in a %v", op.Kind)
	}
	for _, n := range []*claim.Op{before, after} {
		if e.ctx.Err() == nil && !errors.Is(n.Err, claim.ErrLost) {
			e.Fatalf("an Extend of an absent key, in a batch with %v: error %v, want ErrLost", op.Kind, n.Err)
		}
	}
}

var (
	leftover    = claim.Verdict{Outcome: claim.Claimed, Reason: "leftover"}
	errLeftover = errors.New("leftover")
)

func (e *env) neighbour() *claim.Op {
	e.keys++
	k, err := claim.NewKey("claimtest", "neighbour", claim.MessageID(fmt.Sprint(e.keys)))
	if err != nil {
		e.Fatalf("NewKey: %v", err)
	}
	return &claim.Op{Kind: claim.OpExtend, Key: k, TTL: e.Unit,
		Grant: claim.Grant{Token: e.token(), Fence: 1, Attempt: 1}}
}

// checkAnswer checks what holds for every answer of every operation.
func (e *env) checkAnswer(op *claim.Op) {
	e.Helper()
	if op.Err != nil {
		if op.Verdict.Outcome != 0 || op.Verdict.Grant != (claim.Grant{}) || op.Recovered {
			e.Fatalf("%v: error %v came with an answer: %+v", op.Kind, op.Err, op.Verdict)
		}
		e.checkError(op)
		return
	}
	if op.Kind == claim.OpTryClaim {
		e.checkVerdict(&op.Request, &op.Verdict)
	}
}

// sentinels are the errors of a store, of which each error matches one.
var sentinels = []error{claim.ErrLost, claim.ErrUnknown, claim.ErrUnavailable,
	claim.ErrCorrupt, claim.ErrTooLarge, claim.ErrInvalid}

// checkError checks that the operation's error is a *claim.Error with one
// meaning, and that no id and no token is in its text.
func (e *env) checkError(op *claim.Op) {
	e.Helper()
	matches := 0
	for _, s := range sentinels {
		if errors.Is(op.Err, s) {
			matches++
		}
	}
	if matches != 1 {
		e.Fatalf("%v: error %q matches %d of the sentinels of package claim, want exactly one", op.Kind, op.Err, matches)
	}
	var ce *claim.Error
	if !errors.As(op.Err, &ce) {
		e.Fatalf("%v: error %q is a %T, want a *claim.Error", op.Kind, op.Err, op.Err)
	}
	if ce.Op != op.Kind || ce.Key != op.Key {
		e.Fatalf("%v: the error is about %v of %v, want %v", op.Kind, ce.Op, ce.Key, op.Key)
	}
	token := op.Grant.Token
	if op.Kind == claim.OpTryClaim {
		token = op.Request.Token
	}
	var secrets []string
	// Shorter ids would be found in any text.
	if id := string(op.Key.ID()); len(id) >= 8 {
		secrets = append(secrets, id)
	}
	if !token.IsZero() {
		secrets = append(secrets, string(token[:]), fmt.Sprintf("%x", token[:]), fmt.Sprintf("%X", token[:]), fmt.Sprint(token[:]))
	}
	for _, text := range []string{op.Err.Error(), fmt.Sprintf("%+v", op.Err), fmt.Sprintf("%#v", op.Err)} {
		for _, s := range secrets {
			if strings.Contains(text, s) {
				e.Fatalf("%v: the message id or the token is in the text of the error", op.Kind)
			}
		}
	}
	if text := op.Err.Error(); !strings.Contains(text, op.Kind.String()) || !strings.Contains(text, op.Key.Consumer()) {
		e.Fatalf("%v: the error %q does not name the operation and the consumer %q", op.Kind, text, op.Key.Consumer())
	}
}

// checkVerdict checks that the fields agree with the outcome.
func (e *env) checkVerdict(req *claim.Request, v *claim.Verdict) {
	e.Helper()
	if !v.Outcome.Valid() {
		e.Fatalf("TryClaim: %v without an error", v.Outcome)
	}
	if v.Outcome == claim.Claimed {
		g := v.Grant
		switch {
		case g.Token != req.Token:
			e.Fatalf("TryClaim: the grant's token is not the one that was sent")
		case g.Fence == 0 || g.Fence > claim.MaxFence:
			e.Fatalf("TryClaim: the grant's fence is %d, want 1 to %d", g.Fence, int64(claim.MaxFence))
		case g.Attempt < 1:
			e.Fatalf("TryClaim: the grant's attempt is %d, want 1 or more", g.Attempt)
		case v.Remaining <= 0 || v.Remaining > req.TTL+e.grace():
			e.Fatalf("TryClaim: claimed with %v of the lease left, want more than 0 and at most %v", v.Remaining, req.TTL+e.grace())
		}
	} else if v.Grant != (claim.Grant{}) || v.Takeover {
		e.Fatalf("TryClaim: %v with a grant", v.Outcome)
	}
	want := claim.Verdict{Outcome: v.Outcome, Grant: v.Grant, Takeover: v.Takeover}
	switch v.Outcome {
	case claim.Claimed, claim.Pending:
		want.Remaining = v.Remaining
	case claim.Done:
		want.Remaining, want.Result, want.Omitted = v.Remaining, v.Result, v.Omitted
	case claim.Dead:
		want.Attempt, want.Reason = v.Attempt, v.Reason
	case claim.Parked:
		want.Attempt = v.Attempt
	}
	switch {
	case (v.Outcome == claim.Pending || v.Outcome == claim.Done) && v.Remaining <= 0:
		e.Fatalf("TryClaim: %v with %v remaining, want more than 0", v.Outcome, v.Remaining)
	case v.Outcome == claim.Parked && v.Attempt < 1:
		e.Fatalf("TryClaim: parked at attempt %d, want 1 or more", v.Attempt)
	case v.Omitted && v.Result != nil:
		e.Fatalf("TryClaim: the result is there and said to be omitted")
	case v.Remaining != want.Remaining || v.Attempt != want.Attempt || v.Reason != want.Reason ||
		v.Omitted != want.Omitted || len(v.Result) != len(want.Result):
		e.Fatalf("TryClaim: %v sets fields of other outcomes: %+v", v.Outcome, *v)
	}
}
