package dedupe

import (
	"context"
	"crypto/sha256"

	"github.com/google/uuid"

	"github.com/oncebus/once/bus"
)

// runContext is the context of a handler. It carries its attempt.
type runContext struct {
	context.Context
	a *attempt
}

// batchContext is the context of a batch handler. It carries its attempts.
type batchContext struct {
	context.Context
	attempts map[*bus.Message]*attempt
}

type attemptKey struct{}
type batchKey struct{}

func (c *runContext) Value(key any) any {
	if key == (attemptKey{}) {
		return c.a
	}
	return c.Context.Value(key)
}

func (c *batchContext) Value(key any) any {
	if key == (batchKey{}) {
		return c
	}
	return c.Context.Value(key)
}

func attemptFrom(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// ForMessage returns the context of one message of a batch: FenceFrom,
// AttemptFrom, ChildKey and SetResult work on it. It returns ctx itself when ctx
// is not that of a batch handler that was handed m.
func ForMessage(ctx context.Context, m *bus.Message) context.Context {
	if b, ok := ctx.Value(batchKey{}).(*batchContext); ok {
		if a := b.attempts[m]; a != nil {
			return &runContext{ctx, a}
		}
	}
	return ctx
}

// FenceFrom returns the fence of the claim under which the handler runs: a number
// that strictly rises with every run of the key. Hand it to a downstream system
// that refuses a smaller one than it has seen, so that an owner that lost its
// lease cannot overwrite what a later one wrote. It gives order, not once: a run
// after a crash has a higher fence. It is 0 when the handler runs without a claim.
func FenceFrom(ctx context.Context) uint64 {
	if a := attemptFrom(ctx); a != nil {
		return a.grant.Fence
	}
	return 0
}

// AttemptFrom returns which run of the key this is, 1 for the first, or 0 when
// the handler runs without a claim.
func AttemptFrom(ctx context.Context) int {
	if a := attemptFrom(ctx); a != nil {
		return a.grant.Attempt
	}
	return 0
}

// ChildKey returns a key for a downstream call that the handler makes, to be sent
// as its idempotency key: a UUID (version 8, SHA-256) of namespace, consumer,
// message id and name, the same at every run. Use one name for each call. It
// panics when ctx is not the context of a handler that was run by a Deduper,
// because a made-up key would protect nothing.
func ChildKey(ctx context.Context, name string) string {
	a := attemptFrom(ctx)
	if a == nil {
		panic("dedupe.ChildKey: not in the context of a handler; in a batch use ForMessage")
	}
	return uuid.NewHash(sha256.New(), uuid.UUID(a.identity()), []byte(name), 8).String()
}

// identity returns the digest of the key, or for a message that passed without
// one, a digest of what its redelivery will have again.
func (a *attempt) identity() [16]byte {
	if !a.key.IsZero() || a.msg == nil {
		return a.key.Digest()
	}
	h := sha256.New()
	for _, part := range [...]string{a.msg.Subject, a.msg.Position} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(a.msg.Data)
	return [16]byte(h.Sum(nil))
}

// SetResult keeps result with the completion of the message, to be handed to
// Options.OnDuplicate when it comes again. The bytes must not be changed
// afterwards. It must be called by the handler's own goroutine, and does nothing
// outside of one.
func SetResult(ctx context.Context, result []byte) {
	if a := attemptFrom(ctx); a != nil {
		a.result = result
	}
}
