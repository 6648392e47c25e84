package redisstore_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/netproxy"
)

// completions returns completions with nothing to keep, of claims that store grants.
func completions(t *testing.T, store *redisstore.Store, n int) []*claim.Op {
	t.Helper()
	ops := make([]*claim.Op, n)
	for i := range ops {
		key, req := newKey(t), newRequest()
		ops[i] = &claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: mustClaim(t, store, key, req).Grant,
			Completion: claim.Completion{Retention: req.Retention}}
	}
	return ops
}

// doneCalls returns how many of the script calls that run makes are of the short
// script.
func doneCalls(p *netproxy.Proxy, run func()) int { return requests(p, redisstore.DoneDigest(), run) }

func mustApply(t *testing.T, store *redisstore.Store, ops []*claim.Op) {
	t.Helper()
	store.Apply(t.Context(), ops)
	for i, op := range ops {
		if op.Err != nil {
			t.Errorf("operation %d: %v", i, op.Err)
		}
	}
}

func TestCompletionsWithNothingToKeepAreCarriedOutByTheShortScript(t *testing.T) {
	p, store, _ := spied(t)
	ops := completions(t, store, 3)
	if n := doneCalls(p, func() { mustApply(t, store, ops) }); n != 1 {
		t.Errorf("%d calls of the short script, want 1", n)
	}
	for i, op := range ops {
		e, err := store.Get(t.Context(), op.Key)
		if err != nil {
			t.Fatal(err)
		}
		if e.State != claim.StateDone || e.Fence != op.Grant.Token.Stamp() || e.Expires.Sub(e.Now) < op.Completion.Retention {
			t.Errorf("the record of completion %d is %+v", i, e.Record)
		}
	}
	again := requests(p, "evalsha", func() { mustApply(t, store, ops) })
	if again != 2 {
		t.Errorf("%d script calls for completions that were carried out before, want 2", again)
	}
}

func TestCompletionsThatAreNotTheShortScripts(t *testing.T) {
	p, store, _ := spied(t)
	for name, change := range map[string]func([]*claim.Op) []*claim.Op{
		"with a result": func(ops []*claim.Op) []*claim.Op {
			ops[1].Completion.Result = []byte("result")
			return ops
		},
		"with a fingerprint": func(ops []*claim.Op) []*claim.Op {
			ops[1].Completion.Fingerprint = claim.Fingerprint{1}
			return ops
		},
		"on other terms": func(ops []*claim.Op) []*claim.Op {
			ops[1].Completion.Retention *= 2
			return ops
		},
		"beside another operation": func(ops []*claim.Op) []*claim.Op {
			ops[1] = &claim.Op{Kind: claim.OpExtend, Key: ops[1].Key, Grant: ops[1].Grant, TTL: time.Minute}
			return ops
		},
		"twice of one key": func(ops []*claim.Op) []*claim.Op {
			twin := *ops[0]
			return append(ops, &twin)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ops := change(completions(t, store, 2))
			if n := doneCalls(p, func() { mustApply(t, store, ops) }); n != 0 {
				t.Errorf("%d calls of the short script, want none", n)
			}
		})
	}
}

// What the short script leaves alone the other one judges: here a lease that was
// extended, one that another took over, and one whose key nobody holds.
func TestWhatTheShortScriptDoesNotKnowIsAsked(t *testing.T) {
	_, store, _ := spied(t)
	ops := completions(t, store, 3)
	if err := store.Extend(t.Context(), ops[0].Key, ops[0].Grant, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := store.Release(t.Context(), ops[1].Key, ops[1].Grant, 0); err != nil {
		t.Fatal(err)
	}
	second := mustClaim(t, store, ops[1].Key, newRequest()).Grant
	ops[2].Key = newKey(t)
	store.Apply(t.Context(), ops)
	if ops[0].Err != nil || ops[0].Recovered {
		t.Errorf("of a lease that was extended: recovered %v, error %v", ops[0].Recovered, ops[0].Err)
	}
	if !errors.Is(ops[1].Err, claim.ErrLost) {
		t.Errorf("of another's claim: error %v, want ErrLost", ops[1].Err)
	}
	if ops[2].Err != nil || !ops[2].Recovered {
		t.Errorf("of a key without a record: recovered %v, error %v", ops[2].Recovered, ops[2].Err)
	}
	e, err := store.Get(t.Context(), ops[1].Key)
	if err != nil || e.State != claim.StatePending || e.Fence != second.Fence {
		t.Errorf("another's record is %+v, error %v", e.Record, err)
	}
}

func TestAForeignReplyToAShortCompletionIsNone(t *testing.T) {
	p, store, _ := spied(t)
	for name, change := range map[string]func(string) string{
		"another nonce":  func(s string) string { return "12345678" + s[8:] },
		"one too many":   func(s string) string { return s + "O" },
		"one too few":    func(s string) string { return s[:len(s)-1] },
		"another letter": func(s string) string { return s[:len(s)-1] + "N" },
	} {
		t.Run(name, func(t *testing.T) {
			ops := completions(t, store, 2)
			trap := p.Replace(redisstore.DoneDigest(), func(b []byte) []byte {
				body := b[strings.Index(string(b), "\r\n")+2 : len(b)-2]
				changed := change(string(body))
				return []byte("+" + changed + "\r\n")
			})
			store.Apply(t.Context(), ops)
			trap.Wait(t)
			for i, op := range ops {
				if !errors.Is(op.Err, claim.ErrCorrupt) {
					t.Errorf("completion %d: %v, want ErrCorrupt", i, op.Err)
				}
			}
		})
	}
}

// Its connection is cut when the short script has run. The client sends it again, and
// it meets what it wrote itself.
func TestAShortCompletionWhoseReplyIsLostIsRepeated(t *testing.T) {
	p, store, s := spied(t)
	ops := completions(t, store, 1)
	trap := p.CutAt(netproxy.BeforeReply, redisstore.DoneDigest())
	store.Apply(t.Context(), ops)
	trap.Wait(t)
	if !errors.Is(ops[0].Err, claim.ErrUnknown) {
		t.Errorf("error %v, want ErrUnknown", ops[0].Err)
	}
	retrying, err := redisstore.New(t.Context(), s.Client(), &redisstore.Options{Prefix: s.Prefix})
	if err != nil {
		t.Fatal(err)
	}
	mustApply(t, retrying, ops)
}
