package faultstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/oncebus/once/backends/memstore"
	"github.com/oncebus/once/claim"
	"github.com/oncebus/once/testutil/faultstore"
)

// cancelling ends the caller's context as soon as a claim has been carried out.
type cancelling struct {
	claim.Store
	cancel context.CancelFunc
}

func (c cancelling) TryClaim(ctx context.Context, key claim.Key, req claim.Request) (claim.Verdict, error) {
	v, err := c.Store.TryClaim(ctx, key, req)
	c.cancel()
	return v, err
}

// An operation that was carried out once and refused the second time has
// happened: "definitely not done" would be a lie about it.
func TestTwiceIsNeverUnavailableWhenDoneOnce(t *testing.T) {
	inner, err := memstore.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := claim.NewKey("", "consumer", "id")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fs := faultstore.New(cancelling{inner, cancel})
	fs.On(claim.OpTryClaim, faultstore.Twice, 1)
	req := claim.Request{Token: claim.NewToken(), TTL: time.Minute, Retention: time.Hour}
	if _, err := fs.TryClaim(ctx, key, req); !errors.Is(err, claim.ErrUnknown) || errors.Is(err, claim.ErrUnavailable) {
		t.Errorf("error %v, want ErrUnknown", err)
	}
}
