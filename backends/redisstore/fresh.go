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
// script is asked. A TIME among the commands tells whether the clock was stepped
// since: a claim that was made by a wrong time is given back and answered Stale.
// So the fence of a claim is at most fenceLag behind the time of its grant; no
// record lives for less (see LEAST in state.lua), and so no key is granted again
// with a lower one.

const (
	// maxSpread is how well the server's clock must be known.
	maxSpread = claim.MaxGrace
	// maxUnseen is how long ago its last reply may have been.
	maxUnseen = time.Second
	// stepSlack is what a clock may be off by without having been stepped.
	stepSlack = 5 * time.Millisecond
	// fenceLag is how far a fence may be behind the server's time.
	fenceLag = maxSpread + stepSlack

	// freshBytes is the size of what stands before the body in the record of a fresh
	// claim: a letter and three cells.
	freshBytes = 1 + 3*cellBytes
)

// leastLife is how many milliseconds a record lives at least. Tests make it 1.
var leastLife = int64(2 * fenceLag / time.Millisecond)

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

// fresh is the part of a flight that needs no script. Its first command ties the
// replies of the others to it, because they come in order.
type fresh struct {
	claims []*freshClaim // those in use
	spare  []*freshClaim

	stamp stamp
	echo  *redis.StringCmd
	time  *redis.TimeCmd

	low, high claim.Instant // what the server's time was between, at booked
	booked    time.Duration
	landed    bool
	fate      error // of all
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

// book makes the commands. The server's time is between low and high at now.
func (p *fresh) book(cmds []redis.Cmder, nonce [8]byte, low, high claim.Instant, now time.Duration) []redis.Cmder {
	if p.echo == nil {
		p.echo, p.time = redis.NewStringCmd(context.Background(), "echo", &p.stamp), redis.NewTimeCmd(context.Background(), "time")
	}
	p.echo.SetErr(nil)
	p.echo.SetVal("")
	p.time.SetErr(nil)
	p.stamp.nonce = nonce
	p.stamp.sends.Store(0)
	p.low, p.high, p.booked, p.landed, p.fate = low, high, now, false, nil
	cmds = append(cmds, p.echo, p.time)
	for i, c := range p.claims {
		if i > 0 && sameTerms(p.claims[i-1].op, c.op) {
			copy(c.record.b, p.claims[i-1].record.b[:freshBytes])
		} else {
			putFresh(c.record.b, &c.op.Request, low, high)
		}
		cmds = append(cmds, c.cmd)
	}
	return cmds
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
		p.fate = failure(echoed, int(p.stamp.sends.Load()))
	case p.echo.Val() == "" && err != nil:
		p.fate = failure(err, int(p.stamp.sends.Load()))
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

// land sets the answers of those claims that met nothing. It returns those for
// which the script must be asked, and those that were made by a wrong time; seen
// is whether the server can carry out the commands at all.
func (p *fresh) land(got time.Duration) (ask, mistimed []*claim.Op, able bool) {
	able = true
	if len(p.claims) == 0 {
		return nil, nil, true
	}
	if p.fate != nil {
		for _, c := range p.claims {
			c.op.Fail(p.fate)
		}
		return nil, nil, true
	}
	if p.echo.Err() != nil || p.time.Err() != nil {
		able = !unable(p.echo.Err()) && !unable(p.time.Err())
		for _, c := range p.claims {
			ask = append(ask, c.op)
		}
		return ask, nil, able
	}
	stepped := p.stepped(got)
	for _, c := range p.claims {
		switch err := c.cmd.Err(); {
		case errors.Is(err, redis.Nil) && stepped:
			mistimed = append(mistimed, c.op)
		case errors.Is(err, redis.Nil):
			c.op.Verdict = claim.Verdict{Outcome: claim.Claimed, Remaining: c.op.Request.TTL,
				Grant: claim.Grant{Token: c.op.Request.Token, Fence: uint64(p.low), Attempt: 1}}
		case err == nil || isReply(err):
			able = able && !unable(err)
			ask = append(ask, c.op)
		default:
			c.op.Fail(failure(err, int(p.stamp.sends.Load())))
		}
	}
	return ask, mistimed, able
}

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

// stepped reports whether the server's clock is not where it was thought to be,
// at some moment between the booking and got.
func (p *fresh) stepped(got time.Duration) bool {
	now, _ := p.serverTime()
	passed := got - p.booked
	return now.Add(stepSlack) < p.low || now > p.high.Add(passed+passed/driftShare+stepSlack)
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

// giveBack releases claims that were made by a wrong time, and answers that they
// have ended. Where that fails, the lease ends them.
func (s *Store) giveBack(ctx context.Context, mistimed []*claim.Op) {
	releases := make([]*claim.Op, len(mistimed))
	for i, op := range mistimed {
		releases[i] = &claim.Op{Kind: claim.OpRelease, Key: op.Key, Grant: claim.Grant{Token: op.Request.Token}}
	}
	s.Apply(ctx, releases)
	for _, op := range mistimed {
		op.Verdict = claim.Verdict{Outcome: claim.Stale}
	}
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
