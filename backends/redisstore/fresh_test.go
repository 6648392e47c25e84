package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/redistest"
)

// nothing is the reply of a SET NX GET that met nothing, in RESP3.
const nothing = "_\r\n"

// spied is a store behind a proxy that claims without the script where it can.
func spied(t *testing.T) (*netproxy.Proxy, *redisstore.Store, *redistest.Server) {
	t.Helper()
	s := redistest.Start(t)
	p, client := behind(t, s, noRetries)
	store := newStore(t, client, &redisstore.Options{Prefix: s.Prefix})
	knowTime(t, store)
	return p, store, s
}

// requests returns how many requests with the word run sends.
func requests(p *netproxy.Proxy, word string, run func()) int {
	count := p.Count(word)
	run()
	return count()
}

func mustClaim(t *testing.T, store *redisstore.Store, key claim.Key, req claim.Request) claim.Verdict {
	t.Helper()
	v, err := store.TryClaim(t.Context(), key, req)
	if err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("TryClaim: %v, error %v; want claimed", v.Outcome, err)
	}
	return v
}

func TestAFreshClaimLeavesWhatTheScriptWould(t *testing.T) {
	p, store, s := spied(t)
	direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix}).ByScript()
	for name, fp := range map[string]claim.Fingerprint{"plain": {}, "with a fingerprint": {1, 2, 3}} {
		t.Run(name, func(t *testing.T) {
			key, req := newKey(t), newRequest()
			req.Fingerprint = fp
			knowTime(t, store)
			var v claim.Verdict
			if n := requests(p, "evalsha", func() { v = mustClaim(t, store, key, req) }); n != 0 {
				t.Fatalf("%d script calls for a claim that met nothing", n)
			}
			e, err := direct.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if e.State != claim.StatePending || e.Token != req.Token || e.Fence != v.Grant.Fence || e.Attempt != 1 ||
				e.Fingerprint != fp || e.Retention != req.Retention || e.Key != key {
				t.Errorf("the record is %+v, the grant %+v", e.Record, v.Grant)
			}
			if lag := e.Now.Sub(claim.Instant(e.Fence)); lag < 0 || lag > time.Second {
				t.Errorf("the fence is %v behind the server's time", lag)
			}
			if left := e.Deadline.Sub(e.Now); left > req.TTL+10*time.Millisecond || left < req.TTL-time.Second {
				t.Errorf("the lease of %v has %v left", req.TTL, left)
			}
			if _, err := direct.MarkDone(t.Context(), key, v.Grant, claim.Completion{Retention: req.Retention}); err != nil {
				t.Errorf("MarkDone: %v", err)
			}
		})
	}
}

func TestAFreshClaimThatMeetsARecordAsksTheScript(t *testing.T) {
	p, store, _ := spied(t)
	key, req := newKey(t), newRequest()
	v := mustClaim(t, store, key, req)
	for name, c := range map[string]struct {
		token claim.Token
		want  claim.Outcome
	}{"of another owner": {claim.NewToken(), claim.Pending}, "of its own": {req.Token, claim.Claimed}} {
		again := req
		again.Token = c.token
		knowTime(t, store)
		n := requests(p, "evalsha", func() {
			got, err := store.TryClaim(t.Context(), key, again)
			if err != nil || got.Outcome != c.want || c.want == claim.Claimed && got.Grant != v.Grant {
				t.Errorf("a record %s: %+v, error %v; want %v", name, got, err, c.want)
			}
		})
		if n != 1 {
			t.Errorf("a record %s: %d script calls, want 1", name, n)
		}
	}
}

func TestClaimsOfOneKeyInABatchTakeEffectInTheirOrder(t *testing.T) {
	_, store, _ := spied(t)
	for range 20 {
		key := newKey(t)
		var ops []*claim.Op
		for range 3 {
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()},
				&claim.Op{Kind: claim.OpTryClaim, Key: key, Request: newRequest()})
		}
		store.Apply(t.Context(), ops)
		for i, op := range ops {
			want := claim.Claimed
			if i == 3 || i == 5 {
				want = claim.Pending
			}
			if op.Err != nil || op.Verdict.Outcome != want {
				t.Fatalf("operation %d: %v, error %v; want %v", i, op.Verdict.Outcome, op.Err, want)
			}
		}
	}
}

