package netproxy_test

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/oncebus/once/testutil/netproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shout serves lines: each is sent back in upper case. It records what it read.
func shout(t *testing.T) (addr string, lines chan string) {
	t.Helper()
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	lines = make(chan string, 10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			read := bufio.NewReader(conn)
			for {
				line, err := read.ReadString('\n')
				lines <- line
				if err != nil {
					break
				}
				_, _ = io.WriteString(conn, strings.ToUpper(line))
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listen.Close()
		<-done
	})
	return listen.Addr().String(), lines
}

// ask sends a line by a connection of its own and returns what comes back.
func ask(t *testing.T, p *netproxy.Proxy, line string) (string, error) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, line); err != nil {
		return "", err
	}
	return bufio.NewReader(conn).ReadString('\n')
}

func TestProxyPassesBytesOn(t *testing.T) {
	addr, _ := shout(t)
	if got, err := ask(t, netproxy.New(t, addr), "hello\n"); err != nil || got != "HELLO\n" {
		t.Fatalf("%q, error %v", got, err)
	}
}

func TestCutAtSpoilsOneExchange(t *testing.T) {
	for _, c := range []struct {
		point        netproxy.Point
		request, got string
	}{
		{netproxy.BeforeRequest, "", ""},
		{netproxy.WithinRequest, "hel", ""},
		{netproxy.BeforeReply, "hello\n", ""},
		{netproxy.WithinReply, "hello\n", "HEL"},
	} {
		addr, lines := shout(t)
		p := netproxy.New(t, addr)
		trap := p.CutAt(c.point, "hell")
		if got, err := ask(t, p, "other\n"); err != nil || got != "OTHER\n" {
			t.Fatalf("another request: %q, error %v", got, err)
		}
		<-lines
		<-lines // the end of that connection
		if got, err := ask(t, p, "hello\n"); err == nil || got != c.got {
			t.Errorf("point %d: got %q, error %v; want %q and an error", c.point, got, err, c.got)
		}
		<-trap.Sprung()
		if line := <-lines; line != c.request {
			t.Errorf("point %d: the server read %q, want %q", c.point, line, c.request)
		}
		if got, err := ask(t, p, "hello\n"); err != nil || got != "HELLO\n" {
			t.Errorf("point %d: the next request: %q, error %v", c.point, got, err)
		}
	}
}

func TestReplace(t *testing.T) {
	addr, _ := shout(t)
	p := netproxy.New(t, addr)
	trap := p.Replace("hello", func(reply []byte) []byte { return append([]byte("not "), reply...) })
	if got, err := ask(t, p, "hello\n"); err != nil || got != "not HELLO\n" {
		t.Fatalf("%q, error %v", got, err)
	}
	<-trap.Sprung()
}

func TestDelay(t *testing.T) {
	addr, _ := shout(t)
	p := netproxy.New(t, addr)
	p.Delay(30 * time.Millisecond)
	start := time.Now()
	if got, err := ask(t, p, "hello\n"); err != nil || got != "HELLO\n" {
		t.Fatalf("%q, error %v", got, err)
	}
	if took := time.Since(start); took < 60*time.Millisecond {
		t.Fatalf("took %v, want 30ms in each direction", took)
	}
}

func TestCutClosesConnectionsAndTakesNewOnes(t *testing.T) {
	addr, _ := shout(t)
	p := netproxy.New(t, addr)
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	read := bufio.NewReader(conn)
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := read.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if _, err := read.ReadString('\n'); err == nil {
		t.Fatal("the connection is not cut")
	}
	if got, err := ask(t, p, "hello\n"); err != nil || got != "HELLO\n" {
		t.Fatalf("%q, error %v", got, err)
	}
}
