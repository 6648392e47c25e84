package model

import (
	"flag"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

var deep = flag.Bool("deep", false, "search the spaces that take minutes, too")

// effort is how much a search costs.
type effort int

const (
	quick  effort = iota // with -short and the race detector, too
	normal               // seconds
	long                 // with -deep
)

// spaces are those in which the protocol must hold.
var spaces = []struct {
	name   string
	effort effort
	cfg    Config
}{
	{"no faults but the network's", quick, Config{Workers: 3, Deliveries: 4, Permanent: true, Without: allFaults}},
	{"three workers, four deliveries, no failover", normal, Config{Workers: 3, Deliveries: 4, Permanent: true, Without: Failover}},
	{"park, crashes and expiries", quick, Config{Workers: 3, Deliveries: 4, Permanent: true, Takeover: claim.Park, Without: Loss | Failover}},
	{"one attempt", quick, Config{MaxAttempts: 1, Permanent: true, Without: Failover}},
	{"two attempts", normal, Config{MaxAttempts: 2, Permanent: true, Without: Failover}},
	{"all faults", quick, Config{}},
	{"three workers, all faults", normal, Config{Workers: 3, Permanent: true}},
	{"four deliveries, all faults", long, Config{Deliveries: 4}},
	{"five deliveries, no failover", normal, Config{Deliveries: 5, Without: Failover}},
	{"park, all faults", long, Config{Permanent: true, Takeover: claim.Park}},
	{"one attempt, all faults", long, Config{MaxAttempts: 1, Permanent: true}},
	{"two attempts, all faults", long, Config{MaxAttempts: 2, Permanent: true}},
	{"three workers, four deliveries, all faults", long, Config{Workers: 3, Deliveries: 4, Permanent: true}},
	{"three workers, six deliveries, no failover", long, Config{Workers: 3, Deliveries: 6, Without: Failover}},
}

func affordable() effort {
	switch {
	case *deep:
		return long
	case testing.Short() || raceEnabled:
		return quick
	}
	return normal
}

// TestProtocol searches the spaces and wants no violation.
func TestProtocol(t *testing.T) {
	for _, space := range spaces {
		t.Run(space.name, func(t *testing.T) {
			if space.effort > affordable() {
				t.Skip("takes longer than asked for: see the flags -short, -race and -deep")
			}
			t.Parallel()
			begun := time.Now()
			r := Check(space.cfg)
			t.Logf("%d states, %d transitions, %d deep, in %v", r.States, r.Transitions, r.Depth, time.Since(begun).Round(time.Millisecond))
			if r.Violation != nil {
				t.Error(r.Violation)
			}
		})
	}
}

// TestSights looks whether searches came by everything that there is to see: a
// model that never takes over, or never loses a reply, would find nothing wrong
// with any protocol.
func TestSights(t *testing.T) {
	t.Parallel()
	shortest := map[string]Sighting{}
	for _, cfg := range []Config{
		{Permanent: true, Without: Failover},
		{Permanent: true, Deliveries: 2},
		{MaxAttempts: 1, Without: Loss | Failover},
		{Takeover: claim.Park, Without: Loss | Failover},
	} {
		for name, s := range Check(cfg).Sights {
			if old, ok := shortest[name]; !ok || len(s.Trace) < len(old.Trace) {
				shortest[name] = s
			}
		}
	}
	for _, name := range Sights() {
		if s, ok := shortest[name]; ok {
			t.Logf("%s\n%v", name, s)
		} else {
			t.Errorf("no search came by %q", name)
		}
	}
}

// TestNothingHappensWithoutACause is L3 the other way round: where nothing
// expires and nothing is lost, there is no second effect at all, however late and
// often the network carries out what it was given.
func TestNothingHappensWithoutACause(t *testing.T) {
	t.Parallel()
	r := Check(Config{Workers: 3, Deliveries: 4, Permanent: true, Without: Expiry | Loss | Failover})
	for _, s := range []sight{sawTakenOver, sawOverlap, sawSecondEffect, sawLateCommit, sawRecoveredCommit} {
		if seen, ok := r.Sights[sightNames[s]]; ok {
			t.Errorf("%s\n%v", sightNames[s], seen)
		}
	}
	if acked := r.Sights[sightNames[sawAcked]]; acked.Count == 0 {
		t.Error("no message was ever acked")
	}
}
