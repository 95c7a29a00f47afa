//go:build matrix

package main

import "strings"

// matrixTitle is a title that the matrix makes, by its name.
type matrixTitle struct {
	name, options string
	sounds        int // audio tracks of the source
}

// matrixOutput is a row of the matrix: an entry document of a title. A new
// output is one line.
type matrixOutput struct {
	name  string
	title string
	path  string // below /stream/{hash}/
	// scheme is how it is protected: empty, aes-128, cbcs or cenc.
	scheme string
	eme    bool // its keys come from the licence server only
}

func (o matrixOutput) dash() bool { return strings.HasSuffix(o.path, ".mpd") }

var matrixTitles = []matrixTitle{
	{"clear", `{"encrypt":false,"segment_seconds":2,"passthrough":"off"}`, 2},
	{"cbcs", `{"outputs":["cmaf","cmaf-aes128","ts"],"segment_seconds":2,"passthrough":"off"}`, 2},
	{"cenc", `{"outputs":["cmaf"],"scheme":"cenc","segment_seconds":2,"passthrough":"off"}`, 2},
}

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
}

// matrixPlayer is a column of the matrix.
type matrixPlayer struct {
	name    string
	browser bool
	// cannot says why an output does not play, or is not for this player; empty:
	// it must play. What is tried all the same and plays fails the test: the
	// reason is out of date.
	cannot func(o matrixOutput) (why string, try bool)
}

const (
	notHLS    = "reads DASH only"
	notDASH   = "reads HLS only"
	noHeader  = "cannot send the token as a header"
	noSample  = "has no sample encryption in HLS"
	noLicence = "asks no licence server"
)

var matrixPlayers = []matrixPlayer{
	{name: "hls.js", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if o.dash() {
			return notDASH, false
		}
		if o.eme {
			return "needs a licence URL in its configuration; plays master.m3u8 with hls-clearkey.js", false
		}
		return "", false
	}},
	{name: "Shaka Player", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if o.eme && !o.dash() {
			return "refuses the KEYFORMAT; plays master.m3u8 and manifest.mpd", true
		}
		return "", false
	}},
	{name: "dash.js", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if !o.dash() {
			return notHLS, false
		}
		return "", false
	}},
	{name: "video.js", browser: true, cannot: func(o matrixOutput) (string, bool) {
		if !o.dash() && o.scheme != "" && o.scheme != "aes-128" {
			return noSample, true
		}
		return "", false
	}},
	{name: "native", browser: true, cannot: func(o matrixOutput) (string, bool) {
		switch {
		case o.dash():
			return notDASH, true
		case o.scheme != "":
			return noHeader, true
		}
		return "", false
	}},
	{name: "ffmpeg", cannot: func(o matrixOutput) (string, bool) {
		if o.eme && !o.dash() {
			return noLicence, true
		}
		return "", false
	}},
	{name: "mpv", cannot: func(o matrixOutput) (string, bool) {
		if o.eme && !o.dash() {
			return noLicence, true
		}
		return "", false
	}},
	{name: "VLC", cannot: func(o matrixOutput) (string, bool) {
		if o.scheme != "" {
			return noHeader, true
		}
		return "", false
	}},
	{name: "GStreamer", cannot: func(o matrixOutput) (string, bool) {
		if o.scheme != "" {
			return noHeader, true
		}
		return "", false
	}},
}
