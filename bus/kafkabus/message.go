package kafkabus

import (
	"context"
	"encoding/hex"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/oncebus/once/bus"
)

// IDFromHeader returns an Options.ID that reads the first header of that name.
func IDFromHeader(name string) func(*kgo.Record) string {
	return func(r *kgo.Record) string {
		for _, h := range r.Headers {
			if h.Key == name {
				return string(h.Value)
			}
		}
		return ""
	}
}

// IDFromKey is an Options.ID that takes the record's key for the id: for topics
// in which a key stands for one message, not for what many messages are about.
func IDFromKey(r *kgo.Record) string { return string(r.Key) }

// logOf names the log of a partition, but for the epoch. A topic that is deleted
// and made again has another id. It returns "" when the broker tells none.
func logOf(topic string, id [16]byte, partition int32) string {
	if id == [16]byte{} {
		return ""
	}
	return topic + "/" + hex.EncodeToString(id[:]) + "/" + strconv.Itoa(int(partition))
}

// place sets the message's place. The broker numbers records anew when it lost
// the end of a partition, in another epoch; the epoch of a record stays.
func place(m *bus.Message, log string, r *kgo.Record) {
	epoch := strconv.Itoa(int(r.LeaderEpoch))
	if log == "" {
		// The time stands in for the topic's id.
		m.Position = r.Topic + "/" + strconv.Itoa(int(r.Partition)) + "@" + epoch + "/" +
			strconv.FormatInt(r.Timestamp.UnixMilli(), 10) + ":" + strconv.FormatInt(r.Offset, 10)
		return
	}
	m.Log = log + "@" + epoch
	m.Position = m.Log + ":" + strconv.FormatInt(r.Offset, 10)
	m.Sequence = uint64(r.Offset)
}

// message makes a bus.Message of a record.
func message(r *kgo.Record, log string, id func(*kgo.Record) string) bus.Message {
	m := bus.Message{ID: id(r), Subject: r.Topic, Data: r.Value, Published: r.Timestamp, Raw: r}
	place(&m, log, r)
	if len(r.Headers) > 0 {
		m.Header = make(bus.Header, len(r.Headers))
		for _, h := range r.Headers {
			m.Header[h.Key] = append(m.Header[h.Key], string(h.Value))
		}
	}
	return m
}

// Handle calls h for one record and returns how to settle it, for those who have
// a poll loop of their own:
//
//	switch s := kafkabus.Handle(ctx, record, handler); s.Action {
//	case bus.ActionAck, bus.ActionReject:
//		client.MarkCommitRecords(record) // once all records before it are settled too
//	default:
//		// call Handle again after s.Delay, and commit nothing behind the record
//	}
//
// The id is found as by default, and the position has the record's time instead
// of the topic's id, which a record does not tell. A panic of h is a retry.
func Handle(ctx context.Context, r *kgo.Record, h bus.Handler) (s bus.Settlement) {
	m := message(r, "", IDFromHeader("ce_id"))
	bus.Serve(ctx, h, &m, func(settled bus.Settlement) { s = settled })
	return s
}
