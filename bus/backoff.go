package bus

import (
	"math/rand/v2"
	"time"
)

// Backoff returns how long to wait before the attempt after the given one; the
// first attempt is 1. It must be safe for concurrent use.
type Backoff func(attempt int) time.Duration

// Exponential returns a Backoff that doubles from first up to limit and takes a
// random duration between half of that and all of it, so that what failed
// together does not come back together. It panics if first is not positive or
// limit is less than first: both are constants of the program.
func Exponential(first, limit time.Duration) Backoff {
	if first <= 0 || limit < first {
		panic("bus.Exponential: want 0 < first <= limit")
	}
	return func(attempt int) time.Duration {
		d := first
		for i := 1; i < attempt && d < limit; i++ {
			if d > limit/2 {
				d = limit
				break
			}
			d *= 2
		}
		return d/2 + rand.N(d/2+1)
	}
}
