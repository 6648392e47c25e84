package crashkit

import (
	"context"
	"fmt"

	"github.com/oncebus/once/claim"
)

// stage is a step in the life of a delivery at which a scenario may strike.
type stage uint8

const (
	received stage = iota + 1 // the process has the message
	sending                   // an operation is about to leave the process
	answered                  // an operation has been carried out
	started                   // the handler is about to be called
	calling                   // an effect is called; the context was not looked at
	inFlight                  // the request of an effect is on its way
	happened                  // the effect has been asked for; its answer is on the way
	acking                    // the message is done; the bus has not heard of it
	left                      // the delivery has been settled
)

// moment is a stage of a delivery, with the operation for sending and answered,
// or the effect for calling, inFlight and happened.
type moment struct {
	stage stage
	op    claim.OpKind
	call  call
}

// call is one of the calls of an effect that a handler makes in one run.
type call struct {
	effect string
	nth    int // among those of the effect; 1 at the first
}

// String returns the name of the effect, with the number of the call if it is
// not the first.
func (c call) String() string {
	if c.nth > 1 {
		return fmt.Sprintf("%s #%d", c.effect, c.nth)
	}
	return c.effect
}

// trap is what a scenario does to the goroutine that reaches a moment. Op is the
// operation, nil at moments that have none. An error is what the caller of an
// effect gets, and at acking it keeps the process's word from the bus.
type trap func(ctx context.Context, op *claim.Op) error

// at sets a trap that springs when p first reaches m.
func (p *process) at(m moment, t trap) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps[m] = append(p.traps[m], t)
}

// signal returns a channel that is closed when p first reaches m.
func (p *process) signal(m moment) <-chan struct{} {
	reached := make(chan struct{})
	p.at(m, func(context.Context, *claim.Op) error {
		close(reached)
		return nil
	})
	return reached
}

// reach springs the traps at m.
func (p *process) reach(ctx context.Context, m moment, op *claim.Op) error {
	p.mu.Lock()
	traps := p.traps[m]
	delete(p.traps, m)
	p.mu.Unlock()
	for _, t := range traps {
		if err := t(ctx, op); err != nil {
			return err
		}
	}
	return nil
}

// armed returns how many traps of p have not sprung.
func (p *process) armed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, traps := range p.traps {
		n += len(traps)
	}
	return n
}
