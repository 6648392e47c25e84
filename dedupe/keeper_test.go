package dedupe

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// tripCounter counts the batches of extensions that reach a store.
type tripCounter struct {
	*memstore.Store
	mu    sync.Mutex
	trips int
	sizes int
	err   error // answers all extensions
}

func (c *tripCounter) Apply(ctx context.Context, ops []*claim.Op) {
	if ops[0].Kind == claim.OpExtend {
		c.mu.Lock()
		c.trips++
		c.sizes += len(ops)
		err := c.err
		c.mu.Unlock()
		if err != nil {
			for _, op := range ops {
				op.Fail(err)
			}
			return
		}
	}
	c.Store.Apply(ctx, ops)
}

// Extend is a batch of one.
func (c *tripCounter) Extend(ctx context.Context, key claim.Key, g claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: g, TTL: ttl}
	c.Apply(ctx, []*claim.Op{&op})
	return op.Err
}

func newTripCounter(t *testing.T) *tripCounter {
	store, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &tripCounter{Store: store}
}

// live is how many leases are kept.
func (k *keeper) live() (n int) {
	for i := range k.shards {
		s := &k.shards[i]
		s.mu.Lock()
		n += len(s.kept)
		s.mu.Unlock()
	}
	return n
}

func quietOptions() *Options {
	return &Options{Consumer: "billing", Lease: 3 * time.Second, Logger: slog.New(slog.DiscardHandler)}
}

func TestKeeperExtendsTenThousandLeasesInFewTrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const claims, intervals = 10_000, 6
		store := newTripCounter(t)
		d, err := New(store, quietOptions())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range claims {
			wg.Go(func() {
				_, err := d.Do(ctx, ID(fmt.Sprint(i)), func(ctx context.Context) ([]byte, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		<-time.After(intervals*time.Second + time.Second/2)
		cancel()
		wg.Wait()
		if store.trips > intervals*claims/1000 || store.sizes < intervals*claims {
			t.Errorf("%d extensions in %d trips, want %d in at most one trip for 1,000 claims", store.sizes, store.trips, intervals*claims)
		}
		if s := d.Stats(); s.LeasesLost != 0 {
			t.Errorf("%d leases lost", s.LeasesLost)
		}
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestKeeperExtendsTheBusTimerAtAThirdOfTheShorterWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTripCounter(t)
		d, _ := New(store, quietOptions())
		defer d.Close(context.Background())
		var alive atomic.Int64
		m := &bus.Message{ID: "1", AckWait: 300 * time.Millisecond, KeepAlive: func(context.Context) error { alive.Add(1); return nil }}
		err := d.Wrap(func(ctx context.Context, _ *bus.Message) error {
			<-time.After(time.Second)
			return ctx.Err()
		})(t.Context(), m)
		if n := alive.Load(); err != nil || n < 9 || n > 12 {
			t.Errorf("%d keep-alives in a second with an ack wait of 300 ms, want one every 100 ms; %v", n, err)
		}
	})
}

func TestLosingTheBusTimerCancelsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := New(newTripCounter(t), quietOptions())
		defer d.Close(context.Background())
		m := &bus.Message{ID: "1", AckWait: 300 * time.Millisecond, KeepAlive: func(context.Context) error { return errors.New("cut off") }}
		begun := time.Now()
		_ = d.Wrap(func(ctx context.Context, _ *bus.Message) error {
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, ErrLeaseLost) {
				t.Errorf("cancelled because of %v", cause)
			}
			return ctx.Err()
		})(t.Context(), m)
		if took := time.Since(begun); took != m.AckWait {
			t.Errorf("cancelled after %v, want %v", took, m.AckWait)
		}
	})
}

func TestHandlerIsCancelledBeforeTheLeaseEndsWhenTheStoreIsNotHeardFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTripCounter(t)
		store.err = claim.Unknown(nil)
		o := quietOptions()
		d, _ := New(store, o)
		defer d.Close(context.Background())
		begun := time.Now()
		_, _ = d.Do(t.Context(), ID("1"), func(ctx context.Context) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		})
		if took, want := time.Since(begun), o.Lease-o.Lease/10; took != want {
			t.Errorf("cancelled after %v, want %v: the lease less the margin", took, want)
		}
		if store.trips < 3 {
			t.Errorf("%d tries to extend, want several", store.trips)
		}
	})
}

