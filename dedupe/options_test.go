package dedupe_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

func TestNewNamesTheOptionThatDoesNotFit(t *testing.T) {
	store := newMemstore(t)
	for _, c := range []struct {
		option string
		set    func(o *dedupe.Options)
	}{
		{"Consumer", func(o *dedupe.Options) { o.Consumer = "" }},
		{"Consumer", func(o *dedupe.Options) { o.Consumer = strings.Repeat("c", 256) }},
		{"Namespace", func(o *dedupe.Options) { o.Namespace = strings.Repeat("n", 256) }},
		{"MissingID", func(o *dedupe.Options) { o.MissingID = 9 }},
		{"Lease", func(o *dedupe.Options) { o.Lease = time.Millisecond }},
		{"Lease", func(o *dedupe.Options) { o.Lease = 25 * time.Hour }},
		{"Margin", func(o *dedupe.Options) { o.Margin = 20 * time.Second }},
		{"Margin", func(o *dedupe.Options) { o.Margin = -1 }},
		{"MaxRun", func(o *dedupe.Options) { o.MaxRun = -1 }},
		{"Retention", func(o *dedupe.Options) { o.Retention = -1 }},
		{"Retention", func(o *dedupe.Options) { o.Retention = 59 * time.Second }},
		{"Retention", func(o *dedupe.Options) { o.Retention = 401 * 24 * time.Hour }},
		{"Retention", func(o *dedupe.Options) { o.Redelivery.Longest = 25 * time.Hour }},
		{"UnfinishedRetention", func(o *dedupe.Options) { o.UnfinishedRetention = time.Second }},
		{"MaxAttempts", func(o *dedupe.Options) { o.MaxAttempts = -1 }},
		{"Takeover", func(o *dedupe.Options) { o.Takeover = 9 }},
		{"ClaimTimeout", func(o *dedupe.Options) { o.ClaimTimeout = 27 * time.Second }},
		{"CommitTimeout", func(o *dedupe.Options) { o.CommitTimeout = -1 }},
		{"StoreDown", func(o *dedupe.Options) { o.StoreDown = 9 }},
		{"CommitUnknown", func(o *dedupe.Options) { o.CommitUnknown = 9 }},
		{"CircuitThreshold", func(o *dedupe.Options) { o.CircuitThreshold = -2 }},
		{"CircuitCooldown", func(o *dedupe.Options) { o.CircuitCooldown = -1 }},
		{"MaxResult", func(o *dedupe.Options) { o.MaxResult = claim.MaxResultBytes + 1 }},
		{"MemorySize", func(o *dedupe.Options) { o.MemorySize = -2 }},
		{"MemoryTTL", func(o *dedupe.Options) { o.MemoryTTL = time.Hour }},
		{"MaxLive", func(o *dedupe.Options) { o.MaxLive = -1 }},
		{"LocalWait", func(o *dedupe.Options) { o.LocalWait = -2 }},
	} {
		o := &dedupe.Options{Consumer: "billing", Logger: quiet}
		c.set(o)
		d, err := dedupe.New(store, o)
		if err == nil || d != nil || !strings.Contains(err.Error(), "Options."+c.option+" ") {
			t.Errorf("%s: New returned %v, want an error that names the option", c.option, err)
		}
	}
	if _, err := dedupe.New(store, nil); err == nil || !strings.Contains(err.Error(), "Options.Consumer ") {
		t.Errorf("nil options: %v", err)
	}
	if _, err := dedupe.New(nil, &dedupe.Options{Consumer: "billing"}); err == nil {
		t.Error("New accepts a nil store")
	}
}

func TestNewSaysWhatMaySurprise(t *testing.T) {
	sink := func(context.Context, bus.DeadLetter) error { return nil }
	for _, c := range []struct {
		words string // "" for no finding
		set   func(o *dedupe.Options)
	}{
		{"", func(o *dedupe.Options) {}},
		{"", func(o *dedupe.Options) { o.MaxAttempts, o.DeadLetter = 5, sink }},
		{"DeadLetter is nil", func(o *dedupe.Options) { o.MaxAttempts = 5 }},
		{"Park", func(o *dedupe.Options) { o.Takeover = claim.Park }},
		{"gives up after 3", func(o *dedupe.Options) { o.Redelivery.MaxDeliver = 3 }},
		{"gives up after 3", func(o *dedupe.Options) { o.Redelivery.MaxDeliver, o.MaxAttempts, o.DeadLetter = 3, 5, sink }},
		{"delivers again after 1s", func(o *dedupe.Options) { o.Redelivery.AckWait = time.Second }},
		{"FailOpen", func(o *dedupe.Options) { o.StoreDown = dedupe.FailOpen }},
		{"ObserveOnly", func(o *dedupe.Options) { o.ObserveOnly = true }},
	} {
		d := newDeduper(t, newMemstore(t), func(o *dedupe.Options) {
			*o = dedupe.Options{Consumer: "billing", Logger: quiet}
			c.set(o)
		})
		found := d.Findings()
		if c.words == "" && len(found) == 0 {
			continue
		}
		if c.words == "" || !slices.ContainsFunc(found, func(f string) bool { return strings.Contains(f, c.words) }) {
			t.Errorf("found %q, want %q", found, c.words)
		}
	}
}

func TestEveryErrorSettlesTheDeliveryAsItsNameSays(t *testing.T) {
	err := errors.New("boom")
	if s := bus.SettlementOf(dedupe.Permanent(nil)); s.Action != bus.ActionAck {
		t.Errorf("Permanent(nil) settles as %v", s.Action)
	}
	if !errors.Is(dedupe.Permanent(err), err) {
		t.Error("Permanent hides its cause")
	}
}
