package sqlstore

import (
	"bytes"
	"context"
	"math/rand/v2"
	"reflect"
	"slices"
	"time"

	"github.com/oncebus/once/claim"
)

const (
	// maxTries is how often a row that others change meanwhile is read and written
	// again. Each loses to somebody who made progress.
	maxTries = 30
	// maxPause bounds the pause before a try.
	maxPause = 200 * time.Millisecond
	// maxBytes is what one statement carries, about, before it is written as
	// hexadecimal digits. MySQL's max_allowed_packet is 16 MiB or more.
	maxBytes = 4 << 20
)

// group is the operations on one key, in their order. They become one change of
// its row.
type group struct {
	ops   []*claim.Op
	write bool
	change
}

// Apply implements claim.Batcher. It reads up to MaxBatch records with one
// statement and writes them with one, or two when some are new and some are not.
func (s *Store) Apply(ctx context.Context, ops []*claim.Op) {
	if len(ops) == 1 {
		s.applyOne(ctx, ops[0])
		return
	}
	byDigest := make(map[claim.Digest]*group, len(ops))
	groups := make([]*group, 0, len(ops))
	for _, op := range ops {
		if !s.sendable(ctx, op) {
			continue
		}
		digest := op.Key.Digest()
		g := byDigest[digest]
		if g == nil {
			g = &group{change: change{digest: digest}}
			byDigest[digest] = g
			groups = append(groups, g)
		}
		g.ops = append(g.ops, op)
	}
	// Rows are locked in this order by everybody.
	slices.SortFunc(groups, func(a, b *group) int { return bytes.Compare(a.digest[:], b.digest[:]) })
	for batch := range slices.Chunk(groups, s.maxBatch) {
		s.carryOut(ctx, batch)
	}
}

func (s *Store) applyOne(ctx context.Context, op *claim.Op) {
	if s.sendable(ctx, op) {
		s.carryOut(ctx, []*group{{ops: []*claim.Op{op}, change: change{digest: op.Key.Digest()}}})
	}
}

// sendable fails an operation that need not be sent.
func (s *Store) sendable(ctx context.Context, op *claim.Op) bool {
	if err := op.Validate(); err != nil {
		op.Fail(err)
		return false
	}
	if ctx.Err() != nil {
		op.Fail(unavailable(ctx, ctx.Err()))
		return false
	}
	return true
}

// fail answers all operations of groups with err.
func fail(groups []*group, err error) {
	for _, g := range groups {
		for _, op := range g.ops {
			op.Fail(err)
		}
	}
}

// carryOut reads the rows of groups, applies the operations and writes what they
// make of the rows, unless a row has changed meanwhile: those are done again. No
// lock is held from one statement to the next, so that a program that stands
// still holds up nobody.
func (s *Store) carryOut(ctx context.Context, groups []*group) {
	for try := 1; ; try++ {
		left, err := s.round(ctx, groups, try)
		switch {
		case len(left) == 0:
			return
		case try == maxTries:
			if err == nil {
				err = errContended
			}
			fail(left, unavailable(ctx, err))
			return
		}
		if !pause(ctx, try) {
			fail(left, unavailable(ctx, ctx.Err()))
			return
		}
		groups = left
	}
}

// round is one try. It returns the groups that are to be tried again, of which
// certainly nothing happened, and why if there was an error.
func (s *Store) round(ctx context.Context, groups []*group, try int) (left []*group, err error) {
	conn, err := s.client.Acquire(ctx)
	if err != nil {
		fail(groups, unavailable(ctx, err))
		return nil, nil
	}
	broken := false
	defer func() { conn.Release(broken) }()
	groups, err = s.step(ctx, conn, groups)
	if err != nil {
		_, answered := codeOf(err)
		broken = !answered
		// A pooled connection may have died since it was used. Reading is harmless.
		if transient(err) || broken && try < 3 && ctx.Err() == nil {
			return groups, err
		}
		fail(groups, unavailable(ctx, err))
		return nil, nil
	}
	for _, there := range []bool{false, true} {
		for _, part := range parts(groups, there) {
			again, failed := s.write(ctx, conn, part)
			left = append(left, again...)
			if failed != nil {
				_, answered := codeOf(failed)
				broken = broken || !answered
				err = failed
			}
		}
	}
	return left, err
}

