package claim

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"
)

// methodStore notes the methods that are called.
type methodStore struct{ calls []string }

func (s *methodStore) note(name string) error {
	s.calls = append(s.calls, name)
	return &Error{Err: ErrLost}
}

func (s *methodStore) TryClaim(context.Context, Key, Request) (Verdict, error) {
	return Verdict{}, s.note("TryClaim")
}
func (s *methodStore) Extend(context.Context, Key, Grant, time.Duration) error {
	return s.note("Extend")
}
func (s *methodStore) MarkDone(context.Context, Key, Grant, Completion) (bool, error) {
	return false, s.note("MarkDone")
}
func (s *methodStore) MarkDead(context.Context, Key, Grant, string) error { return s.note("MarkDead") }
func (s *methodStore) Release(context.Context, Key, Grant, time.Duration) error {
	return s.note("Release")
}

// inspectorStore has an Inspector as well, and batchStore a Batcher.
type inspectorStore struct{ methodStore }

var _ Inspector = (*inspectorStore)(nil)

func (s *inspectorStore) Get(context.Context, Key) (Entry, error) { return Entry{}, nil }
func (s *inspectorStore) List(context.Context, Filter, string, int) ([]Entry, string, error) {
	return nil, "", nil
}
func (s *inspectorStore) Forget(context.Context, Key, Record) error { return s.note("Forget") }
func (s *inspectorStore) Revive(context.Context, Key, Record) error { return s.note("Revive") }

type batchStore struct {
	methodStore
	batches int
}

func (s *batchStore) Apply(_ context.Context, ops []*Op) { s.batches++ }

func allOps(t *testing.T) []*Op {
	var ops []*Op
	for kind := OpTryClaim; kind <= OpRevive+1; kind++ {
		ops = append(ops, &Op{Kind: kind, Key: stepKey(t), Verdict: Verdict{Outcome: Claimed}, Recovered: true})
	}
	return ops
}

func TestApplyCallsMethods(t *testing.T) {
	s := &inspectorStore{}
	ops := allOps(t)
	Apply(t.Context(), s, ops)
	want := []string{"TryClaim", "Extend", "MarkDone", "MarkDead", "Release", "Forget", "Revive"}
	if !slices.Equal(s.calls, want) {
		t.Errorf("called %v, want %v", s.calls, want)
	}
	for _, op := range ops {
		if op.Err == nil || op.Verdict.Outcome != 0 || op.Recovered {
			t.Errorf("%v: error %v with answer %+v", op.Kind, op.Err, op.Verdict)
		}
	}
	if !errors.Is(ops[len(ops)-1].Err, ErrInvalid) {
		t.Errorf("unknown operation: error %v, want ErrInvalid", ops[len(ops)-1].Err)
	}
}

func TestApplyWithoutInspector(t *testing.T) {
	ops := allOps(t)
	Apply(t.Context(), &methodStore{}, ops)
	for _, op := range ops {
		if operator := op.Kind == OpForget || op.Kind == OpRevive; operator && !errors.Is(op.Err, ErrUnavailable) {
			t.Errorf("%v: error %v, want ErrUnavailable", op.Kind, op.Err)
		}
	}
}

func TestApplyUsesBatcher(t *testing.T) {
	s := &batchStore{}
	Apply(t.Context(), s, allOps(t))
	if s.batches != 1 || len(s.calls) != 0 {
		t.Errorf("%d batches and calls %v, want one batch", s.batches, s.calls)
	}
}

func TestFilter(t *testing.T) {
	pending, done := Record{State: StatePending, Key: stepKey(t)}, Record{State: StateDone}
	for _, c := range []struct {
		filter        Filter
		pending, done bool
	}{
		{Filter{}, true, true},
		{Filter{State: StatePending}, true, false},
		{Filter{State: StateDone}, false, true},
		{Filter{Consumer: "consumer"}, true, false},
		{Filter{Consumer: "another"}, false, false},
		{Filter{Namespace: "n"}, false, false},
	} {
		if c.filter.Match(&pending) != c.pending || c.filter.Match(&done) != c.done {
			t.Errorf("%+v: pending %v, done %v", c.filter, c.filter.Match(&pending), c.filter.Match(&done))
		}
	}
}
