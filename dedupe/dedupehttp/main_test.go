package dedupehttp_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lease is the unit of time of the tests. Most run in virtual time.
const lease = 10 * time.Second

var quiet = slog.New(slog.DiscardHandler)

// virtual runs f in a bubble with virtual time, on a store with the same clock.
func virtual(t *testing.T, f func(t *testing.T, store *memstore.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newStore(t)) })
}

func newStore(t testing.TB) *memstore.Store {
	t.Helper()
	store, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// newDeduper makes a Deduper and closes it with the test. Two on one store are two
// processes.
func newDeduper(t testing.TB, store claim.Store, set func(o *dedupe.Options)) *dedupe.Deduper {
	t.Helper()
	o := &dedupe.Options{Consumer: "payments", Lease: lease, LocalWait: dedupe.Off, Logger: quiet}
	if set != nil {
		set(o)
	}
	d, err := dedupe.New(store, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// tenant is the principal of the tests: whatever the header says.
func tenant(r *http.Request) (string, error) { return r.Header.Get("Tenant"), nil }

// newMiddleware puts the middleware around next.
func newMiddleware(t testing.TB, d *dedupe.Deduper, next http.Handler, set func(o *dedupehttp.Options)) http.Handler {
	t.Helper()
	o := &dedupehttp.Options{Principal: tenant}
	if set != nil {
		set(o)
	}
	wrap, err := dedupehttp.New(d, o)
	if err != nil {
		t.Fatal(err)
	}
	return wrap(next)
}

// protect is newMiddleware on a Deduper of its own, on a store of its own.
func protect(t testing.TB, next http.Handler) http.Handler {
	return newMiddleware(t, newDeduper(t, newStore(t), nil), next, nil)
}

// charges is a handler that counts its runs, and says in its answer which it was.
type charges struct{ runs atomic.Int64 }

func (c *charges) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := c.runs.Add(1)
	w.Header().Set("Location", "/charges/"+string(rune('0'+n)))
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]int64{"charge": n})
}

// request is a POST with a key; key is the value of the field, "" for none.
func request(key, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/charges", strings.NewReader(body))
	r.Header.Set("Tenant", "acme")
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return r
}

// send serves r.
func send(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// sendAsync serves r in a goroutine of its own.
func sendAsync(h http.Handler, r *http.Request) <-chan *httptest.ResponseRecorder {
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() { answer <- send(h, r) }()
	return answer
}

// expect fails the test unless the answer has this status, and is a replay or not.
func expect(t testing.TB, w *httptest.ResponseRecorder, status int, replayed bool) {
	t.Helper()
	if got := w.Header().Get("Idempotency-Replayed"); w.Code != status || (got == "true") != replayed {
		t.Fatalf("answered %d %s with Idempotency-Replayed %q, want %d and replayed %v", w.Code, w.Body, got, status, replayed)
	}
}

// expectProblem fails the test unless the answer is the problem with this code.
func expectProblem(t testing.TB, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	expect(t, w, status, false)
	var p struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	err := json.Unmarshal(w.Body.Bytes(), &p)
	if err != nil || w.Header().Get("Content-Type") != "application/problem+json" ||
		p.Code != code || p.Status != status || p.Title != http.StatusText(status) || p.Detail == "" {
		t.Fatalf("answered %s %s (%v), want a problem %q", w.Header(), w.Body, err, code)
	}
}

// identical fails the test unless two answers are the same but for the mark of a
// replay.
func identical(t testing.TB, first, second *httptest.ResponseRecorder) {
	t.Helper()
	a, b := first.Result(), second.Result()
	for _, h := range []http.Header{a.Header, b.Header, a.Trailer, b.Trailer} {
		h.Del("Idempotency-Replayed")
	}
	if a.StatusCode != b.StatusCode || first.Body.String() != second.Body.String() ||
		!sameHeader(a.Header, b.Header) || !sameHeader(a.Trailer, b.Trailer) {
		t.Fatalf("answered\n%d %v %q %v\nand then\n%d %v %q %v", a.StatusCode, a.Header, first.Body, a.Trailer,
			b.StatusCode, b.Header, second.Body, b.Trailer)
	}
}

func sameHeader(a, b http.Header) bool {
	x, _ := json.Marshal(a) // sorts the names
	y, _ := json.Marshal(b)
	return string(x) == string(y) || len(a) == 0 && len(b) == 0
}

// busy is a handler that runs until it is told what to do.
type busy struct {
	started chan context.Context
	end     chan http.HandlerFunc
}

func newBusy() *busy {
	return &busy{started: make(chan context.Context, 10), end: make(chan http.HandlerFunc, 10)}
}

func (b *busy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.started <- r.Context()
	(<-b.end)(w, r)
}

// answerWith is a handler that answers a status and a text.
func answerWith(status int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(text))
	}
}
