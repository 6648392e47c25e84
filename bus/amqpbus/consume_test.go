package amqpbus_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/amqpbus"
	"github.com/oncebus/once/testutil/amqptest"
	"github.com/oncebus/once/testutil/bustest"
)

func nothing(context.Context, *bus.Message) error { return nil }

func TestAQueueThatIsMissing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if _, err := amqpbus.New(t.Context(), r.client, r.queue, nil); !errors.Is(err, amqpbus.ErrNoQueue) {
		t.Errorf("New: %v", err)
	}
	r.makeQueue(t, r.queue, nil)
	c, err := amqpbus.New(t.Context(), r.client, r.queue, &amqpbus.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ended, handled := make(chan error, 1), make(chan struct{}, 1)
	go func() {
		ended <- c.Consume(t.Context(), func(context.Context, *bus.Message) error { handled <- struct{}{}; return nil })
	}()
	r.publish(t, "a")
	bustest.Within(t, handled, "a message")
	r.deleteQueue(t, r.queue)
	if err := bustest.Within(t, ended, "Consume to return"); !errors.Is(err, amqpbus.ErrNoQueue) {
		t.Errorf("Consume: %v", err)
	}
}

func TestAQueueThatIsDeletedIsMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, amqpbus.Options{})
	handled := make(chan struct{}, 2)
	consume(t, c, func(context.Context, *bus.Message) error { handled <- struct{}{}; return nil })
	r.publish(t, "a")
	bustest.Within(t, handled, "a message")
	r.deleteQueue(t, r.queue)
	bustest.Until(t, "another channel", func() bool { return c.Stats().Reopened == 1 })
	r.publish(t, "b")
	bustest.Within(t, handled, "a message of the next queue")
}

func TestAClientThatIsClosedEndsConsume(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	c := r.open(t, amqpbus.Options{})
	ended, handled := make(chan error, 1), make(chan struct{}, 1)
	go func() {
		ended <- c.Consume(t.Context(), func(context.Context, *bus.Message) error { handled <- struct{}{}; return nil })
	}()
	r.publish(t, "a")
	bustest.Within(t, handled, "a message")
	if err := r.client.Close(); err != nil {
		t.Error(err)
	}
	if err := bustest.Within(t, ended, "Consume to return"); !errors.Is(err, amqpbus.ErrClosed) {
		t.Errorf("Consume: %v", err)
	}
}

func TestAStreamIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.about = &amqpbus.Queue{Args: amqp.Table{"x-queue-type": "stream"}}
	if _, err := amqpbus.New(t.Context(), r.client, r.queue, &amqpbus.Options{Declare: r.about}); !errors.Is(err, amqpbus.ErrRefused) {
		t.Errorf("New: %v", err)
	}
	r.makeQueue(t, r.queue, r.about.Args)
	c, err := amqpbus.New(t.Context(), r.client, r.queue, &amqpbus.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	ended, stop := make(chan error, 1), make(chan struct{})
	go func() { ended <- c.Consume(t.Context(), nothing) }()
	published := make(chan struct{})
	go func() { // a consumer of a stream is given what comes after it did
		defer close(published)
		for {
			select {
			case <-stop:
				return
			default:
				_ = r.client.Publish(context.WithoutCancel(t.Context()), "", r.queue, amqp.Publishing{})
			}
		}
	}()
	if err := bustest.Within(t, ended, "Consume to return"); !errors.Is(err, amqpbus.ErrRefused) {
		t.Errorf("Consume: %v", err)
	}
	close(stop)
	<-published
}

// The declaration differs from what is there.
func TestADeclarationMustFitTheQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeQueue(t, r.queue, amqp.Table{"x-queue-type": "classic"})
	_, err := amqpbus.New(t.Context(), r.client, r.queue, &amqpbus.Options{Declare: &amqpbus.Queue{}, Logger: quiet})
	var refused *amqp.Error
	if !errors.As(err, &refused) || refused.Code != amqp.PreconditionFailed {
		t.Errorf("New: %v", err)
	}
}

func TestAnExclusiveQueueOfAnotherConnectionIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	q := classic()
	q.Exclusive = true
	other := rigAt(t, r.node.Addr, q)
	other.open(t, amqpbus.Options{})
	if _, err := amqpbus.New(t.Context(), r.client, other.queue, nil); !errors.Is(err, amqpbus.ErrRefused) {
		t.Errorf("New: %v", err)
	}
}

