package natsstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oncebus/once/claim"
)

// The headers of a write.
const (
	headerRevision = "Nats-Expected-Last-Subject-Sequence"
	headerTTL      = "Nats-TTL"
)

// errNoMessage is the code for a message that is not there.
const errNoMessage = 10037

// errStoreFailed is the code for a message that the leader could not store.
const errStoreFailed = 10077

// errConflict says that the key is at another revision than the write was for.
var errConflict = errors.New("natsstore: the key has moved on")

var errReply = claim.Corrupt("the reply is not that of the request")

func (s *Store) subject(d claim.Digest) string { return s.subjects + d.String() }

// newWrite returns a write of value that the server refuses unless the last
// message of subject is at revision, zero for none. A ttl of zero is none.
func (s *Store) newWrite(subject string, value []byte, revision uint64, ttl time.Duration) *nats.Msg {
	m := &nats.Msg{Subject: subject, Data: value, Header: nats.Header{headerRevision: {strconv.FormatUint(revision, 10)}}}
	if ttl > 0 {
		m.Header[headerTTL] = []string{strconv.FormatInt(int64(ttl/time.Second), 10)}
	}
	return m
}

// newRead returns a request for the last message of a record. The stream's
// leader alone answers it.
func (s *Store) newRead(d claim.Digest) *nats.Msg {
	// The subject in the stream has no prefix of an API.
	body := `{"last_by_subj":"` + subjectPrefix(s.bucket) + d.String() + `"}`
	return &nats.Msg{Subject: s.api + "STREAM.MSG.GET." + s.stream, Data: []byte(body)}
}

// newNext returns a request for the first message at or after a revision.
func (s *Store) newNext(revision uint64) *nats.Msg {
	body := `{"seq":` + strconv.FormatUint(revision, 10) + `,"next_by_subj":"` + subjectPrefix(s.bucket) + `>"}`
	return &nats.Msg{Subject: s.api + "STREAM.MSG.GET." + s.stream, Data: []byte(body)}
}

// parseAck reads the answer to a write.
func parseAck(reply []byte) (revision uint64, err error) {
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	switch err := json.Unmarshal(reply, &ack); {
	case err != nil:
		return 0, errReply
	case ack.Error == nil && ack.Seq == 0:
		return 0, errReply
	case ack.Error == nil:
		return ack.Seq, nil
	}
	switch ack.Error.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return 0, errConflict
	}
	return 0, ack.Error
}

// stored is a message as the server has it.
type stored struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Header  []byte    `json:"hdrs"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// parseMessage reads the answer to a read. There may be no message.
func parseMessage(reply []byte) (m stored, found bool, err error) {
	var got struct {
		Error   *jetstream.APIError `json:"error"`
		Message *stored             `json:"message"`
	}
	switch err := json.Unmarshal(reply, &got); {
	case err != nil:
		return stored{}, false, errReply
	case got.Error != nil && got.Error.ErrorCode == errNoMessage:
		return stored{}, false, nil
	case got.Error != nil:
		return stored{}, false, claim.Unavailable(got.Error)
	case got.Message == nil || got.Message.Seq == 0:
		return stored{}, false, errReply
	}
	return *got.Message, true, nil
}

// version reads the message as the record with digest d. What the server, or
// another client, left to say that the key is gone is an absent record.
func (m *stored) version(d claim.Digest) (v version, err error) {
	v.revision, v.stamped = m.Seq, claim.Instant(m.Time.UnixMicro())
	if len(m.Data) == 0 && (bytes.Contains(m.Header, []byte("Nats-Marker-Reason")) || bytes.Contains(m.Header, []byte("KV-Operation"))) {
		return v, nil
	}
	v.rec, err = claim.ParseRecord(m.Data, d, v.stamped)
	return v, err
}

// parseRead reads the answer to newRead.
func parseRead(reply []byte, d claim.Digest) (version, error) {
	m, found, err := parseMessage(reply)
	if err != nil || !found {
		return version{}, err
	}
	return m.version(d)
}

// info asks the stream's leader, which stamps the records, for the settings of
// the stream and for its time.
func (s *Store) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	reply, _, err := s.ask(ctx, &nats.Msg{Subject: s.api + "STREAM.INFO." + s.stream})
	if err != nil {
		return nil, err
	}
	var got struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.StreamInfo
	}
	switch err := json.Unmarshal(reply, &got); {
	case err != nil:
		return nil, errReply
	case got.Error != nil:
		return nil, got.Error
	case got.TimeStamp.IsZero():
		return nil, errNoTime
	}
	return &got.StreamInfo, nil
}

var errNoTime = fmt.Errorf("%w: the server does not tell its time; it must be 2.10 or newer", claim.ErrInvalid)

// serverTime returns the time of the server that stamps the records.
func (s *Store) serverTime(ctx context.Context) (claim.Instant, error) {
	info, err := s.info(ctx)
	if err != nil {
		return 0, err
	}
	return claim.Instant(info.TimeStamp.UnixMicro()), nil
}
