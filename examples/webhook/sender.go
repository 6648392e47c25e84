package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The pauses of the sender between two tries.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 160 * time.Millisecond
)

// sender delivers events until they are answered 2xx.
type sender struct {
	*job
	client *http.Client
	key    []byte

	requests, accepted, refused, dropped, forgeries atomic.Int64
}

func newSender(j *job) *sender {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		panic(err) // a constant
	}
	return &sender{job: j, key: key, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: j.Workers * 2}}}
}

// run delivers all events, some at a time. When ctx ends, what is on its way is
// finished, and nothing is begun or tried again.
func (s *sender) run(ctx context.Context) {
	defer s.client.CloseIdleConnections()
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range s.Workers {
		workers.Go(func() {
			for n := range numbers {
				s.deliver(ctx, n)
			}
		})
	}
	for n := 1; n <= s.Messages && ctx.Err() == nil; n++ {
		select {
		case numbers <- n:
		case <-ctx.Done():
		}
	}
	close(numbers)
	workers.Wait()
}

// deliver delivers one event, with the trouble that comes with it.
func (s *sender) deliver(ctx context.Context, n int) {
	id := fmt.Sprintf("msg_%06d", n)
	s.ledger.Accept(id)
	if s.Roll(id, "forged", 0) < s.forged {
		s.forge(ctx, id, n)
	}
	again := s.Trouble.Again(id)
	atOnce := again && s.Roll(id, "at once", 0) < 0.5
	var twin sync.WaitGroup
	if atOnce {
		twin.Go(func() { s.insist(ctx, id, n+1, "twin") })
	}
	settled := s.insist(ctx, id, n, "first")
	twin.Wait()
	if again && !atOnce && settled {
		s.insist(ctx, id, n+1, "again")
	}
	if !settled && ctx.Err() == nil {
		s.ledger.GiveUp(id)
	}
}

// insist tries until the event is taken, and reports whether it was.
func (s *sender) insist(ctx context.Context, id string, receiver int, which string) bool {
	pause := firstPause
	for try := range maxTries {
		if s.try(ctx, id, receiver+try, s.Roll(id, which+" drop", try), s.Roll(id, which+" when", try)) {
			return true
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		pause = min(2*pause, lastPause)
	}
	return false
}

// try makes one request and reports whether the event was taken. When drop says so
// the connection is dropped, in mid-work or with the answer in it.
func (s *sender) try(ctx context.Context, id string, receiver int, drop, when float64) bool {
	s.requests.Add(1)
	wait := patience
	dropped := drop < s.drop
	if dropped && when < 0.5 {
		wait = time.Duration(when * float64(8*time.Millisecond))
	}
	status, err := s.post(ctx, id, receiver, s.key, wait)
	switch {
	case err != nil || dropped:
		s.dropped.Add(1)
		return false
	case status >= 300:
		s.refused.Add(1)
		return false
	}
	s.accepted.Add(1)
	return true
}

// forge sends what somebody else made up.
func (s *sender) forge(ctx context.Context, id string, receiver int) {
	s.requests.Add(1)
	if status, err := s.post(ctx, id, receiver, []byte("another secret"), 10*time.Second); err == nil && status == http.StatusForbidden {
		s.forgeries.Add(1)
	}
}

// post sends the event and waits for the whole answer. What was begun is not
// interrupted by ctx.
func (s *sender) post(ctx context.Context, id string, receiver int, key []byte, wait time.Duration) (status int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer cancel()
	body := fmt.Sprintf(`{"type":"order.placed","data":{"order":%q}}`, id)
	at := fmt.Sprint(time.Now().Unix())
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, body)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.receivers[receiver%len(s.receivers)].url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", at)
	r.Header.Set("Webhook-Signature", "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	response, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}
