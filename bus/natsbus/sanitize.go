package natsbus

import (
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"

	"github.com/oncebus/once/bus"
)

const (
	// movedPrefix is put before the name of a header that must not act again.
	movedPrefix = "Once-Original-"
	// maxHeaderValue is the size, in bytes, at which the values that this package
	// adds are cut.
	maxHeaderValue = 1024
)

// Sanitize returns a copy of h that can be published without effects of its own.
// A header that the server acts on (any Nats- header: expected sequences,
// rollups, TTLs, schedules, traces, ids) or that a client reads as a status
// (Status and Description) is renamed to Once-Original- and its name. Headers of
// an earlier dead letter (Once-) are left out, so that a message that dies again
// and again does not grow. Names lose the bytes that a header's name cannot have,
// values their line breaks; a name without a byte left is left out.
func Sanitize(h bus.Header) nats.Header {
	c := make(nats.Header, len(h)+8)
	for key, values := range h {
		key = cleanName(key)
		switch {
		case key == "" || hasPrefixFold(key, "Once-"):
			continue
		case hasPrefixFold(key, "Nats-"), strings.EqualFold(key, "Status"), strings.EqualFold(key, "Description"):
			key = movedPrefix + key
		}
		for _, v := range values {
			c[key] = append(c[key], clean(v, len(v)))
		}
	}
	return c
}

func hasPrefixFold(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// cleanName keeps the bytes that a header's name may have: visible ASCII but the
// colon that ends it.
func cleanName(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == ':' {
			return -1
		}
		return r
	}, s)
}

// clean makes one line of s, of at most limit bytes, and cuts no character in
// half.
func clean(s string, limit int) string {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	return strings.NewReplacer("\r\n", " ", "\r", " ", "\n", " ").Replace(s)
}
