package dedupehttp

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// door is what New and NewWebhook have in common: a Deduper, and how requests go
// through it.
type door struct {
	deduper    *dedupe.Deduper
	consumer   string
	logger     *slog.Logger
	principal  func(r *http.Request) (string, error) // nil: one for all
	freeze     func(status int) bool
	keeps      bool // whether responses are recorded
	limit      int  // of what is held back and recorded, in bytes
	maxRequest int64
	wait       time.Duration
	detach     bool
	problems   string
}

// namespace returns the principal of a request, or refuses it.
func (d *door) namespace(w http.ResponseWriter, r *http.Request) (string, bool) {
	if d.principal == nil {
		return "", true
	}
	principal, err := d.principal(r)
	switch {
	case err != nil || principal == "":
		d.refuse(w, noPrincipal)
	case len(principal) > claim.MaxNamespaceBytes:
		d.logger.Error("dedupehttp: the principal is too long, use a hash of it", "bytes", len(principal), "limit", claim.MaxNamespaceBytes)
		d.refuse(w, misconfigured)
	default:
		return principal, true
	}
	return "", false
}

// inside reports whether r comes from the handler that runs for id: there are two
// middlewares around each other, and the inner one must not wait for the outer.
func (d *door) inside(r *http.Request, id dedupe.Identity) bool {
	outer, ok := r.Context().Value(insideKey{d.deduper}).(dedupe.Identity)
	return ok && outer.Namespace == id.Namespace && outer.ID == id.ID
}

// read returns the body of a request, or refuses it.
func (d *door) read(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if len(r.PostForm) > 0 || r.MultipartForm != nil {
		// What is left of the body is no fingerprint, and signed by nobody.
		d.logger.Error("dedupehttp: the body was read before; put the middleware outside of what reads it")
		d.refuse(w, misconfigured)
		return nil, false
	}
	if r.ContentLength > d.maxRequest {
		d.refuse(w, tooLarge)
		return nil, false
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, d.maxRequest))
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return body, true
	case errors.As(err, &over):
		d.refuse(w, tooLarge)
	default:
		d.refuse(w, unreadable)
	}
	return nil, false
}
