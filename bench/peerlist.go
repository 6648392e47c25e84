//go:build linux

package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/message/router/middleware"
	"github.com/bsm/redislock"
	"github.com/go-redsync/redsync/v4"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
	"github.com/valkey-io/valkey-go"
)

const (
	lease     = leaseMS * time.Millisecond
	retention = retentionMS * time.Millisecond
)

// peers are those that remember on a server. Libraries that the module proxy does
// not have are played by the operations that they send, which says "as".
var peers = []peer{
	{
		name:  "SET NX, DEL on failure",
		how:   "SET key NX EX retention before the handler; what people write first",
		lacks: "a crash in the handler leaves the mark: the redelivery is dropped, the message lost. After a lost reply go-redis sends again and meets its own mark. No owner, no lease",
		open: func(b *bench, client redis.UniversalClient) (func(uint64) error, error) {
			return func(n uint64) error {
				return obtained(client.SetNX(background, "dedup:"+b.ids.at(n), 1, retention).Result())
			}, nil
		},
	},
	{
		name:  "SET NX with a lease, then SET",
		how:   "SET key running NX EX lease, the handler, SET key done EX retention; what people write next",
		lacks: "no owner: an owner that was overtaken marks as done what another is running, or deletes its claim. No renewal. A lost reply makes a message wait for its own lease",
		open: func(b *bench, client redis.UniversalClient) (func(uint64) error, error) {
			return func(n uint64) error {
				key := "dedup:" + b.ids.at(n)
				if err := obtained(client.SetNX(background, key, "running", lease).Result()); err != nil {
					return err
				}
				return client.Set(background, key, "done", retention).Err()
			}, nil
		},
	},
	{
		name:  "redislock",
		how:   "bsm/redislock: Obtain for the lease, then Refresh to the retention, so that the lock stays as the mark",
		lacks: "a lock cannot tell a running message from a done one, so a duplicate is dropped while the first may still fail, or retried for the whole retention. No fence; renewal is the caller's",
		open: func(b *bench, client redis.UniversalClient) (func(uint64) error, error) {
			locker := redislock.New(client)
			return func(n uint64) error {
				lock, err := locker.Obtain(background, "lock:"+b.ids.at(n), lease, nil)
				if err != nil {
					return err
				}
				return lock.Refresh(background, retention, nil)
			}, nil
		},
	},
	{
		name:  "redsync",
		how:   "go-redsync/redsync on one server: TryLock for the lease, then Extend to the retention, so that the lock stays as the mark",
		lacks: "as redislock: a lock cannot tell a running message from a done one. No fence; renewal is the caller's",
		open: func(b *bench, client redis.UniversalClient) (func(uint64) error, error) {
			locker := redsync.New(redsyncgoredis.NewPool(client))
			return func(n uint64) error {
				key := "lock:" + b.ids.at(n)
				lock := locker.NewMutex(key, redsync.WithExpiry(lease))
				if err := lock.TryLockContext(background); err != nil {
					return err
				}
				// A mutex has one expiry; another with its value may extend it by more.
				done := locker.NewMutex(key, redsync.WithExpiry(retention), redsync.WithValue(lock.Value()))
				return obtained(done.ExtendContext(background))
			}, nil
		},
	},
	{
		name:  "Watermill Deduplicator on SET NX",
		how:   "its middleware, with the repository on Redis that it asks its users for",
		lacks: "marks before the handler and never takes the mark back: a message whose handler fails or crashes is dropped at its redelivery, and so lost",
		open: func(b *bench, client redis.UniversalClient) (func(uint64) error, error) {
			return watermillWith(b, setNX{client})
		},
	},
	{
		name:  "as Redpanda Connect's dedupe does it",
		how:   "one SET key t NX EX ttl a message, which is what its processor sends to a Redis cache; the product is no library to import",
		lacks: "its documentation says that it voids at-least-once delivery: the mark stays when the message fails later. While the cache is out it drops messages by default",
		open: func(b *bench, client redis.UniversalClient) (func(uint64) error, error) {
			return func(n uint64) error {
				return obtained(client.SetNX(background, b.ids.at(n), "t", retention).Result())
			}, nil
		},
	},
	{
		name:   "as idemlease does it",
		how:    "two script calls on a hash of six fields, through go-redis: reserve by EXISTS, HSET, PEXPIRE; complete by HGET, HGET, HSET, PEXPIRE. The module proxy does not have it",
		lacks:  "the reservation ends with the lease, so work that took longer is thrown away although nobody took over, and runs again. No renewal, no fence, no attempts, no batches",
		claims: true,
		open:   asIdemlease,
	},
	{
		name:   "as go-idempotency does it",
		how:    "two script calls on a hash of 22 fields, through valkey-go: each answers with the whole record, completion checks every field first. The module proxy does not have it, and it asks for Valkey 9",
		lacks:  "completion after the lease is refused although nobody took over, so the message runs again. Renewal is the caller's. No batches",
		claims: true,
		dial:   asGoIdempotency,
	},
}

