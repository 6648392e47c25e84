package dedupehttp

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// minResult is the least Options.MaxResult of a Deduper whose responses are kept:
// room for a status and some headers.
const minResult = 1 << 10

// Options are the settings of New. Only Principal is required.
type Options struct {
	// Principal returns whose request it is: a tenant or an account that was
	// verified before this middleware. Keys of two principals never meet. It must
	// stay the same for as long as keys are remembered: never a bearer token, which
	// is refreshed, or the refreshed token's owner runs the operation again. It has
	// at most 255 bytes. An error, and "", refuse the request with 403.
	Principal func(r *http.Request) (string, error)

	// Methods are those that need a key; requests with others pass. Defaults to POST
	// and PATCH.
	Methods []string
	// Optional lets requests without a key pass, without any protection. Defaults to
	// false: they are refused with 400. For another choice on some routes, make
	// another middleware on the same Deduper.
	Optional bool
	// MaxKey is the longest key, in bytes. Defaults to 255; at most 4096.
	MaxKey int
	// CheckKey, when set, reports whether a key has the format that your clients were
	// told, such as that of a UUID; others are refused with 400. Defaults to nil: any
	// key.
	CheckKey func(key string) bool
	// Fingerprint says what two requests with one key must have in common; another
	// one is refused with 422. Defaults to FingerprintOf. Clients that build a
	// multipart body anew for each try need one that leaves its boundary out.
	Fingerprint func(r *http.Request, body []byte) claim.Fingerprint
	// Freeze reports whether a response with this status ends the operation: it is
	// recorded and replayed. Any other gives the key back. Defaults to
	// FreezeByDefault.
	Freeze func(status int) bool

	// MaxRequest is the largest request body, in bytes; a larger one is refused with
	// 413. All of it is read before the key is claimed. Defaults to 1 MiB.
	MaxRequest int64
	// Wait is how long a request waits, with its body in memory, for another with
	// its key to end, before it is refused with 409. It asks the store again and
	// again, with pauses up to half a second; if the other runs in this process, the
	// Deduper's LocalWait, which comes on top, wakes it at once. Defaults to 0.
	Wait time.Duration
	// Detach lets the handler go on when its client goes away: its context ends with
	// the lease, with the Deduper's MaxRun and when that is closed, but not with the
	// connection. A handler that takes longer than its clients wait is otherwise
	// interrupted at every try. Defaults to false, as in net/http.
	Detach bool
	// Problems is put before the codes of problems to make their types, as in
	// "https://api.example.com/problems/". Defaults to "": the type is about:blank.
	Problems string
}

// WebhookOptions are the settings of NewWebhook. All have defaults.
type WebhookOptions struct {
	// Principal, when set, separates tenants, as Options.Principal does: where each
	// has a sender's account of its own. Defaults to nil.
	Principal func(r *http.Request) (string, error)
	// Freeze reports whether a response with this status ends the delivery: its
	// copies are answered 200 without a run. Any other gives the id back, and the
	// sender sees it and tries again. Defaults to 2xx alone.
	Freeze func(status int) bool
	// MaxRequest, Wait, Detach and Problems are as in Options. GitHub sends up to 25
	// MB and waits for 10 seconds, Slack waits for 3.
	MaxRequest int64
	Wait       time.Duration
	Detach     bool
	Problems   string
}

// FreezeByDefault is the default of Options.Freeze: it ends operations with 2xx,
// 3xx and 4xx, except for 408 Request Timeout, 409 Conflict, 425 Too Early and 429
// Too Many Requests, which ask for another try.
func FreezeByDefault(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status < 500
}

func succeeded(status int) bool { return status >= 200 && status < 300 }

// withDefaults returns a copy in which defaults stand for zero values.
func (o *Options) withDefaults() Options {
	var c Options
	if o != nil {
		c = *o
	}
	if len(c.Methods) == 0 {
		c.Methods = []string{http.MethodPost, http.MethodPatch}
	}
	if c.MaxKey == 0 {
		c.MaxKey = 255
	}
	if c.Fingerprint == nil {
		c.Fingerprint = FingerprintOf
	}
	if c.Freeze == nil {
		c.Freeze = FreezeByDefault
	}
	if c.MaxRequest == 0 {
		c.MaxRequest = 1 << 20
	}
	return c
}

func (o *WebhookOptions) withDefaults() WebhookOptions {
	var c WebhookOptions
	if o != nil {
		c = *o
	}
	if c.Freeze == nil {
		c.Freeze = succeeded
	}
	if c.MaxRequest == 0 {
		c.MaxRequest = 1 << 20
	}
	return c
}

// validate checks options that have their defaults.
func (o *Options) validate(d dedupe.Options) error {
	var errs checks
	errs.check(o.Principal != nil, "Options.Principal", "nil", "a function that returns a verified account")
	for _, method := range o.Methods {
		errs.check(method != "", "Options.Methods", "with an empty one", "methods")
	}
	errs.check(o.MaxKey >= 1 && o.MaxKey <= claim.MaxIDBytes, "Options.MaxKey", o.MaxKey, fmt.Sprint("1 to ", claim.MaxIDBytes))
	errs.check(o.MaxRequest > 0, "Options.MaxRequest", o.MaxRequest, "more than 0")
	errs.check(o.Wait >= 0, "Options.Wait", o.Wait, "0 or more")
	errs.check(d.Namespace == "", "the Deduper's Namespace", fmt.Sprintf("%q", d.Namespace),
		"none: the principal is the namespace; tell environments apart by Consumer")
	errs.check(d.MaxResult >= minResult, "the Deduper's MaxResult", d.MaxResult, fmt.Sprint("at least ", minResult, ": responses are kept"))
	return errors.Join(errs...)
}

func (o *WebhookOptions) validate(d dedupe.Options) error {
	var errs checks
	errs.check(o.MaxRequest > 0, "WebhookOptions.MaxRequest", o.MaxRequest, "more than 0")
	errs.check(o.Wait >= 0, "WebhookOptions.Wait", o.Wait, "0 or more")
	errs.check(o.Principal == nil || d.Namespace == "", "the Deduper's Namespace", fmt.Sprintf("%q", d.Namespace),
		"none with WebhookOptions.Principal, which is the namespace")
	return errors.Join(errs...)
}

type checks []error

func (c *checks) check(ok bool, name string, value any, want string) {
	if !ok {
		*c = append(*c, fmt.Errorf("dedupehttp: %s is %v, want %s", name, value, want))
	}
}
