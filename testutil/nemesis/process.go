//go:build linux

package nemesis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// roleEnv names the role of a child, and configEnv its settings as JSON.
const (
	roleEnv   = "ONCE_NEMESIS_ROLE"
	configEnv = "ONCE_NEMESIS_CONFIG"
)

// Main runs the role that this process was started in and ends the process, or
// returns when there is none. Call it before anything else.
func Main() {
	role := os.Getenv(roleEnv)
	if role == "" {
		return
	}
	err := fmt.Errorf("nemesis: unknown role %q", role)
	switch role {
	case "bus":
		err = busMain(os.Getenv(configEnv))
	case "worker":
		err = workerMain(os.Getenv(configEnv))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Process is a child. It is killed with the program that started it.
type Process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
}

// spawner starts children. The kernel kills a child when the thread that made it
// ends (PR_SET_PDEATHSIG), so all are made by one thread that never does.
var spawner = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})

// startProcess starts cmd in a process group of its own.
func startProcess(cmd *exec.Cmd) (*Process, error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	started := make(chan error)
	spawner() <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	p := &Process{cmd: cmd, gone: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(p.gone)
	}()
	return p, nil
}

// reexec returns a command that runs this binary in a role, with its output in
// the file at log.
func reexec(role, config, log string) (*exec.Cmd, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("nemesis: %w", err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), roleEnv+"="+role, configEnv+"="+config)
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, nil
}

// closeLog closes this process's copy of a child's output.
func closeLog(cmd *exec.Cmd) {
	if f, ok := cmd.Stdout.(*os.File); ok {
		_ = f.Close()
	}
}

// Pid returns the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Gone is closed when the process has ended.
func (p *Process) Gone() <-chan struct{} { return p.gone }

// Signal sends sig to the process group. That it has ended is no error.
func (p *Process) Signal(sig syscall.Signal) {
	select {
	case <-p.gone:
	default:
		_ = syscall.Kill(-p.Pid(), sig)
	}
}

// Kill kills the process and returns when it has ended.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.gone
}

// killed reports whether a process that has ended was killed by SIGKILL.
func (p *Process) killed() bool { return p.endedBy(syscall.SIGKILL) }

func (p *Process) endedBy(sig syscall.Signal) bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == sig
}

// stopped reports whether the kernel has stopped the process.
func stopped(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return err == nil && bytes.HasPrefix(rest, []byte("T"))
}

// errDeadline is what await returns when the condition did not come true.
var errDeadline = errors.New("nemesis: waited in vain")

// await returns when is reports true, or an error when ctx ends or limit has
// passed.
func await(ctx context.Context, limit time.Duration, what string, is func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	const interval = 5 * time.Millisecond
	for !is() {
		if !pause(ctx, interval) {
			return fmt.Errorf("%w for %s, for %v", errDeadline, what, limit)
		}
	}
	return nil
}

// pause returns after d, or false when ctx ends first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// context returns a context that ends with the process.
func (p *Process) context() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-p.gone
		cancel()
	}()
	return ctx
}

// The signals of a worker's life, for files that need no package syscall.
const (
	contSignal = syscall.SIGCONT
	termSignal = syscall.SIGTERM
)
