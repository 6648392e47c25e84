package claim

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

const secretID = "jane.doe@example.com"

// secretToken has bytes that can be told in decimal, hexadecimal and as text.
var secretToken = Token([]byte("SECRETsecretKEYS"))

// leaks fails t if text shows the message id or the token in any usual form.
func leaks(t *testing.T, what, text string) {
	t.Helper()
	decimal := strings.Trim(fmt.Sprint([16]byte(secretToken)), "[]")
	for _, secret := range []string{secretID, hex.EncodeToString([]byte(secretID)), string(secretToken[:]),
		hex.EncodeToString(secretToken[:]), decimal, strings.ReplaceAll(decimal, " ", ",")} {
		if strings.Contains(strings.ToLower(text), strings.ToLower(secret)) {
			t.Errorf("%s shows a secret: %s", what, text)
			return
		}
	}
}

// secretValues holds everything with a message id or a token in it.
func secretValues(t *testing.T) map[string]any {
	t.Helper()
	k, err := NewKey("shop", "billing", secretID)
	if err != nil {
		t.Fatal(err)
	}
	g := Grant{Token: secretToken, Fence: 7, Attempt: 1}
	op := Op{Kind: OpTryClaim, Key: k, Request: Request{Token: secretToken}, Grant: g, Verdict: Verdict{Outcome: Claimed, Grant: g}}
	rec := Record{State: StatePending, Key: k, Token: secretToken}
	return map[string]any{
		"Key": k, "*Key": &k, "Token": secretToken, "*Token": &secretToken, "Grant": g, "*Grant": &g, "Request": op.Request,
		"Verdict": op.Verdict, "Op": op, "*Op": &op, "Record": rec, "Entry": Entry{Record: rec, Digest: k.Digest()},
		"Error": &Error{Op: OpTryClaim, Key: k, Err: ErrLost}, "map": map[Key]Token{k: secretToken},
		"slice": []Token{secretToken},
	}
}

func TestFormattingKeepsSecrets(t *testing.T) {
	for name, v := range secretValues(t) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "% x", "%#x", "%t", "%o", "%b", "%c", "%U", "%e", "%20v", "%.3v"} {
			leaks(t, name+" as "+verb, fmt.Sprintf(verb, v))
		}
	}
	// Wrapped by fmt, an error is in a field that fmt cannot ask; the verbs that
	// are for errors do not look there.
	err := fmt.Errorf("wrapped: %w", secretValues(t)["Error"].(error))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X"} {
		leaks(t, "wrapped error as "+verb, fmt.Sprintf(verb, err))
	}
}

func TestLoggingKeepsSecrets(t *testing.T) {
	for name, v := range secretValues(t) {
		var text, jsonText bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("message", "value", v)
		slog.New(slog.NewJSONHandler(&jsonText, nil)).Info("message", "value", v)
		leaks(t, name+" in a text log", text.String())
		leaks(t, name+" in a JSON log", jsonText.String())
	}
}

func TestMarshalingKeepsSecrets(t *testing.T) {
	for name, v := range secretValues(t) {
		if b, err := json.Marshal(v); err == nil {
			leaks(t, name+" as JSON", string(b))
		}
	}
}

func TestKeyString(t *testing.T) {
	k, err := NewKey("shop", "billing", secretID)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := k.String(), "billing#"+k.Digest().String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := (Key{}).String(); got != "(no key)" {
		t.Errorf("the zero key is %q", got)
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]fmt.Stringer{
		"claimed": Claimed, "stale": Stale, "outcome(0)": Outcome(0), "outcome(8)": Stale + 1, "outcome(255)": Outcome(255),
		"absent": StateAbsent, "dead": StateDead, "state(5)": StateDead + 1,
		"TryClaim": OpTryClaim, "Revive": OpRevive, "operation(0)": OpKind(0), "operation(8)": OpRevive + 1,
	} {
		if got.String() != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for o := range 256 {
		if valid := Outcome(o).Valid(); valid != (o >= 1 && o <= 7) {
			t.Errorf("Outcome(%d).Valid() is %v", o, valid)
		}
	}
}

func TestErrorsMatchOneSentinel(t *testing.T) {
	cause := errors.New("cause")
	sentinels := []error{ErrLost, ErrUnknown, ErrUnavailable, ErrCorrupt, ErrTooLarge, ErrInvalid}
	for _, c := range []struct {
		err, want, cause error
	}{
		{Unknown(nil), ErrUnknown, nil},
		{Unknown(cause), ErrUnknown, cause},
		{Unknown(Unknown(cause)), ErrUnknown, cause},
		{Unavailable(nil), ErrUnavailable, nil},
		{Unavailable(cause), ErrUnavailable, cause},
		{Unavailable(Unavailable(cause)), ErrUnavailable, cause},
		{Corrupt("version 9"), ErrCorrupt, nil},
		{ErrLost, ErrLost, nil},
	} {
		wrapped := fmt.Errorf("outer: %w", &Error{Op: OpMarkDone, Err: c.err})
		for _, s := range sentinels {
			if errors.Is(wrapped, s) != (s == c.want) {
				t.Errorf("%v: matches %v is %v", c.err, s, errors.Is(wrapped, s))
			}
		}
		if c.cause != nil && !errors.Is(wrapped, c.cause) {
			t.Errorf("%v: the cause is lost", c.err)
		}
		var e *Error
		if !errors.As(wrapped, &e) || e.Op != OpMarkDone {
			t.Errorf("%v: errors.As found %v", c.err, e)
		}
	}
	if got := Unknown(Unknown(cause)).Error(); got != "outcome unknown: cause" {
		t.Errorf("wrapped twice: %q", got)
	}
}

func TestTokens(t *testing.T) {
	a, b := NewToken(), NewToken()
	if a.IsZero() || a == b {
		t.Errorf("two tokens are zero or the same")
	}
	if !(Token{}).IsZero() {
		t.Error("the zero token says that it is not")
	}
}

func TestFingerprints(t *testing.T) {
	a, b, none := FingerprintOf([]byte("a")), FingerprintOf([]byte("b")), Fingerprint{}
	if FingerprintOf(nil).IsZero() || a.IsZero() || !none.IsZero() {
		t.Error("only the zero fingerprint is zero; the one of no bytes is a fingerprint")
	}
	for _, c := range []struct {
		f, g Fingerprint
		want bool
	}{{a, b, true}, {a, a, false}, {a, none, false}, {none, a, false}, {none, none, false}} {
		if c.f.Differs(c.g) != c.want {
			t.Errorf("%x differs from %x: want %v", c.f, c.g, c.want)
		}
	}
}
