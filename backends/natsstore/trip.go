package natsstore

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
)

// maxInFlight is how many messages of one batch are on their way at a time. A
// stream takes in 10,000 from all clients before it refuses more.
const maxInFlight = 512

// A stream whose leader moves has nobody who listens for a moment. What is sent
// then has certainly not happened, and is sent again a few times.
const (
	maxSilences  = 5
	silencePause = 50 * time.Millisecond
)

// defaultSilence is how long to wait for an answer until a message is sent again: servers
// do not answer while a stream has no leader, and the client does not say that a
// connection took a message with it. A write may be sent again because it names the
// revision that it replaces: of all its copies one is carried out at most.
const defaultSilence = 500 * time.Millisecond

// notSent wraps an error with which a message certainly did not leave.
type notSent struct{ error }

func (e notSent) Unwrap() error { return e.error }

// fate says what is known of a write that ended with err.
func (s *Store) fate(err error) error {
	var refused *jetstream.APIError
	switch {
	case errors.Is(err, claim.ErrCorrupt):
		return err
	case errors.As(err, &refused) && s.replicated && refused.ErrorCode == errStoreFailed:
		return claim.Unknown(err) // the other replicas may have it
	case errors.As(err, &refused), errors.As(err, &notSent{}), errors.Is(err, nats.ErrNoResponders), err == errConflict:
		return claim.Unavailable(err)
	}
	return claim.Unknown(err)
}

// notDone says what is known of an operation that could not ask for the time.
func notDone(err error) error {
	if errors.Is(err, claim.ErrCorrupt) || errors.Is(err, claim.ErrInvalid) {
		return err
	}
	return claim.Unavailable(err)
}

// request sends m and waits for the reply.
func (s *Store) request(ctx context.Context, m *nats.Msg) ([]byte, error) {
	for silences := 0; ; silences++ {
		if err := s.connected(ctx); err != nil {
			return nil, notSent{err}
		}
		reply, err := s.nc.RequestMsgWithContext(ctx, m)
		if err == nil {
			return reply.Data, nil
		}
		if !errors.Is(err, nats.ErrNoResponders) || silences == maxSilences || !pause(ctx, silencePause) {
			return nil, sendError(err)
		}
	}
}

// ask sends m, which may have copies, until there is a reply, and waits twice as long
// for each next one. unheard says that something was sent to which there was none.
func (s *Store) ask(ctx context.Context, m *nats.Msg) (reply []byte, unheard bool, err error) {
	for silence := s.silence; ; silence *= 2 {
		try, cancel := context.WithTimeout(ctx, silence)
		reply, err = s.request(try, m)
		silent := try.Err() != nil
		cancel()
		if err == nil || !silent || ctx.Err() != nil {
			return reply, unheard, err
		}
		unheard = unheard || !errors.As(err, &notSent{})
	}
}

// pause returns after d, or reports false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sendError marks the errors with which nothing was sent.
func sendError(err error) error {
	for _, e := range []error{nats.ErrConnectionClosed, nats.ErrConnectionDraining, nats.ErrReconnectBufExceeded, nats.ErrMaxPayload,
		nats.ErrInvalidConnection, nats.ErrHeadersNotSupported, nats.ErrBadSubject} {
		if errors.Is(err, e) {
			return notSent{err}
		}
	}
	return err
}

// connected waits until there is a connection. What is sent without one would
// wait in the client and leave long after its caller has gone.
func (s *Store) connected(ctx context.Context) error {
	for !s.nc.IsConnected() {
		if s.nc.IsClosed() {
			return nats.ErrConnectionClosed
		}
		if !pause(ctx, 5*time.Millisecond) {
			return errors.Join(ctx.Err(), nats.ErrDisconnected)
		}
	}
	return ctx.Err()
}

// trip sends the messages of tasks and sets the reply, or the error, of each.
func (s *Store) trip(ctx context.Context, tasks []*task) {
	if len(tasks) == 1 {
		t, unheard := tasks[0], false
		t.reply, unheard, t.err = s.ask(ctx, t.msg)
		t.doubt = t.doubt || t.writing && unheard
		return
	}
	for silences := 0; len(tasks) > 0; silences++ {
		for group := range slices.Chunk(tasks, maxInFlight) {
			s.flight(ctx, group)
		}
		var again []*task
		for _, t := range tasks {
			if t.err == nats.ErrNoResponders {
				again = append(again, t)
			}
		}
		if len(again) == 0 || silences == maxSilences || !pause(ctx, silencePause) {
			return
		}
		tasks = again
	}
}

// flight sends the messages of tasks without waiting in between.
func (s *Store) flight(ctx context.Context, tasks []*task) {
	fail := func(err error) {
		for _, t := range tasks {
			t.err = notSent{err}
		}
	}
	if err := s.connected(ctx); err != nil {
		fail(err)
		return
	}
	inbox := s.nc.NewInbox() + "."
	// Twice as many as there should be: what is sent again may be answered twice.
	replies := make(chan *nats.Msg, 2*len(tasks))
	sub, err := s.nc.ChanSubscribe(inbox+"*", replies)
	if err != nil {
		fail(err)
		return
	}
	// The connection may be gone, and the subscription with it.
	defer func() { _ = sub.Unsubscribe() }()
	reconnects := s.nc.Stats().Reconnects
	open := 0
	for i, t := range tasks {
		t.msg.Reply = inbox + strconv.Itoa(i)
		t.err = sendError(s.nc.PublishMsg(t.msg))
		if t.err == nil {
			t.err = errNoReply
			open++
		}
	}
	again := time.NewTicker(s.silence)
	defer again.Stop()
	for open > 0 {
		select {
		case <-again.C:
			// So many writes are not sent again because a server is slow.
			before := reconnects
			reconnects = s.nc.Stats().Reconnects
			for _, t := range tasks {
				if t.err == errNoReply && (!t.writing || reconnects > before) {
					t.doubt = t.doubt || t.writing
					_ = s.nc.PublishMsg(t.msg) // or at the next tick
				}
			}
		case m := <-replies:
			i, err := strconv.Atoi(strings.TrimPrefix(m.Subject, inbox))
			if err != nil || i < 0 || i >= len(tasks) || tasks[i].err != errNoReply {
				continue
			}
			open--
			tasks[i].reply, tasks[i].err = m.Data, nil
			if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
				tasks[i].err = nats.ErrNoResponders
			}
		case <-ctx.Done():
			for _, t := range tasks {
				if t.err == errNoReply {
					t.err = ctx.Err()
				}
			}
			return
		}
	}
}

// errNoReply stands for a reply that is still to come.
var errNoReply = errors.New("natsstore: no reply")
