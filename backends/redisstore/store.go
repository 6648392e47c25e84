package redisstore

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// Store keeps claims in Redis. It is safe for concurrent use, holds no
// connection of its own and needs no closing. It implements claim.Store,
// claim.Batcher and claim.Inspector.
type Store struct {
	client       redis.UniversalClient
	names        names
	packing      *packing // nil: the plain layout
	maxBatch     int
	waitReplicas int
	waitTimeout  time.Duration

	// together says that one call may carry many keys.
	together bool
	// routed says that go-redis routes a command by its key.
	routed bool
	// punctual says that the client heeds deadlines by itself.
	punctual bool

	singles singles

	nonces atomic.Uint64
	clocks *clocks
	hope   hope
	// lean says that calls of completions alone are doneScript's.
	lean bool
}

var (
	_ claim.Store     = (*Store)(nil)
	_ claim.Batcher   = (*Store)(nil)
	_ claim.Inspector = (*Store)(nil)
)

// New returns a Store on client, which stays the caller's to close. It is a
// *redis.Client, of one server or of Sentinel's master, a *redis.ClusterClient
// or a *redis.Ring; any other is used with one key a call.
//
// New checks the servers: it fails, with an error that matches
// claim.ErrUnavailable, when one cannot be reached or refuses scripts, and with
// claim.ErrInvalid when a server evicts records, which AllowEviction overrides,
// or an option is out of its range. What it cannot see or what only costs
// something is a warning to the Logger.
func New(ctx context.Context, client redis.UniversalClient, o *Options) (*Store, error) {
	opts := o.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if client == nil {
		return nil, fmt.Errorf("redisstore: %w: the client is nil", claim.ErrInvalid)
	}
	s := &Store{
		client:       client,
		names:        names{prefix: opts.Prefix},
		maxBatch:     opts.MaxBatch,
		waitReplicas: opts.WaitReplicas,
		waitTimeout:  opts.WaitTimeout,
		clocks:       newClocks(opts.Logger),
	}
	_, single := client.(*redis.Client)
	s.together = single || hashTagged(opts.Prefix)
	s.routed = !single
	if err := s.setLayout(&opts); err != nil {
		return nil, err
	}
	if err := s.setPositions(&opts); err != nil {
		return nil, err
	}
	if err := s.setSingles(&opts); err != nil {
		return nil, err
	}
	// A random start keeps the nonces of several stores apart.
	s.nonces.Store(rand.Uint64())
	if err := s.setClient(&opts); err != nil {
		return nil, err
	}
	if err := s.checkServers(ctx, &opts); err != nil {
		return nil, err
	}
	return s, nil
}

// hashTagged reports whether Redis Cluster hashes keys by a part of prefix
// alone: by what stands between the first { and the next }, unless it is empty.
func hashTagged(prefix string) bool {
	_, after, ok := strings.Cut(prefix, "{")
	return ok && strings.IndexByte(after, '}') > 0
}

// nonce returns 8 bytes that no other call of this process has soon.
func (s *Store) nonce() (n [8]byte) {
	binary.LittleEndian.PutUint64(n[:], s.nonces.Add(1))
	return n
}

// Apply implements claim.Batcher. On a single server it sends everything in one
// trip, MaxBatch operations to a script call, each call atomic by itself. On a
// cluster it sends a call for each operation, pipelined by node.
func (s *Store) Apply(ctx context.Context, ops []*claim.Op) {
	f := newFlight()
	if s.apply(ctx, f, ops) {
		f.free()
	}
}
