package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealcast/sealcast/internal/objstore"
)

// benchRounds is how often each shape runs, in turn; the medians count.
// BENCH_ROUNDS sets another number.
const benchRounds = 3

// cost is what one run took.
type cost struct {
	wall         time.Duration
	cpu          time.Duration // of the program and its children; the servers' is not in it
	instructions float64       // user space; 0 where perf does not count them
	after        time.Duration // from the end of the encode to published
}

// BenchmarkMainJob runs three shapes side by side on one 20 s 1080p clip:
//
//	job     from enqueue to published: both outputs, encrypted, verified
//	bare    the job's own ffmpeg command, into files; nothing else
//	hand    one ffmpeg command as one writes it by hand, with the same settings of
//	        quality: each rung scaled from the source, threads as they come
//	staged  download, one ffmpeg per rung, package one output, upload
//
// It prints the ratios; the goals are job ≤ 1.05 × one bare ffmpeg command and
// ≤ 0.75 × staged.
func BenchmarkMainJob(b *testing.B) {
	rounds := benchRounds
	if n, err := strconv.Atoi(os.Getenv("BENCH_ROUNDS")); err == nil && n > 0 {
		rounds = n
	}
	for b.Loop() {
		runs := map[string][]cost{}
		film := benchClip(b)
		for round := range rounds {
			r := newRig(b)
			job, args, hash := benchJob(b, r, film, round)
			runs["job"] = append(runs["job"], job)
			runs["bare"] = append(runs["bare"], benchBare(b, film, args))
			runs["hand"] = append(runs["hand"], benchBare(b, film, byHand(args)))
			runs["staged"] = append(runs["staged"], benchStaged(b, r, film, hash, args))
		}
		reportCosts(b, runs)
	}
}

