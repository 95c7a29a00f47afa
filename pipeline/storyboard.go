package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"image/jpeg"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// Storyboard is the part of small pictures for the seek bar: sheets
// storyboard-1.jpg, storyboard-2.jpg, … and storyboard.vtt, which says where on
// them the picture of each time is (WebVTT with media fragments, #xywh=). The
// JSON names are the wire contract.
type Storyboard struct {
	Interval float64 `json:"interval,omitempty"` // seconds from picture to picture; 0: by the film's length, 1 to 10
	Width    int     `json:"width,omitempty"`    // pixels of a picture; 0: 160
	Clip     *Clip   `json:"clip,omitempty"`     // the film is this part of the source
}

// StoryboardName is the object name of the list of pictures.
const StoryboardName = "storyboard.vtt"

// A sheet has as many pictures as this, in rows from left to right.
const (
	sheetColumns = 10
	sheetRows    = 10
	maxTiles     = 3000 // of a film
)

// Validate implements Part.
func (s Storyboard) Validate() error {
	switch {
	case s.Interval != 0 && !(s.Interval >= 0.5 && s.Interval <= 600):
		return permanent(CodeOptionsInvalid, "options.interval must be 0.5 to 600 seconds", nil)
	case s.Width != 0 && (s.Width < 64 || s.Width > 480):
		return permanent(CodeOptionsInvalid, "options.width must be 64 to 480 pixels", nil)
	}
	return s.Clip.check()
}

// OwnClip implements Clippable.
func (s Storyboard) OwnClip() *Clip { return s.Clip }

// InClip implements Clippable.
func (s Storyboard) InClip(clip *Clip) Part {
	if s.Clip == nil {
		s.Clip = clip
	}
	return s
}

// withDefaults gives a short film a picture each second and a long one fewer.
func (s Storyboard) withDefaults(film time.Duration) Storyboard {
	if s.Interval == 0 {
		s.Interval = min(max(math.Ceil(film.Seconds()/300), 1), 10)
	}
	s.Interval = max(s.Interval, math.Ceil(film.Seconds()/maxTiles))
	if s.Width == 0 {
		s.Width = 160
	}
	return s
}

// tile is one picture: when it is from, in seconds.
type tile float64

func (s Storyboard) maker() maker { return maker{ofSource: s.make} }

func (s Storyboard) make(ctx context.Context, a *attempt, src *Source) (Facts, error) {
	s = s.withDefaults(src.pictures())
	// Key frames alone cost a small part of a decode; where they are too far
	// apart everything is decoded.
	sheets, tiles, err := a.sheets(ctx, src, s, true)
	if err == nil && sparse(tiles, s.Interval, src.pictures().Seconds()) {
		sheets, tiles, err = a.sheets(ctx, src, s, false)
	}
	if err != nil {
		return nil, err
	}
	width, height := sizeOfWidth(src, s.Width)
	docs := map[string][]byte{StoryboardName: storyboardVTT(tiles, src.Duration.Seconds(), width, height)}
	for i, sheet := range sheets {
		docs[sheetName(i)] = sheet
	}
	if err := a.up.putAll(ctx, docs); err != nil {
		return nil, err
	}
	return Facts{
		"storyboard": StoryboardName, "interval": s.Interval, "width": width, "height": height,
		"pictures": len(tiles), "sheets": len(sheets), "columns": sheetColumns, "rows": sheetRows,
	}, nil
}

func sheetName(i int) string { return fmt.Sprintf("storyboard-%d.jpg", i+1) }

// sparse reports whether pictures are missing where some are due.
func sparse(tiles []tile, interval, film float64) bool {
	last := tile(0)
	for _, t := range append(tiles, tile(film)) {
		if float64(t-last) > 2.5*interval {
			return true
		}
		last = t
	}
	return len(tiles) == 0
}

// storyboardArgs returns ffmpeg's arguments: sheets on stdout, the time of each
// picture on timesFD.
func storyboardArgs(src *Source, url string, s Storyboard, keyFrames bool, timesFD int) []string {
	args := []string{"-nostdin", "-hide_banner", "-loglevel", "error", "-filter_threads", "1", "-filter_complex_threads", "1", "-threads", "2"}
	if keyFrames {
		args = append(args, "-skip_frame", "nokey")
	}
	args = append(append(append(args, src.cut(0)...), inputArgs(src.Container)...), "-i", url)
	width, height := sizeOfWidth(src, s.Width)
	filter := fmt.Sprintf("[0:%d]select='isnan(prev_selected_t)+gte(t-prev_selected_t\\,%s)',scale=%d:%d:out_range=pc,%sformat=yuvj420p,setsar=1,"+
		"metadata=mode=add:key=k:value=1,metadata=mode=print:file='pipe\\:%d':direct=1,tile=%dx%d",
		src.Video.Index, strconv.FormatFloat(s.Interval-0.001, 'f', 3, 64), width, height, toSDR(src.Video), timesFD, sheetColumns, sheetRows)
	return append(args, "-filter_complex", filter+"[p]", "-map", "[p]", "-fps_mode", "passthrough",
		"-c:v", "mjpeg", "-q:v", "5", "-map_metadata", "-1", "-f", "image2pipe", "pipe:1")
}