func TestAFreshClaimByAWrongTimeGetsTheTimeForAFence(t *testing.T) {
	p, store, _ := spied(t)
	key, req := newKey(t), newRequest()
	store.MisjudgeTime(time.Hour, 0)
	v := mustClaim(t, store, key, req)
	if n := store.Stats().ClockSteps; n != 1 {
		t.Errorf("%d steps of the clock are counted, want 1", n)
	}
	e, err := store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if left := e.Deadline.Sub(e.Now); v.Grant.Attempt != 1 || v.Grant.Fence != e.Fence || v.Remaining > req.TTL || left > req.TTL || left < req.TTL-time.Minute/2 {
		t.Errorf("grant %+v for %v, fence %d in the record, %v left of a lease of %v", v.Grant, v.Remaining, e.Fence, left, req.TTL)
	}
	if lag := e.Now.Sub(claim.Instant(e.Fence)); lag < 0 || lag > time.Minute/2 {
		t.Errorf("the fence is %v behind the server's time", lag)
	}

	// Where that fails nobody gets the wrong fence.
	key, req = newKey(t), newRequest()
	knowTime(t, store)
	store.MisjudgeTime(time.Hour, 0)
	trap := p.CutAt(netproxy.BeforeRequest, "evalsha")
	v, err = store.TryClaim(t.Context(), key, req)
	trap.Wait(t)
	if !errors.Is(err, claim.ErrUnknown) {
		t.Errorf("%v, error %v; want ErrUnknown", v.Outcome, err)
	}
}

// Another may have taken over meanwhile.
func TestAFreshClaimWhoseLeaseIsOverBeforeItsFenceIsMendedIsUnknown(t *testing.T) {
	_, store, _ := spied(t)
	key := newKey(t)
	store.MisjudgeTime(-time.Hour, 0)
	v, err := store.TryClaim(t.Context(), key, newRequest())
	if !errors.Is(err, claim.ErrUnknown) {
		t.Errorf("%v, error %v; want ErrUnknown", v.Outcome, err)
	}
	knowTime(t, store)
	if v := mustClaim(t, store, key, newRequest()); !v.Takeover || v.Grant.Attempt != 2 {
		t.Errorf("then %+v; want a takeover", v)
	}
}

// lateTime puts a time that is much too late in the place of the last reply, TIME's.
func lateTime(b []byte) []byte {
	at := bytes.LastIndexByte(b, '*')
	return append(b[:at:at], "*2\r\n$10\r\n4000000000\r\n$1\r\n0\r\n"...)
}

func refusedTime(b []byte) []byte {
	at := bytes.LastIndexByte(b, '*')
	return append(b[:at:at], "-NOPERM User once has no permissions to run the 'time' command\r\n"...)
}

// For others a claim that took long is one claim: its lease ends when they were told,
// and its attempt is counted once.
func TestAClaimThatGetsAnotherFenceKeepsItsLease(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{"late": lateTime, "at a time that is not told": refusedTime} {
		t.Run(name, func(t *testing.T) {
			p, store, s := spied(t)
			direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix})
			key, req := newKey(t), newRequest()
			var before claim.Entry
			trap := p.Replace("echo", func(b []byte) []byte {
				var err error
				if before, err = direct.Get(t.Context(), key); err != nil {
					t.Error(err)
				}
				return change(b)
			})
			v := mustClaim(t, store, key, req)
			trap.Wait(t)
			after, err := direct.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if after.Fence <= before.Fence || after.Fence != v.Grant.Fence {
				t.Errorf("fence %d in the record and %d before, %d in the answer", after.Fence, before.Fence, v.Grant.Fence)
			}
			if after.Deadline != before.Deadline || after.Attempt != 1 || after.Retention != before.Retention || after.Token != before.Token {
				t.Errorf("the record changed from %+v to %+v", before, after)
			}
			if err := direct.Extend(t.Context(), key, v.Grant, req.TTL); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAClaimThatIsTakenOverBeforeItsFenceIsMendedIsUnknown(t *testing.T) {
	p, store, s := spied(t)
	direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix})
	key, req, other := newKey(t), newRequest(), newRequest()
	req.TTL = time.Millisecond
	var taken claim.Verdict
	trap := p.Replace("echo", func(b []byte) []byte {
		for taken.Outcome != claim.Claimed {
			var err error
			if taken, err = direct.TryClaim(t.Context(), key, other); err != nil {
				t.Error(err)
				break
			}
		}
		return lateTime(b)
	})
	v, err := store.TryClaim(t.Context(), key, req)
	trap.Wait(t)
	if !errors.Is(err, claim.ErrUnknown) {
		t.Errorf("%v, error %v; want ErrUnknown", v.Outcome, err)
	}
	if err := direct.Extend(t.Context(), key, taken.Grant, other.TTL); err != nil {
		t.Errorf("the claim that took over: %v", err)
	}
}

