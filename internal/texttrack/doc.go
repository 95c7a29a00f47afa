// Package texttrack is all that sealcast knows about text tracks: subtitles and
// captions. It is pure: bytes in, bytes out; it reads no file and asks nobody.
//
//	decode.go    bytes of a stranger → text: UTF-8, UTF-16, Windows-1252
//	parse.go     text → cues, by what it looks like: WebVTT or SubRip
//	webvtt.go    W3C WebVTT          srt.go    SubRip
//	markup.go    the text of a cue: what may stay of its tags
//	settings.go  where a cue stands
//	segment.go   cues → segments on a fixed grid
//	write.go     segments and whole documents as WebVTT; the media playlist
//	track.go     what a track is called: language, name, kind
//	playlist.go  tracks in a multivariant playlist (RFC 8216bis, 4.4.6.1)
//	manifest.go  tracks in an MPD (ISO/IEC 23009-1, 5.3.3)
//
// Everything that is written is made anew from cues, nothing is copied: style
// sheets, regions, comments, ids and unknown tags of a source stay behind.
package texttrack
