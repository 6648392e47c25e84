package dedupehttp

import (
	"errors"
	"net/http"
	"slices"

	"github.com/oncebus/once/dedupe"
)

// New returns a middleware that runs requests with an Idempotency-Key once, on the
// claims of d. It goes inside of what verifies the principal, and outside of the
// handlers. One Deduper may serve many middlewares and routes: a key that was used
// on one is refused on another. Of two around each other the inner one lets pass
// what the outer one has let in. An error names the option that does not fit.
func New(d *dedupe.Deduper, o *Options) (func(http.Handler) http.Handler, error) {
	if d == nil {
		return nil, errors.New("dedupehttp: the Deduper is nil")
	}
	c, settings := o.withDefaults(), d.Options()
	if err := c.validate(settings); err != nil {
		return nil, err
	}
	m := &middleware{Options: c, door: door{
		deduper: d, consumer: settings.Consumer, logger: settings.Logger,
		principal: c.Principal, freeze: c.Freeze, keeps: true, limit: settings.MaxResult,
		maxRequest: c.MaxRequest, wait: c.Wait, detach: c.Detach, problems: c.Problems,
	}}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, next) })
	}, nil
}

// middleware is what New returns.
type middleware struct {
	Options
	door
}

func (m *middleware) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if !slices.Contains(m.Methods, r.Method) {
		next.ServeHTTP(w, r)
		return
	}
	values := r.Header[keyField]
	if len(values) == 0 && m.Optional {
		next.ServeHTTP(w, r)
		return
	}
	key, wrong := parseKey(values, m.MaxKey)
	if wrong == nil && m.CheckKey != nil && !m.CheckKey(key) {
		wrong = invalidKey("The Idempotency-Key has not the format that this server asks for.")
	}
	if wrong != nil {
		m.refuse(w, *wrong)
		return
	}
	principal, ok := m.namespace(w, r)
	if !ok {
		return
	}
	id := dedupe.Identity{Namespace: principal, ID: key}
	if m.inside(r, id) {
		next.ServeHTTP(w, r)
		return
	}
	body, ok := m.read(w, r)
	if !ok {
		return
	}
	id.Fingerprint = m.Fingerprint(r, body)
	e := exchange{door: &m.door, w: w, r: r, next: next, body: body, id: id}
	e.run()
}
