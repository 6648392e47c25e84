//go:build linux

package nemesis

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/claim"
)

// judgeRecords compares what was acked with what the store remembers (I5), looks
// for records without an end (I7), and compares the sink's rows with the fences
// of the finished claims (I10).
func (w *World) judgeRecords(ctx context.Context, r *Result) error {
	store, err := w.memory(ctx)
	if err != nil {
		return err
	}
	defer store.close()
	entries := map[claim.Digest]claim.Entry{}
	for cursor := ""; ; {
		page, next, err := store.List(ctx, claim.Filter{}, cursor, 1000)
		if err != nil && !errors.Is(err, claim.ErrCorrupt) {
			return err
		}
		for _, e := range page {
			entries[e.Digest] = e
		}
		if cursor = next; next == "" {
			break
		}
	}
	r.checked("I7")
	endless, err := store.endless(ctx)
	if err != nil {
		return err
	}
	for _, name := range endless {
		r.fail("I7: %q has no end", name)
	}
	if w.Trial.Unpersisted {
		return nil
	}
	r.checked("I5")
	for n := range r.Orders {
		id := OrderID(n)
		key, err := claim.NewKey("", consumerName, claim.MessageID(id))
		if err != nil {
			return err
		}
		entry := entries[key.Digest()]
		if entry.State != claim.StateDone && entry.State != claim.StateDead {
			r.fail("I5: %s is gone from the bus and its record is %v", id, entry.State)
		}
		if w.Trial.Worker.Fenced {
			if err := w.judgeRow(r, id, entry.Fence); err != nil {
				return err
			}
		}
	}
	return nil
}

// judgeRow checks that the sink's row is that of the claim which finished.
func (w *World) judgeRow(r *Result, order string, fence uint64) error {
	r.checked("I10")
	accepted, refused, err := NewSink(filepath.Join(w.Dir, "sink")).history(order)
	if err != nil {
		return err
	}
	r.rows[order] = len(accepted)
	r.Accepted += len(accepted)
	r.Refused += refused
	if len(accepted) == 0 || accepted[len(accepted)-1] != fence {
		r.fail("I10: %s: the sink accepted the fences %d, the claim was finished with %d", order, accepted, fence)
	}
	return nil
}

type redisMemory struct {
	claim.Inspector
	client redis.UniversalClient
	prefix string
}

func rememberRedis(ctx context.Context, client redis.UniversalClient, prefix string) (memory, error) {
	store, err := redisstore.New(ctx, client, &redisstore.Options{Prefix: prefix})
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return &redisMemory{store, client, prefix}, nil
}

func (m *redisMemory) close() { _ = m.client.Close() }

func (m *redisMemory) endless(ctx context.Context) (found []string, err error) {
	var mu sync.Mutex // the nodes of a cluster are asked side by side
	check := func(ctx context.Context, node *redis.Client) error {
		for cursor := uint64(0); ; {
			names, next, err := node.Scan(ctx, cursor, m.prefix+"*", 1000).Result()
			if err != nil {
				return err
			}
			pipe := node.Pipeline()
			lives := make([]*redis.DurationCmd, len(names))
			for i, name := range names {
				lives[i] = pipe.PTTL(ctx, name)
			}
			if _, err := pipe.Exec(ctx); err != nil && len(names) > 0 {
				return err
			}
			for i, life := range lives {
				if life.Val() == -1 {
					mu.Lock()
					found = append(found, names[i])
					mu.Unlock()
				}
			}
			if cursor = next; next == 0 {
				return nil
			}
		}
	}
	if cluster, ok := m.client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, check)
	} else {
		err = check(ctx, m.client.(*redis.Client))
	}
	return found, err
}
