package redisbus

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// block is how long the server is asked to wait for an entry, and blockBusy how
	// long while handlers run or messages wait for a retry: so late can a retry be
	// that is asked for meanwhile.
	block, blockBusy = time.Second, 100 * time.Millisecond
	// claimSteps is how many parts of the pending entries one look for those to take
	// over goes through.
	claimSteps = 32
)

// pull takes messages until ctx ends, and returns nil then, or until it cannot go
// on.
func (s *session) pull(ctx context.Context, room func(free int) int, serve func([]*delivery)) error {
	pause := retryPause
	for {
		free := s.awaitFree(ctx)
		if free == 0 {
			return nil
		}
		life := s.c.life.Load()
		ds, err := s.take(ctx, room(free))
		if ctx.Err() != nil {
			s.giveBack(ds)
			return nil
		}
		if len(ds) > 0 {
			s.c.counts.delivered.Add(int64(len(ds)))
			serve(ds)
		}
		if err == nil {
			pause = retryPause
			continue
		}
		if err := s.recover(ctx, err, life); err != nil {
			return err
		}
		sleep(ctx.Done(), pause)
		pause = min(2*pause, retryPauseMax)
	}
}

// awaitFree waits until there is something to do for a free worker, and returns how
// many are free; 0 when ctx has ended.
func (s *session) awaitFree(ctx context.Context) int {
	for {
		if ctx.Err() != nil {
			return 0
		}
		full := s.full()
		s.mu.Lock()
		free, due := s.workers-s.running, s.waiting.next()
		s.mu.Unlock()
		wait := time.Hour
		if free > 0 {
			if !full {
				return free
			}
			if !due.IsZero() {
				if wait = time.Until(due); wait <= 0 {
					return free
				}
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-s.changed:
		}
		timer.Stop()
	}
}

// full reports whether so much is unfinished here that nothing may be added.
func (s *session) full() bool {
	s.mu.Lock()
	waiting := len(s.waiting.heap)
	s.mu.Unlock()
	return waiting >= s.c.opts.MaxWaiting || s.teller.unsettled() >= max(ackAtOnce, 4*s.workers)
}

// take takes up to n messages: those whose retry is due, or what others left, or
// what is new. It waits for a while if there are none.
func (s *session) take(ctx context.Context, n int) ([]*delivery, error) {
	s.mu.Lock()
	due := s.waiting.take(time.Now(), min(n, atOnce))
	s.mu.Unlock()
	if len(due) > 0 {
		return s.retry(ctx, due)
	}
	if s.full() {
		return nil, nil
	}
	if !time.Now().Before(s.nextClaim) {
		if ds, err := s.claim(ctx, min(n, atOnce)); len(ds) > 0 || err != nil {
			return ds, err
		}
	}
	return s.read(ctx, n)
}

// call returns a context for a call to the server that may take as long as wait
// more than others. It does not end with ctx: what a reply brings would be lost
// for a while.
func (s *session) call(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), wait+s.c.opts.AckTimeout)
}

// retry delivers messages that waited.
func (s *session) retry(ctx context.Context, due []*wait) ([]*delivery, error) {
	c := s.c
	args := make([]any, 2, 2+2*len(due))
	args[0], args[1] = c.group, c.opts.Name
	for _, w := range due {
		args = append(args, w.id, w.number)
	}
	asked := s.ask()
	call, cancel := s.call(ctx, 0)
	defer cancel()
	replies, err := retryScript.Run(call, c.client, []string{c.stream}, args...).Slice()
	if err == nil && len(replies) != len(due) {
		err = errReply
	}
	if err != nil {
		s.mu.Lock()
		for _, w := range due {
			s.waiting.add(w)
		}
		s.mu.Unlock()
		return nil, fmt.Errorf("redisbus: retry: %w", plain(err))
	}
	ds := make([]*delivery, 0, len(due))
	for i, reply := range replies {
		if fate, ok := reply.(string); ok {
			s.lost(due[i], fate)
			continue
		}
		if e, err := entryOf(reply); err == nil {
			ds = append(ds, s.deliver(e, due[i].number+1, asked))
		}
	}
	return ds, nil
}

// claim takes over entries that nobody has kept.
func (s *session) claim(ctx context.Context, n int) (ds []*delivery, err error) {
	c := s.c
	call, cancel := s.call(ctx, 0)
	defer cancel()
	for range claimSteps {
		asked := s.ask()
		reply, err := c.client.Do(call, "XAUTOCLAIM", c.stream, c.group, c.opts.Name,
			c.opts.MinIdle.Milliseconds(), s.cursor, "COUNT", n).Slice()
		if err != nil {
			return nil, fmt.Errorf("redisbus: claim: %w", plain(err))
		}
		if ds, err = s.claimed(call, reply, asked); err != nil {
			return nil, err
		}
		if s.cursor == "0-0" {
			// Not all consumers at the same moment.
			every := c.opts.ClaimInterval
			s.nextClaim = time.Now().Add(every*3/4 + rand.N(every/2+1))
			break
		}
		if len(ds) > 0 {
			break
		}
	}
	return ds, nil
}

