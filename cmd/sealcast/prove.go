package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/Eyevinn/hls-m3u8/m3u8"
)

// prove plays every rendition of every output as a viewer does, and sees that
// the keys stay closed to everybody else.
func (d *demonstration) prove(ctx context.Context, hash string, res *resultsView) error {
	cfg := d.local.cfg
	tok, err := mintToken(cfg.Token.Secret, hash, time.Hour)
	if err != nil {
		return err
	}
	v := newViewer(tok)
	for _, out := range res.Streaming.Outputs {
		text, renditions, err := v.renditions(ctx, out.MasterPlaylist)
		if err != nil {
			return fmt.Errorf("output %s: %w", out.Name, err)
		}
		d.con.printf("\n%s  (%s)\n%s", out.MasterPlaylist, out.Scheme, indent(text))
		for _, r := range renditions {
			if err := d.proveRendition(ctx, v, out.Name, r, res); err != nil {
				return fmt.Errorf("output %s, rendition %s: %w", out.Name, r.name, err)
			}
		}
	}
	return d.proveClosed(ctx, v, hash, len(res.Streaming.Outputs))
}

func (d *demonstration) proveRendition(ctx context.Context, v *viewer, output string, r rendition, res *resultsView) error {
	mp, err := v.media(ctx, r.url)
	if err != nil {
		return err
	}
	if !encrypted(mp) {
		return errors.New("the playlist names no key, but the title is encrypted")
	}
	format := "mpegts"
	if mp.Map != nil {
		format = "mp4"
	}
	var listed time.Duration
	for _, seg := range mp.Segments[:mp.Count()] {
		listed += time.Duration(seg.Duration * float64(time.Second))
	}
	v.shown = func(percent float64) { d.con.transient(progress{label: "play " + output, percent: percent, eta: -1}) }
	got, err := decode(ctx, format, func(w io.Writer) error { return v.stream(ctx, r.url, mp, w) })
	d.con.end()
	if err != nil {
		return err
	}
	if off := (got.duration - listed).Abs(); off > max(500*time.Millisecond, listed/100) {
		return fmt.Errorf("decoded %s, but its playlist lists %s", got.duration, listed)
	}
	frames := ""
	if r.video {
		want, known := res.frames(output, r.name)
		if known && got.frames != want {
			return fmt.Errorf("decoded %d frames, but %d were encoded", got.frames, want)
		}
		frames = fmt.Sprintf("%d frames, ", got.frames)
	}
	d.con.printf("  played %-5s %-10s %d segments, %s%.2f s\n", output, r.name, mp.Count(), frames, got.duration.Seconds())
	return nil
}

func encrypted(mp *m3u8.MediaPlaylist) bool {
	keys := mp.Segments[0].Keys
	return len(keys) > 0 && keys[0].Method != "NONE" && keys[0].URI != ""
}

// proveClosed asks for every key that was used without a token, with a forged
// one, and with a good one of another title.
func (d *demonstration) proveClosed(ctx context.Context, v *viewer, hash string, outputs int) error {
	if len(v.keys) != outputs {
		return fmt.Errorf("%d keys were fetched for %d outputs", len(v.keys), outputs)
	}
	other := strings.Repeat("0", len(hash))
	foreign, err := mintToken(d.local.cfg.Token.Secret, other, time.Hour)
	if err != nil {
		return err
	}
	forger := tokenSecret{secret{"a secret that is not the server's"}}
	forged, err := mintToken(forger, hash, time.Hour)
	if err != nil {
		return err
	}
	d.con.printf("\nkeys stay closed\n")
	for _, u := range slices.Sorted(maps.Keys(v.keys)) {
		shown := strings.Replace(strings.TrimPrefix(u, string(d.local.cfg.Public.BaseURL)), hash, hash[:8]+"…", 1)
		for _, c := range []struct {
			who, token string
			want       int
		}{
			{"no token", "", http.StatusUnauthorized},
			{"forged token", forged, http.StatusForbidden},
			{"another title's token", foreign, http.StatusForbidden},
		} {
			got, err := v.keyStatus(ctx, u, c.token)
			if err != nil {
				return fmt.Errorf("key request with %s: %w", c.who, err)
			}
			if got != c.want {
				return fmt.Errorf("key request with %s: status %d, want %d", c.who, got, c.want)
			}
			d.con.printf("  %-55s %-22s → %d\n", shown, c.who, got)
		}
	}
	return nil
}

// frames gives the number of frames that the results name for a rendition.
func (r *resultsView) frames(output, resolution string) (int64, bool) {
	for _, t := range r.VideoTracks {
		if t.Output == output && fmt.Sprintf("%dx%d", t.Width, t.Height) == resolution && t.Frames > 0 {
			return t.Frames, true
		}
	}
	return 0, false
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ") + "\n"
}
