package dedupehttp_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
)

// open returns a Deduper on a store in memory, for the examples.
func open(consumer string) *dedupe.Deduper {
	store, err := memstore.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	d, err := dedupe.New(store, &dedupe.Options{Consumer: consumer})
	if err != nil {
		log.Fatal(err)
	}
	return d
}

func ExampleNew() {
	once := open("payments")
	defer once.Close(context.Background())
	idempotent, err := dedupehttp.New(once, &dedupehttp.Options{
		// Whoever authenticated the request knows whose it is.
		Principal: func(r *http.Request) (string, error) { return r.Header.Get("Account"), nil },
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /charges", idempotent(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("charge, with the key", dedupe.ChildKey(r.Context(), "card"))
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, "charge 7")
	})))

	// The client did not hear the first answer.
	for range 2 {
		r := httptest.NewRequest("POST", "/charges", strings.NewReader(`{"cents":999}`))
		r.Header.Set("Account", "acme")
		r.Header.Set("Idempotency-Key", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Printf("%d %s, replayed %q\n", w.Code, w.Body, w.Header().Get("Idempotency-Replayed"))
	}
	// Output:
	// charge, with the key 4bfa2364-de5f-8f70-9b41-778700fe4d4b
	// 201 charge 7, replayed ""
	// 201 charge 7, replayed "true"
}

func ExampleNewWebhook() {
	once := open("github-events")
	defer once.Close(context.Background())
	const secret = "It's a Secret to Everybody"
	hook, err := dedupehttp.NewWebhook(once, dedupehttp.GitHub{Secrets: []string{secret}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /hooks/github", hook(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("deploy, because of", r.Header.Get("X-GitHub-Event"))
	})))

	const body = `{"ref":"refs/heads/main"}`
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(body))
	for _, signature := range []string{fmt.Sprintf("sha256=%x", mac.Sum(nil)), fmt.Sprintf("sha256=%x", mac.Sum(nil)), "sha256=00"} {
		r := httptest.NewRequest("POST", "/hooks/github", strings.NewReader(body))
		r.Header.Set("X-GitHub-Event", "push")
		r.Header.Set("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
		r.Header.Set("X-Hub-Signature-256", signature)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// deploy, because of push
	// 200
	// 200
	// 403
}

// A Source for a sender that is not among those of this package.
func ExampleSource() {
	once := open("carrier-events")
	defer once.Close(context.Background())
	hook, err := dedupehttp.NewWebhook(once, carrier{}, nil)
	if err != nil {
		log.Fatal(err)
	}
	h := hook(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { fmt.Println("parcel moved") }))
	for range 2 {
		r := httptest.NewRequest("POST", "/hooks/carrier", strings.NewReader("{}"))
		r.Header.Set("Event-Id", "9")
		r.Header.Set("Authorization", "Bearer of-the-carrier")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
	// Output:
	// parcel moved
}

type carrier struct{}

func (carrier) Identify(r *http.Request, _ []byte) (string, error) {
	if !hmac.Equal([]byte(r.Header.Get("Authorization")), []byte("Bearer of-the-carrier")) {
		return "", dedupehttp.ErrSignature
	}
	return r.Header.Get("Event-Id"), nil
}