func TestDialTellsNoPassword(t *testing.T) {
	t.Parallel()
	node := amqptest.Start(t)
	for name, urls := range map[string][]string{
		"no URL":         nil,
		"no AMQP":        {"http://guest:hunter2@localhost"},
		"unparsable":     {"amqp://guest:hunter2@local host"},
		"wrong password": {"amqp://guest:hunter2@" + node.Addr},
		"nobody there":   {"amqp://guest:hunter2@127.0.0.1:1"},
		"no vhost":       {"amqp://guest:guest@" + node.Addr + "/hunter"},
	} {
		_, err := amqpbus.Dial(t.Context(), nil, urls...)
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One of several is enough, again and again.
	for range 4 {
		client, err := amqpbus.Dial(t.Context(), nil, "amqp://guest:guest@127.0.0.1:1", node.URL())
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOptionsThatAreWrongAreNamed(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]amqpbus.ClientOptions{
		"ClientOptions.Timeout":         {Timeout: -1},
		"ClientOptions.Config.Dial":     {Config: amqp.Config{Dial: amqp.DefaultDial(time.Second)}},
		"ClientOptions.Config.Recovery": {Config: amqp.Config{Recovery: &amqp.Recovery{}}},
	} {
		if _, err := amqpbus.Dial(t.Context(), &o, "amqp://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	r := newRig(t)
	for want, o := range map[string]amqpbus.Options{
		"Options.Workers":          {Workers: -1},
		"Options.Workers ":         {Workers: 60_000, MaxHeld: 10_000},
		"Options.BatchSize":        {BatchSize: -1},
		"Options.MaxHeld":          {MaxHeld: -1},
		"Options.HoldFor":          {HoldFor: -1},
		"Options.AbandonedAfter":   {AbandonedAfter: -1},
		"Options.DrainTimeout":     {DrainTimeout: -1},
		"Options.Declare.Args":     {Declare: &amqpbus.Queue{Args: amqp.Table{"x": struct{}{}}}},
		"Options.Declare.Bindings": {Declare: &amqpbus.Queue{Bindings: []amqpbus.Binding{{Key: "k"}}}},
		"Options.Declare: ":        {Declare: &amqpbus.Queue{AutoDelete: true}},
	} {
		if _, err := amqpbus.New(t.Context(), r.client, "queue", &o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := amqpbus.New(t.Context(), nil, "queue", nil); err == nil {
		t.Error("no client is no error")
	}
	if _, err := amqpbus.New(t.Context(), r.client, "", nil); err == nil {
		t.Error("a queue without a name is no error")
	}
	c := r.open(t, amqpbus.Options{BatchSize: 50_000})
	if err := c.ConsumeBatch(t.Context(), func(context.Context, []*bus.Message) []error { return nil }); err == nil || !strings.Contains(err.Error(), "BatchSize") {
		t.Errorf("ConsumeBatch: %v", err)
	}
	if c.Consume(t.Context(), nil) == nil || c.ConsumeBatch(t.Context(), nil) == nil {
		t.Error("no handler is no error")
	}
}

// Somebody listens and never says a word.
func TestAServerThatDoesNotAnswerIsGivenUp(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	given := make(chan error, 1)
	go func() {
		_, err := amqpbus.Dial(t.Context(), &amqpbus.ClientOptions{Timeout: 50 * time.Millisecond}, "amqp://"+l.Addr().String())
		given <- err
	}()
	if err := bustest.Within(t, given, "Dial to return"); err == nil {
		t.Error("no error")
	}
}

func TestCheckSaysWhatItCannotSee(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.makeQueue(t, r.queue, nil)
	for name, c := range map[string]struct {
		options *amqpbus.Options
		want    string
	}{
		"described": {&amqpbus.Options{Declare: classic()}, "policies of the queue"},
		"not":       {nil, "arguments and policies of the queue"},
	} {
		findings, err := amqpbus.Check(t.Context(), r.client, r.queue, c.options)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		for _, f := range findings {
			found = found || f.Setting == c.want && f.Severity == bus.Note && f.Value == "unknown"
		}
		if !found {
			t.Errorf("%s: %v", name, findings)
		}
	}
}
