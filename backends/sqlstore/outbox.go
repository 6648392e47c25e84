package sqlstore

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"sync/atomic"

	"github.com/oncebus/once/claim"
)

// Message is one that is published with the transaction that writes it, through
// the outbox.
type Message struct {
	// ID is what makes two copies of it the same message: the relay may publish
	// one more than once. Defaults, within Inbox.Run, to an id made of the key, the
	// Name and the count of messages before it: the same whenever the work runs. At
	// most 64 bytes.
	ID string
	// Name tells messages of one work apart where their order may change from run to
	// run. Defaults to "".
	Name string
	// Subject is the subject, topic, queue or route. At most 1024 bytes.
	Subject string
	// Key puts messages in order: those with the same one are published in the order
	// of their commits, and a transaction that writes one waits for others that do.
	// Defaults to "", no order. At most 1024 bytes.
	Key string
	// Header is the metadata, nil for none.
	Header map[string][]string
	// Data is the payload, at most 15 MiB.
	Data []byte
}

const (
	maxMessageID = 64
	maxSubject   = 1024
	maxData      = 15 << 20
	// orderSlots is how many locks there are for the keys of messages.
	orderSlots = 1024
)

func (m *Message) validate() error {
	switch {
	case m.ID == "":
		return invalid("Message.ID is empty outside of an Inbox's work")
	case len(m.ID) > maxMessageID:
		return invalid("Message.ID has %d bytes, want at most %d", len(m.ID), maxMessageID)
	case m.Subject == "" || len(m.Subject) > maxSubject:
		return invalid("Message.Subject has %d bytes, want 1 to %d", len(m.Subject), maxSubject)
	case len(m.Key) > maxSubject:
		return invalid("Message.Key has %d bytes, want at most %d", len(m.Key), maxSubject)
	case len(m.Data) > maxData:
		return fmt.Errorf("sqlstore: %w: Message.Data has %d bytes, want at most %d", claim.ErrTooLarge, len(m.Data), maxData)
	}
	return nil
}

// Publish writes a message to the outbox, in the transaction of the Inbox's work
// whose context ctx is. Whoever runs Relay publishes it once the transaction has
// committed, and nobody if it is rolled back. Like the transaction it is not for
// concurrent use.
func Publish(ctx context.Context, m Message) error {
	r, _ := ctx.Value(runKey{}).(*runOf)
	if r == nil {
		return invalid("Publish is not called in the work of Inbox.Run: there is Store.Publish")
	}
	if m.ID == "" {
		m.ID = r.child(m.Name)
	}
	return r.store.Publish(ctx, r.conn, m)
}

// Publish writes a message with an ID to the outbox in the transaction of conn,
// one of the program's own; see OfTx.
func (s *Store) Publish(ctx context.Context, conn Conn, m Message) error {
	if err := m.validate(); err != nil {
		return err
	}
	if m.Key != "" && s.dialect != SQLite {
		h := fnv.New32a()
		_, _ = h.Write([]byte(m.Key))
		end := "ON DUPLICATE KEY UPDATE slot = slot"
		if s.dialect == Postgres {
			end = "ON CONFLICT (slot) DO UPDATE SET slot = excluded.slot"
		}
		t := text{Dialect: s.dialect}
		insert := fmt.Sprintf("INSERT INTO %soutbox_slots (slot) VALUES (%s) %s", s.prefix, t.number(int64(h.Sum32()%orderSlots)), end)
		if _, err := conn.Exec(ctx, insert, t.args...); err != nil {
			return err
		}
	}
	t := text{Dialect: s.dialect}
	header := "NULL"
	if m.Header != nil {
		b, err := json.Marshal(m.Header)
		if err != nil {
			return err
		}
		header = t.bytes(b)
	}
	insert := fmt.Sprintf("INSERT INTO %soutbox (message_id, subject, order_key, header, data) VALUES (%s, %s, %s, %s, %s)",
		s.prefix, t.bytes([]byte(m.ID)), t.bytes([]byte(m.Subject)), t.bytes([]byte(m.Key)), header, t.bytes(m.Data))
	_, err := conn.Exec(ctx, insert, t.args...)
	return err
}

// runOf is what the context of an Inbox's work knows of it.
type runOf struct {
	store  *Store
	conn   Conn
	digest claim.Digest
	count  atomic.Int64
}

type runKey struct{}

// child returns the id of the next message.
func (r *runOf) child(name string) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %s", r.digest, r.count.Add(1), name)
	return hex.EncodeToString(h.Sum(nil)[:16])
}
