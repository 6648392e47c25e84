package redisbus_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/faultstore"
)

var errBoom = errors.New("boom")

// effects are what handlers did.
type effects struct {
	mu  sync.Mutex
	ids map[string]int
}

func (e *effects) handler(_ context.Context, m *bus.Message) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.ids == nil {
		e.ids = make(map[string]int)
	}
	e.ids[m.ID]++
	return nil
}

func (e *effects) total() (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, times := range e.ids {
		n += times
	}
	return n
}

// seen returns how many effects each message had.
func (e *effects) seen() map[string]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(e.ids)
}

// once fails the test unless each of n messages had one effect.
func (e *effects) once(t *testing.T, n int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, times := range e.ids {
		if times != 1 {
			t.Errorf("message %s has %d effects", id, times)
		}
	}
	if len(e.ids) != n {
		t.Errorf("%d messages have an effect, want %d", len(e.ids), n)
	}
}

const idle = time.Second // MinIdle and lease of the stories

func newMemstore(t *testing.T) *memstore.Store {
	t.Helper()
	store, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func newDeduper(t *testing.T, store claim.Store, set func(*dedupe.Options)) *dedupe.Deduper {
	t.Helper()
	o := &dedupe.Options{
		Consumer: "billing", Lease: idle, CommitTimeout: 5 * time.Second,
		Backoff: func(int) time.Duration { return 10 * time.Millisecond }, LocalWait: dedupe.Off, Logger: quiet,
		Redelivery: bus.Redelivery{AckWait: idle},
	}
	if set != nil {
		set(o)
	}
	d, err := dedupe.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// settled waits until the group has been given everything and has settled it.
func (r *rig) settled(t testing.TB) {
	t.Helper()
	bustest.Until(t, "everything to be settled", func() bool {
		info, err := r.client.XInfoStream(t.Context(), r.stream).Result()
		if err != nil {
			t.Fatal(err)
		}
		groups, err := r.client.XInfoGroups(t.Context(), r.stream).Result()
		if err != nil {
			t.Fatal(err)
		}
		return groups[0].LastDeliveredID == info.LastGeneratedID && groups[0].Pending == 0
	})
}

// storyRigs are where stories are told: with claims in memory, and in Redis.
func storyRigs(t *testing.T, tell func(t *testing.T, r *rig, store claim.Store)) {
	t.Parallel()
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		store, err := redisstore.New(t.Context(), r.client, &redisstore.Options{Prefix: r.stream + ":", Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		tell(t, r, store)
	})
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		tell(t, newMini(t), newMemstore(t))
	})
}

func storyOptions(workers int) redisbus.Options {
	return redisbus.Options{MinIdle: idle, Workers: workers, ClaimInterval: 50 * time.Millisecond}
}

