package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/redistest"
)

// behind returns a client of s by way of a proxy, with one connection that is
// already made.
func behind(t testing.TB, s *redistest.Server, edit func(*redis.Options)) (*netproxy.Proxy, *redis.Client) {
	t.Helper()
	p := netproxy.New(t, s.Addr)
	o := s.Options()
	o.Addr, o.PoolSize = p.Addr(), 1
	o.MinRetryBackoff = -1
	if edit != nil {
		edit(o)
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return p, client
}

func noRetries(o *redis.Options) { o.MaxRetries = -1 }

// within returns a context for one call, and fails the test if the call did not
// return in time.
func within(t testing.TB, d time.Duration) (ctx context.Context, returned func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	start := time.Now()
	return ctx, func() {
		t.Helper()
		cancel()
		// Leave room for a machine that is busy with other tests.
		if late := time.Since(start) - d; late > 500*time.Millisecond {
			t.Errorf("the call returned %v after its deadline of %v", late, d)
		}
	}
}

// go-redis sends a command again when its reply was lost. A plain SET NX then
// finds its own key and tells the owner that somebody else holds the claim.
func TestALostReplyToAPlainSetNXIsTakenForAnotherOwner(t *testing.T) {
	p, client := behind(t, redistest.Start(t), nil)
	trap := p.CutAt(netproxy.BeforeReply, "nx")
	won, err := client.SetNX(t.Context(), "lock", "mine", time.Minute).Result()
	trap.Wait(t)
	if err != nil || won {
		t.Fatalf("won %v, error %v: the control must fail, or the tests beside it show nothing", won, err)
	}
}

func TestALostReplyToAClaimIsClaimedAgain(t *testing.T) {
	for way, word := range claimWays {
		t.Run(way, func(t *testing.T) { lostReply(t, word) })
	}
}

// claimWays are the ways in which a claim goes, and a word of the request.
var claimWays = map[string]string{"fresh": "echo", "by script": "evalsha"}

// ready makes store claim in the way whose requests have the word.
func ready(t testing.TB, store *redisstore.Store, word string) *redisstore.Store {
	t.Helper()
	if word == "evalsha" {
		return store.ByScript()
	}
	knowTime(t, store)
	return store
}

// knowTime asks the server until store knows its time, and makes it forget how many
// claims met records.
func knowTime(t testing.TB, store *redisstore.Store) {
	t.Helper()
	store.HopeAgain()
	for range 1000 {
		if store.KnowsTime() {
			return
		}
		err := store.Extend(t.Context(), newKey(t), claim.Grant{Token: claim.NewToken(), Fence: 1}, time.Minute)
		if !errors.Is(err, claim.ErrLost) {
			t.Fatal(err)
		}
	}
	t.Fatal("the store does not know the server's time")
}

func lostReply(t *testing.T, word string) {
	s := redistest.Start(t)
	p, client := behind(t, s, nil)
	store := ready(t, newStore(t, client, &redisstore.Options{Prefix: s.Prefix}), word)
	key, req := newKey(t), newRequest()
	trap := p.CutAt(netproxy.BeforeReply, word)
	v, err := store.TryClaim(t.Context(), key, req)
	trap.Wait(t)
	if err != nil || v.Outcome != claim.Claimed || v.Grant.Attempt != 1 || v.Takeover {
		t.Fatalf("%+v, error %v; want the first attempt", v, err)
	}
	entry, err := store.Get(t.Context(), key)
	if err != nil || entry.Fence != v.Grant.Fence || entry.Token != req.Token {
		t.Fatalf("record %+v, error %v; want the grant's", entry.Record, err)
	}
}

// What a client that does not repeat is told, at each point at which its
// connection can break, and that the caller's own repetition then succeeds.
func TestAConnectionCutAtEveryPointOfEveryOperation(t *testing.T) {
	s := redistest.Start(t)
	direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix})
	points := map[string]netproxy.Point{
		"before the request": netproxy.BeforeRequest, "within the request": netproxy.WithinRequest,
		"before the reply": netproxy.BeforeReply, "within the reply": netproxy.WithinReply,
	}
	want := map[claim.OpKind]claim.State{
		claim.OpTryClaim: claim.StatePending, claim.OpExtend: claim.StatePending, claim.OpMarkDone: claim.StateDone,
		claim.OpMarkDead: claim.StateDead, claim.OpRelease: claim.StateReleased, claim.OpForget: claim.StateAbsent,
		claim.OpRevive: claim.StateReleased,
	}
	for name, point := range points {
		t.Run(name, func(t *testing.T) {
			p, client := behind(t, s, noRetries)
			fresh := newStore(t, client, &redisstore.Options{Prefix: s.Prefix})
			scripted := newStore(t, client, &redisstore.Options{Prefix: s.Prefix}).ByScript()
			for kind := claim.OpTryClaim; kind <= claim.OpRevive; kind++ {
				for i := range 4 {
					batched, store, word := i%2 == 1, scripted, "evalsha"
					if i > 1 && kind != claim.OpTryClaim {
						continue
					}
					op := prepared(t, direct, kind)
					if i > 1 {
						store, word = fresh, "echo"
						knowTime(t, store)
					}
					send := func() {
						if batched {
							store.Apply(t.Context(), []*claim.Op{op})
						} else {
							one(t.Context(), store, op)
						}
					}
					trap := p.CutAt(point, word)
					send()
					trap.Wait(t)
					if !errors.Is(op.Err, claim.ErrUnknown) {
						t.Fatalf("%v: error %v, want ErrUnknown", kind, op.Err)
					}
					if text := op.Err.Error(); strings.Contains(text, string(op.Key.ID())) {
						t.Fatalf("%v: the message id is in the error: %s", kind, text)
					}
					send()
					if op.Err != nil || kind == claim.OpTryClaim && (op.Verdict.Outcome != claim.Claimed || op.Verdict.Grant.Attempt != 1) {
						t.Fatalf("%v repeated: %+v, error %v", kind, op.Verdict, op.Err)
					}
					entry, err := direct.Get(t.Context(), op.Key)
					if err != nil || entry.State != want[kind] {
						t.Fatalf("%v: the record is %v, error %v; want %v", kind, entry.State, err, want[kind])
					}
				}
			}
		})
	}
}

