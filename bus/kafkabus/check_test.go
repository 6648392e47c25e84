package kafkabus_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
)

// settings returns what is found, by its setting.
func settings(t *testing.T, c *kafkabus.Consumer, topic string) map[string]bus.Finding {
	t.Helper()
	findings, err := c.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(findings, func(a, b bus.Finding) int { return int(b.Severity) - int(a.Severity) }) {
		t.Errorf("the worst does not come first: %v", findings)
	}
	found := map[string]bus.Finding{}
	for _, f := range findings {
		found[strings.TrimSuffix(f.Setting, " of topic "+topic)] = f
	}
	return found
}

func TestCheckNamesWhatLosesOrRepeatsRecords(t *testing.T) {
	clusters(t, func(t *testing.T, c *cluster) {
		tp := c.topic(t, 1)
		fine := tp.open(t, nil)
		t.Cleanup(fine.Close)
		good := settings(t, fine, tp.name)
		if _, single := good["replicas"]; !single || len(good) != 1 {
			t.Errorf("the defaults of a single broker: found %v, want its one replica alone", good)
		}

		admin := kadm.NewClient(tp.producer)
		set := func(name, value string) kadm.AlterConfig {
			return kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: &value}
		}
		altered, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
			set("cleanup.policy", "compact"), set("retention.ms", "60000"), set("retention.bytes", "1000000"),
			set("unclean.leader.election.enable", "true"),
		}, tp.name)
		if err != nil || altered[0].Err != nil {
			t.Fatal(err, altered)
		}
		bad := tp.open(t, nil, kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.SessionTimeout(time.Second))
		t.Cleanup(bad.Close)
		want := map[string]bus.Severity{
			"ConsumeResetOffset": bus.Warn, "SessionTimeout": bus.Warn, "cleanup.policy": bus.Warn, "retention.ms": bus.Warn,
			"unclean.leader.election.enable": bus.Warn, "retention.bytes": bus.Note, "replicas": bus.Note,
		}
		found := settings(t, bad, tp.name)
		// A broker applies what was altered a little later.
		for range 100 {
			if len(found) == len(want) {
				break
			}
			found = settings(t, bad, tp.name)
		}
		for setting, severity := range want {
			if f := found[setting]; f.Severity != severity || f.Value == "" || f.Consequence == "" || f.Remedy == "" {
				t.Errorf("%s: found %+v, want a %v", setting, f, severity)
			}
		}
		if len(found) != len(want) {
			t.Errorf("found %v, want %d", found, len(want))
		}
	})
}

func TestConsumeTellsWhatCheckFinds(t *testing.T) {
	tp := newCluster(t).topic(t, 1)
	var log bytes.Buffer
	c := tp.open(t, &kafkabus.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))},
		kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	t.Cleanup(c.Close)
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if err := c.Consume(ctx, func(context.Context, *bus.Message) error { return nil }); err != nil {
			t.Error(err)
		}
		cancel()
	}
	if n := strings.Count(log.String(), "ConsumeResetOffset"); n != 1 {
		t.Errorf("the log names ConsumeResetOffset %d times, want once:\n%s", n, &log)
	}
}
