package bus_test

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"testing"

	"github.com/oncebus/once/bus"
)

type order struct {
	Apples int `json:"apples" xml:"apples"`
}

func ExampleTyped() {
	handler := bus.Typed(func(_ context.Context, m *bus.Message, o order) error {
		fmt.Println(m.ID, o.Apples)
		return nil
	}, nil)
	for _, data := range []string{`{"apples": 2}`, `{"apples": "two"}`} {
		err := handler(context.Background(), &bus.Message{ID: "order-7", Data: []byte(data)})
		fmt.Println(bus.SettlementOf(err).Action)
	}
	// Output:
	// order-7 2
	// ack
	// reject
}

func TestTyped(t *testing.T) {
	failed := errors.New("handler failed on purpose")
	var got []int
	h := func(_ context.Context, _ *bus.Message, o order) error {
		got = append(got, o.Apples)
		return failed
	}
	if err := bus.Typed(h, nil)(t.Context(), &bus.Message{Data: []byte(`{"apples":2}`)}); err != failed {
		t.Errorf("the handler's error: %v", err)
	}
	if err := bus.Typed(h, xml.Unmarshal)(t.Context(), &bus.Message{Data: []byte(`<order><apples>3</apples></order>`)}); err != failed {
		t.Errorf("another codec: %v", err)
	}
	for _, data := range []string{"", "{", `{"apples":"two"}`, `{"apples":4} {"apples":5}`} {
		err := bus.Typed(h, nil)(t.Context(), &bus.Message{Data: []byte(data)})
		if bus.SettlementOf(err).Action != bus.ActionReject {
			t.Errorf("%q: %v", data, err)
		}
		if s, u := (*json.SyntaxError)(nil), (*json.UnmarshalTypeError)(nil); !errors.As(err, &s) && !errors.As(err, &u) {
			t.Errorf("%q: the decoder's error is not kept: %v", data, err)
		}
	}
	if len(got) != 2 || got[0] != 2 || got[1] != 3 {
		t.Errorf("the handler got %v", got)
	}
}

func TestTypedBatch(t *testing.T) {
	failed := errors.New("handler failed on purpose")
	batch := []*bus.Message{{Data: []byte("{")}, {Data: []byte(`{"apples":1}`)}, {Data: []byte("")}, {Data: []byte(`{"apples":2}`)}}
	for name, c := range map[string]struct {
		answers []error
		want    [2]error
	}{
		"each its own":   {[]error{nil, failed}, [2]error{nil, failed}},
		"a wrong number": {nil, [2]error{bus.ErrBatchResult, bus.ErrBatchResult}},
	} {
		t.Run(name, func(t *testing.T) {
			errs := bus.TypedBatch(func(_ context.Context, b []*bus.Message, values []order) []error {
				if len(b) != 2 || b[0] != batch[1] || b[1] != batch[3] || len(values) != 2 || values[0].Apples != 1 || values[1].Apples != 2 {
					t.Errorf("the handler got %v %v", b, values)
				}
				return c.answers
			}, nil)(t.Context(), batch)
			if len(errs) != 4 || !errors.Is(errs[1], c.want[0]) || !errors.Is(errs[3], c.want[1]) {
				t.Fatalf("%v", errs)
			}
			for _, i := range []int{0, 2} {
				if bus.SettlementOf(errs[i]).Action != bus.ActionReject {
					t.Errorf("%d: %v", i, errs[i])
				}
			}
		})
	}
	errs := bus.TypedBatch(func(context.Context, []*bus.Message, []order) []error {
		t.Error("called with nothing")
		return nil
	}, nil)(t.Context(), batch[:1])
	if len(errs) != 1 || bus.SettlementOf(errs[0]).Action != bus.ActionReject {
		t.Errorf("%v", errs)
	}
}
