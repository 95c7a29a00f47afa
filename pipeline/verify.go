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

// checkSegments reads segments back from the store, opens them with the key
// that the key store will hand out, and decodes them: the key pictures and all
// sound, any decoder error is a failure. The same pictures must come out of
// every output.
func (a *attempt) checkSegments(ctx context.Context, segs []*segment, nice int) error {
	if len(segs) == 0 {
		return nil
	}
	stored := map[string]cenc.ContentKey{}
	for output := range a.req.Keys {
		key, err := a.req.StoredKey(ctx, output)
		if err != nil {
			return transient(CodeKeyUnavailable, "the content key could not be read back", err)
		}
		stored[output] = key
	}
	inputs := make([][]byte, len(segs))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8)
	for i, seg := range segs {
		group.Go(func() error {
			body, err := a.fetchBack(gctx, seg)
			if err != nil {
				return err
			}
			key, encrypted := stored[seg.Output]
			if inputs[i], err = a.open(seg, body, key, encrypted); err != nil {
				return verifyError(fmt.Errorf("%s: %w", seg.Object.Name, err))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	pictures, err := a.decode(ctx, segs, inputs, nice)
	if err != nil {
		return err
	}
	return comparePictures(segs, pictures)
}

// fetchBack reads a segment from the store and compares it with the inventory.
func (a *attempt) fetchBack(ctx context.Context, seg *segment) ([]byte, error) {
	var body []byte
	err := retry(ctx, func(ctx context.Context) error {
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

// open returns what a player would decode: for cmaf the init segment and the
// segment in one, in the clear.
func (a *attempt) open(seg *segment, body []byte, key cenc.ContentKey, encrypted bool) ([]byte, error) {
	if seg.Output == OutputTS {
		if !encrypted {
			return body, nil
		}
		return openSegment(key, seg.IV, body)
	}
	init, ok := a.sink.doc(trackDir(seg.Output, seg.Track) + "/init.mp4")
	if !ok {
		return nil, fmt.Errorf("no init segment")
	}
	if !encrypted {
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
// and up. One line per decoded frame comes out, with its checksum.
func decodeArgs(segs []*segment) []string {
	args := []string{"-nostdin", "-hide_banner", "-loglevel", "error", "-xerror"}
	for i, seg := range segs {
		format := "mov"
		if seg.Output == OutputTS {
			format = "mpegts"
		}
		args = append(args, "-err_detect", "explode", "-skip_frame", "nokey", "-threads", "1",
			"-protocol_whitelist", "file", "-f", format, "-i", "/dev/fd/"+strconv.Itoa(3+i))
	}
	for i := range segs {
		args = append(args, "-map", strconv.Itoa(i)+":0")
	}
	return append(args, "-c:a", "pcm_s16le", "-c:v", "rawvideo", "-vsync", "passthrough", "-copyts", "-f", "framecrc", "pipe:1")
}

// decode returns the checksums of the decoded key pictures (or of the sound)
// of each segment, in order.
func (a *attempt) decode(ctx context.Context, segs []*segment, inputs [][]byte, nice int) ([][]string, error) {
	files := make([]*os.File, 0, len(inputs))
	for i, input := range inputs {
		f, err := memoryFile(segs[i].Object.Name, input)
		if err != nil {
			closeFiles(files)
			return nil, transient(CodeVerifyFailed, "the verification could not start", err)
		}
		files = append(files, f)
	}
	var out bytes.Buffer
	_, err := a.child(ctx, proc.Spec{
		Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: decodeArgs(segs), Files: files, Nice: nice,
		Stdout: &limitedBuffer{Buffer: &out, left: 16 << 20},
	})
	if err != nil {
		return nil, verifyError(fmt.Errorf("decode what was made: %w", err))
	}
	return parseFrameCRC(out.String(), len(segs)), nil
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

// parseFrameCRC sorts ffmpeg's framecrc lines — stream, dts, pts, duration,
// size, checksum — by stream.
func parseFrameCRC(doc string, streams int) [][]string {
	out := make([][]string, streams)
	for line := range strings.Lines(doc) {
		fields := strings.Split(line, ",")
		if strings.HasPrefix(line, "#") || len(fields) < 6 {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(fields[0]))
		if err == nil && n >= 0 && n < streams {
			out[n] = append(out[n], strings.TrimSpace(fields[5]))
		}
	}
	return out
}

// comparePictures wants something decoded from every segment, and the same
// pictures from every output's segment of the same rendition and number.
func comparePictures(segs []*segment, pictures [][]string) error {
	first := map[string]int{}
	for i, seg := range segs {
		if len(pictures[i]) == 0 {
			return verifyError(fmt.Errorf("%s: nothing decodes", seg.Object.Name))
		}
		if !strings.HasPrefix(seg.Track, "v-") {
			continue // sound is cut between outputs at different packets
		}
		at := seg.Track + "/" + strconv.Itoa(seg.Number)
		j, seen := first[at]
		if !seen {
			first[at] = i
			continue
		}
		if strings.Join(pictures[i], " ") != strings.Join(pictures[j], " ") {
			return verifyError(fmt.Errorf("%s and %s show different pictures", seg.Object.Name, segs[j].Object.Name))
		}
	}
	return nil
}

// checkProtection compares what the init segment's boxes say with the key: KID
// and scheme (tenc, schm; ISO/IEC 23001-7, 8.2 and 4), and that the playlist
// names the key's URI, once. Without a key neither may mention encryption.
func checkProtection(init, playlist []byte, key Key) error {
	f, err := mp4.DecodeFile(bytes.NewReader(init))
	if err != nil {
		return fmt.Errorf("parse init segment: %w", err)
	}
	if f.Init == nil || f.Init.Moov == nil || f.Init.Moov.Trak == nil {
		return fmt.Errorf("the init segment has no track")
	}
	stsd := f.Init.Moov.Trak.Mdia.Minf.Stbl.Stsd
	var sinf *mp4.SinfBox
	for _, child := range stsd.Children {
		switch entry := child.(type) {
		case *mp4.VisualSampleEntryBox:
			sinf = entry.Sinf
		case *mp4.AudioSampleEntryBox:
			sinf = entry.Sinf
		}
	}
	hasKey := bytes.Contains(playlist, []byte("#EXT-X-KEY:METHOD=SAMPLE-AES,"))
	if key.KID.IsZero() {
		if sinf != nil || bytes.Contains(playlist, []byte("#EXT-X-KEY")) {
			return fmt.Errorf("a clear output says that it is encrypted")
		}
		return nil
	}
	switch {
	case sinf == nil || sinf.Schm == nil || sinf.Schi == nil || sinf.Schi.Tenc == nil:
		return fmt.Errorf("an encrypted output has no protection boxes")
	case sinf.Schm.SchemeType != string(cenc.SchemeCBCS):
		return fmt.Errorf("scheme is %s", sinf.Schm.SchemeType)
	case !bytes.Equal(sinf.Schi.Tenc.DefaultKID, key.KID[:]):
		return fmt.Errorf("tenc has another key id")
	case !hasKey || !bytes.Contains(playlist, []byte(`URI="`+key.URI+`"`)):
		return fmt.Errorf("the playlist does not name the key")
	}
	return nil
}
