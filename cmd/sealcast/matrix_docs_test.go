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

Written by `+"`make matrix`"+`, which plays every output in every player. ● plays; – and ✗ do not, the notes say why: – is not for this player, ✗ was tried and does not play.

A cell plays when the player goes past 6 s from the start, is heard (both audio tracks, told apart by their tones), shows the source's pictures after seeks to 1.02 s, 9.22 s and 3.5 s, goes to the lowest rendition and back to the highest one while it plays and goes on in each (players of the browser but native, which chooses by itself), survives a key refresh, and shows an error and no picture with a wrong token: that of another title, or in an address one that has ended. Where there are subtitles they stand on the picture in their time and no longer. Where there is another codec the player says that this is what it plays.

Key refresh: while the film plays the page gets a fresh token and the first one is revoked; the server refuses it before the film goes on. With a key for every 4 s a later key must then be asked for with the fresh token. A token in the address is renewed as the player page does it, with a new address.

Tools from Debian packages play 7 s into pictures and sound, show the source's pictures after seeks to 9.22 s and 3.5 s (VLC, which is driven by its remote control in whole seconds: 9 s and 7 s; ffmpeg while it decodes), and show an error and no picture with a wrong token; ffmpeg and mpv also play the second audio track. ffmpeg, mpv and GStreamer give the subtitles with their times, VLC shows them on the picture. Not tried in them: to switch renditions while they play, and to go on with a fresh token. A cell that fails is played once more, those of the browser without others beside them. Every source has a picture that moves, 12 s long.

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
		why, sign = p.but(o), "●"
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
