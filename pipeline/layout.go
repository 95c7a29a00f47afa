package pipeline

import (
	"path"
	"strings"
)

// The names of the entry documents, relative to an attempt's prefix.
const (
	masterCMAF       = "master.m3u8"
	manifestCMAF     = "manifest.mpd"
	masterCMAFAES128 = "cmaf-aes128/master.m3u8"
	masterTS         = "ts/master.m3u8"
)

// cacheForever: object keys lie below a prefix of their own per attempt and
// never change.
const cacheForever = "public, max-age=31536000, immutable"

// KeyPrefix returns where the objects of an attempt lie.
func KeyPrefix(hash, prefix string) string { return "stream/" + hash + "/" + prefix + "/" }

// trackDir returns the folder of a rendition in an output, for example
// "cmaf/v-720p" or "ts/a-0".
func trackDir(output, track string) string { return output + "/" + track }

// contentType returns the media type of an object by its name (RFC 8216, 4;
// ISO/IEC 23009-1, C; RFC 6381).
func contentType(name string) string {
	audio := strings.HasPrefix(path.Base(path.Dir(name)), "a-")
	switch path.Ext(name) {
	case ".m3u8":
		return "application/vnd.apple.mpegurl"
	case ".mpd":
		return "application/dash+xml"
	case ".mp4", ".m4s":
		if audio {
			return "audio/mp4"
		}
		return "video/mp4"
	case ".ts":
		return "video/mp2t"
	case ".m4a":
		return "audio/mp4"
	case ".mp3":
		return "audio/mpeg"
	case ".jpg":
		return "image/jpeg"
	case ".webp":
		return "image/webp"
	case ".json":
		return "application/json"
	case ".gif":
		return "image/gif"
	case ".vtt":
		return "text/vtt"
	}
	return "application/octet-stream"
}
