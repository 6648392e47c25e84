package natsstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oncebus/once/claim"
)

// maxConflicts is how often an operation begins again because the key had moved
// on. Each time somebody else got ahead, so only servers that contradict each
// other come near it.
const maxConflicts = 100

// task is one operation on its way.
type task struct {
	op *claim.Op
	// then is the next operation of the batch on the same key.
	then *task

	// version is what the operation goes by, once it is known.
	version
	known bool
	began time.Time
	// judged says that version was read, so that its times count.
	judged bool

	conflicts int

	// msg is on its way: a write of next, or a read.
	msg     *nats.Msg
	writing bool
	next    claim.Record
	// doubt says that a copy of a write may have been carried out unheard, whose
	// verdict would have been promised.
	doubt    bool
	promised claim.Verdict

	reply []byte
	err   error
}

// Apply implements claim.Batcher. It sends what it can of the batch at once, and
// goes on with all answers together; a batch of claims takes one trip, like one
// claim. Operations on one key follow each other.
func (s *Store) Apply(ctx context.Context, ops []*claim.Op) {
	ready := s.tasks(ops)
	if len(ready) == 0 {
		return
	}
	ctx, cancel := s.limit(ctx)
	defer cancel()
	for len(ready) > 0 {
		sending := s.prepare(ctx, ready)
		s.trip(ctx, sending)
		ready = s.land(ready[:0], sending)
		giveWay(ctx, ready)
	}
}

// tasks returns the first operation for each key. Those that are invalid have
// their answer.
func (s *Store) tasks(ops []*claim.Op) []*task {
	all := make([]task, len(ops))
	ready := make([]*task, 0, len(ops))
	began := time.Now()
	var last map[claim.Digest]*task
	if len(ops) > 1 {
		last = make(map[claim.Digest]*task, len(ops))
	}
	for i, op := range ops {
		op.Verdict, op.Recovered, op.Err = claim.Verdict{}, false, nil
		if err := op.Validate(); err != nil {
			op.Fail(err)
			continue
		}
		t := &all[i]
		t.op, t.began = op, began
		if last == nil {
			return append(ready, t)
		}
		digest := op.Key.Digest()
		if before := last[digest]; before != nil {
			before.then = t
		} else {
			ready = append(ready, t)
		}
		last[digest] = t
	}
	return ready
}

// prepare returns the tasks that need a trip, each with its message. Those that
// are at their end make place for their successors.
func (s *Store) prepare(ctx context.Context, ready []*task) (sending []*task) {
	for i := 0; i < len(ready); i++ {
		t := ready[i]
		if err := s.advance(ctx, t); err != nil {
			t.fail(err)
		}
		if t.msg != nil {
			sending = append(sending, t)
		} else if t.then != nil {
			ready = append(ready, t.then)
		}
	}
	return sending
}

// advance takes t to its next message, or to its answer.
func (s *Store) advance(ctx context.Context, t *task) error {
	if err := ctx.Err(); err != nil {
		return t.undone(err)
	}
	digest := t.op.Key.Digest()
	if !t.known && t.conflicts == 0 {
		t.version, t.known = s.guess(t.op, digest)
	}
	if !t.known {
		t.msg = s.newRead(digest)
		return nil
	}
	age, began := fenceAge, time.Time{}
	if t.judged {
		age, began = judgeAge, t.began
	}
	if err := s.clock.renew(ctx, age, began); err != nil {
		return notDone(err)
	}
	rec, now := t.rec, s.clock.now()
	if t.judged {
		// The server has reached the time that it stamped.
		now = max(now, t.stamped)
	}
	// What was not read can be written over, since the server compares the
	// revision, and is good for nothing else.
	recalled := !t.judged && t.revision > 0
	over := now >= rec.Expires
	if over {
		rec = claim.Record{Fence: rec.Fence} // the next fence is above it
	}
	next, write := claim.Step(rec, t.op, now)
	switch {
	case recalled && (over || !write):
		t.msg, t.known = s.newRead(digest), false
		return nil
	case t.doubt && (write || !t.carriedOut()):
		// Somebody wrote since, and maybe between the copy and him the operation had
		// its effect.
		return t.undone(errMovedOn)
	case !write:
		return t.op.Err
	}
	if next.State == claim.StateAbsent {
		// A done record may have no fence to keep; the time is above all so far.
		next.Fence, next.Expires = max(rec.Fence, uint64(now)), now.Add(claim.TombstoneTTL)
		if s.maxAge > 0 {
			next.Expires = min(next.Expires, now.Add(s.maxAge))
		}
	}
	life := next.Expires.Sub(now)
	if s.maxAge > 0 && life > s.maxAge {
		return fmt.Errorf("%w: the record must live for %v, and the bucket's TTL is %v", claim.ErrInvalid, life, s.maxAge)
	}
	value := claim.AppendRecord(nil, &next, now)
	if len(value) > s.maxValue && next.State == claim.StateDone {
		next.Result, next.Omitted = nil, true
		value = claim.AppendRecord(value[:0], &next, now)
	}
	t.writing, t.next = true, next
	t.msg = s.newWrite(s.subject(digest), value, t.revision, s.endOf(life))
	return nil
}

