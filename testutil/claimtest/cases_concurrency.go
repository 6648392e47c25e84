package claimtest

import (
	"context"
	"errors"
	"sync"

	"github.com/oncebus/once/claim"
)

// contenders is how many goroutines ask for one key.
const contenders = 16

// together runs fn in n goroutines at once and waits for all.
func together(n int, fn func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		ready.Add(1)
		done.Go(func() {
			ready.Done()
			<-start
			fn(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

// send carries out ops in the mode of the case without checks, which belong to
// the goroutine of the case.
func (e *env) send(ops ...*claim.Op) { e.sendIn(e.ctx, ops...) }

// sendIn is send with another context.
func (e *env) sendIn(ctx context.Context, ops ...*claim.Op) {
	if e.mode == batched {
		e.Store.(claim.Batcher).Apply(ctx, ops)
		return
	}
	for _, op := range ops {
		doSingle(ctx, e.Store, op)
	}
}

// contend sends one claim for key by each of n contenders at once and returns
// how many were claimed; all others must be answered other.
func (e *env) contend(key claim.Key, n int, other claim.Outcome) (winners []claim.Grant) {
	e.Helper()
	ops := make([]*claim.Op, n)
	for i := range ops {
		ops[i] = &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: e.request()}
	}
	together(n, func(i int) { e.send(ops[i]) })
	for _, op := range ops {
		e.checkAnswer(op)
		switch {
		case op.Err != nil:
			e.Fatalf("TryClaim: %v", op.Err)
		case op.Verdict.Outcome == claim.Claimed:
			winners = append(winners, op.Verdict.Grant)
		case op.Verdict.Outcome != other:
			e.Fatalf("TryClaim among %d: %v, want claimed or %v", n, op.Verdict.Outcome, other)
		}
	}
	return winners
}

var concurrencyCases = []testCase{
	{
		name: "one winner",
		why:  "of many copies at many consumers at once exactly one is Claimed, on an absent, a released and an expired key alike",
		run: func(e *env) {
			for _, on := range []situation{absent, released, over} {
				for range 4 {
					key := e.key()
					on.make(e, key)
					if w := e.contend(key, contenders, claim.Pending); len(w) != 1 {
						e.Fatalf("%d of %d contenders for a key that is %s were claimed, want 1", len(w), contenders, on.name)
					}
				}
			}
		},
	},
	{
		name: "one claim sent many times",
		why:  "copies of one claim at once all get the same grant",
		run: func(e *env) {
			key, req := e.key(), e.request()
			ops := make([]*claim.Op, contenders)
			for i := range ops {
				ops[i] = &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
			}
			together(len(ops), func(i int) { e.send(ops[i]) })
			for _, op := range ops {
				e.checkAnswer(op)
				if op.Err != nil || op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant != ops[0].Verdict.Grant {
					e.Fatalf("got %+v and error %v, want the grant %+v", op.Verdict, op.Err, ops[0].Verdict.Grant)
				}
			}
		},
	},
	{
		name: "late commit against takeover",
		why:  "a late completion and a takeover cannot both succeed",
		run: func(e *env) {
			for range 8 {
				key := e.key()
				g := over.make(e, key)
				commit := &claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: g, Completion: claim.Completion{Retention: e.units(forever)}}
				take := &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: e.request()}
				ops := []*claim.Op{commit, take}
				together(2, func(i int) { e.send(ops[i]) })
				e.checkAnswer(commit)
				e.checkAnswer(take)
				switch {
				case commit.Err == nil && take.Err == nil && take.Verdict.Outcome == claim.Done:
				case errors.Is(commit.Err, claim.ErrLost) && take.Err == nil && take.Verdict.Outcome == claim.Claimed:
				default:
					e.Fatalf("commit: error %v; takeover: %v, error %v", commit.Err, take.Verdict.Outcome, take.Err)
				}
			}
		},
	},
	{
		name: "callers who leave",
		why:  "a caller whose context ends takes no other caller's operation with it; ErrUnavailable means that its own did not happen, and it may repeat it",
		run: func(e *env) {
			ctx, leave := context.WithCancel(e.ctx)
			ops := make([]*claim.Op, 2*contenders)
			for i := range ops {
				ops[i] = &claim.Op{Kind: claim.OpTryClaim, Key: e.key(), Request: e.request()}
			}
			together(len(ops)+1, func(i int) {
				switch {
				case i == len(ops):
					leave()
				case i%2 == 0:
					e.sendIn(ctx, ops[i])
				default:
					e.send(ops[i])
				}
			})
			for i, op := range ops {
				e.checkAnswer(op)
				switch {
				case op.Err == nil && op.Verdict.Outcome == claim.Claimed:
				case i%2 == 0 && errors.Is(op.Err, claim.ErrUnavailable):
					absent.check(e, op.Key, claim.Grant{})
					continue
				case i%2 == 0 && errors.Is(op.Err, claim.ErrUnknown):
				default:
					e.Fatalf("operation %d: %v, error %v", i, op.Verdict.Outcome, op.Err)
				}
				if e.do(op); op.Err != nil || op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant.Attempt != 1 {
					e.Fatalf("operation %d repeated: %+v, error %v; want the first attempt", i, op.Verdict, op.Err)
				}
			}
		},
	},
	{
		name: "many keys at once",
		why:  "consumers of different keys do not disturb each other",
		run: func(e *env) {
			const perWorker = 20
			lives := make([][]*claim.Op, contenders)
			for i := range lives {
				for range perWorker {
					lives[i] = append(lives[i], &claim.Op{Kind: claim.OpTryClaim, Key: e.key(), Request: e.request()})
				}
			}
			together(contenders, func(i int) {
				for n, op := range lives[i] {
					e.send(op)
					finish := &claim.Op{Kind: claim.OpMarkDone, Key: op.Key, Grant: op.Verdict.Grant,
						Completion: claim.Completion{Retention: e.units(forever), Result: []byte{byte(i), byte(n)}}}
					e.send(finish)
					if op.Err == nil {
						op.Err = finish.Err
					}
				}
			})
			for i, life := range lives {
				for n, op := range life {
					e.fine(op.Err)
					e.sameResult(e.answers(claim.Done, op.Key, e.request()), []byte{byte(i), byte(n)})
				}
			}
		},
	},
}
