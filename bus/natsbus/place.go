package natsbus

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// place is where a message is kept, and how often it was delivered, as its reply
// subject says.
type place struct {
	stream    string
	sequence  uint64
	delivered uint64
	stored    time.Time
}

// position is the same at every redelivery, since the server keeps the time at
// which it stored a message, and differs for two messages: within a stream by
// sequence, and between a stream and its successor under the same name by time.
// A stream that is restored from a backup keeps its positions.
func (p place) position() string {
	b := make([]byte, 0, len(p.stream)+42)
	b = append(b, p.stream...)
	b = append(b, '@')
	b = strconv.AppendInt(b, p.stored.UnixNano(), 10)
	b = append(b, ':')
	b = strconv.AppendUint(b, p.sequence, 10)
	return string(b)
}

// logName makes the names of the logs of a stream: its own name, when it was
// made, and the hour in which the message was stored. The hour costs little and
// keeps apart what a sequence number that is given again would join.
type logName struct {
	life string
	last atomic.Pointer[hourName]
}

type hourName struct {
	hour int64
	name string
}

// logName returns the maker of the stream's log names, or why there is none.
func (s *settings) logName() (*logName, error) {
	switch {
	case s.stream == nil:
		return nil, fmt.Errorf("natsbus: Options.Places: the settings of stream %q could not be read: %w", s.consumer.Stream, s.streamErr)
	case s.stream.Config.Storage == jetstream.MemoryStorage:
		return nil, fmt.Errorf("%w: Options.Places: stream %q is kept in memory and gives its sequence numbers again after a restart",
			ErrRefused, s.consumer.Stream)
	}
	return &logName{life: s.consumer.Stream + "@" + strconv.FormatInt(s.stream.Created.UnixNano(), 10)}, nil
}

// of returns the name for a message that was stored at t.
func (l *logName) of(t time.Time) string {
	hour := t.Unix() / 3600
	if h := l.last.Load(); h != nil && h.hour == hour {
		return h.name
	}
	h := &hourName{hour, l.life + "/" + strconv.FormatInt(hour, 10)}
	l.last.Store(h)
	return h.name
}
