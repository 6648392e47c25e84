package natstest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Cluster is several NATS servers in this process that share their streams.
type Cluster struct {
	t       testing.TB
	Servers []*Server
}

// RunCluster starts n servers, with the same changes of their options, that end
// with t. It returns when they have elected a leader.
func RunCluster(t testing.TB, n int, configure ...func(*server.Options)) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	// A server with JetStream does not start without routes, so their ports are
	// chosen first.
	routes, ports := make([]*url.URL, n), make([]int, n)
	var listeners []net.Listener
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ports[i] = l.Addr().(*net.TCPAddr).Port
		routes[i] = &url.URL{Scheme: "nats", Host: l.Addr().String()}
		listeners = append(listeners, l)
	}
	for _, l := range listeners {
		_ = l.Close()
	}
	for i, port := range ports {
		s, err := start(t.TempDir(), append([]func(*server.Options){func(o *server.Options) {
			o.ServerName = fmt.Sprintf("n%d", i+1)
			o.Cluster = server.ClusterOpts{Name: "natstest", Host: "127.0.0.1", Port: port}
			o.Routes = routes
		}}, configure...)...)
		if err != nil {
			t.Fatal(err)
		}
		s.t = t
		t.Cleanup(s.Shutdown)
		c.Servers = append(c.Servers, s)
	}
	c.waitForPeers()
	return c
}

// waitForPeers waits until the leader of the cluster knows all servers.
func (c *Cluster) waitForPeers() {
	c.t.Helper()
	for end := time.Now().Add(startTimeout); time.Now().Before(end); {
		for _, s := range c.Servers {
			if s.embedded.JetStreamIsLeader() && len(s.embedded.JetStreamClusterPeers()) == len(c.Servers) {
				return
			}
		}
		timer := time.NewTimer(10 * time.Millisecond)
		<-timer.C
	}
	c.t.Fatalf("natstest: no leader of %d servers within %v", len(c.Servers), startTimeout)
}

// Leader returns the server that leads a stream of the global account, or nil
// while there is none.
func (c *Cluster) Leader(stream string) *Server {
	for _, s := range c.Servers {
		if s.embedded.JetStreamIsStreamLeader("$G", stream) {
			return s
		}
	}
	return nil
}

// StepDown asks the leader of a stream to let another one lead.
func (c *Cluster) StepDown(ctx context.Context, js jetstream.JetStream, stream string) error {
	m, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil)
	if err == nil && strings.Contains(string(m.Data), `"error"`) {
		err = fmt.Errorf("natstest: step down: %s", m.Data)
	}
	return err
}

// JetStream returns the JetStream of a new connection, to any of the servers.
func (c *Cluster) JetStream(opts ...nats.Option) jetstream.JetStream {
	c.t.Helper()
	urls := make([]string, len(c.Servers))
	for i, s := range c.Servers {
		urls[i] = s.URL()
	}
	all := &Server{t: c.t, url: strings.Join(urls, ",")}
	return all.JetStream(opts...)
}
