package natsbus_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/natstest"
)

func TestCheckNamesEverySettingThatLosesOrRepeats(t *testing.T) {
	s := natstest.Run(t)
	js := s.JetStream()
	stream := jetstream.StreamConfig{Replicas: 1, Storage: jetstream.FileStorage}
	consumer := jetstream.ConsumerConfig{Durable: "worker"}
	for _, tt := range []struct {
		name     string
		stream   func(*jetstream.StreamConfig)
		consumer func(*jetstream.ConsumerConfig)
		want     []string // settings, worst first; "stream Replicas" is always found
		severity bus.Severity
	}{
		{name: "as it should be"},
		{name: "ack none", consumer: func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckNonePolicy },
			want: []string{"AckPolicy"}, severity: bus.Refuse},
		{name: "ack all", consumer: func(c *jetstream.ConsumerConfig) { c.AckPolicy = jetstream.AckAllPolicy },
			want: []string{"AckPolicy"}, severity: bus.Refuse},
		{name: "priority groups", consumer: func(c *jetstream.ConsumerConfig) {
			c.PriorityPolicy, c.PriorityGroups = jetstream.PriorityPolicyOverflow, []string{"a"}
		}, want: []string{"PriorityPolicy"}, severity: bus.Refuse},
		{name: "max deliver", consumer: func(c *jetstream.ConsumerConfig) { c.MaxDeliver = 5 },
			want: []string{"MaxDeliver"}, severity: bus.Warn},
		{name: "backoff", consumer: func(c *jetstream.ConsumerConfig) {
			c.BackOff = []time.Duration{time.Second, time.Minute}
		}, want: []string{"BackOff"}, severity: bus.Note},
		{name: "short backoff", consumer: func(c *jetstream.ConsumerConfig) {
			c.BackOff = []time.Duration{time.Minute, time.Millisecond}
		}, want: []string{"BackOff", "BackOff"}, severity: bus.Warn},
		{name: "short ack wait", consumer: func(c *jetstream.ConsumerConfig) { c.AckWait = 100 * time.Millisecond },
			want: []string{"AckWait"}, severity: bus.Warn},
		{name: "one pending", consumer: func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 1 },
			want: []string{"MaxAckPending"}, severity: bus.Warn},
		{name: "headers only", consumer: func(c *jetstream.ConsumerConfig) { c.HeadersOnly = true },
			want: []string{"HeadersOnly"}, severity: bus.Warn},
		{name: "ephemeral", consumer: func(c *jetstream.ConsumerConfig) { c.Durable, c.Name = "", "passing" },
			want: []string{"Durable"}, severity: bus.Warn},
		{name: "inactive", consumer: func(c *jetstream.ConsumerConfig) { c.InactiveThreshold = time.Hour },
			want: []string{"InactiveThreshold"}, severity: bus.Warn},
		{name: "consumer in memory", consumer: func(c *jetstream.ConsumerConfig) { c.MemoryStorage = true },
			want: []string{"MemoryStorage"}, severity: bus.Warn},
		{name: "only new", consumer: func(c *jetstream.ConsumerConfig) { c.DeliverPolicy = jetstream.DeliverNewPolicy },
			want: []string{"DeliverPolicy"}, severity: bus.Note},
		{name: "stream in memory", stream: func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
			want: []string{"stream Storage"}, severity: bus.Warn},
		{name: "age", stream: func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
			want: []string{"stream MaxAge"}, severity: bus.Note},
		{name: "full stream drops the oldest", stream: func(c *jetstream.StreamConfig) {
			c.MaxMsgs, c.MaxBytes, c.MaxMsgsPerSubject = 10, 1<<20, 5
		}, want: []string{"stream MaxMsgs", "stream MaxBytes", "stream MaxMsgsPerSubject"}, severity: bus.Warn},
		{name: "full stream refuses", stream: func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 10, jetstream.DiscardNew }},
		{name: "no ack", stream: func(c *jetstream.StreamConfig) { c.NoAck = true },
			want: []string{"stream NoAck"}, severity: bus.Warn},
		{name: "interest", stream: func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
			want: []string{"stream Retention"}, severity: bus.Note},
		{name: "work queue", stream: func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy },
			want: []string{"stream Retention"}, severity: bus.Note},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sc, cc := stream, consumer
			sc.Name = strings.ReplaceAll(tt.name, " ", "_")
			sc.Subjects = []string{"check." + sc.Name}
			if tt.stream != nil {
				tt.stream(&sc)
			}
			if tt.consumer != nil {
				tt.consumer(&cc)
			}
			if _, err := js.CreateStream(t.Context(), sc); err != nil {
				t.Fatal(err)
			}
			cons, err := js.CreateConsumer(t.Context(), sc.Name, cc)
			if err != nil {
				t.Fatal(err)
			}
			findings, err := natsbus.Check(t.Context(), js, cons, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			worst := bus.Severity(0)
			for _, f := range findings {
				if f.Setting == "stream Replicas" {
					continue
				}
				got = append(got, f.Setting)
				worst = max(worst, f.Severity)
				if f.Value == "" || f.Consequence == "" || f.Remedy == "" {
					t.Errorf("finding says too little: %+v", f)
				}
			}
			if !slices.Equal(got, tt.want) || worst != tt.severity {
				t.Errorf("found %q, worst %v; want %q, %v", got, worst, tt.want, tt.severity)
			}
			_, err = natsbus.New(t.Context(), js, cons, &natsbus.Options{Logger: slog.New(slog.DiscardHandler)})
			if refused := errors.Is(err, natsbus.ErrRefused); refused != (tt.severity == bus.Refuse) {
				t.Errorf("New returned %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), tt.want[0]) {
				t.Errorf("%v does not name %s", err, tt.want[0])
			}
		})
	}
}

