package natsstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/natstest"
	"github.com/oncebus/once/testutil/netproxy"
)

// A write whose answer is late is unknown, and its repetition finds the grant.
func TestALostAnswerIsUnknown(t *testing.T) {
	server := start(t)
	p := netproxy.New(t, strings.TrimPrefix(server.URL(), "nats://"))
	js := natstest.At(t, "nats://"+p.Addr()).JetStream(nats.IgnoreDiscoveredServers())
	bucket := newBucket(t, js, nil)
	s := newStore(t, js, bucket)
	for name, send := range map[string]func(ctx context.Context, op *claim.Op){
		"alone": func(ctx context.Context, op *claim.Op) { op.Verdict, op.Err = s.TryClaim(ctx, op.Key, op.Request) },
		"in a batch": func(ctx context.Context, op *claim.Op) {
			other := &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()}
			s.Apply(ctx, []*claim.Op{op, other})
		},
	} {
		t.Run(name, func(t *testing.T) {
			op := &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()}
			p.Delay(200 * time.Millisecond)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			start := time.Now()
			send(ctx, op)
			if !errors.Is(op.Err, claim.ErrUnknown) || !errors.Is(op.Err, context.DeadlineExceeded) || op.Verdict.Outcome != 0 {
				t.Errorf("%+v, %v; want ErrUnknown", op.Verdict, op.Err)
			}
			if took := time.Since(start); took > 150*time.Millisecond {
				t.Errorf("it took %v, with a deadline of 50ms", took)
			}
			p.Delay(0)
			send(t.Context(), op)
			if op.Err != nil || op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant.Attempt != 1 {
				t.Errorf("repeated: %+v, %v; want the first grant", op.Verdict, op.Err)
			}
		})
	}
}

// The client does not say that a connection took a request, or its answer, with it.
func TestAWriteThatIsLostWithItsConnectionIsSentAgain(t *testing.T) {
	for name, point := range map[string]netproxy.Point{"the request": netproxy.BeforeRequest, "the answer": netproxy.BeforeReply} {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, of a batch of %d", name, n), func(t *testing.T) {
				t.Parallel()
				server := start(t)
				p := netproxy.New(t, strings.TrimPrefix(server.URL(), "nats://"))
				js := natstest.At(t, "nats://"+p.Addr()).JetStream(nats.IgnoreDiscoveredServers(), nats.ReconnectWait(10*time.Millisecond))
				bucket := newBucket(t, js, nil)
				s := newStore(t, js, bucket)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				ops := make([]*claim.Op, n)
				for i := range ops {
					ops[i] = &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()}
				}
				trap := p.CutAt(point, "$KV."+bucket)
				s.Apply(ctx, ops)
				trap.Wait(t)
				for i, op := range ops {
					if op.Err != nil || op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant.Attempt != 1 {
						t.Fatalf("claim %d: %+v, %v; want claimed once", i, op.Verdict, op.Err)
					}
					*op = claim.Op{Kind: claim.OpMarkDone, Key: op.Key, Grant: op.Verdict.Grant, Completion: claim.Completion{Retention: time.Hour}}
				}
				trap = p.CutAt(point, "$KV."+bucket)
				s.Apply(ctx, ops)
				trap.Wait(t)
				for i, op := range ops {
					if op.Err != nil || op.Recovered {
						t.Errorf("completion %d: recovered %v, %v", i, op.Recovered, op.Err)
					}
				}
			})
		}
	}
}

// Between its two copies another had the key: nobody can say what became of the first.
func TestAClaimWhoseAnswerIsLostAndWhoseKeyMovedOnIsUnknown(t *testing.T) {
	server := start(t)
	p := netproxy.New(t, strings.TrimPrefix(server.URL(), "nats://"))
	js := natstest.At(t, "nats://"+p.Addr()).JetStream(nats.IgnoreDiscoveredServers(), nats.ReconnectWait(10*time.Millisecond))
	bucket := newBucket(t, server.JetStream(), nil)
	s, other := newStore(t, js, bucket), newStore(t, server.JetStream(), bucket)
	key, req := newKey(t), newRequest()
	req.TTL = time.Millisecond
	trap := p.CutAt(netproxy.BeforeReply, "$KV."+bucket)
	answers := make(chan error, 1)
	go func() {
		_, err := s.TryClaim(t.Context(), key, req)
		answers <- err
	}()
	trap.Wait(t)
	for v := (claim.Verdict{}); !v.Takeover; {
		var err error
		if v, err = other.TryClaim(t.Context(), key, newRequest()); err != nil {
			t.Fatal(err)
		}
	}
	if err := <-answers; !errors.Is(err, claim.ErrUnknown) || errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("%v, want ErrUnknown", err)
	}
}

