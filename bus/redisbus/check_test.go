package redisbus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/redisbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/redistest"
)

func TestCheckNamesEverySettingThatLosesOrRepeats(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		server   []string
		o        redisbus.Options
		client   func(*redis.Options)
		prepare  func(*redis.Client) error
		want     []string // settings, worst first
		severity bus.Severity
	}{
		{name: "as it should be"},
		{name: "evicts", server: []string{"--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"},
			want: []string{"maxmemory-policy", "maxmemory"}, severity: bus.Refuse},
		{name: "evicts, and that is accepted", server: []string{"--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"},
			o: redisbus.Options{AllowEviction: true}, want: []string{"maxmemory-policy", "maxmemory"}, severity: bus.Warn},
		{name: "would evict", server: []string{"--maxmemory-policy", "allkeys-lru"},
			want: []string{"maxmemory-policy"}, severity: bus.Warn},
		{name: "evicts what expires", server: []string{"--maxmemory-policy", "volatile-lru", "--maxmemory", "100mb"},
			want: []string{"maxmemory"}, severity: bus.Note},
		{name: "the stream expires", prepare: func(c *redis.Client) error { return c.Expire(t.Context(), "stream", time.Hour).Err() },
			want: []string{"expiry of the stream"}, severity: bus.Warn},
		{name: "not on the disk", server: []string{"--appendonly", "no"}, want: []string{"appendonly"}, severity: bus.Warn},
		{name: "short idle time", o: redisbus.Options{MinIdle: 100 * time.Millisecond}, want: []string{"MinIdle"}, severity: bus.Warn},
		{name: "only new", o: redisbus.Options{CreateFrom: "$"}, want: []string{"CreateFrom"}, severity: bus.Note},
		{name: "deadlines are not kept", client: func(o *redis.Options) { o.ContextTimeoutEnabled = false },
			want: []string{"ContextTimeoutEnabled"}, severity: bus.Note},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := redistest.StartOwn(t, append([]string{"--appendonly", "yes"}, tt.server...)...)
			opts := s.Options()
			if tt.client != nil {
				tt.client(opts)
			}
			client := redis.NewClient(opts)
			t.Cleanup(func() { _ = client.Close() })
			if err := client.XGroupCreateMkStream(t.Context(), "stream", "group", "0").Err(); err != nil {
				t.Fatal(err)
			}
			if tt.prepare != nil {
				if err := tt.prepare(client); err != nil {
					t.Fatal(err)
				}
			}
			findings, err := redisbus.Check(t.Context(), client, "stream", &tt.o)
			if err != nil {
				t.Fatal(err)
			}
			var settings []string
			for _, f := range findings {
				settings = append(settings, f.Setting)
				if f.Value == "" || f.Consequence == "" || f.Remedy == "" {
					t.Errorf("%+v is not told in full", f)
				}
			}
			if strings.Join(settings, ",") != strings.Join(tt.want, ",") || len(findings) > 0 && findings[0].Severity != tt.severity {
				t.Errorf("found %v, want %v, first %v", findings, tt.want, tt.severity)
			}
			var log bytes.Buffer
			tt.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			_, err = redisbus.New(t.Context(), client, "stream", "group", &tt.o)
			if refused := tt.severity == bus.Refuse; errors.Is(err, redisbus.ErrRefused) != refused || !refused && err != nil {
				t.Errorf("New: %v", err)
			}
			for _, f := range findings {
				if f.Severity != bus.Refuse && !strings.Contains(log.String(), f.Setting) {
					t.Errorf("%s is not logged", f.Setting)
				}
			}
		})
	}
}

func TestNewAndTheGroup(t *testing.T) {
	t.Parallel()
	for name, r := range map[string]*rig{"redis": newRig(t), "miniredis": newMini(t)} {
		_, err := redisbus.New(t.Context(), r.client, r.stream, r.group, &redisbus.Options{Logger: quiet})
		if !errors.Is(err, redisbus.ErrNoGroup) {
			t.Errorf("%s: no stream: %v", name, err)
		}
		r.publish(t, "1")
		_, err = redisbus.New(t.Context(), r.client, r.stream, r.group, &redisbus.Options{Logger: quiet})
		if !errors.Is(err, redisbus.ErrNoGroup) {
			t.Errorf("%s: no group: %v", name, err)
		}
		r.open(t, redisbus.Options{CreateFrom: "$"})
		if _, err = redisbus.New(t.Context(), r.client, r.stream, r.group, &redisbus.Options{Logger: quiet}); err != nil {
			t.Errorf("%s: the group is there: %v", name, err)
		}
		if err := r.client.Set(t.Context(), r.stream+":text", "x", time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
		_, err = redisbus.New(t.Context(), r.client, r.stream+":text", r.group, &redisbus.Options{Logger: quiet})
		if err == nil || !strings.Contains(err.Error(), "holds a string") {
			t.Errorf("%s: another type: %v", name, err)
		}
	}
}

// The permissions that the documentation lists are all that a consumer needs.
func TestPermissions(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/redisstreams.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(page), "## Permissions\n\n```\n")
	list, _, ok := strings.Cut(after, "\n```")
	if !ok {
		t.Fatal("the page lists no permissions")
	}
	s := redistest.StartOwn(t)
	admin := s.Client()
	rules := append([]string{"resetkeys", "resetchannels", "-@all", "on", ">secret", "~stream"}, strings.Fields(list)...)
	if err := admin.ACLSetUser(t.Context(), "billing", rules...).Err(); err != nil {
		t.Fatal(err)
	}
	opts := s.Options()
	opts.Username, opts.Password = "billing", "secret"
	client := redis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	var log bytes.Buffer
	r := &rig{client: client, stream: "stream", group: "group"}
	c := r.open(t, redisbus.Options{
		MinIdle: 300 * time.Millisecond, ClaimInterval: 20 * time.Millisecond, ForgetAfter: 100 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	(&rig{client: admin, stream: "stream"}).publish(t, "1", "2", "3")
	if err := admin.XGroupCreateConsumer(t.Context(), "stream", "group", "gone").Err(); err != nil {
		t.Fatal(err)
	}
	stop := consume(t, c, func(_ context.Context, m *bus.Message) error {
		switch {
		case m.Delivery > 1:
			return nil
		case m.ID == "1":
			return bus.RetryAfter(errBoom, 400*time.Millisecond)
		case m.ID == "2":
			return bus.Abandon(errBoom)
		}
		return m.KeepAlive(t.Context())
	})
	bustest.Until(t, "all three", func() bool { return c.Stats().Acked >= 3 })
	stop()
	if text := log.String(); strings.Contains(text, "NOPERM") {
		t.Errorf("not permitted:\n%s", text)
	}
	if s := c.Stats(); s.Claimed == 0 || s.Retried == 0 {
		t.Errorf("the test has not shown it all: %+v", s)
	}
}
