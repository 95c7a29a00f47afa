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

A cell plays when the player goes past 6 s from the start, with sound, shows the source's pictures after seeks to 1.02 s, 9.22 s and 3.5 s, goes to the lowest rendition and to the highest one (players of the browser), goes on after the page has a fresh token, and shows an error and no picture with another title's token. Tools from Debian packages play 7 s into pictures and sound; ffmpeg and mpv also seek. The source has a picture that moves and two sounds.

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
	fmt.Fprintf(&b, "%s. The tools got the token as a header; for encrypted DASH, ffmpeg and mpv got the content key itself. hls.js plays sample encryption with the adapter of the player page, hls-clearkey.js.\n", strings.Join(versions, ", "))
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

// mark is what a cell shows; its reason becomes a note.
func (m *matrix) mark(o matrixOutput, p matrixPlayer, notes *[]string) string {
	why, try := p.cannot(o)
	sign := "✗"
	switch fault := m.cells[cellName(o, p.name)]; {
	case why == "" && fault == "" && m.tried[cellName(o, p.name)]:
		return "●"
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
