package verify

import (
	"strings"
	"testing"
)

// Property: whatever a playlist holds, it is refused or read within bounds,
// every segment has a place, and every check can be run over it.
func FuzzPlaylist(f *testing.F) {
	f.Add([]byte("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:6\n#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=0x1\n#EXT-X-MAP:URI=\"i\",BYTERANGE=\"9@0\"\n#EXTINF:6.0,\n#EXT-X-BYTERANGE:5@7\na\n#EXT-X-DISCONTINUITY\n#EXTINF:2,\n#EXT-X-BYTERANGE:5\na\n#EXT-X-ENDLIST\n"))
	f.Add([]byte("#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",URI=\"a\"\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"avc1.1,mp4a.40.2\",AUDIO=\"a\"\nv\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"k\"\n"))
	f.Add([]byte("\ufeff#EXTM3U\r\n#EXT-X-KEY:METHOD=NONE\r\n#EXTINF:-1,\r\nx\r\n"))
	f.Fuzz(func(t *testing.T, doc []byte) {
		list, err := parsePlaylist("http://h/x", doc)
		if err != nil {
			return
		}
		p := &presentation{Protocol: protocolHLS, URL: "http://h/x", Playlists: []*playlist{list}}
		r := newHLSRendition("x", video, list)
		p.Renditions = []*rendition{r}
		for _, s := range list.Streams {
			p.Variants = append(p.Variants, &variant{Name: variantName(s.Tag.Attrs), Tag: s.Tag, Rendition: r})
		}
		if len(list.Entries) > maxSegments || len(list.Faults) > 100 || len(r.Segments) != len(list.Entries) {
			t.Fatalf("%d entries, %d faults", len(list.Entries), len(list.Faults))
		}
		for _, c := range Checks() {
			findingsOf(c, p)
		}
	})
}

// Property: whatever a manifest holds, it is refused or expands within bounds,
// and every check can be run over it.
func FuzzManifest(f *testing.F) {
	f.Add([]byte(`<MPD type="static" profiles="p" minBufferTime="PT2S" mediaPresentationDuration="PT6S"><Period><AdaptationSet contentType="video" segmentAlignment="true"><ContentProtection schemeIdUri="urn:mpeg:dash:mp4protection:2011" value="cbcs" default_KID="00-11"/><Representation id="0" bandwidth="1" codecs="avc1.1" mimeType="video/mp4"><SegmentTemplate timescale="1" initialization="i" media="$Number$" startNumber="1"><SegmentTimeline><S t="0" d="2" r="2"/></SegmentTimeline></SegmentTemplate></Representation></AdaptationSet></Period></MPD>`))
	f.Add([]byte(`<MPD><Period start="PT1S" duration="PT9999999S"><AdaptationSet><SegmentTemplate media="$Time%09d$" duration="1"/><Representation/></AdaptationSet></Period></MPD>`))
	f.Add([]byte(`<MPD><Period duration="PT9S"><AdaptationSet><SegmentList duration="3"><Initialization range="0-9"/><SegmentURL mediaRange="10-19"/></SegmentList><Representation><BaseURL>a</BaseURL></Representation></AdaptationSet></Period></MPD>`))
	f.Add([]byte(`<MPD><Period><AdaptationSet><Representation><SegmentTemplate media="x"><SegmentTimeline><S d="1" r="9223372036854775807"/><S d="0" r="-1"/></SegmentTimeline></SegmentTemplate></Representation></AdaptationSet></Period></MPD>`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		if strings.Count(string(doc), "<Rep")*strings.Count(string(doc), "<S") > 16 {
			return // each may expand to maxSegments: slow, and nothing new
		}
		p := &presentation{Protocol: protocolDASH, URL: "http://h/x"}
		g := &gatherer{cfg: Config{URL: "http://h/stream/x/m.mpd"}}
		if err := g.openDASH(p, doc); err != nil {
			return
		}
		for _, r := range p.Renditions {
			if len(r.Segments) > maxSegments {
				t.Fatalf("%d segments", len(r.Segments))
			}
		}
		for _, c := range Checks() {
			findingsOf(c, p)
		}
	})
}

// Property: no bytes make the readers of segments panic, and times are finite.
func FuzzSegment(f *testing.F) {
	packet := append([]byte{0x47, 0x40, 0x00, 0x10, 0, 0, 0xb0, 0x0d, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0, 0x20, 0, 0, 0, 0}, make([]byte, 167)...)
	f.Add(packet)
	f.Add([]byte("\x00\x00\x00\x10moof\x00\x00\x00\x08mfhd\x00\x00\x00\x08mdat"))
	f.Add([]byte("WEBVTT\n\n00:00.000 --> 00:01.000\nx"))
	for _, b := range hostileBoxes() {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		tracks, err := readTS(body)
		if err == nil && len(tracks) > 64 {
			t.Fatalf("%d tracks", len(tracks))
		}
		readWebVTT(body)
		looksClear(body)
		o, err := openInit(body)
		if err != nil {
			o = &opened{tracks: []trackInit{{ID: 1, Kind: video, Scheme: "cenc", IVSize: 8, Protected: true}}}
		}
		for _, key := range [][]byte{nil, make([]byte, 16)} {
			s := &segment{}
			if clear, err := clearMP4(s, body, o, key); err == nil && s.Decrypt == "" && len(clear) == 0 {
				t.Fatal("a segment without bytes, and no fault")
			}
		}
		_ = readPartial(&segment{}, body, o)
	})
}
