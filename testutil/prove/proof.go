//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/oncebus/once/testutil/nemesis"
)

// proof is what a campaign has shown, as proof.json has it.
type proof struct {
	Command  string            `json:"command"`
	Seed     int               `json:"seed"`
	Begun    time.Time         `json:"begun"`
	Elapsed  string            `json:"elapsed"`
	Machine  string            `json:"machine"`
	Versions map[string]string `json:"versions"`

	Orders     int `json:"orders"`
	Messages   int `json:"messages"`
	Deliveries int `json:"deliveries"`
	Lost       int `json:"lost"`

	Faults     []faultProof   `json:"faults"`
	Controls   []trialProof   `json:"negative_controls"`
	Invariants map[string]int `json:"invariants_checked_in_trials"`
	Cells      int            `json:"cells"`
	Covered    int            `json:"cells_covered"`
	NotCovered []string       `json:"not_covered"`
	Failures   []string       `json:"failures"`
}

// faultProof is a row of the matrix.
type faultProof struct {
	Fault   string `json:"fault"`
	Title   string `json:"title"`
	Expect  string `json:"expected"`
	Missing string `json:"not_covered,omitempty"`
	// Backend is "" for Redis.
	Backend nemesis.Backend `json:"backend,omitempty"`

	Orders      int            `json:"orders"`
	Messages    int            `json:"messages"`
	Deliveries  int            `json:"deliveries"`
	Hits        int            `json:"faults_injected"`
	Lost        int            `json:"lost"`
	Seconds     map[string]int `json:"second_executions"`
	PerMillion  float64        `json:"second_executions_per_million_orders"`
	Overlaps    map[string]int `json:"overlaps"`
	Unexplained int            `json:"unexplained"`
	Expiries    int            `json:"takeovers"`
	P50         float64        `json:"takeover_after_kill_p50_seconds,omitempty"`
	P99         float64        `json:"takeover_after_kill_p99_seconds,omitempty"`
	Covered     []string       `json:"points_covered"`
	Failed      int            `json:"failures"`
	Trials      []trialProof   `json:"trials"`

	takeovers []time.Duration
}

// trialProof is one trial.
type trialProof struct {
	Fault       string                `json:"fault"`
	Backend     nemesis.Backend       `json:"backend,omitempty"`
	Name        string                `json:"name"`
	Orders      int                   `json:"orders"`
	Messages    int                   `json:"messages"`
	Deliveries  int                   `json:"deliveries"`
	Runs        int                   `json:"runs"`
	Effects     int                   `json:"effects"`
	Hits        map[nemesis.Point]int `json:"faults_injected"`
	Kills       int                   `json:"workers_killed"`
	Lost        int                   `json:"lost"`
	Dead        int                   `json:"dead_letters"`
	Seconds     map[string]int        `json:"second_executions"`
	Overlaps    map[string]int        `json:"overlaps"`
	Unexplained int                   `json:"unexplained"`
	Expiries    int                   `json:"takeovers"`
	Accepted    int                   `json:"sink_accepted,omitempty"`
	Refused     int                   `json:"sink_refused,omitempty"`
	LostCommits int64                 `json:"stale_commits_refused"`
	Calls       int64                 `json:"calls_to_the_store"`
	Late        int64                 `json:"calls_100ms_after_their_deadline"`
	Overshoot   float64               `json:"longest_overshoot_of_a_deadline_seconds"`
	Steps       int64                 `json:"clock_steps_reported"`
	Circuits    int                   `json:"circuits_opened"`
	Recovered   int                   `json:"circuits_closed"`
	Checked     []string              `json:"invariants"`
	Failures    []string              `json:"failures"`
	Elapsed     float64               `json:"seconds"`
}

func trialOf(r *result) trialProof {
	return trialProof{
		Fault: r.Fault, Backend: r.Backend, Name: r.Name, Orders: r.Orders, Messages: r.Messages, Deliveries: r.Deliveries, Runs: r.Runs,
		Effects: r.Effects, Hits: r.Hits, Kills: r.Kills, Lost: r.Lost, Dead: r.Dead, Seconds: r.Seconds, Overlaps: r.Overlaps,
		Unexplained: r.Unexplained, Expiries: r.Expiries, Accepted: r.Accepted, Refused: r.Refused,
		LostCommits: r.Workers.Dedupe.LostCommits, Calls: r.Workers.Calls, Late: r.Workers.Late, Overshoot: max(0, r.Workers.Overshoot.Seconds()),
		Steps: r.Workers.Steps, Circuits: r.Circuits, Recovered: r.Recovered, Checked: r.Checked, Failures: r.Failures, Elapsed: r.Elapsed.Seconds(),
	}
}

