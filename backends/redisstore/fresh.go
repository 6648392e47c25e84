package redisstore

import (
	"context"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// Most claims meet a key without a record. Such a claim is one command that does
// not need the script, SET key record NX GET PX life, and takes the server a third
// of the time. What the script would put into the record is the server's time:
// here it is what the store knows of it from earlier replies. Whatever such a
// command meets but nothing, the script is asked, with the same token.
//
// The fence is a moment at which the server's clock certainly had been, the lease
// ends by one that it had not reached. The two are maxSpread apart at most, or the
// script is asked. The last command of a trip is TIME: where the claims took effect
// more than fenceLag after their fences, or before, because the trip took long or the
// clock was stepped, the script gives them another fence, and no longer lease. No record
// ends within fenceLag of a claim (see LEAST in state.lua), and so no key is granted
// again with a lower fence.

const (
	// maxSpread is how well the server's clock must be known.
	maxSpread = claim.MaxGrace
	// maxUnseen is how long ago its last reply may have been.
	maxUnseen = time.Second
	// fenceLag is how far a fence may be behind the time of its grant, and fenceLead
	// how far before it, on a clock that slews.
	fenceLag  = 20 * time.Millisecond
	fenceLead = 5 * time.Millisecond

	// freshBytes is the size of what stands before the body in the record of a fresh
	// claim: a letter and three cells.
	freshBytes = 1 + 3*cellBytes
)

// leastLife is how many milliseconds a record lives at least after a claim: more than
// fenceLag and fenceLead together. Tests make it 1.
var leastLife int64 = 30

// hope says whether fresh claims are worth a try: where many claims meet a record,
// asking the script at once saves a trip.
type hope struct {
	usable atomic.Bool
	// met is the share of claims that met a record, in thousandths, of late.
	met atomic.Int32
}

// maxMet is how many claims in a thousand may meet a record.
const maxMet = 200

func (h *hope) any() bool { return h.usable.Load() && h.met.Load() <= maxMet }

// note takes down that met of so many claims met a record. What is lost when two
// callers do so at once does not matter.
func (h *hope) note(met, claims int) {
	if claims > 0 {
		was := h.met.Load()
		h.met.Store(was + (int32(1000*met/claims)-was)/8)
	}
}

// lose makes the script be asked for the next dozen trips: they may take as long as
// the one that was too long for fresh claims.
func (h *hope) lose() { h.met.Store(1000) }

// fresh is the part of a flight that needs no script. Its first command ties the
// replies of the others to it, because they come in order.
type fresh struct {
	claims []*freshClaim // those in use
	spare  []*freshClaim

	stamp stamp
	echo  *redis.StringCmd
	time  *redis.TimeCmd

	low    claim.Instant // the fence
	landed bool
	fate   error // of all
}

// freshClaim is one claim by a plain command, which is used again with it.
type freshClaim struct {
	op                *claim.Op
	key, record, life blob
	digits            [20]byte // of life
	cmd               *redis.StringCmd
}

func (p *fresh) add(op *claim.Op, key, record []byte) {
	var c *freshClaim
	if n := len(p.spare); n > 0 {
		c, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		c = new(freshClaim)
		c.cmd = redis.NewStringCmd(context.Background(), "set", &c.key, &c.record, "nx", "get", "px", &c.life)
	}
	c.op, c.key.b, c.record.b = op, key, record
	c.life.b = strconv.AppendInt(c.digits[:0], lifeOf(&op.Request), 10)
	c.cmd.SetErr(nil)
	c.cmd.SetVal("")
	p.claims = append(p.claims, c)
}

// book makes the commands. The server's time is between low and high.
func (p *fresh) book(cmds []redis.Cmder, nonce [8]byte, low, high claim.Instant) []redis.Cmder {
	if p.echo == nil {
		p.echo, p.time = redis.NewStringCmd(context.Background(), "echo", &p.stamp), redis.NewTimeCmd(context.Background(), "time")
	}
	p.echo.SetErr(nil)
	p.echo.SetVal("")
	p.time.SetErr(nil)
	p.stamp.nonce = nonce
	p.stamp.sends.Store(0)
	p.low, p.landed, p.fate = low, false, nil
	cmds = append(cmds, p.echo)
	for i, c := range p.claims {
		if i > 0 && sameTerms(p.claims[i-1].op, c.op) {
			copy(c.record.b, p.claims[i-1].record.b[:freshBytes])
		} else {
			putFresh(c.record.b, &c.op.Request, low, high)
		}
		cmds = append(cmds, c.cmd)
	}
	return append(cmds, p.time)
}

// putFresh writes what stands before the body in the record of a fresh claim.
func putFresh(b []byte, req *claim.Request, low, high claim.Instant) {
	letter := byte('p')
	if !req.Fingerprint.IsZero() {
		letter = 'q'
	}
	b = appendNumber(append(b[:0], letter), int64(high.Add(req.TTL)))
	appendNumber(appendMicros(b, req.Retention), int64(low))
}

// lifeOf returns the milliseconds that the record of a fresh claim has to live.
func lifeOf(req *claim.Request) int64 {
	life := req.TTL/time.Microsecond + req.Retention/time.Microsecond
	return max(leastLife, int64((life+999)/1000))
}

// note takes down how the trip ended; err is that of the trip as a whole.
func (p *fresh) note(err error) {
	if len(p.claims) == 0 || p.landed {
		return
	}
	p.landed = true
	switch echoed := p.echo.Err(); {
	case errors.Is(echoed, redis.Nil):
		p.fate = errReply
	case isReply(echoed):
		// Nothing is known of the others then, but that the script can tell.
	case echoed != nil:
		p.fate = failure(echoed, p.sends())
	case p.echo.Val() == "" && err != nil:
		p.fate = failure(err, p.sends())
	case p.echo.Val() != string(p.stamp.nonce[:]):
		p.fate = errReply
	}
}

// abandon ends the claims of a trip that was left behind because of err.
func (p *fresh) abandon(err error) {
	if len(p.claims) > 0 && !p.landed {
		p.landed, p.fate = true, failure(err, p.stamp.abandon())
	}
}

// outcome is what is left to do for the claims of a trip, in this order.
type outcome struct {
	// anew are claims that took effect with a fence that is not of that time, or may
	// have.
	anew []*claim.Op
	// ask are claims that met something, or may have. With doubt, one of them may have
	// taken effect.
	ask   []*claim.Op
	doubt again
	// unable says that the server cannot carry out the commands at all.
	unable bool
}

// land sets the answers of those claims that met nothing, and returns what is left
// to do for the others.
func (p *fresh) land() (o outcome) {
	if len(p.claims) == 0 {
		return o
	}
	sends := p.sends()
	now, known := p.serverTime()
	timely := known && now.Sub(p.low) <= fenceLag && p.low.Sub(now) <= fenceLead
	if !known || sends != 1 {
		o.doubt = doubtful
	}
	o.unable = p.fate == nil && (unable(p.echo.Err()) || unable(p.time.Err()))
	for _, c := range p.claims {
		if p.fate != nil { // and who left the trip behind does not look at its commands
			c.op.Fail(p.fate)
			continue
		}
		err := c.cmd.Err()
		if err != nil && !isReply(err) {
			c.op.Fail(failure(err, sends))
			continue
		}
		// The replies to commands that were sent more than once, or of which the server
		// did not tell the time, may be to a copy.
		nothing := known && errors.Is(err, redis.Nil)
		if nothing || o.doubt != 0 {
			c.op.Verdict = claim.Verdict{Outcome: claim.Claimed, Remaining: c.op.Request.TTL,
				Grant: claim.Grant{Token: c.op.Request.Token, Fence: uint64(p.low), Attempt: 1}}
			if !timely {
				o.anew = append(o.anew, c.op)
			}
		}
		if !nothing {
			o.unable = o.unable || unable(err)
			o.ask = append(o.ask, c.op)
		}
	}
	return o
}

func (p *fresh) sends() int { return int(p.stamp.sends.Load()) }

// met returns how many of the claims met a record, and how many there were.
func (p *fresh) met() (met, claims int) {
	if p.fate != nil {
		return 0, 0
	}
	for _, c := range p.claims {
		if c.cmd.Err() == nil {
			met++
		}
	}
	return met, len(p.claims)
}

// serverTime returns the server's time as the replies told it.
func (p *fresh) serverTime() (claim.Instant, bool) {
	if len(p.claims) == 0 || !p.landed || p.fate != nil || p.echo.Err() != nil || p.time.Err() != nil {
		return 0, false
	}
	return claim.Instant(p.time.Val().UnixMicro()), true
}

// unable reports whether err is the reply of a server to which the command, or the
// way in which it was used, is not known or not allowed.
func unable(err error) bool {
	if !isReply(err) || errors.Is(err, redis.Nil) {
		return false
	}
	word := firstWord(err.Error())
	return word == "ERR" || word == "NOPERM"
}

func (p *fresh) reset() {
	for _, c := range p.claims {
		c.op = nil
		c.cmd.SetVal("")
	}
	p.spare = append(p.spare, p.claims...)
	p.claims = p.claims[:0]
}

// finish does what land left to do.
func (s *Store) finish(ctx context.Context, o *outcome) {
	if o.unable {
		s.hope.usable.Store(false)
	}
	s.applyByScript(ctx, o.anew, anew)
	s.applyByScript(ctx, o.ask, o.doubt)
}

// twins tells which keys stand more than once among the operations of a flight, or
// may: it knows twelve bits of each.
type twins struct{ once, twice [64]uint64 }

func (t *twins) of(ops []*claim.Op) {
	if len(ops) < 2 {
		t.twice = [64]uint64{}
		return
	}
	*t = twins{}
	for _, op := range ops {
		word, bit := bitOf(op)
		t.twice[word] |= t.once[word] & bit
		t.once[word] |= bit
	}
}

func (t *twins) has(op *claim.Op) bool {
	word, bit := bitOf(op)
	return t.twice[word]&bit != 0
}

func bitOf(op *claim.Op) (word int, bit uint64) {
	d := op.Key.Digest()
	return int(d[0]) % 64, 1 << (d[1] % 64)
}
