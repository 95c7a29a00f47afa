package corpus

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// damage is the clips cut off, torn and with bits flipped. At most 80 cases,
// for they are one idea.
func (c *Clips) damage() []Medium {
	var list []Medium
	for i := 1; i < 16; i++ { // the index is at the end, and so is lost
		list = append(list, Medium{
			Name: fmt.Sprintf("mp4 cut at %d/16", i), Body: c.MP4[:len(c.MP4)*i/16], Want: "source_unreadable|source_no_video|source_truncated",
		})
	}
	list = append(
		list,
		Medium{Name: "mp4 without its first half", Body: c.MP4[len(c.MP4)/2:], Want: "source_unreadable"},
		Medium{Name: "mp4 of its index alone", Body: c.film().moov.bytes(), Want: "source_truncated|source_unreadable|source_no_video"},
		Medium{Name: "mp4 with a hole", Body: hole(c.MP4, 0.3, 0.6), Want: Any, Audio: -1},
	)
	for _, clip := range c.others() {
		for _, sixteenths := range []int{1, 15} {
			list = append(list, Medium{
				Name: fmt.Sprintf("%s cut at %d/16", clip.name, sixteenths), Body: clip.body[:len(clip.body)*sixteenths/16], Want: Any, Audio: -1,
			})
		}
	}
	// Of a second's clip half may be missing within the tolerance; not of these.
	for _, clip := range c.Long {
		want := "source_truncated"
		if clip.name != "mkv" && clip.name != "flv" && clip.name != "mov" && clip.name != "mxf" && clip.name != "avi" {
			want = Pass // ts and mpg do not say how long they are; of asf ffmpeg forgets it when the end is missing
		}
		list = append(list, Medium{Name: "twelve seconds of " + clip.name + " cut at the half", Key: "bad." + clip.name, Body: clip.body[:len(clip.body)/2], Want: want, Audio: -1})
	}
	return append(list, c.flips()...)
}

// flips have 32 bits flipped each, at places that a seed chooses.
func (c *Clips) flips() []Medium {
	var list []Medium
	index := len(c.MP4) - len(c.film().moov.bytes())
	for seed := range 12 {
		list = append(list, flip("mp4", c.MP4, 0, seed, 32))
	}
	for seed := range 8 {
		list = append(list, flip("mp4 index", c.MP4, index, seed, 4))
	}
	for i, clip := range c.others() {
		list = append(list, flip(clip.name, clip.body, 0, i, 32))
		list = append(list, flip(clip.name+" head", clip.body, 0, 100+i, 4, 1024))
	}
	return list
}

// flip flips bits between from and the end, or an earlier end.
func flip(name string, body []byte, from, seed, bits int, end ...int) Medium {
	body = bytes.Clone(body)
	to := len(body)
	if len(end) > 0 {
		to = min(to, end[0])
	}
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	for range bits {
		body[from+r.IntN(to-from)] ^= 1 << r.IntN(8)
	}
	return Medium{Name: fmt.Sprintf("%s with %d bits flipped, seed %d", name, bits, seed), Body: body, Want: Any, Audio: -1}
}

// hole overwrites a part with zeros.
func hole(body []byte, from, to float64) []byte {
	body, n := bytes.Clone(body), float64(len(body))
	clear(body[int(n*from):int(n*to)])
	return body
}

type namedClip struct {
	name string
	body []byte
}

func (c *Clips) others() []namedClip {
	return []namedClip{
		{"mkv", c.MKV}, {"ts", c.TS}, {"avi", c.AVI}, {"flv", c.FLV}, {"ogg", c.Ogg}, {"asf", c.ASF}, {"mxf", c.MXF}, {"ps", c.PS},
	}
}
