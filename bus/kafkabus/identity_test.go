package kafkabus_test

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/backends/redisstore"
	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/bus/kafkabus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
	"github.com/oncebus/once/testutil/bustest"
	"github.com/oncebus/once/testutil/redistest"
)

// Headers of Kafka are UTF-8 and not percent-encoded: what looks so is as it is, and
// both modes name an event alike.
func TestCloudEventsOfBothModes(t *testing.T) {
	for _, e := range []struct{ source, id, structured string }{
		{"/orders", "7", `{"specversion":"1.0","source":"/orders","id":"7","type":"t"}`},
		{"/entrepôt/ü", "№ 7%2F8", `{"specversion":"1.0","source":"/entrepôt/ü","id":"№ 7%2F8","type":"t"}`},
		{"urn:a b", "\"q\"\\", `{"specversion":"1.0","source":"urn:a b","id":"\"q\"\\","type":"t"}`},
	} {
		binary := &kgo.Record{Topic: "orders", Value: []byte("{}"), Headers: []kgo.RecordHeader{
			{Key: "content-type", Value: []byte("application/json")}, {Key: "ce_specversion", Value: []byte("1.0")},
			{Key: "ce_source", Value: []byte(e.source)}, {Key: "ce_id", Value: []byte(e.id)},
		}}
		structured := &kgo.Record{Topic: "orders", Value: []byte(e.structured), Headers: []kgo.RecordHeader{
			{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")},
		}}
		var got []dedupe.Identity
		for _, r := range []*kgo.Record{binary, structured} {
			kafkabus.Handle(t.Context(), r, func(_ context.Context, m *bus.Message) error {
				id, err := dedupe.ByCloudEvent(m)
				if err != nil {
					t.Errorf("%s %s: %v", e.source, e.id, err)
				}
				got = append(got, id)
				return nil
			})
		}
		if got[0].ID == "" || got[0] != got[1] {
			t.Errorf("%q in headers and %q in the payload", got[0].ID, got[1].ID)
		}
	}
}

// A group whose offsets are lost is handed everything again, and finds it done by the
// offsets, of which the store keeps a bit each.
func TestRedeliveredRecordsAreFoundByTheirPlace(t *testing.T) {
	t.Parallel()
	mini := redistest.Mini(t)
	inRedis, err := redisstore.New(t.Context(), mini.Client(), &redisstore.Options{Positions: &redisstore.PositionOptions{}, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	inMemory, err := memstore.New(&memstore.Options{Positions: true, MaxRecords: 100})
	if err != nil {
		t.Fatal(err)
	}
	for name, store := range map[string]claim.Store{"redisstore": inRedis, "memstore": inMemory} {
		t.Run(name, func(t *testing.T) {
			const records = 200
			tp := newCluster(t).topic(t, 1)
			tp.publish(t, 0, names(0, records)...)
			var ran atomic.Int64
			for range 2 {
				d, err := dedupe.New(store, &dedupe.Options{Consumer: "billing", Key: dedupe.ByPosition})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close(context.Background())
				handed := make(chan struct{}, records)
				handler := d.Wrap(func(context.Context, *bus.Message) error { ran.Add(1); return nil })
				stop := consume(t, tp.open(t, &kafkabus.Options{Order: kafkabus.Unordered}), func(ctx context.Context, m *bus.Message) error {
					err := handler(ctx, m)
					handed <- struct{}{}
					return err
				})
				for range records {
					bustest.Within(t, handed, "every record")
				}
				stop()
				tp.group += " again"
			}
			if n := ran.Load(); n != records {
				t.Errorf("%d runs of %d records", n, records)
			}
		})
	}
	if keys := mini.Keys(); len(keys) > 3 {
		t.Errorf("%d keys in Redis, want a chunk or two", len(keys))
	}
}
