package pebblestore

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/oncebus/once/claim"
)

// looksPerPage bounds how many records a page of List looks at, so that a filter
// that matches little returns now and then.
const looksPerPage = 10_000

// Get implements claim.Inspector.
func (s *Store) Get(ctx context.Context, key claim.Key) (claim.Entry, error) {
	if key.IsZero() {
		return claim.Entry{}, fmt.Errorf("pebblestore: Get: %w: the key is zero", claim.ErrInvalid)
	}
	if err := s.enter(ctx); err != nil {
		return claim.Entry{}, fmt.Errorf("pebblestore: Get: %w", err)
	}
	defer s.life.RUnlock()
	sh := &s.shards[shardOf(key.Digest())]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	at, err := s.load(key.Digest())
	if err != nil {
		return claim.Entry{}, fmt.Errorf("pebblestore: Get: %w", err)
	}
	entry := claim.Entry{Digest: key.Digest(), Now: s.clock.now()}
	if at.found && entry.Now < at.rec.Expires {
		entry.Record = at.rec
	}
	return entry, nil
}

// enter begins a read. Without an error the caller ends it with life.RUnlock.
func (s *Store) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return claim.Unavailable(err)
	}
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return claim.Unavailable(errClosed)
	}
	return nil
}

// List implements claim.Inspector. It goes by generation, and by digest within
// one. Records that cannot be read make an error that matches claim.ErrCorrupt and
// names their digests, and the page and the cursor that come with it are good.
func (s *Store) List(ctx context.Context, filter claim.Filter, cursor string, limit int) (page []claim.Entry, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("pebblestore: List: %w: limit is %d, want 1 or more", claim.ErrInvalid, limit)
	}
	from := []byte{prefixRecord}
	if cursor != "" {
		if from, err = hex.DecodeString(cursor); err != nil || len(from) != keyBytes || from[0] != prefixRecord {
			return nil, "", fmt.Errorf("pebblestore: List: %w: the cursor is not one of List", claim.ErrInvalid)
		}
	}
	if err := s.enter(ctx); err != nil {
		return nil, "", fmt.Errorf("pebblestore: List: %w", err)
	}
	defer s.life.RUnlock()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: []byte{prefixRecord + 1}})
	if err != nil {
		return nil, "", fmt.Errorf("pebblestore: List: %w", claim.Unavailable(err))
	}
	now := s.clock.now()
	var corrupt []string
	looks := 0
	for ok := it.First(); ok; ok = it.Next() {
		if looks == looksPerPage || len(page) == limit {
			next = hex.EncodeToString(it.Key())
			break
		}
		looks++
		g, digest, ok := splitKey(it.Key())
		if !ok {
			continue
		}
		rec, err := claim.ParseRecord(it.Value(), digest, s.end(g))
		if err != nil {
			corrupt = append(corrupt, digest.String())
			continue
		}
		if now < rec.Expires && filter.Match(&rec) {
			rec.Result = bytes.Clone(rec.Result)
			page = append(page, claim.Entry{Record: rec, Digest: digest, Now: now})
		}
	}
	if err := it.Close(); err != nil {
		return nil, "", fmt.Errorf("pebblestore: List: %w", claim.Unavailable(err))
	}
	if corrupt != nil {
		err = fmt.Errorf("pebblestore: List: %w", claim.Corrupt("the values of "+strings.Join(corrupt, ", ")+" are no records of this version"))
	}
	return page, next, err
}
