package dedupehttp_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
	"github.com/oncebus/once/testutil/faultstore"
)

// Clients insist on their requests, at three processes, while handlers fail and
// panic, clients go away, and the store loses requests and replies. Each key has
// one effect, and whoever is answered hears of that one.
func TestEveryClientOfAKeyHearsOfItsOneEffect(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			virtual(t, func(t *testing.T, store *memstore.Store) { chaos(t, store, seed) })
		})
	}
}

func chaos(t *testing.T, store *memstore.Store, seed uint64) {
	const keys, clients = 5, 8
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 1))
	roll := func(n int) int { mu.Lock(); defer mu.Unlock(); return random.IntN(n) }

	effects := map[string][]string{}
	charge := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		pass(time.Duration(roll(int(2 * lease))))
		switch key := r.Header.Get("Idempotency-Key"); {
		case r.Context().Err() != nil, roll(10) == 0: // a 200, if it were taken for one
			if r.Context().Err() == nil {
				w.WriteHeader(http.StatusInternalServerError)
			}
		case roll(20) == 0:
			panic(http.ErrAbortHandler)
		default:
			mu.Lock()
			effect := fmt.Sprintf("%s by %d", key, dedupe.FenceFrom(r.Context()))
			effects[key] = append(effects[key], effect)
			mu.Unlock()
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, effect)
		}
	})
	var processes []http.Handler
	for i := range 3 {
		faulty := faultstore.New(store)
		for range 20 {
			kind := []claim.OpKind{claim.OpTryClaim, claim.OpMarkDone, claim.OpRelease, claim.OpExtend}[roll(4)]
			faulty.On(kind, faultstore.None, roll(4))
			faulty.On(kind, []faultstore.Fault{faultstore.Fail, faultstore.LoseRequest, faultstore.LoseReply, faultstore.Twice}[roll(4)], 1)
		}
		d := newDeduper(t, faulty, func(o *dedupe.Options) { o.LocalWait = time.Duration(i)*time.Second + 1 })
		processes = append(processes, newMiddleware(t, d, charge, func(o *dedupehttp.Options) { o.Wait = time.Duration(i) * 5 * time.Second }))
	}

	heard := map[string]map[string]int{}
	var all sync.WaitGroup
	for k := range keys {
		key := fmt.Sprint("key-", k)
		heard[key] = map[string]int{}
		for range clients {
			all.Go(func() {
				for try := 0; ; try++ {
					if try == 1000 {
						t.Errorf("%s: no answer after %d tries", key, try)
						return
					}
					ctx, cancel := context.WithTimeout(t.Context(), lease/2+time.Duration(roll(int(4*lease))))
					r := request(key, "{}").WithContext(ctx)
					w := httptest.NewRecorder()
					func() {
						defer func() { _ = recover() }()
						processes[roll(len(processes))].ServeHTTP(w, r)
					}()
					gone := ctx.Err() != nil
					cancel()
					if w.Code == http.StatusCreated && !gone {
						mu.Lock()
						heard[key][w.Body.String()]++
						mu.Unlock()
						return
					}
					pass(time.Duration(roll(int(time.Second))))
				}
			})
		}
	}
	all.Wait()
	synctest.Wait()
	for key, answers := range heard {
		if len(effects[key]) != 1 || len(answers) != 1 || answers[effects[key][0]] != clients {
			t.Errorf("%s: the effects are %v and the clients hear %v", key, effects[key], answers)
		}
	}
}

func TestConnectionThatIsDroppedInMidWork(t *testing.T) {
	work := newBusy()
	server := httptest.NewServer(protect(t, work))
	defer server.Close()
	ask := func(ctx context.Context) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL+"/charges", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Idempotency-Key", "k")
		r.Header.Set("Tenant", "acme")
		return server.Client().Do(r)
	}
	ctx, drop := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := ask(ctx)
		first <- err
	}()
	handler := <-work.started
	drop()
	if err := <-first; err == nil {
		t.Fatal("the client was answered")
	}
	<-handler.Done() // net/http has noticed
	work.end <- answerWith(http.StatusCreated, "charged")
	for {
		response, err := ask(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode == http.StatusConflict {
			continue // not recorded yet
		}
		if response.StatusCode != http.StatusCreated || string(body) != "charged" || response.Header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("answered %d %s", response.StatusCode, body)
		}
		return
	}
}