var errMovedOn = errors.New("natsstore: the answer to a write was lost, and the record has moved on")

// carriedOut reports whether the answer that Step gave without a write shows that a
// copy was carried out. A claim that is repeated is not told of a takeover; this one
// is its first answer.
func (t *task) carriedOut() bool {
	if t.op.Err != nil || t.op.Kind != claim.OpTryClaim {
		return t.op.Err == nil
	}
	v := &t.op.Verdict
	if v.Outcome != claim.Claimed || v.Grant != t.promised.Grant {
		return false
	}
	v.Takeover = t.promised.Takeover
	return true
}

// undone says what is known of t when it goes no further because of err.
func (t *task) undone(err error) error {
	if t.doubt {
		return claim.Unknown(err)
	}
	return claim.Unavailable(err)
}

// fail ends t with err. In doubt that is ErrUnknown, whatever a later step was told.
func (t *task) fail(err error) {
	if t.doubt && !errors.Is(err, claim.ErrUnknown) {
		err = claim.Unknown(errors.New(err.Error()))
	}
	t.op.Fail(err)
}

// guess returns the version by which op can be tried without a read.
func (s *Store) guess(op *claim.Op, d claim.Digest) (version, bool) {
	switch op.Kind {
	case claim.OpTryClaim:
		return version{}, true // most messages come once
	case claim.OpForget, claim.OpRevive:
		return version{}, false
	}
	return s.own.get(d)
}

// endOf returns the TTL of a message that must live for at least life, or zero
// where the bucket alone ends records.
func (s *Store) endOf(life time.Duration) time.Duration {
	if !s.ends {
		return 0
	}
	return (life + 2*time.Second).Truncate(time.Second)
}

// land takes up the answers of a trip and returns ready with the tasks appended
// that go on.
func (s *Store) land(ready, sent []*task) []*task {
	for _, t := range sent {
		done := false
		if t.writing {
			done = s.landWrite(t)
		} else {
			done = s.landRead(t)
		}
		t.msg, t.writing, t.reply, t.err = nil, false, nil, nil
		switch {
		case !done:
			ready = append(ready, t)
		case t.then != nil:
			ready = append(ready, t.then)
		}
	}
	return ready
}

// landRead reports whether t has its answer, which after a read is an error.
func (s *Store) landRead(t *task) bool {
	var err error
	if t.err == nil {
		t.version, err = parseRead(t.reply, t.op.Key.Digest())
	} else {
		err = t.undone(t.err)
	}
	if err != nil {
		t.fail(err)
		return true
	}
	t.known, t.judged = true, true
	return false
}

// landWrite reports whether t has its answer.
func (s *Store) landWrite(t *task) bool {
	digest := t.op.Key.Digest()
	err := t.err
	var revision uint64
	if err == nil {
		revision, err = parseAck(t.reply)
	}
	if err == nil {
		if t.next.State == claim.StatePending {
			s.own.put(digest, version{rec: t.next, revision: revision})
		} else {
			s.own.drop(digest)
		}
		if t.op.Err != nil { // Step said so, and wrote
			t.op.Fail(t.op.Err)
		}
		return true
	}
	s.own.drop(digest)
	if err == errConflict && t.conflicts < maxConflicts {
		t.conflicts++
		t.known, t.promised = false, t.op.Verdict
		return false
	}
	if t.doubt {
		t.fail(t.undone(err))
	} else {
		t.fail(s.fate(err))
	}
	return true
}

// giveWay lets others get ahead when tasks were overtaken more than once.
func giveWay(ctx context.Context, ready []*task) {
	most := 0
	for _, t := range ready {
		if !t.known {
			most = max(most, t.conflicts)
		}
	}
	if most < 2 {
		return
	}
	pause(ctx, rand.N(time.Millisecond<<min(most, 6)))
}
