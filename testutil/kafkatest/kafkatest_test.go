package kafkatest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/oncebus/once/testutil/kafkatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(kafkatest.Tests(m)) }

func TestABrokerKeepsItsRecordsOverAKill(t *testing.T) {
	b := kafkatest.Start(t)
	if kafkatest.Start(t) != b {
		t.Error("the second test got another broker")
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.DefaultProduceTopic("topic"), kgo.ConsumeTopics("topic"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.UnknownTopicRetries(-1))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, nil, "topic"); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(t.Context(), kgo.StringRecord("value")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	b.Kill()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := client.Ping(short); err == nil {
		t.Error("a broker that was killed answers")
	}
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		fetches := client.PollRecords(ctx, 1)
		if r := fetches.Records(); len(r) > 0 {
			if string(r[0].Value) != "value" {
				t.Errorf("read %q", r[0].Value)
			}
			return
		}
		if ctx.Err() != nil {
			t.Fatal("the record is not there after the restart")
		}
	}
}

func TestWhereThereIsNoKafka(t *testing.T) {
	t.Setenv("ONCE_KAFKA_HOME", t.TempDir())
	if _, err := kafkatest.Open(); !errors.Is(err, kafkatest.ErrMissing) || !strings.Contains(err.Error(), ".ci/kafka") {
		t.Errorf("error %v, want ErrMissing and what to run", err)
	}
}
