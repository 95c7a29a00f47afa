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

func vlcArgs(m Media, control string) []string {
	args := []string{"-I", control, "--no-video-title-show", "--no-osd", "--vout=dummy", "--avcodec-hw=none", "--no-avcodec-dr", "--avcodec-threads=1", "--no-sout-all"}
	if m.Text {
		args = append(args, "--sub-track=0")
	}
	return args
}

// vlcPlay plays in real time, for VLC shows pictures only so; its scene filter
// writes one of 25, before there is text on them. What is heard is played once more
// with the other sound.
func vlcPlay(ctx context.Context, m Media, dir string) (string, error) {
	play := func(file string, options ...string) (string, error) {
		args := append(vlcArgs(m, "dummy"), "--aout=afile", "--audiofile-file="+filepath.Join(dir, file), "--run-time=9", "--adaptive-logic=highest")
		return command(ctx, dir, "vlc", append(append(args, options...), m.URL, "vlc://quit")...)
	}
	said, err := play("sound.wav", "--video-filter=scene", "--scene-format=png", "--scene-ratio=25", "--scene-prefix=s", "--scene-path="+dir)
	if info, e := os.Stat(filepath.Join(dir, "sound.wav")); err != nil || e != nil || info.Size() == 0 {
		return said, err
	}
	_, err = play("second.wav", "--audio-language="+SecondLanguage)
	return said, err
}

// vlcControl is VLC's remote control.
type vlcControl struct {
	in    io.Writer
	lines <-chan string // what it says
}

// vlcDrive runs VLC under its remote control, with snapshots in dir.
func vlcDrive(ctx context.Context, m Media, dir string, options []string, drive func(vlcControl) error) error {
	args := append(vlcArgs(m, "rc"), "--rc-fake-tty", "--aout=dummy",
		"--no-snapshot-preview", "--snapshot-path="+dir, "--snapshot-format=png", "--snapshot-prefix=s", "--snapshot-sequential")
	cmd := process(ctx, dir, "vlc", append(append(args, options...), m.URL)...)
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
	err = drive(vlcControl{in, lines})
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

func (c vlcControl) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.in, format+"\n", args...)
	return err
}

// told waits until VLC says that it is at a second, any below 0, and returns it.
func (c vlcControl) told(ctx context.Context, second int) (int, error) {
	for len(c.lines) > 0 { // what it said before
		<-c.lines
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				return 0, errors.New("it has ended")
			}
			if n, err := strconv.Atoi(line); err == nil && (n == second || second < 0) {
				return n, nil
			}
		case <-tick.C:
			if err := c.say("get_time"); err != nil {
				return 0, err
			}
		case <-ctx.Done():
			if second < 0 {
				return 0, errors.New("it tells no time, as at the end")
			}
			return 0, fmt.Errorf("it is not at %d s", second)
		}
	}
}

// snapshot takes one in dir and returns its name, which VLC chooses; none when it
// has no picture just then.
func (c vlcControl) snapshot(dir string) (string, error) {
	before, err := filepath.Glob(filepath.Join(dir, "s*.png"))
	if err == nil {
		err = c.say("snapshot")
	}
	if err != nil {
		return "", err
	}
	for range 40 {
		names, err := filepath.Glob(filepath.Join(dir, "s*.png"))
		if err != nil {
			return "", err
		}
		if n := len(names); n > len(before) && vlcShown(names[n-1]) {
			return names[n-1], nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "", nil
}

// vlcSeek takes a snapshot, which has the text, soon after each seek.
func vlcSeek(ctx context.Context, m Media, dir string, times []time.Duration) (err error) {
	return vlcDrive(ctx, m, dir, []string{"--adaptive-logic=highest"}, func(c vlcControl) error {
		if _, err := c.told(ctx, -1); err != nil {
			return err
		}
		const patience = 1500 * time.Millisecond
		for i, at := range times {
			file := ""
			for file == "" {
				if ctx.Err() != nil {
					return fmt.Errorf("no snapshot at %s", at)
				}
				if err := c.say("seek %d", int(at.Seconds())); err != nil {
					return err
				}
				if _, err := c.told(ctx, int(at.Seconds())); err != nil {
					return err
				}
				// Nothing tells that the picture has come, too.
				time.Sleep(patience)
				if file, err = c.snapshot(dir); err != nil {
					return err
				}
			}
			if err := os.Rename(file, filepath.Join(dir, fmt.Sprintf("%d.png", i))); err != nil {
				return err
			}
		}
		return nil
	})
}

// vlcWatch plays in real time over a connection that becomes slow for a while.
func vlcWatch(ctx context.Context, m Media, renew Renew, dir string) (views []View, err error) {
	server, behind, err := NewThrottle(m.URL, m.Ends)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	m.URL = behind(m.URL)
	err = vlcDrive(ctx, m, dir, []string{"--adaptive-logic=rate", "--adaptive-maxbuffer=2000"}, func(c vlcControl) error {
		play := func(fresh bool, done func(at time.Duration) bool) (time.Duration, error) {
			for {
				n, err := c.told(ctx, -1)
				if err != nil {
					return 0, err
				}
				file, err := c.snapshot(dir)
				if err != nil {
					return 0, err
				}
				if file == "" {
					continue
				}
				img, err := ReadImage(file)
				if err != nil {
					return 0, err
				}
				at := time.Duration(n) * time.Second
				views = append(views, View{at, img, fresh, time.Now()})
				if done(at) {
					return at, nil
				}
				time.Sleep(400 * time.Millisecond)
			}
		}
		var second time.Duration // when the second change was seen
		from, err := play(false, func(at time.Duration) bool {
			if second == 0 && changed(views) == 2 {
				second = at
			}
			return second > 0 && at > second
		})
		if err != nil {
			return fmt.Errorf("%w: %w", ErrChange, err)
		}
		if renew == nil {
			return nil
		}
		next, err := renew(ctx)
		if err != nil {
			return err
		}
		if err := errors.Join(c.say("stop"), c.say("clear"), c.say("add %s", behind(next.URL))); err != nil {
			return err
		}
		for n := int(from.Seconds()); n > 2; { // until it has begun anew
			if n, err = c.told(ctx, -1); err != nil {
				return err
			}
		}
		if err := c.say("seek %d", int(from.Seconds())); err != nil {
			return err
		}
		if _, err := c.told(ctx, int(from.Seconds())); err != nil {
			return err
		}
		seen := 0
		_, err = play(true, func(at time.Duration) bool {
			seen++
			return seen >= GoOnViews && at >= from+goOn
		})
		return err
	})
	return views, err
}

func vlcShown(file string) bool {
	_, err := ReadImage(file)
	return err == nil
}
