//go:build linux

package nemesis

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Why a handler ran again, or beside another. RELIABILITY calls a second
// execution without one of these a defect.
const (
	whyCrash     = "killed between effect and commit"
	whyStopped   = "process stopped for longer than its lease"
	whyExpired   = "lease outlived: store or bus out of reach"
	whyUnknown   = "commit unknown for longer than the lease"
	whyLoss      = "records lost by the store"
	whyStep      = "clock of the store stepped"
	whyFailed    = "handler failed after its effect"
	whyRetention = "older than the retention"
)

// run is one run of the handler, as the ledger has it. Times are 0 for what did
// not happen.
type run struct {
	pid, number        int
	fence              uint64
	attempt            int
	start, effect, end int64
	settled            int64
	endNote, note      string
}

// evidence is what a trial is judged by.
type evidence struct {
	w         *World
	runs      map[string][]*run // by order
	killed    map[int]int64     // when, by process
	stops     map[int][]span
	cancels   map[int][]int64
	last      int64
	takeovers map[string]bool // order and fence of grants that followed an expiry
}

// judge fills r from the ledger, the store and the bus.
func (w *World) judge(r *Result, p published, left int) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	lines, err := ReadLedger(filepath.Join(w.Dir, "ledger"))
	if err != nil {
		return err
	}
	for _, err := range w.troubles {
		r.fail("%v", err)
	}
	r.Orders, r.Messages = p.orders, p.messages
	r.effects, r.starts, r.hits = map[string]int{}, map[string][]int64{}, w.hits
	r.rows = map[string]int{}
	r.Seconds, r.Overlaps, r.Hits = map[string]int{}, map[string]int{}, map[Point]int{}
	for _, h := range w.hits {
		r.Hits[h.Point]++
	}
	for _, point := range w.Trial.Worker.Plan.Points {
		if w.Trial.Hit != nil && r.Hits[point] == 0 {
			r.fail("the fault never struck at %s", point)
		}
	}
	e := w.collect(r, lines)
	switch mode := w.Trial.Worker.Mode; {
	case w.Trial.Backend == PostgresInbox:
		if err := w.judgeRows(ctx, r); err != nil {
			return err
		}
	case mode == ModeOnce || mode == ModeNewer:
		e.judgeFences(r)
		e.judgeRuns(r)
	default:
		e.countDoubles(r)
	}
	e.measureTakeovers(r)
	dead, letters, err := w.deadOrders(ctx)
	if err != nil {
		return err
	}
	r.Dead = letters
	w.judgeLosses(r, dead, left)
	if w.Trial.Worker.Mode == ModeOnce && left == 0 {
		if err := w.judgeRecords(ctx, r); err != nil {
			r.fail("the records could not be compared: %v", err)
		}
	}
	if err := w.sumReports(r); err != nil {
		return err
	}
	if r.Workers.Steps > 0 && !w.Trial.Steps {
		r.fail("%d steps of the store's clock were reported, and nobody made one", r.Workers.Steps)
	}
	if w.Trial.Expect != nil {
		r.Failures = append(r.Failures, w.Trial.Expect(w, r)...)
	}
	return nil
}

// collect puts the lines of the ledger together.
func (w *World) collect(r *Result, lines []Line) *evidence {
	e := &evidence{w: w, runs: map[string][]*run{}, killed: map[int]int64{}, stops: map[int][]span{},
		cancels: map[int][]int64{}, takeovers: map[string]bool{}}
	r.Exits = len(w.exits)
	for _, x := range w.exits {
		if x.killed {
			e.killed[x.pid] = x.at
			r.Kills++
		}
	}
	for _, s := range w.stops {
		e.stops[s.pid] = append(e.stops[s.pid], s)
	}
	type visitOf struct{ pid, run int }
	open := map[visitOf]*run{}
	for _, l := range lines {
		e.last = max(e.last, l.At)
		at := visitOf{l.Pid, l.Run}
		switch v := open[at]; l.Kind {
		case lineStart:
			v = &run{pid: l.Pid, number: l.Run, fence: l.Fence, attempt: l.Attempt, start: l.At}
			open[at] = v
			e.runs[l.Order] = append(e.runs[l.Order], v)
			r.starts[l.Order] = append(r.starts[l.Order], l.At)
			r.Runs++
			r.Deliveries++
		case lineEffect:
			v.effect = l.At
			r.effects[l.Order]++
			r.Effects++
		case lineEnd:
			v.end, v.endNote = l.At, l.Note
		case lineSettled:
			v.settled, v.note = l.At, l.Note
		case linePassed:
			r.Deliveries++
		case lineTakeover:
			e.takeovers[fmt.Sprint(l.Order, " ", l.Fence)] = true
			r.Expiries++
		case lineCancel:
			e.cancels[l.Pid] = append(e.cancels[l.Pid], l.At)
		case lineCircuit:
			if l.Note == "open" {
				r.Circuits++
			} else {
				r.Recovered++
			}
		}
	}
	return e
}

