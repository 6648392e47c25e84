package redisbus_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus/redisbus"
)

func TestOptionsThatAreWrongAreNamed(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}) // never asked
	defer client.Close()
	for want, o := range map[string]redisbus.Options{
		"Options.Workers":       {Workers: -1},
		"Options.BatchSize":     {BatchSize: -1},
		"Options.MaxWaiting":    {MaxWaiting: -1},
		"Options.MinIdle":       {MinIdle: -time.Second},
		"Options.MinIdle ":      {MinIdle: time.Second + time.Microsecond},
		"Options.ClaimInterval": {ClaimInterval: -1},
		"Options.TrimEvery":     {TrimEvery: -1},
		"Options.ForgetAfter":   {ForgetAfter: -1},
		"Options.AckTimeout":    {AckTimeout: -1},
		"Options.DrainTimeout":  {DrainTimeout: -1},
		"Options.CreateFrom":    {CreateFrom: "yesterday"},
		"Options.IDField":       {IDField: "data"},
	} {
		if _, err := redisbus.New(t.Context(), client, "stream", "group", &o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := redisbus.New(t.Context(), nil, "stream", "group", nil); err == nil {
		t.Error("no client is no error")
	}
	for _, names := range [][2]string{{"", "group"}, {"stream", ""}} {
		if _, err := redisbus.New(t.Context(), client, names[0], names[1], nil); err == nil {
			t.Errorf("%q is no error", names)
		}
	}
	if _, err := redisbus.NewPublisher(client, "stream", &redisbus.PublisherOptions{IDField: "x", DataField: "x"}); err == nil {
		t.Error("one field for id and payload is no error")
	}
	if _, err := redisbus.DeadLetter(client, "dead", &redisbus.DeadLetterOptions{Timeout: -1}); err == nil || !strings.Contains(err.Error(), "Timeout") {
		t.Errorf("DeadLetter: %v", err)
	}
	if _, err := redisbus.DeadLetter(client, "", nil); err == nil {
		t.Error("a dead-letter stream without a name is no error")
	}
}
