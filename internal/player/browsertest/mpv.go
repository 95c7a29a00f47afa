package browsertest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

func mpvArgs(m Media) []string {
	args := []string{"--no-config", "--msg-level=all=error", "--no-input-terminal", "--term-status-msg=", "--hwdec=no", "--sid=no", "--hls-bitrate=max"}
	if m.Header != "" {
		args = append(args, "--http-header-fields="+m.Header)
	}
	if m.Key != "" {
		args = append(args, "--demuxer-lavf-o=cenc_decryption_key="+m.Key)
	}
	return args
}

// mpvImages plays into pictures, as fast as it can.
func mpvImages(m Media, dir string) []string {
	return append(mpvArgs(m), "--untimed", "--vo=image", "--vo-image-format=png", "--vo-image-outdir="+dir)
}

func mpvPlay(ctx context.Context, m Media, dir string) (string, error) {
	args := append(mpvImages(m, dir), "--vf=fps=1:start_time=0:round=up", "--aid=1", "--end="+playSeconds, "--ao=pcm", "--ao-pcm-file="+filepath.Join(dir, "sound.wav"), m.URL)
	if said, err := command(ctx, dir, "mpv", args...); err != nil {
		return said, err
	}
	args = append(mpvImages(m, dir), "--vid=no", "--aid=2", "--end="+playSeconds, "--ao=pcm", "--ao-pcm-file="+filepath.Join(dir, "second.wav"), m.URL)
	return command(ctx, dir, "mpv", args...)
}

// mpvPicture lets the demuxer go well before the time: that of HLS stops at the
// first key picture after what it is asked for (mpv issue 2269).
func mpvPicture(ctx context.Context, m Media, dir string, at time.Duration) error {
	args := append(mpvImages(m, dir), "--no-audio", "--hr-seek=yes", "--hr-seek-demuxer-offset=10", fmt.Sprintf("--start=%.3f", at.Seconds()), "--frames=1", m.URL)
	_, err := command(ctx, dir, "mpv", args...)
	return err
}

// mpvCue is how the script of mpvCues tells of a cue.
var mpvCue = regexp.MustCompile(`(?m)^cue (\S+) (\S+) (.*)$`)

// mpvCues plays all of it and lets a script tell of the text that is shown.
func mpvCues(ctx context.Context, m Media, dir string) (cues []TimedCue, err error) {
	script := filepath.Join(dir, "cues.lua")
	lines := `mp.observe_property("sub-text", "string", function(_, text)
	if text and text ~= "" then io.stderr:write(string.format("\ncue %s %s %s\n", mp.get_property("sub-start"), mp.get_property("sub-end"), text)) end
end)
`
	if err := os.WriteFile(script, []byte(lines), 0o600); err != nil {
		return nil, err
	}
	out, err := command(ctx, dir, "mpv", append(mpvImages(m, dir), "--vo=null", "--ao=null", "--sid=1", "--script="+script, m.URL)...)
	for _, c := range mpvCue.FindAllStringSubmatch(out, -1) {
		cues = append(cues, TimedCue{clock(c[1]), clock(c[2]), c[3]})
	}
	return cues, err
}
