package watermillbus

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/oncebus/once/bus"
)

// verdict returns what becomes of m: an ack, for a nil error, or a nack that is held
// back for hold.
func (o *Options) verdict(ctx context.Context, m *bus.Message, s bus.Settlement) (hold time.Duration, err error) {
	switch {
	case s.Action == bus.ActionAck:
		return 0, nil
	case s.Action == bus.ActionReject && o.Rejected != nil:
		sinkErr := o.reject(ctx, m, s.Err)
		if sinkErr == nil {
			return 0, nil
		}
		// It must not read as rejected: nobody has taken it.
		return o.Pause, bus.RetryAfter(errors.Join(sinkErr, s.Err), o.Pause)
	case s.HasDelay:
		return min(s.Delay, o.MaxHold), s.Err
	}
	return o.Pause, s.Err
}

// reject hands m to the sink. A panic there is a failure.
func (o *Options) reject(ctx context.Context, m *bus.Message, reason error) (err error) {
	consumer := message.HandlerNameFromCtx(ctx)
	if consumer == "" {
		consumer = m.Subject
	}
	bus.Guard(func() error {
		return o.Rejected(context.WithoutCancel(ctx), bus.DeadLetter{
			Message: m, ID: deadLetterID(consumer, m), Consumer: consumer, Reason: reason.Error(),
		})
	}, func(failed error) { err = failed })
	return err
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
