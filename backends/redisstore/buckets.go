package redisstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// readBuckets returns the markers in the packed layout's buckets, as records.
// Those that cannot be read are left out, and named in the error.
func (s *Store) readBuckets(ctx context.Context, client redis.UniversalClient, names []string) ([]claim.Entry, error) {
	_, replies, err := s.readGroups(ctx, client, bucketsScript, names, spot{})
	if err != nil {
		return nil, err
	}
	var (
		page    []claim.Entry
		corrupt []string
	)
	for _, values := range replies {
		if len(values)%3 != 1 {
			return nil, errReply
		}
		now, ok := decodeTime(values)
		if !ok {
			return nil, errReply
		}
		for i := 1; i < len(values); i += 3 {
			digest, _ := values[i].(string)
			stamp, ok := values[i+1].(int64)
			left, ok2 := values[i+2].(int64)
			switch {
			case !ok || !ok2:
				return nil, errReply
			case len(digest) != len(claim.Digest{}):
				corrupt = append(corrupt, "a bucket of the packed layout")
				continue
			case stamp == 0:
				corrupt = append(corrupt, claim.Digest([]byte(digest)).String())
				continue
			}
			page = append(page, claim.Entry{Digest: claim.Digest([]byte(digest)), Now: now, Record: claim.Record{
				State: claim.StateDone, Fence: uint64(stamp), Expires: now + claim.Instant(left)}})
		}
	}
	if corrupt != nil {
		err = fmt.Errorf("%w: %s", errRecord, strings.Join(corrupt, ", "))
	}
	return page, err
}
