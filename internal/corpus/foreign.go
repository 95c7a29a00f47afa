package corpus

import (
	"bytes"
	"compress/gzip"
	"maps"
	"slices"
	"strings"
)

// foreign are files that are no video container that we know: playlists,
// manifests and scripts that would make a careless reader open something else,
// and other formats. All of them come under a video's name.
func foreign(can Canary) []Medium {
	url, file := can.URL+"/", "file://"+can.File
	var list []Medium
	add := func(name, body string) {
		list = append(list, Medium{Name: name, Body: []byte(body), Want: "source_unreadable"})
	}
	hls := "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
	add("hls of http segments", hls+url+"1.ts\n#EXT-X-ENDLIST\n")
	add("hls of local files", hls+file+"\n#EXT-X-ENDLIST\n")
	add("hls with a byte order mark", "\ufeff"+hls+url+"bom.ts\n")
	add("hls after empty lines", "\n\n"+hls+url+"lines.ts\n")
	add("hls in UTF-16", "\xff\xfe#\x00E\x00X\x00T\x00M\x003\x00U\x00\n\x00")
	add("hls multivariant", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n"+url+"v.m3u8\n")
	add("hls with a key", "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\""+url+"key\"\n#EXTINF:1,\n"+url+"k.ts\n")
	add("hls with a map", "#EXTM3U\n#EXT-X-MAP:URI=\""+url+"init.mp4\"\n#EXTINF:1,\n"+url+"m.m4s\n")
	for _, scheme := range []string{"subfile,,start,0,end,9,,:", "concat:", "async:", "cache:", "crypto:", "tee:", "unix:", "pipe:", "tcp:", "gopher:", "ftp:", "sftp:", "data:text/plain;base64,"} {
		add("hls through "+strings.TrimRight(scheme, ":,"), hls+scheme+can.File+"\n#EXT-X-ENDLIST\n")
	}
	add("plain m3u", url+"1.mp3\n")
	add("pls", "[playlist]\nFile1="+url+"pls.mp4\nNumberOfEntries=1\n")
	add("dash", `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>`+url+`dash.mp4</BaseURL><SegmentBase/></Representation></AdaptationSet></Period></MPD>`)
	add("dash with an entity", `<?xml version="1.0"?><!DOCTYPE MPD [<!ENTITY x SYSTEM "`+file+`">]><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>&x;</Period></MPD>`)
	add("smooth manifest", `<SmoothStreamingMedia MajorVersion="2" Duration="1"><StreamIndex Type="video" Url="`+url+`"/></SmoothStreamingMedia>`)
	add("concat list", "file '"+can.File+"'\n")
	add("concat list of urls", "ffconcat version 1.0\nfile "+url+"c.mp4\n")
	add("sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n")
	add("asx", `<asx version="3.0"><entry><ref href="`+url+`asx.wmv"/></entry></asx>`)
	add("windows reference", "[Reference]\nRef1="+url+"ref.asf\n")
	add("rtsp text", "rtsptext\nrtsp://127.0.0.1/x\n")
	add("rtsp url", "rtsp://127.0.0.1:554/x\n")
	add("smil", `<smil><body><video src="`+url+`smil.mp4"/></body></smil>`)
	add("quicktime link", `<?xml version="1.0"?><?quicktime type="application/x-quicktime-media-link"?><embed src="`+url+`q.mov"/>`)
	add("xspf", `<playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList><track><location>`+url+`x</location></track></trackList></playlist>`)
	add("imf composition", `<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>urn:uuid:0</Id></CompositionPlaylist>`)
	add("svg", `<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink"><image x:href="`+url+`svg.png"/></svg>`)
	add("postscript", "%!PS-Adobe-3.0\n("+can.File+") (r) file run\n")
	add("magick vector", "push graphic-context\nfill 'url("+url+"mvg)'\npop graphic-context\n")
	add("avisynth", "AviSource(\""+can.File+"\")\n")
	add("vapoursynth", "import vapoursynth\nopen('"+can.File+"')\n")
	add("lavfi graph", "movie="+can.File+"[out]\n")
	add("ffmetadata", ";FFMETADATA1\ntitle="+file+"\n")
	add("srt subtitles", "1\n00:00:00,000 --> 00:00:09,000\n<img src="+url+">\n")
	add("webvtt", "WEBVTT\n\n00:00.000 --> 00:09.000\nhello\n")
	add("vobsub index", "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n")
	add("ass subtitles", "[Script Info]\nScriptType: v4.00+\n[Fonts]\nfontname: "+can.File+"\n")
	add("html", "<!doctype html><video src=\""+url+"h.mp4\"></video>")
	add("pdf", "%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n")
	add("shell script", "#!/bin/sh\ncat "+can.File+"\n")
	magics := map[string]string{
		"zip": "PK\x03\x04\x14\x00", "7z": "7z\xbc\xaf\x27\x1c", "rar": "Rar!\x1a\x07\x00", "xz": "\xfd7zXZ\x00", "bzip2": "BZh9",
		"elf": "\x7fELF\x02\x01\x01", "windows program": "MZ\x90\x00", "java class": "\xca\xfe\xba\xbe", "sqlite": "SQLite format 3\x00",
		"jpeg": "\xff\xd8\xff\xe0\x00\x10JFIF\x00", "png": "\x89PNG\r\n\x1a\n", "gif": "GIF89a", "tiff": "II*\x00", "webp": "RIFF\x10\x00\x00\x00WEBPVP8 ",
		"wav": "RIFF\x24\x00\x00\x00WAVEfmt ", "flac": "fLaC\x00", "mp3": "ID3\x03\x00", "aac": "\xff\xf1\x50\x80", "midi": "MThd\x00\x00\x00\x06",
		"raw h264": "\x00\x00\x00\x01\x67\x42\x00\x1e", "ivf": "DKIF\x00\x00\x20\x00VP80", "yuv4mpeg": "YUV4MPEG2 W160 H90 F25:1\n", "flash": "FWS\x09",
		"realmedia": ".RMF\x00\x00\x00\x12", "nut": "nut/multimedia container\x00", "wtv": "\xb7\xd8\x00\x20\x37\x49\xda\x11\xa6\x4e\x00\x07\xe9\x5e\xad\x8d",
	}
	for _, name := range slices.Sorted(maps.Keys(magics)) {
		add(name+" under a video's name", magics[name]+strings.Repeat("\x00payload", 64))
	}
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_, _ = w.Write(bytes.Repeat([]byte(hls), 1000)) // a buffer takes everything
	_ = w.Close()
	add("gzip of a playlist", zipped.String())
	add("one byte", "G")
	add("zeros", strings.Repeat("\x00", 4096))
	add("ones", strings.Repeat("\xff", 4096))
	add("sync bytes in the wrong distance", strings.Repeat("G"+strings.Repeat("\x00", 190), 20))
	return append(list, polyglots(can)...)
}

// polyglots begin as a container that we know and go on as something else.
func polyglots(can Canary) []Medium {
	text := "\n#EXTM3U\n#EXTINF:9,\n" + can.URL + "/polyglot.ts\n#EXTINF:9,\nfile://" + can.File + "\n#EXT-X-ENDLIST\n"
	ts := make([]byte, 188*20)
	for i := 0; i < len(ts); i += 188 {
		ts[i] = 'G'
		copy(ts[i+4:], text)
	}
	var list []Medium
	for _, p := range []struct{ name, body string }{
		{"ftyp and a playlist", "\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2" + text},
		{"free box of a playlist", "\x00\x00\x00\x08free" + text},
		{"mdat of a playlist", "\x00\x00\x00\x00mdat" + text},
		{"box size that spells a playlist", "#EXTftyp" + text},
		{"Matroska magic and a playlist", "\x1a\x45\xdf\xa3" + text},
		{"AVI magic and a playlist", "RIFF\xff\xff\x00\x00AVI " + text},
		{"FLV magic and a playlist", "FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00" + text},
		{"Ogg magic and a playlist", "OggS\x00\x02" + text},
		{"ASF magic and a playlist", "\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c" + text},
		{"MXF magic and a playlist", "\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02\x01\x01\x02\x04\x00" + text},
		{"program stream magic and a playlist", "\x00\x00\x01\xba" + text},
		{"transport stream of a playlist", string(ts)},
	} {
		list = append(list, Medium{Name: p.name, Body: []byte(p.body), Want: "source_unreadable|source_no_video"})
	}
	return list
}
