package redisstore

import (
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// StateLua is the script.
var StateLua = stateLua

// UseMutant makes all stores run the scripts with one piece replaced, until the
// test ends.
func UseMutant(t testing.TB, piece, replacement string) {
	t.Helper()
	state, done := stateScript, doneScript
	texts := [2]string{state.eval[1].(string), done.eval[1].(string)}
	if n := strings.Count(texts[0]+texts[1], piece); n != 1 {
		t.Fatalf("%q stands %d times in the scripts, want once", piece, n)
	}
	stateScript = newScript(strings.Replace(texts[0], piece, replacement, 1))
	doneScript = newScript(strings.Replace(texts[1], piece, replacement, 1))
	t.Cleanup(func() { stateScript, doneScript = state, done })
}

// LetRecordsBeShort takes the least life of a record away, until the test ends: the
// model has none.
func LetRecordsBeShort(t testing.TB) {
	UseMutant(t, "LEAST = 30", "LEAST = 1")
	least := leastLife
	leastLife = 1
	t.Cleanup(func() { leastLife = least })
}

// UseSettleScript makes all stores use another script for what ends a claim on
// a full server, until the test ends.
func UseSettleScript(t *testing.T, text string) {
	original := settleScript
	settleScript = newScript(text)
	t.Cleanup(func() { settleScript = original })
}

// OneFlight makes s combine all that concurrent callers bring while one trip is
// out.
func (s *Store) OneFlight(t testing.TB) *Store {
	t.Helper()
	c, err := claim.NewCombiner(s, &claim.CombinerOptions{MaxFlights: 1})
	if err != nil {
		t.Fatal(err)
	}
	s.singles.common = c
	return s
}

// ByScript makes s do all by the script alone.
func (s *Store) ByScript() *Store {
	s.hope.usable.Store(false)
	s.lean = false
	return s
}

// HopeAgain makes s forget how many claims met records.
func (s *Store) HopeAgain() { s.hope.met.Store(0) }

// KnowsTime reports whether s knows the server's time well enough for claims that go
// without the script.
func (s *Store) KnowsTime() bool {
	_, _, ok := s.serverTime(s.clocks.now())
	return ok && s.hope.any()
}

// MisjudgeTime makes s believe that the server's time is later by d, or known so much
// worse.
func (s *Store) MisjudgeTime(d, worse time.Duration) {
	s.clocks.mu.Lock()
	defer s.clocks.mu.Unlock()
	for _, c := range s.clocks.byServer {
		c.least += d - worse
		c.most += d
	}
}

// Lean makes s have the short script carry out completions wherever it can.
func (s *Store) Lean() *Store {
	s.lean = true
	return s
}

// Prefix returns the prefix of s's keys.
func (s *Store) Prefix() string { return s.names.prefix }

// Clock is what is known of a server's clock.
type Clock struct{ c clock }

// Look takes down a reply: when it was asked for, when it came, and the server's
// time in it.
func (c *Clock) Look(sent, got, now time.Duration) (step time.Duration) {
	return c.c.look(sent, got, now)
}

// DoneDigest is what the short script is called by.
func DoneDigest() string { return doneScript.evalsha[1].(string) }
