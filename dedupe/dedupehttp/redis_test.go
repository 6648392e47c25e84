package dedupehttp_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/redistest"
)

// Two processes on a real Redis, with the largest response that a store keeps.
func TestRealRedis(t *testing.T) {
	server := redistest.Start(t)
	body := strings.Repeat("\x00\xff\r\nbody", claim.MaxResultBytes/8-100)
	process := func() http.Handler {
		client := redis.NewClient(&redis.Options{Addr: server.Addr, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = client.Close() })
		store, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		d := newDeduper(t, store, func(o *dedupe.Options) { o.MaxResult = claim.MaxResultBytes })
		return newMiddleware(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/charges/1")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, body)
		}), nil)
	}
	first, second := process(), process()
	a, b := send(first, request("k", "{}")), send(second, request("k", "{}"))
	expect(t, a, http.StatusCreated, false)
	expect(t, b, http.StatusCreated, true)
	identical(t, a, b)
	if b.Body.String() != body {
		t.Error("the body is another")
	}
	expectProblem(t, send(second, request("k", "{ }")), http.StatusUnprocessableEntity, "key-reused")
}
