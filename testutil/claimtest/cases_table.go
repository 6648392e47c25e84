package claimtest

import (
	"errors"
	"fmt"

	"github.com/oncebus/once/claim"
)

// answer is a cell of the table: what an operation answers, and the situation
// that it leaves behind.
type answer struct {
	outcome   claim.Outcome // of TryClaim
	err       error
	recovered bool
	// then is the situation afterwards; its check is given the grant that is
	// current then.
	then situation
}

// row is an operation on a situation.
type row struct {
	kind claim.OpKind
	on   situation
	// own is the answer to the owner, with the token and fence of its grant.
	own answer
	// foreign is the answer to anyone else: by token, by fence, or by both.
	foreign answer
}

func keeps(s situation) answer                    { return answer{then: s} }
func becomes(s situation) answer                  { return answer{then: s} }
func lostOn(s situation) answer                   { return answer{err: claim.ErrLost, then: s} }
func says(o claim.Outcome, then situation) answer { return answer{outcome: o, then: then} }
func recovers(then situation) answer              { return answer{recovered: true, then: then} }

// table is package claim's, line by line. TryClaim's rows are given with a
// token that is the owner's, or another. An absent key has no owner, so that
// its rows have one answer.
var table = []row{
	{claim.OpTryClaim, absent, says(claim.Claimed, pending), says(claim.Claimed, pending)},
	{claim.OpTryClaim, pending, says(claim.Claimed, pending), says(claim.Pending, pending)},
	{claim.OpTryClaim, over, says(claim.Stale, over), says(claim.Claimed, pending)},
	{claim.OpTryClaim, released, says(claim.Stale, released), says(claim.Claimed, pending)},
	{claim.OpTryClaim, delayed, says(claim.Stale, delayed), says(claim.Pending, delayed)},
	{claim.OpTryClaim, tombstone, says(claim.Stale, tombstone), says(claim.Claimed, pending)},
	{claim.OpTryClaim, done, says(claim.Done, done), says(claim.Done, done)},
	{claim.OpTryClaim, bare, says(claim.Done, bare), says(claim.Done, bare)},
	{claim.OpTryClaim, recovered, says(claim.Done, recovered), says(claim.Done, recovered)},
	{claim.OpTryClaim, dead, says(claim.Dead, dead), says(claim.Dead, dead)},

	{claim.OpExtend, absent, lostOn(absent), lostOn(absent)},
	{claim.OpExtend, pending, keeps(pending), lostOn(pending)},
	{claim.OpExtend, over, becomes(pending), lostOn(over)},
	{claim.OpExtend, released, lostOn(released), lostOn(released)},
	{claim.OpExtend, delayed, lostOn(delayed), lostOn(delayed)},
	{claim.OpExtend, done, lostOn(done), lostOn(done)},
	{claim.OpExtend, bare, lostOn(bare), lostOn(bare)},
	{claim.OpExtend, recovered, lostOn(recovered), lostOn(recovered)},
	{claim.OpExtend, dead, lostOn(dead), lostOn(dead)},

	{claim.OpMarkDone, absent, recovers(recovered), recovers(recovered)},
	{claim.OpMarkDone, pending, becomes(done), lostOn(pending)},
	{claim.OpMarkDone, over, becomes(done), lostOn(over)},
	{claim.OpMarkDone, released, lostOn(released), lostOn(released)},
	{claim.OpMarkDone, delayed, lostOn(delayed), lostOn(delayed)},
	{claim.OpMarkDone, done, keeps(done), lostOn(done)},
	{claim.OpMarkDone, bare, keeps(bare), lostOn(bare)},
	{claim.OpMarkDone, recovered, recovers(recovered), lostOn(recovered)},
	{claim.OpMarkDone, dead, lostOn(dead), lostOn(dead)},

	{claim.OpMarkDead, absent, lostOn(absent), lostOn(absent)},
	{claim.OpMarkDead, pending, becomes(dead), lostOn(pending)},
	{claim.OpMarkDead, over, becomes(dead), lostOn(over)},
	{claim.OpMarkDead, released, lostOn(released), lostOn(released)},
	{claim.OpMarkDead, delayed, lostOn(delayed), lostOn(delayed)},
	{claim.OpMarkDead, done, lostOn(done), lostOn(done)},
	{claim.OpMarkDead, bare, lostOn(bare), lostOn(bare)},
	{claim.OpMarkDead, recovered, lostOn(recovered), lostOn(recovered)},
	{claim.OpMarkDead, dead, keeps(dead), lostOn(dead)},

	{claim.OpRelease, absent, becomes(released), becomes(released)},
	{claim.OpRelease, pending, becomes(released), lostOn(pending)},
	{claim.OpRelease, over, becomes(released), lostOn(over)},
	{claim.OpRelease, released, keeps(released), lostOn(released)},
	{claim.OpRelease, delayed, keeps(delayed), lostOn(delayed)},
	{claim.OpRelease, tombstone, keeps(tombstone), lostOn(tombstone)},
	{claim.OpRelease, done, lostOn(done), lostOn(done)},
	{claim.OpRelease, bare, lostOn(bare), lostOn(bare)},
	{claim.OpRelease, recovered, lostOn(recovered), lostOn(recovered)},
	{claim.OpRelease, dead, lostOn(dead), lostOn(dead)},
}

