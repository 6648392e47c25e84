package dedupehttp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/dedupe/dedupehttp"
)

// draft are the rules of draft-ietf-httpapi-idempotency-key-header-07 for the
// server of a resource, by section.
var draft = []struct {
	section, rule string
	check         func(t *testing.T, d func(next http.Handler) http.Handler)
}{
	{"1", "POST and PATCH are made fault-tolerant", func(t *testing.T, protect func(http.Handler) http.Handler) {
		for _, method := range []string{http.MethodPost, http.MethodPatch} {
			var c charges
			h := protect(&c)
			r := func() *http.Request { r := request("k"+method, "{}"); r.Method = method; return r }
			expect(t, send(h, r()), http.StatusCreated, false)
			expect(t, send(h, r()), http.StatusCreated, true)
		}
	}},
	{"1", "methods that are idempotent already need no key", func(t *testing.T, protect func(http.Handler) http.Handler) {
		var c charges
		h := protect(&c)
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions} {
			r := request("", "")
			r.Method = method
			expect(t, send(h, r), http.StatusCreated, false)
		}
		if c.runs.Load() != 5 {
			t.Errorf("%d runs, want 5", c.runs.Load())
		}
	}},
	{"2.1", "the field is a string of RFC 9651", func(t *testing.T, protect func(http.Handler) http.Handler) {
		expect(t, send(protect(&charges{}), request(`"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "{}")), http.StatusCreated, false)
	}},
	{"2.1", "another type of structured field, or two of them, is refused", func(t *testing.T, protect func(http.Handler) http.Handler) {
		var c charges
		h := protect(&c)
		expectProblem(t, send(h, request(`"a", "b"`, "{}")), http.StatusBadRequest, "key-invalid")
		r := request(`"a"`, "{}")
		r.Header.Add("Idempotency-Key", `"b"`)
		expectProblem(t, send(h, r), http.StatusBadRequest, "key-invalid")
		if c.runs.Load() != 0 {
			t.Error("the handler ran")
		}
	}},
	{"2.2", "a key must not be used again with another payload", func(t *testing.T, protect func(http.Handler) http.Handler) {
		h := protect(&charges{})
		expect(t, send(h, request("k", `{"cents":1}`)), http.StatusCreated, false)
		expectProblem(t, send(h, request("k", `{"cents":2}`)), http.StatusUnprocessableEntity, "key-reused")
		expect(t, send(h, request("k", `{"cents":1}`)), http.StatusCreated, true)
	}},
	{"2.3", "a key expires", func(t *testing.T, protect func(http.Handler) http.Handler) {
		h := protect(&charges{})
		expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
		pass(24*time.Hour - time.Second) // the Deduper's Retention
		expect(t, send(h, request("k", "{}")), http.StatusCreated, true)
		pass(time.Minute) // and what was left of its Lease
		expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
	}},
	{"2.6", "a key that is not known is worked on", func(t *testing.T, protect func(http.Handler) http.Handler) {
		var c charges
		expect(t, send(protect(&c), request("k", "{}")), http.StatusCreated, false)
		if c.runs.Load() != 1 {
			t.Error("the handler did not run")
		}
	}},
	{"2.6", "a retry after a success has the result of the first", func(t *testing.T, protect func(http.Handler) http.Handler) {
		h := protect(&charges{})
		first, second := send(h, request("k", "{}")), send(h, request("k", "{}"))
		expect(t, second, http.StatusCreated, true)
		identical(t, first, second)
	}},
	{"2.6", "a retry after an error that is final has the result of the first", func(t *testing.T, protect func(http.Handler) http.Handler) {
		h := protect(http.NotFoundHandler())
		first, second := send(h, request("k", "{}")), send(h, request("k", "{}"))
		expect(t, second, http.StatusNotFound, true)
		identical(t, first, second)
	}},
	{"2.6", "a retry while the first is worked on is a conflict", func(t *testing.T, protect func(http.Handler) http.Handler) {
		work := newBusy()
		h := protect(work)
		first := sendAsync(h, request("k", "{}"))
		<-work.started
		expectProblem(t, send(h, request("k", "{}")), http.StatusConflict, "in-progress")
		work.end <- answerWith(http.StatusOK, "done")
		expect(t, <-first, http.StatusOK, false)
	}},
	{"2.7", "a key that is missing where it is required is 400", func(t *testing.T, protect func(http.Handler) http.Handler) {
		var c charges
		expectProblem(t, send(protect(&c), request("", "{}")), http.StatusBadRequest, "key-missing")
		if c.runs.Load() != 0 {
			t.Error("the handler ran")
		}
	}},
	{"2.7", "errors are problem documents", func(t *testing.T, protect func(http.Handler) http.Handler) {
		work := newBusy()
		h := protect(work)
		expectProblem(t, send(h, request("", "{}")), http.StatusBadRequest, "key-missing")
		first := sendAsync(h, request("k", "{}"))
		<-work.started
		expectProblem(t, send(h, request("k", "{}")), http.StatusConflict, "in-progress")
		expectProblem(t, send(h, request("k", "{ }")), http.StatusUnprocessableEntity, "key-reused")
		work.end <- answerWith(http.StatusOK, "done")
		expect(t, <-first, http.StatusOK, false)
	}},
	{"5", "keys are validated before anything is looked up", func(t *testing.T, protect func(http.Handler) http.Handler) {
		var c charges
		h := protect(&c)
		for _, key := range []string{strings.Repeat("k", 256), "k\r\nSET x 1", "{k}*?;", `"\u0000"`} {
			expectProblem(t, send(h, request(key, "{}")), http.StatusBadRequest, "key-invalid")
		}
		if c.runs.Load() != 0 {
			t.Error("the handler ran")
		}
	}},
	{"5", "a key says nothing outside of its client", func(t *testing.T, protect func(http.Handler) http.Handler) {
		var c charges
		h := protect(&c)
		first := send(h, request("k", "{}"))
		r := request("k", "{}")
		r.Header.Set("Tenant", "other")
		second := send(h, r)
		expect(t, second, http.StatusCreated, false)
		if c.runs.Load() != 2 || first.Body.String() == second.Body.String() {
			t.Error("one client was given the response to another")
		}
	}},
}

func TestDraft(t *testing.T) {
	for _, rule := range draft {
		t.Run(rule.section+" "+rule.rule, func(t *testing.T) {
			virtual(t, func(t *testing.T, store *memstore.Store) {
				d := newDeduper(t, store, nil)
				rule.check(t, func(next http.Handler) http.Handler { return newMiddleware(t, d, next, nil) })
			})
		})
	}
}

// What is not the draft's to say: where the key stands, and who must have one.
func TestKeysAreRequiredWhereTheOptionsSaySo(t *testing.T) {
	var c charges
	d := newDeduper(t, newStore(t), nil)
	strict := newMiddleware(t, d, &c, nil)
	lax := newMiddleware(t, d, &c, func(o *dedupehttp.Options) { o.Optional = true })
	put := newMiddleware(t, d, &c, func(o *dedupehttp.Options) { o.Methods = []string{http.MethodPut} })

	expectProblem(t, send(strict, request("", "{}")), http.StatusBadRequest, "key-missing")
	expect(t, send(lax, request("", "{}")), http.StatusCreated, false)
	expect(t, send(lax, request("", "{}")), http.StatusCreated, false)
	expect(t, send(lax, request("k", "{}")), http.StatusCreated, false)
	expect(t, send(strict, request("k", "{}")), http.StatusCreated, true) // one Deduper, two routes
	expectProblem(t, send(lax, request("a,b", "{}")), http.StatusBadRequest, "key-invalid")
	expect(t, send(put, request("", "{}")), http.StatusCreated, false)
	r := request("", "{}")
	r.Method = http.MethodPut
	expectProblem(t, send(put, r), http.StatusBadRequest, "key-missing")
	if c.runs.Load() != 4 {
		t.Errorf("%d runs, want 4", c.runs.Load())
	}
}

func TestKeysHaveTheFormatThatTheOptionsAskFor(t *testing.T) {
	h := newMiddleware(t, newDeduper(t, newStore(t), nil), &charges{}, func(o *dedupehttp.Options) {
		o.CheckKey = func(key string) bool { return len(key) == 36 }
	})
	expectProblem(t, send(h, request(`"k"`, "{}")), http.StatusBadRequest, "key-invalid")
	expect(t, send(h, request(`"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "{}")), http.StatusCreated, false)
}

func TestFingerprintCoversMethodPathQueryContentTypeAndBody(t *testing.T) {
	h := protect(t, &charges{})
	expect(t, send(h, request("k", "{}")), http.StatusCreated, false)
	for name, change := range map[string]func(r *http.Request){
		"method":       func(r *http.Request) { r.Method = http.MethodPatch },
		"path":         func(r *http.Request) { r.URL.Path = "/refunds" },
		"escaped path": func(r *http.Request) { r.URL.RawPath = "/ch%61rges" },
		"query":        func(r *http.Request) { r.URL.RawQuery = "dry=1" },
		"content type": func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") },
		"body":         func(r *http.Request) { r.Body = http.NoBody },
	} {
		r := request("k", "{}")
		change(r)
		if w := send(h, r); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("another %s is answered %d, want 422", name, w.Code)
		}
	}
	r := request("k", "{}")
	r.Header.Set("User-Agent", "another")
	expect(t, send(h, r), http.StatusCreated, true)

	// Parts do not run into each other.
	a, b := httptest.NewRequest("POST", "/ab?c", nil), httptest.NewRequest("POST", "/a?bc", nil)
	if dedupehttp.FingerprintOf(a, nil) == dedupehttp.FingerprintOf(b, nil) {
		t.Error("/ab?c and /a?bc have one fingerprint")
	}
}

func TestAnotherRequestWhileTheFirstRunsIsRefusedAtOnce(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		work := newBusy()
		h := newMiddleware(t, newDeduper(t, store, nil), work, nil)
		other := newMiddleware(t, newDeduper(t, store, nil), work, nil) // in another process
		first := sendAsync(h, request("k", `{"cents":1}`))
		<-work.started
		for _, h := range []http.Handler{h, other} {
			expectProblem(t, send(h, request("k", `{"cents":2}`)), http.StatusUnprocessableEntity, "key-reused")
		}
		work.end <- answerWith(http.StatusOK, "done")
		expect(t, <-first, http.StatusOK, false)
	})
}

func TestConflictTellsTheLeaseThatRemains(t *testing.T) {
	virtual(t, func(t *testing.T, store *memstore.Store) {
		work := newBusy()
		first := newMiddleware(t, newDeduper(t, store, nil), work, nil)
		second := newMiddleware(t, newDeduper(t, store, nil), work, nil) // in another process
		answer := sendAsync(first, request("k", "{}"))
		<-work.started
		synctest.Wait()
		for name, h := range map[string]http.Handler{"elsewhere": second, "here": first} {
			w := send(h, request("k", "{}"))
			expectProblem(t, w, http.StatusConflict, "in-progress")
			if got := w.Header().Get("Retry-After"); got != "10" {
				t.Errorf("Retry-After of a key at work %s is %q, want the lease of 10 s", name, got)
			}
		}
		pass(lease / 4) // rounded up
		if got := send(second, request("k", "{}")).Header().Get("Retry-After"); got != "8" {
			t.Errorf("Retry-After is %q, want 8, of 7.5 s", got)
		}
		work.end <- answerWith(http.StatusOK, "done")
		expect(t, <-answer, http.StatusOK, false)
	})
}

func TestProblemsHaveTheTypeThatTheOptionsGive(t *testing.T) {
	d := newDeduper(t, newStore(t), nil)
	with := newMiddleware(t, d, &charges{}, func(o *dedupehttp.Options) { o.Problems = "https://example.com/problems/" })
	if body := send(with, request("", "")).Body.String(); !strings.Contains(body, `"type":"https://example.com/problems/key-missing"`) {
		t.Error(body)
	}
	without := newMiddleware(t, d, &charges{}, nil)
	if body := send(without, request("", "")).Body.String(); strings.Contains(body, `"type"`) {
		t.Error(body)
	}
}