// prepared returns an operation of the kind, and a record that it fits.
func prepared(t testing.TB, s *redisstore.Store, kind claim.OpKind) *claim.Op {
	t.Helper()
	op := &claim.Op{Kind: kind, Key: newKey(t), Request: newRequest(), TTL: time.Minute, Reason: "broken",
		Completion: claim.Completion{Retention: time.Hour}}
	if kind == claim.OpTryClaim {
		return op
	}
	v, err := s.TryClaim(t.Context(), op.Key, op.Request)
	if err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("%v, error %v", v.Outcome, err)
	}
	op.Grant, op.Seen = v.Grant, claim.StatePending
	if kind == claim.OpRevive {
		op.Seen = claim.StateDone
		if _, err := s.MarkDone(t.Context(), op.Key, op.Grant, op.Completion); err != nil {
			t.Fatal(err)
		}
		op.Grant.Fence = op.Grant.Token.Stamp() // as Get shows it
	}
	return op
}

// Every reply that is not the answer to the request is an error, whatever it is
// instead: above all it is never a claim.
func TestAForeignReplyIsCorrupt(t *testing.T) {
	s := redistest.Start(t)
	p, client := behind(t, s, noRetries)
	store := newStore(t, client, &redisstore.Options{Prefix: s.Prefix}).ByScript()

	var other []byte
	p.Replace("evalsha", func(reply []byte) []byte {
		other = append([]byte(nil), reply...)
		return reply
	})
	if v, err := store.TryClaim(t.Context(), newKey(t), newRequest()); err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("%v, error %v", v.Outcome, err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"another call's":    func([]byte) []byte { return other },
		"a status":          func([]byte) []byte { return []byte("+OK\r\n") },
		"a number":          func([]byte) []byte { return []byte(":1\r\n") },
		"nothing":           func([]byte) []byte { return []byte("$-1\r\n") },
		"an empty string":   func([]byte) []byte { return []byte("$0\r\n\r\n") },
		"an array":          func([]byte) []byte { return []byte("*1\r\n:1\r\n") },
		"no protocol":       func([]byte) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n") },
		"another outcome":   func(b []byte) []byte { return bulk(text(b)[:24] + "Z") },
		"cut short":         func(b []byte) []byte { return bulk(text(b)[:20]) },
		"with a tail":       func(b []byte) []byte { return bulk(text(b) + "x") },
		"with another time": func(b []byte) []byte { return []byte(strings.Replace(string(b), "17", "x7", 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			key, req := newKey(t), newRequest()
			trap := p.Replace("evalsha", change)
			v, err := store.TryClaim(t.Context(), key, req)
			trap.Wait(t)
			if !errors.Is(err, claim.ErrCorrupt) || v.Outcome != 0 {
				t.Fatalf("%+v, error %v; want ErrCorrupt", v, err)
			}
			if v, err = store.TryClaim(t.Context(), key, req); err != nil || v.Outcome != claim.Claimed {
				t.Fatalf("repeated: %v, error %v", v.Outcome, err)
			}
		})
	}
}

// bulk returns a reply that is a string, and text the string of one.
func bulk(s string) []byte { return fmt.Appendf(nil, "$%d\r\n%s\r\n", len(s), s) }

func text(reply []byte) string {
	_, after, _ := strings.Cut(string(reply), "\r\n")
	return strings.TrimSuffix(after, "\r\n")
}

// A server that is stopped has commands in its kernel's buffers that their
// senders gave up. They land when it goes on, and must do no harm.
func TestAStoppedServerMakesCallsUnknownAndLateLandingsHarmless(t *testing.T) {
	s := redistest.StartOwn(t)
	clients := map[string]redis.UniversalClient{
		"heeds deadlines": s.Client(),
		"heeds nothing":   redis.NewClient(&redis.Options{Addr: s.Addr, ReadTimeout: 2 * time.Second, MaxRetries: -1}),
	}
	for name, client := range clients {
		t.Cleanup(func() { _ = client.Close() })
		t.Run(name, func(t *testing.T) {
			store := newStore(t, client, &redisstore.Options{Prefix: fresh(s.Prefix)})
			claimed, abandoned := prepared(t, store, claim.OpMarkDone), prepared(t, store, claim.OpTryClaim)
			late := prepared(t, store, claim.OpTryClaim)

			s.Stop()
			for _, op := range []*claim.Op{claimed, abandoned, late} {
				ctx, returned := within(t, 60*time.Millisecond)
				one(ctx, store, op)
				returned()
				if !errors.Is(op.Err, claim.ErrUnknown) && !errors.Is(op.Err, claim.ErrUnavailable) {
					t.Errorf("%v: %+v, error %v; want ErrUnknown", op.Kind, op.Verdict, op.Err)
				}
			}
			s.Cont()

			// The owner of the abandoned claim gives it back by its token alone. The
			// claim may land before or after that.
			ctx := t.Context()
			if err := store.Release(ctx, abandoned.Key, claim.Grant{Token: abandoned.Request.Token}, 0); err != nil {
				t.Fatalf("Release: %v", err)
			}
			other := newRequest()
			if v, err := store.TryClaim(ctx, abandoned.Key, other); err != nil || v.Outcome != claim.Claimed {
				t.Fatalf("another owner after the Release: %+v, error %v", v, err)
			}
			one(ctx, store, late)
			if late.Err != nil || late.Verdict.Outcome != claim.Claimed || late.Verdict.Grant.Attempt != 1 {
				t.Fatalf("the claim repeated: %+v, error %v", late.Verdict, late.Err)
			}
			one(ctx, store, claimed)
			if claimed.Err != nil || claimed.Recovered {
				t.Fatalf("the completion repeated: recovered %v, error %v", claimed.Recovered, claimed.Err)
			}
		})
	}
}

// A copy of a claim that the network held back lands after its owner gave it
// up, and must not take the key.
func TestAClaimThatLandsAfterItsReleaseIsStale(t *testing.T) {
	s := redistest.Start(t)
	p, client := behind(t, s, noRetries)
	slow := newStore(t, client, &redisstore.Options{Prefix: s.Prefix})
	direct := newStore(t, s.Client(), &redisstore.Options{Prefix: s.Prefix})
	key, req := newKey(t), newRequest()

	p.Delay(300 * time.Millisecond)
	ctx, returned := within(t, 50*time.Millisecond)
	_, err := slow.TryClaim(ctx, key, req)
	returned()
	if !errors.Is(err, claim.ErrUnknown) {
		t.Fatalf("error %v, want ErrUnknown", err)
	}
	if err := direct.Release(t.Context(), key, claim.Grant{Token: req.Token}, 0); err != nil {
		t.Fatal(err)
	}
	before, err := direct.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	s.Advance(400 * time.Millisecond)
	after, err := direct.Get(t.Context(), key)
	if err != nil || after.State != claim.StateReleased || before.Expires != after.Expires {
		t.Fatalf("the record is %v, error %v; want the Release's tombstone", after.State, err)
	}
	if v, err := direct.TryClaim(t.Context(), key, req); err != nil || v.Outcome != claim.Stale {
		t.Fatalf("the claim itself: %v, error %v; want Stale", v.Outcome, err)
	}
	if v, err := direct.TryClaim(t.Context(), key, newRequest()); err != nil || v.Outcome != claim.Claimed {
		t.Fatalf("another owner: %v, error %v; want Claimed", v.Outcome, err)
	}
}

// Every call returns inside its deadline and leaves nothing behind that could
// still happen: what says that nothing was sent must be right about it.
func TestAnExhaustedPoolIsUnavailableInTime(t *testing.T) {
	s := redistest.Start(t)
	for name, edit := range map[string]func(*redis.Options){
		"heeds deadlines": func(*redis.Options) {},
		"heeds nothing":   func(o *redis.Options) { o.ContextTimeoutEnabled = false },
	} {
		t.Run(name, func(t *testing.T) {
			o := s.Options()
			o.PoolSize, o.PipelinePoolSize = 1, -1
			edit(o)
			client := redis.NewClient(o)
			t.Cleanup(func() { _ = client.Close() })
			store := newStore(t, client, &redisstore.Options{Prefix: fresh(s.Prefix)})

			conn := client.Conn() // takes the one connection
			if err := conn.Ping(t.Context()).Err(); err != nil {
				t.Fatal(err)
			}
			for _, size := range []int{1, 300} {
				var ops []*claim.Op
				for range size {
					ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
				}
				ctx, returned := within(t, 50*time.Millisecond)
				store.Apply(ctx, ops)
				returned()
				for _, op := range ops {
					if !errors.Is(op.Err, claim.ErrUnavailable) {
						t.Fatalf("error %v, want ErrUnavailable", op.Err)
					}
				}
			}
			_ = conn.Close()
		})
	}
}

func TestAServerThatIsGoneIsUnavailable(t *testing.T) {
	s := redistest.StartOwn(t)
	o := s.Options()
	o.DialerRetries, o.MaxRetries = 1, -1
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	store := newStore(t, client, &redisstore.Options{})
	s.Kill()
	for _, size := range []int{1, 2} {
		var ops []*claim.Op
		for range size {
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
		}
		// The pool may still have the old connection, on which anything may have
		// happened; and then it has none.
		store.Apply(t.Context(), ops)
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			if !errors.Is(op.Err, claim.ErrUnavailable) {
				t.Fatalf("error %v, want ErrUnavailable", op.Err)
			}
		}
	}
	if _, err := redisstore.New(t.Context(), client, &redisstore.Options{Logger: quiet}); !errors.Is(err, claim.ErrUnavailable) {
		t.Fatalf("New: error %v, want ErrUnavailable", err)
	}
}

