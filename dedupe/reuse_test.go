package dedupe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/bus"
)

// A handler may keep its context: it stays that of its message, and is over.
func TestAContextThatIsKeptKnowsNothingOfOtherMessages(t *testing.T) {
	d, _ := New(newTripCounter(t), quietOptions())
	defer d.Close(context.Background())
	type kept struct {
		ctx   context.Context
		fence uint64
		child string
	}
	var all []kept
	keep := func(ctx context.Context) {
		all = append(all, kept{ctx, FenceFrom(ctx), ChildKey(ctx, "charge")})
	}
	batch := d.WrapBatch(func(ctx context.Context, ms []*bus.Message) []error {
		keep(ForMessage(ctx, ms[1]))
		return make([]error, len(ms))
	})
	for i := range 100 {
		ctx := context.WithValue(t.Context(), nameKey{}, i)
		if _, err := d.Do(ctx, ID(fmt.Sprint(i)), func(ctx context.Context) ([]byte, error) { keep(ctx); return nil, nil }); err != nil {
			t.Fatal(err)
		}
		if errs := batch(ctx, []*bus.Message{{ID: fmt.Sprint(i, "a")}, {ID: fmt.Sprint(i, "b")}}); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
	}
	for i, k := range all {
		if FenceFrom(k.ctx) != k.fence || ChildKey(k.ctx, "charge") != k.child || k.ctx.Value(nameKey{}) != i/2 {
			t.Fatalf("the context of message %d shows another's", i)
		}
		select {
		case <-k.ctx.Done():
		default:
			t.Fatal("the context of a message that has ended is alive")
		}
		SetResult(k.ctx, []byte("too late"))
	}
	if r, err := d.Do(t.Context(), ID("0"), nil); err != nil || r.Bytes != nil {
		t.Errorf("%q was kept as a result by a context that was over; %v", r.Bytes, err)
	}
}

// Messages of all kinds at once, on attempts that are used again: each must see
// its own fence, result and id, and run once.
func TestAttemptsThatAreUsedAgainDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, err := memstore.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		o := quietOptions()
		d, _ := New(store, o)
		const ids, callers, calls = 200, 32, 60
		var mu sync.Mutex
		ran := map[string]int{}
		do := func(ctx context.Context, id string, how int) {
			r, err := d.Do(ctx, ID(id), func(ctx context.Context) ([]byte, error) {
				switch how % 6 {
				case 0:
					<-time.After(o.Lease) // extended on the way
				case 1:
					<-time.After(time.Millisecond)
				case 2:
					return nil, errBoomInside
				case 3:
					panic("boom")
				}
				mu.Lock()
				ran[id]++
				mu.Unlock()
				return fmt.Append(nil, id, " ", FenceFrom(ctx)), nil
			})
			switch {
			case err == nil && !r.Duplicate && string(r.Bytes) != fmt.Sprint(id, " ", r.Fence):
				t.Errorf("%s: run with fence %d returned %q", id, r.Fence, r.Bytes)
			case err == nil && r.Duplicate && !startsWithWord(r.Bytes, id):
				t.Errorf("%s: duplicate is told %q", id, r.Bytes)
			}
		}
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for range calls {
					ctx, cancel := context.WithCancel(t.Context())
					if rand.N(2) == 0 {
						ctx = t.Context()
					}
					do(ctx, fmt.Sprint("id", rand.N(ids)), rand.N(1000))
					cancel()
				}
			})
		}
		wg.Wait()
		for id, n := range ran {
			if n > 1 {
				t.Errorf("%s succeeded %d times", id, n)
			}
		}
		if d.keeper.live() != 0 {
			t.Errorf("%d leases left", d.keeper.live())
		}
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

var errBoomInside = errors.New("boom")

func startsWithWord(b []byte, word string) bool {
	return len(b) > len(word) && string(b[:len(word)]) == word && b[len(word)] == ' '
}
