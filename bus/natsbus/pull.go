package natsbus

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// pullExpires is how long a pull request waits at the server.
	pullExpires = 30 * time.Second
	// pullHeartbeat is how often the server says that it still has a request.
	// After two silent ones, and one more for a busy machine, requests are taken
	// for lost.
	pullHeartbeat = 3 * time.Second
	// retryPause is the time between looks at a server that cannot serve, at
	// first and at most.
	retryPause, retryPauseMax = 100 * time.Millisecond, 5 * time.Second
)

// puller keeps as many messages requested as there are free workers. It speaks
// the protocol of pull requests (ADR-13 of nats-architecture-and-design).
type puller struct {
	c         *Consumer
	subject   string
	workers   int
	unsettled int             // how many settlements may wait for their confirmation
	run       func(*delivery) // starts a handler; called with mu held, so it must not block

	wake chan struct{} // has room for one: look at trouble
	done chan error    // has room for one: why nothing more can be pulled

	mu        sync.Mutex // guards the following
	maxBatch  int        // of one request
	expires   time.Duration
	heartbeat time.Duration
	sub       *nats.Subscription
	asked     int         // messages requested and not arrived
	running   int         // handlers
	settling  int         // settlements waiting for their confirmation
	held      []*delivery // arrived without a free worker; see arrive
	heard     time.Time   // when the server was last heard from
	trouble   bool        // the server cannot serve; requests must be made anew
	stopped   bool
}

func newPuller(c *Consumer, workers int) *puller {
	p := &puller{
		c:         c,
		subject:   c.api + "CONSUMER.MSG.NEXT." + c.stream + "." + c.name,
		workers:   workers,
		unsettled: max(256, 4*workers),
		wake:      make(chan struct{}, 1),
		done:      make(chan error, 1),
	}
	p.limit(c.config)
	return p
}

// limit keeps requests within what the consumer allows. p.mu is held, or p is
// new.
func (p *puller) limit(config jetstream.ConsumerConfig) {
	p.maxBatch, p.expires = p.workers, pullExpires
	if n := config.MaxRequestBatch; n > 0 {
		p.maxBatch = min(p.maxBatch, n)
	}
	if d := config.MaxRequestExpires; d > 0 {
		p.expires = min(p.expires, d)
	}
	p.heartbeat = min(pullHeartbeat, p.expires/2)
}

// pull pulls until ctx ends, and returns nil then, or until it cannot go on. When
// it returns, nothing is delivered any more.
func (p *puller) pull(ctx context.Context) error {
	// The client closes the channel on RemoveStatusListener.
	status := p.c.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer p.c.nc.RemoveStatusListener(status)
	defer p.stop()
	if ctx.Err() != nil {
		return nil
	}
	if err := p.renew(); err != nil {
		return err
	}
	beat := time.NewTicker(pullHeartbeat)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-p.done:
			return err
		case s := <-status:
			if s == nats.CLOSED {
				return fmt.Errorf("natsbus: %w", nats.ErrConnectionClosed)
			}
			if p.c.log != nil {
				// Places hold for one life of the stream: look before asking.
				p.troubled()
				continue
			}
			// The server forgot the requests, or will when it notices.
			if err := p.renew(); err != nil {
				return err
			}
		case <-beat.C:
			if p.silent() {
				p.troubled()
			}
		case <-p.wake:
			if err := p.recover(ctx); err != nil {
				return err
			}
		}
	}
}

// renew forgets all requests and makes new ones, on a subject of their own, so
// that what is left of the old ones does not count twice.
func (p *puller) renew() error {
	sub, err := p.c.nc.Subscribe(p.c.nc.NewInbox(), p.arrive)
	if err != nil {
		return fmt.Errorf("natsbus: subscribe: %w", err)
	}
	p.mu.Lock()
	old := p.sub
	p.sub, p.asked, p.heard, p.trouble = sub, 0, time.Now(), false
	p.request()
	p.mu.Unlock()
	if old != nil {
		// What has arrived is still handled. An error means that the connection
		// is closed or that there is nothing to drain.
		_ = old.Drain()
	}
	return nil
}

// stop ends the subscription, gives back what nobody works on, and returns when
// nothing can arrive any more.
func (p *puller) stop() {
	p.mu.Lock()
	p.stopped = true
	sub, held := p.sub, p.held
	p.sub, p.held = nil, nil
	p.mu.Unlock()
	for _, d := range held {
		d.returnAtOnce()
	}
	if sub == nil {
		return
	}
	drained := make(chan struct{})
	sub.SetClosedHandler(func(string) { close(drained) })
	if err := sub.Drain(); err != nil {
		_ = sub.Unsubscribe() // fails only on a closed connection
		return
	}
	// Draining takes a trip to the server. Without one, nothing arrives anyway.
	timer := time.NewTimer(p.c.opts.AckTimeout)
	defer timer.Stop()
	select {
	case <-drained:
	case <-timer.C:
	}
}

