//go:build linux

package main

import (
	"slices"

	"github.com/oncebus/once/testutil/nemesis"
)

const (
	noFault  = "none"
	controls = "controls"
)

// row is one fault and the points at which it must strike.
type row struct {
	fault  string
	title  string
	points []nemesis.Point
	expect string
	// missing is what of the row is not covered, and why; "" when all is.
	missing string
	// backend is where the records are; several rows may be of one fault.
	backend nemesis.Backend
}

// rowOf returns where the matrix has a fault on a backend, -1 for nowhere.
func rowOf(fault string, b nemesis.Backend) int {
	return slices.IndexFunc(matrix, func(m row) bool { return m.fault == fault && m.backend == b })
}

var every = nemesis.AllPoints()

func points(p ...nemesis.Point) []nemesis.Point { return p }

const (
	p0 = nemesis.P0
	p1 = nemesis.P1
	p2 = nemesis.P2
	p3 = nemesis.P3
	p4 = nemesis.P4
	p5 = nemesis.P5
	p6 = nemesis.P6
	p7 = nemesis.P7
	p8 = nemesis.P8

	inCommit = nemesis.AtCommit
)

const (
	onNATS  = nemesis.NATSClaims
	inInbox = nemesis.PostgresInbox
)

// matrix is what is to be shown.
var matrix = []row{
	{"F1", "consumer killed (SIGKILL)", every, "p0–p5: runs elsewhere within lease + redelivery; p6–p8: never runs again", "", nemesis.RedisClaims},
	{"F1", "consumer killed (SIGKILL), claims in NATS KV", every, "as on Redis", "", onNATS},
	{"F1", "consumer killed (SIGKILL), inbox in PostgreSQL", append(points(inCommit), every...), "one effect of every order, wherever it struck: the transaction is there whole or not at all", "", inInbox},
	{"F2", "consumer stopped for longer than its lease, then continued", points(p3, p4, p5, p7), "takeover with a higher fence; the stale commit is refused, the stale write too", "", nemesis.RedisClaims},
	{"F3", "store connection reset", points(p1, p2, p6), "no second run, no wait for one's own claim", "", nemesis.RedisClaims},
	{"F3", "store connection reset, claims in NATS KV", points(p1, p2, p6), "no loss; what stays without an answer for longer than its lease may run again", "", onNATS},
	{"F3", "store connection reset, also in COMMIT, inbox in PostgreSQL", points(p1, p2, p3, p4, p5, inCommit, p6), "one effect: what a lost COMMIT did is looked up", "", inInbox},
	{"F4", "one reply of the store lost", points(p2, p6, nemesis.AtExtend, nemesis.AtRelease), "no second run; SET NX loses messages here", "", nemesis.RedisClaims},
	{"F5", "store slower than the timeout; jitter", every, "every call returns at its deadline", "", nemesis.RedisClaims},
	{"F6", "store stopped, shorter and longer than the lease", points(p1, p4, p6), "short: nothing; long: handlers are cancelled, late commands do no harm", "", nemesis.RedisClaims},
	{"F7", "store killed and restarted: no persistence, everysec, always", points(p3, p4, p7), "none, everysec: second runs are counted; always: records survive", "a power cut: a kill leaves what the kernel has cached", nemesis.RedisClaims},
	{"F7", "store killed and restarted, claims in NATS KV", points(p3, p4, p7), "records survive", "", onNATS},
	{"F7", "store killed and restarted, inbox in PostgreSQL", points(p2, p4, inCommit, p6, p7), "one effect: what was confirmed as committed is there, and nothing else", "", inInbox},
	{"F8", "failover to a replica that was cut off, by hand and by Sentinel", points(p3, p7), "second runs are counted, no loss; with WaitReplicas claims are refused", "", nemesis.RedisClaims},
	{"F9", "consumer cut off from the store", every, "fails closed, the circuit opens and closes by itself", "", nemesis.RedisClaims},
	{"F10", "consumer cut off from the bus", points(p4, p7, p8), "one execution, later deliveries are answered done", "", nemesis.RedisClaims},
	{"F11", "clock of the store stepped by ± the lease, ± 1 h", points(p4, p7), "overlaps only around the step; no claim is stuck; every worker reports every step", "a claim whose owner dies just before the clock goes back waits for as long as it went, and the lease", nemesis.RedisClaims},
	{"F12", "store out of memory; evicting policies", points(p0, p6), "fails closed, finished work is recorded; evicting policies are refused at the start", "", nemesis.RedisClaims},
	{"F13", "scripts flushed; new master; new shard of a cluster", points(p0, p4, p6), "unnoticed", "", nemesis.RedisClaims},
	{"F14", "bus killed and restarted", points(p4, p7, p8), "no loss, one execution", "", nemesis.RedisClaims},
	{"F15", "Kafka rebalance storm, session timeout", points(p4, p5, p7), "low-water commits only: no loss; p7: one execution", "", nemesis.RedisClaims},
	{"F16", "shutdown (SIGTERM) at every point, and with a deadline", every, "a clean end, no goroutine left", "", nemesis.RedisClaims},
	{"F17", "handler panics or leaves its goroutine", points(p4, p5), "released, counted, the process lives", "", nemesis.RedisClaims},
	{"F18", "two connections for sixteen handlers, slow commands", points(p0, p4, p6), "no lease is lost", "", nemesis.RedisClaims},
	{"F19", "permission or password revoked", points(p0, p4), "fails closed, no storm of retries", "", nemesis.RedisClaims},
	{"F20", "five copies of each message at four consumers", points(p0), "exactly one run each", "", nemesis.RedisClaims},
	{"F21", "foreign, corrupt or newer record, or no string", points(p0), "never taken for absent", "", nemesis.RedisClaims},
	{"F22", "oversized, empty and hostile ids, oversized results", points(p0, p5), "refused before the store, or kept without the result", "ids with CR or LF, which a NATS header cannot carry", nemesis.RedisClaims},
	{"F23", "a message older than the retention", points(p0), "runs again; settings that allow it are refused where the bus tells them", "the library cannot count it: it looks like a new message", nemesis.RedisClaims},
	{"F24", "two versions of the library at once", every, "no order is run by both", "a layout of keys that differs: the versions would not see each other, which is why the digest has a version", nemesis.RedisClaims},
}
