package browsertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Image is a picture.
type Image = image.Image

// Tool is a player outside of the browser.
type Tool struct {
	Name    string
	version []string // command that tells the version
	// play plays the first seconds into pictures and one sound file below dir,
	// and returns what the tool said.
	play func(ctx context.Context, m Media, dir string) (string, error)
	// seek goes to times and shows each: 0.png, 1.png, … in dir.
	seek func(ctx context.Context, m Media, dir string, times []time.Duration) error
	// cues reads the first text track; nil: the pictures of seek have it.
	cues func(ctx context.Context, m Media, dir string) ([]TimedCue, error)
	// watch is Watch.
	watch func(ctx context.Context, m Media, renew Renew, dir string) ([]View, error)
	every time.Duration // distance of the pictures of play

	// Seeks are where the tool is asked to go, Early and Late how far from
	// there its picture may be: not all are asked for a time exactly.
	Seeks       []time.Duration
	Early, Late time.Duration
	Alone       bool // beside others what it tells of its time is far off
}

// TimedCue is a text with its time.
type TimedCue struct {
	From, To time.Duration
	Text     string
}

// Media is what a tool is to play.
type Media struct {
	URL    string
	Header string // "Authorization: Bearer …", or empty
	Key    string // hex, where a tool wants the key itself (DASH); or empty
	Text   bool   // with its first text track
	Ends   Ends
}

// SecondLanguage is that of a title's second sound.
const SecondLanguage = "de"

// playSeconds is how much of a title a tool plays.
const playSeconds = "7"

// Tools lists the players from Debian packages.
func Tools() []Tool {
	const ms = time.Millisecond
	// HLS of libavformat never seeks into a clip's first segment.
	late := []time.Duration{9220 * ms, 3500 * ms}
	return []Tool{
		{Name: "ffmpeg", version: []string{"ffmpeg", "-version"}, every: time.Second, play: ffmpegPlay, watch: ffmpegWatch, seek: each(ffmpegPicture), cues: ffmpegCues, Seeks: late, Late: 40 * ms},
		{Name: "mpv", version: []string{"mpv", "--version"}, every: time.Second, play: mpvPlay, watch: mpvWatch, seek: each(mpvPicture), cues: mpvCues, Seeks: late, Late: 40 * ms},
		{Name: "VLC", version: []string{"vlc", "--version"}, play: vlcPlay, watch: vlcWatch, seek: vlcSeek, Seeks: []time.Duration{9 * time.Second, 7 * time.Second}, Early: time.Second, Late: 3400 * ms, Alone: true},
		{Name: "GStreamer", version: []string{"gst-launch-1.0", "--version"}, every: time.Second, play: gstPlay, watch: gstWatch, seek: each(gstPicture), cues: gstCues, Seeks: late, Early: 240 * ms, Late: 240 * ms},
	}
}

// each seeks with a process for each time.
func each(picture func(ctx context.Context, m Media, dir string, at time.Duration) error) func(context.Context, Media, string, []time.Duration) error {
	return func(ctx context.Context, m Media, dir string, times []time.Duration) error {
		for i, at := range times {
			sub := filepath.Join(dir, fmt.Sprintf("at-%d", i))
			if err := errors.Join(os.Mkdir(sub, 0o777), picture(ctx, m, sub, at)); err != nil {
				return fmt.Errorf("to %s: %w", at, err)
			}
			found, err := filepath.Glob(filepath.Join(sub, "*.png"))
			if err != nil || len(found) == 0 {
				return fmt.Errorf("no picture at %s", at)
			}
			slices.Sort(found) // GStreamer shows the first pictures before it has sought
			if err := os.Rename(found[min(3, len(found)-1)], filepath.Join(dir, fmt.Sprintf("%d.png", i))); err != nil {
				return err
			}
		}
		return nil
	}
}