// claimed reads the answer to a look for entries to take over: where the next one
// goes on, entries, and the ids of those that are no longer in the stream.
func (s *session) claimed(ctx context.Context, reply []any, asked asked) (ds []*delivery, err error) {
	if len(reply) < 3 {
		return nil, errReply
	}
	cursor, isText := reply[0].(string)
	list, isList := reply[1].([]any)
	gone, _ := reply[2].([]any)
	if !isText || !isList {
		return nil, errReply
	}
	s.cursor = cursor
	s.deleted(len(gone))
	entries := make([]Entry, len(list))
	for i, r := range list {
		if entries[i], err = entryOf(r); err != nil {
			return nil, err
		}
	}
	numbers, err := s.numbers(ctx, entries)
	for i, e := range entries {
		if err == nil && numbers[i] > 0 && !s.isWaiting(e.ID, numbers[i], asked.at) {
			s.c.counts.claimed.Add(1)
			ds = append(ds, s.deliver(e, numbers[i], asked))
		}
	}
	return ds, err
}

// numbers returns how often entries were delivered, which the answer to a claim
// does not tell; 0 for one that is no longer this consumer's.
func (s *session) numbers(ctx context.Context, entries []Entry) ([]int, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	c := s.c
	pipe := c.client.Pipeline()
	replies := make([]*redis.XPendingExtCmd, len(entries))
	for i, e := range entries {
		replies[i] = pipe.XPendingExt(ctx, &redis.XPendingExtArgs{
			Stream: c.stream, Group: c.group, Start: e.ID, End: e.ID, Count: 1, Consumer: c.opts.Name,
		})
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("redisbus: deliveries: %w", plain(err))
	}
	numbers := make([]int, len(entries))
	for i, r := range replies {
		if p := r.Val(); len(p) == 1 {
			numbers[i] = int(p[0].RetryCount)
		}
	}
	return numbers, nil
}

// isWaiting reports whether an entry that was taken over waits here for a retry:
// its idle time could not be kept low, and it goes on waiting.
func (s *session) isWaiting(id string, number int, fresh time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting.byID[id]
	if w != nil {
		w.number, w.fresh = number, fresh
	}
	return w != nil
}

// deleted tells of messages that were removed from the stream too early.
func (s *session) deleted(n int) {
	if n == 0 {
		return
	}
	s.c.counts.deleted.Add(int64(n))
	s.c.opts.Logger.Error("redisbus: messages were removed from the stream before they were settled; whoever trims it must leave what is pending",
		"stream", s.c.stream, "group", s.c.group, "messages", n)
}

// read takes new entries, and waits for one.
func (s *session) read(ctx context.Context, n int) ([]*delivery, error) {
	c := s.c
	wait := s.blockFor()
	asked := s.ask()
	call, cancel := s.call(ctx, wait)
	defer cancel()
	reply, err := c.client.Do(call, "XREADGROUP", "GROUP", c.group, c.opts.Name,
		"COUNT", n, "BLOCK", wait.Milliseconds(), "STREAMS", c.stream, ">").Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("redisbus: read: %w", plain(err))
	}
	entries, err := entriesOf(reply, c.stream)
	if err != nil {
		return nil, err
	}
	ds := make([]*delivery, 0, len(entries))
	for _, r := range entries {
		e, err := entryOf(r)
		if err != nil {
			return ds, err
		}
		ds = append(ds, s.deliver(e, 1, asked))
	}
	return ds, nil
}

// entriesOf returns the entries of a reply for one stream: a list of pairs, or a
// map in the third version of the protocol.
func entriesOf(reply any, stream string) ([]any, error) {
	var entries any
	switch streams := reply.(type) {
	case map[any]any:
		entries = streams[stream]
	case []any:
		if len(streams) == 1 {
			if pair, _ := streams[0].([]any); len(pair) == 2 {
				entries = pair[1]
			}
		}
	}
	list, ok := entries.([]any)
	if !ok {
		return nil, errReply
	}
	return list, nil
}

// blockFor returns how long to wait for an entry: until there is something else to
// do, in whole milliseconds and never for ever.
func (s *session) blockFor() time.Duration {
	wait := min(block, s.c.longestBlock, time.Until(s.nextClaim))
	s.mu.Lock()
	if s.running > 0 || len(s.waiting.heap) > 0 {
		wait = min(wait, blockBusy)
	}
	if due := s.waiting.next(); !due.IsZero() {
		wait = min(wait, time.Until(due))
	}
	s.mu.Unlock()
	return max(wait.Truncate(time.Millisecond), time.Millisecond)
}

// giveBack leaves messages that nobody has looked at to whoever looks for entries
// to take over, at once and as if they had not been delivered.
func (s *session) giveBack(ds []*delivery) {
	for _, d := range ds {
		d.settled.Store(true)
		s.c.counts.returned.Add(1)
		s.teller.keep(&keep{id: d.entry.ID, number: d.msg.Delivery, note: d.msg.Delivery - 1, idle: s.c.opts.MinIdle})
	}
}

// recover does what can be done about err, and returns an error when there is
// nothing left to take from.
func (s *session) recover(ctx context.Context, err error, life int64) error {
	switch {
	case hopeless(err):
		return err
	case unblocked(err):
		return nil
	case groupGone(err):
		call, cancel := s.call(ctx, 0)
		defer cancel()
		err = s.c.remake(call, life)
		if err == nil || errors.Is(err, ErrNoGroup) {
			s.mu.Lock()
			s.waiting.all() // they come again with all others
			s.mu.Unlock()
			s.cursor = "0-0"
			return err
		}
	}
	s.c.opts.Logger.Warn("redisbus: the server does not serve the consumer", "stream", s.c.stream, "group", s.c.group, "error", err)
	return nil
}
