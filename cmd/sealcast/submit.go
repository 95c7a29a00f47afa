package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/worker"
)

// submitFlags are the flags of submit.
type submitFlags struct {
	kind           string
	clear          bool
	outputs        string
	ladder         string
	segmentSeconds int
	scheme         string
	pssh           string
	keyPeriod      int
	callback       string
	detach         bool
}

func submitCommand() *command {
	return &command{
		name: "submit", args: "FILE",
		summary: "upload a video, ask for its job, and follow it",
		long: `Hashes FILE, uploads it to SOURCE_BUCKET as uploads/HASH/NAME (unless it lies there
already), asks BASE_URL/api/jobs for the job, and follows it with a progress bar
until it has ended; then prints where the streams are. Ctrl-C ends the following;
the job goes on.`,
		needs: func(c *config) []any {
			return []any{&c.Public, &c.APIKey, &c.S3, &c.Source}
		},
		exits: []int{exitOK, exitFailure, exitUsage, exitJobFailed, exitInterrupted},
		newFlags: func(fs *flag.FlagSet) action {
			var f submitFlags
			fs.StringVar(&f.kind, "type", worker.TypeTranscode, "`type` of the job: "+worker.TypeTranscode+", "+worker.TypeFull+" or "+worker.TypeAudio)
			fs.BoolVar(&f.clear, "clear", false, "publish without encryption")
			fs.StringVar(&f.outputs, "outputs", "", "`list` of outputs, by comma: cmaf,ts (default: the server's, both)")
			fs.StringVar(&f.ladder, "ladder", "", "`list` of rungs, by comma: 1080p,720p (default: what the source deserves)")
			fs.StringVar(&f.scheme, "scheme", "", "protection `scheme` of cmaf: cbcs or cenc (default: the server's, cbcs)")
			fs.StringVar(&f.pssh, "pssh", "", "`list` of DRM systems whose initialization data cmaf carries, by comma: widevine,playready")
			fs.IntVar(&f.keyPeriod, "key-period", 0, "a new key every so many `seconds` in cmaf-aes128 and ts (default: one for all)")
			fs.IntVar(&f.segmentSeconds, "segment-seconds", 0, "length of a segment in `seconds` (default: the server's, 6)")
			fs.StringVar(&f.callback, "callback", "", "`URL` that is recorded with the job; it is not called yet")
			fs.BoolVar(&f.detach, "detach", false, "do not follow the job, print its id only")
			return func(ctx context.Context, s *session) error { return submit(ctx, s, f) }
		},
	}
}

// jobRequest is the body of POST /api/jobs.
type jobRequest struct {
	Type        string         `json:"type"`
	Hash        string         `json:"hash"`
	Source      string         `json:"source"`
	Options     map[string]any `json:"options"`
	CallbackURL string         `json:"callback_url,omitempty"`
}

// request writes what the flags ask for; what they do not name stays with the
// server's defaults.
func (f submitFlags) request(src source) jobRequest {
	opts := map[string]any{"encrypt": !f.clear}
	if f.outputs != "" {
		opts["outputs"] = splitList(f.outputs)
	}
	if f.ladder != "" {
		opts["ladder"] = splitList(f.ladder)
	}
	if f.scheme != "" {
		opts["scheme"] = f.scheme
	}
	if f.pssh != "" {
		opts["pssh"] = splitList(f.pssh)
	}
	if f.keyPeriod != 0 {
		opts["key_period_seconds"] = f.keyPeriod
	}
	if f.segmentSeconds != 0 {
		opts["segment_seconds"] = f.segmentSeconds
	}
	if f.kind == worker.TypeFull {
		opts = map[string]any{"transcode": opts}
	}
	return jobRequest{Type: f.kind, Hash: src.hash, Source: src.key, Options: opts, CallbackURL: f.callback}
}

func splitList(s string) []string {
	parts := strings.Split(s, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

func submit(ctx context.Context, s *session, f submitFlags) error {
	switch {
	case len(s.args) != 1:
		return usageError{"give exactly one FILE"}
	case f.kind != worker.TypeTranscode && f.kind != worker.TypeFull && f.kind != worker.TypeAudio:
		return usageError{fmt.Sprintf("-type %s is unknown: %s, %s or %s", f.kind, worker.TypeTranscode, worker.TypeFull, worker.TypeAudio)}
	}
	store, err := objstore.New(s.cfg.S3.client())
	if err != nil {
		return err
	}
	con := newConsole(s.stderr)
	defer con.end()
	src, err := uploadSource(ctx, store.Bucket(string(s.cfg.Source.Bucket)), s.args[0], con.progress)
	if err != nil {
		return interrupted(ctx, err)
	}
	con.end()
	api := newAPIClient(s.cfg.Public.BaseURL, s.cfg.APIKey.Key)
	j, err := api.submit(ctx, f.request(src))
	if err != nil {
		return interrupted(ctx, err)
	}
	if f.detach {
		_, err := fmt.Fprintln(s.stdout, j.ID)
		return err
	}
	con.printf("job %s\n", j.ID)
	end, err := api.follow(ctx, j.ID, con.progress)
	con.end()
	if ctx.Err() != nil {
		return exitError{exitInterrupted, fmt.Errorf("no longer following; job %s goes on: GET %s/api/jobs/%s", j.ID, s.cfg.Public.BaseURL, j.ID)}
	}
	if err != nil {
		return err
	}
	if err := end.failure(); err != nil {
		return err
	}
	writeResults(s.stdout, end)
	return nil
}

// interrupted gives an error the exit code of an interruption when that is
// what it was.
func interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx)) {
		err = errors.New("interrupted")
	}
	return exitError{exitInterrupted, err}
}

// writeResults prints where the streams of a job are.
func writeResults(w io.Writer, j jobView) {
	fmt.Fprintf(w, "job       %s %s\n", j.ID, j.State)
	if j.Results == nil {
		return
	}
	for _, o := range j.Results.Streaming.Outputs {
		scheme := o.Scheme
		if scheme == "" {
			scheme = "clear"
		}
		fmt.Fprintf(w, "%-9s %s (%s)\n", o.Name, o.MasterPlaylist, scheme)
		if o.Manifest != "" {
			fmt.Fprintf(w, "%-9s %s\n", "", o.Manifest)
		}
	}
	for _, st := range j.Results.Stages {
		fmt.Fprintf(w, "%-9s %.1f s\n", st.Stage, st.Seconds)
	}
}

// client is how the object store's client takes this concern.
func (c *s3Config) client() objstore.Config {
	return objstore.Config{
		Endpoint: c.Endpoint.url, AccessKey: c.AccessKey.reveal(), SecretKey: c.SecretKey.reveal(), Region: c.Region,
	}
}
