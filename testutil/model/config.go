package model

import (
	"fmt"

	"github.com/oncebus/once/claim"
)

// The largest space that a state has room for.
const (
	MaxWorkers    = 3
	MaxDeliveries = 6
	MaxAttempts   = 3
)

// Faults are what may go wrong besides the network, which is always as bad as it
// can be: late, repeated and silent.
type Faults uint8

// The faults.
const (
	// Expiry is a lease that runs out, as often as it likes.
	Expiry Faults = 1 << iota
	// Loss is a store that forgets the record, as often as it likes: by a restart,
	// a failover, an eviction, or a retention that passed.
	Loss
	// Failover is a store that goes on from what a replica has of the record, which
	// may lag behind by any number of writes.
	Failover
	// Crash is a worker that dies between any two of its moves.
	Crash

	allFaults = Expiry | Loss | Failover | Crash
)

// Config is a space to be searched. The zero Config is the claim protocol with two
// workers, three deliveries and all faults.
type Config struct {
	// Workers is how many processes there are. Defaults to 2, at most MaxWorkers.
	Workers int
	// Deliveries is how often the bus may deliver the message, and the only bound
	// of the space. A fresh token after Stale counts as one. Defaults to 3, at most
	// MaxDeliveries.
	Deliveries int
	// Without are the faults that do not happen. Defaults to none: all happen.
	Without Faults
	// Takeover is the policy that every claim asks for. Defaults to claim.Rerun.
	Takeover claim.Takeover
	// MaxAttempts is what every claim asks for. Defaults to 0, no limit; at most
	// MaxAttempts.
	MaxAttempts int
	// Permanent lets handlers fail for good, so that keys are marked dead. Defaults
	// to false.
	Permanent bool

	// Mutant, when set, breaks the protocol. Defaults to nil.
	Mutant *Mutant
	// All goes on after a violation and finds the shortest one of every invariant.
	// Defaults to false: the first ends the search.
	All bool
}

// withDefaults returns a copy in which defaults stand for zero values. It panics
// when a field is out of its range: a search of less than was asked for would
// prove less than it says.
func (c Config) withDefaults() Config {
	if c.Workers == 0 {
		c.Workers = 2
	}
	if c.Deliveries == 0 {
		c.Deliveries = 3
	}
	within("Workers", c.Workers, 1, MaxWorkers)
	within("Deliveries", c.Deliveries, 1, MaxDeliveries)
	within("Takeover", int(c.Takeover), int(claim.Rerun), int(claim.Park))
	within("MaxAttempts", c.MaxAttempts, 0, MaxAttempts)
	return c
}

func within(name string, n, low, high int) {
	if n < low || n > high {
		panic(fmt.Sprintf("model: Config.%s is %d, want %d to %d", name, n, low, high))
	}
}
