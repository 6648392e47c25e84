package dedupe

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestCircuitOpensProbesAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []bool
		c := &circuit{threshold: 3, first: time.Second, cooldown: time.Second, changed: func(open bool) { changes = append(changes, open) }}
		open := func() bool { _, ok := c.allow(); return !ok }
		c.failed()
		c.failed()
		c.answered()
		c.failed()
		c.failed()
		if open() {
			t.Fatal("open after two failures in a row, want three")
		}
		c.failed()
		if !open() {
			t.Fatal("not open after three failures in a row")
		}
		for range 10 {
			<-time.After(maxCooldowns * time.Second)
			if open() {
				t.Fatal("no probe is let through after the cooldown")
			}
			if !open() {
				t.Fatal("a second claim is let through beside the probe")
			}
			c.failed()
			if !open() {
				t.Fatal("not open after the probe failed")
			}
		}
		if c.cooldown != maxCooldowns*time.Second {
			t.Errorf("the cooldown is %v after many failures, want it to stop at %v", c.cooldown, maxCooldowns*time.Second)
		}
		<-time.After(maxCooldowns * time.Second)
		open()
		c.answered()
		if open() || c.cooldown != time.Second {
			t.Error("not closed after the probe was answered")
		}
		if !slices.Equal(changes, []bool{true, false}) {
			t.Errorf("told of %v, want one opening and one closing", changes)
		}
	})
}

func TestCircuitLetsAnotherProbeThroughWhenTheFirstNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &circuit{threshold: 1, first: time.Second, cooldown: time.Second, changed: func(bool) {}}
		c.failed()
		for range 3 {
			<-time.After(time.Second)
			if _, ok := c.allow(); !ok {
				t.Fatal("no probe after the cooldown")
			}
		}
	})
}

func TestCircuitSwitchedOffNeverOpens(t *testing.T) {
	c := &circuit{threshold: Off, first: time.Second, cooldown: time.Second, changed: func(bool) { t.Error("changed") }}
	for range 100 {
		c.failed()
	}
	if _, ok := c.allow(); !ok {
		t.Error("open")
	}
}

// Sixty claims that fail together because the store stood still for a moment must
// not leave it alone for half a minute.
func TestClaimsThatWereUnderWayDoNotLengthenTheCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &circuit{threshold: 5, first: time.Second, changed: func(bool) {}}
		for range 64 {
			c.failed()
		}
		if c.cooldown != time.Second || c.pause() > 2*time.Second {
			t.Errorf("the cooldown is %v, the pause %v, want a second", c.cooldown, c.pause())
		}
		time.Sleep(time.Second)
		if _, ok := c.allow(); !ok {
			t.Fatal("no probe after the cooldown")
		}
		c.failed()
		c.failed() // a late one
		if c.cooldown != 2*time.Second {
			t.Errorf("the cooldown is %v after one probe, want two seconds", c.cooldown)
		}
	})
}
