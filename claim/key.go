package claim

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
)

// Limits of a key's parts, in bytes. Longer ones are refused with ErrTooLarge
// before anything reaches a store: a cut id could make two messages one.
const (
	MaxIDBytes        = 4096
	MaxConsumerBytes  = 255
	MaxNamespaceBytes = 255
)

// MessageID is what makes two deliveries the same message. It is opaque bytes
// to every store. It must come from a field that an authenticated publisher
// set: whoever can choose the id of a message can suppress another's.
type MessageID string

// Digest identifies a key in a store: the first 16 bytes of SHA-256 over the
// layout version, namespace, consumer and message id, each length-prefixed.
type Digest [16]byte

// String returns the digest in lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Key names one claim: a message id, for one consumer, in one namespace. Two
// consumers of one message have two keys and each run it once; two namespaces
// never see each other's records. A Key is made by NewKey, comparable, and safe
// to copy; the zero Key is invalid and every store refuses it.
type Key struct {
	namespace string
	consumer  string
	id        MessageID
	digest    Digest
	place     Place
}

// Place is where a bus keeps a message: its number in a log, such as the
// sequence in a stream or the offset in a partition. A store may then remember
// that the message is done in a few bits instead of a record.
//
// A log must never give a number to a second message. What makes it do so,
// beginning again after it was deleted, losing its end in a power cut, an older
// backup, must make it another Log.
//
// A bit says that a message is done and not who finished it. So a store may take
// anybody's MarkDone of a done place for the owner's repetition. That is harmless:
// the message is done and nothing changes, and the bus that is then told so, by a
// stale owner perhaps, is told the truth.
type Place struct {
	// Log names the log, and which life of it. "" for no place.
	Log string
	// Sequence is the message's number in the log. Numbers are used densely.
	Sequence uint64
}

// IsZero reports whether p is no place.
func (p Place) IsZero() bool { return p.Log == "" }

// NewKey checks the parts and computes the digest once. The consumer and the id
// must not be empty. Errors wrap ErrInvalid for an empty part and ErrTooLarge
// for a part over its limit.
func NewKey(namespace, consumer string, id MessageID) (Key, error) {
	k := Key{namespace: namespace, consumer: consumer, id: id}
	switch {
	case consumer == "":
		return Key{}, fmt.Errorf("%w: the consumer's name is empty", ErrInvalid)
	case id == "":
		return Key{}, fmt.Errorf("%w: the message id of consumer %q is empty", ErrInvalid, consumer)
	case len(consumer) > MaxConsumerBytes:
		return Key{}, fmt.Errorf("%w: the consumer's name has %d bytes, the limit is %d", ErrTooLarge, len(consumer), MaxConsumerBytes)
	case len(namespace) > MaxNamespaceBytes:
		return Key{}, fmt.Errorf("%w: the namespace of consumer %q has %d bytes, the limit is %d", ErrTooLarge, consumer, len(namespace), MaxNamespaceBytes)
	case len(id) > MaxIDBytes:
		return Key{}, fmt.Errorf("%w: a message id of consumer %q has %d bytes, the limit is %d; use a hash of it", ErrTooLarge, consumer, len(id), MaxIDBytes)
	}
	var scratch [256]byte
	sum := sha256.Sum256(k.appendPreimage(scratch[:0]))
	k.digest = Digest(sum[:16])
	return k, nil
}

// preimageVersion is the first byte of what is hashed. Another layout of the
// preimage must take another version, so that no two layouts can collide.
const preimageVersion = 1

// appendPreimage appends the bytes that the digest is taken over. Each part is
// preceded by its length as a uvarint, so that no two tuples share a preimage.
func (k Key) appendPreimage(b []byte) []byte {
	b = append(b, preimageVersion)
	b = binary.AppendUvarint(b, uint64(len(k.namespace)))
	b = append(b, k.namespace...)
	b = binary.AppendUvarint(b, uint64(len(k.consumer)))
	b = append(b, k.consumer...)
	b = binary.AppendUvarint(b, uint64(len(k.id)))
	return append(b, k.id...)
}

// At returns the key with the place where the bus keeps its message. It is the
// same key: the place changes only how little a Store needs to remember, and
// nothing that it answers but what Place says of MarkDone and that neighbours may
// end together, so that a done one is remembered for longer than was asked for.
// Whoever uses the key must give the same place, or a store that remembers places
// will not find what was done.
func (k Key) At(p Place) Key {
	k.place = p
	return k
}

// Place returns what At set.
func (k Key) Place() Place { return k.place }

// Namespace returns the namespace, which may be empty.
func (k Key) Namespace() string { return k.namespace }

// Consumer returns the consumer's name.
func (k Key) Consumer() string { return k.consumer }

// ID returns the message id.
func (k Key) ID() MessageID { return k.id }

// Digest returns the fixed-size identity of the key.
func (k Key) Digest() Digest { return k.digest }

// IsZero reports whether k was not made by NewKey.
func (k Key) IsZero() bool { return k.consumer == "" }

// String returns the consumer and the digest. It leaves out the message id,
// which may be personal data, so that a key may stand in a log line.
func (k Key) String() string {
	if k.IsZero() {
		return "(no key)"
	}
	return k.consumer + "#" + k.digest.String()
}

// LogValue makes structured logs show what String shows.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Format prints what String prints, for every verb: %+v and %#v must not show
// the message id either.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }
