// Package verify plays the part of a strict client against any HLS or DASH
// address, of ours or of others: it fetches every segment of every rendition,
// decrypts and decodes it, and then holds what it found against a list of
// checks, each with the clause that it comes from (Checks).
//
//	gather   fetch ─► parse ─► decrypt ─► read boxes or packets ─► ffmpeg
//	judge    every check looks at the facts alone and reports findings
//
// Gathering has the effects, checks are pure. Of a segment only its facts are
// kept, so that memory is bounded by the number of segments in flight. It
// shares no code with the pipeline: what it can play is proof.
//
// Everything that is read comes from strangers: documents and segments are
// bounded, parsers give an error for anything, and ffmpeg runs in the sandbox
// and sees clear media on stdin only, no address, no key and no token.
package verify
