package model

import (
	"math/bits"
	"slices"

	"github.com/oncebus/once/claim"
)

// state is everything at one moment. It is a value: to change a copy is to make
// another state.
//
// Tokens are numbered from 1 by delivery and fences from 1 by grant; zero is none.
// Time is in it only as far as anything depends on it: a deadline is ahead or it
// is not.
type state struct {
	rec       record
	replica   record // with the deadline always ahead: an expiry may follow a failover
	delivered uint8  // deliveries made, and so tokens in use
	attempts  [MaxDeliveries]attempt
	workers   [MaxWorkers]worker
	ghost     ghost
}

// record is what the store keeps of the key.
type record struct {
	state  claim.State
	token  uint8 // of a done record: the one whose stamp it has
	fence  uint8 // zero in a record with a stamp
	number uint8 // of the attempt; zero unless attempts are limited
	ahead  bool  // the deadline: a live lease, or a delay that is not over
	// recovered marks a completion that found no record.
	recovered bool
}

// stamped reports whether r is a done record that has a stamp and no fence.
func (r *record) stamped() bool { return r.state == claim.StateDone && r.token != 0 }

// attempt is what was ever sent under one token. Nothing that was sent is ever
// forgotten: the network may carry out each of it at any later moment, as often
// as it likes.
type attempt struct {
	fence  uint8 // of the grant that the claimant heard of; zero: of none
	number uint8
	ending ending
}

// ending is the request by which a claimant ended its attempt.
type ending uint8

const (
	unended   ending = iota
	completed        // MarkDone
	released         // Release
	buried           // MarkDead
	givenUp          // Release with the token alone, of a claim without an answer
)

// worker is a process of the consumer, as far as it has to do with the key.
type worker struct {
	at    position
	token uint8 // of the attempt it is busy with
	// excused is set when the lease of the running handler was over, or its record
	// lost, at some moment since the grant.
	excused bool
}

// position is what a worker does.
type position uint8

const (
	idle       position = iota
	claiming            // waits for the answer to TryClaim
	running             // was granted the key; the handler has had no effect yet
	effected            // the handler has had its effect and has not returned
	completing          // waits for the answer to MarkDone
	burying             // waits for the answer to MarkDead
)

// inHandler reports whether the handler may be running.
func (w *worker) inHandler() bool { return w.at == running || w.at == effected }

// ghost is what no process knows and the invariants speak of.
type ghost struct {
	highest uint8 // fence ever granted
	live    uint8 // token of the grant that has neither ended nor expired
	ended   uint8 // token that was released, until another is granted
	firm    uint8 // token of an effect that nothing excuses a repetition of
	grants  uint8 // since the record was last lost, up to a limit
	effect  bool  // some handler has had its effect
}

// key is what is left of a state when names are taken away. Workers, tokens and
// fences have no meaning but which of them are the same, and of fences which is
// larger; states with equal keys behave alike, so that one of them is enough.
type key struct {
	attempts [MaxDeliveries]uint32
	rest     uint64
}

// key describes each attempt by all that refers to it, and sorts them. No order
// of workers is needed: a worker that is not idle is part of its attempt.
func (s *state) key() key {
	rank := s.ranks()
	var k key
	for i := range s.delivered {
		a := s.attempts[i]
		k.attempts[i] = 1 | rank.of(a.fence)<<1 | uint32(a.number)<<5 | uint32(a.ending)<<7
		for n, token := range [...]uint8{s.rec.token, s.replica.token, s.ghost.live, s.ghost.ended, s.ghost.firm} {
			if token == i+1 {
				k.attempts[i] |= 1 << (10 + n)
			}
		}
	}
	for _, w := range s.workers {
		if w.at != idle {
			k.attempts[w.token-1] |= uint32(w.at)<<15 | bit(w.excused)<<18
		}
	}
	slices.Sort(k.attempts[:s.delivered])
	k.rest = s.rec.key(rank) | s.replica.key(rank)<<16 | uint64(rank.of(s.ghost.highest))<<32 | uint64(bit(s.ghost.effect))<<36 |
		uint64(s.ghost.grants)<<37
	return k
}

func (r *record) key(rank ranks) uint64 {
	return uint64(uint32(r.state) | rank.of(r.fence)<<3 | uint32(r.number)<<7 | bit(r.ahead)<<9 | bit(r.recovered)<<10)
}

// ranks is the set of fences that occur in a state.
type ranks uint64

// maxFence is the largest fence that ranks has room for. Fences rise by one with
// each grant, and no shortest way to a state has so many.
const maxFence = 63

func (s *state) ranks() ranks {
	set := ranks(1)<<s.rec.fence | 1<<s.replica.fence | 1<<s.ghost.highest
	for i := range s.delivered {
		set |= 1 << s.attempts[i].fence
	}
	return set &^ 1
}

// of returns the position of fence among those that occur, from 1; 0 for none.
func (r ranks) of(fence uint8) uint32 {
	return uint32(bits.OnesCount64(uint64(r & (2<<fence - 1))))
}

func bit(b bool) uint32 {
	if b {
		return 1
	}
	return 0
}