// Version returns the tool's first line about itself, shortened; an error when
// it is not installed.
func (t Tool) Version(ctx context.Context) (string, error) {
	out, err := command(ctx, "", t.version[0], t.version[1:]...)
	if err != nil {
		return "", fmt.Errorf("%s is not installed: run make matrix, which installs it: %w", t.Name, err)
	}
	if v := regexp.MustCompile(`(?:version|mpv) v?(\d+\.\d+[.\d]*)`).FindStringSubmatch(out); v != nil {
		return v[1], nil
	}
	return "", fmt.Errorf("%s tells no version: %.100q", t.Name, out)
}

// Played is what a tool showed.
type Played struct {
	Pictures []image.Image // of the start, Every apart (0: in any distance)
	Every    time.Duration
	Sounds   []Sound // the first audio track and, where the tool can be told which, the second one
	Sought   map[time.Duration]image.Image
	Cues     []TimedCue // of the text, where the tool gives it apart
	Apart    bool       // it does
}

// Play plays the first seconds, and goes to times if there are any; a tool that
// hangs does so until the context ends.
func (t Tool) Play(ctx context.Context, m Media, dir string, times []time.Duration) (Played, error) {
	p := Played{Every: t.every, Sought: map[time.Duration]image.Image{}, Apart: t.cues != nil}
	if err := folder(dir); err != nil {
		return p, err
	}
	if _, err := t.play(ctx, m, dir); err != nil {
		return p, fmt.Errorf("%s: %w", t.Name, err)
	}
	var err error
	if p.Pictures, err = pictures(dir); err != nil {
		return p, err
	}
	for _, name := range []string{"sound.wav", "second.wav"} {
		sound, err := ReadSound(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return p, err
		}
		p.Sounds = append(p.Sounds, sound)
	}
	if m.Text && t.cues != nil {
		if p.Cues, err = t.cues(ctx, m, dir); err != nil {
			return p, fmt.Errorf("%s, text: %w", t.Name, err)
		}
	}
	if len(times) == 0 {
		return p, nil
	}
	sub := filepath.Join(dir, "seek")
	if err := errors.Join(folder(sub), t.seek(ctx, m, sub, times)); err != nil {
		return p, fmt.Errorf("%s, seek: %w", t.Name, err)
	}
	for i, at := range times {
		if p.Sought[at], err = ReadImage(filepath.Join(sub, fmt.Sprintf("%d.png", i))); err != nil {
			return p, err
		}
	}
	return p, nil
}

// Refused plays with a wrong token and returns the pictures that were shown all
// the same; an error when the tool hangs or, without a picture, says nothing.
func (t Tool) Refused(ctx context.Context, m Media, dir string) ([]image.Image, error) {
	if err := folder(dir); err != nil {
		return nil, err
	}
	said, err := t.play(ctx, m, dir)
	if ctx.Err() != nil {
		return nil, errors.New("it hangs with a wrong token")
	}
	found, readErr := pictures(dir)
	if readErr != nil {
		return nil, readErr
	}
	if err == nil && !regexp.MustCompile(`(?i)error|fail|refused|cannot|unable`).MatchString(said) {
		return nil, fmt.Errorf("says nothing about a wrong token: %.200q", said)
	}
	return found, nil
}

func folder(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil { //nolint:gosec // a tool that runs as another user writes there
		return err
	}
	return os.Chmod(dir, 0o777) //nolint:gosec // whatever the umask
}

func pictures(dir string) (out []image.Image, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.png"))
	slices.Sort(names)
	for _, name := range names {
		img, e := ReadImage(name)
		if e != nil {
			return out, e
		}
		out = append(out, img)
	}
	return out, err
}

// process is a tool that is not started yet.
func process(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+os.TempDir(), "GST_REGISTRY_FORK=no")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if name == "vlc" && os.Getuid() == 0 { // it refuses to run as root
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// command runs a tool to its end; what it said is in the error.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := process(ctx, dir, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		err = errors.New("it did not come to an end in time")
	}
	if err != nil {
		said := strings.TrimSpace(out.String())
		return said, fmt.Errorf("%w: %s", err, said[max(0, len(said)-300):])
	}
	return out.String(), nil
}
