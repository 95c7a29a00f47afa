package pipeline_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

const licenceURI = baseURL + "/api/license/clearkey/ab?a=1&b=2"

func titleKey(t *testing.T) pipeline.Key {
	t.Helper()
	kid, err := cenc.ParseKID("2468c6936d3ea029d774b598b6f70336")
	if err != nil {
		t.Fatal(err)
	}
	return pipeline.Key{KID: kid, URI: baseURL + "/api/key/ab"}
}

// The packager's playlist with DRM systems falls into one for the key route,
// which no other key confuses, and one for EME players.
func TestSplitKeys(t *testing.T) {
	const head, tail = "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-MAP:URI=\"init.mp4\"\n", "#EXTINF:6.000,\n1.m4s\n#EXT-X-ENDLIST\n"
	const identity = `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="` + baseURL + `/api/key/ab",IV=0x7b91e36dd4d4dad09345d5ede888f0af,KEYFORMAT="identity"` + "\n"
	const widevine = `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="data:text/plain;base64,AAAA",KEYID=0x2468c6936d3ea029d774b598b6f70336,IV=0x7b91e36dd4d4dad09345d5ede888f0af,KEYFORMATVERSIONS="1",KEYFORMAT="urn:uuid:edef8ba9-79d6-4ace-a3c8-27dcd51d21ed"` + "\n"
	const clearKey = `#EXT-X-KEY:METHOD=SAMPLE-AES,URI="` + licenceURI + `",KEYID=0x2468c6936d3ea029d774b598b6f70336,IV=0x7b91e36dd4d4dad09345d5ede888f0af,KEYFORMAT="org.w3.clearkey",KEYFORMATVERSIONS="1"` + "\n"
	p := pipeline.Protect(pipeline.DefaultOptions(), titleKey(t))
	ours, theirs := pipeline.SplitKeys([]byte(head+identity+widevine+tail), p, licenceURI)
	if got, want := string(ours), head+identity+tail; got != want {
		t.Errorf("for the key route:\n%s\nwant:\n%s", got, want)
	}
	if got, want := string(theirs), head+clearKey+widevine+tail; got != want {
		t.Errorf("for EME players:\n%s\nwant:\n%s", got, want)
	}
	master := pipeline.SampleMaster()
	got := string(pipeline.WithSessionKeys(pipeline.MultivariantEME(master), theirs))
	golden(t, "eme.m3u8", got)
	if same := string(pipeline.WithSessionKeys(master, []byte(head+tail))); same != string(master) {
		t.Errorf("a playlist without keys adds to the multivariant playlist:\n%s", same)
	}
}

func TestSignalClearKey(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("testdata", "manifest.mpd"))
	if err != nil {
		t.Fatal(err)
	}
	signalled, err := pipeline.SignalClearKey(doc, licenceURI)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "manifest-clearkey.mpd", string(signalled))
	made := map[string]int{"cmaf/v-360p": 2, "cmaf/a-0": 2}
	if err := pipeline.CheckManifest(signalled, made, pipeline.Protect(pipeline.DefaultOptions(), titleKey(t))); err != nil {
		t.Errorf("the manifest does not pass any more: %v", err)
	}
	one := strings.Replace(string(doc), "urn:uuid:1077efec", "urn:uuid:1077efed", 1)
	if _, err := pipeline.SignalClearKey([]byte(one), licenceURI); err == nil {
		t.Error("a manifest that lacks the common system in one set passes")
	}
}
