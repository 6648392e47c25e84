package claim

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestValidateAccepts(t *testing.T) {
	key, token := stepKey(t), NewToken()
	grant := Grant{Token: token, Fence: MaxFence, Attempt: 1}
	for _, op := range []Op{
		{Kind: OpTryClaim, Request: Request{Token: token, TTL: MinTTL, Retention: MinTTL}},
		{Kind: OpTryClaim, Request: Request{Token: token, TTL: MaxTTL, Retention: MaxRetention, MaxAttempts: MaxAttempts, Takeover: Park}},
		{Kind: OpExtend, Grant: grant, TTL: MinTTL},
		{Kind: OpExtend, Grant: grant, TTL: MaxTTL},
		{Kind: OpMarkDone, Grant: grant, Completion: Completion{Retention: MinRetention}},
		{Kind: OpMarkDone, Grant: grant, Completion: Completion{Retention: MaxRetention, Result: make([]byte, MaxResultBytes+1)}},
		{Kind: OpMarkDead, Grant: grant, Reason: strings.Repeat("r", MaxReasonBytes+1)},
		{Kind: OpRelease, Grant: grant},
		{Kind: OpRelease, Grant: Grant{Token: token}, TTL: MaxDelay},
		{Kind: OpForget},
		{Kind: OpRevive, Grant: Grant{Fence: 1<<64 - 1}},
	} {
		op.Key = key
		if err := op.Validate(); err != nil {
			t.Errorf("%v: %v", op.Kind, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	key, token := stepKey(t), NewToken()
	grant := Grant{Token: token, Fence: 1}
	for _, c := range []struct {
		op   Op
		name string // what the error must name
	}{
		{Op{Kind: OpForget}, "key"},
		{Op{Kind: 0, Key: key}, "operation"},
		{Op{Kind: OpRevive + 1, Key: key}, "operation"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{TTL: time.Second, Retention: time.Second}}, "Request.Token"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{Token: token, Retention: time.Second}}, "Request.TTL"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{Token: token, TTL: MaxTTL + 1, Retention: MaxRetention}}, "Request.TTL"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{Token: token, TTL: time.Second}}, "Request.Retention"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{Token: token, TTL: time.Second, Retention: time.Second - 1}}, "Request.Retention"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{Token: token, TTL: time.Second, Retention: MaxRetention + 1}}, "Request.Retention"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{Token: token, TTL: time.Second, Retention: time.Second, MaxAttempts: -1}}, "Request.MaxAttempts"},
		{Op{Kind: OpTryClaim, Key: key, Request: Request{Token: token, TTL: time.Second, Retention: time.Second, Takeover: Park + 1}}, "Request.Takeover"},
		{Op{Kind: OpExtend, Key: key, Grant: Grant{Token: token}, TTL: time.Second}, "Grant.Fence"},
		{Op{Kind: OpExtend, Key: key, Grant: Grant{Fence: 1}, TTL: time.Second}, "Grant.Token"},
		{Op{Kind: OpExtend, Key: key, Grant: Grant{Token: token, Fence: MaxFence + 1}, TTL: time.Second}, "Grant.Fence"},
		{Op{Kind: OpExtend, Key: key, Grant: grant}, "ttl"},
		{Op{Kind: OpMarkDone, Key: key, Grant: grant}, "Completion.Retention"},
		{Op{Kind: OpMarkDone, Key: key, Grant: grant, Completion: Completion{Retention: MaxRetention + 1}}, "Completion.Retention"},
		{Op{Kind: OpMarkDead, Key: key, Grant: Grant{Token: token}}, "Grant.Fence"},
		{Op{Kind: OpRelease, Key: key}, "Grant.Token"},
		{Op{Kind: OpRelease, Key: key, Grant: Grant{Token: token, Attempt: -1}}, "Grant.Attempt"},
		{Op{Kind: OpRelease, Key: key, Grant: Grant{Token: token, Attempt: 1<<31 - 1}}, "Grant.Attempt"},
		{Op{Kind: OpRelease, Key: key, Grant: grant, TTL: -1}, "delay"},
		{Op{Kind: OpRelease, Key: key, Grant: grant, TTL: MaxDelay + 1}, "delay"},
	} {
		err := c.op.Validate()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%v: error %v, want ErrInvalid that names %s", c.op.Kind, err, c.name)
		}
	}
}

// A store that knew a grant once and forgot it must not let the fence overflow.
func TestForgedFenceCannotOverflow(t *testing.T) {
	key := stepKey(t)
	done := Op{Kind: OpMarkDone, Key: key, Grant: Grant{Token: Token{1}, Fence: 1<<64 - 1}, Completion: Completion{Retention: time.Hour}}
	if err := done.Validate(); !errors.Is(err, ErrInvalid) {
		t.Errorf("error %v, want ErrInvalid: the grant after it would have fence 0", err)
	}
}

func FuzzCutReason(f *testing.F) {
	f.Add("reason")
	f.Add(strings.Repeat("r", MaxReasonBytes-1) + "ö")
	f.Add("\xff\xfe")
	f.Fuzz(func(t *testing.T, reason string) {
		got := CutReason(reason)
		switch {
		case len(got) > MaxReasonBytes || !utf8.ValidString(got):
			t.Fatalf("%q has %d bytes, valid %v", got, len(got), utf8.ValidString(got))
		case CutReason(got) != got:
			t.Fatalf("cut twice: %q, once: %q", CutReason(got), got)
		case len(reason) <= MaxReasonBytes && utf8.ValidString(reason) && got != reason:
			t.Fatalf("%q became %q", reason, got)
		}
	})
}
