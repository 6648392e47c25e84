package redisbus

import (
	"log/slog"
	"testing"
	"time"
)

// A keep-alive and a retry of one entry may be under way at the same time. When the
// entry is no longer in the stream, the first drops it and the second finds it
// taken: whichever answer comes first, the message is told deleted, once.
func TestADeletedEntryIsToldOnceWhicheverAnswerComesFirst(t *testing.T) {
	for _, fates := range [][]string{{deleted, taken}, {taken, deleted}, {deleted}, {deleted, deleted}} {
		c := &Consumer{opts: Options{Logger: slog.New(slog.DiscardHandler)}}
		s := c.session(t.Context(), 1)
		w := &wait{id: "1-1", number: 1}
		for _, fate := range fates {
			s.lost(w, fate)
		}
		if n := c.Stats(); n.Deleted != 1 || n.Taken != 0 {
			t.Errorf("%v: %+v", fates, n)
		}
	}
}

// The retry itself delivers the entry again, which a keep-alive that comes later
// takes for another's.
func TestAKeepAliveThatIsOvertakenByTheRetrySaysNothing(t *testing.T) {
	c := &Consumer{opts: Options{Logger: slog.New(slog.DiscardHandler)}}
	s := c.session(t.Context(), 1)
	w := &wait{id: "1-1", number: 1, due: time.Now()}
	s.waiting.add(w)
	k := w.refresh()
	s.waiting.take(time.Now(), 1)
	s.kept(k, time.Now(), taken)
	if n := c.Stats(); n.Taken != 0 {
		t.Errorf("%+v", n)
	}
	s.waiting.add(w)
	s.kept(k, time.Now(), taken)
	if n := c.Stats(); n.Taken != 1 || len(s.waiting.heap) != 0 {
		t.Errorf("%+v, %d wait", n, len(s.waiting.heap))
	}
}
