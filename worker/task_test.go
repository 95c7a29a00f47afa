package worker

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/pipeline"
)

var testHash = strings.Repeat("0123456789abcdef", 4)

func payload(rest string) []byte {
	return []byte(`{"hash":"` + testHash + `","source":"in/film.mp4"` + rest + `}`)
}

func TestParseSubmissionAppliesDefaults(t *testing.T) {
	got, err := ParseSubmission(TypeTranscode, payload(`,"options":{"encrypt":false,"outputs":["ts"]},"callback_url":"https://cms.example/hook?x=1"`))
	if err != nil {
		t.Fatal(err)
	}
	want := Submission{
		Type: TypeTranscode, Queue: QueueDefault, Hash: testHash, Source: "in/film.mp4",
		Options:     pipeline.Options{Encrypt: false, Outputs: []string{"ts"}, Ladder: []string{}, SegmentSeconds: 6},
		CallbackURL: "https://cms.example/hook?x=1", Digest: got.Digest,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDigestNamesTheMeaning(t *testing.T) {
	digest := func(taskType string, p []byte) [32]byte {
		t.Helper()
		s, err := ParseSubmission(taskType, p)
		if err != nil {
			t.Fatal(err)
		}
		return s.Digest
	}
	plain := digest(TypeTranscode, payload(``))
	// What was asked for before an option existed is the same request afterwards.
	if got := fmt.Sprintf("%x", plain); got != "880e41ed5fc6414140e0b173262a8bc7175147535d7f82ebff342e15bb4e3c4a" {
		t.Errorf("the digest of a request without options has become %s", got)
	}
	for name, same := range map[string][]byte{
		"empty options":   payload(`,"options":{}`),
		"spelled out":     payload(`,"options":{"segment_seconds":6,"encrypt":true,"ladder":[],"outputs":["cmaf","ts"]},"callback_url":""`),
		"passthrough":     payload(`,"options":{"passthrough":"auto","codecs":["h264"],"audio":{"surround":"off"}}`),
		"another order":   payload(`,"options":{"outputs":["ts","cmaf"]}`),
		"the scheme":      payload(`,"options":{"scheme":"cbcs","pssh":[]}`),
		"escapes, spaces": []byte(" {\n\"source\" : \"in\\/film\\u002emp4\", \"\\u0068ash\":\"" + testHash + "\"} "),
	} {
		if digest(TypeTranscode, same) != plain {
			t.Errorf("%s: another digest", name)
		}
	}
	if fmt.Sprintf("%x", plain) != "880e41ed5fc6414140e0b173262a8bc7175147535d7f82ebff342e15bb4e3c4a" {
		t.Errorf("a request of before has another digest: %x", plain)
	}
	seen := map[[32]byte]string{plain: "plain"}
	for name, other := range map[string][]byte{
		"clear":    payload(`,"options":{"encrypt":false}`),
		"encoded":  payload(`,"options":{"passthrough":"off"}`),
		"clip":     payload(`,"options":{"clip":{"start":1.5}}`),
		"surround": payload(`,"options":{"audio":{"surround":"eac3"}}`),
		"loudness": payload(`,"options":{"loudness":{}}`),
		"mark":     payload(`,"options":{"watermark":{"source":"marks/a.png"}}`),
		"ts only":  payload(`,"options":{"outputs":["ts"]}`),
		"cenc":     payload(`,"options":{"scheme":"cenc"}`),
		"widevine": payload(`,"options":{"pssh":["widevine"]}`),
		"callback": payload(`,"callback_url":"http://a.example"`),
	} {
		d := digest(TypeTranscode, other)
		if first, dup := seen[d]; dup {
			t.Errorf("%s has the digest of %s", name, first)
		}
		seen[d] = name
	}
	if digest(TypeFull, payload(``)) == plain {
		t.Error("video:full has the digest of video:transcode")
	}
	if digest(TypeFull, payload(`,"options":{"transcode":{"encrypt":true}}`)) != digest(TypeFull, payload(``)) {
		t.Error("video:full: a spelled-out default changes the digest")
	}
}

func TestParseSubmissionRefuses(t *testing.T) {
	deep := strings.Repeat(`[`, 100) + strings.Repeat(`]`, 100)
	long := strings.Repeat("a", 1025)
	for _, c := range []struct {
		name, taskType, payload, code, says string
	}{
		{"unknown type", "video:other", `{}`, CodeTypeUnknown, "video:other"},
		{"our own doorbell", TypeRun, `{}`, CodeTypeUnknown, TypeRun},
		{"empty", "", ``, CodePayloadInvalid, "not JSON"},
		{"text", "", `hello`, CodePayloadInvalid, "not JSON"},
		{"cut", "", `{"hash":`, CodePayloadInvalid, "not JSON"},
		{"null", "", `null`, CodePayloadInvalid, "not a JSON object"},
		{"list", "", `[]`, CodePayloadInvalid, "not a JSON object"},
		{"trailing object", "", string(payload(``)) + `{}`, CodePayloadInvalid, "after the JSON object"},
		{"trailing garbage", "", string(payload(``)) + `x`, CodePayloadInvalid, "after the JSON object"},
		{"too large", "", `{"source":"` + strings.Repeat("a", 64<<10) + `"}`, CodePayloadTooLarge, "65536"},
		{"not UTF-8", "", "{\"source\":\"\xff\"}", CodePayloadInvalid, "UTF-8"},
		{"deep", "", `{"options":` + deep + `}`, CodePayloadInvalid, "nested too deeply"},
		{"unknown field", "", string(payload(`,"priority":1`)), CodePayloadInvalid, `"priority"`},
		{"clip of words", "", string(payload(`,"options":{"clip":{"start":"1"}}`)), CodePayloadInvalid, `"options.clip.start" must be a number`},
		{"clip with a length", "", string(payload(`,"options":{"clip":{"length":1}}`)), CodePayloadInvalid, `"options.clip.length"`},
		{"clip backwards", "", string(payload(`,"options":{"clip":{"start":3,"end":2}}`)), CodeOptionsInvalid, "options.clip is from 3 to 2 s"},
		{"watermark of nothing", "", string(payload(`,"options":{"watermark":{}}`)), CodePayloadInvalid, `"options.watermark.source" is missing`},
		{"loudness as a flag", "", string(payload(`,"options":{"loudness":true}`)), CodePayloadInvalid, `"options.loudness" must be an object`},
		{"unknown option", "", string(payload(`,"options":{"preset":"slow"}`)), CodePayloadInvalid, `"options.preset"`},
		{"case variant", "", string(payload(`,"Callback_URL":"https://a.example"`)), CodePayloadInvalid, `"Callback_URL"`},
		{"case duplicate", "", string(payload(`,"Hash":"x"`)), CodePayloadInvalid, "differ only in case"},
		{"duplicate", "", string(payload(`,"source":"b"`)), CodePayloadInvalid, `"source" is there twice`},
		{"duplicate option", "", string(payload(`,"options":{"encrypt":true,"encrypt":false}`)), CodePayloadInvalid, `"options.encrypt" is there twice`},
		{"hash missing", "", `{"source":"a"}`, CodePayloadInvalid, `"hash"`},
		{"hash upper case", "", `{"hash":"` + strings.ToUpper(testHash) + `","source":"a"}`, CodePayloadInvalid, `"hash"`},
		{"hash short", "", `{"hash":"` + testHash[1:] + `","source":"a"}`, CodePayloadInvalid, `"hash"`},
		{"hash a number", "", `{"hash":1,"source":"a"}`, CodePayloadInvalid, `"hash" must be a string`},
		{"source missing", "", `{"hash":"` + testHash + `"}`, CodePayloadInvalid, `"source" is missing`},
		{"source absolute", "", `{"hash":"` + testHash + `","source":"/a"}`, CodePayloadInvalid, "slash"},
		{"source long", "", `{"hash":"` + testHash + `","source":"` + long + `"}`, CodePayloadInvalid, "1024"},
		{"source control", "", `{"hash":"` + testHash + `","source":"a\u0000"}`, CodePayloadInvalid, "control"},
		{"source lone surrogate", "", `{"hash":"` + testHash + `","source":"a\ud800"}`, CodePayloadInvalid, "not Unicode"},
		{"source climbs", "", `{"hash":"` + testHash + `","source":"a/../b"}`, CodePayloadInvalid, "path segment"},
		{"options null", "", string(payload(`,"options":null`)), CodePayloadInvalid, `"options" must be an object`},
		{"encrypt a string", "", string(payload(`,"options":{"encrypt":"false"}`)), CodePayloadInvalid, `"options.encrypt" must be true or false`},
		{"encrypt null", "", string(payload(`,"options":{"encrypt":null}`)), CodePayloadInvalid, `"options.encrypt"`},
		{"outputs a string", "", string(payload(`,"options":{"outputs":"ts"}`)), CodePayloadInvalid, `"options.outputs" must be a list`},
		{"outputs of numbers", "", string(payload(`,"options":{"outputs":[1]}`)), CodePayloadInvalid, `"options.outputs"`},
		{"outputs empty", "", string(payload(`,"options":{"outputs":[]}`)), CodeOptionsInvalid, "options.outputs"},
		{"output unknown", "", string(payload(`,"options":{"outputs":["webm"]}`)), CodeOptionsInvalid, "webm"},
		{"rung unknown", "", string(payload(`,"options":{"ladder":["9000p"]}`)), CodeOptionsInvalid, "9000p"},
		{"segment a fraction", "", string(payload(`,"options":{"segment_seconds":6.0}`)), CodePayloadInvalid, "whole number"},
		{"segment huge", "", string(payload(`,"options":{"segment_seconds":99999999999999999999}`)), CodePayloadInvalid, "whole number"},
		{"segment odd", "", string(payload(`,"options":{"segment_seconds":5}`)), CodeOptionsInvalid, "segment_seconds"},
		{"full without its level", TypeFull, string(payload(`,"options":{"encrypt":true}`)), CodePayloadInvalid, `"options.encrypt"`},
		{"full unknown option", TypeFull, string(payload(`,"options":{"transcode":{"crf":1}}`)), CodePayloadInvalid, `"options.transcode.crf"`},
		{"full bad option", TypeFull, string(payload(`,"options":{"transcode":{"outputs":[]}}`)), CodeOptionsInvalid, "options.transcode.outputs"},
		{"callback relative", "", string(payload(`,"callback_url":"/hook"`)), CodePayloadInvalid, "absolute http"},
		{"callback of another scheme", "", string(payload(`,"callback_url":"file:///etc/passwd"`)), CodePayloadInvalid, "absolute http"},
		{"callback without a host", "", string(payload(`,"callback_url":"http://:80/"`)), CodePayloadInvalid, "absolute http"},
		{"callback with a user", "", string(payload(`,"callback_url":"http://u:p@a.example/"`)), CodePayloadInvalid, "password"},
		{"callback with a fragment", "", string(payload(`,"callback_url":"http://a.example/#"`)), CodePayloadInvalid, "fragment"},
		{"callback with a space", "", string(payload(`,"callback_url":"http://a.example/ x"`)), CodePayloadInvalid, "percent"},
		{"callback long", "", string(payload(`,"callback_url":"http://a.example/` + strings.Repeat("a", 2048) + `"`)), CodePayloadInvalid, "2048"},
		{"callback null", "", string(payload(`,"callback_url":null`)), CodePayloadInvalid, `"callback_url" must be a string`},
	} {
		t.Run(c.name, func(t *testing.T) {
			taskType := c.taskType
			if taskType == "" {
				taskType = TypeTranscode
			}
			got, err := ParseSubmission(taskType, []byte(c.payload))
			var bad *RequestError
			if !errors.As(err, &bad) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if bad.Code != c.code || !strings.Contains(bad.Message, c.says) {
				t.Errorf("got %v, want %s with %q", bad, c.code, c.says)
			}
			if len(bad.Message) > 400 {
				t.Errorf("the message has %d bytes", len(bad.Message))
			}
		})
	}
}

// What is accepted has one canonical spelling, and that has the same digest.
func FuzzParseSubmission(f *testing.F) {
	f.Add(false, payload(``))
	f.Add(true, payload(`,"options":{"transcode":{"encrypt":false,"ladder":["720p"]}}`))
	f.Add(false, payload(`,"options":{"segment_seconds":2,"outputs":["ts","cmaf"]},"callback_url":"http://a.example"`))
	f.Add(false, []byte(`{"hash":1,"Hash":[[{}]],"source":"\ud800"}`))
	f.Fuzz(func(t *testing.T, full bool, data []byte) {
		taskType := TypeTranscode
		if full {
			taskType = TypeFull
		}
		first, err := ParseSubmission(taskType, data)
		if err != nil {
			var bad *RequestError
			if !errors.As(err, &bad) || bad.Code == "" || bad.Message == "" {
				t.Fatalf("refused with %#v", err)
			}
			return
		}
		again, err := ParseSubmission(taskType, first.Payload())
		if err != nil {
			t.Fatalf("the canonical form is refused: %v\n%s", err, first.Payload())
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatal(diff)
		}
		if !bytes.Equal(first.Payload(), again.Payload()) {
			t.Fatal("two canonical forms")
		}
	})
}

func TestParseDoorbell(t *testing.T) {
	want := Doorbell{"a.b:c", 7}
	got, bad := parseDoorbell(want.payload())
	if bad != nil || got != want {
		t.Fatalf("round trip: %+v, %v", got, bad)
	}
	if got.TaskID() != "a.b:c:7" {
		t.Error(got.TaskID())
	}
	for _, p := range []string{
		``, `{}`, `{"job_id":"a"}`, `{"job_id":"a","dispatch_seq":0}`, `{"job_id":"a","dispatch_seq":"1"}`,
		`{"job_id":"a b","dispatch_seq":1}`, `{"job_id":"a","dispatch_seq":1,"x":1}`, `{"job_id":"a","dispatch_seq":1.5}`,
	} {
		if d, bad := parseDoorbell([]byte(p)); bad == nil {
			t.Errorf("%s is taken as %+v", p, d)
		}
	}
}
