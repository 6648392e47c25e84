package redisfaults

import (
	"bytes"
	"cmp"
	"context"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/histories"
	"github.com/oncebus/once/testutil/netproxy"
	"github.com/oncebus/once/testutil/redistest"
)

// Options say what is recorded.
type Options struct {
	// Open returns a store on client, for one of several consumers. It must send
	// its operations with EVAL or EVALSHA: so are they told from the rest. Required.
	Open func(t testing.TB, client *redis.Client) claim.Store
	// Workload is what the consumers do. Its Timeout defaults to 80 ms, and its
	// Pause to 3 ms.
	Workload histories.Workload
	// Clients is how many consumers there are, each with a client of its own
	// unless Shared is set. Defaults to 6.
	Clients int
	// Shared gives all consumers one store on one client. What was sent for whom is
	// then not known: with Resend, every operation may have been sent again.
	// Defaults to false.
	Shared bool
	// Resend leaves go-redis its default of three retries: after a lost reply it
	// sends a command again without a word. Defaults to false: every command is
	// sent once.
	Resend bool
}

// timeout is the deadline of an operation. It is short, since what it is for
// happens all the time, and leaves time to send a command again.
const timeout = 80 * time.Millisecond

// Record records the workload on a new server under a fault, and then what every
// key looks like when all is well again.
func Record(t testing.TB, fault Fault, o Options) *histories.History {
	t.Helper()
	w := o.Workload
	w.Timeout = cmp.Or(w.Timeout, timeout)
	w.Pause = cmp.Or(w.Pause, 3*time.Millisecond)

	server := redistest.StartOwn(t, fault.args...)
	proxy := netproxy.New(t, server.Addr)
	traffic, recorder := w.Start(), histories.NewRecorder()
	clients := make([]histories.Client, cmp.Or(o.Clients, 6))
	for i := range clients {
		if o.Shared && i > 0 {
			clients[i] = clients[0]
			continue
		}
		clients[i] = o.client(t, server, proxy.Addr())
		if o.Shared {
			clients[i].Sends = nil
		}
	}
	g := &ground{
		Server: server, Proxy: proxy, Recorder: recorder,
		direct: server.Client(), rng: rand.New(rand.NewPCG(w.Seed, 99)),
	}
	recorder.Run(func(ctx context.Context) { fault.strike(ctx, g) }, traffic.Drive(clients...)...)
	recorder.Note("all is well")
	probe := o.client(t, server, server.Addr)
	traffic.Timeout = 10 * time.Second
	recorder.Run(nil, traffic.Probe(probe))
	return recorder.History()
}

// client returns a consumer with a Redis client of its own, whose operations
// end by their deadlines.
func (o *Options) client(t testing.TB, server *redistest.Server, addr string) histories.Client {
	options := server.Options()
	options.Addr = addr
	options.PoolSize = 4
	options.MaxRetries = -1
	if o.Resend {
		options.MaxRetries = 3
	}
	var sends atomic.Int64
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, network, addr)
		return counting{conn, &sends}, err
	}
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	return histories.Client{
		Store:   o.Open(t, client),
		Resends: max(0, options.MaxRetries),
		Sends:   func() int { return int(sends.Load()) },
	}
}

// counting is a connection that counts the script calls that are written to it.
// A client writes a command, or a pipeline, at once.
type counting struct {
	net.Conn
	sends *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(command)) {
		c.sends.Add(1)
	}
	return c.Conn.Write(b)
}

// command is in every request of a store that is made of scripts, and in no
// other.
const command = "eval"