// A context that ends in mid-call ends the call, with a deadline or without, on
// every client.
func TestACancelledCallReturns(t *testing.T) {
	s := redistest.StartOwn(t)
	client := redis.NewClient(&redis.Options{Addr: s.Addr, ContextTimeoutEnabled: true, ReadTimeout: 2 * time.Second, MaxRetries: -1})
	t.Cleanup(func() { _ = client.Close() })
	store := newStore(t, client, &redisstore.Options{})
	key, req := newKey(t), newRequest()
	ctx, cancel := context.WithCancel(t.Context())
	s.Stop()
	defer s.Cont()
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	_, err := store.TryClaim(ctx, key, req)
	if took := time.Since(start); took > time.Second {
		t.Errorf("the call took %v", took)
	}
	if !errors.Is(err, claim.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want ErrUnknown because of the cancelled context", err)
	}
}

// The handshake of a new connection can be refused too. A pipeline then leaves
// its commands without an error of their own.
func TestARefusedHandshakeIsUnavailable(t *testing.T) {
	s := redistest.StartOwn(t)
	admin := s.Client()
	if err := admin.Do(t.Context(), "acl", "setuser", "passing", "on", ">right", "+@all", "~*").Err(); err != nil {
		t.Fatal(err)
	}
	o := s.Options()
	o.Username, o.Password = "passing", "right"
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	store := newStore(t, client, &redisstore.Options{})
	for _, args := range [][]any{{"acl", "setuser", "passing", "resetpass", ">other"}, {"client", "kill", "type", "normal", "skipme", "yes"}} {
		if err := admin.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{1, 300} {
		var ops []*claim.Op
		for range size {
			ops = append(ops, &claim.Op{Kind: claim.OpTryClaim, Key: newKey(t), Request: newRequest()})
		}
		store.Apply(t.Context(), ops)
		for _, op := range ops {
			if !errors.Is(op.Err, claim.ErrUnavailable) {
				t.Fatalf("batch of %d: error %v, want ErrUnavailable", size, op.Err)
			}
		}
	}
}
