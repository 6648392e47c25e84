package claim_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/claim"
)

// counter is a Batcher that takes a second for a trip. It answers a claim with
// the token that was asked for, and notes what came.
type counter struct {
	trip time.Duration
	hook func(ctx context.Context, ops []*claim.Op)

	mu    sync.Mutex
	trips [][]claim.Op
	out   int
	most  int // that were out at a time
}

func (b *counter) Apply(ctx context.Context, ops []*claim.Op) {
	b.mu.Lock()
	trip := make([]claim.Op, len(ops))
	for i, op := range ops {
		trip[i] = *op
	}
	b.trips = append(b.trips, trip)
	b.out++
	b.most = max(b.most, b.out)
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.out--
	}()
	if b.hook != nil {
		b.hook(ctx, ops)
	}
	timer := time.NewTimer(b.trip)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		for _, op := range ops {
			op.Fail(claim.Unknown(ctx.Err()))
		}
		return
	}
	for _, op := range ops {
		if op.Kind == claim.OpTryClaim {
			op.Verdict = claim.Verdict{Outcome: claim.Claimed, Grant: claim.Grant{Token: op.Request.Token}}
		}
	}
}

// sizes returns how many operations each trip had.
func (b *counter) sizes() (sizes []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, trip := range b.trips {
		sizes = append(sizes, len(trip))
	}
	return sizes
}

func newCombiner(t testing.TB, b claim.Batcher, o *claim.CombinerOptions) *claim.Combiner {
	t.Helper()
	c, err := claim.NewCombiner(b, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var combinedIDs atomic.Int64

func combinedKey(t testing.TB) claim.Key {
	t.Helper()
	key, err := claim.NewKey("n", "consumer", claim.MessageID(fmt.Sprint(combinedIDs.Add(1))))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// callers are concurrent callers of a Combiner, each of one operation.
type callers struct {
	t *testing.T
	c *claim.Combiner
	sync.WaitGroup
}

// claim starts a caller, and returns once it waits or is back.
func (w *callers) claim(ctx context.Context, check func(error)) {
	key, token := combinedKey(w.t), claim.NewToken()
	w.Go(func() {
		v, err := w.c.TryClaim(ctx, key, claim.Request{Token: token})
		if err == nil && v.Grant.Token != token {
			w.t.Error("the answer is another caller's")
		}
		if err != nil && v.Outcome != 0 {
			w.t.Errorf("error %v with the outcome %v", err, v.Outcome)
		}
		if check == nil {
			check = w.succeeds
		}
		check(err)
	})
	synctest.Wait()
}

func (w *callers) claims(n int) {
	for range n {
		w.claim(context.Background(), nil)
	}
}

func (w *callers) succeeds(err error) {
	if err != nil {
		w.t.Error(err)
	}
}

// failsWith returns a check for one of the package's errors because of cause,
// and of nothing else.
func (w *callers) failsWith(sentinel, cause error) func(error) {
	begun := time.Now()
	return func(err error) {
		var e *claim.Error
		if !errors.As(err, &e) || !errors.Is(err, sentinel) || !errors.Is(err, cause) {
			w.t.Errorf("%v after %v, want %v because of %v", err, time.Since(begun), sentinel, cause)
		}
	}
}

func combining(t *testing.T, b *counter, o *claim.CombinerOptions, run func(w *callers)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &callers{t: t, c: newCombiner(t, b, o)}
		run(w)
		w.Wait()
	})
}

func expect(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

type contextKey struct{}

func TestCombinerLoneCallerFliesByItself(t *testing.T) {
	var stack, value string
	b := &counter{trip: time.Second, hook: func(ctx context.Context, _ []*claim.Op) {
		text := make([]byte, 1<<14)
		stack = string(text[:runtime.Stack(text, false)])
		value, _ = ctx.Value(contextKey{}).(string)
	}}
	combining(t, b, nil, func(w *callers) {
		begun := time.Now()
		ctx := context.WithValue(context.Background(), contextKey{}, "mine")
		if _, err := w.c.TryClaim(ctx, combinedKey(t), claim.Request{Token: claim.NewToken()}); err != nil {
			t.Fatal(err)
		}
		expect(t, "time", time.Since(begun), time.Second)
	})
	expect(t, "context", value, "mine")
	if !strings.Contains(stack, "TestCombinerLoneCallerFliesByItself") {
		t.Errorf("the Batcher was called in another goroutine:\n%s", stack)
	}
}

func TestCombinerLoneCallerAllocatesNothing(t *testing.T) {
	c := newCombiner(t, nothing{}, nil)
	ctx, key, req := t.Context(), combinedKey(t), claim.Request{Token: claim.NewToken()}
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := c.TryClaim(ctx, key, req); err != nil {
			t.Fatal(err)
		}
	}); n >= 1 {
		t.Errorf("%v allocations a call, want none", n)
	}
}

