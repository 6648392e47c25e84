package dedupehttp_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
	"github.com/oncebus/once/testutil/faultstore"
)

// newHook puts the receiver of a webhook around next.
func newHook(t testing.TB, d *dedupe.Deduper, s dedupehttp.Source, next http.Handler, set func(o *dedupehttp.WebhookOptions)) http.Handler {
	t.Helper()
	o := &dedupehttp.WebhookOptions{}
	if set != nil {
		set(o)
	}
	wrap, err := dedupehttp.NewWebhook(d, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return wrap(next)
}

func mac(secret, message string) []byte {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write([]byte(message))
	return h.Sum(nil)
}

// sender makes deliveries as one of the senders does: an event with an id, in a
// body or beside it, signed with a secret at a moment.
type sender struct {
	source func(tolerance time.Duration, secrets ...string) dedupehttp.Source
	send   func(id, secret string, at time.Time) *http.Request
	// timed says that the signature covers the time, and bound that it covers the id.
	timed, bound bool
}

func delivery(body string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

var senders = map[string]sender{
	"GitHub": {
		source: func(_ time.Duration, secrets ...string) dedupehttp.Source { return dedupehttp.GitHub{Secrets: secrets} },
		send: func(id, secret string, _ time.Time) *http.Request {
			return delivery("{}", "X-GitHub-Delivery", id, "X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac(secret, "{}")))
		},
	},
	"Shopify": {
		source: func(_ time.Duration, secrets ...string) dedupehttp.Source {
			return dedupehttp.Shopify{Secrets: secrets}
		},
		send: func(id, secret string, _ time.Time) *http.Request {
			return delivery("{}", "X-Shopify-Webhook-Id", id, "X-Shopify-Hmac-Sha256", base64.StdEncoding.EncodeToString(mac(secret, "{}")))
		},
	},
	"Stripe": {
		timed: true, bound: true,
		source: func(tolerance time.Duration, secrets ...string) dedupehttp.Source {
			return dedupehttp.Stripe{Secrets: secrets, Tolerance: tolerance}
		},
		send: func(id, secret string, at time.Time) *http.Request {
			body := fmt.Sprintf(`{"id":%q,"object":"event"}`, id)
			return delivery(body, "Stripe-Signature", fmt.Sprintf("t=%d,v0=00,v1=%x", at.Unix(), mac(secret, fmt.Sprintf("%d.%s", at.Unix(), body))))
		},
	},
	"Slack": {
		timed: true, bound: true,
		source: func(tolerance time.Duration, secrets ...string) dedupehttp.Source {
			return dedupehttp.Slack{Secrets: secrets, Tolerance: tolerance}
		},
		send: func(id, secret string, at time.Time) *http.Request {
			return slack(fmt.Sprintf(`{"type":"event_callback","event_id":%q}`, id), secret, at)
		},
	},
	"Standard Webhooks": {
		timed: true, bound: true,
		source: func(tolerance time.Duration, secrets ...string) dedupehttp.Source {
			for i := range secrets {
				secrets[i] = "whsec_" + base64.StdEncoding.EncodeToString([]byte(secrets[i]))
			}
			return dedupehttp.StandardWebhooks{Secrets: secrets, Tolerance: tolerance}
		},
		send: func(id, secret string, at time.Time) *http.Request {
			ts := fmt.Sprint(at.Unix())
			return delivery("{}", "webhook-id", id, "webhook-timestamp", ts,
				"webhook-signature", "v1a,AAAA v1,"+base64.StdEncoding.EncodeToString(mac(secret, id+"."+ts+".{}")))
		},
	},
}

func slack(body, secret string, at time.Time) *http.Request {
	ts := fmt.Sprint(at.Unix())
	return delivery(body, "X-Slack-Request-Timestamp", ts, "X-Slack-Signature", "v0="+hex.EncodeToString(mac(secret, "v0:"+ts+":"+body)))
}

func TestSendersOfWebhooks(t *testing.T) {
	for name, s := range senders {
		t.Run(name, func(t *testing.T) {
			virtual(t, func(t *testing.T, store *memstore.Store) {
				var runs atomic.Int64
				count := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					if body, err := io.ReadAll(r.Body); err != nil || len(body) == 0 {
						t.Errorf("the handler reads %q, %v", body, err)
					}
					runs.Add(1)
				})
				h := newHook(t, newDeduper(t, store, nil), s.source(0, "secret"), count, nil)
				at := time.Now()

				expect(t, send(h, s.send("evt_1", "secret", at)), http.StatusOK, false)
				pass(time.Minute) // a retry is signed anew
				expect(t, send(h, s.send("evt_1", "secret", time.Now())), http.StatusOK, true)
				expect(t, send(h, s.send("evt_2", "secret", time.Now())), http.StatusOK, false)
				if runs.Load() != 2 {
					t.Errorf("%d runs of two events", runs.Load())
				}

				refused := map[string]*http.Request{
					"another secret": s.send("evt_3", "other", time.Now()),
					"no signature":   delivery(`{"id":"evt_3","event_id":"evt_3"}`, "X-GitHub-Delivery", "evt_3", "X-Shopify-Webhook-Id", "evt_3", "webhook-id", "evt_3"),
				}
				body := s.send("evt_3", "secret", time.Now())
				body.Body = io.NopCloser(strings.NewReader(`{"id":"evt_4"}`))
				refused["another body"] = body
				cut := s.send("evt_3", "secret", time.Now())
				for field, values := range cut.Header {
					if strings.Contains(field, "Sign") || strings.Contains(field, "Hmac") {
						cut.Header.Set(field, values[0][:len(values[0])-4])
					}
				}
				refused["a cut signature"] = cut
				if s.timed {
					refused["an old time"] = s.send("evt_3", "secret", time.Now().Add(-6*time.Minute))
					refused["a time to come"] = s.send("evt_3", "secret", time.Now().Add(6*time.Minute))
				}
				if s.bound {
					other := s.send("evt_3", "secret", time.Now())
					other.Header.Set("webhook-id", "evt_4")
					b, _ := io.ReadAll(other.Body)
					other.Body = io.NopCloser(bytes.NewReader(bytes.ReplaceAll(b, []byte("evt_3"), []byte("evt_4"))))
					refused["another id"] = other
				}
				for what, r := range refused {
					w := send(h, r)
					if w.Code != http.StatusForbidden {
						t.Errorf("a delivery with %s is answered %d", what, w.Code)
					}
				}
				if runs.Load() != 2 {
					t.Error("a delivery that is not signed ran")
				}
				// And none of them took the id.
				expect(t, send(h, s.send("evt_3", "secret", time.Now())), http.StatusOK, false)

				if w := send(h, s.send("", "secret", time.Now())); w.Code != http.StatusBadRequest && w.Code != http.StatusForbidden {
					t.Errorf("a delivery without an id is answered %d", w.Code)
				}
			})
		})
	}
}

func TestSecretsRotate(t *testing.T) {
	for name, s := range senders {
		h := newHook(t, newDeduper(t, newStore(t), nil), s.source(0, "new", "old"), answerWith(http.StatusOK, ""), nil)
		expect(t, send(h, s.send("evt_1", "old", time.Now())), http.StatusOK, false)
		expect(t, send(h, s.send("evt_1", "new", time.Now())), http.StatusOK, true)
		if w := send(h, s.send("evt_2", "older", time.Now())); w.Code != http.StatusForbidden {
			t.Errorf("%s: a secret that was withdrawn is answered %d", name, w.Code)
		}
	}
	// Senders sign with both secrets meanwhile.
	at := time.Now()
	ts, body := fmt.Sprint(at.Unix()), `{"id":"evt_1"}`
	h := newHook(t, newDeduper(t, newStore(t), nil), dedupehttp.Stripe{Secrets: []string{"new"}}, answerWith(http.StatusOK, ""), nil)
	r := delivery(body, "Stripe-Signature", fmt.Sprintf("t=%s,v1=%x,v1=%x", ts, mac("old", ts+"."+body), mac("new", ts+"."+body)))
	expect(t, send(h, r), http.StatusOK, false)
}

func TestToleranceIsAnOption(t *testing.T) {
	for name, s := range senders {
		if !s.timed {
			continue
		}
		h := newHook(t, newDeduper(t, newStore(t), nil), s.source(time.Hour, "secret"), answerWith(http.StatusOK, ""), nil)
		if w := send(h, s.send("evt_1", "secret", time.Now().Add(-30*time.Minute))); w.Code != http.StatusOK {
			t.Errorf("%s: a delivery of half an hour ago is answered %d", name, w.Code)
		}
	}
}

// The vector of the Standard Webhooks specification.
func TestStandardWebhooksVector(t *testing.T) {
	r := delivery(`{"test": 2432232314}`, "webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330",
		"webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	body, _ := io.ReadAll(r.Body)
	age := time.Since(time.Unix(1614265330, 0)) + time.Hour
	s := dedupehttp.StandardWebhooks{Secrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}, Tolerance: age}
	if id, err := s.Identify(r, body); id != "msg_p5jXN8AQM9LWM0D4loKWxJek" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	s.Tolerance = 0
	if _, err := s.Identify(r, body); !errors.Is(err, dedupehttp.ErrSignature) {
		t.Errorf("the vector is years old and %v", err)
	}
}

func TestShopifyEventIdWithItsTopic(t *testing.T) {
	signature := base64.StdEncoding.EncodeToString(mac("secret", "{}"))
	identify := func(header ...string) string {
		r := delivery("{}", append(header, "X-Shopify-Hmac-Sha256", signature)...)
		id, err := dedupehttp.Shopify{Secrets: []string{"secret"}}.Identify(r, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	paid := identify("X-Shopify-Event-Id", "7", "X-Shopify-Topic", "orders/paid")
	created := identify("X-Shopify-Event-Id", "7", "X-Shopify-Topic", "orders/create")
	if paid == "" || paid == created {
		t.Errorf("two topics of one event are %q and %q", paid, created)
	}
	if id := identify("X-Shopify-Event-Id", "7", "X-Shopify-Webhook-Id", "w"); id != "w" {
		t.Errorf("the id is %q", id)
	}
}

func TestWhatIsNoEventRunsWithoutAClaim(t *testing.T) {
	runs := 0
	h := newHook(t, newDeduper(t, newStore(t), nil), dedupehttp.Slack{Secrets: []string{"secret"}},
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			runs++
			_, _ = io.Copy(w, r.Body) // as the check of the URL wants it
		}), nil)
	const body = `{"type":"url_verification","challenge":"c"}`
	for range 2 {
		w := send(h, slack(body, "secret", time.Now()))
		expect(t, w, http.StatusOK, false)
		if w.Body.String() != body {
			t.Error(w.Body)
		}
	}
	expectProblem(t, send(h, slack(body, "other", time.Now())), http.StatusForbidden, "signature-invalid")
	expectProblem(t, send(h, slack(`{"type":"event_callback"}`, "secret", time.Now())), http.StatusBadRequest, "id-unusable")
	expectProblem(t, send(h, slack("no json", "secret", time.Now())), http.StatusBadRequest, "id-unusable")
	expectProblem(t, send(h, slack(`{"event_id":"`+strings.Repeat("e", 4097)+`"}`, "secret", time.Now())), http.StatusBadRequest, "id-unusable")
	if runs != 2 {
		t.Errorf("%d runs", runs)
	}
}

// fixed is a Source that trusts everything.
type fixed string

func (id fixed) Identify(*http.Request, []byte) (string, error) { return string(id), nil }

func TestUnfinishedDeliveriesMakeTheSenderComeAgain(t *testing.T) {
	for status, final := range map[int]bool{200: true, 202: true, 204: true, 302: false, 400: false, 404: false, 410: false, 429: false, 500: false, 503: false} {
		runs := 0
		h := newHook(t, newDeduper(t, newStore(t), nil), fixed("1"), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			runs++
			w.WriteHeader(status)
		}), nil)
		expect(t, send(h, delivery("{}")), status, false)
		again := send(h, delivery("{}"))
		if want := map[bool]int{true: 200, false: status}[final]; again.Code != want || (runs == 1) != final {
			t.Errorf("after %d a copy is answered %d, after %d runs", status, again.Code, runs)
		}
	}
	t.Run("while the first runs", func(t *testing.T) {
		virtual(t, func(t *testing.T, store *memstore.Store) {
			work := newBusy()
			h := newHook(t, newDeduper(t, store, nil), fixed("1"), work, nil)
			first := sendAsync(h, delivery("{}"))
			<-work.started
			w := send(h, delivery("{}"))
			expectProblem(t, w, http.StatusConflict, "in-progress")
			if w.Header().Get("Retry-After") != "10" {
				t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
			}
			waiting := newHook(t, newDeduper(t, store, nil), fixed("1"), work, func(o *dedupehttp.WebhookOptions) { o.Wait = time.Minute })
			third := sendAsync(waiting, delivery("{}"))
			synctest.Wait()
			work.end <- answerWith(http.StatusOK, "done")
			expect(t, <-first, http.StatusOK, false)
			expect(t, <-third, http.StatusOK, true)
		})
	})
	t.Run("while the store is down", func(t *testing.T) {
		virtual(t, func(t *testing.T, store *memstore.Store) {
			down := faultstore.New(store)
			down.On(faultstore.Any, faultstore.Fail, faultstore.Always)
			h := newHook(t, newDeduper(t, down, nil), fixed("1"), answerWith(http.StatusOK, ""), nil)
			expectProblem(t, send(h, delivery("{}")), http.StatusServiceUnavailable, "unavailable")
		})
	})
}