// until returns when a run was over: when the handler returned, or its process
// was killed.
func (e *evidence) until(v *run) int64 {
	if v.end > 0 {
		return v.end
	}
	if at := e.killed[v.pid]; at > 0 {
		return at
	}
	return e.last
}

// judgeFences checks that no two grants of an order share a fence and that later
// grants have higher ones (I2), and that no owner was believed once another had
// the key (I4, I5).
func (e *evidence) judgeFences(r *Result) {
	r.checked("I2")
	r.checked("I4")
	for order, runs := range e.runs {
		byFence := slices.Clone(runs)
		slices.SortFunc(byFence, func(a, b *run) int { return cmp.Compare(a.fence, b.fence) })
		for i, b := range byFence {
			if b.fence == 0 {
				r.fail("%s ran without a fence", order)
			}
			for _, a := range byFence[:i] {
				if a.fence == b.fence {
					r.fail("I2: %s: two runs with fence %d", order, a.fence)
				}
				// A record that is forgotten takes its attempts along.
				old := b.start-a.start >= int64(e.w.Trial.Worker.Retention)
				if a.attempt >= b.attempt && len(e.w.losses) == 0 && !old {
					r.fail("I2: %s: attempt %d with fence %d, attempt %d with fence %d", order, a.attempt, a.fence, b.attempt, b.fence)
				}
				// b was granted before it started; a finished after that.
				if b.start < a.end && a.note == "ack" {
					r.fail("I4: %s: fence %d was acked after fence %d had started", order, a.fence, b.fence)
				}
			}
		}
	}
}

// judgeRuns explains every second execution and every overlap (I9), or does not.
func (e *evidence) judgeRuns(r *Result) {
	r.checked("I9")
	for order, runs := range e.runs {
		slices.SortFunc(runs, func(a, b *run) int { return cmp.Compare(a.start, b.start) })
		var before *run // the last one with an effect
		for i, b := range runs {
			if i > 0 && b.start < e.until(runs[i-1]) {
				e.explain(r, r.Overlaps, "overlap", order, runs[i-1], b)
			}
			if b.effect == 0 {
				continue
			}
			if before != nil {
				e.explain(r, r.Seconds, "second execution", order, before, b)
			}
			before = b
		}
	}
}

func (e *evidence) explain(r *Result, counts map[string]int, what, order string, a, b *run) {
	why := e.why(a, b)
	if why == "" {
		r.Unexplained++
		r.fail("I9: %s of %s without a reason: fence %d (pid %d, attempt %d, %s, bus told %q), then fence %d (pid %d, attempt %d) %v later",
			what, order, a.fence, a.pid, a.attempt, orDash(a.endNote), orDash(a.note), b.fence, b.pid, b.attempt, time.Duration(b.start-a.start))
		why = "none"
	}
	counts[why]++
}

// why returns why b ran although a had run, or "".
func (e *evidence) why(a, b *run) string {
	t := e.w.Trial
	between := func(times []int64, from, to int64) bool {
		return slices.ContainsFunc(times, func(at int64) bool { return from <= at && at <= to })
	}
	first, second := min(a.start, b.start), max(a.start, b.start)
	switch {
	case e.killed[a.pid] >= a.start && a.settled == 0:
		return whyCrash
	case e.wasStopped(a) || e.wasStopped(b):
		return whyStopped
	case a.note == "lost" || a.endNote == "lost" || between(e.cancels[a.pid], first, second+int64(t.Worker.Lease)):
		return whyExpired
	case a.note == "unknown":
		return whyUnknown
	case a.endNote == "failed":
		return whyFailed
	case t.Forgets && between(e.w.losses, first-int64(2*time.Second), second):
		return whyLoss
	case t.Steps && between(e.w.steps, first-int64(2*t.Worker.Lease), second):
		return whyStep
	case b.start-a.start >= int64(t.Worker.Retention):
		return whyRetention
	}
	return ""
}

