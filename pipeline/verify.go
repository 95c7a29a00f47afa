package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/Eyevinn/mp4ff/mp4"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/proc"
)

// checkSegments reads segments back from the store and opens them with the key
// that the key store will hand out. Their pictures must be those that the
// encoder made, byte for byte; then the key pictures and all sound are decoded,
// and any decoder error is a failure.
func (a *attempt) checkSegments(ctx context.Context, segs []*segment, nice int) error {
	if len(segs) == 0 {
		return nil
	}
	stored, err := a.storedKeys(ctx, segs)
	if err != nil {
		return err
	}
	files := make([]*os.File, len(segs)) // clear, in memory
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelChecks)
	for i, seg := range segs {
		group.Go(func() error {
			body, err := a.fetchBack(gctx, seg)
			if err != nil {
				return err
			}
			clear, err := a.open(seg, body, stored[seg.Key.KID])
			if err == nil {
				err = a.samePictures(seg, clear)
			}
			if err == nil {
				files[i], err = memoryFile(seg.Object.Name, clear)
			}
			if err != nil {
				return verifyError(fmt.Errorf("%s: %w", seg.Object.Name, err))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		closeFiles(files)
		return err
	}
	return a.decode(ctx, segs, files, nice)
}

// storedKeys reads back the keys of segments.
func (a *attempt) storedKeys(ctx context.Context, segs []*segment) (map[cenc.KID]cenc.ContentKey, error) {
	stored := map[cenc.KID]cenc.ContentKey{}
	for _, seg := range segs {
		kid := seg.Key.KID
		if _, known := stored[kid]; known || kid.IsZero() {
			continue
		}
		key, err := a.req.StoredKey(ctx, kid)
		if err != nil {
			return nil, transient(CodeKeyUnavailable, "the content key could not be read back", err)
		}
		stored[kid] = key
	}
	return stored, nil
}

// parallelChecks bounds the segments that are read back at once.
const parallelChecks = 8

// samePictures compares the pictures of a clear segment with the encoder's.
func (a *attempt) samePictures(seg *segment, clear []byte) error {
	r := a.rendition(seg.Track)
	if r == nil || r.Video == nil {
		return nil
	}
	got, err := segmentDigests(seg.Output, r.Video.Codec, clear)
	if err != nil {
		return err
	}
	return compareGOPs(got, r.Facts.Pictures.list(), a.plan.firstGOP(seg.Number))
}

func (a *attempt) rendition(name string) *rendition {
	for _, r := range a.renditions {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// fetchBack reads a segment from the store and compares it with the inventory.
func (a *attempt) fetchBack(ctx context.Context, seg *segment) ([]byte, error) {
	var body []byte
	err := a.dog.retry(ctx, func(ctx context.Context) error {
		r, err := a.cfg.Media.Get(ctx, a.up.prefix+seg.Object.Name, "", 0, -1)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		body, err = io.ReadAll(io.LimitReader(r, maxObject+1))
		return err
	})
	if err != nil {
		return nil, transient(CodeStoreUnavailable, "an uploaded segment could not be read back", err)
	}
	if sha256.Sum256(body) != seg.Object.SHA256 {
		return nil, verifyError(fmt.Errorf("%s differs from what was uploaded", seg.Object.Name))
	}
	return body, nil
}

// open returns what a player would decode: of fMP4 the init segment and the
// segment in one, in the clear.
func (a *attempt) open(seg *segment, body []byte, key cenc.ContentKey) ([]byte, error) {
	as, encrypted := formats[seg.Output], !seg.Key.KID.IsZero()
	if encrypted && as.sealed {
		var err error
		if body, err = openSegment(key, seg.IV, body); err != nil {
			return nil, err
		}
	}
	if as.container == containerTS {
		return body, nil
	}
	init, ok := a.sink.doc(trackDir(seg.Output, seg.Track) + "/init.mp4")
	if !ok {
		return nil, fmt.Errorf("no init segment")
	}
	if !encrypted || as.sealed {
		return append(bytes.Clone(init), body...), nil
	}
	return openCMAF(init, body, key)
}

// openCMAF decrypts a segment with the sample encryption of ISO/IEC 23001-7.
func openCMAF(init, body []byte, key cenc.ContentKey) ([]byte, error) {
	f, err := mp4.DecodeFile(bytes.NewReader(append(bytes.Clone(init), body...)))
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if f.Init == nil || len(f.Segments) == 0 {
		return nil, fmt.Errorf("no init segment or no fragment")
	}
	info, err := mp4.DecryptInit(f.Init)
	if err != nil {
		return nil, fmt.Errorf("read protection: %w", err)
	}
	var out bytes.Buffer
	if err := f.Init.Encode(&out); err != nil {
		return nil, err
	}
	for _, s := range f.Segments {
		if err := mp4.DecryptSegment(s, info, key.Bytes()); err != nil {
			return nil, fmt.Errorf("decrypt: %w", err)
		}
		if err := s.Encode(&out); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), nil
}

// decodeArgs returns ffmpeg's arguments to decode n inputs from descriptors 3
// and up. One line per decoded frame comes out.
func decodeArgs(segs []*segment) []string {
	args := []string{"-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"}
	for i, seg := range segs {
		format := "mov"
		if formats[seg.Output].container == containerTS {
			format = "mpegts"
		}
		args = append(args, "-err_detect", "explode", "-skip_frame", "nokey", "-threads", "1",
			"-protocol_whitelist", "file", "-f", format, "-i", "/dev/fd/"+strconv.Itoa(3+i))
	}
	for i := range segs {
		args = append(args, "-map", strconv.Itoa(i)+":0")
	}
	// wrapped_avframe does not copy pictures: only their number is wanted.
	return append(args, "-c:a", "pcm_s16le", "-c:v", "wrapped_avframe", "-vsync", "passthrough", "-copyts", "-f", "framecrc", "pipe:1")
}

// decode decodes clear segments and wants something from each of them. It
// closes the files.
func (a *attempt) decode(ctx context.Context, segs []*segment, files []*os.File, nice int) error {
	var out bytes.Buffer
	_, err := a.childOf(ctx, StageVerify, proc.Spec{
		Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: decodeArgs(segs), Files: files, Nice: nice,
		Stdout: &limitedBuffer{Buffer: &out, left: 16 << 20},
	})
	if err != nil {
		return verifyError(fmt.Errorf("decode what was made: %w", err))
	}
	for i, n := range countFrames(out.String(), len(segs)) {
		if n == 0 {
			return verifyError(fmt.Errorf("%s: nothing decodes", segs[i].Object.Name))
		}
	}
	return nil
}

// memoryFile returns an anonymous file in memory (memfd_create(2)): nothing of
// it is on a disk. ffmpeg polls several pipes with pauses of 10 ms, which took
// longer than the decoding; it does not do that with files.
func memoryFile(name string, body []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(path.Base(name), unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(body); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("fill a file in memory: %w", err)
	}
	return f, nil
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
