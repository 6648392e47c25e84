package dedupehttp_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/textproto"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-chi/chi/v5"
	chimiddleware "github.com/go-chi/chi/v5/middleware"

	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
)

// reply is what a client got over a connection.
type reply struct {
	status          int
	header, trailer http.Header
	body            string
	err             error
}

// serve starts a real server for h, and returns a client that sends a request with
// key k.
func serve(t *testing.T, h http.Handler) func() reply {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return func() reply {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/charges", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", `"k"`)
		r.Header.Set("Tenant", "acme")
		response, err := server.Client().Do(r)
		if err != nil {
			return reply{err: err}
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return reply{response.StatusCode, response.Header, response.Trailer, string(body), err}
	}
}

// expectOmitted fails the test unless r is a replay without the body.
func expectOmitted(t *testing.T, r reply, status int) {
	t.Helper()
	if r.err != nil || r.status != status || r.header.Get("Idempotency-Replayed") != "true" ||
		r.header.Get("Idempotency-Omitted") != "body" || r.body != "" {
		t.Errorf("answered %+v, want %d without its body, and saying so", r, status)
	}
	for _, name := range []string{"Content-Type", "Content-Encoding", "Etag-Of-Body"} {
		if r.header[name] != nil {
			t.Errorf("the replay has %s, of a body that it has not", name)
		}
	}
}

func TestStreamedResponseIsServedAsItIsWritten(t *testing.T) {
	for name, flush := range map[string]func(w http.ResponseWriter) error{
		"Flusher":            func(w http.ResponseWriter) error { w.(http.Flusher).Flush(); return nil },
		"ResponseController": func(w http.ResponseWriter) error { return http.NewResponseController(w).Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			heard := make(chan struct{})
			h := protect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Location", "/charges/1")
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, "first ")
				if err := flush(w); err != nil {
					t.Error(err)
				}
				<-heard // or the client waits for ever
				_, _ = io.WriteString(w, "second")
			}))
			server := httptest.NewServer(h)
			defer server.Close()
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("{}"))
			r.Header.Set("Idempotency-Key", "k")
			r.Header.Set("Tenant", "acme")
			response, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			part := make([]byte, len("first "))
			if _, err := io.ReadFull(response.Body, part); err != nil || string(part) != "first " {
				t.Fatalf("%q, %v", part, err)
			}
			close(heard)
			if rest, err := io.ReadAll(response.Body); err != nil || string(rest) != "second" {
				t.Fatalf("%q, %v", rest, err)
			}
			again := send(h, func() *http.Request {
				r := request("k", "{}")
				r.URL.Path = "/"
				r.Header.Del("Content-Type")
				return r
			}())
			expectOmitted(t, reply{again.Code, again.Header(), nil, again.Body.String(), nil}, http.StatusAccepted)
			if again.Header().Get("Location") != "/charges/1" {
				t.Error("the replay has lost the headers")
			}
		})
	}
}

func TestResponseOverTheLimitIsServedWholeAndRecordedWithoutBody(t *testing.T) {
	const limit = 2048
	for name, body := range map[string]string{
		"by far":                strings.Repeat("x", 3*limit),
		"by a byte":             strings.Repeat("x", limit+1),
		"only with its headers": strings.Repeat("x", limit-2),
	} {
		t.Run(name, func(t *testing.T) {
			d := newDeduper(t, newStore(t), func(o *dedupe.Options) { o.MaxResult = limit })
			ask := serve(t, newMiddleware(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "/charges/1")
				w.WriteHeader(http.StatusCreated)
				for part := range strings.SplitSeq(body, "") {
					_, _ = io.WriteString(w, part)
				}
			}), nil))
			if first := ask(); first.err != nil || first.status != http.StatusCreated || first.body != body {
				t.Fatalf("answered %d and %d bytes, %v", first.status, len(first.body), first.err)
			}
			again := ask()
			expectOmitted(t, again, http.StatusCreated)
			if again.header.Get("Location") != "/charges/1" {
				t.Error("the replay has lost the headers")
			}
			if s := d.Stats(); s.Runs != 1 || s.Duplicates != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
	t.Run("in its headers alone", func(t *testing.T) {
		d := newDeduper(t, newStore(t), func(o *dedupe.Options) { o.MaxResult = limit })
		ask := serve(t, newMiddleware(t, d, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Policy", strings.Repeat("x", limit))
			w.WriteHeader(http.StatusCreated)
		}), nil))
		ask()
		again := ask()
		if again.status != http.StatusCreated || again.header.Get("Idempotency-Omitted") != "header, body" || again.header.Get("Policy") != "" {
			t.Errorf("answered %+v", again)
		}
	})
}

