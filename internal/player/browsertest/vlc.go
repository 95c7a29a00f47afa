package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func vlcArgs(m Media, dir, control string) []string {
	args := []string{"-I", control, "--no-video-title-show", "--no-osd", "--vout=dummy", "--avcodec-hw=none", "--no-sout-all", "--adaptive-logic=highest"}
	if m.Text {
		args = append(args, "--sub-track=0")
	}
	return args
}

// vlcPlay plays in real time, for VLC shows pictures only so; its scene filter
// writes one of 25, before there is text on them.
func vlcPlay(ctx context.Context, m Media, dir string) (string, error) {
	args := append(vlcArgs(m, dir, "dummy"), "--aout=afile", "--audiofile-file="+filepath.Join(dir, "sound.wav"),
		"--video-filter=scene", "--scene-format=png", "--scene-ratio=25", "--scene-prefix=s", "--scene-path="+dir, "--run-time=9", m.URL, "vlc://quit")
	return command(ctx, dir, "vlc", args...)
}

// vlcSeek drives VLC by its remote control and takes a snapshot, which has the
// text, soon after each seek.
func vlcSeek(ctx context.Context, m Media, dir string, times []time.Duration) (err error) {
	args := append(vlcArgs(m, dir, "rc"), "--rc-fake-tty", "--aout=dummy",
		"--no-snapshot-preview", "--snapshot-path="+dir, "--snapshot-format=png", "--snapshot-prefix=s", "--snapshot-sequential", m.URL)
	cmd := process(ctx, dir, "vlc", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- strings.Trim(s.Text(), "> \r")
		}
	}()
	err = vlcShots(ctx, in, lines, dir, times)
	_, _ = io.WriteString(in, "quit\n")
	_ = in.Close()
	if e := cmd.Wait(); err == nil && e != nil {
		err = e
	}
	if err != nil {
		text := said.String()
		return fmt.Errorf("%w: %s", err, text[max(0, len(text)-300):])
	}
	return nil
}

func vlcShots(ctx context.Context, in io.Writer, lines <-chan string, dir string, times []time.Duration) error {
	// told waits until VLC says that it is at a second, any below 0.
	told := func(second int) error {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case line, ok := <-lines:
				if !ok {
					return errors.New("it has ended")
				}
				if n, err := strconv.Atoi(line); err == nil && (n == second || second < 0) {
					return nil
				}
			case <-tick.C:
				if _, err := io.WriteString(in, "get_time\n"); err != nil {
					return err
				}
			case <-ctx.Done():
				return fmt.Errorf("it is never at %d s", second)
			}
		}
	}
	if err := told(-1); err != nil {
		return err
	}
	for i, at := range times {
		file := filepath.Join(dir, fmt.Sprintf("s%05d.png", i+1))
		for !vlcShown(file) {
			if ctx.Err() != nil {
				return fmt.Errorf("no snapshot at %s", at)
			}
			if _, err := fmt.Fprintf(in, "seek %d\n", int(at.Seconds())); err != nil {
				return err
			}
			if err := told(int(at.Seconds())); err != nil {
				return err
			}
			// Nothing tells that the picture has come, too; without one VLC
			// takes no snapshot.
			time.Sleep(700 * time.Millisecond)
			if _, err := io.WriteString(in, "snapshot\n"); err != nil {
				return err
			}
			for n := 0; n < 40 && !vlcShown(file); n++ {
				time.Sleep(50 * time.Millisecond)
			}
		}
		if err := os.Rename(file, filepath.Join(dir, fmt.Sprintf("%d.png", i))); err != nil {
			return err
		}
	}
	return nil
}

func vlcShown(file string) bool {
	_, err := ReadImage(file)
	return err == nil
}
