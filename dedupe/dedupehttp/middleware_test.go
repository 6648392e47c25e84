package dedupehttp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
	"github.com/oncebus/once/testutil/faultstore"
)

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d) }

func TestReplayHasStatusEndToEndHeadersAndBody(t *testing.T) {
	body := "\x00\xff" + strings.Repeat("é", 5000)
	h := protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header().Set("Location", "/charges/1")
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Empty", "")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Connection", "close, X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("Keep-Alive", "timeout=5")
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("Late", "1")
		for chunk := range bytes.SplitAfterSeq([]byte(body), []byte("é")) {
			_, _ = w.Write(chunk)
		}
	}))
	first, second := send(h, request("k", "{}")), send(h, request("k", "{}"))
	expect(t, first, http.StatusAccepted, false)
	expect(t, second, http.StatusAccepted, true)
	for _, name := range []string{"Connection", "X-Hop", "Keep-Alive"} {
		if first.Header().Get(name) == "" || second.Header()[name] != nil {
			t.Errorf("%s is %q and then %q, want it at the first alone", name, first.Header().Get(name), second.Header()[name])
		}
		first.Result().Header.Del(name)
	}
	if first.Header().Get("Late") != "" || second.Header().Get("Late") != "" {
		t.Error("a header that was set too late went out")
	}
	if second.Body.String() != body || len(second.Header()["Set-Cookie"]) != 2 {
		t.Error("the replay is not what was answered")
	}
	for _, name := range []string{"Connection", "X-Hop", "Keep-Alive"} {
		first.Header().Del(name)
	}
	identical(t, first, second)
}

func TestReplayOfAnEmptyResponse(t *testing.T) {
	h := protect(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	first, second := send(h, request("k", "{}")), send(h, request("k", "{}"))
	expect(t, second, http.StatusOK, true)
	identical(t, first, second)
	if second.Header().Get("Idempotency-Omitted") != "" {
		t.Error("nothing was omitted")
	}
}

func TestHeadersOfOuterHandlersAreTheirs(t *testing.T) {
	inner := protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Add("Vary", "Accept")
		w.Header().Del("Server")
		w.Header().Set("Location", "/charges/1")
	}))
	n := 0
	outer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("X-Request-Id", strings.Repeat("x", n))
		w.Header().Set("Vary", "Origin")
		w.Header().Set("Server", "once")
		inner.ServeHTTP(w, r)
	})
	for want := range 2 {
		w := send(outer, request("k", "{}"))
		expect(t, w, http.StatusOK, want == 1)
		if w.Header().Get("X-Request-Id") != strings.Repeat("x", want+1) {
			t.Errorf("answer %d has the request id of another: %q", want+1, w.Header().Get("X-Request-Id"))
		}
		if strings.Join(w.Header()["Vary"], ",") != "Origin,Accept" || w.Header().Get("Server") != "" || w.Header().Get("Location") == "" {
			t.Errorf("answer %d has the header %v", want+1, w.Header())
		}
	}
}

func TestWhichStatusesAreFrozenAndWhichReleaseTheKey(t *testing.T) {
	for status, frozen := range map[int]bool{
		200: true, 201: true, 204: true, 301: true, 304: true, 400: true, 401: true, 403: true, 404: true, 410: true, 422: true,
		408: false, 409: false, 425: false, 429: false, 500: false, 502: false, 503: false, 504: false, 599: false,
	} {
		runs := 0
		h := protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			runs++
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		}))
		first, second := send(h, request("k", "{}")), send(h, request("k", "{}"))
		expect(t, first, status, false)
		expect(t, second, status, frozen)
		identical(t, first, second)
		if (runs == 1) != frozen {
			t.Errorf("after %d the handler ran %d times", status, runs)
		}
	}
}

func TestFreezeIsAPolicy(t *testing.T) {
	var c charges
	h := newMiddleware(t, newDeduper(t, newStore(t), nil), &c, func(o *dedupehttp.Options) {
		o.Freeze = func(status int) bool { return status != http.StatusCreated }
	})
	expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
	expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
}

// Backoff is for a bus: a client that comes again at once is let in.
func TestReleasedKeyMayBeUsedAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		status := http.StatusBadGateway
		h := newMiddleware(t, newDeduper(t, store, func(o *dedupe.Options) {
			o.Backoff = func(int) time.Duration { return time.Hour }
		}), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			status = http.StatusOK
		}), nil)
		expect(t, send(h, request("k", "{}")), http.StatusBadGateway, false)
		expect(t, send(h, request("k", "{}")), http.StatusOK, false)
		expect(t, send(h, request("k", "{}")), http.StatusOK, true)
	})
}

