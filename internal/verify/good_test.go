package verify_test

import "testing"

// What the pipeline makes is accepted without a warning.
func TestAcceptsWhatWeMake(t *testing.T) {
	for _, c := range []struct {
		name, entry string
		packaging   string
		renditions  int // I-frame playlists are some
		keys        int
	}{
		{"cbcs by HLS", "master.m3u8", encrypted, 5, 1},
		{"cbcs by DASH", "manifest.mpd", encrypted, 3, 1},
		{"AES-128 in MPEG-TS", "ts/master.m3u8", encrypted, 3, 1},
		{"cbcs by HLS for EME", "eme.m3u8", encrypted, 5, 1},
		{"cenc by HLS for EME", "eme.m3u8", withCENC, 5, 1},
		{"AES-128 in fMP4", "cmaf-aes128/master.m3u8", encrypted, 3, 1},
		{"cenc by HLS", "master.m3u8", withCENC, 5, 1},
		{"cenc by DASH", "manifest.mpd", withCENC, 3, 1},
		{"clear CMAF by HLS", "master.m3u8", inClear, 5, 0},
		{"clear CMAF by DASH", "manifest.mpd", inClear, 3, 0},
		{"clear MPEG-TS", "ts/master.m3u8", inClear, 5, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := (&site{title: titleOf(t, c.packaging)}).verify(t, c.entry)
			if !r.OK || r.Warnings > 0 || len(r.Renditions) != c.renditions || r.Keys != c.keys {
				t.Fatalf("%d keys\n%s", r.Keys, text(r))
			}
			for _, x := range r.Renditions {
				if x.Fetched != x.Segments || x.Segments != 3 || x.Kind == "video" && x.Pictures != 72 || x.Kind == "audio" && x.Sounds == 0 {
					t.Errorf("%+v", x)
				}
			}
		})
	}
}
