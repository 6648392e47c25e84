package dedupehttp

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"

	"github.com/oncebus/once/claim"
)

// FingerprintOf returns the first 16 bytes of the SHA-256 of method, path, query,
// content type and body, each of the first four preceded by its length. It is the
// default of Options.Fingerprint.
func FingerprintOf(r *http.Request, body []byte) claim.Fingerprint {
	h := sha256.New()
	var scratch [256]byte
	head := scratch[:0]
	for _, part := range [...]string{r.Method, r.URL.EscapedPath(), r.URL.RawQuery, r.Header.Get("Content-Type")} {
		head = binary.AppendUvarint(head, uint64(len(part)))
		head = append(head, part...)
	}
	h.Write(head)
	h.Write(body)
	return claim.Fingerprint(h.Sum(head[:0])[:16])
}
