package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/worker"
)

type demoFlags struct {
	input   string
	samples string
	keep    bool
}

func demoCommand() *command {
	return &command{
		name: "demo", summary: "show the whole way of a video, from upload to playback",
		long: `Starts the same stack as dev on temporary data, uploads a video, puts its task on
the queue as an upload service does, follows the job, and then plays the result as
a viewer would: for every rendition it fetches the playlist and, with a token, the
key; decrypts; and decodes with ffmpeg. It prints what it finds and the time of
each stage, and fails if anything is not as it should be.`,
		needs: func(c *config) []any { return []any{&c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage, exitJobFailed, exitInterrupted},
		newFlags: func(fs *flag.FlagSet) action {
			var f demoFlags
			fs.StringVar(&f.input, "input", "", "video `file` (default: Megamind.avi from the samples folder, else a generated clip)")
			fs.StringVar(&f.samples, "samples", "", "`folder` of samples (default: .sealcast/samples here or above the program)")
			fs.BoolVar(&f.keep, "keep", false, "keep it running until Ctrl-C and print the player page's URL (also by KEEP=1)")
			return func(ctx context.Context, s *session) error { return demo(ctx, s, f) }
		},
	}
}

// demonstration is one run of demo.
type demonstration struct {
	con   *console
	local *local
	times []timing
}

type timing struct {
	what string
	took time.Duration
}

func demo(ctx context.Context, s *session, f demoFlags) error {
	d := &demonstration{con: newConsole(s.stdout)}
	defer d.con.end()
	began := time.Now()
	input, cleanup, err := d.chooseInput(ctx, f)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer cleanup()

	signalled := ctx
	err = withLocal(ctx, s, "", d.logger(s), func(ctx context.Context, l *local) error {
		d.local = l
		d.timed("start servers", began)
		hash, err := d.show(ctx, input)
		if err != nil {
			return err
		}
		d.writeTimes(time.Since(began))
		if !f.keep && s.environ["KEEP"] != "1" {
			return nil
		}
		if err := d.writePlayerURLs(hash); err != nil {
			return err
		}
		return wait(ctx, signalled)
	})
	d.con.end()
	if err != nil {
		return interrupted(ctx, err)
	}
	d.con.printf("\nAll is well.\n")
	return nil
}

// logger writes what the services say, from warnings on unless LOG_LEVEL says
// otherwise, above the progress bar when both go to one terminal.
func (d *demonstration) logger(s *session) *slog.Logger {
	cfg := s.cfg.Log
	if s.environ["LOG_LEVEL"] == "" {
		cfg.Level.Level = slog.LevelWarn
	}
	if isTerminal(s.stderr) && isTerminal(s.stdout) {
		cfg.Format = "text"
		return newLogger(cfg, d.con)
	}
	return newLogger(cfg, s.stderr)
}

func (d *demonstration) timed(what string, since time.Time) {
	d.times = append(d.times, timing{what, time.Since(since)})
}

// show takes the input the whole way and returns its hash.
func (d *demonstration) show(ctx context.Context, input string) (string, error) {
	cfg := d.local.cfg
	store, err := objstore.New(cfg.S3.client())
	if err != nil {
		return "", err
	}
	began := time.Now()
	src, err := uploadSource(ctx, store.Bucket(string(cfg.Source.Bucket)), input, d.con.progress)
	d.con.end()
	if err != nil {
		return "", err
	}
	d.timed("hash and upload", began)
	d.con.printf("uploaded %s (%d bytes) to %s/%s\n", input, src.size, cfg.Source.Bucket, src.key)

	began = time.Now()
	id, err := enqueue(ctx, cfg, src)
	if err != nil {
		return "", err
	}
	d.con.printf("enqueued %s, task %s\n", worker.TypeTranscode, id)
	job, err := newAPIClient(cfg.Public.BaseURL, cfg.APIKey.Key).follow(ctx, id, d.con.progress)
	d.con.end()
	if err != nil {
		return "", err
	}
	if err := job.failure(); err != nil {
		return "", err
	}
	if job.Results == nil || len(job.Results.Streaming.Outputs) == 0 {
		return "", fmt.Errorf("job %s succeeded without results", id)
	}
	d.timed("enqueued to published", began)
	for _, st := range job.Results.Stages {
		d.times = append(d.times, timing{"  " + st.Stage, time.Duration(st.Seconds * float64(time.Second))})
	}
	d.con.printf("published as job %s, attempt %d\n", job.ID, job.Attempt)
	if err := d.writeKeyRows(ctx, src.hash, len(job.Results.Streaming.Outputs)); err != nil {
		return "", err
	}
	began = time.Now()
	if err := d.prove(ctx, src.hash, job.Results); err != nil {
		return "", err
	}
	d.timed("playback proof", began)
	return src.hash, nil
}

// enqueue does what an upload service in Go does: plain asynq, one task.
func enqueue(ctx context.Context, cfg *config, src source) (string, error) {
	payload, err := json.Marshal(map[string]any{
		"hash": src.hash, "source": src.key, "options": map[string]any{"encrypt": true},
	})
	if err != nil {
		return "", err
	}
	redis, err := asynq.ParseRedisURI(cfg.Redis.URL.reveal())
	if err != nil {
		return "", errors.New("REDIS_URL is no URL that asynq takes")
	}
	client := asynq.NewClient(redis)
	defer func() { _ = client.Close() }()
	id := uuid.NewString()
	_, err = client.EnqueueContext(ctx, asynq.NewTask(worker.TypeTranscode, payload), asynq.TaskID(id), asynq.Queue(worker.QueueDefault))
	if err != nil {
		return "", fmt.Errorf("enqueue: %w", err)
	}
	return id, nil
}

// writeKeyRows prints the public part of the title's key rows.
func (d *demonstration) writeKeyRows(ctx context.Context, hash string, want int) error {
	conn, err := pgx.Connect(ctx, d.local.cfg.Database.URL.reveal())
	if err != nil {
		return fmt.Errorf("read key rows: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx)) //nolint:errcheck // only read from
	type row struct {
		Track, KID, Scheme, State string
		KEKVersion                int
	}
	rows, err := conn.Query(ctx, `
		SELECT track, encode(kid, 'hex'), scheme, state, kek_version
		FROM content_keys WHERE hash = $1 ORDER BY is_default DESC, track`, hash)
	if err != nil {
		return fmt.Errorf("read key rows: %w", err)
	}
	keys, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	if err != nil {
		return fmt.Errorf("read key rows: %w", err)
	}
	d.con.printf("\nkey rows (public part; the keys are sealed under their KEK version)\n")
	active := 0
	for _, k := range keys {
		d.con.printf("  %-6s kid %s  scheme %-7s  kek_version %d  %s\n", k.Track, k.KID, k.Scheme, k.KEKVersion, k.State)
		if k.State == "active" {
			active++
		}
	}
	if active != want {
		return fmt.Errorf("%d active key rows, want one for each of %d outputs", active, want)
	}
	return nil
}

func (d *demonstration) writeTimes(total time.Duration) {
	d.con.printf("\ntimes\n")
	for _, t := range append(d.times, timing{"total", total}) {
		d.con.printf("  %-24s %8.2f s\n", t.what, t.took.Seconds())
	}
}

// writePlayerURLs prints where to watch the title. The token stands in the
// fragment, which browsers send to no server.
func (d *demonstration) writePlayerURLs(hash string) error {
	const ttl = 12 * time.Hour
	tok, err := mintToken(d.local.cfg.Token.Secret, hash, ttl)
	if err != nil {
		return err
	}
	d.con.printf("\nWatch it (the token is good for %s; Ctrl-C ends everything):\n", shortDuration(ttl))
	for _, output := range []string{"ts", "cmaf"} {
		fragment := url.Values{"api": {d.local.environ["BASE_URL"]}, "hash": {hash}, "token": {tok}, "output": {output}}
		d.con.printf("  http://%s/#%s\n", d.local.playerAddr, fragment.Encode())
	}
	return nil
}

const sampleName = "Megamind.avi"

// chooseInput says which file is shown. cleanup removes a generated one.
func (d *demonstration) chooseInput(ctx context.Context, f demoFlags) (path string, cleanup func(), err error) {
	cleanup = func() {}
	if f.input != "" {
		if _, err := os.Stat(f.input); err != nil {
			return "", cleanup, usageError{err.Error()}
		}
		d.con.printf("input: %s\n", f.input)
		return f.input, cleanup, nil
	}
	for _, dir := range sampleDirs(f.samples) {
		path := filepath.Join(dir, sampleName)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			d.con.printf("input: %s, a moving picture from a Debian package\n", path)
			return path, cleanup, nil
		}
	}
	dir, err := os.MkdirTemp("", "sealcast-demo-*")
	if err != nil {
		return "", cleanup, err
	}
	cleanup = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, "generated.mp4")
	d.con.printf("input: a generated clip of 12 s (no %s was found; 'make deps' fetches it)\n", sampleName)
	cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-hide_banner", "-v", "error", //nolint:gosec // no argument comes from outside
		"-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=12",
		"-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=12",
		"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-movflags", "+faststart", path)
	cmd.Env = closedEnv()
	if out, err := cmd.CombinedOutput(); err != nil {
		cleanup()
		return "", func() {}, fmt.Errorf("generate a clip with ffmpeg: %w: %s", err, out)
	}
	return path, cleanup, nil
}

// sampleDirs lists where samples may be: the given folder, or .sealcast/samples
// below the working folder and below each folder above the program.
func sampleDirs(given string) []string {
	if given != "" {
		return []string{given}
	}
	dirs := []string{filepath.Join(defaultDevDir, "samples")}
	exe, err := os.Executable()
	if err != nil {
		return dirs
	}
	for dir := filepath.Dir(exe); ; dir = filepath.Dir(dir) {
		dirs = append(dirs, filepath.Join(dir, defaultDevDir, "samples"))
		if dir == filepath.Dir(dir) {
			return dirs
		}
	}
}
