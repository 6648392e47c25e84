package natsstore

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
)

// fakeServer has a clock that is ahead of the test's by ahead, and takes a while
// to answer.
type fakeServer struct {
	ahead, there, back time.Duration
	asked              int
}

func (f *fakeServer) time() claim.Instant { return claim.Instant(time.Now().Add(f.ahead).UnixMicro()) }

func (f *fakeServer) ask(context.Context) (claim.Instant, error) {
	f.asked++
	time.Sleep(f.there)
	now := f.time()
	time.Sleep(f.back)
	return now, nil
}

func TestTheClockIsNeverAheadOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{ahead: time.Hour, there: 2 * time.Millisecond, back: 3 * time.Millisecond}
		c := newClock(server.ask)
		check := func(lag time.Duration) {
			t.Helper()
			if got := server.time().Sub(c.now()); got != lag {
				t.Errorf("%v behind the server, want %v", got, lag)
			}
		}
		renew := func(age time.Duration, began time.Time, asked int) {
			t.Helper()
			if err := c.renew(t.Context(), age, began); err != nil {
				t.Fatal(err)
			}
			if server.asked != asked {
				t.Errorf("asked %d times, want %d", server.asked, asked)
			}
		}
		renew(judgeAge, time.Now(), 1)
		check(3 * time.Millisecond)
		time.Sleep(judgeAge)
		check(3 * time.Millisecond)
		renew(judgeAge, time.Time{}, 1)
		time.Sleep(time.Millisecond)
		renew(judgeAge, time.Time{}, 2)
		renew(fenceAge, time.Time{}, 2)

		// An operation shorter than the answer took might be put before its begin.
		renew(judgeAge, time.Now().Add(-4*time.Millisecond), 3)
		renew(judgeAge, time.Now().Add(-5*time.Millisecond), 3)

		// A server whose clock is set back is believed at the next answer.
		server.ahead = -time.Hour
		time.Sleep(2 * judgeAge)
		renew(judgeAge, time.Time{}, 4)
		check(3 * time.Millisecond)
	})
}

func TestOneAsksForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &fakeServer{there: time.Second}
		c := newClock(server.ask)
		for range 10 {
			go func() {
				if err := c.renew(t.Context(), fenceAge, time.Time{}); err != nil {
					t.Error(err)
				}
			}()
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := c.renew(ctx, fenceAge, time.Time{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the context's error", err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if server.asked != 1 {
			t.Errorf("asked %d times, want once", server.asked)
		}
	})
}

func TestWhatIsKnownOfAWrite(t *testing.T) {
	for _, c := range []struct {
		name       string
		err        error
		replicated bool
		want       error
	}{
		{"nobody listened", nats.ErrNoResponders, true, claim.ErrUnavailable},
		{"nothing was sent", notSent{context.DeadlineExceeded}, true, claim.ErrUnavailable},
		{"the deadline", context.DeadlineExceeded, false, claim.ErrUnknown},
		{"the connection broke", nats.ErrDisconnected, false, claim.ErrUnknown},
		{"refused", &jetstream.APIError{ErrorCode: 10023}, true, claim.ErrUnavailable},
		{"not stored", &jetstream.APIError{ErrorCode: errStoreFailed}, false, claim.ErrUnavailable},
		{"not stored by the leader", &jetstream.APIError{ErrorCode: errStoreFailed}, true, claim.ErrUnknown},
		{"overtaken for ever", errConflict, true, claim.ErrUnavailable},
		{"no answer to this", errReply, true, claim.ErrCorrupt},
	} {
		s := &Store{replicated: c.replicated}
		if err := s.fate(c.err); !errors.Is(err, c.want) || !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestAnswersAreReadWholeOrNotAtAll(t *testing.T) {
	for reply, want := range map[string]error{
		`{"stream":"KV_b","seq":7}`: nil,
		`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"KV_b","seq":0}`: errConflict,
		`{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}`:                            errConflict,
		`{}`: errReply, ``: errReply, `{"seq":`: errReply, `-ERR`: errReply,
	} {
		if revision, err := parseAck([]byte(reply)); !errors.Is(err, want) || (err == nil) != (revision == 7) {
			t.Errorf("%s: revision %d, %v; want %v", reply, revision, err, want)
		}
	}
	for _, reply := range []string{`{}`, ``, `{"message":{}}`, `{"message":null}`} {
		if _, err := parseRead([]byte(reply), claim.Digest{}); !errors.Is(err, claim.ErrCorrupt) {
			t.Errorf("%s: %v, want ErrCorrupt", reply, err)
		}
	}
	if _, err := parseRead([]byte(`{"error":{"code":503,"err_code":10008}}`), claim.Digest{}); !errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("an error of the server: %v, want ErrUnavailable", err)
	}
	if v, err := parseRead([]byte(`{"error":{"code":404,"err_code":10037}}`), claim.Digest{}); err != nil || v.revision != 0 {
		t.Errorf("no message: %+v, %v", v, err)
	}
}
