package natsbus_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/natsbus"
	"github.com/oncebus/once/testutil/natstest"
)

// graveyard makes a stream for dead letters with whatever a stream can allow.
func graveyard(t *testing.T, js jetstream.JetStream) jetstream.Stream {
	t.Helper()
	s, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "DEAD", Subjects: []string{"dead.>"}, AllowRollup: true, AllowMsgTTL: true, AllowMsgSchedules: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // a server at NATS_URL lives on
		for _, name := range []string{"DEAD", "OTHER"} {
			_ = js.DeleteStream(context.Background(), name)
		}
	})
	return s
}

func TestADeadLetterKeepsEverythingAndDoesNothing(t *testing.T) {
	js := natstest.Run(t).JetStream()
	stream := graveyard(t, js)
	sink, err := natsbus.DeadLetter(t.Context(), js, "dead.orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink(t.Context(), bus.DeadLetter{ID: "first", Message: &bus.Message{}}); err != nil {
		t.Fatal(err)
	}
	published := time.Date(2026, 3, 1, 12, 0, 0, 7, time.UTC)
	data := []byte{0, 1, 2, 0xff, '\r', '\n'}
	err = sink(t.Context(), bus.DeadLetter{
		ID: "billing/42", Consumer: "billing", Reason: "card refused:\r\nstolen", Attempt: 5,
		Message: &bus.Message{
			ID: "42", Subject: "orders.new", Position: "ORDERS@1:7", Published: published, Data: data,
			Header: bus.Header{
				"Trace":                        {"abc"},
				"Many":                         {"one", "two"},
				"Nats-Msg-Id":                  {"42"},
				"Nats-Rollup":                  {"all"},
				"Nats-Expected-Stream":         {"ORDERS"},
				"Nats-Expected-Last-Sequence":  {"99"},
				"nats-ttl":                     {"1s"},
				"Nats-Schedule":                {"@every 1s"},
				"Nats-Schedule-Target":         {"orders.new"},
				"Nats-Trace-Dest":              {"somewhere"},
				"Status":                       {"409"},
				"Description":                  {"Consumer Deleted"},
				"Once-Reason":                  {"of an earlier death"},
				"Once-Original-Once-Something": {"grows"},
				"Break\r\nNats-Rollup":         {"all"},
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 2 {
		t.Fatalf("%d dead letters are stored, want 2: a header took effect", info.State.Msgs)
	}
	got, err := stream.GetMsg(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Data, data) || got.Subject != "dead.orders" {
		t.Errorf("%q at %q", got.Data, got.Subject)
	}
	for key, want := range map[string]string{
		"Trace":                              "abc",
		"Nats-Msg-Id":                        "billing/42",
		"Nats-Expected-Stream":               "DEAD",
		"Nats-Rollup":                        "",
		"nats-ttl":                           "",
		"Nats-Schedule":                      "",
		"Status":                             "",
		"Once-Original-Nats-Rollup":          "all",
		"Once-Original-Nats-Expected-Stream": "ORDERS",
		"Once-Original-Nats-Expected-Last-Sequence": "99",
		"Once-Original-nats-ttl":                    "1s",
		"Once-Original-Status":                      "409",
		"Once-Original-Once-Something":              "",
		natsbus.HeaderReason:                        "card refused: stolen",
		natsbus.HeaderConsumer:                      "billing",
		natsbus.HeaderAttempt:                       "5",
		natsbus.HeaderOriginalID:                    "42",
		natsbus.HeaderOriginalSubject:               "orders.new",
		natsbus.HeaderOriginalPosition:              "ORDERS@1:7",
		natsbus.HeaderOriginalPublished:             "2026-03-01T12:00:00.000000007Z",
	} {
		if v := got.Header[key]; strings.Join(v, "|") != want {
			t.Errorf("%s is %q, want %q", key, v, want)
		}
	}
	if v := got.Header["Many"]; len(v) != 2 || v[1] != "two" {
		t.Errorf("Many is %q", v)
	}
}

func TestADeadLetterThatIsSentTwiceIsKeptOnce(t *testing.T) {
	js := natstest.Run(t).JetStream()
	stream := graveyard(t, js)
	sink, err := natsbus.DeadLetter(t.Context(), js, "dead.orders", nil)
	if err != nil {
		t.Fatal(err)
	}
	for attempt := range 3 {
		d := bus.DeadLetter{ID: "billing/42", Attempt: attempt, Message: &bus.Message{Data: []byte("x"), Delivery: attempt}}
		if err := sink(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if info.State.Msgs != 1 {
		t.Errorf("%d copies", info.State.Msgs)
	}
}

func TestADeadLetterThatIsNotConfirmedIsAnError(t *testing.T) {
	js := natstest.Run(t).JetStream()
	graveyard(t, js)
	sink, err := natsbus.DeadLetter(t.Context(), js, "dead.orders", &natsbus.DeadLetterOptions{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(t.Context(), "DEAD"); err != nil {
		t.Fatal(err)
	}
	d := bus.DeadLetter{ID: "1", Message: &bus.Message{}}
	if err := sink(t.Context(), d); !errors.Is(err, jetstream.ErrNoStreamResponse) {
		t.Errorf("no stream: %v", err)
	}
	// A stream that takes everything in its place must not swallow it.
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"dead.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := sink(t.Context(), d); err == nil {
		t.Error("another stream took the dead letter")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sink(ctx, d); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestASubjectWithoutAStreamIsRefusedAtOnce(t *testing.T) {
	js := natstest.Run(t).JetStream()
	_, err := natsbus.DeadLetter(t.Context(), js, "nobody.listens", nil)
	if !errors.Is(err, jetstream.ErrStreamNotFound) || !strings.Contains(err.Error(), "make one") {
		t.Errorf("got %v", err)
	}
	if _, err := natsbus.DeadLetter(t.Context(), js, "dead", &natsbus.DeadLetterOptions{Timeout: -1}); err == nil || !strings.Contains(err.Error(), "Timeout") {
		t.Errorf("got %v", err)
	}
}

// FuzzSanitize shows that no header acts again, whatever it is called, and that
// what is left can be sent.
func FuzzSanitize(f *testing.F) {
	for _, key := range []string{"Nats-Rollup", "nats-msg-id", "Na\rts-TTL", " Nats-TTL", "Nats-TTL ", "Status", "Once-Reason", "X:Y", "\u017ftatus", "ONCE-x", "", "\u2028Nats-Rollup", "N\x00ats-Rollup"} {
		f.Add(key, "value\r\nNats-Rollup: all")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		h := natsbus.Sanitize(bus.Header{key: {value}})
		for k, vs := range h {
			switch lower := strings.ToLower(strings.TrimSpace(k)); {
			case strings.HasPrefix(lower, "nats-"), lower == "status", lower == "description", k == "":
				t.Errorf("%q became the header %q", key, k)
			}
			if strings.ContainsAny(k, "\r\n: \x00") {
				t.Errorf("%q became the name %q", key, k)
			}
			for _, v := range vs {
				if strings.ContainsAny(v, "\r\n") {
					t.Errorf("%q became the value %q", value, v)
				}
			}
		}
		// What is written as the client writes it comes back as it was, up to the
		// space around values.
		wire := "NATS/1.0\r\n"
		for k, vs := range h {
			for _, v := range vs {
				wire += k + ": " + v + "\r\n"
			}
		}
		back, err := nats.DecodeHeadersMsg([]byte(wire + "Last: x\r\n\r\n"))
		if err != nil {
			t.Fatalf("%q does not come back: %v", wire, err)
		}
		if len(back) != len(h)+1 {
			t.Errorf("sent %q, got %q", h, back)
		}
		for k, vs := range h {
			if len(back[k]) != len(vs) || strings.TrimSpace(back[k][0]) != strings.TrimSpace(vs[0]) {
				t.Errorf("%q: sent %q, got %q", k, vs, back[k])
			}
		}
	})
}
