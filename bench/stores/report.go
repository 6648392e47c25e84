//go:build linux

package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is what runs have found, as stores.json has it.
type report struct {
	written
	// Before are runs of which figures were kept.
	Before  []written  `json:"before,omitempty"`
	Stores  []*figures `json:"stores"`
	LeftOut []string   `json:"left_out"`
	Failed  []string   `json:"failed"`
}

// written says what a run was.
type written struct {
	Command  string            `json:"command"`
	Begun    time.Time         `json:"begun"`
	Elapsed  string            `json:"elapsed"`
	Short    bool              `json:"short"`
	Machine  string            `json:"machine"`
	Load     string            `json:"load_average_at_start"`
	Versions map[string]string `json:"versions"`
}

// figures are those of one store. What was not measured is zero.
type figures struct {
	Name     string     `json:"name"`
	Survives string     `json:"survives"`
	Rates    []compared `json:"rates"`
	Bytes    []taken    `json:"bytes"`
	// Cleaning is the rate while ids end by the rate while they stay, Behind the
	// part of those that ended that the cleaner had left when the load ended.
	Cleaning float64 `json:"cleaning"`
	Behind   float64 `json:"behind"`
	// Filter is the rate of messages that come twice with the process's memory of
	// what is done by that without.
	Filter float64 `json:"filter"`
	Rows   []grown `json:"rows,omitempty"`
}

// taken is what an id takes where there are so many. IndexBytes are those of indexes
// among the Bytes.
type taken struct {
	IDs        int     `json:"ids"`
	Bytes      float64 `json:"bytes"`
	IndexBytes float64 `json:"index_bytes"`
}

// compared is a rate of messages a second, and its ratio to Redis'. Rate is 0 when
// too few turns counted.
type compared struct {
	Load    string  `json:"load"`
	Turns   int     `json:"turns"`
	Rate    float64 `json:"messages_per_second"`
	OfRedis float64 `json:"of_redis"`
}

func (c compared) String() string {
	if c.Rate == 0 {
		return "void"
	}
	return fmt.Sprintf("%s (%s)", grouped(int64(c.Rate)), short(c.OfRedis))
}

func newReport(s *settings, args []string) *report {
	load, _ := os.ReadFile("/proc/loadavg")
	return &report{written: written{
		Command: strings.Join(append([]string{"go run -C bench ./stores"}, args...), " "),
		Begun:   time.Now().UTC().Truncate(time.Second), Short: s.short, Machine: machine(), Versions: versions(),
		Load: strings.Join(strings.Fields(string(load))[:min(3, len(strings.Fields(string(load))))], " "),
	}}
}

// merge takes over from the report in a folder what this one has not. whole says that
// it has all that is to be had.
func (r *report) merge(dir string, whole bool) error {
	data, err := os.ReadFile(filepath.Join(dir, "stores.json"))
	if whole || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var before report
	if err == nil {
		err = json.Unmarshal(data, &before)
	}
	if err != nil {
		return fmt.Errorf("stores: the figures in %s: %w", dir, err)
	}
	r.Before = append(before.Before, before.written)
	stores := before.Stores
	for _, f := range r.Stores {
		at := slices.IndexFunc(stores, func(o *figures) bool { return o.Name == f.Name })
		if at < 0 {
			stores = append(stores, f)
			continue
		}
		stores[at].take(f)
	}
	r.Stores = stores
	return nil
}

// take sets what o has measured.
func (f *figures) take(o *figures) {
	if len(o.Rates) > 0 {
		f.Rates = o.Rates
	}
	if o.Cleaning > 0 {
		f.Cleaning, f.Behind = o.Cleaning, o.Behind
	}
	if o.Filter > 0 {
		f.Filter = o.Filter
	}
	if len(o.Rows) > 0 {
		f.Rows = o.Rows
	}
	for _, s := range o.Bytes {
		f.Bytes = slices.DeleteFunc(f.Bytes, func(old taken) bool { return old.IDs == s.IDs })
		f.Bytes = append(f.Bytes, s)
	}
	slices.SortFunc(f.Bytes, func(a, b taken) int { return cmp.Compare(a.IDs, b.IDs) })
}

