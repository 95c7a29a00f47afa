package pipeline

import (
	"bufio"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Where each stage lies on the scale of 0 to 100. The encode is nearly all.
const (
	percentProbed   = 1
	percentEncoded  = 95
	percentPacked   = 97
	percentVerified = 99
)

// tracker turns what happens into Progress and StageTimes.
type tracker struct {
	mu     sync.Mutex
	tell   func(Progress)
	now    func() time.Time
	stages []StageTime
	moved  func() (in, out int64) // bytes so far; nil: nobody counts
	last   Progress
}

func newTracker(tell func(Progress)) *tracker {
	if tell == nil {
		tell = func(Progress) {}
	}
	return &tracker{tell: tell, now: time.Now}
}

// enter makes a stage current.
func (t *tracker) enter(s Stage, percent float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeStage()
	in, out := t.counts()
	t.stages = append(t.stages, StageTime{Stage: s, Start: t.now(), In: -in, Out: -out})
	t.last = Progress{Stage: s, Percent: percent, ETA: -1}
	t.tell(t.last)
}

// encoded tells how much of the encode is done (0 to 1) and guesses the end
// from the speed so far.
func (t *tracker) encoded(done float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.stages) == 0 || t.last.Stage != StageEncode {
		return
	}
	done = min(max(done, 0), 1)
	p := Progress{Stage: StageEncode, ETA: -1, Percent: percentProbed + done*(percentEncoded-percentProbed)}
	if p.Percent < t.last.Percent {
		return
	}
	if spent := t.now().Sub(t.stages[len(t.stages)-1].Start); done > 0.01 && spent > time.Second {
		p.ETA = time.Duration(float64(spent) * (1 - done) / done).Round(100 * time.Millisecond)
	}
	t.last = p
	t.tell(p)
}

// finish ends the last stage and returns all of them.
func (t *tracker) finish() []StageTime {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closeStage()
	return t.stages
}

func (t *tracker) closeStage() {
	if n := len(t.stages); n > 0 && t.stages[n-1].Duration == 0 {
		in, out := t.counts()
		s := &t.stages[n-1]
		s.Duration, s.In, s.Out = t.now().Sub(s.Start), s.In+in, s.Out+out
	}
}

func (t *tracker) counts() (in, out int64) {
	if t.moved == nil {
		return 0, 0
	}
	return t.moved()
}

// readProgress reads ffmpeg's `-progress` lines until the pipe ends and calls
// frame with the number of frames encoded so far.
func readProgress(r io.Reader, frame func(int64)) { readProgressOf(r, parseProgress, frame) }

// readSoundProgress does so where there are no pictures: with milliseconds.
func readSoundProgress(r io.Reader, milliseconds func(int64)) {
	readProgressOf(r, parseSoundProgress, milliseconds)
}

func readProgressOf(r io.Reader, parse func(string) (int64, bool), tell func(int64)) {
	lines := bufio.NewScanner(io.LimitReader(r, 1<<30))
	for lines.Scan() {
		if n, ok := parse(lines.Text()); ok {
			tell(n)
		}
	}
	_, _ = io.Copy(io.Discard, r)
}

// parseProgress reads one line; only `frame=N` counts.
func parseProgress(line string) (int64, bool) {
	value, ok := strings.CutPrefix(strings.TrimSpace(line), "frame=")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	return n, err == nil && n >= 0
}

// parseSoundProgress reads one line; only `out_time_us=N` counts, which gives
// milliseconds.
func parseSoundProgress(line string) (int64, bool) {
	value, ok := strings.CutPrefix(strings.TrimSpace(line), "out_time_us=")
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	return n / 1000, err == nil && n >= 0
}
