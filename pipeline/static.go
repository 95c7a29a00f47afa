package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/Eyevinn/mp4ff/mp4"
	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/proc"
)

// Downloads are parts of the kind StaticKind: files for players and people that
// know nothing of streaming. They are made of the published film, in the clear.

// StaticKind is the kind of downloads in asset_parts.
const StaticKind = "static"

// Static is the part static/<rung>.mp4: the H.264 pictures of a rung and every
// stereo track, as a progressive MP4. The JSON names are the wire contract.
type Static struct {
	Rung string `json:"rung"`
}

// Validate implements Part.
func (s Static) Validate() error {
	if !slices.Contains(RungNames(), s.Rung) {
		return permanent(CodeOptionsInvalid, fmt.Sprintf("options.rung is %q: known rungs are %s", s.Rung, strings.Join(RungNames(), ", ")), nil)
	}
	return nil
}

func (s Static) maker() maker { return maker{alone: s.make} }

func (s Static) make(ctx context.Context, a *attempt, film Film) (Facts, error) {
	named, err := a.filmDownloads(ctx, film)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(named.pictures, func(uri string) bool { return path.Base(path.Dir(uri)) == "v-"+s.Rung })
	if at < 0 {
		var there []string
		for _, uri := range named.pictures {
			if rung := strings.TrimPrefix(path.Base(path.Dir(uri)), "v-"); slices.Contains(RungNames(), rung) && !slices.Contains(there, rung) {
				there = append(there, rung)
			}
		}
		return nil, permanent(CodeOptionsInvalid, fmt.Sprintf("the film has no rung %s in H.264: it has %s", s.Rung, strings.Join(there, ", ")), nil)
	}
	// Sound first: a player that has a chunk of it goes on while the pictures come.
	file, err := a.indexFilm(ctx, "isom", append(slices.Clone(named.sound), named.pictures[at]))
	if err != nil {
		return nil, err
	}
	name := "static/" + s.Rung + ".mp4"
	counts, err := a.putChecked(ctx, name, file.size, "mov", func(ctx context.Context, w io.Writer) error { return file.writeTo(ctx, w) })
	if err != nil {
		return nil, err
	}
	if err := file.checkCounts(counts); err != nil {
		return nil, verifyError(fmt.Errorf("%s: %w", name, err))
	}
	pictures := file.tables[len(file.tables)-1]
	return Facts{
		"static": name, "rung": s.Rung, "width": int(pictures.track.Tkhd.Width >> 16), "height": int(pictures.track.Tkhd.Height >> 16),
		"frames": len(pictures.stsz.SampleSize), "audio_tracks": len(named.sound),
	}, nil
}

// Downloadable says whether a film of these options has what a Static is made of.
func Downloadable(o Options) bool {
	mp4 := slices.Contains(o.Outputs, OutputCMAF) || slices.Contains(o.Outputs, OutputCMAFAES128)
	return mp4 && (len(o.Codecs) == 0 || slices.Contains(o.Codecs, CodecH264))
}

// filmDownloads looks for what a published film has that downloads are made of.
func (a *attempt) filmDownloads(ctx context.Context, film Film) (filmTracks, error) {
	if film.Prefix == "" {
		return filmTracks{}, permanent(CodeOptionsInvalid, "the title is not published: downloads are made of its film", nil)
	}
	return a.filmMaster(ctx)
}

// filmFile is a progressive file of renditions of the published film.
type filmFile struct {
	*progressiveFile
	tracks []*publishedTrack
}

// indexFilm reads the renditions for the first time, for their index.
func (a *attempt) indexFilm(ctx context.Context, brand string, playlists []string) (*filmFile, error) {
	f := &filmFile{tracks: make([]*publishedTrack, len(playlists))}
	tables := make([]*sampleTable, len(playlists))
	sounds := 0
	for i, playlist := range playlists {
		t, err := a.openTrack(ctx, playlist)
		if err != nil {
			return nil, err
		}
		for n := range t.segments {
			samples, err := t.samples(ctx, n)
			if err == nil {
				err = filmError(playlist, t.table.add(samples))
			}
			if err != nil {
				return nil, err
			}
			a.dog.beat()
		}
		if err := t.table.finish(); err != nil {
			return nil, filmError(playlist, err)
		}
		if !t.table.pictures() {
			t.table.alternative(sounds)
			sounds++
		}
		f.tracks[i], tables[i] = t, t.table
	}
	var err error
	if f.progressiveFile, err = newProgressive(brand, tables); err != nil {
		return nil, filmError("the index", err)
	}
	return f, nil
}

