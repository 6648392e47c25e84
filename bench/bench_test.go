//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/nemesis"
)

// started returns a run with a server, as parse makes it of args.
func started(t *testing.T, args ...string) *bench {
	t.Helper()
	s, err := parse(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{ctx: t.Context(), set: s, stderr: io.Discard, ids: newIDs(1), report: newReport(s, args)}
	t.Cleanup(b.close)
	if err := b.open(); err != nil {
		skipWithoutRedis(t, err)
		t.Fatal(err)
	}
	return b
}

func skipWithoutRedis(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, nemesis.ErrNoRedis) && os.Getenv("ONCE_REQUIRE_SERVERS") != "1" {
		t.Skip(err)
	}
}

// A part of the program from its flags to its files.
func TestShortRun(t *testing.T) {
	dir := t.TempDir()
	var out, progress bytes.Buffer
	if code := run(t.Context(), []string{"-short", "-json", "-only", "^batches$|^bytes$", "-o", dir}, &out, &progress); code != 0 {
		if strings.Contains(progress.String(), nemesis.ErrNoRedis.Error()) {
			skipWithoutRedis(t, nemesis.ErrNoRedis)
		}
		t.Fatalf("exit status %d:\n%s", code, &progress)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{batchR, batchCPU, plainBytes} {
		if l := r.line(name); l.Value == nil || l.OK == nil {
			t.Errorf("%s was not measured", name)
		}
	}
	if l := r.line(do256R); l.Value != nil {
		t.Errorf("%s was measured, and not asked for", l.Name)
	}
	for _, name := range []string{"performance.json", "performance.md", "performance-bytes.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestFlagsThatDoNotFitAreRefused(t *testing.T) {
	for _, args := range []string{"-only (", "-seed x", "more"} {
		if code := run(t.Context(), strings.Fields(args), io.Discard, io.Discard); code != 2 {
			t.Errorf("%s: exit status %d, want 2", args, code)
		}
	}
	if _, err := measure(t.Context(), must(parse([]string{"-only", "nothing has this name"}, io.Discard)), nil, io.Discard); err == nil {
		t.Error("-only without a part: no error")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAShortRunAndOnePartWriteNowhere(t *testing.T) {
	for args, want := range map[string]string{"": "../docs", "-short": "", "-only callers": "", "-short -o there": "there"} {
		if s := must(parse(strings.Fields(args), io.Discard)); s.out != want {
			t.Errorf("%q writes into %q, want %q", args, s.out, want)
		}
	}
}

func TestEveryLineBelongsToOnePart(t *testing.T) {
	filled := map[string]int{}
	for _, p := range parts {
		for _, name := range p.lines {
			filled[name]++
		}
	}
	lines := newLines()
	for _, l := range lines {
		if filled[l.Name] != 1 {
			t.Errorf("%s is a line of %d parts", l.Name, filled[l.Name])
		}
	}
	if len(filled) != len(lines) {
		t.Errorf("the parts fill %d lines, there are %d", len(filled), len(lines))
	}
}

// What is judged is what is read: a value that is shown as the bound meets it.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		less  bool
		value float64
		want  string
	}{
		{false, 0.69, "missed"}, {false, 0.7, "met"}, {false, 0.699, "met"}, {false, 0.95, "met, and the aim"},
		{true, 0.69, "met, and the aim"}, {true, 0.7, "met, and the aim"}, {true, 0.8, "met"}, {true, 1, "missed"},
	} {
		must, aim := 0.7, 0.9
		if c.less {
			must, aim = 0.9, 0.7
		}
		l := &line{Must: &must, Aim: &aim, Less: c.less}
		if l.measured(c.value, ""); l.verdict() != c.want {
			t.Errorf("%v of at least %v (at most: %v) is %q, want %q", c.value, must, c.less, l.verdict(), c.want)
		}
	}
	if l := (&line{}); l.verdict() != "not measured" {
		t.Errorf("a line without a value is %q", l.verdict())
	}
}

func TestMediansAndRatiosAreOfTurns(t *testing.T) {
	a := series{{Rate: 10}, {Rate: 200}, {Rate: 30}}
	b := series{{Rate: 20}, {Rate: 400}, {Rate: 10}} // one turn on a machine ten times as fast
	if r := ratio(a, b, rate); r != 0.5 {
		t.Errorf("ratio %v, want the median of 0.5, 0.5 and 3", r)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Errorf("median %v, want 2.5", m)
	}
	if p := percentile([]int{1, 2, 3, 4}, 0.5); p != 3 {
		t.Errorf("p50 %v, want 3", p)
	}
	if p := percentile([]int{1, 2, 3, 4}, 0.99); p != 4 {
		t.Errorf("p99 %v, want 4", p)
	}
}

func TestAPartUnderWhichTheLimitMovedIsMeasuredAgainOrLeftOut(t *testing.T) {
	for _, c := range []struct {
		limits        []float64 // before, and after each try
		short, counts bool
		runs          int
		void          bool
	}{
		{[]float64{100, 114}, false, false, 1, false},
		{[]float64{100, 116, 120}, false, false, 2, false},
		{[]float64{120, 100, 120, 100, 90}, false, false, 4, false},
		{[]float64{100, 120, 100, 120, 100}, false, false, 4, true},
		{[]float64{100, 200}, true, false, 1, false},
		{[]float64{100, 200}, false, true, 1, false},
	} {
		b := &bench{set: &settings{short: c.short}, stderr: io.Discard, report: newReport(&settings{}, nil)}
		taken := 0
		b.takeR = func(to *sample) error {
			taken++
			to.Rate = c.limits[taken]
			return nil
		}
		runs, before := 0, sample{Rate: c.limits[0]}
		err := b.attempt(part{name: "part", counts: c.counts, run: func(b *bench) error {
			runs++
			b.report.Ways = append(b.report.Ways, measured{Part: "part", Turns: runs})
			b.found(memRate, float64(runs), "")
			return nil
		}}, &before)
		b.report.finish(b.set)
		if err != nil || runs != c.runs || b.report.Void != (c.void && !c.short) || (len(b.report.VoidParts) == 1) != c.void {
			t.Errorf("%v: %d runs, void %v %v, error %v; want %d, %v", c.limits, runs, b.report.Void, b.report.VoidParts, err, c.runs, c.void)
		}
		value := b.report.line(memRate).Value
		if c.void && value != nil || !c.void && (value == nil || *value != float64(runs) || len(b.report.Ways) != 1) {
			t.Errorf("%v: the report has %v and %d ways after %d runs", c.limits, value, len(b.report.Ways), runs)
		}
	}
}

func TestIDs(t *testing.T) {
	s := newIDs(1)
	seen := map[string]bool{}
	size := uint64(len(s.text) - 2*idBytes)
	for _, round := range []uint64{0, size, 2 * size} {
		for n := round; n < round+10_000; n++ {
			if id := s.at(n); seen[id] {
				t.Fatalf("id %d came before", n)
			} else {
				seen[id] = true
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { _ = s.at(s.take(1)) }); n != 0 {
		t.Errorf("an id takes %v allocations", n)
	}
}

// The limit writes what the store writes.
func TestCeilingWritesAsManyBytesAsTheStore(t *testing.T) {
	b := started(t, "-short")
	store := must(b.store(b.redis, nil))
	key := must(claim.NewKey("", "bench", claim.MessageID(b.ids.at(0))))
	length := func() int64 {
		keys := must(b.redis.client.Keys(b.ctx, "*").Result())
		if len(keys) != 1 || len(keys[0]) != len(prefix)+16 {
			t.Fatalf("keys %q, want one of %d bytes", keys, len(prefix)+16)
		}
		return must(b.redis.client.StrLen(b.ctx, keys[0]).Result())
	}
	v := must(store.TryClaim(b.ctx, key, claim.Request{Token: claim.Token{1}, TTL: lease, Retention: retention}))
	if n := length(); n != pendingBytes {
		t.Errorf("a pending record has %d bytes, R writes %d", n, pendingBytes)
	}
	must(store.MarkDone(b.ctx, key, v.Grant, claim.Completion{Retention: retention}))
	if n := length(); int(n) != len(doneValue) {
		t.Errorf("a done record has %d bytes, R writes %d", n, len(doneValue))
	}
}

func TestRawClient(t *testing.T) {
	b := started(t, "-short")
	r := must(dialRaw(b.redis.Addr))
	defer r.conn.Close()
	r.set("a", "b", "one", 99_999)
	r.set("a", "c", "two", 5)
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	if v := must(b.redis.client.Get(b.ctx, "ab").Result()); v != "one" {
		t.Errorf("ab is %q", v)
	}
	if d := must(b.redis.client.PTTL(b.ctx, "ab").Result()); d.Seconds() < 90 || d.Seconds() > 100 {
		t.Errorf("ab lives for %v", d)
	}
	r.set("a", "b", "one", 0) // refused
	if err := r.flush(); err == nil {
		t.Error("an error of the server is none of the client")
	}
}

// A message that a peer had is not handled again; else its figure is another's.
func TestPeersHandleAMessageOnce(t *testing.T) {
	b := started(t, "-short")
	for _, p := range append(slices.Clone(peers), watermillInMemory) {
		t.Run(p.name, func(t *testing.T) {
			var handle func(uint64) error
			if p.dial != nil {
				handle = must(p.dial(b, b.redis))
			} else {
				handle = must(p.open(b, must(clientSettings[0].open(b, b.redis))))
			}
			n := b.ids.take(2)
			for i := range uint64(2) {
				if err := handle(n + i); err != nil {
					t.Fatal(err)
				}
			}
			if err := handle(n); err == nil {
				t.Error("the second run of a message was not refused")
			}
			for _, key := range must(b.redis.client.Keys(b.ctx, "*").Result()) {
				if d := must(b.redis.client.PTTL(b.ctx, key).Result()); d < retention-lease {
					t.Errorf("%q is remembered for %v, not for the retention", key, d)
				}
			}
			if err := b.redis.flush(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestPlots(t *testing.T) {
	r := newReport(&settings{}, nil)
	for _, p := range peers {
		if len(p.name) > 42 {
			t.Errorf("%q is too long to stand beside a bar", p.name)
		}
	}
	if len(r.plots()) != 0 {
		t.Error("there are plots of nothing")
	}
	r.Ceiling.Start.Rate = 250_000
	for i, callers := range callerCounts {
		for _, way := range []string{"Do", "EVALSHA per step"} {
			s := sample{Way: way, Callers: callers, Rate: 7000 * float64(i+1), P50: 100, P99: 3000}
			r.Ways = append(r.Ways, measured{Part: "callers", sample: s})
		}
	}
	r.Layouts = []layout{{"plain <records>", 129, 1000, true}, {"of a peer", 385, 1000, false}}
	r.Remembered = []scale{{1000, 180_000, 1}, {10_000_000, 170_000, 0.94}}
	r.Peers = []peerResult{{Name: "Once", sample: sample{Rate: 9}}, {Name: "peer", Lacks: strings.Repeat("much of it ", 30)}}
	plots := r.plots()
	if len(plots) != 5 {
		t.Errorf("%d plots, want 5", len(plots))
	}
	for name, plot := range plots {
		d := xml.NewDecoder(strings.NewReader(plot))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if strings.Contains(plot, "NaN") || strings.Contains(plot, "Inf") {
			t.Errorf("%s has a place that is no number", name)
		}
		if dir := os.Getenv("ONCE_PLOTS"); dir != "" { // to look at
			if err := os.WriteFile(filepath.Join(dir, name), []byte(plot), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestReportSaysWhatWasNotMeasured(t *testing.T) {
	r := newReport(&settings{}, nil)
	r.line(do256R).measured(0.5, "somehow")
	md, text := r.markdown(), r.text()
	for _, l := range r.Lines {
		row := "| " + l.Name + " | " + l.figure() + " |"
		if !strings.Contains(md, row) {
			t.Errorf("the document lacks %q", row)
		}
		if !strings.Contains(text, l.Name) {
			t.Errorf("the summary lacks %q", l.Name)
		}
	}
	if r.line(do1024R).figure() != "not measured" {
		t.Error("a line without a value has a figure")
	}
	if !strings.Contains(text, "1 musts are met") {
		t.Errorf("the summary does not count:\n%s", text)
	}
}

func TestReadmeHasAPlaceForTheTable(t *testing.T) {
	readme := must(os.ReadFile("../README.md"))
	r := newReport(&settings{}, nil)
	r.line(do256R).measured(0.61, "")
	first := must(r.spliced(readme))
	if !bytes.Contains(first, []byte("| "+do256R+" | 0.61 of R |\n")) {
		t.Error("the table lacks a figure")
	}
	if again := must(r.spliced(first)); !bytes.Equal(first, again) {
		t.Error("written twice, the README is another")
	}
	if _, err := r.spliced([]byte("# Another\n")); err == nil {
		t.Error("a README without a place: no error")
	}
}

// A run that is told to stop stops, and says that it failed.
func TestStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if code := run(ctx, []string{"-short", "-only", "^callers$"}, io.Discard, io.Discard); code != 2 {
		t.Errorf("exit status %d, want 2", code)
	}
}
