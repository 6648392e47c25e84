package bus_test

import (
	"fmt"
	"testing"

	"github.com/oncebus/once/bus"
)

func TestHeaderGet(t *testing.T) {
	h := bus.Header{"Id": {"exact", "second"}, "id": {"lower"}, "Empty": {}, "EMPTY": {"other"}, "Blank": {""}}
	for key, want := range map[string]string{
		"Id": "exact", "id": "lower", "Empty": "other", "blank": "", "Blank": "", "missing": "",
	} {
		if got := h.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if got := (bus.Header{"X-Id": {"7"}}).Get("x-ID"); got != "7" {
		t.Errorf("another case: %q", got)
	}
	if got := bus.Header(nil).Get("x"); got != "" {
		t.Errorf("nil: %q", got)
	}
}

func TestHeaderCloneIsDeep(t *testing.T) {
	if bus.Header(nil).Clone() != nil {
		t.Error("the clone of nil is not nil")
	}
	h := bus.Header{"A": {"1", "2"}, "B": nil}
	c := h.Clone()
	c["A"][0], c["C"] = "changed", []string{"new"}
	if h["A"][0] != "1" || len(h) != 2 || len(c) != 3 {
		t.Errorf("h is %v after its clone was changed to %v", h, c)
	}
}

func ExampleHeader_Get() {
	h := bus.Header{"Trace-Id": {"4bf92f35"}}
	fmt.Println(h.Get("trace-id"))
	// Output: 4bf92f35
}
