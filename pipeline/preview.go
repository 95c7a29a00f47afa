package pipeline

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// Preview is the part preview.webp or preview.gif: some seconds of the film
// that move, without sound. The JSON names are the wire contract.
type Preview struct {
	Start  *float64 `json:"start,omitempty"`  // seconds; nil: from a tenth of the film on
	Length float64  `json:"length,omitempty"` // seconds; 0: 3
	Width  int      `json:"width,omitempty"`  // pixels; 0: 320
	FPS    int      `json:"fps,omitempty"`    // pictures per second; 0: 10
	Format string   `json:"format,omitempty"` // webp or gif; empty: webp
	Clip   *Clip    `json:"clip,omitempty"`   // the film is this part of the source
}

// Validate implements Part.
func (p Preview) Validate() error {
	bad := func(text string) error { return permanent(CodeOptionsInvalid, text, nil) }
	p = p.withDefaults()
	switch {
	case p.Start != nil && (math.IsNaN(*p.Start) || *p.Start < 0 || *p.Start > maxPartTime):
		return bad("options.start must be seconds from the beginning, 0 or more")
	case !(p.Length >= 0.5 && p.Length <= 30):
		return bad("options.length must be 0.5 to 30 seconds")
	case p.Width < 64 || p.Width > 960:
		return bad("options.width must be 64 to 960 pixels")
	case p.FPS < 1 || p.FPS > 25:
		return bad("options.fps must be 1 to 25")
	case p.Format != "webp" && p.Format != "gif":
		return bad("options.format must be webp or gif")
	}
	return p.Clip.check()
}

// OwnClip implements Clippable.
func (p Preview) OwnClip() *Clip { return p.Clip }

// InClip implements Clippable.
func (p Preview) InClip(clip *Clip) Part {
	if p.Clip == nil {
		p.Clip = clip
	}
	return p
}

func (p Preview) withDefaults() Preview {
	if p.Length == 0 {
		p.Length = 3
	}
	if p.Width == 0 {
		p.Width = 320
	}
	if p.FPS == 0 {
		p.FPS = 10
	}
	if p.Format == "" {
		p.Format = "webp"
	}
	return p
}

// place says where the preview lies in a film: whole, where there is room.
func (p Preview) place(film time.Duration) (from, length time.Duration, err error) {
	length = time.Duration(p.Length * float64(time.Second))
	if p.Start == nil {
		return max(0, min(film/10, film-length)), min(length, film), nil
	}
	from = time.Duration(*p.Start * float64(time.Second))
	if from >= film {
		return 0, 0, permanent(CodeOptionsInvalid, fmt.Sprintf("options.start lies behind the last picture, at %s", roundSeconds(film.Seconds())), nil)
	}
	return from, min(length, film-from), nil
}

func (p Preview) maker() maker { return maker{ofSource: p.make} }

func (p Preview) make(ctx context.Context, a *attempt, src *Source) (Facts, error) {
	p = p.withDefaults()
	from, length, err := p.place(src.pictures())
	if err != nil {
		return nil, err
	}
	if err := p.bounded(src, length); err != nil {
		return nil, err
	}
	body, cut, err := a.runPictures(ctx, "the preview could not be made",
		proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: previewArgs(src, a.sourceURL(), p, from, length)})
	if err != nil {
		return nil, err
	}
	if cut {
		return nil, permanent(CodeOptionsInvalid, fmt.Sprintf("the preview is larger than %d MiB: choose a smaller width, fps or length", maxPictures>>20), nil)
	}
	frames, width, height, err := animation(body)
	if err != nil {
		return nil, transient(CodeEncodeFailed, "the preview could not be made", err)
	}
	name := "preview." + p.Format
	if err := a.up.putAll(ctx, map[string][]byte{name: body}); err != nil {
		return nil, err
	}
	return Facts{
		"preview": name, "start": from.Seconds(), "length": float64(frames) / float64(p.FPS),
		"frames": frames, "fps": p.FPS, "width": width, "height": height,
	}, nil
}

