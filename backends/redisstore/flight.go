package redisstore

import (
	"context"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// flight is everything that one trip to the server needs. Flights are reused;
// one that was abandoned in mid-air is not, since go-redis still holds it.
type flight struct {
	ops   []*claim.Op
	buf   []byte
	ends  []int  // where each key and each operation ends in buf
	blobs []blob // a key and an operation each, in turn
	spots []spot // of the keys; none where places are not heeded
	names names  // for their chunks
	logs  logs
	calls []*call
	spare []*call
	fresh fresh
	twins twins
	again again
	cmds  []redis.Cmder
	err   error // of the trip as a whole
}

// again says that what a flight carries went out before, as fresh claims.
type again int

const (
	// doubtful is one whose operations may have taken effect then: no error may say
	// that they have not.
	doubtful again = iota + 1
	// anew is one of claims that took effect, or may have, and need another fence.
	anew
)

var flights = sync.Pool{New: func() any { return new(flight) }}

// maxKeptBytes bounds the buffer that a flight in the pool holds on to.
const maxKeptBytes = 256 << 10

func newFlight() *flight { return flights.Get().(*flight) }

// free gives f back. Nothing of it may be used any more.
func (f *flight) free() {
	f.reset()
	if cap(f.buf) <= maxKeptBytes {
		flights.Put(f)
	}
}

func (f *flight) reset() {
	for _, c := range f.calls {
		c.ops = nil
		c.cmd.SetVal("")
	}
	f.spare = append(f.spare, f.calls...)
	clear(f.ops)
	clear(f.cmds)
	f.ops, f.buf, f.ends, f.calls, f.cmds = f.ops[:0], f.buf[:0], f.ends[:0], f.calls[:0], f.cmds[:0]
	f.spots, f.again = f.spots[:0], 0
	f.fresh.reset()
}

// add takes op along. op is valid.
func (f *flight) add(n names, op *claim.Op) {
	f.ops = append(f.ops, op)
	f.buf = n.append(f.buf, op.Key)
	f.ends = append(f.ends, len(f.buf))
	if op.Kind == claim.OpTryClaim {
		f.buf = append(f.buf, make([]byte, freshBytes)...) // for putFresh
	}
	if f.again == anew {
		f.buf = appendOwner(f.buf, op.Verdict.Grant)
	} else {
		f.buf = appendBody(f.buf, op)
	}
	f.ends = append(f.ends, len(f.buf))
	if n.positions != 0 {
		f.names = n
		f.spots = append(f.spots, f.logs.spot(op.Key))
	}
}

// seal makes the arguments once all operations are in and buf moves no more. With
// hope, the claims that have a chance to need no script become fresh ones, and leave
// ops: those whose key no other operation of the flight has, because on a key
// operations take effect in their order. With lean, calls may be carried out by
// doneScript, for which the same holds.
func (f *flight) seal(hope, lean bool) {
	f.blobs = f.blobs[:0]
	if hope || lean {
		f.twins.of(f.ops)
	}
	start, kept := 0, 0
	for i, op := range f.ops {
		key, body := f.buf[start:f.ends[2*i]], f.buf[f.ends[2*i]:f.ends[2*i+1]]
		start = f.ends[2*i+1]
		isClaim := op.Kind == claim.OpTryClaim
		if hope && isClaim && (len(f.spots) == 0 || op.Key.Place().IsZero()) && !f.twins.has(op) {
			f.fresh.add(op, key, body)
			continue
		}
		if isClaim {
			body = body[freshBytes:]
		}
		f.blobs = append(f.blobs, blob{key}, blob{body})
		f.ops[kept] = op
		if len(f.spots) > 0 {
			f.spots[kept] = f.spots[i]
		}
		kept++
	}
	clear(f.ops[kept:])
	f.ops = f.ops[:kept]
}

// size is how many bytes operation i takes.
func (f *flight) size(i int) int { return len(f.blobs[2*i].b) + len(f.blobs[2*i+1].b) }

// book makes the call that carries the operations from first up to end. nonce
// ties the reply to it. routed says that go-redis routes by the key and must
// see it as a string. p is the packed layout, or nil.
func (f *flight) book(ctx context.Context, first, end int, nonce [8]byte, routed bool, p *packing) *call {
	var c *call
	if n := len(f.spare); n > 0 {
		c, f.spare = f.spare[n-1], f.spare[:n-1]
	} else {
		c = new(call)
	}
	f.calls = append(f.calls, c)
	c.ops, c.wait, c.landed, c.err, c.fate = f.ops[first:end], nil, false, nil, nil
	c.stamp.nonce = nonce
	c.stamp.sends.Store(0)
	if f.again != 0 {
		c.stamp.sends.Store(1) // what went before counts as a send
	}

	args := append(c.args[:0], stateScript.evalsha[0], stateScript.evalsha[1], end-first)
	if p != nil {
		args[2] = end - first + 1
		args = append(args, p.layout(f.ops[first].Key.Digest()))
	}
	for i := first; i < end; i++ {
		args = append(args, &f.blobs[2*i])
	}
	if routed {
		c.key = string(f.blobs[2*first].b)
		if p == nil {
			args[3] = &c.key
		}
	}
	bits := len(f.spots) > 0 && c.bits.of(f.names, f.spots[first:end])
	if bits {
		args[2] = args[2].(int) + len(c.bits.names)
		for i := range c.bits.names {
			args = append(args, &c.bits.names[i])
		}
	}
	args = append(args, &c.stamp)
	if p != nil {
		args = append(args, &p.head)
	}
	if bits {
		args = append(args, &c.bits.text)
	}
	c.head(f.again)
	for i, run := first, 0; i < end; i++ {
		if i == first || !sameTerms(f.ops[i-1], f.ops[i]) {
			args = append(args, &c.heads[run])
			run++
		}
		args = append(args, &f.blobs[2*i+1])
	}
	// A command may be used again while its arguments are the same array. A
	// cluster client notes the slot in it, so there it may not.
	if c.cmd == nil || routed || len(args) != len(c.args) || &args[0] != &c.args[0] {
		c.cmd = redis.NewStringCmd(ctx, args...)
		// Without a step count a cluster client asks a server for it.
		c.cmd.SetStepCount(1)
	}
	c.args = args
	return c
}

// bare reports whether the operations from first up to end, which are a call, are
// completions on the same terms with nothing to keep, and doneScript's to carry out.
func (f *flight) bare(first, end int) bool {
	for i := first; i < end; i++ {
		op := f.ops[i]
		if op.Kind != claim.OpMarkDone || len(f.blobs[2*i+1].b) != ownerBytes || !sameTerms(f.ops[first], op) || f.twins.has(op) {
			return false
		}
	}
	return true
}

// note takes down how the calls of the last trip ended.
func (f *flight) note() {
	f.fresh.note(f.err)
	for _, c := range f.calls {
		if c.landed {
			continue
		}
		c.landed, c.err, c.fate = true, c.cmd.Err(), nil
		// A pipeline that fails with an error reply to the handshake (AUTH, SELECT)
		// leaves its commands without an error of their own.
		if c.err == nil && c.cmd.Val() == "" {
			c.err = f.err
		}
		// A cluster's pipeline whose context ends writes that error over all of its
		// commands, over those that have their reply too.
		if r := (reply{rest: c.cmd.Val()}); c.err != nil && r.open(c.stamp.nonce[:]) {
			c.err = nil
		}
		if c.err != nil {
			c.fate = failure(c.err, c.sends())
		}
	}
	f.err = nil
}

// unknownScript makes calls whose server had no script ready to be sent again,
// and reports whether there are any. One whose key a later call already had
// stays failed: the operations on a key take effect in order, or not at all.
func (f *flight) unknownScript() bool {
	found := false
	for _, c := range f.calls {
		found = found || lacksScript(c.err)
	}
	if !found {
		return false
	}
	ran := make(map[claim.Key]bool)
	for i := len(f.calls) - 1; i >= 0; i-- {
		c := f.calls[i]
		switch {
		case !lacksScript(c.err):
			for _, op := range c.ops {
				ran[op.Key] = true
			}
		case slices.ContainsFunc(c.ops, func(op *claim.Op) bool { return ran[op.Key] }):
			c.fate = errOvertaken
		default:
			if c.sends() == 1 {
				c.stamp.sends.Store(0) // it has certainly not happened
			}
			c.landed, c.err, c.fate = false, nil, nil
		}
	}
	return true
}

// met returns how many of the claims met a record, and how many there were.
func (f *flight) met() (met, claims int) {
	for _, op := range f.ops {
		if op.Kind == claim.OpTryClaim && op.Err == nil {
			claims++
			if v := &op.Verdict; v.Outcome != claim.Claimed || v.Grant.Attempt > 1 {
				met++
			}
		}
	}
	freshMet, fresh := f.fresh.met()
	return met + freshMet, claims + fresh
}