// Done ids without a result stay in the memory of the process.
func TestFinishedDeliveriesAreAnsweredFromMemory(t *testing.T) {
	d := newDeduper(t, newStore(t), nil)
	h := newHook(t, d, fixed("1"), answerWith(http.StatusOK, strings.Repeat("x", 1<<20)), nil)
	for i := range 3 {
		expect(t, send(h, delivery("{}")), http.StatusOK, i > 0)
	}
	if s := d.Stats(); s.MemoryHits != 2 || s.Runs != 1 {
		t.Errorf("%+v", s)
	}
}

func TestTenantsOfAWebhookAreApart(t *testing.T) {
	h := newHook(t, newDeduper(t, newStore(t), nil), fixed("1"), answerWith(http.StatusOK, ""), func(o *dedupehttp.WebhookOptions) { o.Principal = tenant })
	expect(t, send(h, delivery("{}", "Tenant", "acme")), http.StatusOK, false)
	expect(t, send(h, delivery("{}", "Tenant", "other")), http.StatusOK, false)
	expect(t, send(h, delivery("{}", "Tenant", "acme")), http.StatusOK, true)
	expectProblem(t, send(h, delivery("{}")), http.StatusForbidden, "principal-unknown")
}

func TestWebhookOverTheLimitIs413(t *testing.T) {
	h := newHook(t, newDeduper(t, newStore(t), nil), fixed("1"), answerWith(http.StatusOK, ""), func(o *dedupehttp.WebhookOptions) { o.MaxRequest = 1 })
	expectProblem(t, send(h, delivery("{}")), http.StatusRequestEntityTooLarge, "body-too-large")
}

