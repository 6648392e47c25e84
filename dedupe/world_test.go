package dedupe_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// lease is the unit of time of the tests. Most run in virtual time.
const lease = time.Second

// virtual runs f in a bubble with virtual time, on a store with the same clock.
func virtual(t *testing.T, f func(t *testing.T, store *memstore.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newMemstore(t)) })
}

func newMemstore(t testing.TB) *memstore.Store {
	t.Helper()
	store, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// newDeduper makes a Deduper with short times and closes it with the test.
func newDeduper(t testing.TB, store claim.Store, set func(o *dedupe.Options)) *dedupe.Deduper {
	t.Helper()
	o := &dedupe.Options{
		Consumer:      "billing",
		Lease:         lease,
		CommitTimeout: 5 * lease,
		Backoff:       func(int) time.Duration { return lease / 20 },
		LocalWait:     dedupe.Off,
		Logger:        quiet,
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

// pass lets time go by: virtual time in a bubble.
func pass(d time.Duration) { <-time.After(d) }

func message(id string) *bus.Message {
	return &bus.Message{ID: id, Subject: "orders", Data: []byte("order " + id), Position: "orders:" + id, Delivery: 1}
}

// expectAction fails the test unless err settles the delivery as want.
func expectAction(t testing.TB, err error, want bus.Action) bus.Settlement {
	t.Helper()
	s := bus.SettlementOf(err)
	if s.Action != want {
		t.Fatalf("the delivery is settled as %v (%v), want %v", s.Action, err, want)
	}
	return s
}

// record returns the record that the store holds for a message of consumer
// billing.
func record(t testing.TB, store claim.Inspector, id string) claim.Entry {
	t.Helper()
	key, err := claim.NewKey("", "billing", claim.MessageID(id))
	if err != nil {
		t.Fatal(err)
	}
	e, err := store.Get(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// effects is what a handler did to the world outside: how often for each id.
type effects struct {
	mu  sync.Mutex
	ids []string
}

func (e *effects) add(m *bus.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ids = append(e.ids, m.ID)
}

func (e *effects) total() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.ids)
}

func (e *effects) count(id string) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, other := range e.ids {
		if other == id {
			n++
		}
	}
	return n
}

// handler returns a handler that has its effect and succeeds.
func (e *effects) handler(_ context.Context, m *bus.Message) error {
	e.add(m)
	return nil
}

// busy is a handler that runs until it is told how to end.
type busy struct {
	started chan context.Context
	end     chan error
}

func newBusy() *busy {
	return &busy{started: make(chan context.Context, 10), end: make(chan error, 10)}
}

func (b *busy) handler(ctx context.Context, _ *bus.Message) error {
	b.started <- ctx
	return <-b.end
}

// deliver calls h in a goroutine of its own.
func deliver(h bus.Handler, m *bus.Message) <-chan error {
	answer := make(chan error, 1)
	go func() { answer <- h(context.Background(), m) }()
	return answer
}

var errBoom = errors.New("boom")
