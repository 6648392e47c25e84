package dedupehttp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// For how long senders repeat deliveries, by what they document: Stripe by itself,
// GitHub by hand, Shopify by itself.
const (
	longestStripe  = 72 * time.Hour
	longestGitHub  = 72 * time.Hour
	longestShopify = 48 * time.Hour
)

// defaultTolerance is how far the time of a delivery may be from now.
const defaultTolerance = 5 * time.Minute

// GitHub is the Source of GitHub's webhooks. Its id is X-GitHub-Delivery, which a
// redelivery by hand keeps. GitHub signs the body alone, so that whoever has seen a
// delivery could send it once more with another id: serve it over TLS.
type GitHub struct {
	// Secrets are those of the webhook; while one replaces another, both.
	Secrets []string
}

// Identify implements Source.
func (s GitHub) Identify(r *http.Request, body []byte) (string, error) {
	mac, ok := strings.CutPrefix(r.Header.Get("X-Hub-Signature-256"), "sha256=")
	if !ok || !signed(asBytes(s.Secrets), [][]byte{fromHex(mac)}, body) {
		return "", ErrSignature
	}
	return r.Header.Get("X-GitHub-Delivery"), nil
}

func (s GitHub) longest() time.Duration { return longestGitHub }

func (s GitHub) validate() error { return validate("GitHub", s.Secrets, 0) }

// Shopify is the Source of Shopify's webhooks. Its id is X-Shopify-Webhook-Id, or
// X-Shopify-Event-Id with the topic where there is none. Shopify signs the body
// alone, so that what is said of GitHub holds here too.
type Shopify struct {
	// Secrets are the app's client secrets; while one replaces another, both.
	Secrets []string
}

// Identify implements Source.
func (s Shopify) Identify(r *http.Request, body []byte) (string, error) {
	if !signed(asBytes(s.Secrets), [][]byte{fromBase64(r.Header.Get("X-Shopify-Hmac-Sha256"))}, body) {
		return "", ErrSignature
	}
	if id := r.Header.Get("X-Shopify-Webhook-Id"); id != "" {
		return id, nil
	}
	if id := r.Header.Get("X-Shopify-Event-Id"); id != "" {
		return "event " + id + " " + r.Header.Get("X-Shopify-Topic"), nil
	}
	return "", nil
}

func (s Shopify) longest() time.Duration { return longestShopify }

func (s Shopify) validate() error { return validate("Shopify", s.Secrets, 0) }

// Stripe is the Source of Stripe's webhooks. Its id is that of the event, in the
// body.
type Stripe struct {
	// Secrets are the endpoint's signing secrets; while one replaces another, both.
	Secrets []string
	// Tolerance is how far the signature's time may be from now. Defaults to 5
	// minutes.
	Tolerance time.Duration
}

// Identify implements Source.
func (s Stripe) Identify(r *http.Request, body []byte) (string, error) {
	var at string
	var macs [][]byte
	for part := range strings.SplitSeq(r.Header.Get("Stripe-Signature"), ",") {
		switch name, value, _ := strings.Cut(strings.TrimSpace(part), "="); name {
		case "t":
			at = value
		case "v1":
			macs = append(macs, fromHex(value))
		}
	}
	if !timely(at, s.Tolerance) || !signed(asBytes(s.Secrets), macs, []byte(at), []byte("."), body) {
		return "", ErrSignature
	}
	var event struct {
		ID string `json:"id"`
	}
	err := json.Unmarshal(body, &event)
	return event.ID, err
}

func (s Stripe) longest() time.Duration { return longestStripe }

func (s Stripe) validate() error { return validate("Stripe", s.Secrets, s.Tolerance) }

// Slack is the Source of Slack's Events API. Its id is the event_id in the body.
// What is no event, such as the check of the URL, is ErrNoEvent.
type Slack struct {
	// Secrets are the app's signing secrets; while one replaces another, both.
	Secrets []string
	// Tolerance is how far the request's time may be from now. Defaults to 5
	// minutes.
	Tolerance time.Duration
}

