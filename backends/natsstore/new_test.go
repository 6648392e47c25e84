package natsstore_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/backends/natsstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/natstest"
)

func TestNewRefuses(t *testing.T) {
	js := start(t).JetStream()
	for name, c := range map[string]struct {
		change func(*jetstream.StreamConfig)
		want   string
	}{
		"a bucket in which nothing ends":   {func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }, "nothing in it ever ends"},
		"a history":                        {func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, "its history is 5"},
		"one that drops its oldest":        {func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardOld, 1<<20 }, "drops its oldest records"},
		"interest retention":               {func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "want limits"},
		"a stream that does not answer":    {func(c *jetstream.StreamConfig) { c.NoAck = true }, "NoAck"},
		"messages without room":            {func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1000 }, "MaxMsgSize"},
		"one that copies another's stream": {func(c *jetstream.StreamConfig) { c.Sources = []*jetstream.StreamSource{{Name: "ELSE"}} }, "copies another stream"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := natsstore.New(t.Context(), js, newBucket(t, js, c.change), nil)
			if !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want ErrInvalid with %q", err, c.want)
			}
		})
	}
	if _, err := natsstore.New(t.Context(), js, "absent", nil); !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "StreamConfig") {
		t.Errorf("no bucket: %v", err)
	}
	if _, err := natsstore.New(t.Context(), nil, "b", nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no client: %v", err)
	}
	if _, err := natsstore.New(t.Context(), js, "", nil); !errors.Is(err, claim.ErrInvalid) {
		t.Errorf("no name: %v", err)
	}
	if _, err := natsstore.New(t.Context(), js, newBucket(t, js, nil), &natsstore.Options{Timeout: time.Microsecond}); !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "Options.Timeout") {
		t.Errorf("a short timeout: %v", err)
	}
}

func TestNewWarns(t *testing.T) {
	js := start(t).JetStream()
	for name, c := range map[string]struct {
		change func(*jetstream.StreamConfig)
		want   string
	}{
		"nothing":   {nil, ""},
		"memory":    {inMemory, "in memory"},
		"late sync": {func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode }, "written after it is acknowledged"},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			if _, err := natsstore.New(t.Context(), js, newBucket(t, js, c.change), &natsstore.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}); err != nil {
				t.Fatal(err)
			}
			if c.want == "" && log.Len() > 0 || !strings.Contains(log.String(), c.want) {
				t.Errorf("logged %q, want %q", log.String(), c.want)
			}
		})
	}
}

// A user that may not write is found at the start, not at the first message.
func TestNewFindsAMissingPermission(t *testing.T) {
	s := natstest.Run(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "all", Password: "all"},
			{Username: "reader", Password: "reader", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$KV.>"}}}},
		}
	})
	bucket := newBucket(t, s.JetStream(nats.UserInfo("all", "all")), nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := natsstore.New(ctx, s.JetStream(nats.UserInfo("reader", "reader")), bucket, nil)
	if !errors.Is(err, claim.ErrUnavailable) || !strings.Contains(err.Error(), "may not publish") {
		t.Errorf("%v, want ErrUnavailable that names the permission", err)
	}
}

// A bucket that was made with the client's own call is as good, markers and all.
func TestABucketOfCreateKeyValue(t *testing.T) {
	js := start(t).JetStream()
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "claims", LimitMarkerTTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	s := newStore(t, js, "claims")
	for _, remove := range []func(context.Context, string, ...jetstream.KVDeleteOpt) error{kv.Delete, kv.Purge} {
		key := newKey(t)
		first, err := s.TryClaim(t.Context(), key, newRequest())
		if err != nil {
			t.Fatal(err)
		}
		if err := remove(t.Context(), key.Digest().String()); err != nil {
			t.Fatal(err)
		}
		second, err := s.TryClaim(t.Context(), key, newRequest())
		if err != nil || second.Outcome != claim.Claimed || second.Grant.Attempt != 1 || second.Grant.Fence <= first.Grant.Fence {
			t.Errorf("after the bucket's own delete: %+v, %v", second, err)
		}
	}
}

func TestABucketThatEndsRecordsItself(t *testing.T) {
	js := start(t).JetStream()
	s := newStore(t, js, newBucket(t, js, func(c *jetstream.StreamConfig) { c.AllowMsgTTL, c.MaxAge = false, time.Hour }))
	req := newRequest()
	req.Retention = 59 * time.Minute
	if v, err := s.TryClaim(t.Context(), newKey(t), req); err != nil || v.Outcome != claim.Claimed {
		t.Errorf("within the bucket's TTL: %v, %v", v.Outcome, err)
	}
	req.Retention = time.Hour
	if v, err := s.TryClaim(t.Context(), newKey(t), req); !errors.Is(err, claim.ErrInvalid) || !strings.Contains(err.Error(), "TTL is 1h0m0s") {
		t.Errorf("beyond the bucket's TTL: %v, %v; want ErrInvalid", v.Outcome, err)
	}
}

// Every record ends on the server too.
func TestEveryMessageHasATTL(t *testing.T) {
	js := start(t).JetStream()
	bucket := newBucket(t, js, nil)
	s := newStore(t, js, bucket)
	stream, err := js.Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	ttl := func(key claim.Key) string {
		m, err := stream.GetLastMsgForSubject(t.Context(), "$KV."+bucket+"."+key.Digest().String())
		if err != nil {
			t.Fatal(err)
		}
		return m.Header.Get("Nats-TTL")
	}
	key := newKey(t)
	v, err := s.TryClaim(t.Context(), key, newRequest())
	if err != nil {
		t.Fatal(err)
	}
	if got := ttl(key); got != "3662" { // a minute, an hour, and no less for being rounded
		t.Errorf("a claim has the TTL %q", got)
	}
	if _, err := s.MarkDone(t.Context(), key, v.Grant, claim.Completion{Retention: 1500 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	if got := ttl(key); got != "3" {
		t.Errorf("a completion has the TTL %q", got)
	}
	entry, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(t.Context(), key, entry.Record); err != nil {
		t.Fatal(err)
	}
	if got := ttl(key); got != "602" {
		t.Errorf("what Forget leaves has the TTL %q", got)
	}
}
