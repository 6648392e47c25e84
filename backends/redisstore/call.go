package redisstore

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// blob is an argument of a command. go-redis writes it without a copy, and
// prints it, in traces and errors, as its length: ids and tokens are in there.
type blob struct{ b []byte }

// MarshalBinary returns the bytes.
func (a *blob) MarshalBinary() ([]byte, error) { return a.b, nil }

// Format prints the length for every verb.
func (a *blob) Format(f fmt.State, _ rune) {
	_, _ = f.Write([]byte("(" + strconv.Itoa(len(a.b)) + " bytes)"))
}

// stamp is the argument of a command that ties its reply to it, and that
// counts: go-redis asks for the bytes whenever it hands the command to a
// connection, the first time and each time that it sends the command again. A
// command whose stamp was never asked for cannot have happened, whatever the
// error; one that was refused by a reply cannot have happened if it was handed
// over once. The client's settings would tell less: with the default
// MaxRetries no refusal could be trusted, and a cluster client has no setting.
type stamp struct {
	nonce [8]byte
	sends atomic.Int64
}

// abandoned is the count of a stamp that hands out no more bytes. It is far
// enough below zero to stay there.
const abandoned = -1 << 62

// MarshalBinary counts and returns the nonce. After abandon it fails, so that
// go-redis drops the connection and what it has not yet sent of the command.
func (s *stamp) MarshalBinary() ([]byte, error) {
	if s.sends.Add(1) < 0 {
		return nil, errAbandoned
	}
	return s.nonce[:], nil
}

// Format prints a placeholder for every verb.
func (s *stamp) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("(nonce)")) }

// abandon stops all further sends and returns how many there were.
func (s *stamp) abandon() int { return int(s.sends.Swap(abandoned)) }

// call is one script call that carries operations.
type call struct {
	ops   []*claim.Op
	stamp stamp
	key   string // the first key, where go-redis routes by it
	heads []blob // of the runs; they share one array of bytes
	bits  chunks // of the places
	args  []any
	cmd   *redis.StringCmd
	run   *script
	wait  *redis.IntCmd // the WAIT behind it, where there is one

	// landed says that the call has ended: with a reply, or with err, which fate
	// is what the operations are told of.
	landed    bool
	err, fate error
}

// head makes the heads of the call's runs.
func (c *call) head(again again) {
	runs := 1
	for i := 1; i < len(c.ops); i++ {
		if !sameTerms(c.ops[i-1], c.ops[i]) {
			runs++
		}
	}
	var bytes []byte
	if cap(c.heads) > 0 {
		bytes = c.heads[:1][0].b[:0]
	}
	// Enough at once: an array that grew would leave heads behind in the old one.
	bytes = slices.Grow(bytes, runs*headBytes+len(c.ops)*stampBytes)
	c.heads = slices.Grow(c.heads[:0], runs)
	for first, i := 0, 1; i <= len(c.ops); i++ {
		if i < len(c.ops) && sameTerms(c.ops[i-1], c.ops[i]) {
			continue
		}
		start := len(bytes)
		if again == anew {
			bytes = appendAnew(bytes, c.ops[first:i])
		} else {
			bytes = appendHead(bytes, c.ops[first:i])
		}
		c.heads = append(c.heads, blob{bytes[start:]})
		first = i
	}
}

// use makes s the script that the call runs: by its digest, or by its text.
func (c *call) use(s *script, text bool) {
	c.run = s
	c.args[0], c.args[1] = s.evalsha[0], s.evalsha[1]
	if text {
		c.args[0], c.args[1] = s.eval[0], s.eval[1]
	}
	c.cmd.SetErr(nil)
	c.cmd.SetVal("")
}

func (c *call) sends() int { return int(c.stamp.sends.Load()) }

// unsettled are operations that a call could not carry out.
type unsettled struct {
	// full were refused for want of memory, and end a claim.
	full []*claim.Op
	// asked are not doneScript's to carry out. With doubt, an earlier copy of their
	// call may have.
	asked []*claim.Op
	doubt again
}

// land sets the answers of the call's operations, but those that it adds to u.
func (c *call) land(u *unsettled) {
	full, asked := len(u.full), len(u.asked)
	if err := c.read(u); err != nil {
		failAll(c.ops, err)
		u.full, u.asked = u.full[:full], u.asked[:asked]
		return
	}
	if len(u.asked) > asked && c.sends() != 1 {
		u.doubt = doubtful
	}
	c.checkReplicas()
}

func (c *call) read(u *unsettled) error {
	if c.fate != nil {
		return c.fate
	}
	r := reply{rest: c.cmd.Val()}
	if !r.open(c.stamp.nonce[:]) {
		return errReply
	}
	for _, op := range c.ops {
		if c.run == doneScript && strings.HasPrefix(r.rest, "?") {
			r.rest = r.rest[1:]
			u.asked = append(u.asked, op)
			continue
		}
		refusal, ok := r.answer(op)
		if !ok {
			return errReply
		}
		if refusal == "" {
			continue
		}
		op.Fail(refusedWrite(refusal, c.sends()))
		if settles(op.Kind) && firstWord(refusal) == "OOM" {
			u.full = append(u.full, op)
		}
	}
	if r.rest != "" {
		return errReply
	}
	return nil
}

// settles reports whether an operation of kind k ends or keeps a claim.
func settles(k claim.OpKind) bool { return k != claim.OpTryClaim && k != claim.OpRevive }

func failAll(ops []*claim.Op, err error) {
	for _, op := range ops {
		op.Fail(err)
	}
}