// A fence is of the time of its grant, however long the way there took.
func TestTheFenceOfATripThatTookLongIsOfItsEnd(t *testing.T) {
	p, store, s := spied(t)
	p.Delay(60 * time.Millisecond)
	asked := s.Client().Time(t.Context()).Val()
	v := mustClaim(t, store, newKey(t), newRequest())
	if passed := time.UnixMicro(int64(v.Grant.Fence)).Sub(asked); passed < 60*time.Millisecond {
		t.Errorf("the fence is of %v after the claim was sent, which took 60ms to the server", passed)
	}
	p.Delay(0)
	if n := requests(p, "echo", func() { mustClaim(t, store, newKey(t), newRequest()) }); n != 0 {
		t.Error("the next claim goes without the script too, and may take as long")
	}
}

// The first request may have taken effect, so the second that certainly did not says
// nothing of the claim.
func TestADoubtfulClaimWhoseSecondRequestIsNotSentIsUnknown(t *testing.T) {
	const refusal = "-NOPERM User once has no permissions to run the command\r\n"
	p, store, s := spied(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	trap := p.Replace("echo", func(b []byte) []byte {
		cancel()
		return append([]byte(refusal), b[len("$8\r\n12345678\r\n"):]...)
	})
	key, req := newKey(t), newRequest()
	v, err := store.TryClaim(ctx, key, req)
	trap.Wait(t)
	if !errors.Is(err, claim.ErrUnknown) || errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("%v, error %v; want ErrUnknown", v.Outcome, err)
	}
	direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix})
	if e, err := direct.Get(t.Context(), key); err != nil || e.State != claim.StatePending {
		t.Errorf("the record is %v, error %v; the test shows nothing unless it is pending", e.State, err)
	}
}

// The fence of a fresh claim may be of a moment ago. That of the claim before it was
// exact, and nobody waited.
func TestAFenceRisesThoughItsKeyWasForgottenAMomentAgo(t *testing.T) {
	_, store, s := spied(t)
	direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix}).ByScript()
	for range 20 {
		key := newKey(t)
		knowTime(t, store)
		store.MisjudgeTime(0, 5*time.Millisecond)
		before := mustClaim(t, direct, key, newRequest())
		if err := direct.Forget(t.Context(), key, claim.Record{State: claim.StatePending, Fence: before.Grant.Fence}); err != nil {
			t.Fatal(err)
		}
		if e, err := store.Get(t.Context(), key); err != nil || e.State != claim.StateAbsent {
			t.Fatalf("a forgotten key is %v, error %v", e.State, err)
		}
		if v := mustClaim(t, store, key, newRequest()); v.Grant.Fence <= before.Grant.Fence {
			t.Fatalf("fence %d after %d", v.Grant.Fence, before.Grant.Fence)
		}
	}
}

