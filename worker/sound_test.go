package worker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/pipeline"
)

func TestParseSound(t *testing.T) {
	parse := func(options string) (Submission, error) {
		return ParseSubmission(TypeAudio, fmt.Appendf(nil, `{"hash":"%064x","source":"x","options":%s}`, 1, options))
	}
	plain, err := parse(`{}`)
	if err != nil || !plain.Options.SoundOnly() || plain.Queue != QueueDefault || len(plain.Parts) != 0 {
		t.Fatalf("%+v, %v", plain, err)
	}
	if diff := cmp.Diff([]string{"cmaf", "cmaf-aes128"}, plain.Options.Outputs); diff != "" {
		t.Error(diff)
	}
	clear, err := parse(`{"encrypt":false}`)
	if err != nil || len(clear.Options.Outputs) != 1 || clear.Options.Outputs[0] != "cmaf" {
		t.Errorf("clear: %+v, %v", clear.Options, err)
	}
	for _, same := range []string{`{"bit_rates":[128]}`, `{"outputs":["cmaf-aes128","cmaf"],"encrypt":true}`, `{"segment_seconds":6}`} {
		if s, err := parse(same); err != nil || s.Digest != plain.Digest {
			t.Errorf("%s is another request: %v", same, err)
		}
	}
	all := `{"bit_rates":[64,128],"clip":{"start":1,"end":2},"loudness":{},"key_period_seconds":60,"pssh":["widevine"],"scheme":"cenc","download":"mp3"}`
	for _, other := range []string{`{"bit_rates":[96]}`, `{"download":"m4a"}`, `{"download":"mp3"}`, `{"encrypt":false}`, all} {
		s, err := parse(other)
		if err != nil || s.Digest == plain.Digest {
			t.Errorf("%s is the same request: %v", other, err)
		}
		if back, err := ParseSubmission(TypeAudio, s.Payload()); err != nil || back.Digest != s.Digest || len(back.Parts) != len(s.Parts) {
			t.Errorf("%s: its payload %s is another request: %v", other, s.Payload(), err)
		}
	}
	s, err := parse(all)
	if err != nil || len(s.Parts) != 1 || s.Parts[0].Kind != "static" || s.Parts[0].Name != "mp3" || s.Parts[0].Part != pipeline.Part(pipeline.Download{Format: "mp3"}) || s.Options.BitRates[0] != 128 {
		t.Errorf("%+v, %v", s, err)
	}
	for bad, says := range map[string]string{
		`{"ladder":["720p"]}`:                         `unknown field "options.ladder"`,
		`{"outputs":["ts"]}`:                          `options.outputs has "ts"`,
		`{"bit_rates":[]}`:                            `options.bit_rates is empty`,
		`{"bit_rates":128}`:                           `"options.bit_rates" must be a list of whole numbers`,
		`{"bit_rates":["128"]}`:                       `"options.bit_rates" must be a list of whole numbers`,
		`{"bit_rates":[1.5]}`:                         `"options.bit_rates" must be a list of whole numbers`,
		`{"bit_rates":[8]}`:                           `options.bit_rates has 8`,
		`{"download":"ogg"}`:                          `options.download is "ogg"`,
		`{"download":true}`:                           `"options.download" must be a string`,
		`{"encrypt":false,"outputs":["cmaf-aes128"]}`: `which is always encrypted`,
	} {
		if _, err := parse(bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if s, err := ParseSubmission(TypeDownload, fmt.Appendf(nil, `{"hash":"%064x","source":"gone","options":{"format":"m4a"}}`, 1)); err != nil || s.NeedsSource() || s.Part.Name != "m4a" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":"%064x","source":"x","options":{"download":"mp3"}}`, 1)); err == nil {
		t.Error("a film has a download of sound")
	}
}