// proof sums the campaign up.
func (c *campaign) proof(args []string) *proof {
	p := &proof{
		Command: strings.Join(append([]string{"go run ./testutil/prove"}, args...), " "),
		Seed:    c.seed, Begun: c.begun.UTC().Truncate(time.Second), Elapsed: c.ended.Sub(c.begun).Round(time.Second).String(),
		Machine: machine(), Versions: versions(), Invariants: map[string]int{}, Failures: []string{},
	}
	rows := append([]row{{fault: noFault, title: "no fault", expect: "one run each, no takeover"}}, matrix...)
	for _, m := range rows {
		if len(c.faults) == 0 || slices.Contains(c.faults, m.fault) {
			p.add(c, m)
		}
	}
	for _, r := range c.results {
		if r.control {
			p.Controls = append(p.Controls, trialOf(r))
			p.failures(r)
		}
	}
	return p
}

func (p *proof) failures(r *result) {
	for _, f := range r.Failures {
		p.Failures = append(p.Failures, r.Fault+" "+r.Name+": "+f)
	}
}

// add sums up a row.
func (p *proof) add(c *campaign, m row) {
	f := faultProof{Fault: m.fault, Title: m.title, Expect: m.expect, Missing: m.missing, Backend: m.backend, Seconds: map[string]int{}, Overlaps: map[string]int{}, Trials: []trialProof{}}
	struck := map[nemesis.Point]bool{}
	for _, r := range c.results {
		if r.Fault != m.fault || r.Backend != m.backend || r.control {
			continue
		}
		f.Trials = append(f.Trials, trialOf(r))
		f.Orders += r.Orders
		f.Messages += r.Messages
		f.Deliveries += r.Deliveries
		f.Lost += r.Lost
		f.Unexplained += r.Unexplained
		f.Expiries += r.Expiries
		f.Failed += len(r.Failures)
		f.takeovers = append(f.takeovers, r.Takeovers...)
		merge(f.Seconds, r.Seconds)
		merge(f.Overlaps, r.Overlaps)
		for _, n := range r.Hits {
			f.Hits += n
		}
		for _, point := range r.Points {
			if len(r.Failures) == 0 || r.Hits[point] > 0 {
				struck[point] = true
			}
		}
		for _, i := range r.Checked {
			p.Invariants[i]++
		}
		p.failures(r)
	}
	if f.Orders > 0 {
		f.PerMillion = 1e6 * float64(total(f.Seconds)) / float64(f.Orders)
	}
	if len(f.takeovers) > 0 {
		f.P50, f.P99 = nemesis.Percentile(f.takeovers, 0.5).Seconds(), nemesis.Percentile(f.takeovers, 0.99).Seconds()
	}
	missing := m.missing
	if why := c.skipped[rowOf(m.fault, m.backend)]; why != "" {
		missing = why
	}
	for _, point := range m.points {
		p.Cells++
		if struck[point] {
			p.Covered++
			f.Covered = append(f.Covered, string(point))
		}
	}
	if missing != "" {
		p.NotCovered = append(p.NotCovered, m.fault+": "+missing)
	}
	p.Orders += f.Orders
	p.Messages += f.Messages
	p.Deliveries += f.Deliveries
	p.Lost += f.Lost
	p.Faults = append(p.Faults, f)
}

func merge(to, from map[string]int) {
	for k, n := range from {
		to[k] += n
	}
}

func total(m map[string]int) (n int) {
	for _, count := range m {
		n += count
	}
	return n
}

// machine says what the campaign ran on.
func machine() string {
	cpu := runtime.GOARCH
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(value)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d × %s, Linux %s", runtime.NumCPU(), cpu, strings.TrimSpace(string(kernel)))
}

// versions says what took part.
func versions() map[string]string {
	v := map[string]string{"go": runtime.Version()}
	if out, err := exec.Command("redis-server", "--version").Output(); err == nil {
		for _, word := range strings.Fields(string(out)) {
			if number, ok := strings.CutPrefix(word, "v="); ok {
				v["redis-server"] = number
			}
		}
	}
	if out, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		v["once"] = strings.TrimSpace(string(out))
	}
	if out, err := exec.Command("git", "status", "--porcelain", "--", "claim", "bus", "dedupe", "backends").Output(); err == nil && len(out) > 0 {
		v["once"] += ", with changes"
	}
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		switch dep.Path {
		case "github.com/nats-io/nats-server/v2", "github.com/nats-io/nats.go", "github.com/redis/go-redis/v9":
			v[filepath.Base(strings.TrimSuffix(strings.TrimSuffix(dep.Path, "/v2"), "/v9"))] = dep.Version
		case "github.com/jackc/pgx/v5":
			v["pgx"] = dep.Version
		}
	}
	return v
}

// write writes proof.md and proof.json into a folder.
func (p *proof) write(dir string) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	for name, content := range map[string][]byte{"proof.json": append(data, '\n'), "proof.md": []byte(p.markdown())} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("prove: %w", err)
		}
	}
	return nil
}
