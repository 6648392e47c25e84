package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oncebus/once/examples/ledger"
)

// Patience is how long nothing may move before a run is given up.
const Patience = time.Minute

// ErrStalled says that nothing moved for as long.
var ErrStalled = errors.New("nothing moves any more")

// Settled returns when done says that the bus has nothing left of the run. It returns
// an error when a process has ended, of which failed tells, when done has one, and,
// with ErrStalled, when the ledger has not changed for Patience.
func Settled(ctx context.Context, l *ledger.Ledger, failed <-chan error, done func() (bool, error)) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	last, moved := ledger.Balance{}, time.Now()
	for {
		over, err := done()
		if err != nil || over {
			return err
		}
		if now := l.Balance(); now != last {
			last, moved = now, time.Now()
		} else if time.Since(moved) > Patience {
			return fmt.Errorf("%w: nothing for %v", ErrStalled, Patience)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-failed:
			return cmp.Or(context.Cause(ctx), err) // the processes end with ctx too
		case <-ticker.C:
		}
	}
}
