package dedupe_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// scripted is an Inbox that answers what a test tells it to.
type scripted struct {
	verdict claim.Verdict
	err     error
	runs    int
	keys    []claim.Key
}

func (s *scripted) Run(ctx context.Context, key claim.Key, _ claim.Fingerprint, work func(context.Context, string) error) (claim.Verdict, error) {
	s.keys = append(s.keys, key)
	if s.verdict.Outcome == claim.Claimed {
		s.runs++
		if err := work(ctx, "tx"); err != nil {
			return claim.Verdict{}, err
		}
	}
	return s.verdict, s.err
}

func TestInTransactionSettles(t *testing.T) {
	failure := errors.New("failure")
	for name, c := range map[string]struct {
		inbox scripted
		work  error
		id    string
		want  bus.Action
		is    error
		dead  int
	}{
		"ran":            {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Claimed}}, id: "1", want: bus.ActionAck},
		"done before":    {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Done}}, id: "1", want: bus.ActionAck},
		"busy":           {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Pending}}, id: "1", want: bus.ActionRetry, is: dedupe.ErrPending},
		"dead":           {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Dead}}, id: "1", want: bus.ActionReject, is: dedupe.ErrDead, dead: 1},
		"mismatch":       {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Mismatch}}, id: "1", want: bus.ActionReject, is: dedupe.ErrMismatch, dead: 1},
		"no verdict":     {id: "1", want: bus.ActionRetry, is: claim.ErrCorrupt},
		"unknown":        {inbox: scripted{err: &claim.Error{Err: claim.Unknown(nil)}}, id: "1", want: bus.ActionRetry, is: dedupe.ErrCommitUnknown},
		"store down":     {inbox: scripted{err: &claim.Error{Err: claim.Unavailable(nil)}}, id: "1", want: bus.ActionRetry, is: dedupe.ErrStoreDown},
		"failed":         {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Claimed}}, work: failure, id: "1", want: bus.ActionRetry, is: failure},
		"failed for all": {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Claimed}}, work: dedupe.Permanent(failure), id: "1", want: bus.ActionReject, is: failure, dead: 1},
		"abandoned":      {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Claimed}}, work: bus.Abandon(failure), id: "1", want: bus.ActionAbandon, is: failure},
		"no id":          {inbox: scripted{verdict: claim.Verdict{Outcome: claim.Claimed}}, want: bus.ActionReject, is: dedupe.ErrNoID, dead: 1},
	} {
		t.Run(name, func(t *testing.T) {
			dead := 0
			h, err := dedupe.InTransaction(&c.inbox, &dedupe.InboxOptions{
				Consumer: "billing", Namespace: "eu",
				DeadLetter: func(context.Context, bus.DeadLetter) error { dead++; return nil },
			}, func(_ context.Context, tx string, m *bus.Message) error {
				if tx != "tx" || m.ID != c.id {
					t.Errorf("work got %q and message %q", tx, m.ID)
				}
				return c.work
			})
			if err != nil {
				t.Fatal(err)
			}
			err = h(t.Context(), &bus.Message{ID: c.id, Delivery: 1})
			s := bus.SettlementOf(err)
			if s.Action != c.want || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("settled by %v, error %v; want %v and %v", s.Action, err, c.want, c.is)
			}
			if s.Action == bus.ActionRetry && (!s.HasDelay || s.Delay <= 0 || s.Delay > 2*time.Second) {
				t.Errorf("retried after %v", s.Delay)
			}
			if dead != c.dead {
				t.Errorf("%d dead letters, want %d", dead, c.dead)
			}
			if len(c.inbox.keys) > 0 && (c.inbox.keys[0].Consumer() != "billing" || c.inbox.keys[0].Namespace() != "eu") {
				t.Errorf("the key is %v", c.inbox.keys[0])
			}
		})
	}
}

func TestInTransactionNamesWhatIsWrong(t *testing.T) {
	work := func(context.Context, string, *bus.Message) error { return nil }
	for name, o := range map[string]*dedupe.InboxOptions{
		"Consumer": nil, "MissingID": {Consumer: "c", MissingID: dedupe.PassThrough}, "Busy": {Consumer: "c", Busy: -1},
	} {
		if _, err := dedupe.InTransaction(&scripted{}, o, work); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v, want one that names it", name, err)
		}
	}
}
