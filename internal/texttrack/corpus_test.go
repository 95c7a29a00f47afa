package texttrack_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sealcast/sealcast/internal/corpus"
	"github.com/sealcast/sealcast/internal/texttrack"
)

// Every text of the corpus is taken or refused as its case says, and nothing of
// a stranger's markup is in what is written of it.
func TestCorpusTexts(t *testing.T) {
	for _, c := range corpus.Texts() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			doc, err := texttrack.Parse(c.Body)
			if c.Code != "" {
				var bad *texttrack.Error
				if !errors.As(err, &bad) || bad.Code != c.Code {
					t.Fatalf("got %v, want %s", err, c.Code)
				}
				if len(bad.Message) == 0 || len(bad.Message) > 300 || !utf8.ValidString(bad.Message) {
					t.Errorf("message %q", bad.Message)
				}
				return
			}
			if err != nil || len(doc.Cues) != c.Cues || doc.Dropped != c.Dropped {
				t.Fatalf("%d cues, %d dropped, %v; want %d and %d", len(doc.Cues), doc.Dropped, err, c.Cues, c.Dropped)
			}
			files, err := texttrack.Files(doc.Cues, 2*time.Hour, 90000)
			if err != nil {
				t.Fatal(err)
			}
			for name, body := range files {
				if !utf8.Valid(body) || c.Never != "" && strings.Contains(string(body), c.Never) {
					t.Errorf("%s has %q or is no UTF-8:\n%.300s", name, c.Never, body)
				}
			}
			if whole := string(files[texttrack.WholeName]); !strings.Contains(whole, c.Says) {
				t.Errorf("%q is not in\n%.300s", c.Says, whole)
			}
		})
	}
}