func TestHijackedConnectionIsRecordedAsDone(t *testing.T) {
	runs := 0
	h := protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		runs++
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\nConnection: close\r\n\r\nby me")
		_ = rw.Flush()
	}))
	ask := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Request-Id", "of an outer handler")
		h.ServeHTTP(w, r)
	}))
	if first := ask(); first.status != http.StatusAccepted || first.body != "by me" {
		t.Fatalf("answered %+v", first)
	}
	// The record may come after the answer, which is the handler's own affair.
	again := ask()
	for again.status == http.StatusConflict {
		again = ask()
	}
	expectOmitted(t, again, http.StatusNoContent)
	if again.header.Get("X-Request-Id") == "" {
		t.Error("the replay takes away what an outer handler set")
	}
	if runs != 1 {
		t.Errorf("%d runs", runs)
	}
}

func TestConnectionHijackedAfterTheStatus(t *testing.T) {
	ask := serve(t, protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.Header().Set("Content-Length", "5")
		w.WriteHeader(http.StatusAccepted)
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = rw.WriteString("by me")
		_ = rw.Flush()
	})))
	if first := ask(); first.status != http.StatusAccepted || first.body != "by me" {
		t.Fatalf("answered %+v", first)
	}
	again := ask()
	for again.status == http.StatusConflict {
		again = ask()
	}
	expectOmitted(t, again, http.StatusAccepted)
}

func TestHijackedWebhookIsFinished(t *testing.T) {
	d := newDeduper(t, newStore(t), nil)
	ask := serve(t, newHook(t, d, fixed("1"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := w.(http.Hijacker).Hijack(); err != nil {
			t.Error(err)
		} else {
			conn.Close()
		}
	}), nil))
	if first := ask(); first.err == nil {
		t.Fatalf("answered %+v", first)
	}
	again := ask()
	for again.status == http.StatusConflict {
		again = ask()
	}
	if again.status != http.StatusOK || d.Stats().Runs != 1 {
		t.Errorf("answered %+v after %d runs", again, d.Stats().Runs)
	}
}

func TestWriterThatCannotBeHijackedSaysSo(t *testing.T) {
	h := protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, _, err := http.NewResponseController(w).Hijack(); err == nil {
			t.Error("a recorder was hijacked")
		}
		_, _ = io.WriteString(w, "answered otherwise")
	}))
	first, second := send(h, request("k", "{}")), send(h, request("k", "{}"))
	expect(t, second, http.StatusOK, true)
	identical(t, first, second)
}

func TestResponseControllerReachesTheConnection(t *testing.T) {
	ask := serve(t, protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c := http.NewResponseController(w)
		for name, err := range map[string]error{
			"SetReadDeadline":  c.SetReadDeadline(time.Now().Add(time.Minute)),
			"SetWriteDeadline": c.SetWriteDeadline(time.Now().Add(time.Minute)),
			"EnableFullDuplex": c.EnableFullDuplex(),
		} {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})))
	if r := ask(); r.status != http.StatusOK {
		t.Errorf("answered %+v", r)
	}
}

func TestTrailersAreReplayed(t *testing.T) {
	ask := serve(t, protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Sum")
		_, _ = io.WriteString(w, "body")
		w.Header().Set("Sum", "4")
		w.Header().Set(http.TrailerPrefix+"Undeclared", "5")
	})))
	for _, replayed := range []string{"", "true"} {
		r := ask()
		if r.header.Get("Idempotency-Replayed") != replayed || r.trailer.Get("Sum") != "4" || r.trailer.Get("Undeclared") != "5" || r.body != "body" {
			t.Errorf("answered %+v", r)
		}
	}
}

func TestInformationalResponsesGoOutAndAreNotRecorded(t *testing.T) {
	server := httptest.NewServer(protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
	})))
	defer server.Close()
	for want := range 2 {
		hints := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(int, textproto.MIMEHeader) error { hints++; return nil },
		})
		r, _ := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, nil)
		r.Header.Set("Idempotency-Key", "k")
		r.Header.Set("Tenant", "acme")
		response, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusCreated || hints != 1-want {
			t.Errorf("answer %d is %d with %d hints", want+1, response.StatusCode, hints)
		}
	}
}

