//go:build faults

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// plays decrypts and decodes every rendition of a job from the public URLs,
// with the keys that the API hands out, and counts the frames.
func (f *faultRig) plays(j fullJob) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var res resultsView
	if err := json.Unmarshal(j.Results, &res); err != nil {
		return err
	}
	v := newViewer(f.token(j.Hash, time.Minute))
	for _, out := range res.Streaming.Outputs {
		_, renditions, err := v.renditions(ctx, out.MasterPlaylist)
		if err != nil {
			return err
		}
		for _, rend := range renditions {
			mp, err := v.media(ctx, rend.url)
			if err != nil {
				return err
			}
			format := "mpegts"
			if mp.Map != nil {
				format = "mp4"
			}
			got, err := decode(ctx, format, func(w io.Writer) error { return v.stream(ctx, rend.url, mp, w) })
			if err != nil {
				return fmt.Errorf("%s %s: %w", out.Name, rend.name, err)
			}
			if want, known := res.frames(out.Name, rend.name); known && got.frames != want {
				return fmt.Errorf("%s %s: %d frames, want %d", out.Name, rend.name, got.frames, want)
			}
		}
	}
	return nil
}