// For the same reason no record ends before the fences of fresh claims are past its own.
func TestNoRecordEndsAtOnce(t *testing.T) {
	m := redistest.Mini(t) // whose clock stands still
	store := newStore(t, m.Client(), nil)
	req := newRequest()
	req.TTL, req.Retention = time.Millisecond, time.Millisecond
	mustClaim(t, store, newKey(t), req)
	done := newKey(t)
	v := mustClaim(t, store, done, newRequest())
	if _, err := store.MarkDone(t.Context(), done, v.Grant, claim.Completion{Retention: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	names := m.Client().Keys(t.Context(), store.Prefix()+"*").Val()
	for _, name := range names {
		if left := m.Client().PTTL(t.Context(), name).Val(); left != 30*time.Millisecond {
			t.Errorf("a record has %v left, want 30ms", left)
		}
	}
	if len(names) != 2 {
		t.Errorf("%d records, want 2", len(names))
	}
}

func TestWhereManyClaimsMeetRecordsTheScriptIsAskedAtOnce(t *testing.T) {
	p, store, _ := spied(t)
	key := newKey(t)
	mustClaim(t, store, key, newRequest())
	for range 20 {
		if v, err := store.TryClaim(t.Context(), key, newRequest()); err != nil || v.Outcome != claim.Pending {
			t.Fatalf("%v, error %v; want pending", v.Outcome, err)
		}
	}
	if n := requests(p, "echo", func() { mustClaim(t, store, newKey(t), newRequest()) }); n != 0 {
		t.Error("a claim went without the script, although all before met a record")
	}
	for range 30 {
		mustClaim(t, store, newKey(t), newRequest())
	}
	if !store.KnowsTime() {
		t.Fatal("the store does not know the server's time any more, or still thinks that claims meet records")
	}
	if n := requests(p, "echo", func() { mustClaim(t, store, newKey(t), newRequest()) }); n != 1 {
		t.Error("a claim went by the script, although none of those before met a record")
	}
}

// What comes in place of the replies is an error, or lets the script answer: it is
// never a claim.
func TestAForeignReplyToAFreshClaimIsNoClaim(t *testing.T) {
	p, store, s := spied(t)
	direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix})
	var other []byte
	p.Replace("echo", func(reply []byte) []byte {
		other = bytes.Clone(reply)
		return reply
	})
	mustClaim(t, store, newKey(t), newRequest())
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   error
	}{
		"another trip's": {func([]byte) []byte { return other }, claim.ErrCorrupt},
		"one too early":  {func(b []byte) []byte { return append([]byte(nothing), b...) }, claim.ErrCorrupt},
		"nothing at all": {func([]byte) []byte { return bytes.Repeat([]byte(nothing), 3) }, claim.ErrCorrupt},
		"no protocol":    {func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n") }, claim.ErrCorrupt},
		"cut short":      {func(b []byte) []byte { return b[:len("$8\r\n12345678\r\n")] }, claim.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			key, req := newKey(t), newRequest()
			mustClaim(t, direct, key, newRequest())
			knowTime(t, store)
			ctx, returned := within(t, 300*time.Millisecond)
			trap := p.Replace("echo", c.change)
			v, err := store.TryClaim(ctx, key, req)
			trap.Wait(t)
			returned()
			if !errors.Is(err, c.want) || v.Outcome != 0 {
				t.Fatalf("%+v, error %v; want %v", v, err, c.want)
			}
			if v, err = store.TryClaim(t.Context(), key, req); err != nil || v.Outcome != claim.Pending {
				t.Fatalf("repeated: %v, error %v; want pending", v.Outcome, err)
			}
		})
	}
}

func TestAServerThatRefusesTheCommandsOfFreshClaimsIsAskedByTheScript(t *testing.T) {
	const refusal = "-NOPERM User once has no permissions to run the command\r\n"
	for name, change := range map[string]func([]byte) []byte{
		"the first": func(b []byte) []byte { return append([]byte(refusal), b[len("$8\r\n12345678\r\n"):]...) },
		"the claim": func(b []byte) []byte {
			echoed, rest := b[:len("$8\r\n12345678\r\n")], b[len("$8\r\n12345678\r\n")+len(nothing):]
			return append(append(echoed[:len(echoed):len(echoed)], "-ERR syntax error\r\n"...), rest...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, store, _ := spied(t)
			trap := p.Replace("echo", change)
			mustClaim(t, store, newKey(t), newRequest())
			trap.Wait(t)
			if n := requests(p, "echo", func() { mustClaim(t, store, newKey(t), newRequest()) }); n != 0 {
				t.Error("the server was asked once more for what it does not do")
			}
		})
	}
}

func TestAFreshClaimOnAKeyOfAnotherKindIsCorrupt(t *testing.T) {
	_, store, s := spied(t)
	key := newKey(t)
	mustClaim(t, store, key, newRequest())
	name := s.Client().Keys(t.Context(), s.Prefix+"*").Val()[0]
	if err := s.Client().Del(t.Context(), name).Err(); err != nil {
		t.Fatal(err)
	}
	if err := s.Client().RPush(t.Context(), name, "x").Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.TryClaim(t.Context(), key, newRequest()); !errors.Is(err, claim.ErrCorrupt) {
		t.Errorf("error %v, want ErrCorrupt", err)
	}
}
