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

A cell plays when the player goes past 6 s from the start, is heard (both audio tracks, told apart by their tones), shows the source's pictures after seeks to 1.02 s, 9.22 s and 3.5 s, goes to the lowest rendition and back to the highest one while it plays and goes on in each (players of the browser), goes on after the page has a fresh token, and shows an error and no picture with another title's token. With a key for every 4 s it also asks for a key with the fresh token. Where there are subtitles they stand on the picture in their time and no longer. Where there is another codec the player says that this is what it plays. Tools from Debian packages play 7 s into pictures and sound; ffmpeg and mpv also seek to 9.22 s and 3.5 s (ffmpeg while it decodes), and play the second audio track. Every source has a picture that moves, 12 s long.

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
	fmt.Fprintf(&b, "%s. The tools got the token as a header; for encrypted DASH, ffmpeg and mpv got the content key itself. hls.js plays sample encryption with the adapter of the player page, hls-clearkey.js, and the playlist for EME with the licence route in its configuration.\n", strings.Join(versions, ", "))
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
