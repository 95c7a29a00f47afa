package pipeline_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/aac"
	"github.com/Eyevinn/mp4ff/mp4"

	"github.com/sealcast/sealcast/pipeline"
)

// largeTrack is a track of sound of so many chunks of eight samples, a second
// each, which all have the same size and no bytes.
func largeTrack(t *testing.T, chunks int, size uint32) (init *mp4.InitSegment, list [][]mp4.FullSample) {
	t.Helper()
	init = mp4.CreateEmptyInit()
	if err := init.AddEmptyTrack(48000, "audio", "en").SetAACDescriptor(aac.AAClc, 48000); err != nil {
		t.Fatal(err)
	}
	at := uint64(0)
	for range chunks {
		var c []mp4.FullSample
		for range 8 {
			c = append(c, mp4.FullSample{Sample: mp4.Sample{Flags: mp4.SyncSampleFlags, Dur: 48000, Size: size}, DecodeTime: at})
			at += 48000
		}
		list = append(list, c)
	}
	return init, list
}

// From 4 GiB on sizes and places have 64 bits: a file whose media are not there
// has every chunk where the one before it ends, and ffprobe finds the last sample
// at the end of the file.
func TestProgressiveOfManyGiB(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		chunks int
		size   uint32 // of a sample
		large  bool
	}{
		"a little less than 4 GiB": {32, 1<<23 - 4096, false},
		"4 GiB less 4 kB":          {32, 1<<23 - 8, true}, // with its front it is more
		"12 GiB":                   {96, 1 << 23, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var inits []*mp4.InitSegment
			var chunks [][][]mp4.FullSample
			for range 2 {
				init, list := largeTrack(t, c.chunks, c.size)
				inits, chunks = append(inits, init), append(chunks, list)
			}
			head, size, err := pipeline.Progressive(inits, chunks)
			if err != nil {
				t.Fatal(err)
			}
			chunk := uint64(8 * c.size)
			media := 2 * uint64(c.chunks) * chunk
			if uint64(size) != uint64(len(head))+media {
				t.Errorf("the file has %d bytes, its front %d and its media %d", size, len(head), media)
			}
			begin := len(head) - 8
			want := binary.BigEndian.AppendUint32(nil, uint32(media+8))
			want = append(want, "mdat"...)
			if c.large {
				begin = len(head) - 16
				want = binary.BigEndian.AppendUint64([]byte("\x00\x00\x00\x01mdat"), media+16)
			}
			if !bytes.Equal(head[begin:], want) {
				t.Errorf("the media begin with %x, want %x", head[begin:], want)
			}
			file, err := mp4.DecodeFile(bytes.NewReader(head[:begin]))
			if err != nil {
				t.Fatal(err)
			}
			for i, trak := range file.Moov.Traks {
				stbl := trak.Mdia.Minf.Stbl
				if (stbl.Co64 != nil) != c.large || (stbl.Stco != nil) == c.large {
					t.Fatalf("co64 %v, stco %v", stbl.Co64, stbl.Stco)
				}
				for n := range c.chunks {
					var at uint64
					if c.large {
						at = stbl.Co64.ChunkOffset[n]
					} else {
						at = uint64(stbl.Stco.ChunkOffset[n])
					}
					if want := uint64(len(head)) + uint64(2*n+i)*chunk; at != want {
						t.Fatalf("chunk %d of track %d is at %d, want %d", n+1, i+1, at, want)
					}
				}
			}
			if got, want := lastPacket(t, head, size), size-int64(c.size); got != want {
				t.Errorf("ffprobe finds the last sample at %d, want %d", got, want)
			}
		})
	}
}

// lastPacket is where ffprobe finds the last sample of the second track of a file
// of which only the front takes room.
func lastPacket(t *testing.T, head []byte, size int64) (at int64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "large.mp4")
	if err := os.WriteFile(file, head, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "1", "-read_intervals", "99999%", "-show_entries", "packet=pos", "-of", "csv=p=0", file).Output()
	lines := strings.Fields(string(out))
	if err != nil || len(lines) == 0 {
		t.Fatalf("ffprobe: %v, %q", err, out)
	}
	if _, err := fmt.Sscan(lines[len(lines)-1], &at); err != nil {
		t.Fatal(err)
	}
	return at
}
