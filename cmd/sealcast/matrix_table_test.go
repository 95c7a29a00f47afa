//go:build matrix

package main

import "strings"

// matrixTitle is a title that the matrix makes, by its name.
type matrixTitle struct {
	name, options string
	text          bool // the source has subtitles
}

// matrixOutput is a row of the matrix: an entry document of a title. A new
// output is one line.
type matrixOutput struct {
	name  string
	title string
	path  string // below /stream/{hash}/
	// scheme is how it is protected: empty, aes-128, cbcs or cenc.
	scheme  string
	eme     bool   // its keys come from the licence server only
	periods bool   // it has several keys
	codec   string // of the rendition to play, where that is not H.264
	mixed   bool   // there is H.264 beside it
	text    bool   // subtitles are to be shown
	byPath  bool   // the token stands in the address, for every player
}

func (o matrixOutput) dash() bool { return strings.HasSuffix(o.path, ".mpd") }

// aesFMP4: whole segments of fMP4 are encrypted.
func (o matrixOutput) aesFMP4() bool {
	return o.scheme == "aes-128" && !strings.HasPrefix(o.path, "ts/")
}

// samples are encrypted, not segments.
func (o matrixOutput) samples() bool { return o.scheme == "cbcs" || o.scheme == "cenc" }

// inPath: the token stands in the address for this player.
func (o matrixOutput) inPath(p matrixPlayer) bool { return o.scheme != "" && (o.byPath || p.noHeader) }

// needsToken: a tool that has the key itself does not.
func (o matrixOutput) needsToken(p matrixPlayer) bool {
	return o.scheme != "" && (!o.dash() || o.inPath(p))
}

var matrixTitles = []matrixTitle{
	{name: "clear", options: `{"encrypt":false,"segment_seconds":2,"passthrough":"off"}`},
	{name: "cbcs", options: `{"outputs":["cmaf","cmaf-aes128","ts"],"segment_seconds":2,"passthrough":"off"}`},
	{name: "cenc", options: `{"outputs":["cmaf"],"scheme":"cenc","segment_seconds":2,"passthrough":"off"}`},
	{name: "periods", options: `{"outputs":["cmaf-aes128","ts"],"key_period_seconds":4,"segment_seconds":2,"passthrough":"off"}`},
	{name: "text", options: `{"encrypt":false,"segment_seconds":2,"passthrough":"off"}`, text: true},
	{name: "av1", options: `{"encrypt":false,"outputs":["cmaf"],"codecs":["av1"],"segment_seconds":2}`},
	{name: "mixed", options: `{"outputs":["cmaf","cmaf-aes128"],"codecs":["h264","av1"],"segment_seconds":2,"passthrough":"off"}`},
	{name: "hevc", options: `{"encrypt":false,"outputs":["cmaf"],"codecs":["hevc"],"segment_seconds":2}`},
}

const (
	av1  = "av01"
	hevc = "hvc1"
)

var matrixOutputs = []matrixOutput{
	{name: "`ts`, clear", title: "clear", path: "ts/master.m3u8"},
	{name: "`cmaf`, clear, HLS", title: "clear", path: "master.m3u8"},
	{name: "`cmaf`, clear, DASH", title: "clear", path: "manifest.mpd"},
	{name: "`ts`, AES-128", title: "cbcs", path: "ts/master.m3u8", scheme: "aes-128"},
	{name: "`cmaf-aes128`", title: "cbcs", path: "cmaf-aes128/master.m3u8", scheme: "aes-128"},
	{name: "`cmaf`, cbcs, HLS", title: "cbcs", path: "master.m3u8", scheme: "cbcs"},
	{name: "`cmaf`, cbcs, HLS for EME", title: "cbcs", path: "eme.m3u8", scheme: "cbcs", eme: true},
	{name: "`cmaf`, cbcs, DASH", title: "cbcs", path: "manifest.mpd", scheme: "cbcs", eme: true},
	{name: "`cmaf`, cenc, HLS", title: "cenc", path: "master.m3u8", scheme: "cenc"},
	{name: "`cmaf`, cenc, DASH", title: "cenc", path: "manifest.mpd", scheme: "cenc", eme: true},
	{name: "`ts`, a key for every 4 s", title: "periods", path: "ts/master.m3u8", scheme: "aes-128", periods: true},
	{name: "`cmaf-aes128`, a key for every 4 s", title: "periods", path: "cmaf-aes128/master.m3u8", scheme: "aes-128", periods: true},
	{name: "`ts`, AES-128, token in the address", title: "cbcs", path: "ts/master.m3u8", scheme: "aes-128", byPath: true},
	{name: "`cmaf-aes128`, token in the address", title: "cbcs", path: "cmaf-aes128/master.m3u8", scheme: "aes-128", byPath: true},
	{name: "`ts`, a key for every 4 s, token in the address", title: "periods", path: "ts/master.m3u8", scheme: "aes-128", periods: true, byPath: true},
	{name: "`cmaf`, cbcs, HLS, token in the address", title: "cbcs", path: "master.m3u8", scheme: "cbcs", byPath: true},
	{name: "`cmaf`, cbcs, DASH, token in the address", title: "cbcs", path: "manifest.mpd", scheme: "cbcs", eme: true, byPath: true},
	{name: "`ts`, subtitles", title: "text", path: "ts/master.m3u8", text: true},
	{name: "`cmaf`, subtitles, HLS", title: "text", path: "master.m3u8", text: true},
	{name: "`cmaf`, subtitles, DASH", title: "text", path: "manifest.mpd", text: true},
	{name: "`cmaf`, AV1, HLS", title: "av1", path: "master.m3u8", codec: av1},
	{name: "`cmaf`, AV1, DASH", title: "av1", path: "manifest.mpd", codec: av1},
	{name: "`cmaf-aes128`, AV1 beside H.264", title: "mixed", path: "cmaf-aes128/master.m3u8", scheme: "aes-128", codec: av1, mixed: true},
	{name: "`cmaf`, cbcs, AV1 beside H.264, HLS", title: "mixed", path: "master.m3u8", scheme: "cbcs", codec: av1, mixed: true},
	{name: "`cmaf`, cbcs, AV1 beside H.264, DASH", title: "mixed", path: "manifest.mpd", scheme: "cbcs", eme: true, codec: av1, mixed: true},
	{name: "`cmaf`, HEVC, HLS", title: "hevc", path: "master.m3u8", codec: hevc},
	{name: "`cmaf`, HEVC, DASH", title: "hevc", path: "manifest.mpd", codec: hevc},
}

