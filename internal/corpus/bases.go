package corpus

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Clips are what the cases of media are made from: a second of flash and beep,
// 160×90 at 25 frames a second, in several containers.
type Clips struct {
	dir string
	MP4 []byte // ftyp, free, mdat, moov: the index at the end, so that it can be rewritten
	MKV []byte
	TS  []byte
	AVI []byte
	FLV []byte
	Ogg []byte
	ASF []byte
	MXF []byte
	PS  []byte

	Long []namedClip // of twelve seconds
}

// What some cases carry beside: their names in the arguments are @chapters and @subtitles.
const (
	subtitles = "1\n00:00:00,200 --> 00:00:30,000\nlong\n"
	chapters  = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\ntitle=one\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=400\nEND=99999\ntitle=two\n"
)

// MakeClips makes the clips with ffmpeg in a directory that is the caller's.
func MakeClips(ctx context.Context, dir string) (*Clips, error) {
	c := &Clips{dir: dir}
	base := filepath.Join(dir, "clip.mp4")
	for _, m := range []struct {
		into *[]byte
		name string
		args string
	}{
		{&c.MP4, "clip.mp4", clip + clipCodecs},
		{&c.MKV, "clip.mkv", "-i " + base + " -c copy"},
		{&c.TS, "clip.ts", "-i " + base + " -c copy"},
		{&c.AVI, "clip.avi", clip + "-c:v mjpeg -c:a pcm_s16le"},
		{&c.FLV, "clip.flv", "-i " + base + " -c copy"},
		{&c.Ogg, "clip.ogg", clip + "-c:v libtheora -c:a libvorbis"},
		{&c.ASF, "clip.asf", clip + "-c:v wmv2 -c:a wmav2"},
		{&c.MXF, "clip.mxf", clip + "-c:v mpeg2video -c:a pcm_s16le"},
		{&c.PS, "clip.mpg", clip + "-c:v mpeg2video -c:a mp2"},
	} {
		var err error
		if *m.into, err = c.make(ctx, m.name, strings.Fields(m.args)...); err != nil {
			return nil, err
		}
	}
	const long = "-f lavfi -i testsrc2=s=160x90:r=25:d=12 -f lavfi -i sine=440:r=48000:d=12 "
	for _, m := range []struct{ ext, codecs string }{
		{"mkv", clipCodecs},
		{"flv", clipCodecs},
		{"ts", clipCodecs},
		{"mov", clipCodecs + " -movflags faststart"},
		{"avi", "-c:v mjpeg -c:a pcm_s16le"},
		{"asf", "-c:v wmv2 -c:a wmav2"},
		{"mxf", "-c:v mpeg2video -c:a pcm_s16le"},
		{"mpg", "-c:v mpeg2video -c:a mp2"},
	} {
		body, err := c.make(ctx, "long."+m.ext, strings.Fields(long+m.codecs)...)
		if err != nil {
			return nil, err
		}
		c.Long = append(c.Long, namedClip{m.ext, body})
	}
	for name, text := range map[string]string{"chapters.txt": chapters, "subtitles.srt": subtitles} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// make runs ffmpeg; the arguments lack the output's name.
func (c *Clips) make(ctx context.Context, name string, args ...string) ([]byte, error) {
	file := filepath.Join(c.dir, name)
	args = append([]string{"-nostdin", "-v", "error", "-y"}, append(args, "-fflags", "+bitexact", "-threads", "1", file)...)
	if out, err := exec.CommandContext(ctx, "ffmpeg", args...).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make %s: %w: %s", name, err, out)
	}
	return os.ReadFile(file)
}