// wasStopped reports whether a process stood still during a run of its own,
// between the grant and the settlement.
func (e *evidence) wasStopped(v *run) bool {
	grant := v.start - int64(10*e.w.Trial.Worker.Lease) // a process may stop between grant and start
	return slices.ContainsFunc(e.stops[v.pid], func(s span) bool {
		return s.to >= grant && (v.settled == 0 || s.from <= v.settled) && s.to-s.from >= int64(e.w.Trial.Worker.Lease)
	})
}

// countDoubles counts second executions of a worker that is no example.
func (e *evidence) countDoubles(r *Result) {
	for _, n := range r.effects {
		if n > 1 {
			r.Seconds["no deduplication"] += n - 1
		}
	}
}

// measureTakeovers measures how long what was in flight at a kill waited for its
// next run.
func (e *evidence) measureTakeovers(r *Result) {
	next := func(order string, after int64) {
		for _, v := range e.runs[order] {
			if v.start > after {
				r.Takeovers = append(r.Takeovers, time.Duration(v.start-after))
				return
			}
		}
	}
	for order, runs := range e.runs {
		for _, v := range runs {
			if at := e.killed[v.pid]; at > 0 && v.settled == 0 && v.start <= at {
				next(order, at)
			}
		}
	}
	for _, h := range r.hits {
		switch h.Point {
		case P0, P1, P2, P3: // no run began
			if at := e.killed[h.Pid]; at > 0 {
				next(h.Order, at)
			}
		}
	}
}

// judgeLosses looks for orders of which nothing is left (I6).
func (w *World) judgeLosses(r *Result, dead map[string]bool, left int) {
	r.checked("I6")
	if left != 0 {
		r.fail("I6: %d messages are still with the bus at the end", left)
		return
	}
	for n := range r.Orders {
		id := OrderID(n)
		if r.effects[id] > 0 || dead[id] {
			continue
		}
		if r.Lost++; r.Lost <= 3 && w.Trial.Worker.Mode == ModeOnce {
			r.fail("I6: %s is lost: no effect, no dead letter, gone from the bus", id)
		}
	}
}

// sumReports adds up what the workers say.
func (w *World) sumReports(r *Result) error {
	paths, _ := filepath.Glob(filepath.Join(w.Dir, "report-*"))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("nemesis: %w", err)
		}
		var one Report
		if err := json.Unmarshal(text, &one); err != nil {
			return fmt.Errorf("nemesis: %w", err)
		}
		r.Workers.add(&one)
		if one.Leaked > 0 {
			r.fail("a worker that ended in peace left %d goroutines", one.Leaked)
		}
	}
	return nil
}

// add adds the counts that are used.
func (r *Report) add(o *Report) {
	a, b := &r.Dedupe, &o.Dedupe
	a.Deliveries += b.Deliveries
	a.Runs += b.Runs
	a.Panicked += b.Panicked
	a.Duplicates += b.Duplicates
	a.Pending += b.Pending
	a.Takeovers += b.Takeovers
	a.LeasesLost += b.LeasesLost
	a.LateCommits += b.LateCommits
	a.LostCommits += b.LostCommits
	a.RecoveredCommits += b.RecoveredCommits
	a.UnknownCommits += b.UnknownCommits
	a.StoreDown += b.StoreDown
	a.MissingID += b.MissingID
	a.DeadLettered += b.DeadLettered
	r.Calls += o.Calls
	r.Late += o.Late
	r.Overshoot = max(r.Overshoot, o.Overshoot)
	r.Leaked += o.Leaked
	r.Corrupt += o.Corrupt
	r.Unknown += o.Unknown
	r.Down += o.Down
	r.Steps += o.Steps
}
