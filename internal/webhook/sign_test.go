package webhook

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// The known answer that the libraries of Standard Webhooks are tested with.
func TestSignKnownAnswer(t *testing.T) {
	s, err := NewSigner("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := s.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSignWithTwoSecrets(t *testing.T) {
	const newer, older = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	at, body := time.Unix(1, 0), []byte("{}")
	sign := func(secrets ...string) string {
		t.Helper()
		s, err := NewSigner(secrets...)
		if err != nil {
			t.Fatal(err)
		}
		return s.Sign("id", at, body)
	}
	if got, want := sign(newer, older), sign(newer)+" "+sign(older); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if sign(newer) == sign(older) {
		t.Error("the secret does not matter")
	}
}

func TestParseSecret(t *testing.T) {
	for _, c := range []struct{ name, text, fault string }{
		{"24 bytes", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", ""},
		{"64 bytes", "whsec_" + strings.Repeat("AAAA", 21) + "AA==", "64"},
		{"empty", "", "begin"},
		{"no prefix", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin"},
		{"a public key", "whpk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "begin"},
		{"no base64", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa**", "base64"},
		{"of URLs", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa-_", "base64"},
		{"without padding", "whsec_" + strings.Repeat("AAAA", 8) + "AA", "base64"},
		{"a newline", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZI\no2LaLaSw", "base64"},
		{"23 bytes", "whsec_" + strings.Repeat("AAAA", 7) + "AAA=", "23 bytes"},
		{"66 bytes", "whsec_" + strings.Repeat("AAAA", 22), "66 bytes"},
	} {
		_, err := ParseSecret(c.text)
		switch {
		case c.name == "64 bytes":
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		case (err == nil) != (c.fault == ""), err != nil && !strings.Contains(err.Error(), c.fault):
			t.Errorf("%s: %v, want %q", c.name, err, c.fault)
		case err != nil && len(c.text) > 12 && strings.Contains(err.Error(), c.text[6:12]):
			t.Errorf("%s: the secret is in %q", c.name, err)
		}
	}
}

// No formatter gets at a secret.
func TestSignerRedacts(t *testing.T) {
	const secret = "whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="
	key, err := ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Signer: s}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "signer", s, "cfg", cfg, "client", NewClient(cfg))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q"} {
		fmt.Fprintf(&b, verb+verb+verb, s, *s, cfg)
	}
	for _, leak := range []string{secret[6:], string(key), fmt.Sprintf("%x", key), fmt.Sprint(key)[1:20]} {
		if strings.Contains(b.String(), leak) {
			t.Errorf("%q is in the output", leak)
		}
	}
}
