package histories_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
	"github.com/oncebus/once/testutil/histories"
)

// spoil makes a few operations fail at random, until ctx ends: requests and
// replies are lost, operations are refused, some land after their callers have
// given up.
func spoil(ctx context.Context, rng *rand.Rand, r *histories.Recorder, fs *faultstore.Store, twice bool) {
	faults := []faultstore.Fault{faultstore.Fail, faultstore.LoseRequest, faultstore.LoseReply}
	if twice {
		faults = append(faults, faultstore.Twice)
	}
	release := func() {}
	defer func() { release() }()
	for ctx.Err() == nil {
		kind := claim.OpKind(rng.IntN(int(claim.OpRevive) + 1)) // faultstore.Any among them
		switch fault := rng.IntN(len(faults) + 1); fault {
		case len(faults):
			release()
			release = fs.Hold(kind)
			r.Note("hold %v", kind)
		default:
			fs.On(kind, faults[fault], 1+rng.IntN(3))
			r.Note("%v %v", faults[fault], kind)
		}
		timer := time.NewTimer(time.Duration(rng.IntN(4000)) * time.Microsecond)
		<-timer.C
	}
	fs.Reset()
}

// A store that is right is found right, whatever is done to the operations on
// their way.
func TestFaultsOnTheWay(t *testing.T) {
	counts := histories.Counts{}
	for seed := range uint64(6) {
		store, err := memstore.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		fs := faultstore.New(store)
		w := histories.Workload{Seed: seed, Operations: 600, Pause: 2 * time.Millisecond, Timeout: 5 * time.Millisecond, Operators: true}
		if seed%2 == 1 {
			w.Lease = 12 * time.Millisecond
		}
		if seed%3 == 2 {
			w.Retention = 20 * time.Millisecond
		}
		twice := seed%4 == 0
		if twice {
			w.PerKey = 15 // every one of them may have happened twice
		}
		traffic, r := w.Start(), histories.NewRecorder()
		clients := make([]histories.Client, 6)
		for i := range clients {
			clients[i].Store = fs
			if twice {
				clients[i].Resends = 1
			}
		}
		rng := rand.New(rand.NewPCG(seed, 1))
		r.Run(func(ctx context.Context) { spoil(ctx, rng, r, fs, twice) }, traffic.Drive(clients...)...)
		r.Run(nil, traffic.Probe(clients[0]))
		h := r.History()
		if r := histories.Check(t, h); len(r.Violations) > 0 {
			t.Fatalf("seed %d: %+v", seed, w)
		}
		if histories.WeakerRefutes(h) {
			t.Errorf("seed %d: the weaker model does not explain it", seed)
		}
		counts = counts.Add(h.Counts())
	}
	t.Logf("%+v", counts)
	if counts.Unknown == 0 || counts.NotDone == 0 || counts.Takeovers == 0 || counts.Done == 0 {
		t.Errorf("nothing of some kind happened: %+v", counts)
	}
}
