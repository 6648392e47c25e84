package redisstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// keyBeside returns a new key whose records stand in the same slot as key's.
func keyBeside(t testing.TB, key claim.Key) claim.Key {
	t.Helper()
	for {
		other := newKey(t)
		if other.Digest()[0] == key.Digest()[0] {
			return other
		}
	}
}

// While a slot moves, a marker may be on one node and the record on another. The
// layout answers nothing then rather than something wrong, whichever key goes
// first.
func TestMarkersWhileTheirSlotMoves(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	client := c.Client()
	o := c.Options()
	o.MaxRedirects = 1 // TRYAGAIN is tried again, and a move ends by itself in no time
	impatient := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = impatient.Close() })
	for _, tagged := range []bool{false, true} {
		for first := range 3 {
			prefix := fresh("once:")
			if tagged {
				prefix = "{" + prefix + "}"
			}
			store := newStore(t, impatient, packedFor(prefix, time.Hour))
			done, pending, absent := newKey(t), claim.Key{}, claim.Key{}
			finish(t, store, done, time.Hour)
			pending, absent = keyBeside(t, done), keyBeside(t, done)
			g := claimed(t, store, pending, newRequest())
			var layout string
			eachName(t, client, prefix, func(name string) {
				if len(name) > 6 && name[len(name)-6:] == "layout" {
					layout = name
				}
			})
			m := beginMove(t, c, client, layout)
			names := m.from.Client().ClusterGetKeysInSlot(t.Context(), int(m.slot), 100).Val()
			if len(names) != 3 {
				t.Fatalf("%d keys in the slot, want the layout record, a bucket and a record", len(names))
			}
			for moved := range len(names) + 1 {
				for range 2 {
					if v, err := store.TryClaim(t.Context(), done, newRequest()); err == nil && v.Outcome != claim.Done ||
						err != nil && !errors.Is(err, claim.ErrUnavailable) && !errors.Is(err, claim.ErrUnknown) {
						t.Errorf("%d moved: what is done is %v, error %v", moved, v.Outcome, err)
					}
					v, err := store.TryClaim(t.Context(), pending, newRequest())
					if err == nil && v.Outcome != claim.Pending {
						t.Errorf("%d moved: what is pending is %v", moved, v.Outcome)
					}
					_ = store.Extend(t.Context(), pending, g, time.Minute)
					if _, err := store.TryClaim(t.Context(), absent, newRequest()); err == nil && moved > 0 && moved < len(names) {
						t.Errorf("%d moved: a claim is answered", moved)
					}
				}
				if moved < len(names) {
					m.key(names[(moved+first)%len(names)])
				}
			}
			m.finish()
			if v, err := inTheEnd(t, store, done); err != nil || v.Outcome != claim.Done {
				t.Errorf("after the move: %v, error %v; want done", v.Outcome, err)
			}
			if recovered, err := store.MarkDone(t.Context(), pending, g, claim.Completion{Retention: time.Hour}); err != nil || recovered {
				t.Errorf("after the move: recovered %v, error %v", recovered, err)
			}
			for _, key := range []claim.Key{done, pending} {
				isDone(t, store, key)
			}
		}
	}
}

// A completion that meets its slot on the way makes no second bucket, on whichever
// node the record and the layout are.
func TestACompletionWhileItsSlotMovesLosesNoMarkers(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, 3)
	client := c.Client()
	for _, bucketFirst := range []bool{true, false} {
		prefix := fresh("once:")
		store := newStore(t, client, packedFor(prefix, time.Hour))
		done := newKey(t)
		finish(t, store, done, time.Hour)
		pending := keyBeside(t, done)
		g := claimed(t, store, pending, newRequest())
		var bucket string
		var others []string
		eachName(t, client, prefix, func(name string) {
			if len(name) == len(prefix)+4+15 {
				bucket = name
			} else {
				others = append(others, name)
			}
		})
		m := beginMove(t, c, client, bucket)
		if bucketFirst {
			m.key(bucket)
		} else {
			for _, name := range others {
				m.key(name)
			}
		}
		_, err := store.MarkDone(t.Context(), pending, g, claim.Completion{Retention: time.Hour})
		if !errors.Is(err, claim.ErrUnavailable) && !errors.Is(err, claim.ErrUnknown) {
			t.Errorf("without the bucket: error %v, want ErrUnavailable or ErrUnknown", err)
		}
		m.finish()
		if v, err := inTheEnd(t, store, pending); err != nil || v.Outcome != claim.Pending {
			t.Errorf("%v, error %v; want pending", v.Outcome, err)
		}
		if _, err := store.MarkDone(t.Context(), pending, g, claim.Completion{Retention: time.Hour}); err != nil {
			t.Error(err)
		}
		for _, key := range []claim.Key{done, pending} {
			isDone(t, store, key)
		}
	}
}

// eachName calls visit for every key in the cluster with the prefix.
func eachName(t testing.TB, client *redis.ClusterClient, prefix string, visit func(name string)) {
	t.Helper()
	var mu sync.Mutex
	err := client.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		for _, name := range node.Keys(ctx, prefix+"*").Val() {
			mu.Lock()
			visit(name)
			mu.Unlock()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