// step reads the rows of groups, sets the answers of their operations, and
// returns the groups whose rows are to be written; with an error, groups.
func (s *Store) step(ctx context.Context, conn Conn, groups []*group) ([]*group, error) {
	rows, now, err := s.read(ctx, conn, groups)
	if err != nil {
		return groups, err
	}
	var changed []*group
	for _, g := range groups {
		if r, ok := rows[g.digest]; ok {
			g.there, g.old = true, r
		} else {
			g.there, g.old = false, row{}
		}
		if g.step(now); g.write {
			changed = append(changed, g)
		}
	}
	return changed, nil
}

func (s *Store) read(ctx context.Context, conn Conn, groups []*group) (rows map[claim.Digest]row, now claim.Instant, err error) {
	digests := make([]claim.Digest, len(groups))
	for i, g := range groups {
		digests[i] = g.digest
	}
	query, args := s.table.read(digests)
	rows = make(map[claim.Digest]row, len(groups))
	err = conn.Query(ctx, query, args, func(scan func(...any) error) error {
		var r row
		var digest []byte
		if err := r.scan(scan, &now, &digest); err != nil {
			return err
		}
		if len(digest) == len(claim.Digest{}) {
			rows[claim.Digest(digest)] = r
		}
		return nil
	})
	return rows, now, err
}

// step applies the group's operations to its row at the database's time now.
func (g *group) step(now claim.Instant) {
	g.write, g.applied = false, false
	var rec claim.Record
	if g.there {
		var ok bool
		if rec, ok = g.old.record(g.digest); !ok {
			fail([]*group{g}, errRow)
			return
		}
	}
	for _, op := range g.ops {
		if now >= rec.Expires {
			rec = claim.Record{Fence: rec.Fence} // fences go on from there
		}
		fence := rec.Fence
		next, write := claim.Step(rec, op, now)
		if write {
			g.write = true
			if rec = next; rec.State == claim.StateAbsent {
				rec.Fence = fence // until the row is cleaned up
			}
		}
		if op.Err != nil {
			op.Fail(op.Err)
		} else if op.Verdict.Result != nil {
			op.Verdict.Result = bytes.Clone(op.Verdict.Result)
		}
	}
	if g.write {
		g.next = newRow(&rec)
		// MySQL counts a row that stays the same as not changed.
		g.write = !g.there || !reflect.DeepEqual(g.next, g.old)
	}
}

// parts returns the groups whose rows are there, or are not, in portions that a
// statement can carry.
func parts(groups []*group, there bool) (all [][]*group) {
	var part []*group
	size := 0
	for _, g := range groups {
		if g.there != there {
			continue
		}
		if size += g.next.size(); size > maxBytes && part != nil {
			all, part, size = append(all, part), nil, g.next.size()
		}
		part = append(part, g)
	}
	if part != nil {
		all = append(all, part)
	}
	return all
}

// write writes the rows of groups and returns those that are to be tried again.
func (s *Store) write(ctx context.Context, conn Conn, groups []*group) (again []*group, err error) {
	changes := make([]*change, len(groups))
	for i, g := range groups {
		changes[i] = &g.change
	}
	err = s.table.write(ctx, conn, changes)
	for _, g := range groups {
		if g.applied {
			continue
		}
		if err == nil || transient(err) {
			again = append(again, g)
		} else {
			fail([]*group{g}, failure(ctx, err))
		}
	}
	return again, err
}

// pause waits before another try and reports false when ctx ended. The first is
// tried again at once: another claimant made a row, and it can be read now.
func pause(ctx context.Context, try int) bool {
	if try == 1 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(rand.N(min(time.Millisecond<<min(try, 16), maxPause)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
