package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestRenderBar(t *testing.T) {
	for _, c := range []struct {
		name  string
		p     progress
		width int
		want  string
	}{
		{"half", progress{"encode", 50, 75 * time.Second}, 42, "encode     ███████░░░░░░░░  50.0 %  1m15s left"},
		{"unknown ETA", progress{"probe", 0, -1}, 30, "probe      ░░░░░░░░░░░   0.0 %"},
		{"full", progress{"publish", 100, -1}, 30, "publish    ███████████ 100.0 %"},
		{"beyond", progress{"publish", 180, -1}, 30, "publish    ███████████ 100.0 %"},
		{"narrow", progress{"encode", 50, -1}, 16, "encode  50.0 %"},
		{"too narrow", progress{"encode", 50, -1}, 5, "encod"},
		{"nothing", progress{"encode", 50, -1}, -1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := renderBar(c.p, c.width)
			if got != c.want && c.name != "half" {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
			if n := utf8.RuneCountInString(got); n > max(c.width, 0) {
				t.Errorf("%d columns, want at most %d", n, c.width)
			}
		})
	}
}

func TestShortDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 7400 * time.Millisecond: "7s", 187 * time.Second: "3m07s", 24 * time.Hour: "24h00m", 3599 * time.Second: "59m59s",
	} {
		if got := shortDuration(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

func TestConsoleElsewhereWritesALinePerStageAndTenPerCent(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(&out)
	for _, p := range []progress{
		{"queued", 0, -1}, {"queued", 0, -1}, {"encode", 3, -1}, {"encode", 7, -1}, {"encode", 12, 9 * time.Second}, {"verify", 19, -1}, {"succeeded", 100, -1},
	} {
		c.progress(p)
	}
	c.end()
	want := "queued       0 %\nencode       3 %\nencode      12 %  9s left\nverify      19 %\nsucceeded  100 %\n"
	if out.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", &out, want)
	}
}

func TestConsoleOnATerminalKeepsTheBarBelow(t *testing.T) {
	var out bytes.Buffer
	c := newConsole(&out)
	c.live, c.width = true, func() int { return 31 }
	c.progress(progress{"encode", 0, -1})
	c.printf("a line\n")
	c.progress(progress{"encode", 0, -1}) // unchanged: nothing is written
	c.end()
	bar := renderBar(progress{"encode", 0, -1}, 30)
	want := bar + "\r\x1b[2Ka line\n" + bar + "\r\x1b[2K"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", out.String(), want)
	}
	if strings.Count(out.String(), bar) != 2 {
		t.Error("the bar does not stand below the line")
	}
}
