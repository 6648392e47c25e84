package claimtest

import (
	"bytes"

	"github.com/oncebus/once/claim"
)

// allBytes holds every byte once.
var allBytes = func() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}()

var doneCases = []testCase{
	{
		name: "results",
		why:  "a result comes back byte for byte to every later delivery; nil and empty come back empty",
		run: func(e *env) {
			for _, result := range [][]byte{nil, {}, {0}, []byte("0"), []byte("\r\n"), []byte("{}"), allBytes,
				bytes.Repeat(allBytes, 64), bytes.Repeat(allBytes, claim.MaxResultBytes/256)} {
				key := e.key()
				e.done(key, e.claim(key, e.request()), claim.Completion{Result: result})
				for range 2 {
					again := e.request()
					v := e.answers(claim.Done, key, again)
					e.sameResult(v, result)
					e.within("the retention that remains", v.Remaining, again.TTL+e.units(forever))
				}
			}
		},
	},
	{
		name: "results belong to the store",
		why:  "a caller may change the bytes that it gave or got, and no other delivery sees it",
		run: func(e *env) {
			key := e.key()
			result := []byte(keptResult)
			e.done(key, e.claim(key, e.request()), claim.Completion{Result: result})
			result[0] = 'X'
			for range 2 {
				v := e.answers(claim.Done, key, e.request())
				e.sameResult(v, []byte(keptResult))
				v.Result[0] = 'Y'
			}
			recoveredKey := e.key()
			result = []byte(keptResult)
			if _, err := e.complete(recoveredKey, absent.make(e, recoveredKey), claim.Completion{Result: result}); err != nil {
				e.Fatalf("%v", err)
			}
			result[0] = 'X'
			e.sameResult(e.answers(claim.Done, recoveredKey, e.request()), []byte(keptResult))
		},
	},
	{
		name: "oversized results",
		why:  "a result over the limit never fails a completion: the key is done and the result omitted",
		run: func(e *env) {
			tooLarge := make([]byte, claim.MaxResultBytes+1)
			for _, c := range []claim.Completion{{Result: tooLarge}, {Omitted: true}} {
				key := e.key()
				g := e.claim(key, e.request())
				for range 2 {
					e.done(key, g, c)
				}
				e.omitted(key)

				key = e.key()
				if rec, err := e.complete(key, absent.make(e, key), c); err != nil || !rec {
					e.Fatalf("MarkDone of an absent key: recovered %v, error %v", rec, err)
				}
				e.omitted(key)
			}
		},
	},
	{
		name: "the first completion stands",
		why:  "a repetition of MarkDone changes nothing, even with other arguments",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.request())
			e.done(key, g, claim.Completion{Result: []byte("first"), Retention: e.units(long)})
			e.unchanged(key, func() {
				e.done(key, g, claim.Completion{Result: []byte("second"), Omitted: true, Retention: e.units(forever)})
			})
			v := e.answers(claim.Done, key, e.request())
			e.sameResult(v, []byte("first"))
			e.within("the retention that remains", v.Remaining, e.units(long))
		},
	},
	{
		name: "late commit",
		why:  "work that took longer than its lease counts when nobody took the key",
		run: func(e *env) {
			key := e.key()
			g := e.claim(key, e.shortRequest())
			e.endLease()
			e.done(key, g, claim.Completion{Result: []byte(keptResult)})
			done.check(e, key, g)
		},
	},
	{
		name: "commit after a takeover",
		why:  "the stale owner's completion is refused, and the new owner's stands",
		run: func(e *env) {
			key := e.key()
			old := e.claim(key, e.shortRequest())
			e.endLease()
			g := e.claim(key, e.request())
			_, err := e.complete(key, old, claim.Completion{Result: []byte("stale")})
			e.lost(err)
			e.answers(claim.Pending, key, e.request())
			e.done(key, g, claim.Completion{Result: []byte("new")})
			_, err = e.complete(key, old, claim.Completion{Result: []byte("stale")})
			e.lost(err)
			e.sameResult(e.answers(claim.Done, key, e.request()), []byte("new"))
		},
	},
	{
		name: "recovered completion",
		why:  "a completion whose claim the store lost is kept and reported, each time that it is sent",
		run: func(e *env) {
			key := e.key()
			g := claim.Grant{Token: e.token(), Fence: 1_784_000_000_123_457, Attempt: 3}
			for range 3 {
				rec, err := e.complete(key, g, claim.Completion{Result: []byte(keptResult)})
				e.fine(err)
				if !rec {
					e.Fatalf("MarkDone of an absent key: not reported as recovered")
				}
			}
			recovered.check(e, key, g)
		},
	},
	{
		name: "recovery after the retention",
		why:  "a completion may come after the claim's record has ended",
		run: func(e *env) {
			key, req := e.key(), e.shortRequest()
			req.Retention = e.Unit
			g := e.claim(key, req)
			e.Advance(e.units(3))
			rec, err := e.complete(key, g, claim.Completion{Result: []byte(keptResult)})
			e.fine(err)
			if !rec {
				e.Fatalf("MarkDone of a forgotten key: not reported as recovered")
			}
			recovered.check(e, key, g)
		},
	},
}

func (e *env) omitted(key claim.Key) {
	e.Helper()
	if v := e.answers(claim.Done, key, e.request()); !v.Omitted || len(v.Result) != 0 {
		e.Fatalf("done with omitted %v and a result of %d bytes, want it omitted", v.Omitted, len(v.Result))
	}
}
