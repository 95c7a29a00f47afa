//go:build matrix

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// writeDocs writes docs/players.md from what was seen.
func (m *matrix) writeDocs(file string) {
	var b strings.Builder
	fmt.Fprintf(&b, `# What plays where

Written by `+"`make matrix`"+`, which plays every output in every player. ● plays; ◐ plays, but not all of what follows; – and ✗ do not. The notes say why: – is not for this player, ✗ was tried and does not play.

A cell plays when the player goes past 6 s from the start, is heard (both audio tracks, told apart by their tones; native and GStreamer the first one), shows the source's pictures after seeks, goes from one rendition to the other and back while it plays and goes on in each, survives a key refresh, and shows an error and no picture with a wrong token: that of another title, or in an address one that has ended. Where there are subtitles they stand on the picture in their time and no longer. Where there is another codec the player of the browser says that this is what it plays (native does not tell).

Seeks go to 1.02 s, 9.22 s and 3.5 s; those of tools to 9.22 s and 3.5 s (VLC, which is driven by its remote control in whole seconds: 9 s and 7 s; ffmpeg goes there while it decodes).

Renditions: players of the browser are told which (the lowest, then the highest); native, VLC and GStreamer choose by what they measure, native and VLC over a connection that becomes slow for a while, GStreamer by what it is told about its connection; mpv is told which while it plays; ffmpeg, which has no viewer, cuts from one to the other and back at the ends of segments. In tools each picture on the way must be one of the source, in their order and as time goes by, to 1.5 s.

Key refresh: while the film plays the first token is revoked, and the server refuses it, before the film goes on. Players of the browser get a fresh one while they play; with a key for every 4 s a later key must then be asked for with it. A token in the address is renewed as the player page does it, with a new address. No tool takes a token while it plays: each is given the title anew, with the fresh token, at the place where it was (ffmpeg is begun anew), and goes on from there. For encrypted DASH, ffmpeg and mpv have the key itself where no token is in the address, and need none.

Tools from Debian packages play 7 s into pictures and sound. ffmpeg, mpv and GStreamer give the subtitles with their times, VLC shows them on the picture. A cell that fails is played once more, those of the browser without others beside them. Every source has a picture that moves, 26 s long, in renditions of 360 and 240 lines.

`)
	var notes []string
	fmt.Fprintf(&b, "| output |")
	for _, p := range matrixPlayers {
		fmt.Fprintf(&b, " %s |", p.name)
	}
	fmt.Fprintf(&b, "\n| --- |%s\n", strings.Repeat(" --- |", len(matrixPlayers)))
	for _, o := range matrixOutputs {
		fmt.Fprintf(&b, "| %s |", o.name)
		for _, p := range matrixPlayers {
			fmt.Fprintf(&b, " %s |", m.mark(o, p, &notes))
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintln(&b)
	for i, note := range notes {
		fmt.Fprintf(&b, "%d. %s\n", i+1, note)
	}
	fmt.Fprintf(&b, "\nVersions: ")
	var versions []string
	for _, p := range matrixPlayers {
		versions = append(versions, p.name+" "+m.versions[p.name])
	}
	fmt.Fprintf(&b, "%s. ffmpeg and mpv got the token as a header, but for the rows with the token in the address (`/v1/p/{playback key}/t/{token}/…`); native, VLC and GStreamer send no header and had it in the address in every row; for encrypted DASH, ffmpeg and mpv got the content key itself. hls.js plays sample encryption with the adapter of the player page, hls-clearkey.js, and the playlist for EME with the licence route in its configuration.\n", strings.Join(versions, ", "))
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// mark is what a cell shows; its reason becomes a note.
func (m *matrix) mark(o matrixOutput, p matrixPlayer, notes *[]string) string {
	why, try := p.cannot(o)
	sign := "✗"
	switch fault := m.cells[cellName(o, p.name)]; {
	case why == "" && fault == "" && m.tried[cellName(o, p.name)] && p.but(o) == "":
		return "●"
	case why == "" && fault == "" && m.tried[cellName(o, p.name)]:
		why, sign = p.but(o), "◐"
	case why == "":
		why = "fails: " + fault
	case !try:
		sign = "–"
	}
	note := p.name + ": " + why
	i := slices.Index(*notes, note)
	if i < 0 {
		*notes = append(*notes, note)
		i = len(*notes) - 1
	}
	return fmt.Sprintf("%s %d", sign, i+1)
}
