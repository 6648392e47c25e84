package kafkatest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// ErrMissing is returned when there is no Kafka to start.
var ErrMissing = errors.New("kafkatest: no Kafka: run .ci/kafka, which needs Java and Maven, or set ONCE_KAFKA_HOME to what it made")

var errPortTaken = errors.New("the port is taken")

// home returns where the jars are.
func home() (string, error) {
	dir := os.Getenv("ONCE_KAFKA_HOME")
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return "", ErrMissing
		}
		dir = filepath.Join(cache, "once", "kafka")
	}
	// The script writes the version last.
	if _, err := os.Stat(filepath.Join(dir, "version")); err != nil {
		return "", ErrMissing
	}
	if _, err := exec.LookPath("java"); err != nil {
		return "", ErrMissing
	}
	return dir, nil
}

// require skips or fails a test when there is no Kafka.
func require(t testing.TB) {
	t.Helper()
	_, err := home()
	switch {
	case err == nil:
	case os.Getenv("ONCE_REQUIRE_SERVERS") == "1":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

// process is a broker's.
type process struct {
	life io.Closer // while it is open, the process may live
	log  head
	gone chan struct{}
}

// guarded runs its arguments as a child that is killed when the standard input
// ends. So a broker does not outlive the program that started it, however that ends.
const guarded = `"$@" </dev/null & exec >/dev/null 2>&1; read -r _; kill -9 $!`

// launch runs a broker.
func launch(home, properties string) (*process, error) {
	cmd := exec.Command("sh", "-c", guarded, "sh", "java",
		"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Xlog:disable", "-Xlog:all=error:stderr",
		"-XX:SharedArchiveFile="+filepath.Join(home, "classes.jsa"), "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
		"-cp", filepath.Join(home, "libs", "*"), "kafka.Kafka", properties)
	life, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("a shell: %w", err)
	}
	p := &process{life: life, gone: make(chan struct{})}
	go func() {
		defer close(p.gone)
		_, _ = io.Copy(&p.log, out) // until the broker, which alone writes there, has ended
		_ = life.Close()
		_ = cmd.Wait()
	}()
	return p, nil
}

func (p *process) kill() {
	_ = p.life.Close() // it may have ended by itself
	<-p.gone
}

// head is the beginning of what was written to it, which says why a broker does
// not start.
type head struct {
	mu   sync.Mutex
	kept []byte
}

// Write implements io.Writer.
func (l *head) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept = append(l.kept, b[:min(len(b), max(0, 16<<10-len(l.kept)))]...)
	return len(b), nil
}

func (l *head) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.kept)
}
