package redisbus

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oncebus/once/bus"
)

const (
	defaultIDField   = "id"
	defaultDataField = "data"
)

// Entry is an entry of a stream as the server has it. It is the Raw of a message.
type Entry struct {
	// ID is the entry's id in the stream.
	ID string
	// Fields are names and values in turn, in their order. A name may stand there
	// more than once.
	Fields []string
}

// entryOf reads an entry from a reply: its id and its fields.
func entryOf(reply any) (Entry, error) {
	parts, _ := reply.([]any)
	if len(parts) < 2 {
		return Entry{}, errReply
	}
	id, ok := parts[0].(string)
	values, isList := parts[1].([]any)
	if !ok || !isList || len(values)%2 != 0 {
		return Entry{}, errReply
	}
	e := Entry{ID: id, Fields: make([]string, len(values))}
	for i, v := range values {
		if e.Fields[i], ok = v.(string); !ok {
			return Entry{}, errReply
		}
	}
	return e, nil
}

// encoding says which fields of an entry are what.
type encoding struct{ id, data string }

// message makes a bus.Message of an entry: the id field, the payload field, and
// headers of all others. An entry without a payload field has its fields as the
// payload, as a JSON object.
func (enc encoding) message(stream string, e *Entry) bus.Message {
	m := bus.Message{Subject: stream, Position: position(stream, e), Published: published(e.ID), Raw: e}
	hasData := false
	for i := 0; i < len(e.Fields); i += 2 {
		switch name, value := e.Fields[i], e.Fields[i+1]; name {
		case enc.id:
			m.ID = value
		case enc.data:
			m.Data, hasData = []byte(value), true
		default:
			if m.Header == nil {
				m.Header = make(bus.Header, len(e.Fields)/2)
			}
			m.Header[name] = append(m.Header[name], value)
		}
	}
	if !hasData {
		m.Data = enc.object(e)
	}
	return m
}

// object returns the entry's fields, but for the id, as a JSON object.
func (enc encoding) object(e *Entry) []byte {
	b := []byte{'{'}
	for i := 0; i < len(e.Fields); i += 2 {
		if e.Fields[i] == enc.id {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		name, _ := json.Marshal(e.Fields[i]) // a string: cannot fail
		value, _ := json.Marshal(e.Fields[i+1])
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}')
}

// fields encodes a message. Values of one header stand under its name one after
// the other.
func (enc encoding) fields(m *bus.Message) ([]string, error) {
	f := make([]string, 0, 4+2*len(m.Header))
	if m.ID != "" {
		f = append(f, enc.id, m.ID)
	}
	f = append(f, enc.data, string(m.Data))
	for name, values := range m.Header {
		if name == enc.id || name == enc.data {
			return nil, fmt.Errorf("redisbus: header %q has the name of the field of the id or the payload", name)
		}
		for _, v := range values {
			f = append(f, name, v)
		}
	}
	return f, nil
}

// position names an entry: stream, id, and a digest of the fields. The server gives
// streams no name of their own that would tell a stream from the one that had its
// key before, and ids may come again: in a stream that is made anew with ids of the
// publisher's own, or after the end of a stream was lost and the server's clock is
// behind. The digest keeps different messages apart all the same.
func position(stream string, e *Entry) string {
	var room [512]byte // most entries need no more
	b := room[:0]
	for _, s := range e.Fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	sum := sha256.Sum256(b)
	b = append(append(append(append(b[:0], stream...), '@'), e.ID...), '#')
	return string(hex.AppendEncode(b, sum[:8]))
}

// firstTime is the earliest millisecond that is taken for a time: ids that
// publishers make themselves often count from 1.
const firstTime = 1_000_000_000_000 // in 2001

// published reads the time at which the server took an entry from its id.
func published(id string) time.Time {
	ms, _, ok := parseID(id)
	if !ok || ms < firstTime || ms > 1<<53 {
		return time.Time{}
	}
	return time.UnixMilli(int64(ms))
}

// parseID reads an id, whose second part may be missing.
func parseID(id string) (ms, seq uint64, ok bool) {
	first, second, has := strings.Cut(id, "-")
	ms, err := strconv.ParseUint(first, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if has {
		if seq, err = strconv.ParseUint(second, 10, 64); err != nil {
			return 0, 0, false
		}
	}
	return ms, seq, true
}

func isEntryID(id string) bool {
	_, _, ok := parseID(id)
	return ok
}

// before reports whether the id a is less than b.
func before(a, b string) bool {
	ams, aseq, _ := parseID(a)
	bms, bseq, _ := parseID(b)
	return ams < bms || ams == bms && aseq < bseq
}

// previous returns the id before id.
func previous(id string) string {
	ms, seq, _ := parseID(id)
	switch {
	case seq > 0:
		seq--
	case ms > 0:
		ms, seq = ms-1, 1<<64-1
	}
	return strconv.FormatUint(ms, 10) + "-" + strconv.FormatUint(seq, 10)
}

// fromMap makes an Entry of the client's, in the order of names.
func fromMap(m redis.XMessage) *Entry {
	e := &Entry{ID: m.ID}
	for _, name := range slices.Sorted(maps.Keys(m.Values)) {
		value, _ := m.Values[name].(string) // as the client reads it
		e.Fields = append(e.Fields, name, value)
	}
	return e
}
