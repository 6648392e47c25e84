package redisstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// setClient takes what it needs from the settings of the client, and says what
// it finds in them.
func (s *Store) setClient(o *Options) error {
	var (
		readTimeout time.Duration
		replicas    bool
		canWait     = true
	)
	switch client := s.client.(type) {
	case *redis.Client:
		opt := client.Options()
		s.punctual, readTimeout = opt.ContextTimeoutEnabled, opt.ReadTimeout
	case *redis.ClusterClient:
		opt := client.Options()
		s.punctual, readTimeout = opt.ContextTimeoutEnabled, opt.ReadTimeout
		replicas = opt.ReadOnly || opt.RouteByLatency || opt.RouteRandomly
	default:
		canWait = false
	}
	switch {
	case o.WaitReplicas == 0:
	case !canWait:
		return invalid("WaitReplicas is %d, want 0: a %T gives no connection to wait on", o.WaitReplicas, s.client)
	case readTimeout > 0 && o.WaitTimeout >= readTimeout:
		return invalid("WaitTimeout is %v, want less than the client's ReadTimeout, %v", o.WaitTimeout, readTimeout)
	}
	if !s.punctual && canWait {
		o.Logger.Warn("redisstore: set ContextTimeoutEnabled on the Redis client: without it every call takes a goroutine to return in time")
	}
	if replicas {
		// To route a command, such a client may ask a server about it, for longer
		// than the caller has.
		s.punctual = false
		o.Logger.Warn("redisstore: the Redis client may route to replicas: claims must reach the masters, so unset ReadOnly, RouteByLatency and RouteRandomly")
	}
	return nil
}

// checkServers looks at every server that holds records, and leaves the script
// there.
func (s *Store) checkServers(ctx context.Context, o *Options) error {
	_, err := inTime(ctx, s, func() (struct{}, error) {
		return struct{}{}, s.eachServer(ctx, func(ctx context.Context, client redis.UniversalClient) error {
			if err := s.checkEviction(ctx, client, o); err != nil {
				return err
			}
			if err := s.checkLayout(ctx, client, o); err != nil {
				return err
			}
			s.checkFresh(ctx, client)
			if err := s.checkScript(ctx, client, stateScript); err != nil || !s.lean {
				return err
			}
			return s.checkScript(ctx, client, doneScript)
		})
	})
	return err
}

// checkFresh finds out whether claims may go without the script, and completions by
// the short one: on one server, of which nothing else must be known, and which takes
// SET with both NX and GET, since 7.0. A server that does not tell its version is asked
// by the script.
func (s *Store) checkFresh(ctx context.Context, client redis.UniversalClient) {
	if _, single := client.(*redis.Client); !single || s.routed || s.packing != nil || s.waitReplicas > 0 {
		return
	}
	info, err := client.Info(ctx, "server").Result()
	major, _, _ := strings.Cut(infoField(info, "redis_version"), ".")
	version, notNumber := strconv.Atoi(major)
	able := err == nil && notNumber == nil && version >= 7
	s.hope.usable.Store(able)
	s.lean = able && s.names.positions == 0
}

// checkScript runs a script, and so leaves it there. Without keys it reads the
// time and changes nothing.
func (s *Store) checkScript(ctx context.Context, client redis.UniversalClient, script *script) error {
	nonce := s.nonce()
	cmd := redis.NewStringCmd(ctx, script.eval[0], script.eval[1], 0, nonce[:], "")
	if err := client.Process(ctx, cmd); err != nil {
		return fmt.Errorf("redisstore: the server does not run scripts: %w", claim.Unavailable(plain(err)))
	}
	if r := (reply{rest: cmd.Val()}); !r.open(nonce[:]) || r.rest != "" {
		return fmt.Errorf("redisstore: the script's first run: %w", errReply)
	}
	return nil
}

// eachServer calls visit for every server that holds records; concurrently on a
// cluster.
func (s *Store) eachServer(ctx context.Context, visit func(context.Context, redis.UniversalClient) error) error {
	each := func(ctx context.Context, client *redis.Client) error { return visit(ctx, client) }
	var err error
	switch client := s.client.(type) {
	case *redis.ClusterClient:
		err = client.ForEachMaster(ctx, each)
	case *redis.Ring:
		err = client.ForEachShard(ctx, each)
	default:
		return visit(ctx, client)
	}
	if err != nil && !isOurs(err) {
		return fmt.Errorf("redisstore: %w", claim.Unavailable(plain(err)))
	}
	return err
}

// checkEviction refuses a server that drops records when its memory is full.
// INFO says so; CONFIG would too, and is often forbidden.
func (s *Store) checkEviction(ctx context.Context, client redis.UniversalClient, o *Options) error {
	info, err := client.Info(ctx, "memory").Result()
	if err != nil && !isReply(err) {
		return fmt.Errorf("redisstore: the server cannot be reached: %w", claim.Unavailable(plain(err)))
	}
	policy := infoField(info, "maxmemory_policy")
	switch {
	case policy == "noeviction":
	case policy == "":
		o.Logger.Warn("redisstore: the server does not tell its maxmemory-policy: make sure that it is noeviction", "error", err)
	case o.AllowEviction:
		o.Logger.Warn("redisstore: the server evicts records when its memory is full: messages will then be handled again", "maxmemory_policy", policy)
	default:
		return invalid("AllowEviction is false and the server's maxmemory-policy is %s: it drops records, live leases among them, when its memory is full; "+
			"set maxmemory-policy noeviction, or AllowEviction to accept duplicates", policy)
	}
	return nil
}

// infoField returns the value of a field in the text of INFO, or "".
func infoField(info, name string) string {
	for line := range strings.Lines(info) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