// sheets makes the sheets and tells when each picture on them is from.
func (a *attempt) sheets(ctx context.Context, src *Source, s Storyboard, keyFrames bool) (sheets [][]byte, tiles []tile, err error) {
	const timesFD = 3
	r, w, err := pipe()
	if err != nil {
		return nil, nil, transient(CodeEncodeFailed, "the storyboard could not be made", err)
	}
	times := make(chan []tile, 1)
	go func() { times <- readTiles(r, a.dog) }()
	body, err := a.picturesWith(ctx, "the storyboard could not be made", storyboardArgs(src, a.sourceURL(), s, keyFrames, timesFD), w)
	tiles = <-times
	if err != nil {
		return nil, nil, err
	}
	if sheets, err = splitJPEG(body); err != nil {
		return nil, nil, verifyError(fmt.Errorf("storyboard: %w", err))
	}
	if len(tiles) == 0 && keyFrames {
		return nil, nil, nil
	}
	if per := sheetColumns * sheetRows; len(tiles) == 0 || len(sheets) != (len(tiles)+per-1)/per {
		return nil, nil, verifyError(fmt.Errorf("storyboard: %d pictures on %d sheets", len(tiles), len(sheets)))
	}
	return sheets, tiles, a.checkSheets(src, s, sheets)
}

func (a *attempt) checkSheets(src *Source, s Storyboard, sheets [][]byte) error {
	width, height := sizeOfWidth(src, s.Width)
	for i, sheet := range sheets {
		size, err := jpeg.DecodeConfig(bytes.NewReader(sheet))
		if err != nil || size.Width != sheetColumns*width || size.Height != sheetRows*height {
			return verifyError(fmt.Errorf("sheet %d is %d×%d: %w", i+1, size.Width, size.Height, err))
		}
	}
	return nil
}

// readTiles reads the times that ffmpeg's metadata filter prints.
func readTiles(r *os.File, dog *watchdog) (tiles []tile) {
	defer func() { _ = r.Close() }()
	text, _ := io.ReadAll(io.TeeReader(io.LimitReader(r, 1<<20), beatOf{dog}))
	_, _ = io.Copy(io.Discard, r)
	for line := range strings.Lines(string(text)) {
		if _, at, ok := strings.Cut(strings.TrimSpace(line), "pts_time:"); ok {
			if t, err := strconv.ParseFloat(at, 64); err == nil && !math.IsNaN(t) && len(tiles) < 2*maxTiles {
				tiles = append(tiles, tile(max(0, t)))
			}
		}
	}
	return tiles
}

// beatOf tells the watchdog of each write.
type beatOf struct{ dog *watchdog }

// Write implements io.Writer.
func (b beatOf) Write(p []byte) (int, error) { b.dog.beat(); return len(p), nil }

// splitJPEG takes pictures apart that follow each other. Within one, FF D9 is
// always an end (ISO/IEC 10918-1, B.1.1.2: in coded data a zero follows FF).
func splitJPEG(body []byte) (pictures [][]byte, err error) {
	begin, end := []byte{0xff, 0xd8}, []byte{0xff, 0xd9}
	for len(body) > 0 {
		at := bytes.Index(body, end)
		if !bytes.HasPrefix(body, begin) || at < 0 {
			return nil, fmt.Errorf("%d bytes that are no JPEG", len(body))
		}
		pictures = append(pictures, body[:at+len(end)])
		body = body[at+len(end):]
	}
	return pictures, nil
}

// storyboardVTT lists the pictures: each is shown until the next one begins.
func storyboardVTT(tiles []tile, film float64, width, height int) []byte {
	var out strings.Builder
	out.WriteString("WEBVTT\n")
	for i, t := range tiles {
		from, until := float64(t), film
		if i == 0 {
			from = 0
		}
		if i+1 < len(tiles) {
			until = float64(tiles[i+1])
		}
		if until-from < 0.001 {
			continue
		}
		sheet, place := i/(sheetColumns*sheetRows), i%(sheetColumns*sheetRows)
		fmt.Fprintf(&out, "\n%s --> %s\n%s#xywh=%d,%d,%d,%d\n", vttTime(from), vttTime(until),
			sheetName(sheet), place%sheetColumns*width, place/sheetColumns*height, width, height)
	}
	return []byte(out.String())
}

// vttTime is a WebVTT timestamp with hours.
func vttTime(seconds float64) string {
	ms := int64(math.Round(seconds * 1000))
	return fmt.Sprintf("%02d:%02d:%02d.%03d", ms/3600000, ms/60000%60, ms/1000%60, ms%1000)
}

// picturesWith is pictures for a child that inherits a file, as descriptor 3.
func (a *attempt) picturesWith(ctx context.Context, what string, args []string, file *os.File) ([]byte, error) {
	out, _, err := a.runPictures(ctx, what, proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: args, Files: []*os.File{file}})
	return out, err
}
