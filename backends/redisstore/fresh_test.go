package redisstore_test

import (
	"bytes"
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

func TestAFreshClaimByAWrongTimeIsGivenBackAndStale(t *testing.T) {
	for name, by := range map[string]time.Duration{"set back": time.Hour, "set forward": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			_, store, _ := spied(t)
			key, req := newKey(t), newRequest()
			store.MisjudgeTime(by, 0)
			if v, err := store.TryClaim(t.Context(), key, req); err != nil || v.Outcome != claim.Stale {
				t.Fatalf("%v, error %v; want stale", v.Outcome, err)
			}
			if n := store.Stats().ClockSteps; n != 1 {
				t.Errorf("%d steps of the clock are counted, want 1", n)
			}
			v := mustClaim(t, store, key, newRequest())
			e, err := store.Get(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			if left := e.Deadline.Sub(e.Now); v.Grant.Attempt != 1 || left > 2*req.TTL {
				t.Errorf("attempt %d with %v left of a lease of %v", v.Grant.Attempt, left, req.TTL)
			}
		})
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
		"cut short":      {func(b []byte) []byte { return b[:len(b)-len(nothing)] }, claim.ErrUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			key, req := newKey(t), newRequest()
			mustClaim(t, direct, key, newRequest())
			knowTime(t, store)
			ctx, returned := within(t, 300*time.Millisecond)
			trap := p.Replace("echo", c.change)
			v, err := store.TryClaim(ctx, key, req)
			<-trap.Sprung()
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
		"the claim": func(b []byte) []byte { return append(b[:len(b)-len(nothing)], "-ERR syntax error\r\n"...) },
	} {
		t.Run(name, func(t *testing.T) {
			p, store, _ := spied(t)
			trap := p.Replace("echo", change)
			mustClaim(t, store, newKey(t), newRequest())
			<-trap.Sprung()
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
