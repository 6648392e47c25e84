package natsbus

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/testutil/natstest"
)

// Requests that were taken for lost may bring messages after all, beyond the
// number of workers.
func TestMessagesBeyondTheWorkersAreHeldAndNotHandedOutTooLate(t *testing.T) {
	s := natstest.Run(t)
	js := s.JetStream()
	cons := natstest.Consumer(t, js, jetstream.ConsumerConfig{})
	c, err := New(t.Context(), js, cons, &Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if _, err := js.Publish(t.Context(), natstest.Subject(c.stream)+".a", []byte(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	arrived := make(chan *nats.Msg, 8)
	sub, err := c.nc.ChanSubscribe(c.nc.NewInbox(), arrived)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.nc.PublishRequest(c.api+"CONSUMER.MSG.NEXT."+c.stream+"."+c.name, sub.Subject, []byte(`{"batch":4,"expires":5000000000}`)); err != nil {
		t.Fatal(err)
	}
	p := newPuller(c, 1)
	var started []string
	p.run = func(d *delivery) { started = append(started, string(d.msg.Data)) }
	for range 4 {
		select {
		case m := <-arrived:
			p.arrive(m)
		case <-time.After(10 * time.Second):
			t.Fatal("no message")
		}
	}
	if want := []string{"0"}; !slices.Equal(started, want) {
		t.Fatalf("started %q, want %q", started, want)
	}
	p.held[0].due.Store(0) // waited for too long
	p.returned()
	if want := []string{"0", "2"}; !slices.Equal(started, want) {
		t.Errorf("started %q, want %q", started, want)
	}
	if n := c.Stats().Expired; n != 1 {
		t.Errorf("%d expired, want 1", n)
	}
	p.stop()
	if n := c.Stats().Returned; n != 1 || len(p.held) > 0 {
		t.Errorf("%d returned, %d held", n, len(p.held))
	}
	p.returned()
	if len(started) != 2 {
		t.Errorf("started %q after the end", started)
	}
}

func TestRequestsFollowTheFreeWorkers(t *testing.T) {
	s := natstest.Run(t)
	js := s.JetStream()
	cons := natstest.Consumer(t, js, jetstream.ConsumerConfig{MaxRequestBatch: 5})
	c, err := New(t.Context(), js, cons, &Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := c.nc.SubscribeSync(c.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	p := newPuller(c, 8)
	p.sub = sub
	for _, tt := range []struct {
		name                     string
		running, asked, settling int
		want                     int // asked afterwards
	}{
		{name: "all free, more than a request may ask for", want: 5},
		{name: "all busy", running: 8, want: 0},
		{name: "one free, none requested", running: 7, want: 1},
		{name: "one more free, some requested", running: 4, asked: 3, want: 3},
		{name: "half of them free, some requested", running: 2, asked: 2, want: 6},
		{name: "too many acks unconfirmed", settling: 256, want: 0},
	} {
		p.running, p.asked, p.settling = tt.running, tt.asked, tt.settling
		p.request()
		if p.asked != tt.want {
			t.Errorf("%s: %d asked, want %d", tt.name, p.asked, tt.want)
		}
	}
}

func TestStatusMessages(t *testing.T) {
	for _, tt := range []struct {
		status, description, pending string
		want                         statusKind
	}{
		{"100", "Idle Heartbeat", "", alive},
		{"404", "No Messages", "", serverBusy},
		{"408", "Request Timeout", "3", requestEnded},
		{"408", "Interest Expired", "3", requestEnded},
		{"409", "Batch Completed", "3", requestEnded},
		{"409", "Leadership Change", "", serverBusy},
		{"409", "Server Shutdown", "3", requestEnded},
		{"409", "Exceeded MaxRequestBatch of 5", "", serverBusy},
		{"409", "Consumer Deleted", "", consumerGone},
		{"409", "Consumer is push based", "", requestRefused},
		{"400", "Bad Request - Priority Group missing", "", requestRefused},
		{"503", "", "", serverBusy},
		{"999", "Invented", "", serverBusy},
		{"", "", "", serverBusy},
	} {
		h := nats.Header{"Status": {tt.status}, "Description": {tt.description}}
		if tt.pending != "" {
			h["Nats-Pending-Messages"] = []string{tt.pending}
		}
		got := readStatus(&nats.Msg{Header: h})
		if got.kind != tt.want || tt.want == requestEnded && got.pending != 3 {
			t.Errorf("%s %s: got %+v, want kind %d", tt.status, tt.description, got, tt.want)
		}
	}
}

func TestPrefixOfTheAPI(t *testing.T) {
	for _, tt := range []struct{ domain, prefix, want string }{
		{"", "", "$JS.API."},
		{"hub", "", "$JS.hub.API."},
		{"", "my.api", "my.api."},
		{"", "my.api.", "my.api."},
	} {
		var js jetstream.JetStream
		var err error
		nc := &nats.Conn{}
		switch {
		case tt.domain != "":
			js, err = jetstream.NewWithDomain(nc, tt.domain)
		case tt.prefix != "":
			js, err = jetstream.NewWithAPIPrefix(nc, tt.prefix)
		default:
			js, err = jetstream.New(nc)
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := apiPrefix(js.Options()); got != tt.want {
			t.Errorf("domain %q, prefix %q: %q, want %q", tt.domain, tt.prefix, got, tt.want)
		}
	}
}

func TestNakUnderBackOff(t *testing.T) {
	c := &Consumer{config: jetstream.ConsumerConfig{AckWait: time.Second, BackOff: []time.Duration{time.Second, 5 * time.Second}}}
	for _, tt := range []struct {
		delivery int
		delay    time.Duration
		want     string
	}{
		{1, 0, "-NAK"},
		{2, -time.Second, "-NAK"},
		{1, 3 * time.Second, `-NAK {"delay": 3000000000}`},
		{2, 6 * time.Second, `-NAK {"delay": 2000000000}`},
		{9, 6 * time.Second, `-NAK {"delay": 2000000000}`},
		{2, 4 * time.Second, `-NAK {"delay": 0}`},
		{2, time.Second, `-NAK {"delay": -3000000000}`},
	} {
		d := c.delivery(place{stream: "S", sequence: 1, delivered: uint64(tt.delivery), stored: time.Now()}, "reply")
		if got := string(d.nak(tt.delay)); got != tt.want {
			t.Errorf("delivery %d, %v: %s, want %s", tt.delivery, tt.delay, got, tt.want)
		}
	}
}
