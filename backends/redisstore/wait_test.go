package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// A claim that no replica has is not granted, and a completion that none has is
// not confirmed, although both have happened. Repeated once the replica is back,
// they are.
func TestAClaimThatNoReplicaHasIsNotGranted(t *testing.T) {
	primary, replica := redistest.StartReplica(t)
	store := newStore(t, primary.Client(), &redisstore.Options{WaitReplicas: 1, WaitTimeout: 100 * time.Millisecond})
	plain := newStore(t, primary.Client(), nil)
	for _, batched := range []bool{false, true} {
		send := func(op *claim.Op) {
			if batched {
				other := &claim.Op{Kind: claim.OpExtend, Key: newKey(t), TTL: time.Minute, Grant: claim.Grant{Token: claim.NewToken(), Fence: 1}}
				store.Apply(t.Context(), []*claim.Op{op, other})
				if !errors.Is(other.Err, claim.ErrLost) {
					t.Errorf("beside it: error %v, want ErrLost", other.Err)
				}
				return
			}
			one(t.Context(), store, op)
		}
		op := &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()}
		short := func() {
			t.Helper()
			if !errors.Is(op.Err, claim.ErrUnknown) || !strings.Contains(op.Err.Error(), "0 of 1 replicas") {
				t.Fatalf("%v with the replica stopped: %+v, error %v; want ErrUnknown and the count", op.Kind, op.Verdict, op.Err)
			}
		}
		replica.Stop()
		send(op)
		short()
		if entry, err := plain.Get(t.Context(), op.Key); err != nil || entry.State != claim.StatePending {
			t.Fatalf("the record is %v, error %v; want it to have happened", entry.State, err)
		}
		// Nothing is written when it is repeated, and it is still not granted.
		send(op)
		short()
		replica.Cont()
		for send(op); errors.Is(op.Err, claim.ErrUnknown); send(op) {
			// The replica is catching up.
		}
		if op.Err != nil || op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant.Attempt != 1 {
			t.Fatalf("with the replica back: %+v, error %v; want the first attempt", op.Verdict, op.Err)
		}

		op.Kind, op.Grant, op.Completion = claim.OpMarkDone, op.Verdict.Grant, claim.Completion{Retention: time.Hour}
		replica.Stop()
		send(op)
		short()
		replica.Cont()
		for send(op); errors.Is(op.Err, claim.ErrUnknown); send(op) {
		}
		if op.Err != nil || op.Recovered {
			t.Fatalf("the completion with the replica back: %v", op.Err)
		}
	}
}

// What nobody acts upon for good needs no replica.
func TestWaitingForReplicasHoldsUpNoOtherAnswer(t *testing.T) {
	s := redistest.Start(t)
	plain := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix})
	key := newKey(t)
	g := claimed(t, plain, key, newRequest())
	store := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix, WaitReplicas: 1, WaitTimeout: time.Millisecond})
	if v, err := store.TryClaim(t.Context(), key, newRequest()); err != nil || v.Outcome != claim.Pending {
		t.Fatalf("%v, error %v; want Pending", v.Outcome, err)
	}
	if err := store.Extend(t.Context(), key, g, time.Minute); err != nil {
		t.Fatalf("Extend: %v", err)
	}
}

func TestWaitOptions(t *testing.T) {
	m := redistest.Mini(t)
	o := m.Options()
	o.ReadTimeout = time.Second
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	_, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: quiet, WaitReplicas: 1, WaitTimeout: time.Second})
	if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "WaitTimeout") {
		t.Errorf("as long as the ReadTimeout: error %v, want ErrInvalid that names WaitTimeout", err)
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": m.Addr()}})
	t.Cleanup(func() { _ = ring.Close() })
	_, err = redisstore.New(t.Context(), ring, &redisstore.Options{Logger: quiet, WaitReplicas: 1})
	if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "WaitReplicas") {
		t.Errorf("on a Ring: error %v, want ErrInvalid that names WaitReplicas", err)
	}
}