func TestNewLogsWhatItFinds(t *testing.T) {
	r := newRig(t, jetstream.ConsumerConfig{MaxDeliver: 3})
	var out bytes.Buffer
	c := r.open(t, &natsbus.Options{Logger: slog.New(slog.NewTextHandler(&out, nil))})
	if !strings.Contains(out.String(), "level=WARN") || !strings.Contains(out.String(), "MaxDeliver") {
		t.Errorf("logged %q", out.String())
	}
	if f := c.Findings(); len(f) == 0 || f[0].Setting != "MaxDeliver" {
		t.Errorf("findings %v", f)
	}
}

func TestAnUnreadableStreamIsSaid(t *testing.T) {
	r := newRig(t, jetstream.ConsumerConfig{})
	other, err := jetstream.NewWithAPIPrefix(r.js.Conn(), "nobody.listens")
	if err != nil {
		t.Fatal(err)
	}
	findings, err := natsbus.Check(t.Context(), other, r.cons, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(findings) != 1 || findings[0].Setting != "stream" {
		t.Errorf("findings %v", findings)
	}
}

func TestRedelivery(t *testing.T) {
	s := natstest.Run(t)
	js := s.JetStream()
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "R", Subjects: []string{"r"}, MaxAge: 48 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		cfg  jetstream.ConsumerConfig
		want bus.Redelivery
	}{
		{"plain", jetstream.ConsumerConfig{Durable: "a"}, bus.Redelivery{AckWait: 30 * time.Second, Longest: 48 * time.Hour}},
		{"limited", jetstream.ConsumerConfig{Durable: "b", AckWait: time.Minute, MaxDeliver: 7},
			bus.Redelivery{AckWait: time.Minute, MaxDeliver: 7, Longest: 48 * time.Hour}},
		{"backoff", jetstream.ConsumerConfig{Durable: "c", BackOff: []time.Duration{time.Minute, 2 * time.Second}},
			bus.Redelivery{AckWait: 2 * time.Second, Longest: 48 * time.Hour}},
	} {
		cons, err := js.CreateConsumer(t.Context(), "R", tt.cfg)
		if err != nil {
			t.Fatal(err)
		}
		c, err := natsbus.New(t.Context(), js, cons, &natsbus.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Redelivery(); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	r := newRig(t, jetstream.ConsumerConfig{})
	for name, o := range map[string]natsbus.Options{
		"Workers":      {Workers: -1},
		"BatchSize":    {BatchSize: -1},
		"AckTimeout":   {AckTimeout: -1},
		"DrainTimeout": {DrainTimeout: -1},
	} {
		if _, err := natsbus.New(t.Context(), r.js, r.cons, &o); err == nil || !strings.Contains(err.Error(), "Options."+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := natsbus.New(t.Context(), nil, nil, nil); err == nil {
		t.Error("no error for nil")
	}
	c := r.open(t, nil)
	if err := c.Consume(t.Context(), nil); err == nil {
		t.Error("Consume: no error for a nil handler")
	}
	if err := c.ConsumeBatch(t.Context(), nil); err == nil {
		t.Error("ConsumeBatch: no error for a nil handler")
	}
}

// The permissions that docs/nats.md names are enough, with and without the one
// for the stream's settings.
func TestFewPermissionsAreEnough(t *testing.T) {
	t.Parallel()
	minimal := &server.Permissions{
		Publish: &server.SubjectPermission{Allow: []string{
			"$JS.API.CONSUMER.INFO.ORDERS.billing", "$JS.API.CONSUMER.MSG.NEXT.ORDERS.billing", "$JS.ACK.ORDERS.billing.>",
		}},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
	}
	more := *minimal
	more.Publish = &server.SubjectPermission{Allow: append(minimal.Publish.Allow, "$JS.API.STREAM.INFO.ORDERS")}
	s := natstest.Run(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "admin", Password: "x"},
			{Username: "minimal", Password: "x", Permissions: minimal},
			{Username: "more", Password: "x", Permissions: &more},
		}
	})
	admin := s.JetStream(nats.UserInfo("admin", "x"))
	if _, err := admin.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}, Storage: jetstream.MemoryStorage}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.CreateConsumer(t.Context(), "ORDERS", jetstream.ConsumerConfig{Durable: "billing"}); err != nil {
		t.Fatal(err)
	}
	for user, finding := range map[string]string{"minimal": "stream", "more": "stream Storage"} {
		js := s.JetStream(nats.UserInfo(user, "x"))
		cons, err := js.Consumer(t.Context(), "ORDERS", "billing")
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{server: s, js: js, cons: cons, subject: "orders"}
		found, err := natsbus.Check(t.Context(), js, cons, nil)
		if err != nil || len(found) == 0 || !slices.ContainsFunc(found, func(f bus.Finding) bool { return f.Setting == finding }) {
			t.Errorf("%s: found %v, %v", user, found, err)
		}
		got := make(chan int, 4)
		c := r.open(t, nil)
		stop := consume(t, c, func(ctx context.Context, m *bus.Message) error {
			got <- m.Delivery
			if err := m.KeepAlive(ctx); err != nil {
				t.Error(err)
			}
			if m.Delivery == 1 {
				return bus.RetryAfter(errTest, 0)
			}
			return nil
		})
		if _, err := admin.Publish(t.Context(), "orders", nil); err != nil {
			t.Fatal(err)
		}
		bustest.Within(t, got, "the message")
		bustest.Within(t, got, "its redelivery")
		if err := stop(); err != nil {
			t.Error(err)
		}
		if s := c.Stats(); s.Acked != 1 || s.Unsettled != 0 {
			t.Errorf("%s: %+v", user, s)
		}
	}
}
