package dedupe

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// Identity is what makes two deliveries, or two calls of Do, the same.
type Identity struct {
	// Namespace separates tenants. Defaults to Options.Namespace.
	Namespace string
	// ID is the message id; "" means that there is none.
	ID string
	// Place, when not zero, is where the bus keeps the one message that has the
	// ID, for stores that remember places in less than a record.
	Place claim.Place
	// Fingerprint, when not zero, must be the same for every use of the ID.
	Fingerprint claim.Fingerprint
}

// ID returns the Identity of a message id in the Deduper's own namespace.
func ID(id string) Identity { return Identity{ID: id} }

// KeyFunc finds the identity of a message. An Identity without an ID is treated
// by Options.MissingID, and so is an error. It must be deterministic, and read
// only what an authenticated publisher set: whoever can choose the id of a
// message can suppress another's.
type KeyFunc func(m *bus.Message) (Identity, error)

// ByMessageID is the KeyFunc of the publisher's message id. It is the default.
func ByMessageID(m *bus.Message) (Identity, error) { return ID(m.ID), nil }

// ByHeader returns the KeyFunc of the first value of a header.
func ByHeader(name string) KeyFunc {
	return func(m *bus.Message) (Identity, error) { return ID(m.Header.Get(name)), nil }
}

// ByPosition is the KeyFunc of the place where the bus keeps the message. It
// recognises redeliveries, but not a message that was published twice. Stores
// that can remember places keep less than a byte for each done message.
func ByPosition(m *bus.Message) (Identity, error) {
	if m.Position == "" {
		return Identity{}, nil
	}
	return Identity{ID: "position:" + m.Position, Place: claim.Place{Log: m.Log, Sequence: m.Sequence}}, nil
}

// ByPayload is the KeyFunc of the SHA-256 of the payload. Two messages that mean
// different things must then differ in their payload.
func ByPayload(m *bus.Message) (Identity, error) {
	sum := sha256.Sum256(m.Data)
	return ID("sha256:" + hex.EncodeToString(sum[:])), nil
}

// ByCloudEvent is the KeyFunc of a CloudEvent's source and id, which together name an
// event. An event is in the payload (structured mode) when the header Content-Type is
// application/cloudevents+json. Otherwise source and id are headers (binary mode):
// ce_id and ce_source, as on Kafka; ce-id and ce-source, as on NATS and HTTP; or
// cloudEvents:id and cloudEvents:source, as on AMQP, there also with an underscore.
// Both modes give one event the same Identity; header values are taken as they are
// written. A message with only one of the two, and one with a payload that is no
// event, or has one of the two twice, is an error.
func ByCloudEvent(m *bus.Message) (Identity, error) {
	source, id, err := cloudEvent(m)
	if err != nil || source == "" && id == "" {
		return Identity{}, err
	}
	if source == "" || id == "" {
		return Identity{}, errors.New("a CloudEvent needs both a source and an id")
	}
	return ID("cloudevent:" + strconv.Itoa(len(source)) + ":" + source + id), nil
}

// PayloadFingerprint is an Options.Fingerprint that covers the whole payload.
func PayloadFingerprint(m *bus.Message) claim.Fingerprint { return claim.FingerprintOf(m.Data) }

// key returns the claim key of an identity.
func (d *Deduper) key(id *Identity) (claim.Key, error) {
	namespace := id.Namespace
	if namespace == "" {
		namespace = d.opts.Namespace
	}
	key, err := claim.NewKey(namespace, d.opts.Consumer, claim.MessageID(id.ID))
	if id.Place.IsZero() {
		return key, err
	}
	return key.At(id.Place), err
}

// identify finds the key and fingerprint of a's message, after the policy for
// messages without an id. The key stays zero when the message is to pass through,
// as all do under ObserveOnly.
func (d *Deduper) identify(a *attempt) error {
	if a.msg == nil {
		return nil
	}
	id, err := d.opts.Key(a.msg)
	if err == nil && id.ID == "" {
		err = ErrNoID
	}
	if err != nil {
		id, err = d.substitute(a.msg, err)
	}
	if err == nil && id.ID != "" {
		if id.Fingerprint.IsZero() && d.opts.Fingerprint != nil {
			id.Fingerprint = d.opts.Fingerprint(a.msg)
		}
		a.fp = id.Fingerprint
		if a.key, err = d.key(&id); err != nil {
			err = fmt.Errorf("%w: %w", ErrNoID, err)
		}
	}
	if d.opts.ObserveOnly {
		return nil
	}
	return err
}

// substitute applies Options.MissingID to a message whose id could not be found
// because of cause. An Identity without an ID means pass through.
func (d *Deduper) substitute(m *bus.Message, cause error) (Identity, error) {
	d.count.missingID.Add(1)
	switch d.opts.MissingID {
	case HashPayload:
		return ByPayload(m)
	case UsePosition:
		if m.Position != "" {
			return ByPosition(m)
		}
		return Identity{}, fmt.Errorf("%w: and the bus gives no position", ErrNoID)
	case PassThrough:
		return Identity{}, nil
	}
	if cause == ErrNoID {
		return Identity{}, ErrNoID
	}
	return Identity{}, fmt.Errorf("%w: %w", ErrNoID, cause)
}
