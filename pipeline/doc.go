// Package pipeline turns a source into a verified presentation. It knows no
// queue, no database and no HTTP server that others reach.
//
// The words:
//
//	source        the uploaded object; after probing a typed Source
//	ladder, rung  the wish list of picture sizes, one entry of it
//	rendition     one encoded result: a video rung or an audio track
//	output        one packaging of all renditions: cmaf, ts
//	segment       a CMAF or MPEG-TS media segment; init segment: the EXT-X-MAP target
//	inventory     every object of a presentation with size and SHA-256
//
// The stages overlap; nothing waits and no media byte rests on disk:
//
//	source in the store
//	   │ range reads (gateway.go, loopback, one object)
//	   ▼
//	ffmpeg: one decode, all rungs (ladder.go, encode.go)
//	   │ one inherited pipe per rendition, copied to each packager (tee.go)
//	   ├──────────────────────────┐
//	   ▼                          ▼
//	Shaka Packager, cmaf       Shaka Packager, clear ts      (pack.go)
//	   │ HTTP PUT, loopback       │
//	   ▼                          ▼
//	sink: memory, bounded; AES-128 for ts (sink.go, segment.go)
//	   │ upload, retried (upload.go)
//	   ▼
//	store: segments ─► media playlists ─► multivariant playlist and MPD
//	                     ▲ the verify gate stands here (gate.go, lastrow.go, verify.go, decoder.go)
//
// Memory: the sink holds at most Config.SinkBytes, spare room of its buffers
// included, plus one segment in flight per rendition and output (a PUT is read
// only while the sink has room, so a slow store slows the encode). The gate
// holds one clear copy of one segment per rendition and output for each row
// that it checks, two rows at most, and up to three copies of the eight
// segments that are being read back. The gateway holds two blocks of at most
// 4 MiB per open read; the packager's cache is 4 MiB per stream.
//
// Nothing hangs for ever: calls of the store have deadlines and a limit of
// tries (retry), a child that has nothing to show for two minutes ends the
// attempt (watchdog.go), an encode that runs on behind the promised end is cut
// (trackFacts.Most).
package pipeline