func TestPanicsReleaseTheKeyAndPropagate(t *testing.T) {
	for name, v := range map[string]any{"any value": "boom", "ErrAbortHandler": http.ErrAbortHandler, "a value that cannot be compared": []int{1}} {
		t.Run(name, func(t *testing.T) {
			throw := true
			d := newDeduper(t, newStore(t), nil)
			h := newMiddleware(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusCreated)
				if throw {
					panic(v)
				}
			}), nil)
			w := httptest.NewRecorder()
			func() {
				defer func() {
					if got := recover(); got == nil || name == "ErrAbortHandler" && got != http.ErrAbortHandler {
						t.Errorf("the panic is %v, want the handler's", got)
					}
				}()
				h.ServeHTTP(w, request("k", "{}"))
			}()
			if w.Code != http.StatusOK || w.Body.Len() > 0 {
				t.Errorf("something was answered before the panic: %d %s", w.Code, w.Body)
			}
			if panicked := d.Stats().Panicked == 1; panicked == (name == "ErrAbortHandler") {
				t.Errorf("counted as a panic: %v", panicked)
			}
			throw = false
			expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
			expect(t, send(h, request("k", "{}")), http.StatusCreated, true)
		})
	}
}

func TestGoexitReleasesTheKey(t *testing.T) {
	exit := true
	h := newMiddleware(t, newDeduper(t, newStore(t), func(o *dedupe.Options) {
		o.Backoff = func(int) time.Duration { return 0 }
	}), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if exit {
			runtime.Goexit()
		}
	}), nil)
	var gone sync.WaitGroup
	gone.Go(func() { send(h, request("k", "{}")) })
	gone.Wait()
	exit = false
	expect(t, send(h, request("k", "{}")), http.StatusOK, false)
	expect(t, send(h, request("k", "{}")), http.StatusOK, true)
}

func TestClientThatGoesAwayDoesNotUndoTheCommit(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		work := newBusy()
		h := newMiddleware(t, newDeduper(t, store, nil), work, nil)
		ctx, leave := context.WithCancel(t.Context())
		first := sendAsync(h, request("k", "{}").WithContext(ctx))
		handler := <-work.started
		leave()
		<-handler.Done()
		work.end <- answerWith(http.StatusCreated, "charged")
		expect(t, <-first, http.StatusCreated, false)
		again := send(h, request("k", "{}"))
		expect(t, again, http.StatusCreated, true)
		if again.Body.String() != "charged" {
			t.Error(again.Body)
		}
	})
}

func TestDetachedHandlerGoesOnWhenItsClientGoesAway(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		d := newDeduper(t, store, func(o *dedupe.Options) { o.MaxRun = time.Minute })
		work := newBusy()
		h := newMiddleware(t, d, work, func(o *dedupehttp.Options) { o.Detach = true })
		ctx, leave := context.WithCancel(t.Context())
		first := sendAsync(h, request("k", "{}").WithContext(ctx))
		handler := <-work.started
		leave()
		pass(lease)
		if handler.Err() != nil {
			t.Error("the handler's context ended with the client's")
		}
		<-handler.Done()
		if !errors.Is(context.Cause(handler), dedupe.ErrMaxRun) {
			t.Errorf("the handler's context ended because of %v", context.Cause(handler))
		}
		work.end <- answerWith(http.StatusCreated, "charged")
		<-first
		expect(t, send(h, request("k", "{}")), http.StatusCreated, true)
	})
}

// What net/http would take for a 200, and what many handlers make of a context that
// has ended.
func TestHandlerThatGivesUpBecauseItsContextEndedReleasesTheKey(t *testing.T) {
	for name, end := range map[string]http.HandlerFunc{
		"without a word":            func(http.ResponseWriter, *http.Request) {},
		"with 499":                  answerWith(499, "client closed request"),
		"with a header and no word": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Location", "/nowhere") },
	} {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, store *memstore.Store) {
				work := newBusy()
				h := newMiddleware(t, newDeduper(t, store, nil), work, nil)
				ctx, leave := context.WithCancel(t.Context())
				first := sendAsync(h, request("k", "{}").WithContext(ctx))
				<-work.started
				leave()
				work.end <- end
				if w := <-first; w.Code < 499 || w.Header().Get("Location") != "" {
					t.Errorf("answered %d %v", w.Code, w.Header())
				}
				second := sendAsync(h, request("k", "{}"))
				<-work.started
				work.end <- answerWith(http.StatusCreated, "charged")
				expect(t, <-second, http.StatusCreated, false)
			})
		})
	}
}

