package claim

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
)

// Token is a claimant's secret for one attempt: 16 random bytes, made before
// the first send and sent again unchanged when the answer is unknown. The zero
// Token is invalid. Whoever knows a token can finish or release its claim, so
// a Token prints as "(token)" with every verb.
type Token [16]byte

// NewToken returns a random token. It is safe for concurrent use.
func NewToken() Token {
	var t Token
	// Read never returns an error: crypto/rand crashes the program instead.
	_, _ = rand.Read(t[:])
	return t
}

// IsZero reports whether t is the invalid zero Token.
func (t Token) IsZero() bool { return t == Token{} }

// minStamp and stamps bound what Stamp returns: numbers of four digits.
const (
	minStamp = 1000
	stamps   = 9000
)

// Stamp returns a number from 1000 to 9999 that stands for the token where a
// store keeps as little as it can: in a done record without anything else, in
// place of the fence. It is even over random tokens, so that one of 9000 other
// owners has the same.
func (t Token) Stamp() uint64 { return uint64(minStamp + binary.BigEndian.Uint32(t[:])%stamps) }

// String returns a placeholder.
func (Token) String() string { return "(token)" }

// Format prints the placeholder for every verb, %x and %v included.
func (t Token) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(t.String())) }

// MarshalText keeps the bytes out of JSON, where a log handler would put those
// of a Grant. A Token cannot be unmarshaled.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// LogValue keeps the bytes out of structured logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Grant is what a claimant holds after Claimed, and what it shows to extend,
// finish or give back its claim.
type Grant struct {
	// Token is the claimant's own token, as sent.
	Token Token
	// Fence strictly rises with every grant for a key. It fits in 53 bits.
	Fence uint64
	// Attempt counts the grants for a key, this one included: 1 at the first.
	Attempt int
}