// nothing is a Batcher that does nothing.
type nothing struct{}

func (nothing) Apply(context.Context, []*claim.Op) {}

func TestCombinerPassesOperationsOn(t *testing.T) {
	type method struct {
		want claim.Op
		call func(c *claim.Combiner, op *claim.Op) error
	}
	ctx, grant := t.Context(), claim.Grant{Token: claim.NewToken(), Fence: 7, Attempt: 2}
	for _, m := range []method{
		{claim.Op{Kind: claim.OpTryClaim, Request: claim.Request{Token: grant.Token, TTL: 1, Retention: 2}}, func(c *claim.Combiner, op *claim.Op) error {
			v, err := c.TryClaim(ctx, op.Key, op.Request)
			expect(t, "verdict", v.Grant, claim.Grant{Token: grant.Token})
			return err
		}},
		{claim.Op{Kind: claim.OpExtend, Grant: grant, TTL: 3}, func(c *claim.Combiner, op *claim.Op) error {
			return c.Extend(ctx, op.Key, op.Grant, op.TTL)
		}},
		{claim.Op{Kind: claim.OpMarkDone, Grant: grant, Completion: claim.Completion{Retention: 4, Result: []byte("5")}}, func(c *claim.Combiner, op *claim.Op) error {
			_, err := c.MarkDone(ctx, op.Key, op.Grant, op.Completion)
			return err
		}},
		{claim.Op{Kind: claim.OpMarkDead, Grant: grant, Reason: "6"}, func(c *claim.Combiner, op *claim.Op) error {
			return c.MarkDead(ctx, op.Key, op.Grant, op.Reason)
		}},
		{claim.Op{Kind: claim.OpRelease, Grant: grant, TTL: 7}, func(c *claim.Combiner, op *claim.Op) error {
			return c.Release(ctx, op.Key, op.Grant, op.TTL)
		}},
		{claim.Op{Kind: claim.OpForget, Grant: claim.Grant{Fence: 8}, Seen: claim.StateDone}, func(c *claim.Combiner, op *claim.Op) error {
			return c.Forget(ctx, op.Key, claim.Record{State: op.Seen, Fence: op.Grant.Fence})
		}},
		{claim.Op{Kind: claim.OpRevive, Grant: claim.Grant{Fence: 9}, Seen: claim.StateDead}, func(c *claim.Combiner, op *claim.Op) error {
			return c.Revive(ctx, op.Key, claim.Record{State: op.Seen, Fence: op.Grant.Fence})
		}},
	} {
		m.want.Key = combinedKey(t)
		b := &counter{}
		c := newCombiner(t, b, nil)
		if err := m.call(c, &m.want); err != nil {
			t.Errorf("%v: %v", m.want.Kind, err)
		}
		expect(t, m.want.Kind.String(), b.trips, [][]claim.Op{{m.want}})

		b.hook = func(_ context.Context, ops []*claim.Op) { runtime.Goexit() }
		failed := make(chan error)
		go func() {
			defer close(failed)
			failed <- m.call(c, &m.want)
		}()
		if err, returned := <-failed; returned {
			t.Errorf("%v: %v from a Batcher that does not return", m.want.Kind, err)
		}
		b.hook = nil
		if err := m.call(c, &m.want); err != nil {
			t.Errorf("%v after it: %v", m.want.Kind, err)
		}
	}
}

// The first few go at once; the others gather until what waits is a third of
// what is out, and leave together.
func TestCombinerGathers(t *testing.T) {
	b := &counter{trip: 500 * time.Microsecond}
	combining(t, b, nil, func(w *callers) {
		w.claims(12)
		expect(t, "at once", b.sizes(), []int{1, 1, 1, 1, 2, 2, 3})
		w.claims(3)
		w.Wait()
		expect(t, "in the end", b.sizes(), []int{1, 1, 1, 1, 2, 2, 3, 4})
	})
}

// However many callers there are, three or four flights carry them.
func TestCombinerKeepsFlightsFewNearby(t *testing.T) {
	b := &counter{trip: 100 * time.Microsecond}
	combining(t, b, nil, func(w *callers) {
		for range 200 {
			w.Go(func() {
				for range 50 {
					_, err := w.c.TryClaim(context.Background(), combinedKey(t), claim.Request{Token: claim.NewToken()})
					w.succeeds(err)
				}
			})
		}
		w.Wait()
		if n := len(b.sizes()); n > 200*50/20 {
			t.Errorf("%d trips for 10,000 operations of 200 callers", n)
		}
	})
}

