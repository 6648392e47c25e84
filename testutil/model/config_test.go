package model

import (
	"reflect"
	"testing"

	"github.com/oncebus/once/claim"
)

func TestConfigOutOfRange(t *testing.T) {
	for _, cfg := range []Config{
		{Workers: -1}, {Workers: MaxWorkers + 1},
		{Deliveries: -1}, {Deliveries: MaxDeliveries + 1},
		{MaxAttempts: -1}, {MaxAttempts: MaxAttempts + 1},
		{Takeover: claim.Park + 1},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v was accepted", cfg)
				}
			}()
			Check(cfg)
		}()
	}
}

func TestSearchIsRepeatable(t *testing.T) {
	cfg := Config{Permanent: true, Without: Failover}
	if a, b := Check(cfg), Check(cfg); !reflect.DeepEqual(a, b) {
		t.Errorf("two searches of one space: %d and %d states, %d and %d transitions", a.States, b.States, a.Transitions, b.Transitions)
	}
}
