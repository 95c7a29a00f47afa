package verify

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
	"github.com/sealcast/sealcast/internal/sandbox"
)

// decoded is what ffmpeg made of a rendition.
type decoded struct {
	Pictures int64
	Sounds   int64 // blocks of samples
	Faults   []string
	Ran      bool
}

// decoderMemory bounds what one ffmpeg may take, in bytes.
const decoderMemory = 2 << 30

// tool is ffmpeg, and the sandbox that it runs in.
type tool struct {
	path string
	box  *sandbox.Sandbox
}

// decoder is one ffmpeg that takes a clear stream on stdin. Nothing else
// reaches it: no address, no key, no token.
type decoder struct {
	process *proc.Process
	stdin   *os.File
	count   *frameCounter
	broken  bool // it takes no more
}

// decodeArgs returns ffmpeg's arguments. One line comes out for each picture
// and each block of sound; any complaint is an error.
func decodeArgs(format string) []string {
	return []string{
		"-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-err_detect", "explode", "-threads", "1", "-copyts",
		"-protocol_whitelist", "pipe", "-f", format, "-i", "pipe:0", "-map", "0:v?", "-map", "0:a?",
		// wrapped_avframe does not copy pictures: only their number is wanted.
		"-c:v", "wrapped_avframe", "-c:a", "pcm_s16le", "-vsync", "passthrough", "-max_muxing_queue_size", "9999", "-f", "framecrc", "pipe:1",
	}
}

func (t tool) start(ctx context.Context, format string, budget time.Duration) (*decoder, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	defer r.Close()
	d := &decoder{stdin: w, count: newFrameCounter()}
	spec := proc.Spec{Name: "ffmpeg", Path: t.path, Args: decodeArgs(format), Stdin: r, Stdout: d.count}
	if d.process, err = proc.Start(ctx, t.box.Confine(spec, sandbox.Allowance{CPU: budget, Memory: decoderMemory})); err != nil {
		_ = w.Close()
		return nil, err
	}
	return d, nil
}

// write feeds it; an ffmpeg that ended early is asked for its reason by end.
func (d *decoder) write(p []byte) {
	if d.broken {
		return
	}
	if _, err := d.stdin.Write(p); err != nil {
		d.broken = true
	}
}

// end closes the stream and adds what came out.
func (d *decoder) end(to *decoded) {
	_ = d.stdin.Close()
	res, err := d.process.Wait()
	d.count.close()
	to.Ran = true
	to.Pictures += d.count.streams[video]
	to.Sounds += d.count.streams[audio]
	if complaint := firstLines(res.Stderr); complaint != "" {
		to.fault("ffmpeg: " + complaint)
		return
	}
	if err != nil && !errors.Is(err, io.EOF) {
		to.fault(err.Error())
	} else if d.broken {
		to.fault("ffmpeg ended before its input did")
	}
}

func (d *decoded) fault(text string) {
	const most = 10
	if len(d.Faults) < most {
		d.Faults = append(d.Faults, text)
	}
}

// firstLines shows the first three different complaints.
func firstLines(stderr string) string {
	var out []string
	seen := map[string]bool{}
	for line := range strings.Lines(stderr) {
		line = clip(strings.TrimSpace(line))
		if i := strings.Index(line, "] "); strings.HasPrefix(line, "[") && i > 0 {
			line = line[i+2:] // without the decoder's address
		}
		if line == "" || seen[line] {
			continue
		}
		seen[line] = true
		if out = append(out, line); len(out) == 3 {
			break
		}
	}
	return strings.Join(out, "; ")
}

// frameCounter reads ffmpeg's framecrc: "#media_type 0: video", and then
// lines that begin with the stream's number.
type frameCounter struct {
	w       *io.PipeWriter
	done    chan struct{}
	kinds   map[int]kind
	streams map[kind]int64
}

func newFrameCounter() *frameCounter {
	r, w := io.Pipe()
	c := &frameCounter{w: w, done: make(chan struct{}), kinds: map[int]kind{}, streams: map[kind]int64{}}
	go func() {
		defer close(c.done)
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			c.line(lines.Text())
		}
		_ = r.CloseWithError(lines.Err())
	}()
	return c
}

func (c *frameCounter) Write(p []byte) (int, error) { return c.w.Write(p) }

func (c *frameCounter) close() {
	_ = c.w.Close()
	<-c.done
}

func (c *frameCounter) line(s string) {
	if media, ok := strings.CutPrefix(s, "#media_type "); ok {
		number, name, _ := strings.Cut(media, ": ")
		if n, err := strconv.Atoi(number); err == nil {
			c.kinds[n] = kind(strings.TrimSpace(name))
		}
		return
	}
	number, _, ok := strings.Cut(s, ",")
	if n, err := strconv.Atoi(strings.TrimSpace(number)); ok && err == nil {
		c.streams[c.kinds[n]]++
	}
}