// obtained makes an error of a mark that was there.
func obtained(ok bool, err error) error {
	if err == nil && !ok {
		err = errNotObtained
	}
	return err
}

// watermillInMemory is the one peer that remembers in the process.
var watermillInMemory = peer{
	name:  "Watermill Deduplicator",
	how:   "its middleware with its own repository, a map under one lock; the key from the metadata, the cheapest it offers",
	lacks: "one process, lost at its end. Marks before the handler and never takes the mark back: a message whose handler fails is dropped at its redelivery, and so lost",
	open: func(b *bench, _ redis.UniversalClient) (func(uint64) error, error) {
		repository, err := middleware.NewMapExpiringKeyRepository(time.Minute)
		if err != nil {
			return nil, err
		}
		return watermillWith(b, repository)
	},
}

func watermillWith(b *bench, repository middleware.ExpiringKeyRepository) (func(uint64) error, error) {
	d := &middleware.Deduplicator{
		KeyFactory: middleware.NewMessageHasherFromMetadataField("id"),
		Repository: repository,
		Timeout:    time.Minute,
	}
	ran := errors.New("ran") // tells a run from a duplicate, which is no error
	// A subscriber makes the messages, which is not the peer's cost.
	messages := sync.Pool{New: func() any { return &message.Message{Metadata: message.Metadata{}} }}
	handler := d.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, ran })
	return func(n uint64) error {
		m := messages.Get().(*message.Message)
		defer messages.Put(m)
		m.UUID = b.ids.at(n)
		m.Metadata["id"] = m.UUID
		switch _, err := handler(m); err {
		case ran:
			return nil
		case nil:
			return errNotObtained
		default:
			return err
		}
	}, nil
}

// setNX is a repository for Watermill.
type setNX struct{ client redis.UniversalClient }

// IsDuplicate implements middleware.ExpiringKeyRepository.
func (r setNX) IsDuplicate(ctx context.Context, key string) (bool, error) {
	first, err := r.client.SetNX(ctx, "dedup:"+key, 1, retention).Result()
	return !first, err
}

var (
	//go:embed idemlease_reserve.lua
	idemleaseReserve string
	//go:embed idemlease_complete.lua
	idemleaseComplete string
	//go:embed goidempotency_acquire.lua
	goIdempotencyAcquire string
	//go:embed goidempotency_complete.lua
	goIdempotencyComplete string
)

// token returns 128 random bits in hexadecimal, as both libraries make them.
func token() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // does not fail
	return hex.EncodeToString(b[:])
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

func asIdemlease(b *bench, client redis.UniversalClient) (func(uint64) error, error) {
	reserve, complete := redis.NewScript(idemleaseReserve), redis.NewScript(idemleaseComplete)
	for _, s := range []*redis.Script{reserve, complete} {
		if err := s.Load(background, client).Err(); err != nil {
			return nil, err
		}
	}
	return func(n uint64) error {
		key, mine, now := []string{"idemlease:" + b.ids.at(n)}, token(), time.Now()
		reply, err := reserve.Run(background, client, key, "1", mine, "", millis(now.Add(lease)), leaseMS).Result()
		if err == nil && reply != "OK" {
			err = errNotObtained
		}
		if err != nil {
			return err
		}
		reply, err = complete.Run(background, client, key, mine, "", millis(time.Now().Add(retention)), retentionMS).Result()
		if err == nil && reply != "OK" {
			err = errNotObtained
		}
		return err
	}, nil
}

// sha256Hex hashes parts with their lengths.
func sha256Hex(parts ...string) string {
	var b []byte
	for _, part := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(part))), part...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func asGoIdempotency(b *bench, s *server) (func(uint64) error, error) {
	client, err := valkey.NewClient(valkey.ClientOption{InitAddress: []string{s.Addr}, DisableCache: true})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	b.closers = append(b.closers, client.Close)
	acquire, complete := valkey.NewLuaScript(goIdempotencyAcquire), valkey.NewLuaScript(goIdempotencyComplete)
	exec := func(script *valkey.Lua, outcome, key string, args ...string) error {
		reply, err := script.Exec(background, client, []string{key}, args).AsStrSlice()
		if err != nil {
			return err
		}
		if reply[0] != outcome {
			return errNotObtained
		}
		return nil
	}
	fingerprint := hex.EncodeToString(make([]byte, 32))
	return func(n uint64) error {
		id := b.ids.at(n)
		digest := sha256Hex("bench", "tenant", "charge", "consumer", id)
		key, mine := "dedup:{"+digest+"}", token()
		scope := []string{"bench", "tenant", "charge", "consumer", id, mine}
		if err := exec(acquire, "acquired", key, append(scope, strconv.Itoa(leaseMS), strconv.Itoa(retentionMS), "v1", fingerprint)...); err != nil {
			return err
		}
		return exec(complete, "ok", key, append(scope, "1", "", "{}", strconv.Itoa(retentionMS))...)
	}, nil
}
