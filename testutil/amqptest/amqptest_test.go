package amqptest_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/oncebus/once/testutil/amqptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(amqptest.Tests(m)) }

func TestANodeKeepsWhatIsDurable(t *testing.T) {
	n := amqptest.Start(t)
	if again := amqptest.Start(t); again != n {
		t.Error("a second node was started")
	}
	declare := func(durable, passive bool) error {
		t.Helper()
		conn, err := amqp.Dial(n.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		name := map[bool]string{true: "durable", false: "transient"}[durable]
		if passive {
			_, err = ch.QueueDeclarePassive(name, durable, false, false, false, nil)
		} else {
			_, err = ch.QueueDeclare(name, durable, false, false, false, nil)
		}
		return err
	}
	for _, durable := range []bool{true, false} {
		if err := declare(durable, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := declare(true, true); err != nil {
		t.Errorf("the durable queue after a restart: %v", err)
	}
	if err := declare(false, true); err == nil {
		t.Error("the transient queue is still there after a restart")
	}
	if value, err := n.Eval(t.Context(), "1 + 1."); err != nil || value != "2" {
		t.Errorf("1 + 1 is %q, %v", value, err)
	}
	if _, err := n.Eval(t.Context(), "no_such_module:f()."); err == nil {
		t.Error("an expression that fails is no error")
	}
}
