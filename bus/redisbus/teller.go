package redisbus

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oncebus/once/bus"
)

const (
	// ackAtOnce is how many acks one command carries at most.
	ackAtOnce = 1000
	// retryPause is the time before a server that does not serve is asked again, at
	// first and at most.
	retryPause, retryPauseMax = 50 * time.Millisecond, 2 * time.Second
)

// teller tells the server what became of messages. What is to be told while a
// command is under way gathers, and leaves with the next one.
type teller struct {
	s    *session
	wake chan struct{} // has room for one
	stop chan struct{}
	done chan struct{}

	mu     sync.Mutex
	acks   []*delivery
	keeps  []*keep
	flying int  // acks that are under way
	closed bool // what comes is told by whoever brings it
}

// keep is an idle time to be noted for an entry that this consumer has.
type keep struct {
	id     string
	number int // deliveries, as they must be
	note   int // deliveries to note
	idle   time.Duration
	d      *delivery // asked for it, or
	w      *wait     // needs it, or nobody
}

func newTeller(s *session) *teller {
	return &teller{s: s, wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
}

// ack has d acked.
func (t *teller) ack(d *delivery) {
	t.mu.Lock()
	closed := t.closed
	t.acks = append(t.acks, d)
	t.mu.Unlock()
	t.told(closed)
}

// keep has an idle time noted.
func (t *teller) keep(k *keep) {
	t.mu.Lock()
	closed := t.closed
	t.keeps = append(t.keeps, k)
	t.mu.Unlock()
	t.told(closed)
}

// told makes run tell the server, or does it where run has ended.
func (t *teller) told(closed bool) {
	if closed {
		_ = t.finish() // an error is logged
		return
	}
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// unsettled returns how many acks the server has not confirmed.
func (t *teller) unsettled() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.acks) + t.flying
}

// run tells the server until close is called.
func (t *teller) run() {
	defer close(t.done)
	tick := time.NewTicker(max(t.s.c.opts.MinIdle/8, time.Millisecond))
	defer tick.Stop()
	pause := retryPause
	for {
		select {
		case <-t.stop:
			return
		case <-t.wake:
		case <-tick.C:
			t.refresh()
		}
		for t.some() {
			err := t.flight(context.Background())
			if err == nil {
				pause = retryPause
				continue
			}
			t.s.c.opts.Logger.Warn("redisbus: acks did not arrive and are sent again",
				"stream", t.s.c.stream, "group", t.s.c.group, "error", err)
			if !sleep(t.stop, pause) {
				return
			}
			pause = min(2*pause, retryPauseMax)
		}
	}
}

// close tells the server what is left, for as long as AckTimeout, and returns an
// error when acks are left.
func (t *teller) close() error {
	close(t.stop)
	<-t.done
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	return t.finish()
}

// finish tells the server what is left, and gives up what it cannot be told.
func (t *teller) finish() error {
	ctx, cancel := context.WithTimeout(context.Background(), t.s.c.opts.AckTimeout)
	defer cancel()
	var err error
	for pause := 10 * time.Millisecond; t.some(); pause *= 2 {
		if err = t.flight(ctx); err != nil && !sleep(ctx.Done(), pause) {
			break
		}
	}
	t.mu.Lock()
	left := len(t.acks)
	t.acks, t.keeps = nil, nil
	t.mu.Unlock()
	if left == 0 {
		return nil
	}
	t.s.c.counts.unsettled.Add(int64(left))
	t.s.c.opts.Logger.Warn("redisbus: messages were handled and could not be acked, they come again",
		"stream", t.s.c.stream, "group", t.s.c.group, "messages", left, "error", err)
	return fmt.Errorf("%w: %d: %w", ErrUnsettled, left, err)
}

// refresh keeps the entries that wait for a retry from others.
func (t *teller) refresh() {
	s := t.s
	now := time.Now()
	var due []*keep
	s.mu.Lock()
	for _, w := range s.waiting.heap {
		if !w.queued && now.Sub(w.fresh) > s.c.opts.MinIdle/4 {
			w.queued = true
			due = append(due, w.refresh())
		}
	}
	s.mu.Unlock()
	t.mu.Lock()
	t.keeps = append(t.keeps, due...)
	t.mu.Unlock()
}

func (t *teller) some() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.acks)+len(t.keeps) > 0
}

