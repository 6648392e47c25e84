package dedupehttp_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"reflect"
	"testing"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
)

// recorded returns what is kept of a response.
func recorded(t testing.TB, h http.HandlerFunc) []byte {
	t.Helper()
	store := newStore(t)
	expect(t, send(newMiddleware(t, newDeduper(t, store, nil), h, nil), request("k", "")), http.StatusOK, false)
	return kept(t, store)
}

// kept returns the result in the record of key k of acme.
func kept(t testing.TB, store claim.Inspector) []byte {
	t.Helper()
	key, err := claim.NewKey("acme", "payments", "k")
	if err != nil {
		t.Fatal(err)
	}
	entry, err := store.Get(t.Context(), key)
	if err != nil || entry.State != claim.StateDone {
		t.Fatal(entry.State, err)
	}
	return entry.Result
}

// The layout is kept by stores for as long as Retention: it must not change under
// one version.
func TestLayoutOfStoredResponses(t *testing.T) {
	got := recorded(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("B", "1")
		w.Header()["A"] = []string{"x", ""}
		_, _ = w.Write([]byte("body"))
	})
	want := "\x01\x00\xc8\x01\x02" + "\x01A\x02\x01x\x00" + "\x01B\x01\x011" + "body"
	if string(got) != want {
		t.Errorf("kept as %q, want %q", got, want)
	}
}

func TestStoredResponseOfAnotherVersionIsNeverRunAgain(t *testing.T) {
	for name, result := range map[string]string{
		"newer":         "\x02\x00\xc8\x01\x00body",
		"foreign":       `{"status":200}`,
		"empty":         "",
		"cut":           "\x01\x00\xc8",
		"unknown flags": "\x01\x80\xc8\x01\x00",
	} {
		t.Run(name, func(t *testing.T) {
			d := newDeduper(t, newStore(t), nil)
			_, err := d.Do(t.Context(), dedupe.Identity{Namespace: "acme", ID: "k"},
				func(context.Context) ([]byte, error) { return []byte(result), nil })
			if err != nil {
				t.Fatal(err)
			}
			var c charges
			h := newMiddleware(t, d, &c, nil)
			expectProblem(t, send(h, request("k", "")), http.StatusServiceUnavailable, "unavailable")
			if c.runs.Load() != 0 {
				t.Error("the handler ran")
			}
		})
	}
}

func FuzzStored(f *testing.F) {
	f.Add(recorded(f, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("body")) }))
	f.Add([]byte("\x01\x03\xc8\x01\x00"))
	f.Add([]byte("\x01\x00\xc8\x01\x02\x01A\x00\x01A\x00"))
	f.Add([]byte("\x01\x00\xc8\x01\xff\xff\xff\xff\x0f"))
	f.Add([]byte("\x02"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := dedupehttp.ParseStored(b)
		if err != nil {
			if s != nil || !errors.Is(err, dedupehttp.ErrStored) {
				t.Fatalf("%v, %v", s, err)
			}
			return
		}
		if b[0] != 1 {
			t.Fatalf("version %d is read", b[0])
		}
		again := s.Append(nil)
		other, err := dedupehttp.ParseStored(again)
		if err != nil || !reflect.DeepEqual(s, other) || !bytes.Equal(again, other.Append(nil)) {
			t.Fatalf("%q is read as %+v, written as %q, and read as %+v, %v", b, s, again, other, err)
		}
	})
}
