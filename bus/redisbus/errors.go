package redisbus

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// ErrNoGroup is returned by New and Consume when the consumer group does not
// exist and Options.CreateFrom does not ask for it to be made.
var ErrNoGroup = errors.New("redisbus: the consumer group does not exist: create it, or set Options.CreateFrom")

// ErrRefused is returned by New for a server that loses messages by design. The
// error names the settings.
var ErrRefused = errors.New("redisbus: the server's settings lose messages")

// ErrTaken is returned by Message.KeepAlive when the entry is another consumer's
// by now, or was delivered again to this one.
var ErrTaken = errors.New("redisbus: the message was delivered again")

// ErrUnsettled is returned by Consume when it had to end before the server
// confirmed all acks. Those messages come again.
var ErrUnsettled = errors.New("redisbus: not all acks were confirmed")

var (
	errNoHandler = errors.New("redisbus: handler is nil")
	errReply     = errors.New("redisbus: the reply is not that of the request")
)

// groupGone reports whether err says that the group, or its stream, is not there.
func groupGone(err error) bool { return err != nil && strings.Contains(err.Error(), "NOGROUP") }

// unblocked reports whether err says that the stream was deleted while the server
// waited for an entry.
func unblocked(err error) bool { return strings.Contains(err.Error(), "UNBLOCKED") }

// hopeless reports whether asking again will not help.
func hopeless(err error) bool {
	return errors.Is(err, redis.ErrClosed) || strings.Contains(err.Error(), "WRONGTYPE")
}

// plain returns err with a text that is fit for a log: a server quotes arguments
// in some of its errors.
func plain(err error) error {
	var reply redis.Error
	var network net.Error
	switch {
	case err == nil, errors.As(err, &network), errors.Is(err, context.Canceled), errors.Is(err, redis.ErrClosed):
		return err
	case errors.As(err, &reply):
		return &plainError{err}
	}
	return err
}

type plainError struct{ cause error }

func (e *plainError) Error() string {
	text, _, _ := strings.Cut(e.cause.Error(), ", with args beginning with")
	const longest = 200
	return text[:min(len(text), longest)]
}

func (e *plainError) Unwrap() error { return e.cause }
