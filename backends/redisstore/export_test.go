package redisstore

import (
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/claim"
)

// StateLua is the script.
var StateLua = stateLua

// UseMutant makes all stores run the script with one piece replaced, until the
// test ends.
func UseMutant(t *testing.T, piece, replacement string) {
	t.Helper()
	text := preludeLua + stateLua
	if n := strings.Count(text, piece); n != 1 {
		t.Fatalf("%q stands %d times in the script, want once", piece, n)
	}
	original := stateScript
	stateScript = newScript(strings.Replace(text, piece, replacement, 1))
	t.Cleanup(func() { stateScript = original })
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

// Prefix returns the prefix of s's keys.
func (s *Store) Prefix() string { return s.names.prefix }

// Clock is what is known of a server's clock.
type Clock struct{ c clock }

// Look takes down a reply: when it was asked for, when it came, and the server's
// time in it.
func (c *Clock) Look(sent, got, now time.Duration) (step time.Duration) {
	return c.c.look(sent, got, now)
}