func TestStoreThatForgetsTheClaimCancelsTheHandlerAtTheNextExtension(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTripCounter(t)
		d, _ := New(store, quietOptions())
		defer d.Close(context.Background())
		_, err := d.Do(t.Context(), ID("1"), func(ctx context.Context) ([]byte, error) {
			e, _ := d.Inspect(ctx, ID("1"))
			if err := store.Forget(ctx, e.Key, e.Record); err != nil {
				t.Fatal(err)
			}
			<-ctx.Done()
			return nil, nil // the work was done all the same
		})
		if s := d.Stats(); err != nil || s.LeasesLost != 1 || s.RecoveredCommits != 1 {
			t.Errorf("told %v, %d leases lost, %d commits recovered, want nil, 1, 1", err, s.LeasesLost, s.RecoveredCommits)
		}
	})
}

func TestShortHandlersDoNotWakeTheKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTripCounter(t)
		d, _ := New(store, quietOptions())
		defer d.Close(context.Background())
		for i := range 100 {
			if _, err := d.Do(t.Context(), ID(fmt.Sprint(i)), func(context.Context) ([]byte, error) { return nil, nil }); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(time.Minute)
		if store.trips != 0 {
			t.Errorf("%d trips for leases that had ended", store.trips)
		}
		if d.keeper.live() != 0 {
			t.Errorf("%d leases kept", d.keeper.live())
		}
	})
}

func TestFinishedWorkIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := New(newTripCounter(t), quietOptions())
		for i := range 2*maxFinished + 5 {
			a := &attempt{run: &run{}}
			a.key, _ = claim.NewKey("", "billing", claim.MessageID(fmt.Sprint(i)))
			a.op = claim.Op{Kind: claim.OpMarkDone, Key: a.key, Grant: claim.Grant{Token: claim.NewToken(), Fence: 1, Attempt: 1}, Completion: a.completion(&d.opts)}
			d.finished.add(a)
		}
		if n := len(d.finished.works); n > maxFinished {
			t.Errorf("%d works remembered, want at most %d", n, maxFinished)
		}
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if n := len(d.finished.works); n != 0 || d.Stats().RecoveredCommits != maxFinished {
			t.Errorf("%d works left after Close, %d committed", n, d.Stats().RecoveredCommits)
		}
	})
}

func TestRunsWithoutAClaimKeepTheBusTimerToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newTripCounter(t)
		o := quietOptions()
		o.MissingID = PassThrough
		d, _ := New(store, o)
		defer d.Close(context.Background())
		var alive atomic.Int64
		nameless := func() *bus.Message {
			return &bus.Message{AckWait: 300 * time.Millisecond, KeepAlive: func(context.Context) error { alive.Add(1); return nil }}
		}
		slow := func(ctx context.Context) error {
			<-time.After(time.Second)
			return ctx.Err()
		}
		if err := d.Wrap(func(ctx context.Context, _ *bus.Message) error { return slow(ctx) })(t.Context(), nameless()); err != nil {
			t.Error(err)
		}
		if n := alive.Swap(0); n < 9 || n > 12 {
			t.Errorf("%d keep-alives in a second with an ack wait of 300 ms, want one every 100 ms", n)
		}
		for _, err := range d.WrapBatch(func(ctx context.Context, ms []*bus.Message) []error {
			return []error{slow(ctx), nil}
		})(t.Context(), []*bus.Message{nameless(), nameless()}) {
			if err != nil {
				t.Error(err)
			}
		}
		if n := alive.Load(); n < 18 || n > 24 {
			t.Errorf("%d keep-alives for a batch of two, want one every 100 ms for each", n)
		}
		if store.trips != 0 || d.keeper.live() != 0 {
			t.Errorf("%d extensions of claims that there are not; %d leases left", store.trips, d.keeper.live())
		}
	})
}

