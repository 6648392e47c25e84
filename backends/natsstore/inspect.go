package natsstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/oncebus/once/claim"
)

// Get implements claim.Inspector.
func (s *Store) Get(ctx context.Context, key claim.Key) (claim.Entry, error) {
	if key.IsZero() {
		return claim.Entry{}, fmt.Errorf("natsstore: Get: %w: the key is zero", claim.ErrInvalid)
	}
	began := time.Now()
	ctx, cancel := s.limit(ctx)
	defer cancel()
	reply, _, err := s.ask(ctx, s.newRead(key.Digest()))
	if err != nil {
		return claim.Entry{}, fmt.Errorf("natsstore: Get: %w", claim.Unavailable(err))
	}
	v, err := parseRead(reply, key.Digest())
	if err != nil {
		return claim.Entry{}, fmt.Errorf("natsstore: Get: %w", err)
	}
	entry, err := s.entry(ctx, began, v, key.Digest())
	if err != nil {
		return claim.Entry{}, fmt.Errorf("natsstore: Get: %w", err)
	}
	return entry, nil
}

// entry returns a version as an operator sees it now.
func (s *Store) entry(ctx context.Context, began time.Time, v version, d claim.Digest) (claim.Entry, error) {
	if err := s.clock.renew(ctx, judgeAge, began); err != nil {
		return claim.Entry{}, notDone(err)
	}
	e := claim.Entry{Record: v.rec, Digest: d, Now: max(s.clock.now(), v.stamped)}
	if e.State == claim.StateAbsent || e.Now >= e.Expires {
		e.Record = claim.Record{}
	}
	return e, nil
}

// List implements claim.Inspector. It walks the bucket in the order of the last
// writes, a trip for each record, and looks at limit records a page. A record
// that is written meanwhile is met again. Records that cannot be read make an
// error that matches claim.ErrCorrupt and names their digests, and the page and
// the cursor that come with it are good.
func (s *Store) List(ctx context.Context, filter claim.Filter, cursor string, limit int) (page []claim.Entry, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("natsstore: List: %w: limit is %d, want 1 or more", claim.ErrInvalid, limit)
	}
	revision := uint64(1)
	if cursor != "" {
		if revision, err = strconv.ParseUint(cursor, 10, 64); err != nil || revision == 0 {
			return nil, "", fmt.Errorf("natsstore: List: %w: the cursor is not one of List", claim.ErrInvalid)
		}
	}
	began := time.Now()
	ctx, cancel := s.limit(ctx)
	defer cancel()
	var corrupt []string
	for range limit {
		m, found, err := s.nextMessage(ctx, revision)
		if err != nil {
			return nil, "", fmt.Errorf("natsstore: List: %w", err)
		}
		if !found {
			revision = 0
			break
		}
		revision = m.Seq + 1
		digest, ok := s.digestOf(m.Subject)
		if !ok {
			continue
		}
		v, err := m.version(digest)
		if err != nil {
			corrupt = append(corrupt, digest.String())
			continue
		}
		entry, err := s.entry(ctx, began, v, digest)
		if err != nil {
			return nil, "", fmt.Errorf("natsstore: List: %w", err)
		}
		if entry.State != claim.StateAbsent && filter.Match(&entry.Record) {
			page = append(page, entry)
		}
	}
	if revision > 0 {
		next = strconv.FormatUint(revision, 10)
	}
	if corrupt != nil {
		err = fmt.Errorf("natsstore: List: %w", claim.Corrupt("the values of "+strings.Join(corrupt, ", ")+" are no records of this version"))
	}
	return page, next, err
}

func (s *Store) nextMessage(ctx context.Context, revision uint64) (stored, bool, error) {
	reply, _, err := s.ask(ctx, s.newNext(revision))
	if err != nil {
		return stored{}, false, claim.Unavailable(err)
	}
	return parseMessage(reply)
}

// digestOf returns the digest in the subject of a record.
func (s *Store) digestOf(subject string) (d claim.Digest, ok bool) {
	name := strings.TrimPrefix(subject, subjectPrefix(s.bucket))
	if len(name) != hex.EncodedLen(len(d)) {
		return d, false
	}
	_, err := hex.Decode(d[:], []byte(name))
	return d, err == nil
}
