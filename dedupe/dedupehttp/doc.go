// Package dedupehttp makes HTTP requests take effect once although clients and
// webhook senders repeat them. It is the door of package dedupe for net/http.
//
// [New] returns a middleware for APIs whose clients send an Idempotency-Key, after
// the IETF draft draft-ietf-httpapi-idempotency-key-header:
//
//	once, err := dedupe.New(store, &dedupe.Options{Consumer: "payments"})
//	...
//	idempotent, err := dedupehttp.New(once, &dedupehttp.Options{Principal: account})
//	...
//	mux.Handle("POST /charges", idempotent(charges))
//
// [NewWebhook] returns a middleware for the receiver of webhooks, which are known
// by the id that the sender gave them, after their signature was verified:
//
//	hook, err := dedupehttp.NewWebhook(once, dedupehttp.Stripe{Secrets: []string{secret}}, nil)
//	...
//	mux.Handle("POST /hooks/stripe", hook(events))
//
// Both are func(http.Handler) http.Handler, and stand on [dedupe.Deduper.Do]: the
// key is claimed in a store that all processes share, its lease is kept while the
// handler runs, and what the handler answered is recorded, or the key is given
// back. The handler finds fence, attempt and child keys in its context.
//
// # What a request with a key is answered
//
//	the key is              the answer is
//	unknown, or given back  the handler's
//	at work                 409 with Retry-After, the lease that remains; or, with
//	                        Options.Wait, what the first request is answered
//	done                    the response that was recorded, status, headers and body,
//	                        with Idempotency-Replayed: true
//	known with another      422
//	request
//	dead or parked          409 without Retry-After
//	in a store that does    503 with Retry-After; or the handler's, unprotected, if
//	not answer              the Deduper's StoreDown is FailOpen
//
// A request without a key is answered 400 where one is required, as is a key that
// cannot be read; a body over Options.MaxRequest 413. All errors are problem
// documents (RFC 9457), whose member code is one of the words in docs/http.md.
//
// # Which responses end an operation
//
// Options.Freeze decides by the status: the response of a final one is recorded and
// replayed, any other gives the key back, so that the next request runs the
// handler again. By default 2xx, 3xx and 4xx are final, except for 408, 409, 425
// and 429, and 5xx are not. A handler that panics gives the key back, and the panic
// goes on. So does one that returns after its context has ended with an error, or
// without an answer, which net/http would take for a 200.
//
// # How responses are kept
//
// The response is held back until it is recorded, so that no client hears of
// success before the store has. One that is larger than the Deduper's
// Options.MaxResult, or is flushed or hijacked, goes out as it is written; it is
// recorded without its body, and its replay says so: it has the status and the
// headers that do not describe the body, and Idempotency-Omitted: body.
//
// Headers that stood in the response before the middleware was called belong to
// the handlers around it, which set them at each replay again; they are not kept.
//
// A client that goes away undoes nothing: its handler's context ends, as always in
// net/http and unless Options.Detach is set, and a success is recorded all the same.
//
// # Whom to trust
//
// Whoever can name a key can suppress another's request, and read the response to
// it. So keys live in the namespace of a principal that has been verified before,
// and the ids of webhooks count only with a valid signature.
package dedupehttp