// maxPreviewPixels bounds all pictures together: 30 s of 16:9 at the largest
// width and rate have as many. A palette is made of all of them at once.
const maxPreviewPixels = 400e6

// bounded refuses what is too much for tall pictures.
func (p Preview) bounded(src *Source, length time.Duration) error {
	width, height := sizeOfWidth(src, p.Width)
	if pixels := float64(width) * float64(height) * float64(p.FPS) * length.Seconds(); pixels > maxPreviewPixels {
		return permanent(CodeOptionsInvalid, fmt.Sprintf("the preview would have %.0f million pixels, %d×%d in each picture; the most is %.0f: choose a smaller width, fps or length",
			pixels/1e6, width, height, maxPreviewPixels/1e6), nil)
	}
	return nil
}

// previewArgs returns ffmpeg's arguments for an animation on stdout.
func previewArgs(src *Source, url string, p Preview, from, length time.Duration) []string {
	args := pictureInput(src, url, from)
	width, height := sizeOfWidth(src, p.Width)
	filter := fmt.Sprintf("[0:%d]fps=fps=%d,scale=%d:%d:out_range=tv,%ssetsar=1", src.Video.Index, p.FPS, width, height, toSDR(src.Video))
	if p.Format == "gif" {
		// One palette for all: a list of them would be several times as large.
		filter += ",split=2[a][b];[b]palettegen=stats_mode=diff[c];[a][c]paletteuse=dither=bayer:bayer_scale=4"
	} else {
		filter += ",format=yuv420p"
	}
	args = append(args, "-filter_complex", filter+"[p]", "-map", "[p]", "-t", strconv.FormatFloat(length.Seconds(), 'f', 3, 64), "-map_metadata", "-1", "-loop", "0")
	if p.Format == "gif" {
		return append(args, "-c:v", "gif", "-f", "gif", "pipe:1")
	}
	return append(args, "-c:v", "libwebp_anim", "-quality", "70", "-compression_level", "4", "-f", "webp", "pipe:1")
}

// sizeOfWidth is the picture's size at a width, even, and never enlarged.
func sizeOfWidth(src *Source, width int) (int, int) {
	w, h := src.Video.displaySize()
	factor := min(1, float64(width)/float64(w))
	even := func(n int) int { return max(2, 2*int(math.Round(float64(n)*factor/2))) }
	return even(w), even(h)
}

// animation reads what an animated WebP or GIF says of itself.
func animation(body []byte) (frames, width, height int, err error) {
	if bytes.HasPrefix(body, []byte("GIF8")) {
		return gifFrames(body)
	}
	return webpFrames(body)
}

// webpFrames counts the frames of an animated WebP (RFC 9649, 2.7). ffmpeg
// cannot correct the length of a file that it writes into a pipe, so the bytes
// that there are count.
func webpFrames(body []byte) (frames, width, height int, err error) {
	if len(body) < 12 || string(body[:4]) != "RIFF" || string(body[8:12]) != "WEBP" {
		return 0, 0, 0, fmt.Errorf("%d bytes that are no WebP", len(body))
	}
	for at := 12; at+8 <= len(body); {
		size := int(binary.LittleEndian.Uint32(body[at+4:]))
		end := at + 8 + size + size%2
		if size < 0 || end > len(body) {
			return 0, 0, 0, fmt.Errorf("a WebP chunk of %d bytes at %d", size, at)
		}
		data := body[at+8:]
		switch tag := string(body[at : at+4]); {
		case tag == "VP8X" && size >= 10:
			width, height = 1+uint24(data[4:]), 1+uint24(data[7:])
		case tag == "ANMF":
			frames++
		case tag == "VP8 " && size >= 10: // a still picture
			frames, width, height = 1, int(binary.LittleEndian.Uint16(data[6:])&0x3fff), int(binary.LittleEndian.Uint16(data[8:])&0x3fff)
		}
		at = end
	}
	if frames == 0 {
		return 0, 0, 0, fmt.Errorf("a WebP without pictures")
	}
	return frames, width, height, nil
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
