package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// startLimit is how long a broker may take until it is up, on a busy machine.
const startLimit = 90 * time.Second

// Broker is a Kafka broker.
type Broker struct {
	// Addr is where it listens, host and port, the same over Restart.
	Addr string

	dir  string
	proc *process
}

// shared is the broker of the test binary.
var shared struct {
	mu     sync.Mutex
	broker *Broker
	err    error
}

// Start returns the broker that the tests of this binary share.
func Start(t testing.TB) *Broker {
	t.Helper()
	require(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if shared.broker == nil && shared.err == nil {
		shared.broker, shared.err = Open()
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.broker
}

// StartOwn returns a broker that the test has to itself. It ends with the test.
func StartOwn(t testing.TB) *Broker {
	t.Helper()
	require(t)
	b, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// Tests returns m with the end of the shared broker behind it, for TestMain:
//
//	goleak.VerifyTestMain(kafkatest.Tests(m))
func Tests(m interface{ Run() int }) interface{ Run() int } { return tests{m} }

type tests struct{ m interface{ Run() int } }

func (t tests) Run() int {
	defer func() {
		shared.mu.Lock()
		defer shared.mu.Unlock()
		if shared.broker != nil {
			shared.broker.Close()
		}
	}()
	return t.m.Run()
}

// Open starts a broker for a program that has no test. ErrMissing says that there
// is none to start.
func Open() (*Broker, error) {
	home, err := home()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kafkatest-")
	if err != nil {
		return nil, fmt.Errorf("kafkatest: %w", err)
	}
	b := &Broker{dir: dir}
	if err = os.CopyFS(filepath.Join(dir, "logs"), os.DirFS(filepath.Join(home, "formatted"))); err == nil {
		for range 10 { // another process may take a port first
			if err = b.bind(); err != nil {
				break
			}
			if err = b.Restart(); !errors.Is(err, errPortTaken) {
				break
			}
		}
	}
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("kafkatest: %w", err)
	}
	return b, nil
}

// bind chooses ports and writes the settings.
func (b *Broker) bind() error {
	var addrs [2]string
	for i := range addrs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		defer l.Close()
		addrs[i] = l.Addr().String()
	}
	b.Addr = addrs[0]
	text := strings.NewReplacer("$BROKER", addrs[0], "$CONTROLLER", addrs[1], "$DIR", filepath.Join(b.dir, "logs")).Replace(properties)
	return os.WriteFile(b.properties(), []byte(text), 0o600)
}

func (b *Broker) properties() string { return filepath.Join(b.dir, "properties") }

// Kill kills the broker with SIGKILL and returns when it is gone.
func (b *Broker) Kill() {
	if b.proc != nil {
		b.proc.kill()
	}
}

// Restart starts the broker at the same address and with the same files, after
// killing the one that runs, and returns when it is up.
func (b *Broker) Restart() (err error) {
	b.Kill()
	home, err := home()
	if err != nil {
		return err
	}
	if b.proc, err = launch(home, b.properties()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	if err = b.up(ctx); err != nil {
		b.Kill()
		return fmt.Errorf("%w\n%s", err, b.proc.log.text())
	}
	return nil
}

// up returns when the broker is part of its cluster.
func (b *Broker) up(ctx context.Context) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(b.Addr))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		short, cancel := context.WithTimeout(ctx, 2*time.Second)
		m, err := admin.BrokerMetadata(short)
		cancel()
		if err == nil && len(m.Brokers) == 1 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("the broker was not up within %v: %w", startLimit, err)
		case <-b.proc.gone:
			if strings.Contains(b.proc.log.text(), "already in use") {
				return errPortTaken
			}
			return errors.New("the broker ended")
		}
	}
}

// Close kills the broker and removes its files.
func (b *Broker) Close() {
	b.Kill()
	_ = os.RemoveAll(b.dir) // a leftover in the temporary directory harms nobody
}

// properties are a broker's settings: small, on one machine, and with groups whose
// members may have a session as short as a test wants.
const properties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$CONTROLLER
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://$BROKER,CONTROLLER://$CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$DIR
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=100
group.consumer.min.session.timeout.ms=200
group.consumer.session.timeout.ms=3000
group.consumer.min.heartbeat.interval.ms=50
group.consumer.heartbeat.interval.ms=100
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=4194304
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=5000
num.network.threads=2
num.io.threads=4
`
