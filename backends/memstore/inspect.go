package memstore

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/oncebus/once/claim"
)

// slotsPerPage bounds how many slots one page of List looks at, so that a
// filter that matches little does not hold a lock for long.
const slotsPerPage = 4096

// Get implements claim.Inspector.
func (s *Store) Get(ctx context.Context, key claim.Key) (claim.Entry, error) {
	if err := ctx.Err(); err != nil {
		return claim.Entry{}, fmt.Errorf("memstore: Get: %w", claim.Unavailable(err))
	}
	if key.IsZero() {
		return claim.Entry{}, fmt.Errorf("memstore: Get: %w: the key is zero; make it with NewKey", claim.ErrInvalid)
	}
	sh := s.shardOf(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.now()
	entry := claim.Entry{Digest: key.Digest(), Now: now}
	if at, ok := sh.table.find(key.Digest()); ok && now < sh.table.expires(at) {
		entry.Record = sh.table.load(at)
		entry.Result = bytes.Clone(entry.Result)
	} else if done, ok := sh.chunks.done(&key, now); ok {
		entry.Record = done
	}
	return entry, nil
}

// List implements claim.Inspector. A page holds at most limit records, which
// must be at least 1, and looks at a bounded number of them. Records that exist
// throughout the listing are returned exactly once. Positions that are remembered as
// bits are not listed: nothing leads from them to ids.
//
// A cursor is a shard and a slot in it. It stays good while records come and
// go, because records never move; it means nothing to another Store.
func (s *Store) List(ctx context.Context, filter claim.Filter, cursor string, limit int) (page []claim.Entry, next string, err error) {
	if err := ctx.Err(); err != nil {
		return nil, "", fmt.Errorf("memstore: List: %w", claim.Unavailable(err))
	}
	if limit < 1 {
		return nil, "", fmt.Errorf("memstore: List: %w: limit is %d, want 1 or more", claim.ErrInvalid, limit)
	}
	at, err := s.parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	for looks := slotsPerPage; looks > 0 && len(page) < limit && at.shard < len(s.shards); {
		page, looks = s.listShard(page, filter, &at, looks, limit)
	}
	if at.shard == len(s.shards) {
		return page, "", nil
	}
	return page, at.String(), nil
}

// listShard appends the matches of one shard to page from at on, and moves at
// behind the last slot that it looked at. It returns how many looks are left.
func (s *Store) listShard(page []claim.Entry, filter claim.Filter, at *position, looks, limit int) ([]claim.Entry, int) {
	sh := &s.shards[at.shard]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := s.now()
	for ; at.slot < sh.table.slots.used; at.slot++ {
		if looks == 0 || len(page) == limit {
			return page, looks
		}
		looks--
		slot := sh.table.slots.at(uint32(at.slot))
		if slot.state == claim.StateAbsent || now >= slot.expires {
			continue
		}
		rec := sh.table.load(uint32(at.slot))
		if filter.Match(&rec) {
			rec.Result = bytes.Clone(rec.Result)
			page = append(page, claim.Entry{Record: rec, Digest: slot.digest, Now: now})
		}
	}
	at.shard++
	at.slot = 0
	return page, looks
}

// Forget implements claim.Inspector.
func (s *Store) Forget(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpForget, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.apply(ctx, &op)
	return op.Err
}

// Revive implements claim.Inspector.
func (s *Store) Revive(ctx context.Context, key claim.Key, seen claim.Record) error {
	op := claim.Op{Kind: claim.OpRevive, Key: key, Grant: claim.Grant{Fence: seen.Fence}, Seen: seen.State}
	s.apply(ctx, &op)
	return op.Err
}

// position is a cursor: the slot to look at next.
type position struct{ shard, slot int }

func (p position) String() string {
	return strconv.Itoa(p.shard) + "." + strconv.Itoa(p.slot)
}

func (s *Store) parseCursor(cursor string) (position, error) {
	if cursor == "" {
		return position{}, nil
	}
	left, right, _ := strings.Cut(cursor, ".")
	shard, err1 := strconv.ParseUint(left, 10, 31)
	slot, err2 := strconv.ParseUint(right, 10, 32)
	if err1 != nil || err2 != nil || shard >= uint64(len(s.shards)) {
		return position{}, fmt.Errorf("memstore: List: %w: the cursor is not of this store", claim.ErrInvalid)
	}
	return position{int(shard), int(slot)}, nil
}
