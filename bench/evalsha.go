//go:build linux

package main

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed claim.lua
	claimLua string
	//go:embed done.lua
	doneLua string
)

var errNotGranted = errors.New("a message that nobody had before was not granted")

// evalsha is what one writes with go-redis alone: one script call for the claim
// and one for the completion, each by the caller itself.
func (b *bench) evalsha(callers int) (*way, error) {
	client, err := b.client(b.redis, nil)
	if err != nil {
		return nil, err
	}
	claim, done := redis.NewScript(claimLua), redis.NewScript(doneLua)
	for _, script := range []*redis.Script{claim, done} {
		if err := script.Load(b.ctx, client).Err(); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	return &way{name: "EVALSHA per step", callers: callers, per: 1, server: b.redis, timed: true,
		open: func(int) (func(uint64) error, error) {
			ctx := context.Background()
			return func(n uint64) error {
				id := b.ids.at(n)
				key := []string{"bench:" + id}
				granted, err := client.EvalSha(ctx, claim.Hash(), key, id, leaseMS).Int()
				if err != nil {
					return err
				}
				if granted != 1 {
					return errNotGranted
				}
				return client.EvalSha(ctx, done.Hash(), key, id, retentionMS).Err()
			}, nil
		}}, nil
}

// client returns a client of s that ends with the run.
func (b *bench) client(s *server, o *redis.Options) (*redis.Client, error) {
	if o == nil {
		o = &redis.Options{}
	}
	o.Addr = s.Addr
	c := redis.NewClient(o)
	b.closers = append(b.closers, func() { _ = c.Close() })
	if err := c.Ping(b.ctx).Err(); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return c, nil
}