func TestHandlerThatRunsTooLongIsToldAndItsClientToo(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		d := newDeduper(t, store, func(o *dedupe.Options) { o.MaxRun = time.Minute })
		h := newMiddleware(t, d, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }), nil)
		expectProblem(t, send(h, request("k", "{}")), http.StatusServiceUnavailable, "unavailable")
	})
}

func TestStoreThatIsDown(t *testing.T) {
	t.Run("fails closed with 503 and Retry-After", func(t *testing.T) {
		virtual(t, func(t *testing.T, store *memstore.Store) {
			down := faultstore.New(store)
			down.On(faultstore.Any, faultstore.Fail, faultstore.Always)
			var c charges
			h := newMiddleware(t, newDeduper(t, down, nil), &c, nil)
			w := send(h, request("k", "{}"))
			expectProblem(t, w, http.StatusServiceUnavailable, "unavailable")
			if after := w.Header().Get("Retry-After"); after != "1" && after != "2" {
				t.Errorf("Retry-After is %q, want the pause of the circuit, of a second and some jitter", after)
			}
			if c.runs.Load() != 0 {
				t.Error("the handler ran")
			}
			down.Reset()
			expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
		})
	})
	t.Run("fails open by the Deduper's policy", func(t *testing.T) {
		virtual(t, func(t *testing.T, store *memstore.Store) {
			down := faultstore.New(store)
			down.On(faultstore.Any, faultstore.Fail, faultstore.Always)
			h := newMiddleware(t, newDeduper(t, down, func(o *dedupe.Options) { o.StoreDown = dedupe.FailOpen }), &charges{}, nil)
			expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
		})
	})
}

// The handler has succeeded: its answer ends the client's tries, and a copy that
// comes all the same finds the work remembered.
func TestUnknownCommitIsAnsweredAsTheHandlerDid(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		cut := faultstore.New(store)
		cut.On(claim.OpMarkDone, faultstore.Fail, faultstore.Always)
		d := newDeduper(t, cut, nil)
		var c charges
		h := newMiddleware(t, d, &c, nil)
		first := send(h, request("k", "{}"))
		expect(t, first, http.StatusCreated, false)
		if d.Stats().UnknownCommits != 1 {
			t.Error("the commit was not unknown")
		}
		cut.Reset()
		second := send(h, request("k", "{}"))
		expect(t, second, http.StatusCreated, true)
		identical(t, first, second)
		if c.runs.Load() != 1 {
			t.Error("it ran again")
		}
	})
}

func TestLateAnswerOfAnOwnerThatLostTheKeyIsNotGiven(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		cut := faultstore.New(store)
		cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
		work := newBusy()
		a := newMiddleware(t, newDeduper(t, cut, nil), work, nil)
		b := newMiddleware(t, newDeduper(t, store, nil), answerWith(http.StatusCreated, "by B"), nil)
		late := sendAsync(a, request("k", "{}"))
		ctx := <-work.started
		<-ctx.Done() // the lease is lost
		pass(lease)
		expect(t, send(b, request("k", "{}")), http.StatusCreated, false)
		work.end <- func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/by/a")
			_, _ = io.WriteString(w, "by A")
		}
		w := <-late
		expectProblem(t, w, http.StatusConflict, "superseded")
		if w.Header().Get("Location") != "" || w.Header().Get("Retry-After") == "" {
			t.Errorf("its header is %v", w.Header())
		}
		again := send(a, request("k", "{}"))
		expect(t, again, http.StatusCreated, true)
		if again.Body.String() != "by B" {
			t.Error(again.Body)
		}
	})
}

