package claimtest

import (
	"strings"

	"github.com/oncebus/once/claim"
)

var deadCases = []testCase{
	{
		name: "reasons",
		why:  "a reason comes back to every later delivery, cut at its limit to valid UTF-8",
		run: func(e *env) {
			for _, reason := range []string{"", "x", "wörter, \"quotes\", {braces}\r\n\x00", "not \xff\xfe UTF-8",
				strings.Repeat("r", claim.MaxReasonBytes), strings.Repeat("r", 3*claim.MaxReasonBytes),
				strings.Repeat("r", claim.MaxReasonBytes-1) + "ö"} {
				key := e.key()
				e.fine(e.dead(key, e.claim(key, e.request()), reason))
				if v := e.answers(claim.Dead, key, e.request()); v.Reason != claim.CutReason(reason) || v.Attempt != 1 {
					e.Fatalf("dead at attempt %d with reason %q, want 1 and %q", v.Attempt, v.Reason, claim.CutReason(reason))
				}
			}
		},
	},
	{
		name: "the first reason stands",
		why:  "a repetition of MarkDead changes nothing, even with another reason",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.request())
			e.fine(e.dead(key, g, deadReason))
			e.unchanged(key, func() { e.fine(e.dead(key, g, "another")) })
			dead.check(e, key, g)
		},
	},
	{
		name: "late death",
		why:  "giving up counts after the lease too, when nobody took the key",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.shortRequest())
			e.endLease()
			e.fine(e.dead(key, g, deadReason))
			dead.check(e, key, g)
		},
	},
	{
		name: "death of the absent",
		why:  "a store that lost the claim records no death: the message runs again instead of being lost",
		run: func(e *env) {
			key := e.key()
			e.lost(e.dead(key, absent.make(e, key), deadReason))
			e.claimAttempt(1, key, e.request())
		},
	},
}
