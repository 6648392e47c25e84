package natstest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// processEnv tells a test binary that it is to be a server, and where its store
// is.
const processEnv = "NATSTEST_SERVER"

// Process is a NATS server in a process of its own, that can be killed.
type Process struct {
	*Server
	dir string
	cmd *exec.Cmd
}

// Main turns a test binary into a server when it was started by RunProcess, and
// returns otherwise. TestMain calls it first.
func Main() {
	dir, ok := os.LookupEnv(processEnv)
	if !ok {
		return
	}
	var port int
	if _, err := fmt.Sscanf(os.Args[len(os.Args)-1], "port=%d", &port); err != nil {
		port = server.RANDOM_PORT
	}
	s, err := start(dir, func(o *server.Options) { o.SyncAlways, o.Port = true, port })
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(s.URL())
	// The parent holds the other end for as long as it lives.
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	s.Shutdown()
	os.Exit(0)
}

// RunProcess starts a server, which syncs every write to its disk, in a process
// of its own that ends with t. The test binary's TestMain must call Main.
func RunProcess(t testing.TB) *Process {
	t.Helper()
	p := &Process{Server: &Server{t: t}, dir: t.TempDir()}
	p.boot(0)
	t.Cleanup(p.Kill)
	return p
}

func (p *Process) boot(port int) {
	p.t.Helper()
	p.cmd = exec.Command(os.Args[0], fmt.Sprintf("port=%d", port))
	if port == 0 {
		p.cmd.Args = p.cmd.Args[:1]
	}
	p.cmd.Env = append(os.Environ(), processEnv+"="+p.dir)
	if _, err := p.cmd.StdinPipe(); err != nil {
		p.t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line = strings.TrimSpace(line); err != nil || !strings.HasPrefix(line, "nats://") {
		p.Kill()
		p.t.Fatalf("natstest: the server's process: %s %v", line, err)
	}
	p.url = line
}

// Kill ends the process as kill -9 does. It may be called again.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may be dead already
	_ = p.cmd.Wait()
}

// Restart starts the process again, on the same store and port, after Kill.
func (p *Process) Restart() {
	p.t.Helper()
	var port int
	if _, err := fmt.Sscanf(p.url[strings.LastIndexByte(p.url, ':'):], ":%d", &port); err != nil {
		p.t.Fatalf("natstest: %q has no port: %v", p.url, err)
	}
	started := time.Now()
	p.boot(port)
	p.t.Logf("natstest: the server is back after %v", time.Since(started))
}