func TestHandlerFailsIsRedeliveredAndRunsAgain(t *testing.T) {
	storyRigs(t, func(t *testing.T, r *rig, store claim.Store) {
		d := newDeduper(t, store, nil)
		var did effects
		var runs atomic.Int64
		consume(t, r.open(t, storyOptions(1)), d.Wrap(func(ctx context.Context, m *bus.Message) error {
			if runs.Add(1)%2 == 1 {
				return errBoom
			}
			return did.handler(ctx, m)
		}))
		r.publish(t, "1", "1", "2")
		r.settled(t)
		did.once(t, 2)
		if s := d.Stats(); s.Failed != 2 || s.Duplicates != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// A consumer that was killed leaves what it was given.
func TestWhatAKilledConsumerLeavesIsTakenOver(t *testing.T) {
	storyRigs(t, func(t *testing.T, r *rig, store claim.Store) {
		r.open(t, redisbus.Options{}) // makes the group
		r.publish(t, "1", "2", "3")
		began := time.Now()
		dead := &redis.XReadGroupArgs{Group: r.group, Consumer: "dead", Streams: []string{r.stream, ">"}, Count: 2}
		if err := r.client.XReadGroup(t.Context(), dead).Err(); err != nil {
			t.Fatal(err)
		}
		var did effects
		numbers := make(chan string, 100)
		c := r.open(t, storyOptions(2))
		stop := consume(t, c, newDeduper(t, store, nil).Wrap(func(ctx context.Context, m *bus.Message) error {
			numbers <- fmt.Sprint(m.ID, ":", m.Delivery)
			return did.handler(ctx, m)
		}))
		r.settled(t)
		took := time.Since(began)
		stop()
		did.once(t, 3)
		close(numbers)
		seen := map[string]bool{}
		for n := range numbers {
			seen[n] = true
		}
		if seen["1:1"] || seen["2:1"] || !seen["1:2"] || !seen["2:2"] {
			t.Errorf("deliveries are %v, want 1 and 2 for the second time", seen)
		}
		if took < idle {
			t.Errorf("taken over after %v", took)
		}
		if s := c.Stats(); s.Claimed < 2 {
			t.Errorf("%d were claimed, want 2", s.Claimed)
		}
	})
}

// A cannot keep its lease, B takes over: whatever A says would settle the message
// of B, for Redis does not ask whose it is.
func TestAStaleConsumerNeitherAcksNorRetries(t *testing.T) {
	storyRigs(t, func(t *testing.T, r *rig, store claim.Store) {
		cut := faultstore.New(store)
		cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
		a, b := newDeduper(t, cut, nil), newDeduper(t, store, nil)
		aRuns, aEnds, bRuns, bEnds := make(chan context.Context, 1), make(chan error), make(chan bool, 1), make(chan error)
		stopA := consume(t, r.open(t, storyOptions(1)), a.Wrap(func(ctx context.Context, _ *bus.Message) error {
			aRuns <- ctx
			return <-aEnds
		}))
		r.publish(t, "1")
		<-bustest.Within(t, aRuns, "A").Done()
		// A takes nothing any more, so that only B can take the message over.
		stopped := make(chan bool)
		consume(t, r.open(t, storyOptions(1)), b.Wrap(func(context.Context, *bus.Message) error {
			bRuns <- true
			return <-bEnds
		}))
		bustest.Within(t, bRuns, "B")
		go func() {
			defer close(stopped)
			stopA()
		}()
		aEnds <- nil
		bustest.Within(t, stopped, "A to stop")
		if n := r.pending(t); n != 1 {
			t.Errorf("%d messages are pending, want B's", n)
		}
		if n := a.Stats().LostCommits; n != 1 {
			t.Errorf("A counts %d lost commits, want 1", n)
		}
		bEnds <- nil
		r.settled(t)
		if s := b.Stats(); s.Succeeded != 1 || s.Takeovers != 1 {
			t.Errorf("B: %+v", s)
		}
	})
}

func TestALongHandlerRunsOnce(t *testing.T) {
	storyRigs(t, func(t *testing.T, r *rig, store claim.Store) {
		first, second := newDeduper(t, store, nil), newDeduper(t, store, nil)
		var did effects
		long := func(ctx context.Context, m *bus.Message) error {
			select {
			case <-time.After(2 * idle):
				return did.handler(ctx, m)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		c := r.open(t, storyOptions(4))
		consume(t, c, first.Wrap(long))
		consume(t, r.open(t, storyOptions(4)), second.Wrap(long))
		r.publish(t, "1", "2", "3")
		r.settled(t)
		did.once(t, 3)
	})
}

func TestShutdownInMidRunLosesNothing(t *testing.T) {
	storyRigs(t, func(t *testing.T, r *rig, store claim.Store) {
		const messages = 300
		r.publish(t, ids(messages)...)
		var did effects
		for n := 60; n < messages; n += 60 {
			d := newDeduper(t, store, nil)
			stop := consume(t, r.open(t, storyOptions(8)), d.Wrap(did.handler))
			bustest.Until(t, "another fifth", func() bool { return did.total() >= n })
			stop()
		}
		consume(t, r.open(t, storyOptions(8)), newDeduper(t, store, nil).Wrap(did.handler))
		r.settled(t)
		did.once(t, messages)
	})
}

func TestShutdownInMidBatchLosesNothing(t *testing.T) {
	storyRigs(t, func(t *testing.T, r *rig, store claim.Store) {
		const messages = 200
		r.publish(t, append(ids(messages), ids(messages)...)...)
		var did effects
		for n := 1; ; n++ {
			d := newDeduper(t, store, nil)
			c := r.open(t, redisbus.Options{MinIdle: idle, BatchSize: 40, DrainTimeout: time.Millisecond, ClaimInterval: 50 * time.Millisecond})
			ctx, cancel := context.WithCancel(t.Context())
			half := make(chan bool, 1)
			ended := make(chan error, 1)
			go func() {
				ended <- c.ConsumeBatch(ctx, d.WrapBatch(func(hctx context.Context, ms []*bus.Message) []error {
					errs := make([]error, len(ms))
					for i, m := range ms {
						if n < 4 && i == len(ms)/2 { // told to stop in mid-batch, and out of time
							half <- true
							<-hctx.Done()
						}
						if errs[i] = hctx.Err(); errs[i] == nil {
							_ = did.handler(hctx, m)
						}
					}
					return errs
				}))
			}()
			if n < 4 {
				bustest.Within(t, half, "half of a batch")
			} else {
				r.settled(t)
			}
			cancel()
			if err := bustest.Within(t, ended, "the end"); err != nil {
				t.Error(err)
			}
			if n == 4 {
				break
			}
		}
		did.once(t, messages)
	})
}

func TestDeadLetters(t *testing.T) {
	for _, by := range []string{"dedupe", "the adapter"} {
		t.Run(by, func(t *testing.T) {
			storyRigs(t, func(t *testing.T, r *rig, store claim.Store) {
				sink, err := redisbus.DeadLetter(r.client, r.stream+":dead", nil)
				if err != nil {
					t.Fatal(err)
				}
				var failed atomic.Bool
				flaky := func(ctx context.Context, d bus.DeadLetter) error {
					if n := r.pending(t); n != 1 {
						t.Errorf("%d messages are pending while the dead letter is not stored, want 1", n)
					}
					switch {
					case !failed.CompareAndSwap(false, true):
						return sink(ctx, d)
					case by == "the adapter":
						panic("a sink can")
					}
					return errBoom
				}
				o := storyOptions(1)
				handler := func(context.Context, *bus.Message) error { return dedupe.Permanent(errBoom) }
				if by == "dedupe" {
					handler = newDeduper(t, store, func(o *dedupe.Options) { o.DeadLetter = flaky }).Wrap(handler)
				} else {
					handler = func(context.Context, *bus.Message) error { return bus.Reject(errBoom) }
					o.Rejected, o.Backoff = flaky, func(int) time.Duration { return 10 * time.Millisecond }
				}
				c := r.open(t, o)
				consume(t, c, handler)
				err = r.client.XAdd(t.Context(), &redis.XAddArgs{Stream: r.stream, Values: []string{
					"id", "7", "tag", "a", "tag", "b", "data", "two apples", redisbus.FieldReason, "an earlier one",
				}}).Err()
				if err != nil {
					t.Fatal(err)
				}
				r.settled(t)
				letters, err := r.client.XRange(t.Context(), r.stream+":dead", "-", "+").Result()
				if err != nil || len(letters) != 1 {
					t.Fatalf("%d dead letters, error %v", len(letters), err)
				}
				l := letters[0].Values
				if l["id"] != "7" || l["data"] != "two apples" || l["tag"] != "b" || l[redisbus.FieldOriginalStream] != r.stream {
					t.Errorf("%v", l)
				}
				for _, field := range []string{redisbus.FieldDeadLetterID, redisbus.FieldReason, redisbus.FieldConsumer, redisbus.FieldAttempt, redisbus.FieldOriginalEntry} {
					if l[field] == nil || l[field] == "an earlier one" {
						t.Errorf("%s is %v", field, l[field])
					}
				}
				bustest.Until(t, "the word of the ack", func() bool { return c.Stats().Rejected == 1 })
				if s := c.Stats(); s.Retried != 1 || s.Acked != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func ids(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprint(i)
	}
	return s
}
