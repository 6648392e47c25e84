package dedupe

import (
	"context"
	"crypto/sha256"
	"sync"

	"github.com/google/uuid"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// run is what a handler may learn of its attempt, and tell it. Handlers may keep
// their contexts, so that it is never used for another message, as an attempt is.
type run struct {
	identity claim.Digest // of the key, unless there is unnamed
	unnamed  *bus.Message // a message that passed without a key
	fence    uint64
	attempt  int
	result   []byte
	omitted  bool
}

// runContext is the context of a handler, with its run. It holds all of a single
// message that may be kept.
type runContext struct {
	lazyContext
	run           run
	claim, commit callContext
}

// batchContext is the context of a batch handler.
type batchContext struct {
	lazyContext
	claim, commit callContext
	messages      []messageContext

	once  sync.Once
	index map[*bus.Message]*messageContext // made when it is asked for
}

// messageContext is the context of one message of a batch, with its run.
type messageContext struct {
	context.Context
	run run
	msg *bus.Message
}

type runKey struct{}
type batchKey struct{}

func (c *runContext) Value(key any) any {
	if key == (runKey{}) {
		return &c.run
	}
	return c.lazyContext.Value(key)
}

func (c *batchContext) Value(key any) any {
	if key == (batchKey{}) {
		return c
	}
	return c.lazyContext.Value(key)
}

func (c *messageContext) Value(key any) any {
	if key == (runKey{}) {
		return &c.run
	}
	return c.Context.Value(key)
}

func runFrom(ctx context.Context) *run {
	r, _ := ctx.Value(runKey{}).(*run)
	return r
}

// of returns the context of m, or nil.
func (c *batchContext) of(m *bus.Message) *messageContext {
	c.once.Do(func() {
		c.index = make(map[*bus.Message]*messageContext, len(c.messages))
		for i := range c.messages {
			c.index[c.messages[i].msg] = &c.messages[i]
		}
	})
	return c.index[m]
}

// ForMessage returns the context of one message of a batch: FenceFrom,
// AttemptFrom, ChildKey and SetResult work on it. It returns ctx itself when ctx
// is not that of a batch handler that was handed m.
func ForMessage(ctx context.Context, m *bus.Message) context.Context {
	if b, ok := ctx.Value(batchKey{}).(*batchContext); ok {
		if c := b.of(m); c != nil {
			return c
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
	if r := runFrom(ctx); r != nil {
		return r.fence
	}
	return 0
}

// AttemptFrom returns which run of the key this is, 1 for the first, or 0 when
// the handler runs without a claim.
func AttemptFrom(ctx context.Context) int {
	if r := runFrom(ctx); r != nil {
		return r.attempt
	}
	return 0
}

// ChildKey returns a key for a downstream call that the handler makes, to be sent
// as its idempotency key: a UUID (version 8, SHA-256) of namespace, consumer,
// message id and name, the same at every run. Use one name for each call. It
// panics when ctx is not the context of a handler that was run by a Deduper,
// because a made-up key would protect nothing.
func ChildKey(ctx context.Context, name string) string {
	r := runFrom(ctx)
	if r == nil {
		panic("dedupe.ChildKey: not in the context of a handler; in a batch use ForMessage")
	}
	return uuid.NewHash(sha256.New(), uuid.UUID(r.name()), []byte(name), 8).String()
}

// name returns the digest of the key, or for a message that passed without one, a
// digest of what its redelivery will have again.
func (r *run) name() claim.Digest {
	if r.unnamed != nil {
		return nameOf(r.unnamed)
	}
	return r.identity
}

func nameOf(m *bus.Message) claim.Digest {
	h := sha256.New()
	for _, part := range [...]string{m.Subject, m.Position} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write(m.Data)
	return claim.Digest(h.Sum(nil)[:16])
}

// SetResult keeps result with the completion of the message, to be handed to
// Options.OnDuplicate when it comes again. The bytes must not be changed
// afterwards. It must be called by the handler's own goroutine, and does nothing
// outside of one.
func SetResult(ctx context.Context, result []byte) {
	if r := runFrom(ctx); r != nil {
		r.result = result
	}
}
