package verify_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/mp4"
)

// The ways in which a presentation is damaged.

// sub replaces what a pattern matches, once in each object.
func (x *title) sub(t testing.TB, pattern, expr, now string) {
	t.Helper()
	re := regexp.MustCompile(expr)
	x.edit(t, pattern, func(b []byte) []byte {
		m := re.FindSubmatchIndex(b)
		if m == nil {
			return b
		}
		out := append([]byte{}, b[:m[0]]...)
		return append(re.Expand(out, []byte(now), b, m), b[m[1]:]...)
	})
}

// shift moves the decode time of segments, by ticks of its time scale.
func (x *title) shift(t testing.TB, pattern string, seconds float64) {
	t.Helper()
	for _, name := range x.names(t, pattern) {
		folder := name[:strings.LastIndexByte(name, '/')]
		ticks := uint64(seconds * float64(timescale(t, x.files[folder+"/init.mp4"])))
		body := bytes.Clone(x.files[name])
		at := bytes.Index(body, []byte("tfdt"))
		if at < 0 {
			t.Fatalf("%s has no tfdt", name)
		}
		if body[at+4] == 1 {
			binary.BigEndian.PutUint64(body[at+8:], binary.BigEndian.Uint64(body[at+8:])+ticks)
		} else {
			binary.BigEndian.PutUint32(body[at+8:], binary.BigEndian.Uint32(body[at+8:])+uint32(ticks))
		}
		x.files[name] = body
	}
}

func timescale(t testing.TB, init []byte) uint32 {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(init))
	if err != nil {
		t.Fatal(err)
	}
	return f.Init.Moov.Trak.Mdia.Mdhd.Timescale
}

// notKey takes the mark of a key picture from a segment's first sample.
func notKey(t testing.TB, body []byte) []byte {
	t.Helper()
	f, err := mp4.DecodeFile(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	traf := f.Segments[0].Fragments[0].Moof.Traf
	traf.Trun.AddSampleDefaultValues(traf.Tfhd, nil)
	if traf.Trun.HasSampleFlags() {
		traf.Trun.Samples[0].Flags = mp4.SetNonSyncSampleFlags(traf.Trun.Samples[0].Flags)
	} else {
		traf.Trun.SetFirstSampleFlags(mp4.NonSyncSampleFlags | mp4.SampleDependsOn1)
	}
	var out bytes.Buffer
	for _, s := range f.Segments {
		if err := s.Encode(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

// dropTime takes the time from one PES packet within a clear MPEG-TS segment,
// so that its picture is decoded but not counted.
func dropTime(t testing.TB, body []byte) []byte {
	t.Helper()
	n := 0
	for at := 0; at < len(body); at += 188 {
		p := body[at : at+188]
		pes := bytes.Index(p, []byte{0, 0, 1, 0xe0})
		if p[1]&0x40 == 0 || pes < 0 || p[pes+7]&0x80 == 0 {
			continue
		}
		if n++; n == 6 {
			p[pes+7] = 0
			copy(p[pes+9:], bytes.Repeat([]byte{0xff}, int(p[pes+8])))
			return body
		}
	}
	t.Fatalf("%d pictures with a time", n)
	return nil
}

var keyWithIV = regexp.MustCompile(`IV=0x([0-9a-f]{32})`)

// repeatIV encrypts the second segment of a playlist again, with the IV of the
// first one.
func (x *title) repeatIV(t testing.TB, folder string) {
	t.Helper()
	list := string(x.files[folder+"/index.m3u8"])
	ivs := keyWithIV.FindAllStringSubmatch(list, 2)
	kid := regexp.MustCompile(`kid=([0-9a-f]{32})`).FindStringSubmatch(list)
	if len(ivs) != 2 || kid == nil {
		t.Fatalf("no two IVs in %s", list)
	}
	first, _ := hex.DecodeString(ivs[0][1])
	second, _ := hex.DecodeString(ivs[1][1])
	block, err := aes.NewCipher(x.keys[kid[1]])
	if err != nil {
		t.Fatal(err)
	}
	name := x.names(t, folder+"/2.ts")[0]
	body := bytes.Clone(x.files[name])
	cipher.NewCBCDecrypter(block, second).CryptBlocks(body, body)
	cipher.NewCBCEncrypter(block, first).CryptBlocks(body, body)
	x.files[name] = body
	x.files[folder+"/index.m3u8"] = []byte(strings.Replace(list, ivs[1][1], ivs[0][1], 1))
}

// addText gives a title a subtitle rendition of one segment.
func (x *title) addText(t testing.TB, vtt string) {
	t.Helper()
	x.files["text/index.m3u8"] = []byte("#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXTINF:6.000,\n1.vtt\n#EXT-X-ENDLIST\n")
	x.files["text/1.vtt"] = []byte(vtt)
	x.types["text/index.m3u8"], x.types["text/1.vtt"] = mediaType("a.m3u8"), mediaType("a.vtt")
	x.replace(t, "master.m3u8", "#EXT-X-STREAM-INF", `#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="text",NAME="English",LANGUAGE="en",URI="text/index.m3u8"`+"\n#EXT-X-STREAM-INF")
}

// addIFrames gives a clear title an I-frame playlist of one entry: the
// fragment up to somewhere within its pictures.
func (x *title) addIFrames(t testing.TB, change func([]byte) []byte) {
	t.Helper()
	body := change(bytes.Clone(x.files["cmaf/v-240p/1.m4s"]))
	x.files["cmaf/v-240p/frames.m4s"] = body
	x.types["cmaf/v-240p/frames.m4s"] = "video/mp4"
	end := bytes.Index(body, []byte("mdat")) + 500
	x.files["cmaf/v-240p/more.m3u8"] = fmt.Appendf(nil, "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:6\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-I-FRAMES-ONLY\n"+
		"#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:6.000,\n#EXT-X-BYTERANGE:%d@0\nframes.m4s\n#EXT-X-ENDLIST\n", end)
	x.types["cmaf/v-240p/more.m3u8"] = mediaType("a.m3u8")
	x.replace(t, "master.m3u8", "#EXT-X-STREAM-INF",
		`#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=9000,CODECS="avc1.640015",RESOLUTION=426x240,URI="cmaf/v-240p/more.m3u8"`+"\n#EXT-X-STREAM-INF")
}

// clearTS puts the clear segment of another packaging in place.
func (x *title) clearTS(t testing.TB, clear *title, name string) {
	t.Helper()
	x.edit(t, name, func([]byte) []byte { return clear.files[name] })
}

// dropLast removes the last n segments from a media playlist.
func (x *title) dropLast(t testing.TB, name string, n int) {
	t.Helper()
	x.edit(t, name, func(b []byte) []byte {
		parts := strings.Split(string(b), "#EXTINF")
		return []byte(strings.Join(parts[:len(parts)-n], "#EXTINF") + "#EXT-X-ENDLIST\n")
	})
}