// Without a connection nothing is sent, not even later.
func TestNothingIsSentWithoutAConnection(t *testing.T) {
	server := natstest.Run(t)
	js := server.JetStream()
	s := newStore(t, js, newBucket(t, js, nil))
	gone := js.Conn().StatusChanged(nats.RECONNECTING)
	server.Shutdown()
	<-gone
	key, req := newKey(t), newRequest()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := s.TryClaim(ctx, key, req); !errors.Is(err, claim.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want ErrUnavailable", err)
	}
	server.Restart()
	// An operation that has the time waits for the connection.
	if entry, err := s.Get(t.Context(), key); err != nil || entry.State != claim.StateAbsent {
		t.Errorf("after the restart: %v, %v; want absent", entry.State, err)
	}
	js.Conn().Close()
	if _, err := s.TryClaim(t.Context(), key, req); !errors.Is(err, claim.ErrUnavailable) || !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed: %v, want ErrUnavailable", err)
	}
}

// What was answered survives kill -9 of a server that syncs every write.
func TestAKilledServerRemembers(t *testing.T) {
	p := natstest.RunProcess(t)
	js := p.JetStream()
	bucket := newBucket(t, js, nil)
	s := newStore(t, js, bucket)
	finished, running := newKey(t), newKey(t)
	grants := map[claim.Key]claim.Grant{}
	for _, key := range []claim.Key{finished, running} {
		v, err := s.TryClaim(t.Context(), key, newRequest())
		if err != nil {
			t.Fatal(err)
		}
		grants[key] = v.Grant
	}
	if _, err := s.MarkDone(t.Context(), finished, grants[finished], claim.Completion{Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	p.Restart()
	other := newStore(t, p.JetStream(), bucket)
	if v, err := other.TryClaim(t.Context(), finished, newRequest()); err != nil || v.Outcome != claim.Done {
		t.Errorf("the finished key: %v, %v", v.Outcome, err)
	}
	if v, err := other.TryClaim(t.Context(), running, newRequest()); err != nil || v.Outcome != claim.Pending {
		t.Errorf("the running key: %v, %v", v.Outcome, err)
	}
	if recovered, err := s.MarkDone(t.Context(), running, grants[running], claim.Completion{Retention: time.Hour}); err != nil || recovered {
		t.Errorf("the owner finishes: recovered %v, %v", recovered, err)
	}
}

// A claim outlives its leader, and the death of one server of three.
func TestALeaderMoves(t *testing.T) {
	c := natstest.RunCluster(t, 3)
	js := c.JetStream()
	bucket := newBucket(t, js, func(c *jetstream.StreamConfig) { c.Replicas = 3 })
	s, other := newStore(t, js, bucket), newStore(t, c.JetStream(), bucket)
	key := newKey(t)
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.StepDown(t.Context(), js, "KV_"+bucket); err != nil {
		t.Fatal(err)
	}
	// What is on the way to a leader that steps down may get no answer.
	persist := func(do func(ctx context.Context) error) {
		t.Helper()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := do(ctx)
			cancel()
			if err == nil {
				return
			}
			if !errors.Is(err, claim.ErrUnknown) && !errors.Is(err, claim.ErrUnavailable) {
				t.Fatal(err)
			}
		}
	}
	answers := func(want claim.Outcome) {
		t.Helper()
		req := newRequest()
		persist(func(ctx context.Context) error {
			v, err := other.TryClaim(ctx, key, req)
			if err == nil && v.Outcome != want {
				t.Fatalf("%v, want %v", v.Outcome, want)
			}
			return err
		})
	}
	answers(claim.Pending)
	if leader := c.Leader("KV_" + bucket); leader != nil {
		leader.Shutdown()
	}
	persist(func(ctx context.Context) error {
		_, err := s.MarkDone(ctx, key, v.Grant, claim.Completion{Retention: time.Hour})
		return err
	})
	answers(claim.Done)
}

// What a store remembers of its own claims is checked by the server.
func TestAnotherStoreGotAhead(t *testing.T) {
	js := start(t).JetStream()
	bucket := newBucket(t, js, nil)
	s, other := newStore(t, js, bucket), newStore(t, js, bucket)
	key := newKey(t)
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil {
		t.Fatal(err)
	}
	// Any process that has the grant may use it.
	if err := other.Extend(t.Context(), key, v.Grant, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Extend(t.Context(), key, v.Grant, time.Hour); err != nil {
		t.Errorf("after the other's Extend: %v", err)
	}
	if _, err := other.MarkDone(t.Context(), key, v.Grant, claim.Completion{Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := s.Release(t.Context(), key, v.Grant, 0); !errors.Is(err, claim.ErrLost) {
		t.Errorf("Release after the other's MarkDone: %v, want ErrLost", err)
	}
	if _, err := s.MarkDone(t.Context(), key, v.Grant, claim.Completion{Retention: time.Hour}); err != nil {
		t.Errorf("MarkDone again: %v", err)
	}
}

// A record that a store only remembers decides nothing.
func TestWhatAStoreRemembersDecidesNothing(t *testing.T) {
	js := start(t).JetStream()
	bucket := newBucket(t, js, nil)
	s, other := newStore(t, js, bucket), newStore(t, js, bucket)
	key := newKey(t)
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Forget(t.Context(), key, claim.Record{State: claim.StatePending, Fence: v.Grant.Fence}); err != nil {
		t.Fatal(err)
	}
	// Of an absent key the release is remembered; of another's it would be lost.
	late := newRequest()
	if err := s.Release(t.Context(), key, claim.Grant{Token: late.Token}, 0); err != nil {
		t.Errorf("Release of an absent key: %v", err)
	}
	if v, err := s.TryClaim(t.Context(), key, late); err != nil || v.Outcome != claim.Stale {
		t.Errorf("a late copy of what was released: %v, %v; want stale", v.Outcome, err)
	}
}

// Other values in the bucket are never taken for absent.
func TestAForeignValueIsCorrupt(t *testing.T) {
	js := start(t).JetStream()
	bucket := newBucket(t, js, nil)
	s := newStore(t, js, bucket)
	key, fine := newKey(t), newKey(t)
	for _, name := range []string{key.Digest().String(), "settings"} {
		if _, err := js.Publish(t.Context(), "$KV."+bucket+"."+name, []byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.TryClaim(t.Context(), fine, newRequest()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryClaim(t.Context(), key, newRequest()); !errors.Is(err, claim.ErrCorrupt) {
		t.Errorf("TryClaim: %v, want ErrCorrupt", err)
	}
	if _, err := s.Get(t.Context(), key); !errors.Is(err, claim.ErrCorrupt) {
		t.Errorf("Get: %v, want ErrCorrupt", err)
	}
	page, next, err := s.List(t.Context(), claim.Filter{}, "", 10)
	if !errors.Is(err, claim.ErrCorrupt) || !strings.Contains(err.Error(), key.Digest().String()) || next != "" || len(page) != 1 || page[0].Key != fine {
		t.Errorf("List: %d records, next %q, %v; want the good one and the digest of the other", len(page), next, err)
	}
	if _, _, err := s.List(t.Context(), claim.Filter{}, "x", 10); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("List with another's cursor: %v, want ErrInvalid", err)
	}
}

// A result that a message cannot carry is left out, and the key is done.
func TestAResultTooLargeForAMessage(t *testing.T) {
	js := natstest.Run(t).JetStream() // max_payload is 1 MB
	s := newStore(t, js, newBucket(t, js, nil))
	key := newKey(t)
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.MarkDone(t.Context(), key, v.Grant, claim.Completion{Retention: time.Hour, Result: make([]byte, claim.MaxResultBytes)}); err != nil {
		t.Fatal(err)
	}
	if v, err := s.TryClaim(t.Context(), key, newRequest()); err != nil || v.Outcome != claim.Done || !v.Omitted || v.Result != nil {
		t.Errorf("%v, omitted %v, %v", v.Outcome, v.Omitted, err)
	}
}
