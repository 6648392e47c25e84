package memstore

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/maphash"
	"time"

	"github.com/oncebus/once/claim"
)

// Store is a claim store in memory. It implements claim.Store, claim.Batcher
// and claim.Inspector, and is safe for concurrent use. Results are copied in
// and out: callers may do with their bytes what they like.
type Store struct {
	shards    []shard
	room      room
	now       func() claim.Instant
	positions bool
	seed      maphash.Seed
}

var (
	_ claim.Store     = (*Store)(nil)
	_ claim.Batcher   = (*Store)(nil)
	_ claim.Inspector = (*Store)(nil)
)

// errFull is the cause of the ErrUnavailable that a new key gets when records
// that are still wanted fill the store.
var errFull = errors.New("memstore: full; raise Options.MaxRecords or Options.MaxBytes, or shorten the retention")

// New returns an empty Store. Nil options mean the defaults. An error names the
// option that is out of its range.
func New(opts *Options) (*Store, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{shards: make([]shard, o.Shards), now: clock(o.Now), positions: o.Positions, seed: maphash.MakeSeed()}
	s.room.maxRecords, s.room.maxBytes = int64(o.MaxRecords), o.MaxBytes
	for i := range s.shards {
		s.shards[i].init(&s.room, o.Positions)
	}
	return s, nil
}

// clock returns now as Instants. The wall time is read once and the rest is
// elapsed time, which is monotonic where now's Times are.
func clock(now func() time.Time) func() claim.Instant {
	if now == nil {
		// Since reads the monotonic clock alone, at half the price of Now.
		start := time.Now()
		first := claim.Instant(start.UnixMicro())
		return func() claim.Instant { return first.Add(time.Since(start)) }
	}
	start := now()
	first := claim.Instant(start.UnixMicro())
	return func() claim.Instant { return first.Add(now().Sub(start)) }
}

// TryClaim implements claim.Store.
func (s *Store) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	op := claim.Op{Kind: claim.OpTryClaim, Key: key, Request: req}
	s.apply(ctx, &op)
	return op.Verdict, op.Err
}

// Extend implements claim.Store.
func (s *Store) Extend(ctx context.Context, key claim.Key, grant claim.Grant, ttl time.Duration) error {
	op := claim.Op{Kind: claim.OpExtend, Key: key, Grant: grant, TTL: ttl}
	s.apply(ctx, &op)
	return op.Err
}

// MarkDone implements claim.Store.
func (s *Store) MarkDone(ctx context.Context, key claim.Key, grant claim.Grant, c claim.Completion) (recovered bool, err error) {
	op := claim.Op{Kind: claim.OpMarkDone, Key: key, Grant: grant, Completion: c}
	s.apply(ctx, &op)
	return op.Recovered, op.Err
}

// MarkDead implements claim.Store.
func (s *Store) MarkDead(ctx context.Context, key claim.Key, grant claim.Grant, reason string) error {
	op := claim.Op{Kind: claim.OpMarkDead, Key: key, Grant: grant, Reason: reason}
	s.apply(ctx, &op)
	return op.Err
}

// Release implements claim.Store.
func (s *Store) Release(ctx context.Context, key claim.Key, grant claim.Grant, delay time.Duration) error {
	op := claim.Op{Kind: claim.OpRelease, Key: key, Grant: grant, TTL: delay}
	s.apply(ctx, &op)
	return op.Err
}

// Apply implements claim.Batcher. It saves no trips here; a context that ends
// on the way fails the operations that are left.
func (s *Store) Apply(ctx context.Context, ops []*claim.Op) {
	for _, op := range ops {
		s.apply(ctx, op)
	}
}

// apply carries out one operation. Whatever fails here definitely did not
// happen: a store in memory has no ErrUnknown.
func (s *Store) apply(ctx context.Context, op *claim.Op) {
	if err := ctx.Err(); err != nil {
		op.Fail(claim.Unavailable(err))
		return
	}
	if err := op.Validate(); err != nil {
		op.Fail(err)
		return
	}
	sh := s.shardOf(&op.Key)
	ok := sh.step(op, s.now)
	if !ok && s.reclaim() {
		ok = sh.step(op, s.now)
	}
	switch {
	case !ok:
		op.Fail(claim.Unavailable(errFull))
	case op.Err != nil:
		op.Fail(op.Err)
	}
}

// reclaim drops the records of all shards that nobody needs any more, and
// reports whether there was one. It looks at one number per shard and locks
// only shards with something to drop.
func (s *Store) reclaim() bool {
	dropped := false
	now := s.now()
	for i := range s.shards {
		if s.shards[i].dropExpired(now) {
			dropped = true
		}
	}
	return dropped
}

// shardOf returns the shard of a key: that of its place's chunk where that is
// remembered, so that a record and its bit are under one lock.
func (s *Store) shardOf(k *claim.Key) *shard {
	if s.positions && !k.Place().IsZero() {
		return &s.shards[maphash.Comparable(s.seed, nameOf(k))%uint64(len(s.shards))]
	}
	d := k.Digest()
	return &s.shards[int(binary.LittleEndian.Uint16(d[:]))%len(s.shards)]
}