// Identify implements Source.
func (s Slack) Identify(r *http.Request, body []byte) (string, error) {
	at := r.Header.Get("X-Slack-Request-Timestamp")
	mac, ok := strings.CutPrefix(r.Header.Get("X-Slack-Signature"), "v0=")
	if !ok || !timely(at, s.Tolerance) ||
		!signed(asBytes(s.Secrets), [][]byte{fromHex(mac)}, []byte("v0:"), []byte(at), []byte(":"), body) {
		return "", ErrSignature
	}
	var event struct {
		Type string `json:"type"`
		ID   string `json:"event_id"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		return "", err
	}
	if event.ID == "" && event.Type != "event_callback" {
		return "", ErrNoEvent
	}
	return event.ID, nil
}

func (s Slack) validate() error { return validate("Slack", s.Secrets, s.Tolerance) }

// StandardWebhooks is the Source of the senders that follow the Standard Webhooks
// specification, with symmetric signatures (v1). Its id is webhook-id.
type StandardWebhooks struct {
	// Secrets are in base64, with the prefix whsec_ or without; while one replaces
	// another, both.
	Secrets []string
	// Tolerance is how far webhook-timestamp may be from now. Defaults to 5 minutes.
	Tolerance time.Duration
}

// Identify implements Source.
func (s StandardWebhooks) Identify(r *http.Request, body []byte) (string, error) {
	id, at := r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp")
	var macs [][]byte
	for part := range strings.FieldsSeq(r.Header.Get("Webhook-Signature")) {
		if mac, ok := strings.CutPrefix(part, "v1,"); ok {
			macs = append(macs, fromBase64(mac))
		}
	}
	if id == "" || !timely(at, s.Tolerance) ||
		!signed(s.keys(), macs, []byte(id), []byte("."), []byte(at), []byte("."), body) {
		return "", ErrSignature
	}
	return id, nil
}

func (s StandardWebhooks) keys() [][]byte {
	keys := make([][]byte, len(s.Secrets))
	for i, secret := range s.Secrets {
		keys[i] = fromBase64(strings.TrimPrefix(secret, "whsec_"))
	}
	return keys
}

func (s StandardWebhooks) validate() error {
	for _, key := range s.keys() {
		if len(key) == 0 {
			return errors.New("dedupehttp: a secret in StandardWebhooks.Secrets is not base64")
		}
	}
	return validate("StandardWebhooks", s.Secrets, s.Tolerance)
}

// validate checks what the fields of a Source have in common.
func validate(source string, secrets []string, tolerance time.Duration) error {
	if len(secrets) == 0 {
		return fmt.Errorf("dedupehttp: %s.Secrets is empty, want at least one", source)
	}
	for _, secret := range secrets {
		if secret == "" {
			return fmt.Errorf("dedupehttp: a secret in %s.Secrets is empty", source)
		}
	}
	if tolerance < 0 {
		return fmt.Errorf("dedupehttp: %s.Tolerance is %v, want 0 or more", source, tolerance)
	}
	return nil
}

// signed reports whether one of macs is the HMAC-SHA256 of message under one of
// keys. It takes as long whichever it is.
func signed(keys, macs [][]byte, message ...[]byte) bool {
	found := false
	for _, key := range keys {
		if len(key) == 0 {
			continue // which everybody knows
		}
		h := hmac.New(sha256.New, key)
		for _, part := range message {
			h.Write(part)
		}
		sum := h.Sum(nil)
		for _, mac := range macs {
			found = hmac.Equal(mac, sum) || found
		}
	}
	return found
}

// timely reports whether at, in seconds since 1970, is within tolerance of now.
func timely(at string, tolerance time.Duration) bool {
	if tolerance == 0 {
		tolerance = defaultTolerance
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	now := time.Now()
	return err == nil && seconds >= now.Add(-tolerance).Unix() && seconds <= now.Add(tolerance).Unix()
}

func asBytes(secrets []string) [][]byte {
	keys := make([][]byte, len(secrets))
	for i, secret := range secrets {
		keys[i] = []byte(secret)
	}
	return keys
}

// fromHex and fromBase64 return what s stands for, or nil, which is no signature.
func fromHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}

func fromBase64(s string) []byte {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return nil
	}
	return b
}
