package bus

import (
	"context"
	"encoding/json"
	"fmt"
)

// Typed returns a Handler that decodes the payload and calls h with the value. A
// payload that does not decode is rejected with the decoder's error: no redelivery
// would change it. unmarshal is given the payload and a *T, and must be safe for
// concurrent use; nil stands for json.Unmarshal. A deduplicator goes around it:
//
//	deduper.Wrap(bus.Typed(func(ctx context.Context, m *bus.Message, o Order) error { … }, nil))
func Typed[T any](h func(ctx context.Context, m *Message, v T) error, unmarshal func(data []byte, v any) error) Handler {
	if h == nil {
		panic("bus: Typed of a nil handler")
	}
	return func(ctx context.Context, m *Message) error {
		v, err := decode[T](m, unmarshal)
		if err != nil {
			return err
		}
		return h(ctx, m, v)
	}
}

// TypedBatch is Typed for batches: h is given the messages that decode with their
// values, in their order, and returns one error for each of them. It is not called
// when none does. When it returns a wrong number of errors, all that it was given
// failed.
func TypedBatch[T any](h func(ctx context.Context, batch []*Message, values []T) []error, unmarshal func(data []byte, v any) error) BatchHandler {
	if h == nil {
		panic("bus: TypedBatch of a nil handler")
	}
	return func(ctx context.Context, batch []*Message) []error {
		errs := make([]error, len(batch))
		decoded, values := make([]*Message, 0, len(batch)), make([]T, 0, len(batch))
		for i, m := range batch {
			v, err := decode[T](m, unmarshal)
			if errs[i] = err; err == nil {
				decoded, values = append(decoded, m), append(values, v)
			}
		}
		if len(decoded) == 0 {
			return errs
		}
		answers := h(ctx, decoded, values)
		n := 0 // messages that decoded, so far
		for i, err := range errs {
			switch {
			case err != nil:
				continue
			case len(answers) != len(decoded):
				errs[i] = fmt.Errorf("%w: %d for %d messages", ErrBatchResult, len(answers), len(decoded))
			default:
				errs[i] = answers[n]
			}
			n++
		}
		return errs
	}
}

// decode returns the value of m's payload, or why it is rejected.
func decode[T any](m *Message, unmarshal func([]byte, any) error) (v T, err error) {
	if unmarshal == nil {
		unmarshal = json.Unmarshal
	}
	if err := unmarshal(m.Data, &v); err != nil {
		return v, Reject(fmt.Errorf("bus: payload is no %T: %w", v, err))
	}
	return v, nil
}