// It is too late for another answer, and half of two would be worse.
func TestStreamOfAnOwnerThatLostTheKeyIsLeftAlone(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		cut := faultstore.New(store)
		cut.On(claim.OpExtend, faultstore.Fail, faultstore.Always)
		work := newBusy()
		a := newMiddleware(t, newDeduper(t, cut, nil), work, nil)
		b := newMiddleware(t, newDeduper(t, store, nil), answerWith(http.StatusCreated, "by B"), nil)
		late := sendAsync(a, request("k", "{}"))
		<-work.started
		pass(2 * lease)
		expect(t, send(b, request("k", "{}")), http.StatusCreated, false)
		work.end <- func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "by A")
			w.(http.Flusher).Flush()
		}
		if w := <-late; w.Code != http.StatusOK || w.Body.String() != "by A" {
			t.Errorf("answered %d %s", w.Code, w.Body)
		}
	})
}

func TestOwnerThatDiedIsTakenOverAfterItsLease(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		key, err := claim.NewKey("acme", "payments", "k")
		if err != nil {
			t.Fatal(err)
		}
		dead := claim.Request{Token: claim.NewToken(), TTL: lease, Retention: time.Hour}
		if v, err := store.TryClaim(t.Context(), key, dead); err != nil || v.Outcome != claim.Claimed {
			t.Fatal(v, err)
		}
		var fence atomic.Uint64
		h := newMiddleware(t, newDeduper(t, store, nil), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fence.Store(dedupe.FenceFrom(r.Context()))
			if dedupe.AttemptFrom(r.Context()) != 2 || dedupe.ChildKey(r.Context(), "charge") == "" {
				t.Error("the handler does not know its attempt")
			}
		}), nil)
		w := send(h, request("k", "{}"))
		expectProblem(t, w, http.StatusConflict, "in-progress")
		pass(lease)
		expect(t, send(h, request("k", "{}")), http.StatusOK, false)
		if fence.Load() == 0 {
			t.Error("there is no fence")
		}
	})
}

func TestDeadAndParkedKeysAreConflictsWithoutRetryAfter(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		d := newDeduper(t, store, func(o *dedupe.Options) { o.MaxAttempts = 1; o.Takeover = claim.Park })
		h := newMiddleware(t, d, answerWith(http.StatusInternalServerError, "broken"), nil)
		first := send(h, request("k", "{}"))
		expect(t, first, http.StatusInternalServerError, false)
		if first.Body.String() != "broken" {
			t.Error("the last attempt's answer is not the handler's")
		}
		w := send(h, request("k", "{}"))
		expectProblem(t, w, http.StatusConflict, "given-up")
		if w.Header().Get("Retry-After") != "" {
			t.Error("it asks for another try")
		}

		key, err := claim.NewKey("acme", "payments", "parked")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.TryClaim(t.Context(), key, claim.Request{Token: claim.NewToken(), TTL: lease, Retention: time.Hour}); err != nil {
			t.Fatal(err)
		}
		pass(lease)
		w = send(h, request("parked", "{}"))
		expectProblem(t, w, http.StatusConflict, "parked")
		if w.Header().Get("Retry-After") != "" {
			t.Error("it asks for another try")
		}
	})
}

func TestDuplicateWaitsForTheFirstWhenAsked(t *testing.T) {
	for _, c := range []struct {
		name      string
		processes int
		localWait time.Duration
	}{{"in this process", 1, lease}, {"in this process, by asking", 1, dedupe.Off}, {"in another process", 2, dedupe.Off}} {
		t.Run(c.name, func(t *testing.T) {
			virtual(t, func(t *testing.T, store *memstore.Store) {
				work := newBusy()
				var h [2]http.Handler
				for i := range c.processes {
					d := newDeduper(t, store, func(o *dedupe.Options) { o.LocalWait = c.localWait })
					h[i] = newMiddleware(t, d, work, func(o *dedupehttp.Options) { o.Wait = time.Minute })
				}
				first := sendAsync(h[0], request("k", "{}"))
				<-work.started
				second := sendAsync(h[c.processes-1], request("k", "{}"))
				synctest.Wait()
				pass(3 * lease) // which the first keeps
				work.end <- answerWith(http.StatusOK, "done")
				a, b := <-first, <-second
				expect(t, a, http.StatusOK, false)
				expect(t, b, http.StatusOK, true)
				identical(t, a, b)
			})
		})
	}
}

