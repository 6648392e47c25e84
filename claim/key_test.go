package claim

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestNewKeyChecksParts(t *testing.T) {
	for _, c := range []struct {
		name, namespace, consumer, id string
		want                          error
	}{
		{"smallest", "", "c", "i", nil},
		{"largest", strings.Repeat("n", MaxNamespaceBytes), strings.Repeat("c", MaxConsumerBytes), strings.Repeat("i", MaxIDBytes), nil},
		{"no consumer", "n", "", "i", ErrInvalid},
		{"no id", "n", "c", "", ErrInvalid},
		{"long namespace", strings.Repeat("n", MaxNamespaceBytes+1), "c", "i", ErrTooLarge},
		{"long consumer", "n", strings.Repeat("c", MaxConsumerBytes+1), "i", ErrTooLarge},
		{"long id", "n", "c", strings.Repeat("i", MaxIDBytes+1), ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, err := NewKey(c.namespace, c.consumer, MessageID(c.id))
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if k.IsZero() != (err != nil) {
				t.Errorf("zero %v with error %v", k.IsZero(), err)
			}
			if err == nil && (k.Namespace() != c.namespace || k.Consumer() != c.consumer || string(k.ID()) != c.id) {
				t.Error("the parts are not those that were given")
			}
			if err != nil && strings.Contains(err.Error(), strings.Repeat("i", 10)) {
				t.Error("the id is in the error")
			}
		})
	}
}

// The digest is an agreement between all versions of the library on one store:
// it may only change together with preimageVersion.
func TestDigestIsFixed(t *testing.T) {
	for _, c := range []struct{ namespace, consumer, id, digest string }{
		{"", "c", "i", "eb8fed190cd868100d7ba3865072e9d4"},
		{"shop", "billing", "order-4711", "0fbb8da84683a87ca27f0b7abbe51733"},
		{"", "c", strings.Repeat("x", 300), "b8b3b2484b80335aafc4ba9a85746f33"},
	} {
		k, err := NewKey(c.namespace, c.consumer, MessageID(c.id))
		if err != nil {
			t.Fatal(err)
		}
		if got := k.Digest().String(); got != c.digest {
			t.Errorf("the digest of %q, %q and an id of %d bytes is %s, want %s", c.namespace, c.consumer, len(c.id), got, c.digest)
		}
	}
}

func TestKeysAreComparable(t *testing.T) {
	a, _ := NewKey("n", "c", "i")
	b, _ := NewKey("n", "c", MessageID([]byte("i")))
	c, _ := NewKey("n", "c", "j")
	if a != b || a == c {
		t.Error("keys must be equal exactly if their parts are")
	}
}

// Two different tuples never share a preimage, so that only SHA-256 stands
// between two keys and one record.
func FuzzKeyPreimage(f *testing.F) {
	f.Add("a", "b", "c", "a", "bc", "")
	f.Add("", "ab", "c", "a", "b", "c")
	f.Add("n", "c", "\x01c\x01i", "n\x01c", "i", "")
	f.Add("n", strings.Repeat("c", 127), "i", "n", strings.Repeat("c", 128), "")
	f.Fuzz(func(t *testing.T, n1, c1, i1, n2, c2, i2 string) {
		a := Key{namespace: n1, consumer: c1, id: MessageID(i1)}
		b := Key{namespace: n2, consumer: c2, id: MessageID(i2)}
		same := bytes.Equal(a.appendPreimage(nil), b.appendPreimage(nil))
		if same != (a == b) {
			t.Fatalf("%q %q %q and %q %q %q: same preimage %v", n1, c1, i1, n2, c2, i2, same)
		}
		// None is the beginning of another either, as hashing more would need.
		if !same && bytes.HasPrefix(a.appendPreimage(nil), b.appendPreimage(nil)) {
			t.Fatalf("the preimage of %q %q %q begins with that of %q %q %q", n1, c1, i1, n2, c2, i2)
		}
	})
}

func BenchmarkNewKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := NewKey("shop", "billing", "0f8fad5b-d9cb-469f-a165-70867728950e"); err != nil {
			b.Fatal(err)
		}
	}
}