// Where a trip takes long, nobody waits for longer than a millisecond, up to
// MaxFlights.
func TestCombinerPatience(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 7}, func(w *callers) {
		w.claims(5)
		expect(t, "at once", b.sizes(), []int{1, 1, 1, 1})
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		expect(t, "after a moment", b.sizes(), []int{1, 1, 1, 1, 1})
		w.claims(1)
		time.Sleep(2 * time.Millisecond)
		w.claims(1)
		time.Sleep(2 * time.Millisecond)
		w.claims(5)
		time.Sleep(500 * time.Millisecond)
		expect(t, "all out", b.sizes(), []int{1, 1, 1, 1, 1, 1, 1})
		w.Wait()
		expect(t, "in the end", b.sizes(), []int{1, 1, 1, 1, 1, 1, 1, 5})
		expect(t, "at a time", b.most, 7)
	})
}

func TestCombinerMaxBatch(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxBatch: 10, MaxFlights: 2}, func(w *callers) {
		w.claims(2 + 25)
		w.Wait()
		expect(t, "trips", b.sizes(), []int{1, 1, 10, 10, 5})
	})
}

func TestCombinerOff(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxBatch: 1}, func(w *callers) {
		w.claims(50)
		expect(t, "at once", len(b.sizes()), 50)
	})
}

func TestCombinerFullQueue(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1, MaxWaiting: 5}, func(w *callers) {
		w.claims(1 + 5)
		w.claim(context.Background(), func(err error) {
			if !errors.Is(err, claim.ErrUnavailable) || !strings.Contains(err.Error(), "too many operations wait") {
				t.Error(err)
			}
		})
		w.Go(func() { w.succeeds(w.c.Extend(context.Background(), combinedKey(t), claim.Grant{}, time.Minute)) })
		w.Wait()
		expect(t, "trips", b.sizes(), []int{1, 6})
	})
}

// An Extend leaves with the next flight, although those who came before it fill
// several.
func TestCombinerExtendsFirst(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxBatch: 3, MaxFlights: 1}, func(w *callers) {
		w.claims(1 + 8)
		for range 4 {
			w.Go(func() { w.succeeds(w.c.Extend(context.Background(), combinedKey(t), claim.Grant{}, time.Minute)) })
		}
		synctest.Wait()
		w.Wait()
		expect(t, "trips", b.sizes(), []int{1, 6, 4, 2}) // three on top of the first's, one of the second's
		for _, op := range b.trips[1][:3] {
			expect(t, "first", op.Kind, claim.OpExtend)
		}
		w.claims(1)
		w.Go(func() { w.succeeds(w.c.Extend(context.Background(), combinedKey(t), claim.Grant{}, time.Minute)) })
		synctest.Wait()
		w.claims(2)
		w.Wait()
		expect(t, "trips", b.sizes()[4:], []int{1, 3})
	})
}

// Who leaves the queue was never there, and nobody else notices.
func TestCombinerCancelInQueue(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1}, func(w *callers) {
		w.claims(1)
		begun := time.Now()
		ctx, cancel := context.WithCancel(context.Background())
		for range 3 {
			w.claim(ctx, w.failsWith(claim.ErrUnavailable, context.Canceled))
			w.claims(1)
		}
		cancel()
		synctest.Wait()
		expect(t, "time", time.Since(begun), time.Duration(0))
		w.claim(ctx, w.failsWith(claim.ErrUnavailable, context.Canceled))
		w.claims(2) // on vacated seats
		w.Wait()
		expect(t, "trips", b.sizes(), []int{1, 5})

		// A queue that all have left is none.
		w.claims(1)
		ctx, cancel = context.WithTimeout(context.Background(), time.Millisecond/2)
		defer cancel()
		w.claim(ctx, w.failsWith(claim.ErrUnavailable, context.DeadlineExceeded))
		w.Wait()
		expect(t, "trips", b.sizes(), []int{1, 5, 1})
	})
}

// Who leaves in flight leaves an operation of unknown fate; the others have
// their answers, and the flight what it needs of the one who left.
func TestCombinerCancelInFlight(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1}, func(w *callers) {
		w.claims(1)
		ctx, cancel := context.WithCancel(context.Background())
		w.claim(ctx, w.failsWith(claim.ErrUnknown, context.Canceled))
		result := []byte("result")
		key := combinedKey(t)
		w.Go(func() {
			_, err := w.c.MarkDone(ctx, key, claim.Grant{}, claim.Completion{Result: result})
			w.failsWith(claim.ErrUnknown, context.Canceled)(err)
			copy(result, "------") // it is the caller's again
		})
		w.claims(3)
		b.mu.Lock()
		b.hook = func(_ context.Context, ops []*claim.Op) {
			cancel()
			synctest.Wait()
			time.Sleep(time.Second)
			expect(t, "result", string(ops[0].Completion.Result), "result")
		}
		b.mu.Unlock()
		w.Wait()
		expect(t, "trips", b.sizes(), []int{1, 5})
	})
}