func TestDuplicateThatWaitedLongEnoughIsAConflict(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		work := newBusy()
		h := newMiddleware(t, newDeduper(t, store, nil), work, func(o *dedupehttp.Options) { o.Wait = 3 * time.Second })
		first := sendAsync(h, request("k", "{}"))
		<-work.started
		begun := time.Now()
		expectProblem(t, send(h, request("k", "{}")), http.StatusConflict, "in-progress")
		if waited := time.Since(begun); waited != 3*time.Second {
			t.Errorf("it waited for %v, want 3 s", waited)
		}
		work.end <- answerWith(http.StatusOK, "done")
		<-first
	})
}

func TestDuplicateThatWaitsRunsWhenTheFirstFails(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		work := newBusy()
		h := newMiddleware(t, newDeduper(t, store, nil), work, func(o *dedupehttp.Options) { o.Wait = time.Minute })
		first := sendAsync(h, request("k", "{}"))
		<-work.started
		second := sendAsync(h, request("k", "{}"))
		synctest.Wait()
		work.end <- answerWith(http.StatusInternalServerError, "broken")
		expect(t, <-first, http.StatusInternalServerError, false)
		<-work.started
		work.end <- answerWith(http.StatusOK, "done")
		expect(t, <-second, http.StatusOK, false)
	})
}

func TestRequestOverTheLimitIs413(t *testing.T) {
	var c charges
	h := newMiddleware(t, newDeduper(t, newStore(t), nil), &c, func(o *dedupehttp.Options) { o.MaxRequest = 10 })
	r := request("k", "12345678901")
	r.Body = io.NopCloser(iotest.ErrReader(errors.New("read all the same")))
	expectProblem(t, send(h, r), http.StatusRequestEntityTooLarge, "body-too-large")
	r = request("k", "12345678901")
	r.ContentLength = -1 // chunked
	expectProblem(t, send(h, r), http.StatusRequestEntityTooLarge, "body-too-large")
	if c.runs.Load() != 0 {
		t.Error("the handler ran")
	}
	expect(t, send(h, request("k", "1234567890")), http.StatusCreated, false)
}

func TestRequestThatBreaksOffIsNotRun(t *testing.T) {
	var c charges
	h := protect(t, &c)
	r := request("k", "")
	r.Body = io.NopCloser(io.MultiReader(strings.NewReader("{"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	expectProblem(t, send(h, r), http.StatusBadRequest, "body-unreadable")
	if c.runs.Load() != 0 {
		t.Error("the handler ran")
	}
	expect(t, send(h, request("k", "{}")), http.StatusCreated, false) // the key is free
}

// Its fingerprint would be that of nothing, and every form the same.
func TestFormThatWasReadBeforeIsNotTakenForEmpty(t *testing.T) {
	var c charges
	h := protect(t, &c)
	r := request("k", "cents=1")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if r.FormValue("cents") != "1" {
		t.Fatal("the form is not read")
	}
	expectProblem(t, send(h, r), http.StatusInternalServerError, "misconfigured")

	inner := protect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.FormValue("cents")) }))
	r = request("k", "cents=1")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if w := send(inner, r); w.Body.String() != "1" || c.runs.Load() != 0 {
		t.Errorf("the handler reads %q", w.Body)
	}
}

func TestHandlerReadsTheWholeBody(t *testing.T) {
	h := protect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "the body" {
			t.Errorf("the handler reads %q, %v", body, err)
		}
	}))
	expect(t, send(h, request("k", "the body")), http.StatusOK, false)
}

func TestRequestWithoutAPrincipalIsRefused(t *testing.T) {
	var c charges
	d := newDeduper(t, newStore(t), nil)
	for name, principal := range map[string]func(*http.Request) (string, error){
		"an error": func(*http.Request) (string, error) { return "acme", errors.New("expired") },
		"nothing":  func(*http.Request) (string, error) { return "", nil },
	} {
		h := newMiddleware(t, d, &c, func(o *dedupehttp.Options) { o.Principal = principal })
		w := send(h, request("k", "{}"))
		expectProblem(t, w, http.StatusForbidden, "principal-unknown")
		if strings.Contains(w.Body.String(), "expired") {
			t.Errorf("%s: the client is told why", name)
		}
	}
	h := newMiddleware(t, d, &c, func(o *dedupehttp.Options) {
		o.Principal = func(*http.Request) (string, error) { return strings.Repeat("p", 256), nil }
	})
	expectProblem(t, send(h, request("k", "{}")), http.StatusInternalServerError, "misconfigured")
	if c.runs.Load() != 0 {
		t.Error("the handler ran")
	}
}

