package cenc_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
)

func TestContentKeyRedactsItself(t *testing.T) {
	raw := []byte("\x01\x23\x45\x67\x89\xab\xcd\xef0123ABCD")
	key, err := cenc.ContentKeyFrom(raw)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		Key cenc.ContentKey
		Ptr *cenc.ContentKey
	}{key, &key}
	hidden := struct{ inner struct{ key cenc.ContentKey } }{struct{ key cenc.ContentKey }{key}}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b"} {
		fmt.Fprintf(&out, verb+"\n", key)
		fmt.Fprintf(&out, verb+"\n", &key)
		fmt.Fprintf(&out, verb+"\n", holder)
		fmt.Fprintf(&out, verb+"\n", hidden)
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "key", key, "ptr", &key, "holder", holder)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", key, "ptr", &key, "holder", holder)

	printed := out.String()
	for name, leak := range map[string]string{
		"raw": "0123ABCD", "hex": hex.EncodeToString(raw)[:16], "decimal": "1 35 69", "binary": "1000101",
	} {
		if strings.Contains(strings.ToLower(printed), strings.ToLower(leak)) {
			t.Errorf("the key shows as %s in:\n%s", name, printed)
		}
	}
	if !strings.Contains(printed, "[content key]") {
		t.Error("the placeholder is missing")
	}
	if !bytes.Equal(key.Bytes(), raw) {
		t.Error("Bytes does not give the key")
	}
}

func TestParseKIDTakesOneSpelling(t *testing.T) {
	kid := cenc.NewKID()
	got, err := cenc.ParseKID(kid.String())
	if err != nil || got != kid {
		t.Fatalf("round trip: %v, %v", got, err)
	}
	for _, bad := range []string{
		"", "00", strings.ToUpper("abcdefabcdefabcdefabcdefabcdefab"),
		strings.Repeat("g", 32), strings.Repeat("0", 31), strings.Repeat("0", 33),
		"00000000-0000-0000-0000-000000000000",
	} {
		if _, err := cenc.ParseKID(bad); err == nil {
			t.Errorf("ParseKID(%q) accepts", bad)
		}
	}
}

func TestContentKeyFromWantsSixteenBytes(t *testing.T) {
	for _, n := range []int{0, 15, 17, 32} {
		if _, err := cenc.ContentKeyFrom(make([]byte, n)); err == nil {
			t.Errorf("%d bytes accepted", n)
		}
	}
	if cenc.NewContentKey().Equal(cenc.NewContentKey()) {
		t.Error("two new keys are equal")
	}
}
