package dedupehttp_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/dedupe/dedupehttp"
)

// Two hundred clients retry one request at once, at two processes, over real
// connections.
func TestTwoHundredClientsAtOnceGetOneExecution(t *testing.T) {
	for _, wait := range []time.Duration{0, time.Minute} {
		t.Run(fmt.Sprintf("waiting %v", wait), func(t *testing.T) {
			const clients = 200
			store := newStore(t)
			var c charges
			var urls [2]string
			for i := range urls {
				d := newDeduper(t, store, func(o *dedupe.Options) { o.LocalWait = 0 }) // the default
				server := httptest.NewServer(newMiddleware(t, d, &c, func(o *dedupehttp.Options) { o.Wait = wait }))
				t.Cleanup(server.Close)
				urls[i] = server.URL
			}
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			defer client.CloseIdleConnections()
			replies := make([]reply, clients)
			begin := make(chan struct{})
			var all sync.WaitGroup
			for i := range replies {
				all.Go(func() {
					<-begin
					r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, urls[i%2]+"/charges", strings.NewReader(`{"cents":100}`))
					r.Header.Set("Idempotency-Key", `"k"`)
					r.Header.Set("Tenant", "acme")
					response, err := client.Do(r)
					if err != nil {
						replies[i].err = err
						return
					}
					defer response.Body.Close()
					body, err := io.ReadAll(response.Body)
					replies[i] = reply{response.StatusCode, response.Header, nil, string(body), err}
				})
			}
			close(begin)
			all.Wait()

			firsts, replays, conflicts := 0, 0, 0
			answers := map[string]int{}
			for _, r := range replies {
				switch {
				case r.err != nil:
					t.Error(r.err)
					continue
				case r.status == http.StatusConflict:
					conflicts++
					continue
				case r.header.Get("Idempotency-Replayed") == "true":
					replays++
				default:
					firsts++
				}
				r.header.Del("Idempotency-Replayed")
				r.header.Del("Date")
				answers[fmt.Sprint(r.status, r.header, r.body)]++
			}
			if len(answers) != 1 {
				t.Errorf("the answers are not identical: %v", answers)
			}
			t.Logf("%d firsts, %d replays, %d conflicts", firsts, replays, conflicts)
			if runs := c.runs.Load(); runs != 1 || firsts != 1 || firsts+replays+conflicts != clients || wait > 0 && conflicts > 0 {
				t.Errorf("%d runs, %d firsts, %d replays, %d conflicts", runs, firsts, replays, conflicts)
			}
		})
	}
}
