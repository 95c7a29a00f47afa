package worker

import (
	"errors"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/corpus"
)

// Every payload of the corpus is taken or refused by the strict decode as its
// case says, and what a stranger reads of it is short.
func TestCorpusPayloads(t *testing.T) {
	for _, c := range corpus.Payloads() {
		t.Run(c.Name, func(t *testing.T) {
			got, err := ParseSubmission(c.Type, []byte(c.Body))
			if c.Code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if again, err := ParseSubmission(c.Type, got.Payload()); err != nil || again.Digest != got.Digest {
					t.Errorf("its canonical form is %v, digest %x", err, again.Digest)
				}
				return
			}
			var refused *RequestError
			if !errors.As(err, &refused) || refused.Code != c.Code {
				t.Fatalf("got %+v, %v, want %s", got, err, c.Code)
			}
			if refused.Message == "" || len(refused.Message) > 400 || strings.ContainsFunc(refused.Message, func(r rune) bool { return r < ' ' }) {
				t.Errorf("message %q", refused.Message)
			}
		})
	}
}
