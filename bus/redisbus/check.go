package redisbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
)

// shortIdle is a MinIdle that a full garbage collection, a failover of a store or
// a slow disk can outlast.
const shortIdle = time.Second

// Check looks at the server and at o and returns what can lose or repeat messages,
// worst first. A nil o stands for the defaults.
func Check(ctx context.Context, client redis.UniversalClient, stream string, o *Options) ([]bus.Finding, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return check(ctx, client, stream, &opts)
}

func check(ctx context.Context, client redis.UniversalClient, stream string, o *Options) ([]bus.Finding, error) {
	kind, err := client.Type(ctx, stream).Result()
	switch {
	case err != nil:
		return nil, fmt.Errorf("redisbus: the server cannot be reached: %w", plain(err))
	case kind != "stream" && kind != "none":
		return nil, fmt.Errorf("redisbus: the key of the stream holds a %s", kind)
	}
	all := optionFindings(o)
	all = append(all, clientFindings(client)...)
	life, err := client.PTTL(ctx, stream).Result()
	if err == nil && life > 0 {
		all = append(all, bus.Finding{
			Severity: bus.Warn, Setting: "expiry of the stream", Value: life.String(),
			Consequence: "the stream is deleted then, with all that is in it", Remedy: "PERSIST it",
		})
	}
	all = append(all, serverFindings(readInfo(ctx, client, stream), o)...)
	slices.SortStableFunc(all, func(a, b bus.Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return all, nil
}

// optionFindings looks at what is allowed and may still surprise.
func optionFindings(o *Options) (f []bus.Finding) {
	if o.MinIdle < shortIdle {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "MinIdle", Value: o.MinIdle.String(),
			Consequence: "a pause of that length delivers messages again while they are worked on",
			Remedy:      "wait for at least a few seconds; 30 seconds are usual",
		})
	}
	if o.CreateFrom == "$" {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "CreateFrom", Value: "$",
			Consequence: "entries from before the group is made are never delivered", Remedy: `set "0" if every entry counts`,
		})
	}
	return f
}

// clientFindings looks at the settings of the client.
func clientFindings(client redis.UniversalClient) (f []bus.Finding) {
	punctual := true
	switch client := client.(type) {
	case *redis.Client:
		punctual = client.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		punctual = client.Options().ContextTimeoutEnabled
	}
	if !punctual {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "ContextTimeoutEnabled", Value: "false",
			Consequence: "calls to a server that hangs end by the client's timeouts and retries alone, some ten seconds later",
			Remedy:      "set it in the options of the client",
		})
	}
	return f
}

// readTimeout returns the client's, 0 for none, and ok false where it is not known.
func readTimeout(client redis.UniversalClient) (d time.Duration, ok bool) {
	switch client := client.(type) {
	case *redis.Client:
		d, ok = client.Options().ReadTimeout, true
	case *redis.ClusterClient:
		d, ok = client.Options().ReadTimeout, true
	}
	return max(d, 0), ok
}

// longestBlock returns how long the client lets the server wait for an entry.
func longestBlock(client redis.UniversalClient) time.Duration {
	if d, ok := readTimeout(client); ok && d > 0 {
		return max(min(block, d/2), time.Millisecond)
	}
	return block
}

// readInfo reads what the stream's server says about itself, "" when it may not be
// asked.
func readInfo(ctx context.Context, client redis.UniversalClient, stream string) string {
	var server interface {
		Info(context.Context, ...string) *redis.StringCmd
	} = client
	if cluster, ok := client.(*redis.ClusterClient); ok {
		node, err := cluster.MasterForKey(ctx, stream)
		if err != nil {
			return ""
		}
		server = node
	}
	var text strings.Builder
	for _, section := range []string{"server", "memory", "persistence"} {
		info, err := server.Info(ctx, section).Result()
		if err != nil && !errors.As(err, new(redis.Error)) {
			return ""
		}
		text.WriteString(info + "\n")
	}
	return text.String()
}

// serverFindings looks at what a server says about itself.
func serverFindings(info string, o *Options) (f []bus.Finding) {
	version := infoField(info, "redis_version")
	if major, err := strconv.Atoi(strings.SplitN(version, ".", 2)[0]); err == nil && major < 7 {
		f = append(f, bus.Finding{
			Severity: bus.Refuse, Setting: "redis_version", Value: version,
			Consequence: "entries that were deleted before they were settled stay pending for ever", Remedy: "use Redis 7.0 or later, or Valkey",
		})
	}
	f = append(f, memoryFindings(infoField(info, "maxmemory_policy"), infoField(info, "maxmemory"), o)...)
	if infoField(info, "aof_enabled") == "0" {
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "appendonly", Value: "no",
			Consequence: "a restart loses what was added since the last snapshot, and delivers again what was acked since", Remedy: "set appendonly yes",
		})
	}
	return f
}

// memoryFindings looks at what happens when the server's memory is full.
func memoryFindings(policy, limit string, o *Options) (f []bus.Finding) {
	switch {
	case policy == "":
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "maxmemory-policy", Value: "unknown",
			Consequence: "a server that evicts streams loses messages", Remedy: "make sure that it is noeviction, and let the user run INFO",
		})
	case !strings.HasPrefix(policy, "allkeys-"):
	case limit == "0" || limit == "":
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "maxmemory-policy", Value: policy,
			Consequence: "as soon as maxmemory is set, streams are evicted with all their messages", Remedy: "set noeviction",
		})
	case o.AllowEviction:
		f = append(f, bus.Finding{
			Severity: bus.Warn, Setting: "maxmemory-policy", Value: policy,
			Consequence: "streams are evicted with all their messages when memory is full", Remedy: "set noeviction",
		})
	default:
		f = append(f, bus.Finding{
			Severity: bus.Refuse, Setting: "maxmemory-policy", Value: policy,
			Consequence: "streams are evicted with all their messages when memory is full", Remedy: "set noeviction, or Options.AllowEviction to accept the loss",
		})
	}
	if limit != "" && limit != "0" {
		f = append(f, bus.Finding{
			Severity: bus.Note, Setting: "maxmemory", Value: limit,
			Consequence: "publishers are refused when memory is full, and acked entries still fill it", Remedy: "trim the stream: Options.TrimEvery",
		})
	}
	return f
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
