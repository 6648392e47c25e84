package amqptest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

var errPortTaken = errors.New("a port is taken")

// process is a program that runs until it is killed. It is killed with the program
// that started it.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
	gone chan struct{}
}

// launch runs cmd and returns when its output says ready; "" does not wait for that.
func launch(cmd *exec.Cmd, ready string) (*process, error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	p := &process{cmd: cmd, gone: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel kills the child when the thread that made it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			<-p.gone
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	log, found := "", make(chan bool, 1)
	go func() {
		defer close(p.gone)
		var ok bool
		log, ok = readLog(out, ready)
		found <- ok
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	}()
	timer := time.NewTimer(bootTime)
	defer timer.Stop()
	select {
	case ok := <-found:
		if ok {
			return p, nil
		}
	case <-timer.C:
	}
	p.kill()
	if strings.Contains(log, "eaddrinuse") {
		return nil, errPortTaken
	}
	return nil, fmt.Errorf("%s did not start:\n%s", cmd.Path, log)
}

// readLog reads until a line has the words, or to the end.
func readLog(out io.Reader, words string) (log string, found bool) {
	if words == "" {
		return "", true
	}
	var text strings.Builder
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), words) {
			return "", true
		}
	}
	return text.String(), false
}

// kill ends the process and what it started, and returns when it is gone.
func (p *process) kill() {
	p.once.Do(func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	<-p.gone
}
