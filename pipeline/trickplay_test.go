package pipeline_test

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// The bytes that an I-frame playlist names, with the initialization section and
// the key and with nothing else, decode to one picture each: the first of every
// segment. What is encrypted whole has no such playlist.
func TestTrickPlay(t *testing.T) {
	file := makeSource(t, "clip.mp4", join(moving("320x180", "25", "7"), tone("7"), words("-c:v libx264 -preset ultrafast -c:a aac"))...)
	for _, c := range []struct {
		name   string
		change func(*pipeline.Options)
		with   []string // outputs with I-frames
	}{
		{"clear", func(o *pipeline.Options) { o.Encrypt = false }, []string{"cmaf", "ts"}},
		{"cbcs", func(o *pipeline.Options) { o.Outputs = pipeline.Outputs }, []string{"cmaf"}},
		{"cenc", func(o *pipeline.Options) { o.Scheme, o.Outputs = "cenc", []string{"cmaf"} }, []string{"cmaf"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			req := l.request(file, c.change, func(o *pipeline.Options) { o.SegmentSeconds = 2 })
			p := l.run(req)
			l.linksLead(req, p)
			for _, out := range p.Outputs {
				master := string(l.object(req, out.MasterPlaylist))
				if has := strings.Contains(master, "#EXT-X-I-FRAME-STREAM-INF:"); has != slices.Contains(c.with, out.Name) {
					t.Errorf("%s: I-frames %v:\n%s", out.Name, has, master)
				} else if has {
					l.iframesDecode(req, out.Name)
				}
			}
		})
	}
}

// iframesDecode decodes every entry of an output's I-frame playlist.
func (l *lab) iframesDecode(req pipeline.Request, output string) {
	l.t.Helper()
	whole := frameHashes(l.t, l.clear(req, output, "v-240p"), "v")
	dir := output + "/v-240p/"
	list := string(l.object(req, dir+"iframes.m3u8"))
	if !strings.Contains(list, "\n#EXT-X-I-FRAMES-ONLY\n") {
		l.t.Errorf("no playlist of I-frames:\n%s", list)
	}
	entries := regexp.MustCompile(`#EXT-X-BYTERANGE:(\d+)@(\d+)\n(\S+)\n`).FindAllStringSubmatch(list, -1)
	if len(entries) != 4 {
		l.t.Fatalf("%s: %d I-frames:\n%s", output, len(entries), list)
	}
	for i, e := range entries {
		var n, off int
		if _, err := fmt.Sscan(e[1]+" "+e[2], &n, &off); err != nil {
			l.t.Fatal(err)
		}
		segment := l.object(req, dir+e[3])
		body := bytes.Clone(segment[:off]) // the tables of MPEG-TS
		if output == pipeline.OutputCMAF {
			body = l.object(req, dir+"init.mp4")
		}
		body = append(body, segment[off:off+n]...)
		args := []string{"-nostdin", "-v", "error"}
		if key, ok := req.Keys[output]; ok {
			args = append(args, "-decryption_key", hex.EncodeToString(key.Content.Bytes()))
		}
		part := filepath.Join(l.t.TempDir(), "part")
		if err := os.WriteFile(part, body, 0o600); err != nil {
			l.t.Fatal(err)
		}
		// The first frame alone: the fragment's index promises more.
		got, err := exec.Command("ffmpeg", append(args, "-i", part, "-map", "0:v:0", "-frames:v", "1", "-f", "framemd5", "-")...).Output()
		if err != nil || !bytes.HasSuffix(bytes.TrimSpace(got), []byte(whole[50*i])) {
			l.t.Errorf("%s: I-frame %d is not picture %d (%v):\n%s", output, i, 50*i, err, got)
		}
	}
}

var anyURI = regexp.MustCompile(`(?m)^[^#\n].*|URI="[^"]*"`)

// linksLead wants every relative URI of every playlist to name an object.
func (l *lab) linksLead(req pipeline.Request, p *pipeline.Presentation) {
	l.t.Helper()
	there := map[string]bool{}
	for _, o := range p.Objects {
		there[o.Name] = true
	}
	named := map[string]bool{}
	for name := range there {
		if path.Ext(name) != ".m3u8" {
			continue
		}
		for _, uri := range anyURI.FindAllString(string(l.object(req, name)), -1) {
			uri = strings.Trim(strings.TrimPrefix(uri, "URI="), `"`)
			if strings.Contains(uri, ":") {
				continue // a key's
			}
			target := path.Join(path.Dir(name), uri)
			named[target] = true
			if !there[target] {
				l.t.Errorf("%s names %s, which is not there", name, target)
			}
		}
	}
	for name := range there {
		if path.Ext(name) == ".m3u8" && path.Dir(path.Dir(name)) != "." && !named[name] {
			l.t.Errorf("no playlist leads to %s", name)
		}
	}
}
