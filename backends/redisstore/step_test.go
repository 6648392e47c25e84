package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/redistest"
)

// The script and claim.Step are one machine, written twice. Every operation
// here is carried out by both, and so must every answer and every record agree.
func TestStateAgainstStep(t *testing.T) {
	redisstore.LetRecordsBeShort(t)
	for name := range duelLayouts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDuel(t, name)
			for round := range 40 {
				if err := d.fight(randomScript(round)); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
		})
	}
}

// byTwo is the plain layout with the script for completions beside the other.
const byTwo = "plain, by two scripts"

// duelLayouts are the layouts that are compared with the model. A generation of
// the packed one lasts for a few moves, and some completions ask for more than
// its retention.
var duelLayouts = map[string]redisstore.Options{
	"plain":  {},
	byTwo:    {},
	"packed": {Packed: &redisstore.PackedOptions{ExpectedIDs: 1, Retention: 120 * time.Millisecond}},
	"places": {Positions: &redisstore.PositionOptions{}},
}

func FuzzStateAgainstStep(f *testing.F) {
	for round := range 8 {
		f.Add(randomScript(round)[:80])
	}
	redisstore.LetRecordsBeShort(f)
	var duels []*duel
	for name := range duelLayouts {
		duels = append(duels, newDuel(f, name))
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		for _, d := range duels {
			if err := d.fight(script); err != nil {
				t.Fatalf("packed %v, places %v: %v", d.packed != nil, d.places, err)
			}
		}
	})
}

func randomScript(round int) []byte {
	source := rand.New(rand.NewPCG(20260102, uint64(round)))
	script := make([]byte, 900)
	for i := range script {
		script[i] = byte(source.Uint32())
	}
	return script
}

// A fence that is ahead of the clock outlives the completion: a key that is revived
// must not get a smaller one.
func TestAFenceAheadOfTheClockIsKept(t *testing.T) {
	m := redistest.Mini(t)
	store := newStore(t, m.Client(), nil)
	key, completion := newKey(t), claim.Completion{Retention: time.Hour}
	first := claimed(t, store, key, newRequest())
	if err := store.Release(t.Context(), key, first, 0); err != nil {
		t.Fatal(err)
	}
	second := claimed(t, store, key, newRequest()) // at the same microsecond
	other := newKey(t)
	ops := []*claim.Op{
		{Kind: claim.OpMarkDone, Key: key, Grant: second, Completion: completion},
		{Kind: claim.OpMarkDone, Key: other, Grant: claimed(t, store, other, newRequest()), Completion: completion},
	}
	store.Apply(t.Context(), ops)
	for i, want := range []uint64{second.Fence, ops[1].Grant.Token.Stamp()} {
		entry, err := store.Get(t.Context(), ops[i].Key)
		if ops[i].Err != nil || err != nil || entry.State != claim.StateDone || entry.Fence != want {
			t.Errorf("MarkDone: error %v, then %v with fence %d, error %v; want done with %d", ops[i].Err, entry.State, entry.Fence, err, want)
		}
	}
}

// The same where the clock was set back since the claim.
func TestAFenceOfBeforeTheClockWasSetBackIsKept(t *testing.T) {
	m := redistest.Mini(t)
	store := newStore(t, m.Client(), nil)
	key := newKey(t)
	grant := claimed(t, store, key, newRequest())
	m.SetTime(m.Now().Add(-time.Second))
	if _, err := store.MarkDone(t.Context(), key, grant, claim.Completion{Retention: time.Hour}); err != nil {
		t.Fatal(err)
	}
	entry, err := store.Get(t.Context(), key)
	if err != nil || entry.State != claim.StateDone || entry.Fence != grant.Fence {
		t.Errorf("%v with fence %d, error %v; want done with %d", entry.State, entry.Fence, err, grant.Fence)
	}
}

// duel drives a store and the model together.
type duel struct {
	server *redistest.MiniServer
	packed *redisstore.PackedOptions
	places bool
	store  *redisstore.Store
	round  int
}

func newDuel(t testing.TB, name string) *duel {
	m, layout := redistest.Mini(t), duelLayouts[name]
	layout.MaxBatch = 3
	store := newStore(t, m.Client(), &layout)
	if name == byTwo {
		store.Lean()
	}
	return &duel{server: m, packed: layout.Packed, places: layout.Positions != nil, store: store}
}

// moves reads decisions from a script, and zeros when it is over.
type moves struct {
	script []byte
	// bare makes most completions such that there is nothing to keep of them.
	bare bool
}

func (m *moves) pick(n int) int {
	if len(m.script) == 0 {
		return 0
	}
	b := m.script[0]
	m.script = m.script[1:]
	return int(b) % n
}

