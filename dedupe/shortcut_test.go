package dedupe_test

import (
	"context"
	"errors"
	"testing"

	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/dedupe"
)

// What nobody is told of takes a short cut, and ends as if it had not.
func TestADuplicateThatTakesTheShortCutIsCountedAsAnyOther(t *testing.T) {
	counts := func(o *dedupe.Observer) dedupe.Stats {
		d := newDeduper(t, newMemstore(t), func(opts *dedupe.Options) { opts.Observer = o })
		one := dedupe.Identity{ID: "1", Fingerprint: claim.Fingerprint{1}}
		other := dedupe.Identity{ID: "1", Fingerprint: claim.Fingerprint{2}}
		elsewhere := dedupe.Identity{ID: "1", Namespace: "elsewhere"}
		for i, id := range []dedupe.Identity{one, one, elsewhere, one, elsewhere} {
			result, err := d.Do(t.Context(), id, noop)
			if duplicate := i == 1 || i > 2; err != nil || result.Duplicate != duplicate {
				t.Errorf("call %d: duplicate %v, error %v", i, result.Duplicate, err)
			}
		}
		if _, err := d.Do(t.Context(), other, noop); !errors.Is(err, dedupe.ErrMismatch) {
			t.Errorf("another payload: error %v, want ErrMismatch", err)
		}
		if err := d.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Do(t.Context(), one, noop); !errors.Is(err, dedupe.ErrClosed) {
			t.Errorf("after Close: error %v, want ErrClosed", err)
		}
		return d.Stats()
	}
	told := 0
	long := counts(&dedupe.Observer{Decided: func(context.Context, dedupe.Decision) { told++ }})
	if short := counts(nil); short != long || told != 6 {
		t.Errorf("%d decisions were told, want 6; counted\n%+v, and where they are told\n%+v", told, short, long)
	}
}
