package dedupehttp_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// sink is a ResponseWriter that keeps nothing.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(p []byte) (int, error) { return len(p), nil }
func (s *sink) WriteHeader(int)             {}

// Requests of the size of a charge, on a store in memory: what the middleware adds
// to the handler alone.
func BenchmarkRequest(b *testing.B) {
	charge := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Location", "/charges/1")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"charge":1,"cents":999,"currency":"EUR"}`)
	})
	body := strings.Repeat("x", 500)
	ask := func(b *testing.B, h http.Handler, key func(i int) string) {
		b.ReportAllocs()
		r := request("k", "")
		for i := 0; b.Loop(); i++ {
			r.Header["Idempotency-Key"] = []string{key(i)}
			r.Body = io.NopCloser(strings.NewReader(body))
			r.ContentLength = int64(len(body))
			h.ServeHTTP(&sink{http.Header{}}, r)
		}
	}
	same := func(int) string { return `"k"` }
	b.Run("handler alone", func(b *testing.B) { ask(b, charge, same) })
	b.Run("first", func(b *testing.B) { ask(b, protect(b, charge), strconv.Itoa) })
	b.Run("replay", func(b *testing.B) { ask(b, protect(b, charge), same) })
	b.Run("webhook, first", func(b *testing.B) {
		s := senders["GitHub"]
		h := newHook(b, newDeduper(b, newStore(b), nil), s.source(0, "secret"), charge, nil)
		b.ReportAllocs()
		r := s.send("", "secret", time.Time{})
		for i := 0; b.Loop(); i++ {
			r.Header["X-Github-Delivery"] = []string{strconv.Itoa(i)}
			r.Body = io.NopCloser(strings.NewReader("{}"))
			h.ServeHTTP(&sink{http.Header{}}, r)
		}
	})
}
