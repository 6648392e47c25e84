package amqptest

import (
	"errors"
	"os"
	"sync"
	"testing"
)

// shared is the node of the test binary.
var shared struct {
	mu   sync.Mutex
	node *Node
	err  error
}

// Start returns the node that the tests of this binary share. Tests use queues with
// names of their own.
func Start(t testing.TB) *Node {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.node == nil && shared.err == nil {
		shared.node, shared.err = Open()
	}
	switch {
	case errors.Is(shared.err, ErrNotInstalled) && os.Getenv("ONCE_REQUIRE_SERVERS") != "1":
		t.Skip(shared.err)
	case shared.err != nil:
		t.Fatal(shared.err)
	}
	return shared.node
}

// Tests wraps the tests of a binary, so that their node ends with them:
//
//	func TestMain(m *testing.M) { os.Exit(amqptest.Tests(m).Run()) }
func Tests(m interface{ Run() int }) Suite { return Suite{m} }

// Suite is what Tests returns.
type Suite struct{ m interface{ Run() int } }

// Run runs the tests, ends their node and returns the exit code.
func (s Suite) Run() int {
	defer func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.node != nil {
			shared.node.Close()
		}
		shared.node = nil
	}()
	return s.m.Run()
}
