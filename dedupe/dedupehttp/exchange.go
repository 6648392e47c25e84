package dedupehttp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/dedupe"
)

// The pauses of a request that waits for another.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 500 * time.Millisecond
)

// Why a key is given back.
var (
	errNotFinal = errors.New("dedupehttp: the status of the response is not final")
	errAborted  = errors.New("dedupehttp: the handler aborted the response")
)

// insideKey is the context key of the identity for which a handler runs.
type insideKey struct{ deduper *dedupe.Deduper }

// exchange is one request and its answer.
type exchange struct {
	*door
	w    http.ResponseWriter
	r    *http.Request
	next http.Handler
	body []byte // of the request
	id   dedupe.Identity

	rec    *recorder // set when the handler is called
	frozen bool      // the handler's response is final
	thrown any       // what the handler panicked with
}

// run answers the request by the handler, or by what the handler answered before.
func (e *exchange) run() {
	result, err := e.do()
	switch {
	case e.thrown != nil:
		panic(e.thrown)
	case e.rec != nil:
		e.answer(err)
	case err != nil:
		e.refuse(e.w, problemOf(err))
	default:
		e.replay(result)
	}
}

// do asks the Deduper, again and again while another request with the key runs and
// there is time.
func (e *exchange) do() (dedupe.Result, error) {
	ctx := e.r.Context()
	if e.detach {
		ctx = context.WithoutCancel(ctx)
	}
	until := time.Now().Add(e.wait)
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		result, err := e.deduper.Do(ctx, e.id, e.handle)
		if e.rec != nil || !errors.Is(err, dedupe.ErrPending) {
			return result, err
		}
		left := time.Until(until)
		if left <= 0 || !sleep(e.r.Context(), min(left, pause/2+rand.N(pause/2))) {
			return result, err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// handle is what the Deduper runs. An error gives the key back, at once: the
// client decides when it tries again.
func (e *exchange) handle(ctx context.Context) ([]byte, error) {
	e.rec = newRecorder(e.w, e.limit)
	if err := e.call(ctx); err != nil {
		return nil, bus.RetryAfter(err, 0)
	}
	// A handler whose context has ended may have failed for that alone.
	if ctx.Err() != nil && (e.rec.silent() || e.rec.status >= 400) {
		return nil, bus.RetryAfter(context.Cause(ctx), 0)
	}
	e.rec.end()
	if !e.rec.hijacked && !e.freeze(e.rec.status) {
		return nil, bus.RetryAfter(errNotFinal, 0)
	}
	e.frozen = true
	if !e.keeps {
		return nil, nil
	}
	return e.rec.stored(e.limit), nil
}

// call calls the handler and catches what it throws.
func (e *exchange) call(ctx context.Context) (err error) {
	returned := false
	defer func() {
		if returned {
			return
		}
		switch e.thrown = recover(); e.thrown {
		case nil: // runtime.Goexit, which goes on
		case http.ErrAbortHandler:
			err = errAborted
		default:
			err = &bus.PanicError{Value: e.thrown, Stack: debug.Stack()}
		}
	}()
	e.next.ServeHTTP(e.rec, e.request(context.WithValue(ctx, insideKey{e.deduper}, e.id)))
	returned = true
	return nil
}

// request returns the request as the handler gets it: its body has been read.
func (e *exchange) request(ctx context.Context) *http.Request {
	r := e.r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(e.body))
	return r
}

// answer sends what the handler answered, once it is recorded or cannot be. When
// the commit is unknown the client gets its answer all the same: it is true, and
// ends the tries.
func (e *exchange) answer(err error) {
	instead := unavailable
	switch {
	case e.rec.silent():
	case e.frozen && errors.Is(err, dedupe.ErrLeaseLost):
		// The key has, or will have, another answer, and may have only one.
		instead = superseded
	default:
		e.rec.goLive()
		return
	}
	if e.rec.discard() {
		e.refuse(e.w, instead)
	}
}

// replay sends a response that was recorded.
func (e *exchange) replay(result dedupe.Result) {
	h := e.w.Header()
	h.Set("Idempotency-Replayed", "true")
	if !e.keeps {
		return // 200
	}
	s := &stored{status: http.StatusOK, omitted: omitsBody | omitsHeader}
	if result.Bytes != nil {
		var err error
		if s, err = parseStored(result.Bytes); err != nil {
			h.Del("Idempotency-Replayed")
			e.logger.Error("dedupehttp: request not answered", "consumer", e.consumer, "error", err)
			e.refuse(e.w, unavailable)
			return
		}
	}
	for name, values := range s.header {
		h[name] = values
	}
	switch {
	case s.omitted&omitsHeader != 0:
		h.Set("Idempotency-Omitted", "header, body")
	case s.omitted != 0:
		h.Set("Idempotency-Omitted", "body")
	}
	e.w.WriteHeader(s.status)
	if len(s.body) > 0 {
		_, _ = e.w.Write(s.body) // a client that has gone away comes again
	}
}
