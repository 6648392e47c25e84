package sequences

import (
	"cmp"

	"github.com/oncebus/once/claim"
)

// resolve turns a step into an operation with its bytes, as a client would that
// knows the answers so far. It returns nil for the copy of an operation that
// there was not.
func (p *player) resolve(s step) *claim.Op {
	if s.verb == verbAgain {
		i := len(p.played) - s.back
		if s.back < 1 || i < 0 {
			return nil
		}
		again := p.played[i]
		again.Verdict, again.Recovered, again.Err = claim.Verdict{}, false, nil
		return &again
	}
	h := p.held(s.key)
	op := &claim.Op{Kind: s.verb, Key: h.key}
	switch s.verb {
	case claim.OpTryClaim:
		op.Request = claim.Request{
			Token: token(s.token), TTL: s.ttl.on(p.Unit, p.real), Retention: s.keep.on(p.Unit, p.real),
			Fingerprint: fingerprint(s.print), MaxAttempts: s.attempts,
		}
		if s.park {
			op.Request.Takeover = claim.Park
		}
		return op
	case claim.OpForget, claim.OpRevive:
		op.Grant.Fence, op.Seen = h.fence(s.fence, h.record.Fence), cmp.Or(s.seen, h.record.State)
		return op
	case claim.OpExtend, claim.OpRelease:
		op.TTL = s.ttl.on(p.Unit, p.real)
	case claim.OpMarkDone:
		op.Completion = claim.Completion{Retention: s.keep.on(p.Unit, p.real), Omitted: s.omitted, Fingerprint: fingerprint(s.print)}
		if s.result != (phrase{}) {
			op.Completion.Result = s.result.bytes()
		}
	case claim.OpMarkDead:
		op.Reason = string(s.reason.bytes())
	}
	op.Grant = h.grant(token(s.token))
	op.Grant.Fence = h.fence(s.fence, op.Grant.Fence)
	return op
}

// grant returns the last grant of a token, or an invented one.
func (h *held) grant(t claim.Token) claim.Grant {
	if g, ok := h.grants[t]; ok {
		return g
	}
	return claim.Grant{Token: t, Fence: inventedFence, Attempt: 1}
}

// fence returns the fence that an operation shows. Own is the one that is its
// own.
func (h *held) fence(which fence, own uint64) uint64 {
	switch which {
	case fenceNext:
		return own + 1
	case fencePrev:
		return max(own, 1) - 1
	case fenceZero:
		return 0
	case fenceCurrent:
		return h.record.Fence
	}
	return own
}

// token returns the nth token, which is the same in all sequences: keys keep
// them apart.
func token(n int) claim.Token { return claim.Token{'t', byte(n >> 8), byte(n), 0, '\n', 0xff} }

func fingerprint(letter byte) (f claim.Fingerprint) {
	if letter != 0 {
		f = claim.Fingerprint{letter, 0, ' ', '\n', 0xff}
	}
	return f
}
