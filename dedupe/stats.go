package dedupe

import (
	"sync/atomic"
	"time"
)

// Stats counts what a Deduper has done since New. Every way in which a handler
// can run a second time has a counter.
type Stats struct {
	// Deliveries is how many messages or calls came in.
	Deliveries int64 `json:"deliveries"`
	// Runs is how many times a handler was called.
	Runs int64 `json:"runs"`
	// Succeeded, Failed and Panicked say how those runs ended; a panic and a
	// Goexit count as Panicked, not as Failed.
	Succeeded int64 `json:"succeeded"`
	Failed    int64 `json:"failed"`
	Panicked  int64 `json:"panicked"`
	// Duplicates is how many were answered because the key is done; of these
	// MemoryHits were answered without the store.
	Duplicates int64 `json:"duplicates"`
	MemoryHits int64 `json:"memory_hits"`
	// OldestDuplicate is the largest Decision.Age of a duplicate.
	OldestDuplicate time.Duration `json:"oldest_duplicate"`
	// Pending is how many came while another owner was running, or before the
	// backoff of a failed attempt was over.
	Pending int64 `json:"pending"`
	// Dead, Mismatched and Parked were rejected without a run.
	Dead       int64 `json:"dead"`
	Mismatched int64 `json:"mismatched"`
	Parked     int64 `json:"parked"`
	// Died is how many keys became dead here.
	Died int64 `json:"died"`
	// DeadLettered is how many messages the sink took; SinkFailed how many it
	// refused, which are retried.
	DeadLettered int64 `json:"dead_lettered"`
	SinkFailed   int64 `json:"sink_failed"`
	// Takeovers is how many runs followed an owner that let its lease run out.
	Takeovers int64 `json:"takeovers"`
	// LeasesLost is how many running handlers were cancelled because the lease
	// could not be kept, and MaxRunExceeded because they ran too long.
	LeasesLost     int64 `json:"leases_lost"`
	MaxRunExceeded int64 `json:"max_run_exceeded"`
	// LateCommits succeeded after the lease was given up for lost; LostCommits
	// found that another owner had taken the key: it ran twice.
	LateCommits int64 `json:"late_commits"`
	LostCommits int64 `json:"lost_commits"`
	// RecoveredCommits found no record: the store lost it.
	RecoveredCommits int64 `json:"recovered_commits"`
	// UnknownCommits had no answer within CommitTimeout; of these LaterCommits
	// were recorded afterwards.
	UnknownCommits int64 `json:"unknown_commits"`
	LaterCommits   int64 `json:"later_commits"`
	// StoreDown is how many were retried because the store gave no answer, and
	// FailedOpen how many ran without a claim for it.
	StoreDown  int64 `json:"store_down"`
	FailedOpen int64 `json:"failed_open"`
	// Busy is how many were retried because MaxLive were in progress.
	Busy int64 `json:"busy"`
	// MissingID is how many had no usable id, and PassedThrough how many of these
	// ran without a claim.
	MissingID     int64 `json:"missing_id"`
	PassedThrough int64 `json:"passed_through"`
	// Observed is how many ran under ObserveOnly that would have been skipped.
	Observed int64 `json:"observed"`
}

// counters are the live form of Stats.
type counters struct {
	deliveries, runs, succeeded, failed, panicked    atomic.Int64
	duplicates, memoryHits, oldestDuplicate, pending atomic.Int64
	dead, mismatched, parked, died                   atomic.Int64
	deadLettered, sinkFailed                         atomic.Int64
	takeovers, leasesLost, maxRunExceeded            atomic.Int64
	lateCommits, lostCommits, recoveredCommits       atomic.Int64
	unknownCommits, laterCommits                     atomic.Int64
	storeDown, failedOpen, missingID, passedThrough  atomic.Int64
	busy, observed                                   atomic.Int64

	// remembered is how many deliveries were duplicates that took the short cut.
	remembered atomic.Int64
}

// duplicate counts a key found done since age.
func (c *counters) duplicate(age time.Duration) {
	c.duplicates.Add(1)
	for {
		oldest := c.oldestDuplicate.Load()
		if int64(age) <= oldest || c.oldestDuplicate.CompareAndSwap(oldest, int64(age)) {
			return
		}
	}
}

// Stats returns the counts so far. Counters are read one by one while others may
// rise, so sums may be off by the messages in progress.
func (d *Deduper) Stats() Stats {
	c := &d.count
	remembered := c.remembered.Load()
	return Stats{
		Deliveries: c.deliveries.Load() + remembered, Runs: c.runs.Load(),
		Succeeded: c.succeeded.Load(), Failed: c.failed.Load(), Panicked: c.panicked.Load(),
		Duplicates: c.duplicates.Load() + remembered, MemoryHits: c.memoryHits.Load() + remembered,
		OldestDuplicate: time.Duration(c.oldestDuplicate.Load()), Pending: c.pending.Load(),
		Dead: c.dead.Load(), Mismatched: c.mismatched.Load(), Parked: c.parked.Load(), Died: c.died.Load(),
		DeadLettered: c.deadLettered.Load(), SinkFailed: c.sinkFailed.Load(),
		Takeovers: c.takeovers.Load(), LeasesLost: c.leasesLost.Load(), MaxRunExceeded: c.maxRunExceeded.Load(),
		LateCommits: c.lateCommits.Load(), LostCommits: c.lostCommits.Load(), RecoveredCommits: c.recoveredCommits.Load(),
		UnknownCommits: c.unknownCommits.Load(), LaterCommits: c.laterCommits.Load(),
		StoreDown: c.storeDown.Load(), FailedOpen: c.failedOpen.Load(), Busy: c.busy.Load(),
		MissingID: c.missingID.Load(), PassedThrough: c.passedThrough.Load(), Observed: c.observed.Load(),
	}
}
