package webhook

import (
	"errors"
	"testing"

	"github.com/sealcast/sealcast/internal/corpus"
)

// Every target of the corpus is taken or refused with an empty allow-list as
// its case says.
func TestCorpusTargets(t *testing.T) {
	for _, c := range corpus.Targets() {
		err := (&Targets{}).CheckURL(c.URL)
		var refusal *Refusal
		if (err == nil) != c.Take || err != nil && (!errors.As(err, &refusal) || refusal.Reason == "") {
			t.Errorf("%q: %v, want taken %t", c.URL, err, c.Take)
		}
	}
}
