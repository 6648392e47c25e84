package histories

import (
	"math"
	"time"

	"github.com/oncebus/once/claim"
)

// record is a claim.Record without its times, which the model keeps as timers,
// and without its key, which is always the same. It is comparable.
type record struct {
	state       claim.State
	token       claim.Token
	fence       uint64
	attempt     int
	retention   time.Duration
	fingerprint claim.Fingerprint
	result      string
	omitted     bool
	recovered   bool
	reason      string
}

func pack(r *claim.Record) record {
	return record{
		state: r.State, token: r.Token, fence: r.Fence, attempt: r.Attempt, retention: r.Retention,
		fingerprint: r.Fingerprint, result: string(r.Result), omitted: r.Omitted, recovered: r.Recovered, reason: r.Reason,
	}
}

func (r *record) unpack() claim.Record {
	return claim.Record{
		State: r.state, Token: r.token, Fence: r.fence, Attempt: r.attempt, Retention: r.retention,
		Fingerprint: r.fingerprint, Result: []byte(r.result), Omitted: r.omitted, Recovered: r.recovered, Reason: r.reason,
	}
}

// state is one state in which the record of a key may be.
type state struct {
	record record
	// open says that the fence of the record is not known, since the answer to the
	// claim that was granted is not: record.fence is zero, and the fence is above
	// floor.
	open  bool
	floor uint64
	// top is a fence that every new grant must be above.
	top uint64

	lease timer // deadline of a pending or released record
	end   timer // end of any record

	// now is the earliest that the last operation can have taken effect.
	now time.Duration
	// spent are the copies of unknown operations that have taken effect.
	spent copies
}

// dominates reports whether s can go on in every way in which u can.
func (s *state) dominates(u *state) bool {
	return s.record == u.record && s.open == u.open && s.floor <= u.floor && s.top <= u.top && s.now <= u.now &&
		s.lease.wider(u.lease) && s.end.wider(u.end) && s.spent.within(u.spent)
}

// maxCopies is how many copies of unknown operations a key may have.
const maxCopies = 256

// copies is a set of copies of unknown operations.
type copies [maxCopies / 64]uint64

func (c copies) has(i int) bool { return c[i/64]&(1<<(i%64)) != 0 }

func (c copies) with(i int) copies {
	c[i/64] |= 1 << (i % 64)
	return c
}

func (c copies) within(d copies) bool {
	for i := range c {
		if c[i]&^d[i] != 0 {
			return false
		}
	}
	return true
}

// Step is asked at a moment of its own, which is after all fences and from which
// running timers are so far off that no length of an operation meets them by
// accident.
const (
	stepNow  claim.Instant = 1 << 51
	stepFar  claim.Instant = math.MaxInt64 / 4
	stepPast               = stepNow - 1
)
