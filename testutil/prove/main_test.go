//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/oncebus/once/testutil/nemesis"
)

// TestMain lets the test binary be the workers and the bus of its trials.
func TestMain(m *testing.M) {
	nemesis.Main()
	os.Exit(m.Run())
}

// Every cell has a trial that is to strike there, but for what the matrix itself
// calls missing.
func TestCatalogueCoversTheMatrix(t *testing.T) {
	planned := map[int][]nemesis.Point{} // by row
	names := map[string]bool{}
	for _, e := range catalogue(&settings{messages: 1000, short: true}) {
		at := e.Points
		if at == nil {
			at = e.Worker.Plan.Points
		}
		r := rowOf(e.Fault, e.Backend)
		planned[r] = append(planned[r], at...)
		if name := e.Fault + " " + e.Name; names[name] {
			t.Errorf("two trials are called %s", name)
		} else {
			names[name] = true
		}
	}
	faults := map[string]bool{}
	for i, m := range matrix {
		faults[m.fault] = true
		for _, p := range m.points {
			if !slices.Contains(planned[i], p) {
				t.Errorf("%s (%s) has no trial at %s", m.fault, m.title, p)
			}
		}
	}
	if len(faults) != 24 {
		t.Errorf("%d faults, want 24", len(faults))
	}
}

func TestFlagsThatDoNotFitAreRefused(t *testing.T) {
	for _, args := range []string{"-fault F99", "-parallel 0", "-messages -1", "more"} {
		if _, err := parse(strings.Fields(args), &bytes.Buffer{}); err == nil {
			t.Errorf("%s: no error", args)
		}
	}
}

// One fault from the flags to the JSON, in a few seconds.
func TestRunWritesWhatItFound(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("ONCE_REQUIRE_SERVERS") == "1" {
			t.Fatal(nemesis.ErrNoRedis)
		}
		t.Skip(nemesis.ErrNoRedis)
	}
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	status := run(t.Context(), []string{"-short", "-messages", "1000", "-fault", "F20", "-json", "-o", dir}, &stdout, &stderr)
	if status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	var p proof
	if err := json.Unmarshal(stdout.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Faults) != 1 || p.Faults[0].Orders == 0 || p.Faults[0].Messages != 5*p.Faults[0].Orders || p.Covered != 1 || len(p.Failures) != 0 {
		t.Errorf("the proof is %+v", p)
	}
	for _, name := range []string{"proof.md", "proof.json"} {
		if text, err := os.ReadFile(dir + "/" + name); err != nil || len(text) == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
