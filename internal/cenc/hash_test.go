package cenc_test

import (
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
)

func TestIsHash(t *testing.T) {
	good := strings.Repeat("0123456789abcdef", 4)
	if !cenc.IsHash(good) {
		t.Error("a hash is none")
	}
	for _, bad := range []string{"", good[1:], good + "0", strings.ToUpper(good), good[1:] + "g", "/" + good[1:], good[1:] + ":", "`" + good[1:], good[:62] + "é"} {
		if cenc.IsHash(bad) {
			t.Errorf("%q is one", bad)
		}
	}
}