func reportCosts(b *testing.B, runs map[string][]cost) {
	median := func(shape string, of func(cost) float64) float64 {
		var v []float64
		for _, c := range runs[shape] {
			v = append(v, of(c))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	wall := func(c cost) float64 { return c.wall.Seconds() }
	cpu := func(c cost) float64 { return c.cpu.Seconds() }
	instr := func(c cost) float64 { return c.instructions / 1e9 }
	var out strings.Builder
	fmt.Fprintf(&out, "\n%-8s %9s %9s %9s\n", "", "wall s", "CPU s", "Ginstr")
	for _, shape := range []string{"job", "bare", "hand", "staged"} {
		g := "no perf"
		if v := median(shape, instr); v > 0 {
			g = fmt.Sprintf("%.1f", v)
		}
		fmt.Fprintf(&out, "%-8s %9.2f %9.2f %9s\n", shape, median(shape, wall), median(shape, cpu), g)
	}
	// Of each round by itself: what else the machine does changes from minute to minute.
	ratio := func(shape string, of func(cost) float64) (median, least, most float64) {
		var v []float64
		for i, c := range runs[shape] {
			v = append(v, of(runs["job"][i])/of(c))
		}
		slices.Sort(v)
		return v[len(v)/2], v[0], v[len(v)-1]
	}
	walls := map[string]float64{}
	for _, r := range []struct {
		shape string
		goal  float64
	}{{"bare", 1.05}, {"hand", 1.05}, {"staged", 0.75}} {
		of, least, most := ratio(r.shape, wall)
		ofCPU, _, _ := ratio(r.shape, cpu)
		walls[r.shape] = of
		fmt.Fprintf(&out, "job / %-6s %.3f wall (%.3f to %.3f; goal ≤ %.2f), %.3f CPU\n", r.shape, of, least, most, r.goal, ofCPU)
	}
	after := median("job", func(c cost) float64 { return c.after.Seconds() })
	fmt.Fprintf(&out, "end of the encode to published: %.3f s (goal ≤ 0.3)\n", after)
	b.Log(out.String())
	for shape, of := range walls {
		b.ReportMetric(of, "wall/"+shape)
	}
	b.ReportMetric(after, "s-to-published")
}

// benchClip is 20 s of 1080p H.264 with AAC: a real moving picture where the
// sample is there, looped and scaled up; else a generated one.
func benchClip(b *testing.B) string {
	b.Helper()
	file := filepath.Join(b.TempDir(), "film.mp4")
	input := []string{"-stream_loop", "-1", "-i", "../../.sealcast/samples/Megamind.avi"}
	if _, err := os.Stat(input[3]); err != nil {
		input = []string{"-f", "lavfi", "-i", "testsrc2=s=1920x1080:r=24000/1001,noise=alls=8:allf=t", "-f", "lavfi", "-i", "sine=440"}
	}
	args := append([]string{"-v", "error", "-nostdin"}, input...)
	args = append(args, "-t", "20", "-vf", "scale=1920:1080,setsar=1", "-pix_fmt", "yuv420p", "-r", "24000/1001",
		"-c:v", "libx264", "-preset", "veryfast", "-b:v", "8M", "-c:a", "aac", "-ac", "2", "-ar", "48000", file)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		b.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return file
}

// benchJob runs the job and returns the ffmpeg command that it ran.
func benchJob(b *testing.B, r *rig, film string, round int) (cost, []string, string) {
	b.Helper()
	body, err := os.ReadFile(film)
	if err != nil {
		b.Fatal(err)
	}
	own := filepath.Join(b.TempDir(), "own.mp4") // another hash for each round
	if err := os.WriteFile(own, append(body, 0, 0, 0, 9, 'f', 'r', 'e', 'e', byte(round)), 0o600); err != nil {
		b.Fatal(err)
	}
	hash, source := r.upload(own)
	perf, counter := perfWrapper(b)
	r.env["LOG_LEVEL"] = "info"
	server := r.serve(perf...)
	pid := server.cmd.Process.Pid
	if len(perf) > 0 {
		pid = children(b, pid)[0]
	}
	opt, err := asynq.ParseRedisURI(r.env["REDIS_URL"])
	if err != nil {
		b.Fatal(err)
	}
	client := asynq.NewClient(opt)
	defer func() { _ = client.Close() }()
	before := treeCPU(b, pid)
	began := time.Now()
	payload := `{"hash":"` + hash + `","source":"` + source + `","options":{"encrypt":true}}`
	if _, err := client.Enqueue(asynq.NewTask("video:transcode", []byte(payload)), asynq.TaskID("bench")); err != nil {
		b.Fatal(err)
	}
	var args []string
	var state string
	var finished *time.Time
	var results []byte
	for state != "succeeded" {
		// Seldom: who asks takes time from the job. The row says when it ended.
		time.Sleep(250 * time.Millisecond)
		err := r.db.QueryRow(context.Background(), `SELECT state, finished_at, coalesce(results, '{}') FROM jobs WHERE id = 'bench'`).Scan(&state, &finished, &results)
		if err != nil && state != "" || state == "failed" {
			b.Fatalf("job: %s, %v\n%s", state, err, server.out.String())
		}
		if args == nil {
			args = encoderCommand(b, pid)
		}
	}
	c := cost{wall: finished.Sub(began), cpu: treeCPU(b, pid) - before}
	var res struct {
		Stages []struct {
			Stage     string
			StartedAt time.Time `json:"started_at"`
		}
	}
	if err := json.Unmarshal(results, &res); err != nil {
		b.Fatal(err)
	}
	for _, s := range res.Stages {
		if s.Stage == "pack" { // begins when ffmpeg has ended
			c.after = finished.Sub(s.StartedAt)
		}
	}
	server.stop(b)
	c.instructions = counter()
	return c, args, hash
}

// encoderCommand finds the encoder among the children. A child that still
// confines itself has the encoder's arguments behind its own.
func encoderCommand(b *testing.B, pid int) []string {
	all := processes(b)
	for _, child := range children(b, pid) {
		if line := all[child]; len(line) > 0 && filepath.Base(line[0]) == "ffmpeg" && slices.Contains(line, "libx264") {
			return line
		}
	}
	return nil
}

// benchBare runs the job's ffmpeg command from a local file into local files.
func benchBare(b *testing.B, film string, args []string) cost {
	b.Helper()
	return measureCommand(b, toFiles(args, film, b.TempDir()))
}

// byHand makes the command that one writes by hand for the same rungs: it scales
// each from the source and leaves the number of threads to the encoder.
func byHand(args []string) []string {
	out := slices.Clone(args)
	for at := slices.Index(out, "-threads"); at >= 0; at = slices.Index(out, "-threads") {
		out = slices.Delete(out, at, at+2)
	}
	at := slices.Index(out, "-filter_complex") + 1
	sizes := rungSizes(out[at])
	head, _, _ := strings.Cut(out[at], "scale=")
	graph := head + "split=" + strconv.Itoa(len(sizes))
	for i := range sizes {
		graph += fmt.Sprintf("[s%d]", i)
	}
	for i, size := range sizes {
		graph += fmt.Sprintf(";[s%d]scale=%s,setsar=1[v%d]", i, size, i)
	}
	out[at] = graph
	return out
}

// rungSizes reads the sizes out of the job's filter graph.
func rungSizes(graph string) []string {
	var sizes []string
	for _, part := range strings.Split(graph, "scale=")[1:] {
		sizes = append(sizes, strings.Join(strings.SplitN(part, ":", 3)[:2], ":"))
	}
	return sizes
}

// toFiles replaces loopback and pipes by files.
func toFiles(args []string, film, dir string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		switch {
		case strings.HasPrefix(arg, "http://"):
			out[i] = film
		case arg == "http,tcp":
			out[i] = "file"
		case i > 0 && out[i-1] == "-progress":
			out[i] = "/dev/null"
		case strings.HasPrefix(arg, "pipe:"):
			out[i] = filepath.Join(dir, strings.TrimPrefix(arg, "pipe:")+".mp4")
		}
	}
	return out
}

// benchStaged does it one step after the other, for the cmaf output alone.
func benchStaged(b *testing.B, r *rig, film, hash string, args []string) cost {
	b.Helper()
	dir := b.TempDir()
	began := time.Now()
	local := filepath.Join(dir, "source.mp4")
	body, err := r.source.Get(context.Background(), "uploads/"+hash+"/own.mp4", "", 0, -1)
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(local)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(f, body); err != nil {
		b.Fatal(err)
	}
	_, _ = body.Close(), f.Close()

	var total cost
	add := func(c cost) { total.cpu += c.cpu; total.instructions += c.instructions }
	var streams []string
	for i, rung := range perRung(args, local, dir) {
		add(measureCommand(b, rung))
		kind := "video"
		if !slices.Contains(rung, "libx264") {
			kind = "audio"
		}
		streams = append(streams, fmt.Sprintf("in=%s,stream=%s,init_segment=%s/out/%d/init.mp4,segment_template=%[3]s/out/%d/$Number$.m4s,playlist_name=%[4]d/index.m3u8",
			rung[len(rung)-1], kind, dir, i, i))
	}
	packager, err := exec.LookPath("packager")
	if err != nil {
		b.Fatal(err)
	}
	add(measureCommand(b, append(append([]string{packager}, streams...), "--segment_duration", "6", "--hls_playlist_type", "VOD",
		"--generate_static_live_mpd", "--mpd_output", dir+"/out/manifest.mpd", "--hls_master_playlist_output", dir+"/out/master.m3u8",
		"--enable_raw_key_encryption", "--protection_scheme", "cbcs", "--clear_lead", "0", "--hls_key_uri", "http://x/key",
		"--keys", "label=:key_id="+strings.Repeat("1", 32)+":key="+strings.Repeat("2", 32))))
	uploadTree(b, r.media, filepath.Join(dir, "out"))
	total.wall = time.Since(began)
	return total
}

// perRung splits the job's command into one per rendition, each with a decode
// and a scaling of its own.
func perRung(args []string, film, dir string) [][]string {
	at := slices.Index(args, "-filter_complex")
	head := toFiles(args[:at], film, dir)
	graph := args[at+1]
	rate := strings.SplitN(strings.SplitN(graph, "fps=fps=", 2)[1], ":", 2)[0]
	sizes := rungSizes(graph)
	var out [][]string
	n := 0
	for rest := args[at+2:]; len(rest) > 0; n++ {
		end := slices.IndexFunc(rest, func(s string) bool { return strings.HasPrefix(s, "pipe:") })
		one := slices.Clone(rest[:end])
		rest = rest[end+1:]
		cmd := slices.Clone(head)
		if n < len(sizes) {
			one = append([]string{"-map", "0:v:0", "-vf", "fps=" + rate + ",scale=" + sizes[n] + ",setsar=1"}, one[2:]...)
		}
		out = append(out, append(append(cmd, one...), filepath.Join(dir, strconv.Itoa(n)+".mp4")))
	}
	return out
}

func uploadTree(b *testing.B, bucket *objstore.Bucket, dir string) {
	b.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = bucket.Put(context.Background(), "staged"+strings.TrimPrefix(path, dir), body, "", "")
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// measureCommand runs a command to its end.
func measureCommand(b *testing.B, args []string) cost {
	b.Helper()
	perf, counter := perfWrapper(b)
	args = append(slices.Clone(perf), args...)
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	var said bytes.Buffer
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, said.String())
	}
	return cost{wall: time.Since(began), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), instructions: counter()}
}

// perfWrapper returns what to put before a command so that its instructions
// are counted; nothing where the machine does not count them.
func perfWrapper(b *testing.B) (wrap []string, read func() float64) {
	b.Helper()
	probe, err := exec.Command("perf", "stat", "-x,", "-e", "instructions:u", "true").CombinedOutput()
	if err != nil || bytes.Contains(probe, []byte("not supported")) || bytes.Contains(probe, []byte("not counted")) {
		return nil, func() float64 { return 0 }
	}
	file := filepath.Join(b.TempDir(), "perf")
	return []string{"perf", "stat", "-x,", "-e", "instructions:u", "-o", file, "--"}, func() float64 {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if n, err := strconv.ParseFloat(strings.SplitN(line, ",", 2)[0], 64); err == nil {
				return n
			}
		}
		return 0
	}
}

// treeCPU is the CPU time of a process and of the children that it reaped.
func treeCPU(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var ticks int64
	for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime; proc(5)
		n, _ := strconv.ParseInt(f[i], 10, 64)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond // USER_HZ is 100 on Linux
}
