package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealcast/sealcast/internal/proc"
)

// decoder is an ffmpeg that runs before what it will decode is there: to load
// its libraries takes longer than to decode a row of segments. Until then it
// waits at its first input.
type decoder struct {
	a      *attempt
	tracks []track    // whose segments it decodes
	files  []*os.File // for clear segments, in memory
	ready  *os.File   // its end begins the decoding
	child  *proc.Process
	out    bytes.Buffer
}

// track is a rendition in an output.
type track struct{ output, name string }

func (t track) dir() string { return trackDir(t.output, t.name) }

// tracksOf returns whose segments they are.
func tracksOf(segs []*segment) (out []track) {
	for _, seg := range segs {
		out = append(out, track{seg.Output, seg.Track})
	}
	return out
}

// decodeArgs returns ffmpeg's arguments to decode a segment of each track, which
// may be there several times, from descriptors 4 and up. One line per decoded
// frame comes out. Inputs are opened in their order; that of descriptor 3 has no
// streams and is read to its end at first.
func decodeArgs(tracks []track) []string {
	args := []string{
		"-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-filter_threads", "1",
		"-protocol_whitelist", "file", "-f", "ffmetadata", "-i", "/dev/fd/3",
	}
	for i, t := range tracks {
		format := "mov"
		if formats[t.output].container == containerTS {
			format = "mpegts"
		}
		// What pictures are need not be found out by decoding some first: their
		// headers come with the first one. The option holds until it is set again.
		look := "-find_stream_info"
		if strings.HasPrefix(t.name, "v-") {
			look = "-nofind_stream_info"
		}
		args = append(args, look, "-err_detect", "explode", "-skip_frame", "nokey", "-threads", "1",
			"-protocol_whitelist", "file", "-f", format, "-i", "/dev/fd/"+strconv.Itoa(4+i))
	}
	for i := range tracks {
		args = append(args, "-map", strconv.Itoa(1+i)+":0")
	}
	// wrapped_avframe does not copy pictures: only their number is wanted.
	return append(args, "-c:a", "pcm_s16le", "-c:v", "wrapped_avframe", "-vsync", "passthrough", "-copyts", "-f", "framecrc", "pipe:1")
}

// startDecoder starts a decoder for a segment of each track. Either decode or
// abandon must be called.
func (a *attempt) startDecoder(ctx context.Context, tracks []track, nice int) (*decoder, error) {
	d := &decoder{a: a, tracks: tracks}
	failed := func(err error) (*decoder, error) {
		closeFiles(append(d.files, d.ready))
		return nil, verifyError(fmt.Errorf("decode what was made: %w", err))
	}
	theirs, ready, err := os.Pipe() // for a few bytes
	if err != nil {
		return failed(err)
	}
	d.ready = ready
	files := []*os.File{theirs}
	for _, t := range tracks {
		ours, theirs, err := emptyFile(t.name)
		if err != nil {
			closeFiles(files)
			return failed(err)
		}
		d.files, files = append(d.files, ours), append(files, theirs)
	}
	d.child, err = a.start(ctx, proc.Spec{
		Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: decodeArgs(tracks), Files: files, Nice: nice,
		Stdout: &limitedBuffer{Buffer: &d.out, left: 16 << 20},
	})
	if err != nil {
		return failed(err)
	}
	return d, nil
}

// fill gives the segment of a track by its place, in the clear. It may be called for
// several at once.
func (d *decoder) fill(i int, clear []byte) error {
	if _, err := d.files[i].Write(clear); err != nil {
		return fmt.Errorf("fill a file in memory: %w", err)
	}
	return nil
}

// decode decodes what was filled in and wants something from each segment.
func (d *decoder) decode() error {
	closeFiles(d.files)
	_, said := d.ready.WriteString(";FFMETADATA1\n")
	_ = d.ready.Close()
	if _, err := d.a.wait(d.child, "ffmpeg", StageVerify); err != nil {
		return verifyError(fmt.Errorf("decode what was made: %w", errors.Join(err, said)))
	}
	for i, n := range countFrames(d.out.String(), len(d.tracks)) {
		if n == 0 {
			return verifyError(fmt.Errorf("%s: nothing decodes", d.tracks[i].dir()))
		}
	}
	return nil
}

// abandon ends a decoder that is not needed.
func (d *decoder) abandon() {
	closeFiles(append(d.files, d.ready))
	d.child.Kill()
	_, _ = d.child.Wait()
}

// emptyFile returns an anonymous file in memory (memfd_create(2)), for us and
// for a child: nothing of it is on a disk. ffmpeg polls several pipes with
// pauses of 10 ms, which took longer than the decoding; it does not do that
// with files.
func emptyFile(name string) (ours, theirs *os.File, err error) {
	fd, err := unix.MemfdCreate(path.Base(name), unix.MFD_CLOEXEC)
	if err != nil {
		return nil, nil, fmt.Errorf("make a file in memory: %w", err)
	}
	ours = os.NewFile(uintptr(fd), name)
	again, err := unix.FcntlInt(ours.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		_ = ours.Close()
		return nil, nil, fmt.Errorf("share a file in memory: %w", err)
	}
	return ours, os.NewFile(uintptr(again), name), nil
}

// memoryFile returns an anonymous file in memory that holds something.
func memoryFile(name string, body []byte) (*os.File, error) {
	ours, theirs, err := emptyFile(name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ours.Close() }()
	if _, err := ours.Write(body); err != nil {
		_ = theirs.Close()
		return nil, fmt.Errorf("fill a file in memory: %w", err)
	}
	return theirs, nil
}

// countFrames counts ffmpeg's framecrc lines — stream, dts, pts, duration,
// size, checksum — by stream.
func countFrames(doc string, streams int) []int {
	out := make([]int, streams)
	for line := range strings.Lines(doc) {
		fields := strings.Split(line, ",")
		if strings.HasPrefix(line, "#") || len(fields) < 6 {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(fields[0]))
		if err == nil && n >= 0 && n < streams {
			out[n]++
		}
	}
	return out
}
