package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

// errorReply is an error reply as go-redis returns it.
type errorReply string

func (e errorReply) Error() string { return string(e) }
func (errorReply) RedisError()     {}

// The table of the package documentation, line by line.
func TestFailure(t *testing.T) {
	timeout := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for _, c := range []struct {
		name  string
		err   error
		sends int
		want  error
	}{
		{"context over before the send", context.Canceled, 0, claim.ErrUnavailable},
		{"dial failed", &net.OpError{Op: "dial", Err: errors.New("refused")}, 0, claim.ErrUnavailable},
		{"pool exhausted", redis.ErrPoolTimeout, 0, claim.ErrUnavailable},
		{"client closed", redis.ErrClosed, 0, claim.ErrUnavailable},
		{"handshake refused", errorReply("WRONGPASS invalid username-password pair"), 0, claim.ErrUnavailable},
		{"handshake broken", io.EOF, 0, claim.ErrUnavailable},
		{"reply lost", io.EOF, 1, claim.ErrUnknown},
		{"deadline in mid-read", timeout, 1, claim.ErrUnknown},
		{"sent again, then no connection", redis.ErrPoolTimeout, 1, claim.ErrUnknown},
		{"sent again, reply lost", io.EOF, 2, claim.ErrUnknown},
		{"refused", errorReply("OOM command not allowed when used memory > 'maxmemory'."), 1, claim.ErrUnavailable},
		{"refused, after it was sent before", errorReply("OOM command not allowed"), 2, claim.ErrUnknown},
		{"no permission", errorReply("NOPERM this user has no permissions"), 1, claim.ErrUnavailable},
		{"a replica", errorReply("READONLY You can't write against a read only replica."), 1, claim.ErrUnavailable},
		{"a replica, after it was sent before", errorReply("READONLY You can't write"), 4, claim.ErrUnknown},
		{"loading", errorReply("LOADING Redis is loading the dataset in memory"), 1, claim.ErrUnavailable},
		{"busy", errorReply("BUSY Redis is busy running a script"), 1, claim.ErrUnavailable},
		{"a slot elsewhere", errorReply("MOVED 1 127.0.0.1:1"), 1, claim.ErrUnavailable},
		{"no cluster", errorReply("CLUSTERDOWN Hash slot not served"), 1, claim.ErrUnavailable},
		{"no such command", errorReply("ERR unknown command 'evalsha', with args beginning with: 'x'"), 1, claim.ErrUnavailable},
		{"too many clients", errorReply("ERR max number of clients reached"), 1, claim.ErrUnavailable},
		{"a script that broke", errorReply("ERR user_script:1: attempt to index a nil value"), 1, claim.ErrUnknown},
		{"nothing", redis.Nil, 1, claim.ErrCorrupt},
		{"no string", errors.New("redis: can't parse reply=\"*1\" reading string"), 1, claim.ErrCorrupt},
		{"no protocol", errors.New("redis: invalid reply: \"HTTP\""), 1, claim.ErrCorrupt},
	} {
		err := failure(c.err, c.sends)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if c.want != claim.ErrCorrupt && !errors.Is(err, c.err) {
			t.Errorf("%s: %v does not wrap its cause", c.name, err)
		}
	}
}

// Redis quotes a command's arguments in some errors, and go-redis the bytes of a
// reply that it cannot read.
func TestErrorsAndTracesShowNoArguments(t *testing.T) {
	const secret = "sesame"
	for _, cause := range []error{
		errorReply("ERR unknown command 'evalsha', with args beginning with: '" + secret + "' "),
		fmt.Errorf("redis: invalid reply: %q", secret),
		fmt.Errorf("redis: can't parse %.100q", secret),
	} {
		for sends := range 3 {
			if text := failure(cause, sends).Error(); strings.Contains(text, secret) {
				t.Errorf("%q shows the argument", text)
			}
		}
	}
	if text := plain(errorReply("ERR \x00\xff" + strings.Repeat("x", 1000))).Error(); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) || len(text) > 300 {
		t.Errorf("%q is not fit for a log", text)
	}
	// A trace prints the arguments of a command.
	f := newFlight()
	key, err := claim.NewKey("", "consumer", secret)
	if err != nil {
		t.Fatal(err)
	}
	f.add(names{prefix: "once:"}, &claim.Op{Kind: claim.OpTryClaim, Key: key, Request: claim.Request{Token: claim.Token([]byte("sixteen " + secret + "!!"))}})
	f.seal(false, false)
	c := f.book(t.Context(), 0, 1, [8]byte([]byte("sesame!!")), false, nil)
	if text := c.cmd.String(); strings.Contains(text, secret) || !strings.Contains(text, "bytes)") {
		t.Errorf("%q shows an argument", text)
	}
}

// After abandon nothing is sent any more, and what was sent before is known.
func TestAnAbandonedStampSendsNothing(t *testing.T) {
	for sent := range 3 {
		var s stamp
		for range sent {
			if _, err := s.MarshalBinary(); err != nil {
				t.Fatal(err)
			}
		}
		if n := s.abandon(); n != sent {
			t.Errorf("abandon returned %d, want %d", n, sent)
		}
		for range 10 {
			if _, err := s.MarshalBinary(); err == nil {
				t.Error("an abandoned stamp was handed out")
			}
		}
	}
}

// Of two calls with one key, the later of which ran already, the earlier must
// not run any more.
func TestACallThatWasOvertakenIsNotSentAgain(t *testing.T) {
	f := newFlight()
	keys := make([]claim.Key, 3)
	for i := range keys {
		keys[i], _ = claim.NewKey("", "consumer", claim.MessageID(rune('a'+i)))
	}
	ops := []*claim.Op{{Kind: claim.OpForget, Key: keys[0]}, {Kind: claim.OpForget, Key: keys[1]}, {Kind: claim.OpForget, Key: keys[0]}}
	for i, op := range ops {
		f.add(names{prefix: "once:"}, op)
		_ = i
	}
	f.seal(false, false)
	for i := range ops {
		c := f.book(t.Context(), i, i+1, [8]byte{}, false, nil)
		c.stamp.sends.Store(1)
		c.landed = true
	}
	f.calls[0].err = errorReply("NOSCRIPT No matching script.")
	f.calls[1].err = errorReply("NOSCRIPT No matching script.")
	if !f.unknownScript() {
		t.Fatal("nothing to send again")
	}
	if !f.calls[0].landed || !errors.Is(f.calls[0].fate, claim.ErrUnavailable) {
		t.Errorf("the overtaken call: landed %v, %v; want ErrUnavailable", f.calls[0].landed, f.calls[0].fate)
	}
	if f.calls[1].landed || f.calls[1].sends() != 0 {
		t.Error("the other call is not sent again")
	}
}
