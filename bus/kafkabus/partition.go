package kafkabus

import (
	"context"
	"hash/maphash"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

// delivery is a record from its fetch until it is behind the low-water mark.
type delivery struct {
	record  *kgo.Record
	msg     bus.Message
	lane    *lane
	since   time.Time // when it was first handed over
	told    time.Time // when the Logger was last told that it is held
	settled bool      // for good
}

// lane is a queue of deliveries, of which up to limit run at a time.
type lane struct {
	queue   []*delivery
	running int
}

// partition is a partition that this member has.
type partition struct {
	topic  string
	number int32
	log    string
	opts   *Options
	batch  int // how many deliveries go together
	limit  int // how many runs a lane has at a time

	ctx    context.Context // of the handlers
	cancel context.CancelCauseFunc
	// What follows is called with mu held: run starts a handler, pause ends or
	// begins the fetching.
	run   func(*partition, []*delivery)
	pause func(p *partition, on bool)

	mu     sync.Mutex
	lanes  []lane
	open   []*delivery // fetched and not behind the low-water mark, by offset
	next   kgo.EpochOffset
	dirty  bool // next was not committed
	paused bool
	closed bool // nothing more is started
	gone   bool // nothing more is settled: another member has it
	active int  // handlers that run
	timers map[*time.Timer]struct{}
	idle   chan struct{} // closed when closed and nothing runs
}

var seed = maphash.MakeSeed()

// laneOf returns the lane of a key. Who chooses keys cannot choose lanes.
func laneOf(key []byte, lanes int) int { return int(maphash.Bytes(seed, key) % uint64(lanes)) }

// add takes records that were fetched, in their order.
func (p *partition) add(records []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	for _, r := range records {
		d := &delivery{record: r, msg: message(r, p.log, p.opts.ID), lane: &p.lanes[0]}
		if p.opts.Order == ByKey {
			d.lane = &p.lanes[laneOf(r.Key, len(p.lanes))]
		}
		d.lane.queue = append(d.lane.queue, d)
		p.open = append(p.open, d)
	}
	for i := range p.lanes {
		p.start(&p.lanes[i])
	}
	if !p.paused && len(p.open) >= p.opts.MaxOutstanding {
		p.paused = true
		p.pause(p, true)
	}
}

// start hands over what a lane can take. p.mu is held.
func (p *partition) start(l *lane) {
	for !p.closed && l.running < p.limit && len(l.queue) > 0 {
		n := min(p.batch, len(l.queue))
		ds := append([]*delivery(nil), l.queue[:n]...)
		clear(l.queue[:n])
		if l.queue = l.queue[n:]; len(l.queue) == 0 {
			l.queue = nil
		}
		now := time.Now()
		for _, d := range ds {
			if d.msg.Delivery++; d.since.IsZero() {
				d.since, d.told = now, now
			}
		}
		l.running++
		p.active++
		p.run(p, ds)
	}
}

// verdict is how one delivery of a run is to go on.
type verdict struct {
	hold  bool
	delay time.Duration
}

// returned settles a run.
func (p *partition) returned(ds []*delivery, verdicts []verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := ds[0].lane
	var held []*delivery
	var wait time.Duration
	for i, d := range ds {
		if v := verdicts[i]; v.hold {
			held = append(held, d)
			wait = max(wait, v.delay)
		} else {
			d.settled = true
		}
	}
	if p.active--; p.closed && p.active == 0 {
		close(p.idle)
	}
	if p.gone {
		return
	}
	p.advance()
	switch {
	case p.closed:
	case len(held) == 0:
		l.running--
		p.start(l)
	case p.opts.Order == Unordered:
		l.running--
		p.after(wait, func() { l.queue = append(held, l.queue...) }, l)
		p.start(l)
	default: // the lane waits
		p.after(wait, func() {
			l.running--
			l.queue = append(held, l.queue...)
		}, l)
	}
	if p.paused && !p.closed && len(p.open) <= p.opts.MaxOutstanding/2 {
		p.paused = false
		p.pause(p, false)
	}
}

// after calls back and starts l after d, unless p is closed by then. p.mu is
// held, also in back.
func (p *partition) after(d time.Duration, back func(), l *lane) {
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.timers, timer)
		if !p.closed {
			back()
			p.start(l)
		}
	})
	p.timers[timer] = struct{}{}
}

// advance moves the low-water mark over what is settled. p.mu is held.
func (p *partition) advance() {
	n := 0
	for n < len(p.open) && p.open[n].settled {
		n++
	}
	if n == 0 {
		return
	}
	last := p.open[n-1].record
	p.next, p.dirty = kgo.EpochOffset{Epoch: last.LeaderEpoch, Offset: last.Offset + 1}, true
	clear(p.open[:n])
	if p.open = p.open[n:]; len(p.open) == 0 {
		p.open = nil
	}
}

// toCommit returns the low-water mark if it was moved since it was last taken.
func (p *partition) toCommit() (next kgo.EpochOffset, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	ok = p.dirty && !p.gone
	p.dirty = false
	return p.next, ok
}

// notCommitted notes that a mark which toCommit returned was not committed.
func (p *partition) notCommitted() {
	p.mu.Lock()
	p.dirty = true
	p.mu.Unlock()
}

// close starts nothing more. The channel is closed when nothing runs.
func (p *partition) close() (idle <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.closed = true
		for t := range p.timers {
			t.Stop()
		}
		clear(p.timers)
		if p.active == 0 {
			close(p.idle)
		}
	}
	return p.idle
}

// leave settles nothing more and ends the handlers' context.
func (p *partition) leave(cause error) {
	p.close()
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.cancel(cause)
}

// unfinished returns where to go on, if something was fetched that is not
// settled.
func (p *partition) unfinished() (next kgo.EpochOffset, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.open) == 0 {
		return kgo.EpochOffset{}, false
	}
	first := p.open[0].record
	return kgo.EpochOffset{Epoch: first.LeaderEpoch, Offset: first.Offset}, true
}
