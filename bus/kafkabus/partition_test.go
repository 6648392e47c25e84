package kafkabus

import (
	"context"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A handler may return, and a commit be gathered, after the partition went to
// another member.
func TestAPartitionThatIsGoneSettlesNothing(t *testing.T) {
	o, err := (&Options{}).withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	var runs [][]*delivery
	p := &partition{
		topic: "topic", opts: &o, batch: 1, limit: 1, lanes: make([]lane, 1), idle: make(chan struct{}),
		run:   func(_ *partition, ds []*delivery) { runs = append(runs, ds) },
		pause: func(*partition, bool) {},
	}
	p.ctx, p.cancel = context.WithCancelCause(t.Context())
	p.add([]*kgo.Record{{Offset: 10}, {Offset: 11}, {Offset: 12}})
	done := []verdict{{}}
	p.returned(runs[0], done)
	if next, ok := p.toCommit(); !ok || next.Offset != 11 {
		t.Fatalf("to commit: %v, %v; want 11", next.Offset, ok)
	}
	p.notCommitted()

	p.leave(ErrPartitionLost)
	if next, ok := p.toCommit(); ok {
		t.Errorf("%d is to be committed to a partition that is gone", next.Offset)
	}
	p.notCommitted()
	p.returned(runs[1], done)
	if p.next.Offset != 11 || len(runs) != 2 {
		t.Errorf("the mark is %d and %d records were handed over, want 11 and 2", p.next.Offset, len(runs))
	}
	if _, ok := p.toCommit(); ok {
		t.Error("what a handler settled too late is to be committed")
	}
	if err := context.Cause(p.ctx); !errors.Is(err, ErrPartitionLost) {
		t.Errorf("the handlers' context ended with %v", err)
	}
	select {
	case <-p.idle:
	default:
		t.Error("a partition of which no handler runs is not idle")
	}
}
