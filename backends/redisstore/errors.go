package redisstore

import (
	"errors"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/claim"
)

var (
	errRecord    = claim.Corrupt("the value under the key is no record of this version")
	errReply     = claim.Corrupt("the reply is not that of the request")
	errAbandoned = errors.New("redisstore: the caller has gone")
	errLate      = claim.Unknown(errors.New("the claim took effect late, and has ended"))
	errOvertaken = claim.Unavailable(errors.New("a later operation on the key went first"))
)

// refusals are the first words of error replies by which a server says that it
// ran nothing of a command. Any other error reply, above all a plain ERR, may
// come from the middle of a script.
var refusals = map[string]bool{
	"ASK": true, "BUSY": true, "CLUSTERDOWN": true, "CROSSSLOT": true, "DENIED": true,
	"LOADING": true, "MASTERDOWN": true, "MISCONF": true, "MOVED": true, "NOAUTH": true,
	"NOPERM": true, "NOREPLICAS": true, "NOSCRIPT": true, "OOM": true, "READONLY": true,
	"TRYAGAIN": true, "WRONGPASS": true,
}

// failure says what is known of a command that ended with err after it was
// handed to a connection sends times. See the table in the package
// documentation.
func failure(err error, sends int) error {
	switch {
	case sends == 0:
		return claim.Unavailable(plain(err))
	case errors.Is(err, redis.Nil) || unreadable(err):
		return errReply
	case sends == 1 && refused(err):
		return claim.Unavailable(plain(err))
	}
	return claim.Unknown(plain(err))
}

// refused reports whether err is a reply by which a server says that it ran
// nothing.
func refused(err error) bool {
	var reply redis.Error
	if !errors.As(err, &reply) {
		return false
	}
	text := reply.Error()
	return refusals[firstWord(text)] ||
		strings.HasPrefix(text, "ERR max number of clients reached") ||
		strings.HasPrefix(text, "ERR unknown command")
}

// isReply reports whether err is an error reply.
func isReply(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply)
}

// lacksScript reports whether err is the reply of a server that does not know
// the script's digest.
func lacksScript(err error) bool { return err != nil && redis.HasErrorPrefix(err, "NOSCRIPT") }

// refusedWrite says what is known of an operation whose one write was refused
// with message inside the script. It had not happened when the script ran, so
// only an earlier copy of the call that is still under way can make it happen.
func refusedWrite(message string, sends int) error {
	if sends == 1 {
		return claim.Unavailable(plain(replyError(message)))
	}
	return claim.Unknown(plain(replyError(message)))
}

// isOurs reports whether err already says which of the errors of package claim
// it is.
func isOurs(err error) bool {
	return errors.Is(err, claim.ErrUnavailable) || errors.Is(err, claim.ErrInvalid) || errors.Is(err, claim.ErrCorrupt)
}

// unreadable reports whether err is go-redis's for bytes that are no reply.
// It has no type; without the match the answer would be ErrUnknown.
func unreadable(err error) bool {
	text := err.Error()
	return strings.HasPrefix(text, "redis: can't parse") || strings.HasPrefix(text, "redis: invalid reply")
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(s, " ")
	return word
}

// plain returns err with a text that is fit for a log. Redis quotes a command's
// arguments in some errors and go-redis replies that it cannot read, and tokens,
// ids and results are among ours.
func plain(err error) error { return &plainError{err} }

type plainError struct{ cause error }

func (e *plainError) Error() string {
	if unreadable(e.cause) {
		return "the reply is not of the protocol"
	}
	text := e.cause.Error()
	text, _, _ = strings.Cut(text, ", with args beginning with")
	const longest = 200
	if len(text) > longest {
		text = text[:longest]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
}

func (e *plainError) Unwrap() error { return e.cause }

// replyError is an error reply that came in the script's answer.
type replyError string

func (e replyError) Error() string { return string(e) }

// RedisError makes it an error of Redis to go-redis's functions.
func (replyError) RedisError() {}