// moment returns less than a millisecond. Redis counts lives in milliseconds,
// leases are judged to the microsecond.
func (m *moves) moment() time.Duration {
	return [...]time.Duration{0, 0, time.Microsecond, 500 * time.Microsecond}[m.pick(4)]
}

// fight plays a script, and returns the first answer or record in which store
// and model differ.
func (d *duel) fight(script []byte) error {
	d.round++
	ctx := context.Background()
	var (
		m       = moves{script: script}
		keys    [2]claim.Key
		tokens  [3]claim.Token
		records = map[claim.Key]claim.Record{}
		grants  = map[claim.Key][]claim.Grant{}
		// Markers tell their end to the microsecond.
		marked = map[claim.Key]bool{}
		// The bits of a log end together, and say of nobody that it was he.
		end claim.Instant
	)
	for i := range keys {
		var err error
		keys[i], err = claim.NewKey("duel", "consumer", claim.MessageID(fmt.Sprintf("%d-%d\x00\r\n", d.round, i)))
		if err != nil {
			return err
		}
		if d.places {
			keys[i] = keys[i].At(claim.Place{Log: fmt.Sprint(d.round), Sequence: uint64(i)})
		}
	}
	for i := range tokens {
		tokens[i] = claim.Token{byte(i + 1), 0, '\n', 0xff}
	}
	m.bare = d.packed != nil || d.places || m.pick(2) == 0
	for len(m.script) > 0 {
		d.server.Advance(time.Duration(m.pick(2)*m.pick(3)*m.pick(40))*time.Millisecond + m.moment())
		var ops []*claim.Op
		for range 1 + m.pick(4) {
			op := m.op(keys[m.pick(len(keys))], tokens[:], grants)
			if kept := records[op.Key].Retention; kept > 0 && m.pick(2) == 0 {
				op.Completion.Retention = kept
			}
			if m.pick(4) > 0 { // mostly, the operator has just looked
				op.Seen = records[op.Key].State
				if op.Kind == claim.OpForget && records[op.Key].Fence == 0 {
					op.Grant.Fence = 0 // as a bit is shown
				}
			} else {
				op.Seen = claim.State(m.pick(6))
			}
			ops = append(ops, op)
		}
		now := claim.Instant(d.server.Now().UnixMicro())
		var want []claim.Op
		for _, op := range ops {
			model := *op
			rec := records[op.Key]
			next, write := claim.Step(rec, &model, now)
			if write {
				bare := next.State == claim.StateDone && 1000 <= next.Fence && next.Fence < 10_000
				mark := bare && d.packed != nil && op.Completion.Retention <= d.packed.Retention
				if mark { // for no longer than a generation keeps them
					next.Expires = min(next.Expires, now.Add(d.packed.Retention))
				}
				placed := bare && d.places && op.Kind == claim.OpMarkDone
				kept := next.State == claim.StateDone && next.Expires == rec.Expires
				if kept && placed {
					next.Expires = rec.Deadline.Add(rec.Retention)
				}
				if (!kept || mark || placed) && op.Kind != claim.OpRevive || marked[op.Key] {
					// Redis counts lives in milliseconds, and ours are rounded up.
					const ms = claim.Instant(1000)
					next.Expires = now + (next.Expires-now+ms-1)/ms*ms
				}
				if placed {
					next.Fence = 0
					end = max(end, next.Expires)
					next.Expires = end
					for key, rec := range records {
						if rec.State == claim.StateDone && rec.Fence == 0 && now < rec.Expires {
							rec.Expires = end
							records[key] = rec
						}
					}
				}
				records[op.Key] = next
				marked[op.Key] = mark
			}
			if model.Verdict.Outcome == claim.Claimed {
				grants[op.Key] = append(grants[op.Key], model.Verdict.Grant)
			}
			want = append(want, model)
		}
		if len(ops) == 1 {
			one(ctx, d.store, ops[0])
		} else {
			d.store.Apply(ctx, ops)
		}
		for i, op := range ops {
			if err := sameAnswer(op, &want[i]); err != nil {
				return err
			}
		}
		for _, key := range keys {
			rec, err := d.sameRecord(ctx, key, records[key], now)
			if err != nil {
				return err
			}
			records[key] = rec
		}
	}
	return nil
}

