package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

// Every key period has a key of its own, the same in all renditions and named
// by its own URI; each opens what it sealed and nothing else, and the gate has
// read each one back from the key store.
func TestKeyPeriods(t *testing.T) {
	l := newLab(t)
	file := makeSource(t, "clip.mp4", join(moving("320x180", "25", "9"), tone("9"), words("-c:v libx264 -preset ultrafast -c:a aac"))...)
	req := l.request(file, func(o *pipeline.Options) {
		o.Outputs, o.SegmentSeconds, o.KeyPeriodSeconds = pipeline.Outputs, 2, 5
	})
	var mu sync.Mutex
	read := map[cenc.KID]bool{}
	stored := req.StoredKey
	req.StoredKey = func(ctx context.Context, kid cenc.KID) (cenc.ContentKey, error) {
		mu.Lock()
		read[kid] = true
		mu.Unlock()
		return stored(ctx, kid)
	}
	p := l.run(req)
	l.playable(req, p)
	if len(req.Keys) != 1 {
		t.Errorf("%d fixed keys, want that of cmaf", len(req.Keys))
	}
	all := map[string]bool{}
	for _, out := range p.Outputs[1:] {
		want := "" // the key URIs of a rendition, one per segment
		for _, track := range []string{"v-240p", "a-0"} {
			var uris []string
			for _, m := range keyLine.FindAllStringSubmatch(string(l.object(req, out.Name+"/"+track+"/index.m3u8")), -1) {
				uris = append(uris, m[1])
			}
			// 2 segments of 2 s fit into 5 s; 9 s are 5 segments.
			if len(uris) != 5 || uris[0] != uris[1] || uris[2] != uris[3] || uris[0] == uris[2] || uris[2] == uris[4] {
				t.Errorf("%s/%s: key URIs %q", out.Name, track, uris)
			}
			if got := strings.Join(uris, " "); want == "" {
				want = got
			} else if got != want {
				t.Errorf("%s: renditions differ in their keys: %s, %s", out.Name, got, want)
			}
			for _, uri := range uris {
				all[uri] = true
			}
		}
		if out.KeyPeriods != 3 {
			t.Errorf("%s: %d key periods", out.Name, out.KeyPeriods)
		}
	}
	if len(all) != 6 || len(read) != 7 {
		t.Errorf("%d keys of periods, want 6; the gate read %d of 7", len(all), len(read))
	}
}

// A key that cannot be issued, or comes twice, ends the attempt.
func TestKeyPeriodFaults(t *testing.T) {
	file := clip(t, "4")
	periods := func(o *pipeline.Options) { o.Outputs, o.SegmentSeconds, o.KeyPeriodSeconds = []string{"ts"}, 2, 2 }
	t.Run("one key twice", func(t *testing.T) {
		l := newLab(t)
		req := l.request(file, periods)
		issue := req.PeriodKey
		req.PeriodKey = func(ctx context.Context, output string, _ int) (pipeline.Key, error) { return issue(ctx, output, 1) }
		_, err := l.runner.Run(t.Context(), req)
		wantCode(t, err, pipeline.CodeKeyUnavailable, false)
		l.nothingPlayable(req)
	})
	t.Run("a stored key is another", func(t *testing.T) {
		l := newLab(t)
		req := l.request(file, periods)
		second, err := req.PeriodKey(t.Context(), "ts", 2)
		if err != nil {
			t.Fatal(err)
		}
		stored := req.StoredKey
		req.StoredKey = func(ctx context.Context, kid cenc.KID) (cenc.ContentKey, error) {
			if kid == second.KID {
				return cenc.NewContentKey(), nil
			}
			return stored(ctx, kid)
		}
		_, err = l.runner.Run(t.Context(), req)
		wantCode(t, err, pipeline.CodeVerifyFailed, false)
		l.nothingPlayable(req)
	})
}

func TestKeyPeriodOptions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*pipeline.Options)
		want   string
	}{
		{"one segment", func(o *pipeline.Options) { o.KeyPeriodSeconds = 6 }, ""},
		{"no multiple of a segment", func(o *pipeline.Options) { o.KeyPeriodSeconds = 61 }, ""},
		{"less than a segment", func(o *pipeline.Options) { o.KeyPeriodSeconds = 5 }, "key_period_seconds is 5"},
		{"more than a day", func(o *pipeline.Options) { o.KeyPeriodSeconds = 86401 }, "key_period_seconds is 86401"},
		{"below zero", func(o *pipeline.Options) { o.KeyPeriodSeconds = -6 }, "key_period_seconds is -6"},
		{"of cmaf alone", func(o *pipeline.Options) { o.KeyPeriodSeconds, o.Outputs = 60, []string{"cmaf"} }, "not asked for"},
		{"of a clear title", func(o *pipeline.Options) { o.KeyPeriodSeconds, o.Encrypt = 60, false }, "not asked for"},
	} {
		o := pipeline.DefaultOptions()
		c.change(&o)
		err := o.Validate()
		var perr *pipeline.Error
		if c.want == "" && err != nil || c.want != "" && (!errors.As(err, &perr) || perr.Code != pipeline.CodeOptionsInvalid || !strings.Contains(perr.Message, c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	o := pipeline.DefaultOptions()
	o.KeyPeriodSeconds = 6
	if err := pipeline.CheckPeriods(o, 4096); err != nil {
		t.Error(err)
	}
	if err := pipeline.CheckPeriods(o, 4097); err == nil {
		t.Error("4097 keys pass")
	}
}