// void reports whether rates were asked for and none counts.
func (r *report) void() bool {
	asked := false
	for _, f := range r.Stores {
		for _, c := range f.Rates {
			if asked = true; c.Rate > 0 {
				return false
			}
		}
	}
	return asked
}

// tables are the figures as Markdown.
func (r *report) tables() string {
	var b strings.Builder
	b.WriteString("| store | an acknowledged completion survives |")
	for _, l := range loads {
		fmt.Fprintf(&b, " %s |", l.Name)
	}
	sizes := r.sizes()
	for _, n := range sizes {
		fmt.Fprintf(&b, " bytes an id of %s (indexes) |", grouped(int64(n)))
	}
	b.WriteString(" while ids end | local memory |\n|---|---|" + strings.Repeat("---|", len(loads)+len(sizes)+2) + "\n")
	for _, f := range r.Stores {
		fmt.Fprintf(&b, "| %s | %s |", f.Name, f.Survives)
		for i := range loads {
			cell := "–"
			if i < len(f.Rates) {
				cell = f.Rates[i].String()
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		for _, n := range sizes {
			fmt.Fprintf(&b, " %s |", f.bytesOf(n))
		}
		cleaning, filter := "–", "–"
		if f.Cleaning > 0 {
			cleaning = short(f.Cleaning)
			if f.Behind >= 0.01 {
				cleaning += fmt.Sprintf(", %.0f %% behind", 100*f.Behind)
			}
		}
		if f.Filter > 0 {
			filter = short(f.Filter)
		}
		fmt.Fprintf(&b, " %s | %s |\n", cleaning, filter)
	}
	begun := false
	for _, f := range r.Stores {
		for _, g := range f.Rows {
			if !begun {
				b.WriteString("\n| table | rows | bytes a row (indexes) | inserted a second | claim, p50 | p99 | batches, of an empty table's rate | 500 rows cleaned in |\n|---|---|---|---|---|---|---|---|\n")
				begun = true
			}
			fmt.Fprintf(&b, "| %s | %s | %.0f (%.0f) | %s | %.0f µs | %.0f µs | %s | %s ms |\n", f.Name, grouped(int64(g.Rows)), g.Bytes, g.IndexBytes,
				grouped(int64(g.Load)), g.P50, g.P99, short(g.OfEmpty), short(g.Clean))
		}
	}
	return b.String()
}

// sizes are the numbers of ids that bytes were measured with.
func (r *report) sizes() (all []int) {
	for _, f := range r.Stores {
		for _, s := range f.Bytes {
			all = append(all, s.IDs)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// bytesOf is the cell of the bytes with so many ids.
func (f *figures) bytesOf(ids int) string {
	for _, s := range f.Bytes {
		switch {
		case s.IDs != ids:
		case s.IndexBytes > 0:
			return fmt.Sprintf("%.0f (%.0f)", s.Bytes, s.IndexBytes)
		default:
			return fmt.Sprintf("%.0f", s.Bytes)
		}
	}
	return "–"
}

// write writes stores.md and stores.json into a folder.
func (r *report) write(dir string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("stores: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("stores: %w", err)
	}
	for name, content := range map[string][]byte{"stores.json": append(data, '\n'), "stores.md": []byte(r.document())} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			return fmt.Errorf("stores: %w", err)
		}
	}
	return nil
}

func (r *report) document() string {
	var b strings.Builder
	b.WriteString("# Stores, side by side\n\n")
	fmt.Fprintf(&b, "Written by %s.\n", r.written)
	for _, w := range slices.Backward(r.Before) {
		fmt.Fprintf(&b, "What it did not measure was kept of %s.\n", w)
	}
	fmt.Fprintf(&b, `
The command's documentation says how each figure is taken; all figures are in [stores.json](stores.json).

Messages a second, each a claim and a completion by the store's own methods, with the ratio to Redis under the same load in brackets. Absolute
figures belong to this machine, whose two cores the servers, the client and whatever else ran there shared; the ratios were taken in turn. *While ids
end* is the rate of batches whose ids end as fast as they come, cleaner included, by the rate of those whose ids stay. *Local memory* is the rate of
64 callers of a Deduper whose messages all come twice, by that with "MemorySize: Off".

%s
`, r.tables())
	if len(r.LeftOut) > 0 {
		fmt.Fprintf(&b, "Not installed, and left out: %s.\n\n", strings.Join(r.LeftOut, "; "))
	}
	for _, failure := range r.Failed {
		fmt.Fprintf(&b, "Left out, since it failed: %s.\n\n", failure)
	}
	b.WriteString(notes)
	return b.String()
}

// String says what the run was, in a sentence without its full stop.
func (w written) String() string {
	return fmt.Sprintf("`%s`, which took %s from %s on: %s; load averages when it began: %s; %s",
		w.Command, w.Elapsed, w.Begun.Format("2006-01-02 15:04 MST"), w.Machine, w.Load, w.versionList())
}

// notes are what one has to know to read the table.
const notes = `What the figures do not say:

- The row of Redis is Redis beside itself: what its ratios are off 1 by is what this machine does to all of them. *Void*: Redis moved by more than 20 % in most turns.
  A dash: not measured, or void.
- SQL servers wait for the disk at every commit unless the row says otherwise, and Redis writes nothing. The row of Redis that syncs is the one to compare them with
  where records must survive. Pools have 32 connections, SQLite's has one; tables, 1 GB of shared buffers.
- NATS runs in the process of the benchmark, with one replica, and syncs every two minutes. Its index takes memory as well: see [natskv](natskv.md).
- *Bytes* are as the load left them, before a vacuum or a compaction: used memory of Redis, heap of the process, files of Pebble with its log, messages of the stream,
  pages of tables and indexes.
- The cleaner of the SQL stores runs with its default batch and pause. Pebble's clock goes sixty times as fast while ids end, since its shortest generation is a minute.
- Rows are of finished ids, inserted by one statement for each 100,000; one in a thousand is over. The claims beside them are of new ids.
  The latencies of claims and of cleaning are of one stretch each, without turns: what else the machine did is in them.
`

func (w written) versionList() string {
	var all []string
	for name, version := range w.Versions {
		all = append(all, name+" "+version)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
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
	v := map[string]string{"go": strings.TrimPrefix(runtime.Version(), "go")}
	for name, command := range map[string][]string{
		"redis-server": {"redis-server", "--version"}, "PostgreSQL": {"psql", "--version"}, "MariaDB": {"mariadbd", "--version"},
		"once": {"git", "rev-parse", "--short", "HEAD"},
	} {
		out, err := exec.Command(command[0], command[1:]...).Output()
		if err != nil {
			continue
		}
		words := strings.FieldsFunc(string(out), func(r rune) bool { return strings.ContainsRune(" =\n", r) })
		at := slices.IndexFunc(words, func(w string) bool {
			return name == "once" || len(w) > 2 && w[0] >= '0' && w[0] <= '9' && strings.Contains(w, ".")
		})
		if at >= 0 {
			v[name] = words[at]
		}
	}
	names := map[string]string{
		"github.com/nats-io/nats-server/v2": "nats-server", "github.com/cockroachdb/pebble/v2": "pebble",
		"github.com/jackc/pgx/v5": "pgx", "github.com/go-sql-driver/mysql": "mysql driver", "modernc.org/sqlite": "modernc sqlite",
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if name := names[dep.Path]; name != "" {
				v[name] = strings.TrimPrefix(dep.Version, "v")
			}
		}
	}
	return v
}

// median returns NaN for no values.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	if len(v)%2 == 1 {
		return v[mid]
	}
	return (v[mid-1] + v[mid]) / 2
}

// significant rounds to four digits. What no number can say, which JSON does not
// know either, is 0.
func significant(x float64) float64 {
	if x == 0 || math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(x))))
	return math.Round(x*scale) / scale
}

// short prints a ratio with two digits that mean something.
func short(x float64) string {
	if x >= 0.1 {
		return strconv.FormatFloat(math.Round(x*100)/100, 'f', -1, 64)
	}
	return strconv.FormatFloat(x, 'g', 2, 64)
}

// grouped prints 1234567 as 1,234,567.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