func TestPanicInMidStreamBreaksTheConnectionAndReleasesTheKey(t *testing.T) {
	var runs atomic.Int64
	ask := serve(t, protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		if runs.Add(1) == 1 {
			panic(http.ErrAbortHandler)
		}
	})))
	if first := ask(); first.err == nil {
		t.Fatalf("answered %+v, want a broken body", first)
	}
	if second := ask(); second.err != nil || second.header.Get("Idempotency-Replayed") != "" || runs.Load() != 2 {
		t.Errorf("answered %+v after %d runs", second, runs.Load())
	}
}

func TestReverseProxy(t *testing.T) {
	var runs atomic.Int64
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		runs.Add(1)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.Copy(w, r.Body)
	}))
	defer backend.Close()
	target, err := url.Parse(backend.URL)
	if err != nil {
		t.Fatal(err)
	}
	ask := serve(t, protect(t, &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}))
	for _, replayed := range []string{"", "true"} {
		if r := ask(); r.status != http.StatusCreated || r.body != "{}" || r.header.Get("Idempotency-Replayed") != replayed {
			t.Errorf("answered %+v", r)
		}
	}
	if runs.Load() != 1 {
		t.Errorf("%d runs", runs.Load())
	}
}

// A response that breaks off would be replayed broken for ever.
func TestResponseShorterThanItSaidIsRecordedWithoutBody(t *testing.T) {
	ask := serve(t, protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "as far as it came")
	})))
	if first := ask(); first.err == nil {
		t.Fatalf("answered %+v, want a broken body", first)
	}
	expectOmitted(t, ask(), http.StatusOK)
}

func TestWriterBehavesAsThatOfTheServer(t *testing.T) {
	h := protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		w.WriteHeader(http.StatusOK) // the first one counts
		if _, err := w.Write([]byte("x")); err != http.ErrBodyNotAllowed {
			t.Errorf("a body of 204 is %v", err)
		}
	}))
	first, second := send(h, request("k", "{}")), send(h, request("k", "{}"))
	expect(t, second, http.StatusNoContent, true)
	identical(t, first, second)

	h = protect(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(1) }))
	defer func() {
		if recover() == nil {
			t.Error("an invalid status is no panic")
		}
	}()
	send(h, request("k", "{}"))
}

func TestStandardMux(t *testing.T) {
	wrap, err := dedupehttp.New(newDeduper(t, newStore(t), nil), &dedupehttp.Options{Principal: tenant})
	if err != nil {
		t.Fatal(err)
	}
	account := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.PathValue("account")) })
	inside, outside := http.NewServeMux(), http.NewServeMux()
	inside.Handle("POST /{account}", wrap(account))
	outside.Handle("POST /{account}", account)
	for name, h := range map[string]http.Handler{"inside": inside, "around": wrap(outside)} {
		for _, replayed := range []bool{false, true} {
			w := send(h, request(name, "{}"))
			expect(t, w, http.StatusOK, replayed)
			if w.Body.String() != "charges" {
				t.Errorf("%s: the path value is %q", name, w.Body)
			}
		}
	}
}

func TestChi(t *testing.T) {
	wrap, err := dedupehttp.New(newDeduper(t, newStore(t), nil), &dedupehttp.Options{Principal: tenant})
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("long enough to be compressed ", 100)
	r := chi.NewRouter()
	r.Use(chimiddleware.RequestID, chimiddleware.Recoverer, chimiddleware.Compress(5), wrap)
	r.Post("/{account}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, chi.URLParam(r, "account")+text)
	})
	r.Post("/panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	ask := serve(t, r)
	for _, replayed := range []string{"", "true"} {
		got := ask()
		if got.status != http.StatusOK || got.body != "charges"+text || got.header.Get("Idempotency-Replayed") != replayed {
			t.Errorf("answered %+v", got)
		}
	}
	w := httptest.NewRecorder()
	panics := request("p", "{}")
	panics.URL.Path = "/panic"
	r.ServeHTTP(w, panics)
	if w.Code != http.StatusInternalServerError {
		t.Errorf("chi's Recoverer answered %d", w.Code)
	}
}
