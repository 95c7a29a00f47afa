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
	// play plays the first seconds into pictures and one sound file below dir.
	play func(ctx context.Context, m Media, dir string) error
	// picture shows the picture at a time in dir; nil: it cannot seek here.
	picture func(ctx context.Context, m Media, dir string, at time.Duration) error
	every   time.Duration // distance of the pictures of play
}

// Media is what a tool is to play.
type Media struct {
	URL    string
	Header string // "Authorization: Bearer …", or empty
	Key    string // hex, where a tool wants the key itself (DASH); or empty
}

// playSeconds is how much of a title a tool plays.
const playSeconds = "7"

// Tools lists the players from Debian packages.
func Tools() []Tool {
	return []Tool{
		{Name: "ffmpeg", version: []string{"ffmpeg", "-version"}, every: time.Second, play: ffmpegPlay, picture: ffmpegPicture},
		{Name: "mpv", version: []string{"mpv", "--version"}, every: time.Second, play: mpvPlay, picture: mpvPicture},
		{Name: "VLC", version: []string{"vlc", "--version"}, every: 0, play: vlcPlay},
		{Name: "GStreamer", version: []string{"gst-launch-1.0", "--version"}, every: time.Second, play: gstPlay},
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
	Sounds   []Sound // the first audio track and, where the tool can choose, the second one
	Sought   map[time.Duration]image.Image
}

// Play plays the first seconds, and seeks where the tool can; a tool that hangs
// does so until the context ends.
func (t Tool) Play(ctx context.Context, m Media, dir string, times []time.Duration) (Played, error) {
	p := Played{Every: t.every, Sought: map[time.Duration]image.Image{}}
	if err := os.MkdirAll(dir, 0o777); err != nil { //nolint:gosec // a tool that runs as another user writes there
		return p, err
	}
	_ = os.Chmod(dir, 0o777) //nolint:gosec // whatever the umask
	if err := t.play(ctx, m, dir); err != nil {
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
	for i, at := range times {
		if t.picture == nil {
			break
		}
		sub := filepath.Join(dir, fmt.Sprintf("seek-%d", i))
		if err := errors.Join(os.Mkdir(sub, 0o777), t.picture(ctx, m, sub, at)); err != nil {
			return p, fmt.Errorf("%s, seek to %s: %w", t.Name, at, err)
		}
		found, err := pictures(sub)
		if err != nil || len(found) == 0 {
			return p, errors.Join(fmt.Errorf("%s: no picture at %s", t.Name, at), err)
		}
		p.Sought[at] = found[0]
	}
	return p, nil
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

// command runs a tool to its end; what it said is in the error.
func command(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &out, dir
	cmd.Env = append(os.Environ(), "HOME="+os.TempDir(), "GST_REGISTRY_FORK=no")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if name == "vlc" && os.Getuid() == 0 { // it refuses to run as root
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
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

func ffmpegInput(m Media) (args []string) {
	args = []string{"-nostdin", "-v", "error", "-xerror"}
	if m.Header != "" {
		args = append(args, "-headers", m.Header+"\r\n")
	}
	if m.Key != "" {
		args = append(args, "-cenc_decryption_key", m.Key)
	}
	return args
}

func ffmpegPlay(ctx context.Context, m Media, dir string) error {
	args := append(ffmpegInput(m), "-i", m.URL, "-t", playSeconds, "-map", "0:v:0", "-vf", "fps=1:start_time=0:round=up", filepath.Join(dir, "%05d.png"),
		"-t", playSeconds, "-map", "0:a:0", filepath.Join(dir, "sound.wav"), "-t", playSeconds, "-map", "0:a:1", filepath.Join(dir, "second.wav"))
	_, err := command(ctx, dir, "ffmpeg", args...)
	return err
}

func ffmpegPicture(ctx context.Context, m Media, dir string, at time.Duration) error {
	args := append(ffmpegInput(m), "-i", m.URL, "-ss", fmt.Sprintf("%.3f", at.Seconds()), "-map", "0:v:0", "-frames:v", "1", filepath.Join(dir, "1.png"))
	_, err := command(ctx, dir, "ffmpeg", args...)
	return err
}

func mpvArgs(m Media, dir string) []string {
	args := []string{
		"--no-config", "--msg-level=all=error", "--no-terminal", "--vo=image", "--vo-image-format=png", "--vo-image-outdir=" + dir,
		"--hwdec=no", "--sid=no", "--hls-bitrate=max", "--untimed",
	}
	if m.Header != "" {
		args = append(args, "--http-header-fields="+m.Header)
	}
	if m.Key != "" {
		args = append(args, "--demuxer-lavf-o=cenc_decryption_key="+m.Key)
	}
	return args
}

func mpvPlay(ctx context.Context, m Media, dir string) error {
	args := append(mpvArgs(m, dir), "--vf=fps=1:start_time=0:round=up", "--end="+playSeconds, "--ao=pcm", "--ao-pcm-file="+filepath.Join(dir, "sound.wav"), m.URL)
	if _, err := command(ctx, dir, "mpv", args...); err != nil {
		return err
	}
	args = append(mpvArgs(m, dir), "--vid=no", "--aid=2", "--end="+playSeconds, "--ao=pcm", "--ao-pcm-file="+filepath.Join(dir, "second.wav"), m.URL)
	_, err := command(ctx, dir, "mpv", args...)
	return err
}

// mpvPicture lets the demuxer go well before the time: that of HLS stops at the
// first key picture after what it is asked for (mpv issue 2269).
func mpvPicture(ctx context.Context, m Media, dir string, at time.Duration) error {
	args := append(mpvArgs(m, dir), "--no-audio", "--hr-seek=yes", "--hr-seek-demuxer-offset=10", fmt.Sprintf("--start=%.3f", at.Seconds()), "--frames=1", m.URL)
	_, err := command(ctx, dir, "mpv", args...)
	return err
}

// vlcPlay plays in real time, for VLC shows pictures only so; its scene filter
// writes one of 25.
func vlcPlay(ctx context.Context, m Media, dir string) error {
	_, err := command(ctx, dir, "vlc", "-I", "dummy", "--no-video-title-show", "--vout=dummy", "--aout=afile", "--audiofile-file="+filepath.Join(dir, "sound.wav"),
		"--video-filter=scene", "--scene-format=png", "--scene-ratio=25", "--scene-prefix=s", "--scene-path="+dir, "--no-sout-all",
		"--adaptive-logic=highest", "--run-time=9", m.URL, "vlc://quit")
	return err
}

func gstPlay(ctx context.Context, m Media, dir string) error {
	_, err := command(ctx, dir, "timeout", "60", "gst-launch-1.0", "-q", "playbin", "uri="+m.URL,
		"video-sink=videoconvert ! videorate skip-to-first=true ! video/x-raw,framerate=1/1 ! pngenc ! multifilesink location="+filepath.Join(dir, "%05d.png"),
		"audio-sink=audioconvert ! wavenc ! filesink location="+filepath.Join(dir, "sound.wav"))
	return err
}
