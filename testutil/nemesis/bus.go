//go:build linux

package nemesis

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Bus is a NATS server with JetStream in a process of its own.
type Bus struct {
	// Addr is where it listens, the same over Restart.
	Addr string

	dir  string
	proc *Process
}

// busConfig is what the process is told.
type busConfig struct {
	Port int
	Dir  string
}

// StartBus starts a server that keeps its files in dir.
func StartBus(dir string) (*Bus, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	b := &Bus{dir: dir}
	var err error
	for range 10 { // another process may take the port first
		if b.Addr, err = freeAddr(); err != nil {
			return nil, err
		}
		if err = b.Restart(); err == nil {
			return b, nil
		}
	}
	return nil, err
}

// URL is where clients connect.
func (b *Bus) URL() string { return "nats://" + b.Addr }

// Kill kills the server with SIGKILL.
func (b *Bus) Kill() { b.proc.Kill() }

// Restart starts the server, at the same address and with the same files, and
// returns when it takes connections. One that runs is killed.
func (b *Bus) Restart() error {
	if b.proc != nil {
		b.proc.Kill()
	}
	_, port, _ := net.SplitHostPort(b.Addr)
	n, _ := strconv.Atoi(port)
	config, _ := json.Marshal(busConfig{n, b.dir}) // an int and a string
	cmd, err := reexec("bus", string(config), filepath.Join(b.dir, "log"))
	if err != nil {
		return err
	}
	defer closeLog(cmd)
	proc, err := startProcess(cmd)
	if err != nil {
		return err
	}
	b.proc = proc
	err = await(proc.context(), startLimit, "the bus", func() bool {
		nc, err := nats.Connect(b.URL(), nats.NoReconnect())
		if err != nil {
			return false
		}
		defer nc.Close()
		js, err := nc.JetStream()
		if err != nil {
			return false
		}
		_, err = js.AccountInfo()
		return err == nil
	})
	if err != nil {
		proc.Kill()
	}
	return err
}

// busMain is the process.
func busMain(text string) error {
	var c busConfig
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("nemesis: bus: %w", err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: c.Port, JetStream: true, StoreDir: filepath.Join(c.Dir, "store"), NoLog: true, NoSigs: true,
	})
	if err != nil {
		return fmt.Errorf("nemesis: bus: %w", err)
	}
	s.Start()
	s.WaitForShutdown()
	return errors.New("nemesis: the bus ended by itself")
}
