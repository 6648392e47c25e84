package claimtest

import "github.com/oncebus/once/claim"

var errorCases = []testCase{
	{
		name: "errors tell what failed and keep secrets",
		why:  "an error is a *claim.Error with one meaning; it names operation and consumer, and never the message id or a token",
		run: func(e *env) {
			// checkError looks at each of these, as at every error of the suite.
			key := e.keyOf("claimtest", "billing", "jane.doe@example.com/4711")
			g := absent.make(e, key)
			e.lost(e.extend(key, g, e.Unit))
			e.lost(e.dead(key, g, "jane.doe@example.com/4711"))
			held := e.claim(key, e.request())
			stranger := e.foreign(held)
			_, err := e.complete(key, stranger, claim.Completion{Result: []byte("jane.doe@example.com/4711")})
			e.lost(err)
			e.lost(e.release(key, stranger, 0))
			e.lost(e.dead(key, stranger, deadReason))
			req := e.request()
			req.TTL = -1
			op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
			e.do(&op)
			if op.Err == nil {
				e.Fatalf("TryClaim with a negative lease: no error")
			}
		},
	},
}
