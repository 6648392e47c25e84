package dedupehttp_test

import (
	"strings"
	"testing"

	"github.com/oncebus/once/dedupe/dedupehttp"
)

func TestKeysAreStringsOrBareText(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string
		key    string // "" is refused
	}{
		{"a string, as in the draft", []string{`"8e03978e-40d5-43dd-bc93-6894a57f9324"`}, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{"bare text, as most clients send it", []string{"8e03978e-40d5-43dd-bc93-6894a57f9324"}, "8e03978e-40d5-43dd-bc93-6894a57f9324"},
		{"escapes of a string", []string{`"a\"b\\c"`}, `a"b\c`},
		{"a string with what bare text cannot have", []string{`"a b,c;d"`}, "a b,c;d"},
		{"space around", []string{" \tk-1 "}, "k-1"},
		{"all of bare text", []string{"!#$%&'()*+-./:<=>?@[]^_`{|}~"}, "!#$%&'()*+-./:<=>?@[]^_`{|}~"},
		{"the longest", []string{strings.Repeat("k", 255)}, strings.Repeat("k", 255)},
		{"the longest, in quotes that do not count", []string{`"` + strings.Repeat("k", 255) + `"`}, strings.Repeat("k", 255)},

		{"none", nil, ""},
		{"an empty value", []string{""}, ""},
		{"an empty string", []string{`""`}, ""},
		{"space alone", []string{"  "}, ""},
		{"one byte too many", []string{strings.Repeat("k", 256)}, ""},
		{"two fields", []string{"a", "a"}, ""},
		{"a list", []string{"a, b"}, ""},
		{"a list of strings", []string{`"a", "b"`}, ""},
		{"parameters", []string{`"a";v=1`}, ""},
		{"bare parameters", []string{`a;v=1`}, ""},
		{"no closing quote", []string{`"a`}, ""},
		{"a quote alone", []string{`"`}, ""},
		{"no opening quote", []string{`a"`}, ""},
		{"an escape of another character", []string{`"a\n"`}, ""},
		{"an escape at the end", []string{`"a\`}, ""},
		{"an escaped closing quote", []string{`"a\"`}, ""},
		{"text after a string", []string{`"a"b`}, ""},
		{"space in bare text", []string{"a b"}, ""},
		{"a backslash in bare text", []string{`a\b`}, ""},
		{"a control character", []string{"a\x00b"}, ""},
		{"a control character in a string", []string{"\"a\x7fb\""}, ""},
		{"other than ASCII", []string{"schlüssel"}, ""},
		{"other than ASCII in a string", []string{`"schlüssel"`}, ""},
	} {
		key, ok := dedupehttp.ParseKey(c.values, 255)
		if key != c.key || ok != (c.key != "") {
			t.Errorf("%s: %q, %v; want %q", c.name, key, ok, c.key)
		}
	}
}

func FuzzKey(f *testing.F) {
	for _, seed := range []string{"", `"a"`, "a", `"\"`, `"a\\b"`, `"a";b`, "a,b", "\"\x80\"", `""`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		key, ok := dedupehttp.ParseKey([]string{value}, 64)
		switch {
		case !ok && key != "":
			t.Fatalf("%q is refused and the key is %q", value, key)
		case !ok:
			return
		case key == "" || len(key) > 64:
			t.Fatalf("the key of %q has %d bytes", value, len(key))
		}
		for _, c := range []byte(key) {
			if c < ' ' || c > '~' {
				t.Fatalf("the key of %q has the byte %#x", value, c)
			}
		}
		// What a key means does not depend on how it is written.
		quoted := `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(key) + `"`
		if again, ok := dedupehttp.ParseKey([]string{quoted}, 64); !ok || again != key {
			t.Fatalf("%q is the key %q, and %q is %q, %v", value, key, quoted, again, ok)
		}
	})
}
