package dedupehttp

import (
	"errors"
	"net/http"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// Source says which delivery of a webhook a request is, after it has made sure
// that the sender made it: GitHub, Stripe, Shopify, Slack and StandardWebhooks are
// Sources. It must be safe for concurrent use.
type Source interface {
	// Identify returns the id of the delivery, the same for each of its copies. It
	// must not trust anything before the signature is verified. It returns
	// ErrSignature for a request that is not the sender's, and ErrNoEvent for one
	// that needs no id.
	Identify(r *http.Request, body []byte) (id string, err error)
}

var (
	// ErrSignature is returned by a Source for a request whose signature is missing
	// or wrong, or whose time is not now. It is answered 403.
	ErrSignature = errors.New("dedupehttp: not signed by the sender of the webhook")
	// ErrNoEvent is returned by a Source for a request that the sender signed and
	// that is no event, such as a handshake: the handler runs without a claim.
	ErrNoEvent = errors.New("dedupehttp: no event")
)

// NewWebhook returns a middleware that runs each delivery of a webhook once, on the
// claims of d. A copy of a delivery that is finished is answered 200 without a body,
// one of a delivery that is not finished with an error, so that the sender comes
// again. Requests of all methods are verified.
//
// Make one Deduper for each receiver: what another one finished would be taken for
// done. It logs a warning when the Deduper's Retention is shorter than the time for
// which the sender is known to repeat deliveries, by itself or by hand. An error names the option that does not fit.
func NewWebhook(d *dedupe.Deduper, s Source, o *WebhookOptions) (func(http.Handler) http.Handler, error) {
	if d == nil || s == nil {
		return nil, errors.New("dedupehttp: NewWebhook without a Deduper or a Source")
	}
	c, settings := o.withDefaults(), d.Options()
	if err := c.validate(settings); err != nil {
		return nil, err
	}
	if v, ok := s.(interface{ validate() error }); ok {
		if err := v.validate(); err != nil {
			return nil, err
		}
	}
	if l, ok := s.(interface{ longest() time.Duration }); ok && settings.Retention < l.longest() {
		settings.Logger.Warn("dedupehttp: the sender may repeat a delivery for longer than the Deduper's Retention, and it would run again",
			"consumer", settings.Consumer, "retention", settings.Retention, "sender", l.longest())
	}
	h := &webhook{source: s, door: door{
		deduper: d, consumer: settings.Consumer, logger: settings.Logger,
		principal: c.Principal, freeze: c.Freeze, limit: held,
		maxRequest: c.MaxRequest, wait: c.Wait, detach: c.Detach, problems: c.Problems,
	}}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.serve(w, r, next) })
	}, nil
}

// held is how much of a response to a webhook is held back, in bytes. Senders read
// the status alone.
const held = 64 << 10

// webhook is what NewWebhook returns.
type webhook struct {
	source Source
	door
}

func (h *webhook) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, ok := h.read(w, r)
	if !ok {
		return
	}
	e := exchange{door: &h.door, w: w, r: r, next: next, body: body}
	id, err := h.source.Identify(r, body)
	switch {
	case errors.Is(err, ErrSignature):
		h.refuse(w, notSigned)
		return
	case errors.Is(err, ErrNoEvent):
		next.ServeHTTP(w, e.request(r.Context()))
		return
	case err != nil, id == "", len(id) > claim.MaxIDBytes:
		h.refuse(w, idUnusable)
		return
	}
	if principal, ok := h.namespace(w, r); ok {
		e.id = dedupe.Identity{Namespace: principal, ID: id}
		e.run()
	}
}