func TestRetentionShorterThanTheSenderRepeatsIsWarnedOf(t *testing.T) {
	for retention, want := range map[time.Duration]int{24 * time.Hour: 1, 72 * time.Hour: 0} {
		var log bytes.Buffer
		d := newDeduper(t, newStore(t), func(o *dedupe.Options) {
			o.Retention, o.Logger = retention, slog.New(slog.NewTextHandler(&log, nil))
		})
		newHook(t, d, dedupehttp.Stripe{Secrets: []string{"secret"}}, http.NotFoundHandler(), nil)
		if strings.Count(log.String(), "Retention") != want {
			t.Errorf("with a retention of %v it logs %q", retention, log.String())
		}
	}
}

func TestNewWebhookNamesWhatDoesNotFit(t *testing.T) {
	d := newDeduper(t, newStore(t), nil)
	one := []string{"secret"}
	for _, c := range []struct {
		want string
		s    dedupehttp.Source
		o    *dedupehttp.WebhookOptions
	}{
		{"without a Deduper or a Source", nil, nil},
		{"GitHub.Secrets is empty", dedupehttp.GitHub{}, nil},
		{"Shopify.Secrets is empty", dedupehttp.Shopify{}, nil},
		{"a secret in Stripe.Secrets is empty", dedupehttp.Stripe{Secrets: []string{"a", ""}}, nil},
		{"Slack.Tolerance", dedupehttp.Slack{Secrets: one, Tolerance: -1}, nil},
		{"StandardWebhooks.Secrets is not base64", dedupehttp.StandardWebhooks{Secrets: []string{"whsec_?"}}, nil},
		{"StandardWebhooks.Secrets is empty", dedupehttp.StandardWebhooks{}, nil},
		{"WebhookOptions.MaxRequest", fixed("1"), &dedupehttp.WebhookOptions{MaxRequest: -1}},
		{"WebhookOptions.Wait", fixed("1"), &dedupehttp.WebhookOptions{Wait: -1}},
	} {
		if wrap, err := dedupehttp.NewWebhook(d, c.s, c.o); wrap != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("NewWebhook returned %v, want %q", err, c.want)
		}
	}
	named := newDeduper(t, newStore(t), func(o *dedupe.Options) { o.Namespace = "staging" })
	if _, err := dedupehttp.NewWebhook(named, fixed("1"), &dedupehttp.WebhookOptions{Principal: tenant}); err == nil {
		t.Error("a principal and a Deduper with a Namespace fit")
	}
	if _, err := dedupehttp.NewWebhook(named, fixed("1"), nil); err != nil {
		t.Error(err)
	}
}
