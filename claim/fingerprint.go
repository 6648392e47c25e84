package claim

import "crypto/sha256"

// Fingerprint tells whether two messages with one id also have one payload. The
// zero Fingerprint means that none was taken; it matches every other, so that
// fingerprints can be switched on while old records live.
type Fingerprint [16]byte

// IsZero reports whether no fingerprint was taken.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// Differs reports whether both fingerprints were taken and are not the same.
func (f Fingerprint) Differs(g Fingerprint) bool {
	return f != g && !f.IsZero() && !g.IsZero()
}

// FingerprintOf returns the first 16 bytes of the SHA-256 of payload.
func FingerprintOf(payload []byte) Fingerprint {
	sum := sha256.Sum256(payload)
	return Fingerprint(sum[:16])
}