// silent reports whether the server should have been heard from.
func (p *puller) silent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked > 0 && time.Since(p.heard) > 3*p.heartbeat && p.c.nc.IsConnected()
}

// troubled makes pull look at the server and make its requests anew.
func (p *puller) troubled() {
	p.mu.Lock()
	p.trouble = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// recover asks the server whether the consumer is there, until it answers, and
// makes new requests then. It returns an error when the consumer is gone, and nil
// when ctx ended.
func (p *puller) recover(ctx context.Context) error {
	for pause := retryPause; ; pause = min(2*pause, retryPauseMax) {
		info, err := p.c.info(ctx, pause)
		switch {
		case err == nil && p.c.log != nil && !info.Created.Equal(p.c.created):
			return fmt.Errorf("natsbus: the consumer was made anew, and the stream may have been; places are no longer known: %w", jetstream.ErrConsumerDeleted)
		case err == nil:
			p.mu.Lock()
			p.limit(info.Config) // what it refused may have been a request over new limits
			p.mu.Unlock()
			return p.renew()
		case ctx.Err() != nil:
			return nil
		case gone(err):
			return err
		}
		p.c.opts.Logger.Warn("natsbus: the server does not serve the consumer", "stream", p.c.stream, "consumer", p.c.name, "error", err)
	}
}

// request asks for messages for the free workers: at once when nothing is
// requested, and otherwise when half of the workers can be served by one request,
// for requests cost the server as much as messages. p.mu is held.
func (p *puller) request() {
	if p.stopped || p.trouble || p.sub == nil || p.settling >= p.unsettled {
		return
	}
	for {
		want := p.workers - p.running - p.asked - len(p.held)
		if want <= 0 || p.asked > 0 && want < (p.workers+1)/2 {
			return
		}
		want = min(want, p.maxBatch)
		b := make([]byte, 0, 96)
		b = append(b, `{"batch":`...)
		b = strconv.AppendInt(b, int64(want), 10)
		b = append(b, `,"expires":`...)
		b = strconv.AppendInt(b, int64(p.expires), 10)
		b = append(b, `,"idle_heartbeat":`...)
		b = strconv.AppendInt(b, int64(p.heartbeat), 10)
		b = append(b, '}')
		if err := p.c.nc.PublishRequest(p.subject, p.sub.Subject, b); err != nil {
			return // disconnected: the reconnect asks again
		}
		if p.asked == 0 {
			p.heard = time.Now()
		}
		p.asked += want
	}
}

// arrive takes what a pull request brings. The client calls it for one message
// after the other.
func (p *puller) arrive(m *nats.Msg) {
	if m.Reply == "" { // a message has a reply subject, to be acked on
		p.status(m.Sub, readStatus(m))
		return
	}
	d, err := p.c.pulled(m)
	if err != nil {
		p.c.opts.Logger.Warn("natsbus: what arrived is no message of the consumer", "error", err)
		return
	}
	p.mu.Lock()
	p.heard = time.Now()
	if m.Sub == p.sub && p.asked > 0 {
		p.asked--
	}
	stopped := p.stopped
	switch {
	case stopped:
	case p.running < p.workers:
		p.running++
		p.run(d)
	default:
		// More than there are workers: requests that were taken for lost
		// brought messages after all.
		p.held = append(p.held, d)
	}
	p.mu.Unlock()
	if stopped {
		d.returnAtOnce()
	}
}

// status acts on what the server says about a request.
func (p *puller) status(sub *nats.Subscription, s status) {
	p.mu.Lock()
	if sub != p.sub && s.kind != consumerGone {
		p.mu.Unlock()
		return // about requests that are forgotten
	}
	p.heard = time.Now()
	if s.kind == requestEnded {
		p.asked = max(0, p.asked-s.pending)
		p.request()
	}
	p.mu.Unlock()
	switch s.kind {
	case consumerGone:
		p.fail(fmt.Errorf("natsbus: %w", jetstream.ErrConsumerDeleted))
	case requestRefused:
		p.fail(fmt.Errorf("natsbus: the server refused a pull request: %s", s.text))
	case serverBusy:
		p.troubled()
	}
}

// fail makes pull return err.
func (p *puller) fail(err error) {
	select {
	case p.done <- err:
	default:
	}
}

// returned notes that a handler has returned, and starts the next one if a
// message was held.
func (p *puller) returned() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	p.settling++
	for len(p.held) > 0 && p.running < p.workers {
		d := p.held[0]
		p.held = p.held[1:]
		if d.left() <= 0 {
			d.expired()
			continue
		}
		// The handler is promised a whole ack wait. An error shows when the
		// handler keeps the message alive itself.
		_ = d.keepAlive(context.Background())
		p.running++
		p.run(d)
	}
	p.request()
}

// settled notes that a settlement needs no more waiting.
func (p *puller) settled() {
	p.mu.Lock()
	p.settling--
	if p.settling == p.unsettled-1 {
		p.request()
	}
	p.mu.Unlock()
}
