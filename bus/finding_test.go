package bus_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/oncebus/once/bus"
)

func TestReportRefusesWhatCannotBeWorkedWith(t *testing.T) {
	refusal := errors.New("adapter: refused")
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	findings := []bus.Finding{
		{Severity: bus.Warn, Setting: "MaxDeliver", Value: "5", Consequence: "drops", Remedy: "set -1"},
		{Severity: bus.Note, Setting: "Replicas", Value: "1", Consequence: "one disk", Remedy: "set 3"},
	}
	if err := bus.Report(t.Context(), logger, findings, refusal, "stream", "ORDERS"); err != nil {
		t.Errorf("Report: %v, want nil without a refusal", err)
	}
	for _, want := range []string{"level=WARN", "level=INFO", "MaxDeliver", "Replicas", "drops", "set -1", "stream=ORDERS"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, &log)
		}
	}

	log.Reset()
	refused := []bus.Finding{
		{Severity: bus.Refuse, Setting: "AckPolicy", Value: "none", Consequence: "loses", Remedy: "explicit"},
		{Severity: bus.Refuse, Setting: "maxmemory-policy", Value: "allkeys-lru", Consequence: "forgets", Remedy: "noeviction"},
	}
	err := bus.Report(t.Context(), logger, append(findings, refused...), refusal)
	if !errors.Is(err, refusal) {
		t.Fatalf("Report: %v, want one that wraps the refusal", err)
	}
	for _, f := range refused {
		if !strings.Contains(err.Error(), f.String()) {
			t.Errorf("the error does not say %q: %v", f, err)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != len(findings) {
		t.Errorf("%d lines were logged, want %d: what is refused is in the error\n%s", n, len(findings), &log)
	}
}

func TestSeveritiesHaveNames(t *testing.T) {
	for s, want := range map[bus.Severity]string{bus.Note: "note", bus.Warn: "warn", bus.Refuse: "refuse", 0: "severity(0)"} {
		if s.String() != want {
			t.Errorf("severity %d is %q, want %q", uint8(s), s.String(), want)
		}
	}
}
