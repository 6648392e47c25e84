package bus_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
)

func TestExponentialDoublesUpToTheLimit(t *testing.T) {
	b := bus.Exponential(100*time.Millisecond, time.Second)
	for attempt, full := range map[int]time.Duration{
		-1: 100 * time.Millisecond, 0: 100 * time.Millisecond, 1: 100 * time.Millisecond,
		2: 200 * time.Millisecond, 3: 400 * time.Millisecond, 4: 800 * time.Millisecond,
		5: time.Second, 6: time.Second, math.MaxInt: time.Second,
	} {
		for range 200 {
			if d := b(attempt); d < full/2 || d > full {
				t.Fatalf("attempt %d: %v, want between %v and %v", attempt, d, full/2, full)
			}
		}
	}
}

func TestExponentialDoesNotOverflow(t *testing.T) {
	b := bus.Exponential(time.Hour, math.MaxInt64)
	for attempt := range 100 {
		if d := b(attempt); d <= 0 {
			t.Fatalf("attempt %d: %v", attempt, d)
		}
	}
	if d := bus.Exponential(1, 1)(1); d < 0 || d > 1 {
		t.Errorf("a nanosecond: %v", d)
	}
}

func TestExponentialSpreads(t *testing.T) {
	b := bus.Exponential(time.Second, time.Minute)
	seen := make(map[time.Duration]bool)
	for range 100 {
		seen[b(3)] = true
	}
	if len(seen) < 90 {
		t.Errorf("%d different delays of 100: what failed together comes back together", len(seen))
	}
}

func TestExponentialRefusesNonsense(t *testing.T) {
	for _, limits := range [][2]time.Duration{{0, time.Second}, {-1, time.Second}, {time.Second, time.Millisecond}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%v: no panic", limits)
				}
			}()
			bus.Exponential(limits[0], limits[1])
		}()
	}
}

func ExampleExponential() {
	backoff := bus.Exponential(time.Second, time.Minute)
	d := backoff(3) // after the third attempt
	fmt.Println(d >= 2*time.Second && d <= 4*time.Second)
	// Output: true
}