func TestLeasesThatBeganAtDifferentMomentsAreExtendedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const claims, intervals = 10_000, 6
		store := newTripCounter(t)
		d, _ := New(store, quietOptions())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range claims {
			wg.Go(func() {
				_, _ = d.Do(ctx, ID(fmt.Sprint(i)), func(ctx context.Context) ([]byte, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
			})
			<-time.After(time.Second / claims)
		}
		store.mu.Lock()
		store.trips, store.sizes = 0, 0
		store.mu.Unlock()
		<-time.After(intervals * time.Second)
		cancel()
		wg.Wait()
		if store.trips > intervals*claims/1000 || store.sizes < (intervals-1)*claims {
			t.Errorf("%d extensions in %d trips, want at most one trip for 1,000 claims and interval", store.sizes, store.trips)
		}
		if s := d.Stats(); s.LeasesLost != 0 {
			t.Errorf("%d leases lost", s.LeasesLost)
		}
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestExtensionsTravelInBatchesThatAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const claims = maxExtensions + 1
		store := newTripCounter(t)
		d, _ := New(store, quietOptions())
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range claims {
			wg.Go(func() {
				_, _ = d.Do(ctx, ID(fmt.Sprint(i)), func(ctx context.Context) ([]byte, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})
			})
		}
		<-time.After(time.Second + time.Second/2)
		cancel()
		wg.Wait()
		if store.trips != 2 || store.sizes != claims {
			t.Errorf("%d extensions in %d trips, want %d in 2", store.sizes, store.trips, claims)
		}
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestALimitThatIsFarAwayIsNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := quietOptions()
		o.MaxRun, o.LocalWait = math.MaxInt64, math.MaxInt64
		d, _ := New(newTripCounter(t), o)
		defer d.Close(context.Background())
		slow := func(ctx context.Context) ([]byte, error) {
			<-time.After(time.Hour)
			return nil, ctx.Err()
		}
		go func() { _, _ = d.Do(t.Context(), ID("1"), slow) }()
		synctest.Wait()
		if r, err := d.Do(t.Context(), ID("1"), slow); err != nil || !r.Duplicate {
			t.Errorf("a copy that waits for an hour is told %+v, %v", r, err)
		}
	})
}

// A lease that is added while the goroutine makes up its mind when to look next is
// either seen by it or wakes it.
func TestNoLeaseIsOverlooked(t *testing.T) {
	const rounds = 20_000
	k := &keeper{lease: time.Hour, wake: make(chan struct{}, 1)}
	for round := range rounds {
		for i := range k.shards {
			k.shards[i].wakeAt.Store(int64(never))
		}
		k.armed.Store(0) // the goroutine is awake
		added := make(chan struct{})
		go func() {
			defer close(added)
			s := &k.shards[0]
			s.mu.Lock()
			s.lookAt(time.Hour)
			s.unlock(k)
		}()
		for range round % 64 {
			k.earliest() // let the other come at any moment
		}
		next := k.next()
		<-added
		woken := false
		select {
		case <-k.wake:
			woken = true
		default:
		}
		if next > time.Hour && !woken {
			t.Fatalf("round %d: the goroutine sleeps and nobody wakes it", round)
		}
	}
}

// One operation is one message that ends before its first extension, among
// others that live long.
func BenchmarkKeeperShortRun(b *testing.B) {
	for _, live := range []int{0, 10_000, 100_000} {
		b.Run(fmt.Sprint(live, "Live"), func(b *testing.B) {
			k, _ := heartbeats(b, live)
			a := &attempt{}
			a.key, _ = claim.NewKey("", "billing", "one")
			b.ReportAllocs()
			for b.Loop() {
				k.add(a, nil, k.now())
				k.handlerReturned(a)
				k.remove(a)
			}
		})
	}
}

// One operation is one interval of 10,000 live claims, which began at different
// moments; the store is memstore. %core is its share of an interval of ten
// seconds, that of the default lease.
func BenchmarkHeartbeats(b *testing.B) {
	const live, steps = 10_000, 64
	k, step := heartbeats(b, live)
	interval := k.lease / 3
	b.ReportAllocs()
	for b.Loop() {
		for range steps {
			if k.earliest() <= k.now() {
				if due := k.collect(); len(due) > 0 {
					k.send(due)
				}
			}
			step(interval / steps)
		}
	}
	b.ReportMetric(100*float64(b.Elapsed())/float64(b.N)/float64(interval), "%core")
}

// heartbeats returns a keeper of so many live claims that has no goroutine, and a
// function that lets time go by.
func heartbeats(b *testing.B, live int) (k *keeper, step func(time.Duration)) {
	store, err := memstore.New(nil)
	if err != nil {
		b.Fatal(err)
	}
	o := (&Options{Consumer: "billing"}).withDefaults()
	var now time.Duration
	k = &keeper{store: store, lease: o.Lease, margin: o.Margin, maxRun: never, now: func() time.Duration { return now },
		expired: func(cause error) { b.Error(cause) }}
	for i := range k.shards {
		k.shards[i].wakeAt.Store(int64(never))
	}
	for i := range live {
		a := &attempt{}
		a.key, _ = claim.NewKey("", "billing", claim.MessageID(fmt.Sprint(i)))
		v, err := store.TryClaim(b.Context(), a.key, a.request(&o))
		if err != nil {
			b.Fatal(err)
		}
		a.grant, a.sent = v.Grant, k.lease/3*time.Duration(i)/time.Duration(live)
		k.add(a, nil, a.sent)
	}
	now = k.lease / 3
	return k, func(d time.Duration) { now += d }
}
