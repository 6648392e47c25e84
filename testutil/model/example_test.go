package model_test

import (
	"fmt"

	"github.com/oncebus/once/testutil/model"
)

// The protocol is searched by itself, and once more with a mistake in it.
func ExampleCheck() {
	report := model.Check(model.Config{Workers: 2, Deliveries: 2})
	fmt.Println("violation:", report.Violation)

	for _, m := range model.Mutants() {
		if m.Name == "takeover that keeps the fence" {
			report = model.Check(m.Config())
			fmt.Print(report.Violation)
		}
	}
	// Output:
	// violation: <nil>
	// I2 is broken: fence 1 was granted after fence 1
	//   1. A is delivered the message and sends TryClaim(t1)
	//   2. B is delivered the message and sends TryClaim(t2)
	//   3. the store carries out TryClaim(t1): claimed, fence 1, and the answer is lost; the record is pending t1 fence 1
	//   4. the lease of t1 runs out; the record is pending t1 fence 1, lease over
	//   5. the store carries out TryClaim(t2): claimed, fence 1, a takeover, and the answer is lost; the record is pending t2 fence 1
}