// flight tells the server some of what there is to tell. What did not arrive stays.
func (t *teller) flight(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.s.c.opts.AckTimeout)
	defer cancel()
	return errors.Join(t.sendKeeps(ctx), t.sendAcks(ctx))
}

func (t *teller) sendAcks(ctx context.Context) error {
	c := t.s.c
	t.mu.Lock()
	acks := t.acks[:min(len(t.acks), ackAtOnce)]
	t.acks = t.acks[len(acks):]
	t.flying += len(acks)
	t.mu.Unlock()
	ids := make([]string, 0, len(acks))
	for _, d := range acks {
		if d.life == c.life.Load() {
			ids = append(ids, d.entry.ID)
		}
	}
	var err error
	if len(ids) > 0 {
		err = plain(c.client.XAck(ctx, c.stream, c.group, ids...).Err())
	}
	t.mu.Lock()
	t.flying -= len(acks)
	if err != nil {
		t.acks = append(append([]*delivery(nil), acks...), t.acks...)
	}
	t.mu.Unlock()
	if err != nil {
		return fmt.Errorf("redisbus: ack: %w", err)
	}
	for _, d := range acks {
		switch {
		case d.life != c.life.Load():
			c.counts.stale.Add(1)
		case d.action == bus.ActionAck:
			c.counts.acked.Add(1)
		default:
			c.counts.rejected.Add(1)
		}
	}
	t.s.signal()
	return nil
}

func (t *teller) sendKeeps(ctx context.Context) error {
	c := t.s.c
	t.mu.Lock()
	keeps := t.keeps[:min(len(t.keeps), atOnce)]
	t.keeps = t.keeps[len(keeps):]
	t.mu.Unlock()
	args := make([]any, 2, 2+4*len(keeps))
	args[0], args[1] = c.group, c.opts.Name
	wanted := keeps[:0:0]
	for _, k := range keeps {
		if t.s.wants(k) {
			wanted = append(wanted, k)
			args = append(args, k.id, k.number, k.note, k.idle.Milliseconds())
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	sent := time.Now()
	fates, err := keepScript.Run(ctx, c.client, []string{c.stream}, args...).StringSlice()
	switch {
	case groupGone(err):
		fates, err = make([]string, len(wanted)), nil
	case err == nil && len(fates) != len(wanted):
		err = errReply
	}
	err = plain(err)
	if err != nil {
		t.mu.Lock()
		t.keeps = append(wanted[:len(wanted):len(wanted)], t.keeps...)
		t.mu.Unlock()
		err = fmt.Errorf("redisbus: keep-alive: %w", err)
	}
	for i, k := range wanted {
		switch {
		case k.d != nil && err != nil:
			k.d.failed.Store(&err)
		case k.d != nil:
			k.d.kept(sent, fates[i])
		case k.w != nil && err == nil:
			t.s.kept(k, sent, fates[i])
		}
	}
	return err
}

// wants reports whether k still has a purpose.
func (s *session) wants(k *keep) bool {
	switch {
	case k.d != nil:
		return !k.d.settled.Load()
	case k.w != nil:
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.waiting.byID[k.id] == k.w
	}
	return true
}

// kept notes what became of the keep of an entry that waits.
func (s *session) kept(k *keep, sent time.Time, fate string) {
	s.mu.Lock()
	w := k.w
	w.queued = false
	if fate == kept {
		w.fresh = sent
	}
	waits := s.waiting.byID[k.id] == w && w.number == k.number
	s.mu.Unlock()
	// One that waits no more may be taken by its own retry.
	if fate == deleted || fate == taken && waits {
		s.lost(w, fate)
	}
}

// lost tells of an entry that waited and can no longer be delivered from here. Of
// two scripts that find it so at the same time, one for an entry that is no longer
// in the stream, the first drops it and the second finds it taken.
func (s *session) lost(w *wait, fate string) {
	s.mu.Lock()
	before := w.fate
	if before != deleted {
		w.fate = fate
	}
	s.waiting.remove(w)
	s.mu.Unlock()
	switch {
	case before == "" && fate == taken:
		s.c.counts.taken.Add(1)
	case before == "":
		s.deleted(1)
	case before == taken && fate == deleted:
		s.c.counts.taken.Add(-1)
		s.deleted(1)
	}
	s.signal() // there is room for another
}

// sleep waits for d and reports whether it did, and was not ended by stop.
func sleep(stop <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	}
}
