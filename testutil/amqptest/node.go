package amqptest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// ErrNotInstalled is returned by Open where there is no rabbitmq-server.
var ErrNotInstalled = errors.New("amqptest: no RabbitMQ: install rabbitmq-server")

const (
	name = "once@localhost"
	// bootTime is how long a node may take to start on a busy machine.
	bootTime = 4 * time.Minute
	// settings is rabbitmq.conf: clients need no permission beyond the default
	// user's, nothing is written beside the data, and a small disk is no alarm.
	settings = `loopback_users = none
log.console = true
log.file = false
disk_free_limit.absolute = 1MB
`
	// advanced makes channels look every 200 ms whether a delivery has timed out, so
	// that tests of consumer_timeout are short.
	advanced = "[{rabbit, [{channel_tick_interval, 200}]}].\n"
)

// Node is a RabbitMQ.
type Node struct {
	// Addr is where it listens, host and port.
	Addr string

	dir    string
	env    []string
	cookie string
	broker *process
	epmd   *process
}

// Open starts a node and returns when it accepts connections. The error wraps
// ErrNotInstalled where there is none to start.
func Open() (*Node, error) {
	server, err := find("rabbitmq-server")
	if err != nil {
		return nil, ErrNotInstalled
	}
	dir, err := os.MkdirTemp("", "amqptest-")
	if err != nil {
		return nil, fmt.Errorf("amqptest: %w", err)
	}
	n := &Node{dir: dir, cookie: rand.Text()}
	for range 10 { // another process may take a port first
		if err = n.boot(server); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		n.Close()
		return nil, fmt.Errorf("amqptest: %w", err)
	}
	return n, nil
}

// URL is what clients connect to, as a user who may do everything.
func (n *Node) URL() string { return URLAt(n.Addr) }

// URLAt is the URL of a node as it is reached at another address, such as a proxy's.
func URLAt(addr string) string { return "amqp://guest:guest@" + addr + "/" }

// boot starts epmd and the node. Its files begin anew.
func (n *Node) boot(server string) error {
	n.kill()
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	data := filepath.Join(n.dir, ports[0])
	if err := os.Mkdir(data, 0o700); err != nil {
		return err
	}
	in := func(file string) string { return filepath.Join(data, file) }
	for file, text := range map[string]string{
		".erlang.cookie": n.cookie, "rabbitmq.conf": settings, "advanced.config": advanced, "plugins": "[].\n", "env": "",
	} {
		if err := os.WriteFile(in(file), []byte(text), 0o400); err != nil {
			return err
		}
	}
	n.Addr = net.JoinHostPort("127.0.0.1", ports[0])
	n.env = append(os.Environ(),
		"HOME="+data, "ERL_EPMD_PORT="+ports[2], "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME="+name, "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT="+ports[0], "RABBITMQ_DIST_PORT="+ports[1],
		"RABBITMQ_MNESIA_BASE="+data, "RABBITMQ_LOG_BASE="+data, "RABBITMQ_LOGS=-", "RABBITMQ_PID_FILE="+in("pid"),
		"RABBITMQ_FEATURE_FLAGS_FILE="+in("feature_flags"), "RABBITMQ_ENABLED_PLUGINS_FILE="+in("plugins"), "RABBITMQ_CONF_ENV_FILE="+in("env"),
		"RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"), "RABBITMQ_ADVANCED_CONFIG_FILE="+in("advanced.config"),
		// The script then becomes the node instead of waiting for it.
		"RABBITMQ_ALLOW_INPUT=1",
	)
	epmd, err := find("epmd")
	if err != nil {
		return errors.New("no epmd: install erlang-base")
	}
	if n.epmd, err = launch(n.command(epmd, "-port", ports[2], "-address", "127.0.0.1"), ""); err != nil {
		return err
	}
	n.broker, err = launch(n.command(server, "-noinput"), "Server startup complete")
	return err
}

func (n *Node) command(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Dir = n.env, n.dir
	return cmd
}

// Eval has the node evaluate Erlang expressions, which end with a full stop, and
// returns the value of the last one.
func (n *Node) Eval(ctx context.Context, expressions string) (string, error) {
	cmd := exec.CommandContext(ctx, "erl_call", "-sname", name, "-c", n.cookie, "-e")
	cmd.Env, cmd.Dir = n.env, n.dir
	cmd.Stdin = strings.NewReader(expressions + "\n")
	out, err := cmd.CombinedOutput()
	text, ok := strings.CutPrefix(string(out), "{ok, ")
	if err != nil || !ok {
		return "", fmt.Errorf("amqptest: eval: %v: %s", err, out)
	}
	return strings.TrimSuffix(text, "}"), nil
}

// Restart stops the broker, starts it again from its disk, and returns when it accepts
// connections. Those that it had are closed, and what is not durable is lost.
func (n *Node) Restart(ctx context.Context) error {
	_, err := n.Eval(ctx, "rabbit:stop().")
	for booted := ""; err == nil && booted != "true"; {
		// A start that comes right behind a stop may do nothing.
		booted, err = n.Eval(ctx, "rabbit:start(), rabbit:is_booted(node()).")
	}
	return err
}

// Close ends the node and removes its data.
func (n *Node) Close() {
	n.kill()
	_ = os.RemoveAll(n.dir)
}

func (n *Node) kill() {
	for _, p := range []*process{n.broker, n.epmd} {
		if p != nil {
			p.kill()
		}
	}
	n.broker, n.epmd = nil, nil
}

// find returns the path of a program. Debian's rabbitmq-server on PATH is a wrapper
// that runs the node as another user; the program itself is elsewhere.
func find(program string) (string, error) {
	for _, dir := range []string{"/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/usr/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return exec.LookPath(program)
}

// freePorts returns ports of this machine at which nobody listens.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // not before all are found
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}
