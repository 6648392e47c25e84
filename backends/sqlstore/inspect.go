package sqlstore

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/oncebus/once/claim"
)

// Get implements claim.Inspector. Errors match claim.ErrCorrupt or, since nothing
// can have happened, claim.ErrUnavailable.
func (s *Store) Get(ctx context.Context, key claim.Key) (claim.Entry, error) {
	if key.IsZero() {
		return claim.Entry{}, fmt.Errorf("sqlstore: Get: %w: the key is zero; make it with NewKey", claim.ErrInvalid)
	}
	entry := claim.Entry{Digest: key.Digest()}
	err := s.look(ctx, func(conn Conn) error {
		rows, now, err := s.read(ctx, conn, []*group{{change: change{digest: key.Digest()}}})
		if err != nil {
			return err
		}
		r, ok := rows[key.Digest()]
		entry.Now = now
		if !ok {
			return nil
		}
		rec, ok := r.record(key.Digest())
		switch {
		case !ok:
			return errRow
		case now < rec.Expires && rec.State != claim.StateAbsent:
			entry.Record = rec
		}
		return nil
	})
	if err != nil {
		return claim.Entry{}, fmt.Errorf("sqlstore: Get: %w", err)
	}
	return entry, nil
}

// List implements claim.Inspector, in the order of the digests. A page holds at
// most limit records. Records that cannot be read make an error that matches
// claim.ErrCorrupt and names their digests, and the page and the cursor that come
// with it are good.
func (s *Store) List(ctx context.Context, filter claim.Filter, cursor string, limit int) (page []claim.Entry, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("sqlstore: List: %w: limit is %d, want 1 or more", claim.ErrInvalid, limit)
	}
	after, err := hex.DecodeString(cursor)
	if err != nil || cursor != "" && len(after) != len(claim.Digest{}) {
		return nil, "", fmt.Errorf("sqlstore: List: %w: the cursor is not one of List", claim.ErrInvalid)
	}
	var corrupt []string
	err = s.look(ctx, func(conn Conn) error {
		page, next, corrupt = nil, "", nil
		return conn.Query(ctx, s.listing(filter, after, limit), nil, func(scan func(...any) error) error {
			var (
				r      row
				entry  claim.Entry
				digest []byte
			)
			if err := r.scan(scan, &entry.Now, &digest); err != nil {
				return err
			}
			if len(digest) != len(entry.Digest) {
				return errRow
			}
			entry.Digest = claim.Digest(digest)
			var ok bool
			if entry.Record, ok = r.record(entry.Digest); ok {
				page = append(page, entry)
			} else {
				corrupt = append(corrupt, entry.Digest.String())
			}
			if len(page)+len(corrupt) == limit {
				next = entry.Digest.String()
			}
			return nil
		})
	})
	if err != nil {
		return nil, "", fmt.Errorf("sqlstore: List: %w", err)
	}
	if corrupt != nil {
		err = fmt.Errorf("sqlstore: List: %w: %s", errRow, strings.Join(corrupt, ", "))
	}
	return page, next, err
}

// listing is the statement for a page of List.
func (s *Store) listing(filter claim.Filter, after []byte, limit int) string {
	b := fmt.Appendf(nil, "SELECT t.now, c.digest, c.%s FROM %s c CROSS JOIN (SELECT %s AS now) t WHERE c.state <> 0 AND c.expires > t.now",
		strings.Join(columns[:], ", c."), s.claims(), s.clock)
	if len(after) > 0 {
		b = fmt.Appendf(b, " AND c.digest > %s", s.dialect.bytes(after))
	}
	if filter.State != 0 {
		b = fmt.Appendf(b, " AND c.state = %d", filter.State)
	}
	if filter.Namespace != "" {
		b = fmt.Appendf(b, " AND c.namespace = %s", s.dialect.bytes([]byte(filter.Namespace)))
	}
	if filter.Consumer != "" {
		b = fmt.Appendf(b, " AND c.consumer = %s", s.dialect.bytes([]byte(filter.Consumer)))
	}
	return string(fmt.Appendf(b, " ORDER BY c.digest LIMIT %d", limit))
}

// look runs something that changes nothing, once more if a connection of the pool
// had died.
func (s *Store) look(ctx context.Context, f func(Conn) error) error {
	for try := 1; ; try++ {
		conn, err := s.client.Acquire(ctx)
		if err != nil {
			return unavailable(ctx, err)
		}
		err = f(conn)
		ours := errors.Is(err, claim.ErrCorrupt)
		_, answered := codeOf(err)
		conn.Release(err != nil && !ours && !answered)
		switch {
		case err == nil || ours:
			return err
		case ctx.Err() != nil || try == 3 || answered && !transient(err):
			return unavailable(ctx, err)
		}
	}
}
