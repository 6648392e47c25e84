package dedupehttp

import (
	"fmt"
	"net/http"
	"strings"
)

// keyField is the request header that has the key.
const keyField = "Idempotency-Key"

// parseKey reads the key from the values of its header field, or says what is wrong
// with it. It takes a string of RFC 9651 in double quotes, as the draft asks for,
// and bare text, as most clients send it: "k-1" and k-1 are one key. Parameters are
// refused: the draft has none, and with unknown ones ignored two spellings would be
// one key.
func parseKey(values []string, limit int) (string, *problem) {
	if len(values) == 0 {
		return "", &keyMissing
	}
	if len(values) > 1 {
		return "", invalidKey("There is more than one Idempotency-Key.")
	}
	key, ok := strings.Trim(values[0], " \t"), true
	if strings.HasPrefix(key, `"`) {
		key, ok = parseString(key)
	} else {
		ok = strings.IndexFunc(key, notBare) < 0
	}
	switch {
	case !ok:
		return "", invalidKey("The Idempotency-Key is neither a string in double quotes nor bare text of visible ASCII " +
			"without quotes, commas, semicolons and backslashes.")
	case key == "":
		return "", invalidKey("The Idempotency-Key is empty.")
	case len(key) > limit:
		return "", invalidKey(fmt.Sprintf("The Idempotency-Key has %d bytes, the limit is %d.", len(key), limit))
	}
	return key, nil
}

func invalidKey(detail string) *problem {
	return &problem{Status: http.StatusBadRequest, Code: "key-invalid", Detail: detail}
}

// notBare reports whether c cannot stand in a key without quotes.
func notBare(c rune) bool {
	return c <= ' ' || c > '~' || c == '"' || c == ',' || c == ';' || c == '\\'
}

// parseString reads a string of RFC 9651, section 4.2.5, and nothing after it.
func parseString(s string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"':
			return b.String(), i == len(s)-1
		case c == '\\':
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
			c = s[i]
		case c < ' ' || c > '~':
			return "", false
		}
		b.WriteByte(c)
	}
	return "", false
}