func TestMiddlewareInsideOfAnotherDoesNotWaitForIt(t *testing.T) {
	d := newDeduper(t, newStore(t), nil)
	var c charges
	h := newMiddleware(t, d, newMiddleware(t, d, &c, nil), func(o *dedupehttp.Options) { o.Optional = true })
	expectProblem(t, send(h, request("", "{}")), http.StatusBadRequest, "key-missing")
	for _, replayed := range []bool{false, true} {
		expect(t, send(h, request("k", "{}")), http.StatusCreated, replayed)
	}

	// A request that a handler makes of its own has a key of its own.
	inner := newMiddleware(t, d, &c, nil)
	batch := newMiddleware(t, d, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 2 {
			sub := send(inner, request("sub", "{}").WithContext(r.Context()))
			_, _ = io.WriteString(w, sub.Header().Get("Idempotency-Replayed")+";")
		}
	}), nil)
	if w := send(batch, request("batch", "{}")); w.Body.String() != ";true;" || c.runs.Load() != 2 {
		t.Errorf("the requests of a batch are replayed %q, after %d runs in all", w.Body, c.runs.Load())
	}
}

func TestObserveOnlyRunsEverything(t *testing.T) {
	var c charges
	d := newDeduper(t, newStore(t), func(o *dedupe.Options) { o.ObserveOnly = true })
	h := newMiddleware(t, d, &c, nil)
	for range 2 {
		expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
	}
	if c.runs.Load() != 2 || d.Stats().Duplicates != 1 {
		t.Errorf("%d runs, %+v", c.runs.Load(), d.Stats())
	}
}

func TestClosedDeduperIsUnavailable(t *testing.T) {
	d := newDeduper(t, newStore(t), nil)
	h := newMiddleware(t, d, &charges{}, nil)
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	w := send(h, request("k", "{}"))
	expectProblem(t, w, http.StatusServiceUnavailable, "unavailable")
	if w.Header().Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
}

func TestResultThatAnotherProgramRecordedIsReplayedAsOmitted(t *testing.T) {
	d := newDeduper(t, newStore(t), nil)
	_, err := d.Do(t.Context(), dedupe.Identity{Namespace: "acme", ID: "k"}, func(context.Context) ([]byte, error) { return nil, nil })
	if err != nil {
		t.Fatal(err)
	}
	w := send(newMiddleware(t, d, &charges{}, nil), request("k", "{}"))
	expect(t, w, http.StatusOK, true)
	if got := w.Header().Get("Idempotency-Omitted"); got != "header, body" {
		t.Errorf("Idempotency-Omitted is %q", got)
	}
}

func TestNewNamesTheOptionThatDoesNotFit(t *testing.T) {
	store := newStore(t)
	d := newDeduper(t, store, nil)
	for _, c := range []struct {
		want string
		d    *dedupe.Deduper
		set  func(o *dedupehttp.Options)
	}{
		{"Options.Principal", d, func(o *dedupehttp.Options) { o.Principal = nil }},
		{"Options.Methods", d, func(o *dedupehttp.Options) { o.Methods = []string{""} }},
		{"Options.MaxKey", d, func(o *dedupehttp.Options) { o.MaxKey = -1 }},
		{"Options.MaxKey", d, func(o *dedupehttp.Options) { o.MaxKey = 4097 }},
		{"Options.MaxRequest", d, func(o *dedupehttp.Options) { o.MaxRequest = -1 }},
		{"Options.Wait", d, func(o *dedupehttp.Options) { o.Wait = -1 }},
		{"Deduper's Namespace", newDeduper(t, store, func(o *dedupe.Options) { o.Namespace = "staging" }), nil},
		{"Deduper's MaxResult", newDeduper(t, store, func(o *dedupe.Options) { o.MaxResult = dedupe.Off }), nil},
		{"Deduper's MaxResult", newDeduper(t, store, func(o *dedupe.Options) { o.MaxResult = 100 }), nil},
		{"the Deduper is nil", nil, nil},
	} {
		o := &dedupehttp.Options{Principal: tenant}
		if c.set != nil {
			c.set(o)
		}
		if wrap, err := dedupehttp.New(c.d, o); wrap != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: New returned %v, want an error that names the option", c.want, err)
		}
	}
	if _, err := dedupehttp.New(d, nil); err == nil {
		t.Error("New without a principal succeeds")
	}
}
