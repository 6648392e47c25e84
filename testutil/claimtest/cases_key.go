package claimtest

import (
	"math"
	"strings"

	"github.com/oncebus/once/claim"
)

// hostileIDs would be something else to a store that pastes ids into keys,
// patterns, queries or text.
var hostileIDs = []string{
	"a", "A", " ", "a ", "0", "*", "?", "[a-z]", "{a}", "{", "}", "{}", "a:b", "a", "once:{a}", "a.b.>", "%s%d%n", "'; DROP TABLE claims; --",
	"\x00", "a\x00", "a\x00b", "\r\n", "a\r\nDEL x", "\xff\xfe\xfd", "ö", "o\u0308", "../../etc/passwd", "$(id)", "\\", "\"", "null",
	strings.Repeat("x", claim.MaxIDBytes), strings.Repeat("x", claim.MaxIDBytes-1) + "y", string(allBytes),
}

// life takes a key from its first claim to done, so that any other key that
// shared its record would be seen.
func (e *env) life(key claim.Key, result string) {
	e.Helper()
	g := e.claimAttempt(1, key, e.request())
	e.fine(e.extend(key, g, e.units(long)))
	e.fine(e.release(key, g, 0))
	g = e.claimAttempt(2, key, e.request())
	e.done(key, g, claim.Completion{Result: []byte(result)})
}

var keyCases = []testCase{
	{
		name: "consumers are independent",
		why:  "two consumers of one message each run it once, and neither can touch the other's record",
		run: func(e *env) {
			a, b := e.keyOf("claimtest", "consumer-a", "one id"), e.keyOf("claimtest", "consumer-b", "one id")
			e.independent(a, b)
		},
	},
	{
		name: "namespaces are independent",
		why:  "two namespaces never see each other's records, nor does the one without a name",
		run: func(e *env) {
			a, b, c := e.keyOf("a", "consumer", "one id"), e.keyOf("b", "consumer", "one id"), e.keyOf("", "consumer", "one id")
			e.independent(a, b)
			e.life(c, "c")
		},
	},
	{
		name: "parts do not run together",
		why:  "namespace, consumer and id are told apart wherever the borders are",
		run: func(e *env) {
			var keys []claim.Key
			for _, parts := range [][3]string{{"a", "b", "c"}, {"ab", "c", "c"}, {"a", "bc", "c"}, {"", "ab", "c"}, {"", "a", "bc"},
				{"a", "b:c", "d"}, {"a:b", "c", "d"}, {"a", "b", "c:d"}, {"a\x00b", "c", "d"}, {"a", "b\x00c", "d"}} {
				keys = append(keys, e.keyOf(parts[0], parts[1], parts[2]))
			}
			for i, key := range keys {
				e.life(key, string(rune('a'+i)))
			}
			for i, key := range keys {
				e.sameResult(e.answers(claim.Done, key, e.request()), []byte{byte('a' + i)})
			}
		},
	},
	{
		name: "hostile ids",
		why:  "an id is opaque bytes: control characters, wildcards, braces and 4096 bytes are ids like any other",
		run: func(e *env) {
			seen := map[string]bool{}
			for _, id := range hostileIDs {
				if !seen[id] {
					seen[id] = true
					e.life(e.keyOf("claimtest", "consumer", id), id)
				}
			}
			for id := range seen {
				e.sameResult(e.answers(claim.Done, e.keyOf("claimtest", "consumer", id), e.request()), []byte(id))
			}
		},
	},
	{
		name: "places",
		why:  "a place changes no answer; a number in another log, and another number, are another message",
		run: func(e *env) {
			var keys []claim.Key
			add := func(log string, sequences ...uint64) {
				for _, n := range sequences {
					keys = append(keys, e.key().At(claim.Place{Log: log, Sequence: n}))
				}
			}
			add("log", 0, 1, 7, 8, 4095, 4096, 1<<40, math.MaxUint64)
			add("other", 0, 8)
			add("log/1", 1)
			add("log\x00", 1)
			add(strings.Repeat("l", 5000), 3)
			for i, key := range keys {
				if i%2 == 0 {
					e.life(key, "kept")
				} else {
					e.done(key, e.claim(key, e.request()), claim.Completion{})
				}
			}
			for _, key := range keys {
				e.answers(claim.Done, key, e.request())
			}
			e.independent(e.keyOf("claimtest", "a", "one").At(claim.Place{Log: "log", Sequence: 7}),
				e.keyOf("claimtest", "b", "one").At(claim.Place{Log: "log", Sequence: 7}))
		},
	},
	{
		name: "hostile names",
		why:  "namespaces and consumers of any bytes, up to their limits, are names like any other",
		run: func(e *env) {
			full := strings.Repeat("n", claim.MaxNamespaceBytes)
			for _, name := range []string{"{a}", "*", "a b", "\x00\xff", full} {
				e.life(e.keyOf(name, "consumer", "id"), "namespace")
				e.life(e.keyOf("claimtest", name, "id"), "consumer")
			}
		},
	},
	{
		name: "hostile tokens",
		why:  "a token is 16 opaque bytes",
		run: func(e *env) {
			for _, token := range []claim.Token{{15: 1}, {0: 1}, {0: ' ', 15: ' '}, {0: '"', 1: '\\', 2: '\r', 3: '\n'},
				{0: 255, 1: 255, 8: 255, 15: 255}, {0: '-', 1: '1'}, {0: '{', 15: '}'}} {
				key, req := e.key(), e.request()
				req.Token = token
				g := e.claim(key, req)
				if again := e.claim(key, req); again != g {
					e.Fatalf("repeated: grant %+v, want %+v", again, g)
				}
				other := g
				other.Token[7]++
				e.lost(e.extend(key, other, e.Unit))
				e.fine(e.release(key, claim.Grant{Token: token}, 0))
				e.answers(claim.Stale, key, req)
			}
		},
	},
}

// independent checks that a is claimed, given up and finished without b
// noticing, and the other way round.
func (e *env) independent(a, b claim.Key) {
	e.Helper()
	req := e.request()
	ga := e.claimAttempt(1, a, req)
	gb := e.claimAttempt(1, b, req)
	e.fine(e.release(a, ga, 0))
	e.answers(claim.Pending, b, e.request())
	ga = e.claimAttempt(2, a, e.request())
	e.done(b, gb, claim.Completion{Result: []byte("b")})
	e.answers(claim.Pending, a, e.request())
	e.fine(e.dead(a, ga, deadReason))
	e.sameResult(e.answers(claim.Done, b, e.request()), []byte("b"))
	e.answers(claim.Dead, a, e.request())
}
