package redisbus

import (
	"context"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
)

var standard = encoding{defaultIDField, defaultDataField}

func TestWhatIsEncodedIsDecoded(t *testing.T) {
	for _, m := range []bus.Message{
		{ID: "7", Data: []byte("two apples"), Header: bus.Header{"trace": {"4bf9"}, "many": {"one", "", "one"}}},
		{Data: []byte("\x00\xff\r\n")},
		{ID: "empty"},
	} {
		fields, err := standard.fields(&m)
		if err != nil {
			t.Fatal(err)
		}
		got := standard.message("s", &Entry{ID: "1-1", Fields: fields})
		equal := maps.EqualFunc(got.Header, m.Header, func(a, b []string) bool { return strings.Join(a, ",") == strings.Join(b, ",") })
		if got.ID != m.ID || string(got.Data) != string(m.Data) || !equal {
			t.Errorf("%+v became %+v", m, got)
		}
	}
}

func TestAHeaderCannotTakeTheNameOfAField(t *testing.T) {
	for _, name := range []string{"id", "data"} {
		if _, err := standard.fields(&bus.Message{Header: bus.Header{name: {"x"}}}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Without this all flat entries would have the same payload hash, and all but one
// would be taken for duplicates.
func TestAFlatEntryHasItsFieldsAsPayload(t *testing.T) {
	m := standard.message("s", &Entry{ID: "1-1", Fields: []string{"id", "7", "customer", `"x"`, "amount", "5"}})
	if want := `{"customer":"\"x\"","amount":"5"}`; string(m.Data) != want || m.ID != "7" {
		t.Errorf("id %q, data %s, want %s", m.ID, m.Data, want)
	}
	if m.Header.Get("amount") != "5" {
		t.Errorf("headers are %v", m.Header)
	}
	if m = standard.message("s", &Entry{ID: "1-1"}); string(m.Data) != "{}" {
		t.Errorf("no fields: %s", m.Data)
	}
}

func TestPositions(t *testing.T) {
	entries := []*Entry{
		{ID: "1-1", Fields: []string{"data", "a"}},
		{ID: "1-2", Fields: []string{"data", "a"}},
		{ID: "1-1", Fields: []string{"data", "b"}}, // of a stream that was made anew
		{ID: "1-1", Fields: []string{"dat", "aa"}},
		{ID: "1-1", Fields: []string{"data", "a", "", ""}},
	}
	seen := map[string]bool{}
	for _, e := range entries {
		p := position("s", e)
		if p != position("s", &Entry{ID: e.ID, Fields: e.Fields}) {
			t.Errorf("%v has two positions", e)
		}
		seen[p] = true
	}
	seen[position("t", entries[0])] = true
	if len(seen) != len(entries)+1 {
		t.Errorf("%d positions of %d entries: %v", len(seen), len(entries)+1, seen)
	}
}

func TestPublishedIsTheServersTimeOrUnknown(t *testing.T) {
	for id, want := range map[string]time.Time{
		"1767225600123-4":        time.UnixMilli(1767225600123),
		"1-1":                    {},
		"18446744073709551615-0": {},
	} {
		if got := published(id); !got.Equal(want) {
			t.Errorf("%s: %v, want %v", id, got, want)
		}
	}
}

func TestPrevious(t *testing.T) {
	for id, want := range map[string]string{
		"5-3": "5-2", "5-0": "4-18446744073709551615", "0-1": "0-0", "0-0": "0-0",
	} {
		got := previous(id)
		if got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
		if id != "0-0" && (!before(got, id) || before(id, got)) {
			t.Errorf("%s is not before %s", got, id)
		}
	}
}

func TestHandle(t *testing.T) {
	s := Handle(t.Context(), "orders", redis.XMessage{ID: "1767225600123-4", Values: map[string]any{"id": "7", "data": "two apples", "trace": "4bf9"}},
		func(_ context.Context, m *bus.Message) error {
			if m.ID != "7" || string(m.Data) != "two apples" || m.Header.Get("trace") != "4bf9" || m.Subject != "orders" || m.Position == "" {
				t.Errorf("%+v", m)
			}
			panic("nobody expects this")
		})
	if s.Action != bus.ActionRetry {
		t.Errorf("settled as %v", s.Action)
	}
}

func FuzzEntry(f *testing.F) {
	f.Add("id", "7", "data", "{}")
	f.Add("", "", "x", "\xff")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		e := &Entry{ID: "1-1", Fields: []string{a, b, c, d}}
		m := standard.message("s", e)
		if a != "data" && c != "data" && !json.Valid(m.Data) {
			t.Errorf("%q is no JSON", m.Data)
		}
		if got, err := entryOf([]any{"1-1", []any{a, b, c, d}}); err != nil || position("s", &got) != m.Position {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestRepliesThatAreNone(t *testing.T) {
	for _, reply := range []any{nil, "x", []any{}, []any{"1-1"}, []any{"1-1", nil}, []any{int64(1), []any{}}, []any{"1-1", []any{"odd"}}, []any{"1-1", []any{"x", int64(1)}}} {
		if _, err := entryOf(reply); err == nil {
			t.Errorf("%v is taken for an entry", reply)
		}
	}
	for _, reply := range []any{nil, "x", []any{}, []any{[]any{"s"}}, map[any]any{}} {
		if _, err := entriesOf(reply, "s"); err == nil {
			t.Errorf("%v is taken for entries", reply)
		}
	}
}