// tableCases makes one case of each row.
func tableCases() []testCase {
	cases := make([]testCase, 0, len(table))
	for _, r := range table {
		cases = append(cases, testCase{
			name: fmt.Sprintf("%v on %s", r.kind, r.on.name),
			why: fmt.Sprintf("%v on a record that is %s: %v to its owner, then %s; %v to anyone else, then %s",
				r.kind, r.on.name, r.own, r.own.then.name, r.foreign, r.foreign.then.name),
			run: r.run,
		})
	}
	return cases
}

// String returns the answer in words.
func (a answer) String() string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.outcome != 0:
		return a.outcome.String()
	case a.recovered:
		return "recovered"
	}
	return "fine"
}

// run tries the owner and every kind of stranger, each on a key of its own, and
// each once and twice: the repetition must change nothing and answer the same.
func (r row) run(e *env) {
	e.Helper()
	for _, times := range []int{1, 2} {
		key := e.key()
		g := r.on.make(e, key)
		r.try(e, key, g, g, r.own, times)
		foreign := r.foreign
		if e.Places && r.kind == claim.OpMarkDone && r.on.name == bare.name {
			foreign = r.own // a bit cannot tell whose it is
		}
		for _, change := range r.strangers(e) {
			key := e.key()
			g := r.on.make(e, key)
			stranger := g
			change(&stranger)
			r.try(e, key, g, stranger, foreign, times)
		}
	}
}

// strangers returns the ways in which a grant is not the owner's, as far as the
// operation and the record can tell: TryClaim shows no fence, a tombstone and a
// late release know none, and a done record keeps no token, or a stamp of it alone.
func (r row) strangers(e *env) []func(g *claim.Grant) {
	token := func(g *claim.Grant) { g.Token = e.token() }
	newer := func(g *claim.Grant) { g.Fence++ }
	older := func(g *claim.Grant) { g.Fence-- }
	both := func(g *claim.Grant) { token(g); newer(g) }
	bothOlder := func(g *claim.Grant) { token(g); older(g) }
	switch {
	case r.kind == claim.OpTryClaim || r.on.name == tombstone.name:
		return []func(*claim.Grant){token}
	case r.on.name == bare.name:
		return []func(*claim.Grant){both, bothOlder}
	case r.on.name == done.name || r.on.name == recovered.name:
		return []func(*claim.Grant){newer, older, both}
	}
	return []func(*claim.Grant){token, newer, older, both}
}

// try sends the operation as who, times times, to a key that owner owns.
func (r row) try(e *env, key claim.Key, owner, who claim.Grant, want answer, times int) {
	e.Helper()
	holder := owner
	op := r.op(e, key, who)
	for range times {
		send := func() {
			e.Helper()
			e.do(&op)
		}
		if want.then.name == r.on.name && want.outcome != claim.Claimed && r.kind != claim.OpExtend {
			e.unchanged(key, send)
		} else {
			send()
		}
		r.compare(e, &op, want)
		if want.outcome == claim.Claimed && r.on.name == pending.name && op.Verdict.Grant != owner {
			e.Fatalf("TryClaim repeated: grant %+v, want the same as before, %+v", op.Verdict.Grant, owner)
		}
		if want.outcome == claim.Claimed {
			holder = op.Verdict.Grant
		} else if r.on.name == absent.name && want.then.name != absent.name {
			holder = who
		}
	}
	want.then.check(e, key, holder)
}

func (r row) compare(e *env, op *claim.Op, want answer) {
	e.Helper()
	switch {
	case want.err != nil:
		if !errors.Is(op.Err, want.err) {
			e.Fatalf("%v on a record that is %s: error %v, want %v", r.kind, r.on.name, op.Err, want.err)
		}
	case op.Err != nil:
		e.Fatalf("%v on a record that is %s: %v", r.kind, r.on.name, op.Err)
	case op.Verdict.Outcome != want.outcome:
		e.Fatalf("TryClaim of a record that is %s: %v, want %v", r.on.name, op.Verdict.Outcome, want.outcome)
	case op.Recovered != want.recovered:
		e.Fatalf("MarkDone of a record that is %s: recovered %v, want %v", r.on.name, op.Recovered, want.recovered)
	}
}

func (r row) op(e *env, key claim.Key, g claim.Grant) claim.Op {
	op := claim.Op{Kind: r.kind, Key: key, Grant: g}
	switch r.kind {
	case claim.OpTryClaim:
		op.Request = e.request()
		op.Request.Token = g.Token
	case claim.OpExtend:
		op.TTL = e.units(long)
	case claim.OpMarkDone:
		op.Completion = claim.Completion{Retention: e.units(forever), Result: []byte(keptResult)}
	case claim.OpMarkDead:
		op.Reason = deadReason
	}
	return op
}
