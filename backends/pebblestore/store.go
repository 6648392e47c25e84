package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/oncebus/once/claim"
)

// Store keeps claims in a directory. It is safe for concurrent use by one
// process. It implements claim.Store, claim.Batcher and claim.Inspector.
//
// An operation that has begun ends when the disk has done it, whatever becomes
// of its context: what it wrote is then certain.
type Store struct {
	claim.Singles

	db    *pebble.DB
	log   *slog.Logger
	span  claim.Instant
	sync  Sync
	clock clock

	generations generations
	sweeping    atomic.Bool
	shards      [shardCount]shard

	// life is held by every operation, and for itself by who closes or sweeps.
	life   sync.RWMutex
	closed bool // guarded by life
}

var (
	_ claim.Store     = (*Store)(nil)
	_ claim.Batcher   = (*Store)(nil)
	_ claim.Inspector = (*Store)(nil)
)

// shardCount is how many keys may be worked on at a time, but for chance.
const shardCount = 1024

// shard holds the keys of some digests still while one of them is worked on.
type shard struct {
	mu sync.Mutex
	// lastFence is the highest fence of a record that is gone. Guarded by mu.
	lastFence uint64
}

// Open opens the store in dir, or makes one. Close it.
//
// It fails with an error that matches claim.ErrInvalid for an option out of its
// range, or another Span than that of the directory, and with
// claim.ErrUnavailable when the directory cannot be used, as when another process
// has it.
func Open(dir string, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if dir == "" {
		return nil, fmt.Errorf("pebblestore: %w: dir is empty", claim.ErrInvalid)
	}
	s := &Store{log: opts.Logger, span: claim.Instant(opts.Span / time.Microsecond), sync: opts.Sync}
	cache := pebble.NewCache(opts.CacheBytes)
	defer cache.Unref() // the database has it now
	settings := &pebble.Options{
		FS:                 opts.fs,
		Cache:              cache,
		FormatMajorVersion: pebble.FormatNewest,
		MemTableSize:       32 << 20,
		Logger:             logger{opts.Logger},
	}
	for i := range settings.Levels {
		settings.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	s.Singles = claim.SinglesBy(func(ctx context.Context, op *claim.Op) { s.Apply(ctx, []*claim.Op{op}) })
	if s.db, err = pebble.Open(dir, settings); err != nil {
		return nil, fmt.Errorf("pebblestore: open (is the directory another process's?): %w", claim.Unavailable(err))
	}
	if err := s.start(&opts); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

// start reads what the directory says of itself.
func (s *Store) start(o *Options) error {
	span, err := s.number(keySpan)
	if err == nil && span == 0 {
		span = uint64(s.span)
		err = s.db.Set(keySpan, binary.BigEndian.AppendUint64(nil, span), pebble.Sync)
	}
	var written uint64
	if err == nil {
		written, err = s.number(keyClock)
	}
	if err == nil {
		err = s.generations.find(s.db)
	}
	switch {
	case err != nil:
		return fmt.Errorf("pebblestore: open: %w", claim.Unavailable(err))
	case span != uint64(s.span):
		return invalid("Span is %v, and the directory was made with %v", o.Span, time.Duration(span)*time.Microsecond)
	}
	if behind := s.clock.start(o.Now, claim.Instant(written)); behind > time.Second {
		s.log.Warn("pebblestore: the wall clock is behind the time at which the store was last used; its time goes on from there", "behind", behind)
	}
	return nil
}

// number reads a number, zero for none.
func (s *Store) number(key []byte) (uint64, error) {
	v, closer, err := s.db.Get(key)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	}
	defer func() { _ = closer.Close() }() // of a read that has succeeded
	if len(v) != 8 {
		return 0, claim.Corrupt("a number of the directory's own")
	}
	return binary.BigEndian.Uint64(v), nil
}

// Close waits for the operations that run, syncs what was written, and gives the
// directory back. Later operations are claim.ErrUnavailable. It may be called
// again.
func (s *Store) Close() error {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	mark := binary.BigEndian.AppendUint64(nil, uint64(s.clock.now()))
	if err := errors.Join(s.db.Set(keyClock, mark, pebble.Sync), s.db.Close()); err != nil {
		return fmt.Errorf("pebblestore: close: %w", err)
	}
	return nil
}

var errClosed = errors.New("pebblestore: closed")

// Apply implements claim.Batcher: all of it is one write.
func (s *Store) Apply(ctx context.Context, ops []*claim.Op) {
	if err := ctx.Err(); err != nil {
		err = claim.Unavailable(err)
		for _, op := range ops {
			op.Fail(err)
		}
		return
	}
	s.life.RLock()
	if s.closed {
		for _, op := range ops {
			op.Fail(claim.Unavailable(errClosed))
		}
		s.life.RUnlock()
		return
	}
	now := s.apply(ops)
	s.life.RUnlock()
	s.sweep(now)
}

// apply carries out ops under the locks of their keys. The clock is read with
// them held, so that time does not run backwards for any key.
func (s *Store) apply(ops []*claim.Op) claim.Instant {
	locked := s.lock(ops)
	defer s.unlock(locked)
	w := work{Store: s, now: s.clock.now(), batch: s.db.NewBatch()}
	defer func() { _ = w.batch.Close() }() // it gives memory back
	if len(ops) > 1 {
		w.met = make(map[claim.Digest]place, len(ops))
	}
	for _, op := range ops {
		op.Verdict, op.Recovered, op.Err = claim.Verdict{}, false, nil
		if err := op.Validate(); err != nil {
			op.Fail(err)
			continue
		}
		w.step(op)
	}
	w.commit()
	return w.now
}

// lock takes the locks of all keys, in order, and returns which.
func (s *Store) lock(ops []*claim.Op) []uint16 {
	numbers := make([]uint16, len(ops))
	for i, op := range ops {
		numbers[i] = shardOf(op.Key.Digest())
	}
	if len(ops) > 1 {
		slices.Sort(numbers)
		numbers = slices.Compact(numbers)
	}
	for _, n := range numbers {
		s.shards[n].mu.Lock()
	}
	return numbers
}

func (s *Store) unlock(numbers []uint16) {
	for _, n := range numbers {
		s.shards[n].mu.Unlock()
	}
}

func shardOf(d claim.Digest) uint16 { return binary.LittleEndian.Uint16(d[:]) % shardCount }

// place is a record and the generation that it is in.
type place struct {
	rec   claim.Record
	in    generation
	found bool
}

// work is a batch under way.
type work struct {
	*Store
	now   claim.Instant
	batch *pebble.Batch
	// met is what the batch makes of the keys that it has met; nil for one key.
	met     map[claim.Digest]place
	written []*claim.Op
	ends    bool // something was written that SyncEnds waits for
	buf     []byte
}

// step carries out op, up to the commit.
func (w *work) step(op *claim.Op) {
	digest := op.Key.Digest()
	sh := &w.shards[shardOf(digest)]
	at, ok := w.met[digest]
	if !ok {
		var err error
		if at, err = w.load(digest); err != nil {
			op.Fail(err)
			return
		}
	}
	rec := at.rec
	if at.found && w.now >= rec.Expires {
		sh.lastFence = max(sh.lastFence, rec.Fence)
	}
	if !at.found || w.now >= rec.Expires {
		rec = claim.Record{Fence: sh.lastFence}
	}
	next, write := claim.Step(rec, op, w.now)
	if op.Err != nil {
		op.Fail(op.Err)
	}
	if !write {
		op.Verdict.Result = bytes.Clone(op.Verdict.Result)
		return
	}
	w.written = append(w.written, op)
	w.ends = w.ends || next.State != claim.StatePending
	if next.State == claim.StateAbsent {
		// A done record may have no fence to keep; the time is above all so far.
		sh.lastFence = max(sh.lastFence, rec.Fence, uint64(w.now))
	}
	w.put(digest, at, next)
}

// load reads the record with digest d.
func (s *Store) load(d claim.Digest) (place, error) {
	var key [keyBytes]byte
	for _, g := range s.generations.all() {
		v, closer, err := s.db.Get(appendKey(key[:0], g, d))
		if errors.Is(err, pebble.ErrNotFound) {
			continue
		}
		if err != nil {
			return place{}, claim.Unavailable(err)
		}
		rec, err := claim.ParseRecord(v, d, s.end(g))
		rec.Result = bytes.Clone(rec.Result)
		_ = closer.Close() // of a read that has succeeded
		return place{rec, g, true}, err
	}
	return place{}, nil
}

// put writes next in place of at. A record never goes to an earlier generation,
// so that a listing, which goes by them, meets it.
func (w *work) put(d claim.Digest, at place, next claim.Record) {
	var key [keyBytes]byte
	absent := next.State == claim.StateAbsent
	in := w.generationOf(next.Expires)
	if at.found && at.in > in {
		in = at.in
	}
	if at.found && (absent || at.in != in) {
		w.must(w.batch.Delete(appendKey(key[:0], at.in, d), nil))
	}
	if !absent {
		w.generations.add(in)
		w.buf = claim.AppendRecord(w.buf[:0], &next, w.end(in))
		w.must(w.batch.Set(appendKey(key[:0], in, d), w.buf, nil))
	}
	if w.met != nil {
		next.Result = bytes.Clone(next.Result)
		w.met[d] = place{next, in, !absent}
	}
}

// must panics when a batch in memory refuses: it is closed, or over 4 GB.
func (w *work) must(err error) {
	if err != nil {
		panic(fmt.Errorf("pebblestore: %w", err))
	}
}

// commit writes the batch, and fails what it carries if that cannot be known to
// have succeeded.
func (w *work) commit() {
	if len(w.written) == 0 {
		return
	}
	if w.clock.mark(w.now) {
		w.must(w.batch.Set(keyClock, binary.BigEndian.AppendUint64(nil, uint64(w.now)), nil))
	}
	how := pebble.Sync
	if w.sync == SyncNone || w.sync == SyncEnds && !w.ends {
		how = pebble.NoSync
	}
	if err := w.batch.Commit(how); err != nil {
		for _, op := range w.written {
			op.Fail(claim.Unknown(err))
		}
	}
}

// logger hands Pebble's errors on. What is fatal to Pebble, a disk that fails to
// keep what it was given, leaves nothing to go on with.
type logger struct{ log *slog.Logger }

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.log.Warn("pebblestore: " + fmt.Sprintf(format, args...))
}

func (l logger) Fatalf(format string, args ...any) {
	panic("pebblestore: " + fmt.Sprintf(format, args...))
}