// op returns an operation. Grants are mostly those that were given, by the first
// or the last owner, and sometimes a little wrong.
func (m *moves) op(key claim.Key, tokens []claim.Token, grants map[claim.Key][]claim.Grant) *claim.Op {
	ms := func(n int) time.Duration { return time.Duration(1+m.pick(n)) * time.Millisecond }
	op := &claim.Op{Kind: claim.OpKind(1 + m.pick(7)), Key: key}
	fingerprint := [...]claim.Fingerprint{{}, {}, {1}, {2, 0, ' '}}[m.pick(4)]
	bare := m.bare && m.pick(8) > 0
	if bare {
		fingerprint = claim.Fingerprint{}
	}
	op.Request = claim.Request{Token: tokens[m.pick(len(tokens))], TTL: ms(60) + m.moment(), Fingerprint: fingerprint,
		MaxAttempts: m.pick(4), Takeover: claim.Takeover(m.pick(2))}
	op.Request.Retention = op.Request.TTL.Truncate(time.Millisecond) + ms(100)
	if given := grants[key]; len(given) > 0 {
		op.Grant = given[max(0, len(given)-1-m.pick(3))]
	} else {
		op.Grant = claim.Grant{Token: tokens[0], Fence: 7, Attempt: 1}
	}
	switch m.pick(8) {
	case 0:
		op.Grant.Fence++
	case 1:
		op.Grant.Token = tokens[m.pick(len(tokens))]
	case 2:
		if op.Kind == claim.OpRelease {
			op.Grant.Fence, op.Grant.Attempt = 0, m.pick(3)
		}
	}
	op.TTL = ms(60) + m.moment()
	if op.Kind == claim.OpRelease && m.pick(2) == 0 {
		op.TTL = 0
	}
	results := [...][]byte{nil, nil, {}, []byte("result"), bytes.Repeat([]byte{0, '\n', 0xff}, 100),
		make([]byte, claim.MaxResultBytes+1)}
	result := results[m.pick(5)]
	if m.pick(100) == 0 {
		result = results[5]
	}
	op.Completion = claim.Completion{Retention: time.Duration(1+m.pick(2)) * 100 * time.Millisecond, Result: result,
		Omitted: result == nil && m.pick(4) == 0, Fingerprint: fingerprint}
	if bare {
		op.Completion.Result, op.Completion.Omitted = nil, false
	}
	op.Reason = [...]string{"", "broken", "\xff\x00\n", strings.Repeat("é", 2000)}[m.pick(4)]
	return op
}

// sentinelOf returns the error of package claim that err matches.
func sentinelOf(err error) error {
	for _, s := range []error{claim.ErrLost, claim.ErrUnknown, claim.ErrUnavailable, claim.ErrCorrupt, claim.ErrTooLarge, claim.ErrInvalid} {
		if errors.Is(err, s) {
			return s
		}
	}
	return err
}

func sameAnswer(got, want *claim.Op) error {
	g, w := got.Verdict, want.Verdict
	// Redis tells lives in milliseconds.
	if g.Outcome == claim.Done && w.Remaining-g.Remaining < time.Millisecond {
		g.Remaining = w.Remaining
	}
	if (g.Result == nil) != (w.Result == nil) || !bytes.Equal(g.Result, w.Result) {
		return fmt.Errorf("%v: result of %d bytes, want %d", got.Kind, len(g.Result), len(w.Result))
	}
	g.Result, w.Result = nil, nil
	if sentinelOf(got.Err) != sentinelOf(want.Err) || got.Recovered != want.Recovered || !reflect.DeepEqual(g, w) {
		return fmt.Errorf("%v:\n got %+v, recovered %v, error %v\nwant %+v, recovered %v, error %v", got.Kind,
			g, got.Recovered, got.Err, w, want.Recovered, want.Err)
	}
	return nil
}

// sameRecord compares key's record with the model's, and returns with what the
// model goes on.
func (d *duel) sameRecord(ctx context.Context, key claim.Key, model claim.Record, now claim.Instant) (claim.Record, error) {
	entry, err := d.store.Get(ctx, key)
	if err != nil {
		return model, err
	}
	if now >= model.Expires {
		model = claim.Record{}
	}
	got, want := entry.Record, model
	if !bytes.Equal(got.Result, want.Result) || (got.Result == nil) != (want.Result == nil) {
		return model, fmt.Errorf("result of %d bytes, want %d", len(got.Result), len(want.Result))
	}
	got.Result, want.Result = nil, nil
	// It tells them in milliseconds too, and rounds down.
	if early := want.Expires.Sub(got.Expires); 0 < early && early < time.Millisecond {
		if short := want.Retention - got.Retention; got.State == claim.StateReleased && 0 < short && short < time.Millisecond {
			// A revived record has what was told.
			model.Retention, model.Expires = got.Retention, got.Expires
			want.Retention = got.Retention
		}
		want.Expires = got.Expires
	}
	if entry.Now != now || entry.Digest != key.Digest() || !reflect.DeepEqual(got, want) {
		return model, fmt.Errorf("record at %d:\n got %+v\nwant %+v", now, got, want)
	}
	return model, nil
}
