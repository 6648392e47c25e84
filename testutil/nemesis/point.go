//go:build linux

package nemesis

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/oncebus/once/claim"
)

// Point is a moment on the way of a message through a consumer, as package
// claim lists them, and three operations beside that way.
type Point string

// The points.
const (
	P0 Point = "p0" // before the claim is sent
	P1 Point = "p1" // the claim is in flight
	P2 Point = "p2" // the claim is executed, its reply on the way
	P3 Point = "p3" // claimed, the handler has not started
	P4 Point = "p4" // in the handler, before the effect
	P5 Point = "p5" // after the effect, before the commit
	P6 Point = "p6" // the commit is executed, its reply on the way
	P7 Point = "p7" // done, before the ack
	P8 Point = "p8" // the ack is sent, or lost

	AtExtend  Point = "extend"  // the extension of a lease is executed, its reply on the way
	AtRelease Point = "release" // the same of a release
	AtCommit  Point = "commit"  // the COMMIT of an inbox's transaction is in flight
)

// AllPoints are p0 to p8.
func AllPoints() []Point { return []Point{P0, P1, P2, P3, P4, P5, P6, P7, P8} }

// Action is what a worker does to itself, or to a connection, at a point.
type Action string

// The actions of a worker. Faults of servers and networks are injected by the
// trial while the worker waits at the point; the worker then goes on.
const (
	GoOn   Action = "go-on"
	Kill   Action = "kill"   // SIGKILL
	Stop   Action = "stop"   // SIGSTOP; the trial continues it
	Term   Action = "term"   // SIGTERM
	Panic  Action = "panic"  // of the handler
	Goexit Action = "goexit" // of the handler
	Reset  Action = "reset"  // the connection is reset
	Drop   Action = "drop"   // the reply is swallowed, the connection stays
)

// Plan says which orders trigger the fault, and where: one in every Stride.
type Plan struct {
	// Points are taken in turn. None: no order triggers anything.
	Points []Point
	// Stride is one order in how many.
	Stride int
	// Offset moves the choice; a campaign takes it from its seed.
	Offset int
	// Early makes the points on a connection strike before the request is
	// written, and not when the reply arrives: for faults of the store itself.
	Early bool
}

// At returns the point of an order, "" for most.
func (p *Plan) At(order int) Point {
	if len(p.Points) == 0 || order < 0 || p.Stride <= 0 || (order+p.Offset)%p.Stride != p.Stride/2 {
		return ""
	}
	return p.Points[(order+p.Offset)/p.Stride%len(p.Points)]
}

// OrderID returns the id of an order.
func OrderID(n int) string { return fmt.Sprintf("o-%07d", n) }

// RecordKey returns the name under which the record of an order is in the store.
func RecordKey(prefix, id string) (string, error) {
	key, err := claim.NewKey("", consumerName, claim.MessageID(id))
	digest := key.Digest()
	return prefix + string(digest[:]), err
}

// orderOf returns the number of an order, -1 for another id.
func orderOf(id string) int {
	digits, ok := strings.CutPrefix(id, "o-")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return -1
	}
	return n
}
