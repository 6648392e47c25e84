package crashkit

import (
	"context"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// What the tests need that users do not.
var (
	ExploreErr = explore
	Tell       = tell
	Watch      = watch
)

// Trips is a store made of one function.
type Trips = trips

// Wrap puts wrap in the place of a Deduper.
func (o *Options) Wrap(wrap func(claim.Store) (bus.Middleware, func(context.Context) error, error)) {
	o.wrap = wrap
}

// Kinds are all of them.
var Kinds = []Kind{
	KindBroken, KindDoubled, KindKey, KindFence, KindLost, KindLate, KindUnsettled, KindHung,
	KindHeedless, KindForeign, KindOrder, KindReplaced, KindLeak, KindMissed,
}
