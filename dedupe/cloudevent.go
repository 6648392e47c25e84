package dedupe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/oncebus/once/bus"
)

// attributePrefixes are what goes before the name of a CloudEvent's attribute in a
// header, by binding.
var attributePrefixes = []string{"ce_", "ce-", "cloudEvents:", "cloudEvents_"}

// cloudEvent returns the source and the id of m's event, both "" when m is none.
func cloudEvent(m *bus.Message) (source, id string, err error) {
	media, _, _ := strings.Cut(m.Header.Get("Content-Type"), ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch {
	case media == "application/cloudevents+json":
		return structuredEvent(m.Data)
	case strings.HasPrefix(media, "application/cloudevents"):
		return "", "", errors.New("a CloudEvent in a format other than JSON, or a batch of them")
	}
	for _, prefix := range attributePrefixes {
		source, id = m.Header.Get(prefix+"source"), m.Header.Get(prefix+"id")
		if source != "" || id != "" {
			break
		}
	}
	return source, id, nil
}

// errNoEvent says no more, for what is wrong with a payload may quote it.
var errNoEvent = errors.New("the payload is no CloudEvent in JSON")

// structuredEvent returns the source and the id of an event that is one JSON
// object, "" for what it has not. It reads all of it and its names as they are written: of two members of
// one name, or of names that differ in case, the handler may see the other one.
func structuredEvent(data []byte) (source, id string, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return "", "", errNoEvent
	}
	found := map[string]string{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return "", "", errNoEvent
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return "", "", errNoEvent
		}
		if name != "source" && name != "id" {
			continue
		}
		var s *string
		key := name.(string)
		switch _, twice := found[key]; {
		case twice:
			return "", "", fmt.Errorf("the CloudEvent has the attribute %s twice", key)
		case json.Unmarshal(value, &s) != nil || s == nil:
			return "", "", fmt.Errorf("the CloudEvent's %s is no string", key)
		case strings.ContainsRune(*s, utf8.RuneError): // in place of what is not; two ids would be one
			return "", "", fmt.Errorf("the CloudEvent's %s is not Unicode", key)
		}
		found[key] = *s
	}
	if _, err := dec.Token(); err != nil {
		return "", "", errNoEvent
	}
	if _, err := dec.Token(); err != io.EOF {
		return "", "", errNoEvent
	}
	return found["source"], found["id"], nil
}
