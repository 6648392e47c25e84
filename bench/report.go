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
)

// report is what a run has found, as performance.json has it.
type report struct {
	Command string    `json:"command"`
	Seed    uint64    `json:"seed"`
	Begun   time.Time `json:"begun"`
	Elapsed string    `json:"elapsed"`
	Short   bool      `json:"short"`
	// Void says that nothing was measured while the machine kept still, VoidParts
	// which parts were not.
	Void      bool              `json:"void"`
	VoidParts []string          `json:"void_parts"`
	Machine   string            `json:"machine"`
	Versions  map[string]string `json:"versions"`
	Ceiling   limits            `json:"r"`

	Lines      []*line      `json:"lines"`
	Ways       []measured   `json:"ways"`
	Layouts    []layout     `json:"layouts"`
	Remembered []scale      `json:"remembered"`
	Peers      []peerResult `json:"peers"`
	// Commands are those of the server, for 256 callers of Do.
	Commands []command `json:"commands"`
}

// limits are R at the start and at the end, and how far it moved at most in a part
// that counts.
type limits struct {
	Start sample  `json:"start"`
	End   sample  `json:"end"`
	Drift float64 `json:"drift"`
}

// snapshot returns what is found so far.
func (r *report) snapshot() *report {
	c := *r
	c.Lines = make([]*line, len(r.Lines))
	for i, l := range r.Lines {
		same := *l
		c.Lines[i] = &same
	}
	return &c
}

// restore forgets what was found since the snapshot.
func (r *report) restore(s *report) { *r = *s }

// measured are the medians of the turns of a way.
type measured struct {
	Part  string `json:"part"`
	Turns int    `json:"turns"`
	sample
}

func newReport(s *settings, args []string) *report {
	return &report{
		Command: strings.Join(append([]string{"go run -C bench ."}, args...), " "),
		Seed:    s.seed, Begun: time.Now().UTC().Truncate(time.Second), Short: s.short,
		Machine: machine(), Versions: versions(), Lines: newLines(),
	}
}

func (r *report) finish(s *settings) {
	r.Elapsed = time.Since(r.Begun).Round(time.Second).String()
	// Samples of a moment say nothing about the machine.
	r.Void = !s.short && !slices.ContainsFunc(r.Ways, func(m measured) bool { return m.Part != "R alone" })
}

// line returns the line of that name.
func (r *report) line(name string) *line {
	for _, l := range r.Lines {
		if l.Name == name {
			return l
		}
	}
	panic("bench: no line is called " + name)
}

// way returns the medians of a way, and false where it was not measured.
func (r *report) way(part, name string, callers int) (sample, bool) {
	for _, m := range r.Ways {
		if m.Part == part && m.Way == name && m.Callers == callers {
			return m.sample, true
		}
	}
	return sample{}, false
}

// machine says what the run was on.
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
	if out, err := exec.Command("git", "status", "--porcelain", "--", "..").Output(); err == nil && len(out) > 0 {
		v["once"] += ", with changes"
	}
	names := map[string]string{
		"github.com/nats-io/nats-server/v2": "nats-server", "github.com/nats-io/nats.go": "nats.go",
		"github.com/redis/go-redis/v9": "go-redis", "github.com/valkey-io/valkey-go": "valkey-go",
		"github.com/bsm/redislock": "redislock", "github.com/go-redsync/redsync/v4": "redsync",
		"github.com/ThreeDotsLabs/watermill": "watermill",
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if name := names[dep.Path]; name != "" {
				v[name] = dep.Version
			}
		}
	}
	return v
}

// write writes the documents and the plots into a folder.
func (r *report) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	files := map[string][]byte{"performance.json": append(data, '\n'), "performance.md": []byte(r.markdown())}
	for name, plot := range r.plots() {
		files[name] = []byte(plot)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
	}
	return nil
}
