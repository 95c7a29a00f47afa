package keystore

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestNewKeyringRefuses(t *testing.T) {
	good := bytes.Repeat([]byte{0xa5}, KEKSize)
	for name, test := range map[string]struct {
		primary int
		keks    map[int][]byte
		want    string
	}{
		"none":            {1, nil, "no KEK"},
		"primary missing": {2, map[int][]byte{1: good}, "primary KEK version 2"},
		"no primary":      {0, map[int][]byte{1: good}, "primary KEK version 0"},
		"version 0":       {0, map[int][]byte{0: good}, "count from 1"},
		"version -1":      {-1, map[int][]byte{-1: good}, "count from 1"},
		"version 2^31":    {1 << 31, map[int][]byte{1 << 31: good}, "count from 1"},
		"16 bytes":        {1, map[int][]byte{1: good[:16]}, "want 32 bytes, got 16"},
		"33 bytes":        {1, map[int][]byte{1: append(bytes.Clone(good), 1)}, "want 32 bytes, got 33"},
		"hex digits":      {1, map[int][]byte{1: []byte(hex.EncodeToString(good))}, "want 32 bytes, got 64"},
		"zero":            {1, map[int][]byte{1: make([]byte, KEKSize)}, "all bytes are zero"},
		"twice":           {1, map[int][]byte{1: good, 2: bytes.Clone(good)}, "versions 1 and 2 are the same"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := NewKeyring(test.primary, test.keks)
			if err == nil || keys != nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
			if s := err.Error(); strings.Contains(s, "a5a5") || strings.Contains(s, "165 165") || strings.Contains(s, "\xa5\xa5") {
				t.Errorf("the error shows bytes: %s", s)
			}
		})
	}
}

func TestKeyringDoesNotKeepTheCallersBytes(t *testing.T) {
	kek := bytes.Repeat([]byte{7}, KEKSize)
	keys, err := NewKeyring(1, map[int][]byte{1: kek})
	if err != nil {
		t.Fatal(err)
	}
	nonce, value, err := keys.sealCheck(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	clear(kek)
	if keys.fits(t.Context(), 1, nonce, value) != nil {
		t.Error("clearing the caller's bytes changed the keyring")
	}
	if keys.Primary() != 1 || !slices.Equal(testRing(t).Versions(), []int{1, 2}) {
		t.Error("primary or versions are wrong")
	}
}

// TestKeyringRedactsItself prints it whole, by pointer, and as an unexported
// field, where fmt asks no method; neither the KEK nor the first words of its
// AES key schedule (which are the KEK) may show.
func TestKeyringRedactsItself(t *testing.T) {
	kek := []byte("\x01\x23\x45\x67\x89\xab\xcd\xef0123ABCDFEDCBA9876543210")
	keys, err := NewKeyring(1, map[int][]byte{1: kek})
	if err != nil {
		t.Fatal(err)
	}
	hidden := struct {
		p     *Keyring
		v     Keyring
		store *Postgres
	}{keys, *keys, &Postgres{}}
	hidden.store.keys.Store(keys)

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%c"} {
		for _, v := range []any{keys, *keys, hidden, &hidden, hidden.store} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, v := range []any{keys, *keys, struct{ K *Keyring }{keys}} {
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Fatal(err)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
	}
	printed := strings.ToLower(out.String())
	for form, text := range map[string]string{
		"raw":            "0123ABCD",
		"hex":            hex.EncodeToString(kek)[:16],
		"decimal":        "1 35 69 103",
		"schedule":       fmt.Sprint(0x67452301),
		"schedule in %x": "67452301",
		"schedule, big":  fmt.Sprint(0x01234567),
	} {
		if strings.Contains(printed, strings.ToLower(text)) {
			t.Errorf("the KEK shows as %s", form)
		}
	}
	if !strings.Contains(printed, redactedKeyring) {
		t.Error("the placeholder is missing")
	}
}
