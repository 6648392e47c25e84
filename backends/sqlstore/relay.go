package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/oncebus/once/claim"
)

// RelayOptions are the settings of Relay. The zero value, like nil, is ready to
// use.
type RelayOptions struct {
	// Every is how long to wait before another look when there was nothing to
	// publish, or something could not be. Defaults to 200 ms.
	Every time.Duration
	// Batch is how many messages are read at a time. Defaults to 100.
	Batch int
	// Logger is told of failures, without ids. Defaults to slog.Default().
	Logger *slog.Logger
}

// Relay publishes the messages of the outbox until ctx ends, in one process of
// those that run it, and deletes them. publish returns nil when the bus has the
// message for certain. Each message is published at least once: again, with the
// same ID, when a relay dies between the two.
//
// Messages with one Key are published in the order of their commits. After one
// that fails, those with the same Key wait for the next look and the others go on.
// Every look begins with the oldest message there is, so that none is passed over
// because its transaction committed late. It returns nil when ctx ends.
func (s *Store) Relay(ctx context.Context, publish func(ctx context.Context, m Message) error, o *RelayOptions) error {
	var c RelayOptions
	if o != nil {
		c = *o
	}
	if c.Every == 0 {
		c.Every = 200 * time.Millisecond
	}
	if c.Batch == 0 {
		c.Batch = 100
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if publish == nil || c.Every < 0 || c.Batch < 0 {
		return invalid("Relay: publish is nil, or RelayOptions has a negative Every (%v) or Batch (%d)", c.Every, c.Batch)
	}
	return s.lead(ctx, "relay", c.Every, c.Logger, func(ctx context.Context) (more bool, err error) {
		return s.relayAll(ctx, publish, c.Batch)
	})
}

// waiting is a message of the outbox.
type waiting struct {
	Message
	seq int64
}

// relayAll goes once through the outbox. It goes no further than the last message
// that was there at the beginning: the number of a message is given when those
// before it with its key have committed, so that none of them can turn up behind
// one that is published now.
func (s *Store) relayAll(ctx context.Context, publish func(context.Context, Message) error, batch int) (published bool, err error) {
	last := int64(0)
	err = s.look(ctx, func(conn Conn) error {
		return conn.Query(ctx, "SELECT coalesce(max(seq), 0) FROM "+s.prefix+"outbox", nil, func(scan func(...any) error) error {
			return scan(&last)
		})
	})
	failed := map[string]error{} // by key
	for at := int64(0); err == nil && at < last; {
		var page []waiting
		if page, err = s.waitingAfter(ctx, at, last, batch); err != nil || len(page) == 0 {
			break
		}
		at = page[len(page)-1].seq
		var sent []int64
		for _, m := range page {
			if ctx.Err() != nil {
				break // another relay goes on
			}
			if failed[m.Key] != nil && m.Key != "" {
				continue
			}
			if err := publish(ctx, m.Message); err != nil {
				failed[m.Key] = err
				continue
			}
			sent = append(sent, m.seq)
		}
		published = published || len(sent) > 0
		err = s.deleteSent(ctx, sent)
	}
	for _, cause := range failed {
		err = errors.Join(err, cause)
		break // one stands for all
	}
	return published, err
}

func (s *Store) waitingAfter(ctx context.Context, at, last int64, limit int) (page []waiting, err error) {
	t := text{Dialect: s.dialect}
	query := fmt.Sprintf("SELECT seq, message_id, subject, order_key, header, data FROM %soutbox WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %d",
		s.prefix, t.number(at), t.number(last), limit)
	err = s.look(ctx, func(conn Conn) error {
		page = nil
		return conn.Query(ctx, query, t.args, func(scan func(...any) error) error {
			var m waiting
			var id, subject, key, header []byte
			if err := scan(&m.seq, &id, &subject, &key, &header, &m.Data); err != nil {
				return err
			}
			m.ID, m.Subject, m.Key = string(id), string(subject), string(key)
			if header != nil && json.Unmarshal(header, &m.Header) != nil {
				return claim.Corrupt("the header of a message in the outbox")
			}
			page = append(page, m)
			return nil
		})
	})
	return page, err
}

// deleteSent deletes messages that the bus has, also when the relay is to end.
func (s *Store) deleteSent(ctx context.Context, seqs []int64) error {
	if len(seqs) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), term/2)
	defer cancel()
	list := strings.ReplaceAll(strings.Trim(fmt.Sprint(seqs), "[]"), " ", ",")
	where, args := "seq IN ("+list+")", []any(nil)
	if s.dialect == Postgres {
		where, args = "seq = ANY ($1::text::bigint[])", []any{"{" + list + "}"}
	}
	return s.look(ctx, func(conn Conn) error {
		_, err := conn.Exec(ctx, fmt.Sprintf("DELETE FROM %soutbox WHERE %s", s.prefix, where), args...)
		return err
	})
}
