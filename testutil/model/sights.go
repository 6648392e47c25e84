package model

import (
	"math/bits"
	"slices"

	"github.com/oncebus/once/claim"
)

// sight is something that a search must have come by to prove anything: a line of
// the table of package claim, or a situation that the protocol is made for.
type sight uint8

const (
	sawGranted sight = iota
	sawGrantedAgain
	sawTakenOver
	sawAnsweredPending
	sawAnsweredPendingDelay
	sawAnsweredStale
	sawAnsweredStaleReleased
	sawAnsweredDone
	sawAnsweredDead
	sawAnsweredParked
	sawExhausted
	sawExhaustedUnrun
	sawLateGrant
	sawExtended
	sawExtendedLate
	sawExtensionLost
	sawCompleted
	sawCompletedAgain
	sawLateCommit
	sawRecoveredCommit
	sawCompletionLost
	sawBuried
	sawBuriedAgain
	sawBurialLost
	sawReleased
	sawReleasedUnheard
	sawReleasedAgain
	sawTombstone
	sawReleaseLost
	sawOverlap
	sawSecondEffect
	sawAcked
	sawRejected
	sawUndone
	sights // how many there are
)

var sightNames = [sights]string{
	sawGranted:               "claim granted",
	sawGrantedAgain:          "claim repeated: the same grant",
	sawTakenOver:             "expired claim taken over",
	sawAnsweredPending:       "pending: another's lease is alive",
	sawAnsweredPendingDelay:  "pending: released with a delay",
	sawAnsweredStale:         "stale: the token's lease is over",
	sawAnsweredStaleReleased: "stale: the token was released",
	sawAnsweredDone:          "done",
	sawAnsweredDead:          "dead",
	sawAnsweredParked:        "parked",
	sawExhausted:             "attempts used up: dead",
	sawExhaustedUnrun:        "attempts used up and no handler ever ran",
	sawLateGrant:             "claim granted with nobody left to hear of it",
	sawExtended:              "lease extended",
	sawExtendedLate:          "expired lease extended",
	sawExtensionLost:         "extension lost",
	sawCompleted:             "completed",
	sawCompletedAgain:        "completion repeated",
	sawLateCommit:            "late commit: the lease was over",
	sawRecoveredCommit:       "recovered commit: the record was lost",
	sawCompletionLost:        "completion lost",
	sawBuried:                "marked dead",
	sawBuriedAgain:           "mark of death repeated",
	sawBurialLost:            "mark of death lost",
	sawReleased:              "released",
	sawReleasedUnheard:       "released by the token alone",
	sawReleasedAgain:         "release repeated",
	sawTombstone:             "release without a record: tombstone",
	sawReleaseLost:           "release lost",
	sawOverlap:               "two handlers run at the same time",
	sawSecondEffect:          "second effect",
	sawAcked:                 "message acked",
	sawRejected:              "message rejected",
	sawUndone:                "finished record undone by a failover",
}

// Sights names everything that a search may come by: the lines of the table of
// package claim, and the situations that the protocol is made for. A search that
// has not come by one of them says nothing about it.
func Sights() []string { return slices.Clone(sightNames[:]) }

// sightSet is a set of sights.
type sightSet uint64

func (s *sightSet) next() sight {
	first := bits.TrailingZeros64(uint64(*s))
	*s &= *s - 1
	return sight(first)
}

func (o *outcome) saw(s sight) { o.seen |= 1 << s }

func (o *outcome) sawIf(seen bool, s sight) {
	if seen {
		o.saw(s)
	}
}

// look notes what the store's answer to r shows. unheard tells that nobody waits
// for the answer.
func (c *checker) look(o *outcome, r request, unheard bool) {
	rep := &o.reply
	before := rep.before
	switch r.kind {
	case claim.OpTryClaim:
		o.sawIf(rep.granted(), sawGranted)
		o.sawIf(rep.granted() && rep.takeover, sawTakenOver)
		o.sawIf(rep.granted() && unheard, sawLateGrant)
		o.sawIf(rep.outcome == claim.Claimed && !rep.wrote, sawGrantedAgain)
		o.sawIf(rep.outcome == claim.Pending && before.state == claim.StatePending, sawAnsweredPending)
		o.sawIf(rep.outcome == claim.Pending && before.state == claim.StateReleased, sawAnsweredPendingDelay)
		o.sawIf(rep.outcome == claim.Stale && before.state == claim.StatePending, sawAnsweredStale)
		o.sawIf(rep.outcome == claim.Stale && before.state == claim.StateReleased, sawAnsweredStaleReleased)
		o.sawIf(rep.outcome == claim.Done, sawAnsweredDone)
		o.sawIf(rep.outcome == claim.Dead, sawAnsweredDead)
		o.sawIf(rep.outcome == claim.Parked, sawAnsweredParked)
		o.sawIf(rep.outcome == claim.Dead && rep.wrote, sawExhausted)
		o.sawIf(rep.outcome == claim.Dead && rep.wrote && o.next.nobodyRan(), sawExhaustedUnrun)
	case claim.OpExtend:
		o.sawIf(rep.wrote, sawExtended)
		o.sawIf(rep.wrote && !before.ahead, sawExtendedLate)
		o.sawIf(rep.lost(), sawExtensionLost)
	case claim.OpMarkDone:
		o.sawIf(rep.wrote, sawCompleted)
		o.sawIf(rep.wrote && before.state == claim.StatePending && !before.ahead, sawLateCommit)
		o.sawIf(rep.wrote && rep.recovered, sawRecoveredCommit)
		o.sawIf(rep.err == nil && !rep.wrote, sawCompletedAgain)
		o.sawIf(rep.lost(), sawCompletionLost)
	case claim.OpMarkDead:
		o.sawIf(rep.wrote, sawBuried)
		o.sawIf(rep.err == nil && !rep.wrote, sawBuriedAgain)
		o.sawIf(rep.lost(), sawBurialLost)
	case claim.OpRelease:
		absent := before.state == claim.StateAbsent
		o.sawIf(rep.wrote && !absent, sawReleased)
		o.sawIf(rep.wrote && !absent && r.fence == 0, sawReleasedUnheard)
		o.sawIf(rep.wrote && absent, sawTombstone)
		o.sawIf(rep.err == nil && !rep.wrote, sawReleasedAgain)
		o.sawIf(rep.lost(), sawReleaseLost)
	}
}

// nobodyRan reports whether no worker has ever heard of a grant.
func (s *state) nobodyRan() bool {
	for _, a := range s.attempts {
		if a.fence != 0 {
			return false
		}
	}
	return true
}