// alternative makes a track the n-th of several of which one is heard.
func (t *sampleTable) alternative(n int) {
	const enabled, inMovie = 1, 2
	t.track.Tkhd.AlternateGroup, t.track.Tkhd.Flags = 1, inMovie
	if n == 0 {
		t.track.Tkhd.Flags |= enabled
	}
}

// writeTo reads the renditions for the second time and writes the file.
func (f *filmFile) writeTo(ctx context.Context, w io.Writer) error {
	return f.write(w, func(table, chunk int) ([]mp4.FullSample, error) {
		return f.tracks[table].samples(ctx, chunk)
	})
}

// checkCounts compares what was decoded of the file, track by track, with its
// index: every key picture, and all sound but for what the edits leave out.
func (f *filmFile) checkCounts(got []int) error {
	for i, t := range f.tables {
		want, slack := len(t.stss.SampleNumber), 0
		if !t.pictures() {
			want, slack = len(t.stsz.SampleSize), 3
		}
		if i >= len(got) || got[i] > want || got[i] < want-slack || got[i] == 0 {
			return fmt.Errorf("of track %d %v frames decode, want %d", i+1, got, want)
		}
	}
	return nil
}

// checkArgs returns ffmpeg's arguments to decode all sound and the key pictures
// of a file that comes through a pipe: so it can be played from its first bytes
// on. One line per frame comes out.
func checkArgs(demuxer string, fd int) []string {
	return []string{
		"-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-err_detect", "explode", "-skip_frame", "nokey", "-threads", "1",
		"-protocol_whitelist", "pipe", "-f", demuxer, "-i", "pipe:" + strconv.Itoa(fd), "-map", "0",
		"-c:a", "pcm_s16le", "-c:v", "wrapped_avframe", "-vsync", "passthrough", "-copyts", "-f", "framecrc", "pipe:1",
	}
}

// frameCounter counts ffmpeg's framecrc lines by stream as they come.
type frameCounter struct {
	counts []int
	rest   []byte
	dog    *watchdog
}

// Write implements io.Writer.
func (c *frameCounter) Write(p []byte) (int, error) {
	c.dog.beat()
	c.rest = append(c.rest, p...)
	for {
		line, rest, whole := bytes.Cut(c.rest, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		for i, n := range countFrames(string(line), maxTracks) {
			for n > 0 && len(c.counts) <= i {
				c.counts = append(c.counts, 0)
			}
			if n > 0 {
				c.counts[i] += n
			}
		}
		c.rest = rest
	}
}

// maxTracks bounds the streams of a download.
const maxTracks = 64

// putChecked streams an object into the store and, beside it, through a decoder:
// it lies nowhere else. A size of −1 is not known. counts are the frames that
// were decoded, by stream.
func (a *attempt) putChecked(ctx context.Context, name string, size int64, demuxer string, write func(context.Context, io.Writer) error) (counts []int, err error) {
	const inFD = 3
	r, w, err := pipe()
	if err != nil {
		return nil, transient(CodeEncodeFailed, "the download could not be made", err)
	}
	group, gctx := errgroup.WithContext(ctx)
	counter := &frameCounter{dog: a.dog}
	decoder, err := a.start(gctx, proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: checkArgs(demuxer, inFD), Files: []*os.File{r}, Stdout: counter})
	if err != nil {
		_ = w.Close()
		return nil, transient(CodeEncodeFailed, "the download could not be checked", err)
	}
	toStore, fromUs := io.Pipe()
	var cause firstError // of the writing: the store only passes it on
	checked := make(chan struct{})
	var checkErr error
	group.Go(func() error {
		defer close(checked)
		if _, err := a.wait(decoder, "ffmpeg", StageVerify); err != nil {
			checkErr = verifyError(fmt.Errorf("%s: %w", name, err))
		}
		return checkErr
	})
	group.Go(func() error {
		err := write(gctx, io.MultiWriter(fromUs, w))
		_ = w.Close()
		if errors.Is(err, syscall.EPIPE) { // the decoder has ended: it knows why
			<-checked
			err = errors.Join(checkErr, err)
		}
		cause.set(err)
		_ = fromUs.CloseWithError(err)
		return err
	})
	group.Go(func() error {
		err := a.up.stream(gctx, name, toStore, size)
		_ = toStore.CloseWithError(err)
		if first := cause.get(); first != nil {
			return first
		}
		return err
	})
	if err := group.Wait(); err != nil {
		return nil, asError(err, CodeEncodeFailed, "the download could not be made")
	}
	return counter.counts, nil
}

// firstError keeps an error for another goroutine.
type firstError struct {
	mu  sync.Mutex
	err error
}

func (f *firstError) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
}

func (f *firstError) get() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}