// A result that no store keeps is not carried about.
func TestCombinerLargeResult(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1}, func(w *callers) {
		w.claims(1)
		for _, n := range []int{claim.MaxResultBytes, claim.MaxResultBytes + 1} {
			w.Go(func() {
				_, err := w.c.MarkDone(context.Background(), combinedKey(t), claim.Grant{}, claim.Completion{Result: make([]byte, n)})
				w.succeeds(err)
			})
			synctest.Wait()
		}
		w.Wait()
		kept, cut := b.trips[1][0].Completion, b.trips[1][1].Completion
		expect(t, "kept", len(kept.Result), claim.MaxResultBytes)
		expect(t, "cut", cut, claim.Completion{Omitted: true})
		expect(t, "omitted", kept.Omitted, false)
	})
}

// Each caller has its own deadline, the flight the last of them.
func TestCombinerDeadlines(t *testing.T) {
	b := &counter{trip: 10 * time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1}, func(w *callers) {
		begun := time.Now()
		first, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.claim(first, w.failsWith(claim.ErrUnknown, context.DeadlineExceeded))
		for _, after := range []time.Duration{3, 2, 11} {
			ctx, cancel := context.WithTimeout(context.Background(), after*time.Second)
			defer cancel()
			check := w.failsWith(claim.ErrUnknown, context.DeadlineExceeded)
			w.claim(ctx, func(err error) {
				if after*time.Second < b.trip {
					check(err)
					expect(t, "time", time.Since(begun), after*time.Second)
				} else if err != nil {
					// The flight left when the first was over, and takes ten seconds.
					expect(t, "time", time.Since(begun), 11*time.Second)
				}
			})
		}
		b.mu.Lock()
		b.hook = func(ctx context.Context, ops []*claim.Op) {
			d, _ := ctx.Deadline()
			expect(t, "the flight's deadline", d.Sub(begun), 11*time.Second)
		}
		b.mu.Unlock()
		w.Wait()
		expect(t, "trips", b.sizes(), []int{1, 3})
	})
}

// A flight ends when nobody waits for it any more.
func TestCombinerAbandonedFlight(t *testing.T) {
	b := &counter{trip: time.Hour}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1}, func(w *callers) {
		begun := time.Now()
		first, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		w.claim(first, w.failsWith(claim.ErrUnknown, context.DeadlineExceeded))
		second, cancel := context.WithCancel(context.Background())
		for range 3 {
			w.claim(second, w.failsWith(claim.ErrUnknown, context.Canceled))
		}
		time.Sleep(2 * time.Second)
		cancel()
		synctest.Wait()
		expect(t, "flights out", b.out, 0)
		expect(t, "time", time.Since(begun), 2*time.Second)
	})
}

func TestCombinerPanics(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1}, func(w *callers) {
		cause := errors.New("the cause")
		w.claims(1)
		b.hook = func(context.Context, []*claim.Op) { panic(cause) }
		panics := func() {
			defer func() {
				err, _ := recover().(error)
				if !errors.Is(err, cause) || !strings.Contains(err.Error(), "the cause") {
					t.Errorf("recovered %v, want the Batcher's panic", err)
				}
			}()
			_, err := w.c.TryClaim(context.Background(), combinedKey(t), claim.Request{})
			t.Errorf("error %v, want a panic", err)
		}
		for range 3 {
			w.Go(panics)
		}
		w.Wait()
		panics() // alone
		b.hook = func(context.Context, []*claim.Op) { runtime.Goexit() }
		go func() { _, _ = w.c.TryClaim(context.Background(), combinedKey(t), claim.Request{}) }()
		synctest.Wait()
		b.hook = nil
		w.claims(1)
		b.hook = func(context.Context, []*claim.Op) { runtime.Goexit() }
		for range 3 {
			w.claim(context.Background(), w.failsWith(claim.ErrUnknown, claim.ErrUnknown))
		}
		w.Wait()
		b.hook = nil
		w.claims(1)
	})
}

