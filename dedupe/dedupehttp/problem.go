package dedupehttp

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
)

// problem is why a request is refused, as RFC 9457 has it.
type problem struct {
	Type   string `json:"type,omitempty"` // about:blank where there is none
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Code tells problems of one status apart, for programs.
	Code string `json:"code"`

	retryAfter time.Duration // zero: it is not said
}

var (
	keyMissing  = problem{Status: 400, Code: "key-missing", Detail: "The request needs an Idempotency-Key."}
	unreadable  = problem{Status: 400, Code: "body-unreadable", Detail: "The body of the request could not be read."}
	idUnusable  = problem{Status: 400, Code: "id-unusable", Detail: "The delivery has no usable id."}
	noPrincipal = problem{Status: 403, Code: "principal-unknown", Detail: "It is not known whose request this is."}
	notSigned   = problem{Status: 403, Code: "signature-invalid", Detail: "The signature of the delivery is missing, wrong, or of another time."}
	inProgress  = problem{Status: 409, Code: "in-progress", Detail: "A request with this key is being worked on; try again later with the same key."}
	superseded  = problem{Status: 409, Code: "superseded", retryAfter: time.Second,
		Detail: "Another request with this key took over; its answer counts. Try again with the same key to get it."}
	givenUp = problem{Status: 409, Code: "given-up", Detail: "The operation with this key was given up; it will not be tried again."}
	parked  = problem{Status: 409, Code: "parked",
		Detail: "It is not known whether the operation with this key took effect; somebody has to look at it."}
	tooLarge      = problem{Status: 413, Code: "body-too-large", Detail: "The body of the request is too large."}
	keyReused     = problem{Status: 422, Code: "key-reused", Detail: "This key came with another request before."}
	misconfigured = problem{Status: 500, Code: "misconfigured", Detail: "The request cannot be protected from being repeated."}
	unavailable   = problem{Status: 503, Code: "unavailable", retryAfter: time.Second,
		Detail: "The request was not carried out to its end; try again later with the same key."}
)

// problemOf returns what to tell of an error of Deduper.Do.
func problemOf(err error) problem {
	p := unavailable
	var pending *dedupe.PendingError
	switch {
	case errors.As(err, &pending):
		p = inProgress
		p.retryAfter = max(pending.Remaining, 1)
	case errors.Is(err, dedupe.ErrMismatch):
		return keyReused
	case errors.Is(err, dedupe.ErrDead):
		return givenUp
	case errors.Is(err, dedupe.ErrParked):
		return parked
	default:
		p.retryAfter = max(p.retryAfter, bus.SettlementOf(err).Delay)
	}
	return p
}

// refuse answers a request with a problem.
func (d *door) refuse(w http.ResponseWriter, p problem) {
	p.Title = http.StatusText(p.Status)
	if d.problems != "" {
		p.Type = d.problems + p.Code
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic(err) // a struct of strings and numbers: cannot fail
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((p.retryAfter+time.Second-1)/time.Second), 10))
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // a client that has gone away needs no answer
}
