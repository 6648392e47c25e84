package dedupe

import (
	"encoding/json"
	"testing"

	"github.com/oncebus/once/bus"
)

func TestByCloudEvent(t *testing.T) {
	const same = "cloudevent:5:/shop7"
	structured := func(contentType, data string) *bus.Message {
		return &bus.Message{Header: bus.Header{"content-type": {contentType}}, Data: []byte(data)}
	}
	headers := func(pairs ...string) *bus.Message {
		h := bus.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h[pairs[i]] = []string{pairs[i+1]}
		}
		return &bus.Message{Header: h, ID: "not this"}
	}
	const json = "application/cloudevents+json"
	for name, c := range map[string]struct {
		m    *bus.Message
		want string
		fail bool
	}{
		"Kafka":                  {headers("ce_id", "7", "ce_source", "/shop"), same, false},
		"NATS":                   {headers("ce-id", "7", "ce-source", "/shop"), same, false},
		"HTTP":                   {headers("Ce-Id", "7", "Ce-Source", "/shop"), same, false},
		"AMQP":                   {headers("cloudEvents:id", "7", "cloudEvents:source", "/shop"), same, false},
		"JMS":                    {headers("cloudEvents_id", "7", "cloudEvents_source", "/shop"), same, false},
		"structured":             {structured(json, `{"specversion":"1.0","id":"7","source":"/shop","data":{"id":"8"}}`), same, false},
		"with a charset":         {structured("Application/CloudEvents+JSON; charset=utf-8", `{"source":"/shop","id":"7"}`), same, false},
		"another source":         {headers("ce_id", "7", "ce_source", "/shop2"), "cloudevent:6:/shop27", false},
		"longer id":              {headers("ce_id", "27", "ce_source", "/shop"), "cloudevent:5:/shop27", false},
		"no event":               {headers("id", "7", "Content-Type", "application/json"), "", false},
		"no headers":             {&bus.Message{ID: "not this"}, "", false},
		"no source":              {headers("ce_id", "7"), "", true},
		"no id":                  {headers("ce_source", "/shop"), "", true},
		"two bindings":           {headers("ce_id", "7", "ce-source", "/shop"), "", true},
		"batch":                  {structured("application/cloudevents-batch+json", `[]`), "", true},
		"Avro":                   {structured("application/cloudevents+avro", ``), "", true},
		"structured, no source":  {structured(json, `{"id":"7"}`), "", true},
		"structured, other case": {structured(json, `{"ID":"7","source":"/shop"}`), "", true},
		"structured, neither":    {structured(json, `{"data":{"id":"7","source":"/shop"}}`), "", false},
		"structured, twice":      {structured(json, `{"id":"7","source":"/shop","id":"8"}`), "", true},
		"structured, number":     {structured(json, `{"id":7,"source":"/shop"}`), "", true},
		"structured, null":       {structured(json, `{"id":null,"source":"/shop"}`), "", true},
		"structured, empty":      {structured(json, `{"id":"","source":"/shop"}`), "", true},
		"structured, array":      {structured(json, `["id","7","source","/shop"]`), "", true},
		"structured, cut":        {structured(json, `{"id":"7","source":"/shop"`), "", true},
		"structured, more":       {structured(json, `{"id":"7","source":"/shop"}{}`), "", true},
		"structured, half pair":  {structured(json, `{"id":"\ud800","source":"/shop"}`), "", true},
		"structured, no UTF-8":   {structured(json, "{\"id\":\"\xff\",\"source\":\"/shop\"}"), "", true},
		"structured, nothing":    {structured(json, ``), "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ByCloudEvent(c.m)
			if got.ID != c.want || (err != nil) != c.fail {
				t.Errorf("%q, %v", got.ID, err)
			}
		})
	}
}

// FuzzStructuredEvent compares the parser with encoding/json: what it accepts has
// these two attributes, once each.
func FuzzStructuredEvent(f *testing.F) {
	for _, seed := range []string{
		`{"specversion":"1.0","id":"7","source":"/shop","data":[1,{"id":2}]}`, `{"id":"7","id":"8","source":"/"}`, `{"ID":"7","id":"8","source":"/"}`,
		`{"id":"\ud83c\udf4e","source":"\u0000"}`, `{"id":"\ud800","source":"/"}`, "{\"id\":\"\xff\",\"source\":\"/\"}", `{"id":"7","source":"/"} {`, `[]`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		source, id, err := structuredEvent(data)
		if err != nil {
			if source != "" || id != "" {
				t.Fatalf("%q, %q with %v", source, id, err)
			}
			return
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(data, &all); err != nil {
			t.Fatalf("accepted: %v", err)
		}
		for name, got := range map[string]string{"source": source, "id": id} {
			var want string
			if value, ok := all[name]; ok {
				if err := json.Unmarshal(value, &want); err != nil {
					t.Fatalf("accepted: %v", err)
				}
			}
			if got != want {
				t.Fatalf("%s is %q, want %q", name, got, want)
			}
		}
		again, err := json.Marshal(map[string]string{"id": id, "source": source})
		if err != nil {
			t.Fatal(err)
		}
		if s, i, err := structuredEvent(again); s != source || i != id || err != nil {
			t.Fatalf("%q, %q and then %q, %q, %v", source, id, s, i, err)
		}
	})
}
