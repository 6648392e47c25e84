package sequences

import (
	"pgregory.net/rapid"

	"github.com/oncebus/once/claim"
)

// The tables below are drawn from evenly; what stands in one more often happens
// more often. Shrinking prefers what stands first.
var (
	operations = []verb{
		claim.OpTryClaim, claim.OpTryClaim, claim.OpTryClaim, claim.OpTryClaim, claim.OpTryClaim, claim.OpTryClaim,
		claim.OpRelease, claim.OpRelease, claim.OpRelease,
		claim.OpMarkDone, claim.OpMarkDone,
		claim.OpExtend, claim.OpExtend,
		claim.OpMarkDead,
		claim.OpForget,
		claim.OpRevive,
		verbAgain, verbAgain, verbAgain, verbAgain,
	}
	drawOperation = rapid.SampledFrom(operations)
	drawVerb      = rapid.SampledFrom(append(operations, verbAdvance, verbAdvance, verbAdvance, verbAdvance, verbAdvance))

	drawKey   = rapid.SampledFrom([]byte{'a', 'a', 'a', 'b', 'c'})
	drawToken = rapid.IntRange(1, 3)
	// Mostly the right fence: an operation that fails early tests little.
	drawFence = rapid.SampledFrom([]fence{
		fenceOwn, fenceOwn, fenceOwn, fenceOwn, fenceOwn, fenceOwn, fenceOwn, fenceOwn, fenceOwn, fenceOwn,
		fenceNext, fencePrev, fenceZero, fenceCurrent, fenceCurrent,
	})
	drawSeen  = rapid.SampledFrom([]claim.State{0, 0, 0, 0, claim.StatePending, claim.StateReleased, claim.StateDone, claim.StateDead})
	drawPrint = rapid.SampledFrom([]byte{0, 0, 'A', 'A', 'A', 'B'})
	drawMax   = rapid.SampledFrom([]int{0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, -1})
	drawBack  = rapid.IntRange(1, 12)

	// Leases, delays, retentions and steps of the clock come from small tables, so
	// that they often meet: a lease is looked at a millisecond before its end, at
	// its end and a millisecond after it. A length of nothing is refused but as a
	// delay.
	drawTTL     = drawSpan("1u", "1u", "1u", "1u", "1u", "1u", "2u", "2u", "2u", "2u", "3u", "3u", "1ms", "1u+1ms", "1u-1ms", "0")
	drawKeep    = drawSpan("3u", "3u", "3u", "3u", "3u", "3u", "2u", "2u", "1u", "1u", "10u", "10u", "100u", "1u-1ms", "3u+1ms", "0")
	drawDelay   = drawSpan("0", "0", "0", "1u", "1u", "2u", "1u-1ms", "10u")
	drawAdvance = drawSpan("1u", "1u", "1u", "1u-1ms", "1ms", "2u", "3u", "10u", "1000u")

	drawResult = rapid.SampledFrom([]phrase{{}, {}, {"r", 1}, {"another result", 1}, {"", 1}, {"\x00\r\n\xff", 1}, {"long ", 1000}})
	drawReason = rapid.SampledFrom([]phrase{{"broken", 1}, {"", 1}, {"\xff\x00\r\n", 1}, {"é", claim.MaxReasonBytes}})
)

func drawSpan(texts ...string) *rapid.Generator[span] {
	spans := make([]span, len(texts))
	for i, text := range texts {
		var err error
		if spans[i], err = parseSpan(text); err != nil {
			panic(err)
		}
	}
	return rapid.SampledFrom(spans)
}

// oneIn is true once in n times, and never after shrinking if that will do.
func oneIn(t *rapid.T, n int, label string) bool { return rapid.IntRange(0, n-1).Draw(t, label) == n-1 }

// drawSteps draws a step and those that are in one batch with it, mostly none.
// They know nothing of the steps before them.
var drawSteps = rapid.Custom(func(t *rapid.T) sequence {
	q := sequence{drawStep(t, drawVerb)}
	for q[0].verb != verbAdvance && oneIn(t, 4, "more") {
		s := drawStep(t, drawOperation)
		s.joined = true
		q = append(q, s)
	}
	return q
})

func drawStep(t *rapid.T, verbs *rapid.Generator[verb]) step {
	s := step{verb: verbs.Draw(t, "verb")}
	switch s.verb {
	case verbAdvance:
		s.ttl = drawAdvance.Draw(t, "by")
		return s
	case verbAgain:
		s.back = drawBack.Draw(t, "back")
		return s
	}
	s.key = drawKey.Draw(t, "key")
	switch s.verb {
	case claim.OpForget, claim.OpRevive:
		s.fence, s.seen = drawFence.Draw(t, "fence"), drawSeen.Draw(t, "seen")
		return s
	case claim.OpTryClaim:
		s.token = drawToken.Draw(t, "token")
		s.ttl, s.keep = drawTTL.Draw(t, "ttl"), drawKeep.Draw(t, "keep")
		s.print, s.attempts = drawPrint.Draw(t, "print"), drawMax.Draw(t, "max")
		s.park = oneIn(t, 4, "park")
		return s
	}
	s.token = drawToken.Draw(t, "token")
	s.fence = drawFence.Draw(t, "fence")
	switch s.verb {
	case claim.OpExtend:
		s.ttl = drawTTL.Draw(t, "ttl")
	case claim.OpMarkDone:
		s.keep, s.print = drawKeep.Draw(t, "keep"), drawPrint.Draw(t, "print")
		s.result = drawResult.Draw(t, "result")
		s.omitted = s.result == phrase{} && oneIn(t, 4, "omitted")
	case claim.OpMarkDead:
		s.reason = drawReason.Draw(t, "reason")
	case claim.OpRelease:
		s.ttl = drawDelay.Draw(t, "delay")
	}
	return s
}