// An explicit batch does not stand in the queue.
func TestCombinerApply(t *testing.T) {
	b := &counter{trip: time.Second}
	combining(t, b, &claim.CombinerOptions{MaxFlights: 1}, func(w *callers) {
		w.claims(1 + 3)
		begun := time.Now()
		ops := []*claim.Op{{Kind: claim.OpTryClaim, Key: combinedKey(t)}, {Kind: claim.OpExtend, Key: combinedKey(t)}}
		w.c.Apply(context.Background(), ops)
		expect(t, "time", time.Since(begun), time.Second)
		expect(t, "trips", b.sizes()[:2], []int{1, 2})
	})
}

// A Combiner, like what it keeps for later, serves one bubble after another.
func TestCombinerInBubbles(t *testing.T) {
	b := &counter{}
	c := newCombiner(t, b, nil)
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			b.trip = time.Millisecond
			w := &callers{t: t, c: c}
			for range 4 {
				w.claims(20)
			}
			w.Wait()
		})
	}
}

func TestCombinerOptions(t *testing.T) {
	for name, o := range map[string]claim.CombinerOptions{
		"MaxBatch is -1": {MaxBatch: -1}, "MaxBatch is 1001": {MaxBatch: 1001},
		"MaxFlights is -1": {MaxFlights: -1}, "MaxFlights is 65": {MaxFlights: 65},
		"MaxWaiting is -1": {MaxWaiting: -1},
	} {
		if c, err := claim.NewCombiner(nothing{}, &o); c != nil || !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := claim.NewCombiner(nil, nil); c != nil || !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("without a Batcher: %v", err)
	}
}

// machine is a Batcher that applies Step, and takes a little while.
type machine struct {
	mu      sync.Mutex
	records map[claim.Key]claim.Record
	now     claim.Instant
}

func (m *machine) Apply(ctx context.Context, ops []*claim.Op) {
	runtime.Gosched()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, op := range ops {
		m.now++
		rec := m.records[op.Key]
		next, _ := claim.Step(rec, op, m.now)
		m.records[op.Key] = next
	}
}

// Many callers, some of whom leave early, on few keys: whoever is granted a claim
// finishes it, and is the only one who does.
func TestCombinerManyCallers(t *testing.T) {
	const callers, keys = 50, 100
	m := &machine{records: make(map[claim.Key]claim.Record), now: 1}
	c := newCombiner(t, m, &claim.CombinerOptions{MaxBatch: 16, MaxFlights: 3})
	names := make([]claim.Key, keys)
	for i := range names {
		names[i] = combinedKey(t)
	}
	var done [keys]atomic.Int32
	var wg sync.WaitGroup
	for n := range callers {
		wg.Go(func() {
			for i := range names {
				at := (i*7 + n) % keys
				ctx, cancel := context.WithCancel(t.Context())
				if (n+i)%5 == 0 {
					go cancel()
				}
				req := claim.Request{Token: claim.NewToken(), TTL: time.Hour, Retention: time.Hour}
				v, err := c.TryClaim(ctx, names[at], req)
				for errors.Is(err, claim.ErrUnknown) || errors.Is(err, claim.ErrUnavailable) {
					v, err = c.TryClaim(t.Context(), names[at], req)
				}
				cancel()
				if err != nil {
					t.Error(err)
				}
				if v.Outcome != claim.Claimed {
					continue
				}
				if v.Grant.Token != req.Token {
					t.Error("the grant is another caller's")
				}
				_, err = c.MarkDone(t.Context(), names[at], v.Grant, claim.Completion{Retention: time.Hour})
				for errors.Is(err, claim.ErrUnavailable) {
					_, err = c.MarkDone(t.Context(), names[at], v.Grant, claim.Completion{Retention: time.Hour})
				}
				if err != nil {
					t.Error(err)
				}
				done[at].Add(1)
			}
		})
	}
	wg.Wait()
	counts := make([]int32, keys)
	for i := range done {
		counts[i] = done[i].Load()
	}
	if slices.Max(counts) != 1 || slices.Min(counts) != 1 {
		t.Errorf("keys were finished %d to %d times, want once", slices.Min(counts), slices.Max(counts))
	}
}

// BenchmarkCombiner measures what combining itself takes, over a Batcher that
// does nothing.
func BenchmarkCombiner(b *testing.B) {
	key, req := combinedKey(b), claim.Request{Token: claim.NewToken()}
	for _, callers := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			c := newCombiner(b, yielding{}, nil)
			ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
			defer cancel()
			b.ReportAllocs()
			var left atomic.Int64
			left.Store(int64(b.N))
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if _, err := c.TryClaim(ctx, key, req); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// yielding is a Batcher that lets others run, as one does that waits for a
// server.
type yielding struct{}

func (yielding) Apply(context.Context, []*claim.Op) { runtime.Gosched() }