// matrixPlayer is a column of the matrix.
type matrixPlayer struct {
	name    string
	browser bool
	// cannot says why an output does not play, or is not for this player; empty:
	// it must play. What is tried all the same and plays fails the test: the
	// reason is out of date.
	cannot func(o matrixOutput) (why string, try bool)
	// noHeader: it cannot send the token as a header, and gets it in the address
	// wherever one is needed.
	noHeader bool
	// garbles: without a key it decodes encrypted samples as they are, and
	// shows grey.
	garbles bool
	// noSeek says why an output plays, but cannot be sought in; nil: it can.
	noSeek func(o matrixOutput) string
}

// but says what an output that plays lacks in this player.
func (p matrixPlayer) but(o matrixOutput) string {
	if p.noSeek == nil {
		return ""
	}
	return p.noSeek(o)
}

const (
	notHLS    = "reads DASH only"
	notDASH   = "reads HLS only"
	noSample  = "has no sample encryption in HLS"
	noLicence = "asks no licence server"
	// unsteady: it is tried, but whatever comes of it is no fault.
	unsteady = "stops at the end of a segment of fMP4 that is encrypted as a whole: VLC leaves the padding of AES on, unless the whole segment had come before it was read, and takes it for a box (\"unknown box type\"); in MPEG-TS that does no harm"
	libavHLS = "FFmpeg 5.1 leaves subtitles of HLS out (\"Can't support the subtitle\"); pictures and sound are those of the rows without"
)

// noHEVC: what a browser decodes is not the player's doing.
func noHEVC(o matrixOutput) (string, bool) {
	if o.codec == hevc {
		return "Debian's Chromium decodes no HEVC", true
	}
	return "", false
}

// noLibav is what FFmpeg's demuxers leave out, in ffmpeg and in mpv.
func noLibav(o matrixOutput) (string, bool) {
	switch {
	case o.eme && !o.dash():
		return noLicence, true
	case o.text && !o.dash():
		return libavHLS, true
	}
	return "", false
}

var matrixPlayers = []matrixPlayer{
	{name: "hls.js", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if o.dash() {
			return notDASH, false
		}
		return noHEVC(o)
	}},
	{name: "Shaka Player", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if o.eme && !o.dash() {
			return "refuses the KEYFORMAT; plays master.m3u8 and manifest.mpd", true
		}
		return noHEVC(o)
	}},
	{name: "dash.js", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if !o.dash() {
			return notHLS, false
		}
		return noHEVC(o)
	}},
	{name: "video.js", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if !o.dash() && o.scheme != "" && o.scheme != "aes-128" {
			return noSample, true
		}
		return noHEVC(o)
	}},
	{name: "native", browser: true, noHeader: true, cannot: func(o matrixOutput) (string, bool) {
		switch {
		case o.dash():
			return notDASH, true
		case o.samples():
			return noSample, true
		case o.aesFMP4():
			return "has AES-128 in MPEG-TS only; in fMP4 it says \"Failed to decrypt segment\"", true
		case o.text:
			return "has no text tracks of HLS; pictures and sound are those of the rows without", true
		}
		return noHEVC(o)
	}},
	{name: "ffmpeg", cannot: noLibav},
	{name: "mpv", cannot: noLibav, garbles: true, noSeek: func(o matrixOutput) string {
		const plays = "plays, but does not seek, and so goes neither to another rendition while it plays nor, with a fresh token, on from where it was: FFmpeg 5.1 cannot seek in HLS of fMP4 (mpv issues 13211 and 15184), not even in what it has made itself"
		switch {
		case !strings.HasSuffix(o.path, ".m3u8") || strings.HasPrefix(o.path, "ts/"):
			return ""
		case o.samples() && !o.byPath:
			return plays + "; with a wrong token it says \"Unable to open key file\" and shows grey"
		}
		return plays
	}},
	{name: "VLC", noHeader: true, cannot: func(o matrixOutput) (string, bool) {
		switch {
		case o.samples():
			return "has no sample encryption and asks no licence server", true
		case o.aesFMP4():
			return unsteady, true
		case o.text && o.dash():
			return "crashes when it is to show the text of DASH; pictures and sound play", true
		}
		return "", false
	}},
	{name: "GStreamer", noHeader: true, cannot: func(o matrixOutput) (string, bool) {
		switch {
		case o.samples():
			return "has no sample encryption and asks no licence server", true
		case o.aesFMP4():
			return "has AES-128 in MPEG-TS only; in fMP4 it says \"Could not determine type of stream\"", true
		}
		return "", false
	}},
}
