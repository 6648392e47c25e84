package dedupe

import (
	"errors"
	"testing"

	"github.com/oncebus/once/bus"
	"github.com/oncebus/once/claim"
)

// FuzzIdentify takes ids from hostile fields: each gives a key, the same one
// again, or ErrNoID under the policy, and never a key of another consumer.
func FuzzIdentify(f *testing.F) {
	for _, seed := range []string{"", "order-7", "\x00", "{a}*?[", "ünïcode\r\n", string(make([]byte, claim.MaxIDBytes+1))} {
		f.Add(seed, "Event-Id", seed, []byte(seed), uint8(0))
	}
	f.Fuzz(func(t *testing.T, id, header, value string, data []byte, choice uint8) {
		m := &bus.Message{ID: id, Header: bus.Header{header: {value}}, Data: data, Position: value}
		keys := []KeyFunc{ByMessageID, ByHeader("event-id"), ByPosition, ByPayload, ByCloudEvent}
		o := quietOptions()
		o.Key, o.MissingID = keys[int(choice)%len(keys)], MissingID(choice/16%4)
		d := &Deduper{opts: o.withDefaults()}
		one, two := &attempt{msg: m}, &attempt{msg: m}
		err := d.identify(one)
		switch {
		case err != nil && (!errors.Is(err, ErrNoID) || !one.key.IsZero()):
			t.Fatalf("error %v with key %v", err, one.key)
		case err == nil && one.key.IsZero() && o.MissingID != PassThrough:
			t.Fatal("neither a key nor an error")
		case err == nil && !one.key.IsZero() && one.key.Consumer() != "billing":
			t.Fatalf("key %v", one.key)
		}
		if err2 := d.identify(two); (err == nil) != (err2 == nil) || one.key != two.key {
			t.Fatalf("%v, %v and then %v, %v", one.key, err, two.key, err2)
		}
		name := func(a *attempt) claim.Digest {
			a.context(t.Context())
			a.introduce()
			return a.run.name()
		}
		if name(one) != name(two) {
			t.Fatal("two identities for one message")
		}
	})
}
